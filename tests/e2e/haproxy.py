"""Three gateways behind Debian's HAProxy, with the configuration that ships: examples/gateway/deploy/haproxy.cfg."""
import contextlib
import grp
import hashlib
import os
import pathlib
import pwd
import re
import shutil
import socket
import ssl
import threading
import time

from cascade import downloads, packed, stage
from disk_trouble import Objects
from mtls import USER, Certificate
from support import BIN, DEVICE_TYPE, POLL, Connection, MiniMender, Origin, Skip, check, free_port, request, until

CONFIGURATION = pathlib.Path(__file__).resolve().parents[2] / 'examples/gateway/deploy/haproxy.cfg'
SETTINGS = {'ARTIFACTS_PROXY_CACHE_VERIFY': 'off', 'LOG_LEVEL': 'info'}
SECRET = 'the same text on each of them'
SIZE = 4 << 20


class Site:
    """Three gateways and the HAProxy before them; `devices` and `artifacts` are its ports."""

    def __init__(self, bench, upstream, client_certificate=None, **more):
        program = shutil.which('haproxy', path=os.environ['PATH'] + ':/usr/sbin')
        if not program:
            raise Skip('haproxy is not installed')
        self.bench, self.devices, self.artifacts = bench, free_port(), free_port()
        settings = {'ARTIFACTS_PROXY_CACHE_SECRET': SECRET,
                    'ARTIFACTS_PROXY_GATEWAY_URL': f'https://localhost:{self.artifacts}', **SETTINGS, **more}
        self.gateways = [stage(bench, str(n), upstream, **settings) for n in (1, 2, 3)]
        bench.path('haproxy.pem').write_bytes(bench.pki.cert.read_bytes() + bench.pki.key.read_bytes())
        environment = {'MGW_NAME': 'localhost', 'MGW_CERTIFICATE': str(bench.path('haproxy.pem')), 'MGW_CA': str(bench.pki.ca),
                       'MGW_DEVICES': f'127.0.0.1:{self.devices}', 'MGW_ARTIFACTS': f'127.0.0.1:{self.artifacts}',
                       'MGW_USER': pwd.getpwuid(os.geteuid()).pw_name, 'MGW_GROUP': grp.getgrgid(os.getegid()).gr_name,
                       **{f'MGW_GATEWAY_{n}': f'127.0.0.1:{g.port}' for n, g in enumerate(self.gateways, 1)}}
        if client_certificate:
            bench.path('client.pem').write_bytes(client_certificate.cert.read_bytes() + client_certificate.key.read_bytes())
            environment['MGW_CLIENT_CERTIFICATE'] = str(bench.path('client.pem'))
        self.haproxy = bench.start('haproxy', [program, '-db', '-f', CONFIGURATION], environment)
        until(self.listens, 20, 'haproxy to listen')

    def listens(self):
        check(self.haproxy.child.poll() is None, f'haproxy ended: {self.haproxy.log[-500:]}')
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', self.artifacts), 5).close()
            return True

    def link(self, number, port=None):
        """What a poll as `Bearer number` brings: a link that leads to HAProxy. At one gateway's own port, or through it."""
        answer = request(self.bench.pki, port or self.devices, 'POST', POLL, {'Authorization': f'Bearer {number}'}, b'{}')
        check(answer.status == 200, f'the poll was answered {answer.status}')
        prefix = f'https://localhost:{self.artifacts}/'
        uri = answer.json()['artifact']['source']['uri']
        check(uri.startswith(prefix), f'the link does not lead to HAProxy: {uri[:100]}')
        return uri[len(prefix) - 1:]

    def get(self, target, headers=None):
        return request(self.bench.pki, self.artifacts, 'GET', target, headers)

    def fleet(self, artifact, devices):
        """So many devices that update through HAProxy, a try every 200 ms."""
        return self.bench.start('fleet', [
            BIN / 'mgw-fleet', '--server', f'https://localhost:{self.devices}', '--ca', self.bench.pki.ca, '--devices', devices,
            '--device-type', DEVICE_TYPE, '--artifact-name', 'release-1', '--retry-wait', '200',
            '--expect-sha256', hashlib.sha256(artifact.read_bytes()).hexdigest(), '--expect-size', artifact.stat().st_size])

    def server_of(self, target):
        """The gateway to which HAProxy sends this link, as it logs it."""
        def logged():
            return re.findall(r' artifacts~ gateway-(\d) ', self.haproxy.out)
        before = len(logged())
        request(self.bench.pki, self.artifacts, 'HEAD', target)
        until(lambda: len(logged()) > before, 10, 'haproxy to log a request')
        return self.gateways[int(logged()[-1]) - 1]


def kill(gateway):
    gateway.child.kill()
    gateway.child.wait()


def test_one_object_goes_to_one_gateway(bench):
    objects = {number: (200 << 10) + number for number in range(1, 13)}
    origin = bench.enter(Objects(objects))
    site = Site(bench, origin.url)
    for number in objects:
        for gateway in site.gateways:  # a link of each, and each is good wherever it leads
            answer = site.get(site.link(number, gateway.port))
            check(answer.status == 200 and answer.body == origin.all[number], f'object {number}: {answer.status}')
    check([origin.count(n) for n in objects] == [1] * len(objects), 'fetched more than once')
    # Three downloads of each object, at one gateway; and each gateway has its share of twelve.
    until(lambda: sum(len(downloads(g)) for g in site.gateways) == 36, 10, 'the gateways to log all downloads')
    shares = [len(downloads(g)) for g in site.gateways]
    check(all(share % 3 == 0 for share in shares) and 36 not in shares, f'the downloads went to {shares}')


def test_only_links_pass_at_the_port_of_artifacts(bench):
    origin = bench.enter(Objects({1: 100 << 10}))
    site = Site(bench, origin.url)
    target = site.link(1)
    before = len(origin.requests)
    for method, path in (('POST', POLL), ('GET', '/api/devices/v1/x'), ('GET', '/'), ('GET', target + '/x'), ('POST', target),
                         ('GET', '/api/gateway/v1/../../devices/v1/x'), ('GET', '/api/internal/v1/gateway/alive'),
                         ('GET', '/api/gateway/v1/artifacts/..%2f..%2fdevices')):
        answer = request(bench.pki, site.artifacts, method, path, {'Authorization': 'Bearer 1'}, b'{}' if method == 'POST' else b'')
        check(answer.status == 404, f'{method} {path[:60]}: {answer.status}')
    check(len(origin.requests) == before, 'something of it went upstream')
    check(site.get(target).status == 200, 'the link is not good')
    site.haproxy.stop()
    check(target.split('/')[-1] not in site.haproxy.out + site.haproxy.log, 'a link is in the log')


def test_a_gateway_is_killed_in_mid_download(bench):
    origin = bench.enter(Objects({1: SIZE}))
    data = origin.all[1]
    site = Site(bench, origin.url)
    origin.gate = threading.Event()
    target = site.link(1)
    with Connection(bench.pki, site.artifacts, timeout=20) as download:
        download.send('GET', target)
        first = download.read(limit=1 << 20)
        check(first.status == 200 and int(first.headers['content-length']) == len(data), f'it did not begin: {first.status}')
        check(origin.at_gate.wait(30), 'upstream did not get to its middle')
        one = site.server_of(target)
        kill(one)
        begun = first.body
        killed = time.monotonic()
        while piece := download.recv():
            begun += piece
            check(time.monotonic() - killed < 30, 'the download goes on without its gateway')
    check(len(begun) < len(data) and begun == data[:len(begun)], f'{len(begun)} bytes came before the end')
    origin.gate.set()
    sent = len(begun)

    # As Mender's client does: at once, on a new connection, with exact numbers.
    resumed = site.get(target, {'Range': f'bytes={sent}-{len(data) - 1}'})
    check(resumed.status == 206, f'the resume was answered {resumed.status}')
    check(resumed.headers['content-range'] == f'bytes {sent}-{len(data) - 1}/{len(data)}', f'{resumed.headers}')
    check(begun + resumed.body == data, 'other bytes came')
    check(origin.count(1) == 2, f'upstream was asked {origin.count(1)} times')

    # Who comes later gets it from there, also with a link of yet another gateway.
    for gateway in (g for g in site.gateways if g is not one):
        later = site.get(site.link(1, gateway.port))
        check(later.status == 200 and later.body == data, f'later: {later.status}')
    check(origin.count(1) == 2, f'upstream was asked {origin.count(1)} times')


def test_a_fleet_does_not_lose_an_update_to_a_killed_gateway(bench):
    artifact = packed(bench, SIZE)
    size = artifact.stat().st_size
    server = MiniMender(bench, artifact, 'release-2', '--rate', SIZE // 2)
    site = Site(bench, server.url, ARTIFACTS_PROXY_CACHE_VERIFY='artifact')
    fleet = site.fleet(artifact, 12)
    until(lambda: server.stats()['artifact_bytes'] > size // 4, 30, 'the download to be under way')
    caches = [pathlib.Path(bench.dir, str(n), 'cache') for n in (1, 2, 3)]
    taken = [sum(f.stat().st_size for f in c.rglob('*') if f.is_file()) for c in caches]
    kill(site.gateways[taken.index(max(taken))])
    server.post('/demo/rate?bytes_per_s=0')
    until(lambda: fleet.child.poll() is not None, 60, 'the devices to end')
    check('fleet: 12 of 12 updated' in fleet.out, f'not all of them updated: {fleet.out}')
    stats = server.stats()
    check(stats['artifact_requests'] == 2, f'upstream was asked {stats["artifact_requests"]} times')
    check(stats['artifact_distinct_bytes'] == size and stats['artifact_bytes'] < 2 * size, f'upstream sent {stats}')


def test_the_log_has_the_devices_address(bench):
    origin = bench.enter(Objects({1: 100 << 10}))
    site = Site(bench, origin.url, TRUSTED_PROXIES='192.0.2.0/24, 127.0.0.1')
    target = site.link(1)
    raw = socket.create_connection(('127.0.0.1', site.artifacts), 20, source_address=('127.0.0.9', 0))
    with With(bench.pki.client().wrap_socket(raw, server_hostname='localhost'), site.artifacts) as connection:
        connection.send('GET', target, {'X-Forwarded-For': '6.6.6.6'})
        check(connection.read().status == 200, 'the download failed')
    until(lambda: any(downloads(g) for g in site.gateways), 10, 'a gateway to log the download')
    logs = ''.join(g.log for g in site.gateways)
    check('peer=127.0.0.1 for=127.0.0.9 method="GET"' in logs and '6.6.6.6' not in logs, logs)


def test_closed_without_an_answer_stays_that(bench):
    origin = bench.enter(Origin(b'x' * 1000))
    site = Site(bench, origin.url, ARTIFACTS_PROXY_HOLD_TIMEOUT='1s')
    target = site.link(1)
    origin.artifact_answer = lambda handler, start: origin.reply(handler, 503, b'')
    answer = site.get(target)
    check(answer.status is None, f'what the gateway closed was answered {answer.status}')
    # Statuses of the gateway pass.
    answer = site.get(target[:-8] + 'AAAAAAAA')
    check(answer.status == 403, f'a forged link was answered {answer.status}')
    for gateway in site.gateways:
        kill(gateway)
    for headers in ({}, {'Range': 'bytes=500-999'}):
        answer = site.get(target, headers)
        check(answer.status is None, f'without any gateway it was answered {answer.status}')


def test_client_certificates_pass_through(bench):
    artifact = packed(bench, 1 << 20)
    server = MiniMender(bench, artifact, 'release-2', *USER)
    good, stranger, haproxys = Certificate(bench, 'good'), Certificate(bench, 'stranger', ca='other-ca'), Certificate(bench, 'haproxy')
    site = Site(bench, server.url, haproxys, MTLS_ENABLED='true', MTLS_MENDER_USERNAME='gw@example.com',
                MTLS_MENDER_PASSWORD='pass:word', MTLS_CA_CERTIFICATE=str(bench.path('clients', 'device-ca.crt')))

    def ask(certificate, method, path, fields, body=b''):
        """The answer at the port of devices, None if there is none."""
        context = bench.pki.client()
        if certificate:
            context.load_cert_chain(certificate.cert, certificate.key)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            raw = socket.create_connection(('127.0.0.1', site.devices), 20)
            with With(context.wrap_socket(raw, server_hostname='localhost'), site.devices) as connection:
                connection.send(method, path, fields, body)
                return connection.read(method)
        return None

    for nobody in (None, stranger):
        answer = ask(nobody, 'GET', '/api/devices/v1/x', {})
        check(answer is None or answer.status is None, 'a client without a good certificate was served')
    body, signature = good.auth_request({'mac': 'aa'})
    answer = ask(good, 'POST', '/api/devices/v1/authentication/auth_requests',
                 {'X-MEN-Signature': signature, 'Content-Type': 'application/json'}, body)
    check(answer.status == 200, f'the auth request was answered {answer.status}')
    token = answer.body.decode()
    answer = ask(good, 'POST', POLL, {'Authorization': f'Bearer {token}', 'Content-Type': 'application/json'},
                 b'{"device_provides":{"artifact_name":"release-1","device_type":"%s"}}' % DEVICE_TYPE.encode())
    check(answer.status == 200, f'the poll was answered {answer.status}')
    target = '/' + answer.json()['artifact']['source']['uri'].split('/', 3)[3]
    # The link is all that the other port needs; HAProxy's certificate gets nobody further than that.
    check(site.get(target).body == artifact.read_bytes(), 'other bytes came')
    answer = request(bench.pki, site.artifacts, 'POST', POLL, {'Authorization': f'Bearer {token}'}, b'{}')
    check(answer.status == 404, f'a poll without a certificate was answered {answer.status}')


class With(Connection):
    """A connection over this socket."""

    def __init__(self, over, port):
        self.socket, self.host, self.buffer = over, f'localhost:{port}', b''
