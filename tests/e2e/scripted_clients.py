"""Devices that behave as the C++ client and as mender-mcu: what they did, and what crossed the link."""
import signal

from client_update import reported, succeeded
from clients import CppClient, McuClient, check_success
from fleet_server import FleetServer, Relay
from mtls import USER, Certificate
from support import MiniMender, check, free_port, make_artifact, start_gateway, until

SIZE = 2 << 20
# The link is slow until something has happened, and fast from then on: it happens in time on any machine.
SLOWLY, AT_ONCE = ('--rate', SIZE // 20), '/demo/rate?bytes_per_s=0'


class Site:
    """A server with an artifact, and a gateway."""

    def __init__(self, bench, *server_args, size=SIZE, upstream=None, **gateway):
        self.bench, path = bench, make_artifact(bench, 'release-2', size)[0]
        self.artifact = path.read_bytes()
        self.size = len(self.artifact)
        self.server = MiniMender(bench, path, 'release-2', *server_args)
        self.settings = {'HTTPS_LISTEN': f'127.0.0.1:{free_port()}', **gateway}
        if upstream:  # a relay before the server
            upstream.target = self.server.port
        self.upstream = upstream.url if upstream else self.server.url
        self.again()

    def again(self):
        """The gateway once more, at the same port."""
        self.gateway = start_gateway(self.bench, self.upstream, **self.settings)

    def sent(self):
        return self.server.stats()['artifact_bytes']

    def check_link(self, most=1.0, requests=None):
        """All of the artifact crossed the link, and in sum at most so many of its sizes."""
        stats = self.server.stats()
        check(stats['artifact_distinct_bytes'] == self.size, f'the link: {stats}')
        check(stats['artifact_bytes'] <= self.size * most, f'the link: {stats}')
        check(requests is None or stats['artifact_requests'] == requests, f'the link: {stats}')


def ended(*clients, seconds=60):
    until(lambda: all(c.outcome for c in clients), seconds, 'the devices to be at their end')


def test_cpp_notices_no_broken_link(bench):
    """It breaks more often than the client has tries. And the server is an open-source one: no v2."""
    site = Site(bench, '--cut-every', 8, '--no-v2')
    client = CppClient(bench, 1, site.gateway.port).start()
    ended(client)
    check_success(client, site.artifact)
    check(client.answers == [200] and client.lost_tries == 0, f'{client.lost_tries} tries lost, answers {client.answers}')
    check(site.server.stats()['artifact_requests'] > client.tries, f'the link: {site.server.stats()}')
    site.check_link(most=1.25)


def test_cpp_gateway_killed_in_mid_download(bench):
    site = Site(bench, *SLOWLY)
    client = CppClient(bench, 1, site.gateway.port, retry_wait=0.5, tries=200).start()  # a gateway may take long to start
    until(lambda: len(client.body) > site.size // 2, 60, 'half of the download')
    site.gateway.child.send_signal(signal.SIGKILL)
    site.gateway.child.wait()
    check(len(client.body) < site.size, 'the download was at its end before')
    site.server.post(AT_ONCE)
    site.again()
    ended(client)
    check_success(client, site.artifact)
    check(client.lost_tries, 'it noticed nothing')
    check([a for a in client.answers if a] == [200, 206], f'answers {client.answers}')
    site.check_link(most=1.4)  # what was not on disk yet: a second's worth, and more on a busy machine


def test_cpp_gateway_killed_in_an_outage(bench):
    """What asks to go on finds a gateway that has less than itself, and no upstream: it is held and closed, never refused."""
    between = bench.enter(Relay())
    site = Site(bench, *SLOWLY, '--public-url', between.url, upstream=between, ARTIFACTS_PROXY_HOLD_TIMEOUT='1s')
    client = CppClient(bench, 1, site.gateway.port, retry_wait=0.5, tries=200).start()  # a gateway may take long to start
    until(lambda: len(client.body) > site.size // 2, 60, 'half of the download')

    def answers():
        """From the first one on: a busy machine may take longer for it than a request is held here."""
        return client.answers[next(i for i, a in enumerate(client.answers) if a):]
    between.down()
    site.gateway.child.send_signal(signal.SIGKILL)
    site.gateway.child.wait()
    site.server.post(AT_ONCE)
    site.again()
    until(lambda: answers().count(None) > 1, 60, 'two tries in the outage')
    check(answers()[0] == 200 and set(answers()[1:]) <= {None, 206}, f'answers {client.answers}')
    between.up()
    ended(client)
    check_success(client, site.artifact)
    check(answers()[0] == 200 and set(answers()[1:]) <= {None, 206}, f'answers {client.answers}')
    site.check_link(most=1.4)


def test_cpp_storage_down_at_the_first_get(bench):
    """Any status would fail the deployment: it is held, closed without an answer after `HoldTimeout`, and held again."""
    site = Site(bench, ARTIFACTS_PROXY_HOLD_TIMEOUT='1s')
    site.server.post('/demo/pause?how=refuse')
    client = CppClient(bench, 1, site.gateway.port, retry_wait=0.2, user_agent=None).start()
    until(lambda: client.lost_tries >= 2, 60, 'it to be closed twice')
    check(set(client.answers) == {None}, f'answers {client.answers}')
    site.server.post('/demo/resume')
    ended(client)
    check_success(client, site.artifact)
    check([a for a in client.answers if a] == [200], f'answers {client.answers}')
    site.check_link()


def test_cpp_silence_costs_a_try(bench):
    """Its resume is held for as long as the silence lasts, and then is exactly the rest."""
    site = Site(bench, *SLOWLY)
    client = CppClient(bench, 1, site.gateway.port, silence=3, retry_wait=0.1).start()  # no pause of a busy machine's is as long
    until(lambda: len(client.body) > site.size // 10, 60, 'a tenth of the download')
    connections = client.connections
    site.server.post('/demo/pause')
    site.server.post(AT_ONCE)
    until(lambda: client.lost_tries >= 1, 30, 'the silence to be too long')
    until(lambda: client.connections > connections, 30, 'the resume')
    check(client.answers == [200], f'answers {client.answers}')
    site.server.post('/demo/resume')
    ended(client)
    check_success(client, site.artifact)
    check(client.answers[0] == 200 and set(client.answers[1:]) == {206}, f'answers {client.answers}')
    site.check_link(requests=1)


def test_cpp_aborted(bench):
    artifact = make_artifact(bench, 'release-2', SIZE)[0].read_bytes()
    server = bench.enter(FleetServer(artifact))
    server.refused.add('installing')
    gateway = start_gateway(bench, server.url)
    client = CppClient(bench, 1, gateway.port).start()
    ended(client)
    check(client.outcome == 'aborted', f'{client.outcome}')
    check(client.statuses == ['downloading', 'installing'], f'reported: {client.statuses}')
    check(client.body == artifact and server.body_bytes == server.size, f'{server.body_bytes} bytes crossed the link')


def test_cpp_artifact_replaced_in_mid_download(bench):
    """Of another object of the same name nothing follows what the C++ client has; nor does it get a status."""
    site = Site(bench, *SLOWLY)
    client = CppClient(bench, 1, site.gateway.port, retry_wait=0.05).start()
    until(lambda: len(client.body) > site.size // 10, 60, 'a tenth of the download')
    make_artifact(bench, 'release-2', SIZE)  # in its place, of the same length
    site.server.post('/demo/cut?after=1')
    site.server.post(AT_ONCE)
    ended(client)
    check(client.outcome == 'wedged' and client.lost_tries == client.tries, f'{client.outcome}, {client.lost_tries} tries')
    check(client.answers == [200] + [None] * client.tries, f'answers {client.answers}')
    check(client.body == site.artifact[:len(client.body)], 'bytes of another object')
    # The next deployment gets the new one.
    other = CppClient(bench, 2, site.gateway.port).start()
    ended(other)
    check_success(other, bench.path('release-2.mender').read_bytes())


def test_cpp_refused_artifact(bench):
    """A definite no to the first GET ends the deployment at once, without a try."""
    path, payload = make_artifact(bench, 'release-2', SIZE)
    bad = bytearray(path.read_bytes())
    bad[bad.index(payload[:64]) + SIZE // 2] ^= 1
    path.write_bytes(bad)
    server = MiniMender(bench, path, 'release-2', '--rate', SIZE)  # what is on its way is not all
    gateway = start_gateway(bench, server.url)
    first = CppClient(bench, 1, gateway.port, tries=0).start()
    until(lambda: 'condemned: data/0000/payload.bin' in gateway.log, 60, 'the artifact to be found bad')
    ended(first)
    sent = server.stats()['artifact_bytes']
    second = CppClient(bench, 2, gateway.port).start()
    ended(second)
    check(second.answers == [403] and second.lost_tries == 0, f'answers {second.answers}')
    check(second.statuses == ['downloading', 'failure'] and reported(server, 'failure'), f'reported: {second.statuses}')
    check(server.stats()['artifact_bytes'] - sent < len(bad) // 2, 'the bad artifact crossed the link again')


def test_cpp_sends_no_intermediate(bench):
    """Its certificate is by an intermediate CA, which it does not send: the gateway has that among its CA certificates."""
    clients = bench.path('clients', 'x').parent
    root = Certificate(bench, 'of-the-root')
    root.openssl('req', '-x509', *root.new_key(), '-days', '2', '-subj', '/CN=between', '-CA', 'device-ca.crt', '-CAkey',
                 'device-ca.key', '-keyout', 'between.key', '-out', 'between.crt')
    (clients / 'all.crt').write_text((clients / 'device-ca.crt').read_text() + (clients / 'between.crt').read_text())
    site = Site(bench, *USER, MTLS_ENABLED='true', MTLS_MENDER_USERNAME=USER[1], MTLS_MENDER_PASSWORD=USER[3],
                MTLS_CA_CERTIFICATE=str(clients / 'all.crt'))
    client = CppClient(bench, 1, site.gateway.port, certificate=Certificate(bench, 'leaf', ca='between')).start()
    without = CppClient(bench, 2, site.gateway.port).start()
    ended(client)
    check_success(client, site.artifact)
    site.check_link(requests=1)
    until(lambda: without.connections > 2, 20, 'the device without a certificate to try')
    check(len(site.server.stats()['devices']) == 1, 'a device without a certificate got to the server')


def test_mcu_updates(bench):
    """In ranges of 2 KiB, from a cold cache, over a link that breaks, by links with a port that its Host has not."""
    port = free_port()
    site = Site(bench, '--no-v2', size=200_000, HTTPS_LISTEN=f'127.0.0.1:{port}',
                ARTIFACTS_PROXY_GATEWAY_URL=f'https://localhost:{port}')
    site.server.post(f'/demo/cut?after={site.size // 2}')
    client = McuClient(bench, 1, port)
    client.has = 'release-1+mcu'
    client.start()
    ended(client)
    check_success(client, site.artifact)
    check(client.lost_tries == 0 and client.downloads == 1, f'{client.lost_tries} tries lost, {client.downloads} connections')
    check(set(client.answers) == {206}, f'answers {set(client.answers)}')
    check(len(client.answers) == -(-site.size // client.ranges), f'{len(client.answers)} answers')
    check(client.statuses == ['downloading', 'installing', 'rebooting', 'success'], f'{client.statuses}')
    site.check_link(most=1.25, requests=2)


def test_mcu_begins_anew(bench):
    """The link is too slow for what it has time for; what goes on meanwhile is enough for a later try."""
    port = free_port()
    site = Site(bench, '--rate', 100_000, size=200_000, HTTPS_LISTEN=f'127.0.0.1:{port}',
                ARTIFACTS_PROXY_GATEWAY_URL=f'https://localhost:{port}')
    client = McuClient(bench, 1, port, ranges=0, limit=1, backoff=0.5).start()
    ended(client)
    check_success(client, site.artifact)
    check(client.lost_tries > 0, 'it had time enough')
    site.check_link(requests=1)


def test_twelve_at_once(bench):
    port = free_port()
    site = Site(bench, HTTPS_LISTEN=f'127.0.0.1:{port}', ARTIFACTS_PROXY_GATEWAY_URL=f'https://localhost:{port}', size=500_000)
    site.server.post('/demo/pause')
    clients = [CppClient(bench, n, port).start() for n in range(8)] + [McuClient(bench, n, port).start() for n in range(8, 12)]
    until(lambda: reported(site.server, 'downloading') == 12, 60, 'all to download')
    site.server.post('/demo/resume')
    ended(*clients)
    for client in clients:
        check_success(client, site.artifact)
        check(client.lost_tries == 0, f'{client.mac}: {client.lost_tries} tries lost')
    check(succeeded(site.server) == 12, f'{succeeded(site.server)} successes at the server')
    site.check_link(requests=1)
