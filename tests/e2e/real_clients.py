"""Debian's mender-client in whatever happens to it and to its server: what the device did, and what crossed the link."""
import json
import signal
import subprocess
import time

from client_update import reported, succeeded
from fleet_server import FleetServer, Relay
from support import DEVICE_TYPE, Device, MiniMender, check, free_port, make_artifact, start_gateway, until

NEEDS_CLIENT = True
SIZE = 4 << 20
# The link is slow until something has happened, and fast from then on: it happens in time on any machine.
SLOWLY, AT_ONCE = ('--rate', SIZE // 20), '/demo/rate?bytes_per_s=0'


def write(bench, name, kind, *arguments):
    """An artifact of another kind."""
    out = bench.path(f'{name}.mender')
    subprocess.run(['mender-artifact', 'write', 'module-image', '-T', kind, '-n', name, '-t', DEVICE_TYPE, '-o', out,
                    *arguments], cwd=bench.dir, check=True, capture_output=True)
    return out


def start_device(bench, number, port, **more):
    """A device with a key at hand: making one of RSA takes it seconds."""
    key = bench.path('keys', f'{number}.key')
    subprocess.run(['openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key], check=True,
                   capture_output=True)
    return Device(bench, number, port, Security={'AuthPrivateKey': str(key)}, **more)


def all_statuses(server):
    return [d['statuses'] for d in server.stats()['devices'].values()]


def test_a_script_that_fails(bench):
    """The device reports the failure, and its log gets to the server with what the script wrote."""
    bench.path('install.sh').write_text('#!/bin/sh\necho "no room for it, says the script" >&2\nexit 7\n')
    artifact = write(bench, 'release-2', 'script', '-f', 'install.sh')
    server = bench.enter(FleetServer(artifact.read_bytes()))
    gateway = start_gateway(bench, server.url)
    start_device(bench, 1, gateway.port)
    until(lambda: server.reported('failure'), 60, 'the device to report the failure')
    device, = server.devices.values()
    until(lambda: device['log'], 20, 'the log')
    messages = json.loads(device['log'])['messages']
    check(any('no room for it, says the script' in m['message'] for m in messages), f'the log: {device["log"]}')
    check('success' not in device['statuses'], f'reported: {device["statuses"]}')
    check(server.body_bytes == server.size, f'{server.body_bytes} bytes of {server.size} crossed the link')


def test_aborted_in_mid_download(bench):
    """The server's 409 reaches the device, which installs nothing; the artifact is whole here for the next one."""
    artifact, _ = make_artifact(bench, 'release-2', SIZE)
    size = artifact.stat().st_size
    server = MiniMender(bench, artifact, 'release-2', *SLOWLY)
    server.post('/demo/pause')
    gateway = start_gateway(bench, server.url)
    device = start_device(bench, 1, gateway.port)
    until(lambda: server.stats()['artifact_requests'], 60, 'the storage to be asked')
    server.post('/demo/abort')
    server.post('/demo/resume')
    until(lambda: reported(server, 'failure'), 60, 'the device to end the deployment')
    check(server.stats()['artifact_bytes'] < size, 'the download was at its end before')
    server.post(AT_ONCE)
    check(all_statuses(server) == [['downloading', 'downloading', 'failure']], f'reported: {all_statuses(server)}')
    check(device.payload() is None, 'the device installed it')
    until(lambda: 'complete, ' in gateway.log, 30, 'the artifact to be whole here')
    stats = server.stats()
    check(stats['artifact_bytes'] == size and stats['artifact_requests'] == 1, f'crossed the link: {stats}')


def test_two_at_once(bench):
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    server = MiniMender(bench, artifact, 'release-2')
    server.post('/demo/pause')
    gateway = start_gateway(bench, server.url)
    devices = [start_device(bench, n, gateway.port) for n in (1, 2)]
    until(lambda: reported(server, 'downloading') == 2, 60, 'both devices to download')
    server.post('/demo/resume')
    until(lambda: succeeded(server) == 2, 60, 'success of both devices')
    for device in devices:
        check(device.payload() == payload, 'a device installed other bytes than were packed')
        check(not device.noticed_a_cut(), 'a device noticed a cut')
    stats = server.stats()
    check(stats['artifact_bytes'] == artifact.stat().st_size and stats['artifact_requests'] == 1, f'crossed the link: {stats}')


def test_a_link_expires_in_mid_download(bench):
    """The download is cut when its link is no good any more; the poll of another device brings one that is."""
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    size = artifact.stat().st_size
    server = MiniMender(bench, artifact, 'release-2', '--rate', SIZE // 4, '--link-life', 1)
    server.post(f'/demo/cut?after={size * 3 // 4}')  # which takes three seconds
    gateway = start_gateway(bench, server.url)
    first = start_device(bench, 1, gateway.port)
    until(lambda: 'a newer one is waited for' in gateway.log, 60, 'the link to have expired')
    check(server.stats()['artifact_bytes'] == size * 3 // 4, f'{server.stats()["artifact_bytes"]} of {size} bytes before')
    second = start_device(bench, 2, gateway.port)
    until(lambda: succeeded(server) == 2, 60, 'success of both devices')
    for device in (first, second):
        check(device.payload() == payload, 'a device installed other bytes than were packed')
        check(not device.noticed_a_cut(), 'a device noticed a cut')
    check(server.stats()['artifact_bytes'] == size, f'{server.stats()["artifact_bytes"]} bytes of {size} crossed the link')


def test_a_link_has_expired_before_the_first_byte(bench):
    """The first GET is held, and gets its 200 by the link that another device brings."""
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    server = MiniMender(bench, artifact, 'release-2', '--link-life', 1)
    server.post('/demo/pause')
    gateway = start_gateway(bench, server.url)
    first = start_device(bench, 1, gateway.port)
    until(lambda: server.stats()['artifact_requests'], 60, 'the storage to be asked')
    asked = time.monotonic()
    until(lambda: time.monotonic() - asked > 2.1, 5, 'the link to expire')  # which is judged in whole seconds
    server.post('/demo/resume')
    until(lambda: 'a newer one is waited for' in gateway.log, 20, 'the link to be refused')
    check(server.stats()['artifact_bytes'] == 0, 'the storage sent something')
    second = start_device(bench, 2, gateway.port)
    until(lambda: succeeded(server) == 2, 60, 'success of both devices')
    for device in (first, second):
        check(device.payload() == payload, 'a device installed other bytes than were packed')
    check(gateway.log.count('/artifacts/{key}/{token}" status=200') == 2, 'a download was tried more than once')
    check(server.stats()['artifact_bytes'] == artifact.stat().st_size, f'crossed the link: {server.stats()}')


def test_gateway_restarted_in_mid_download(bench):
    """It ends the download before it ends itself, and the device's reports wait for the next one."""
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    size = artifact.stat().st_size
    server = MiniMender(bench, artifact, 'release-2', *SLOWLY)
    listen = f'127.0.0.1:{free_port()}'
    gateway = start_gateway(bench, server.url, HTTPS_LISTEN=listen)
    device = start_device(bench, 1, gateway.port, retry=1)
    until(lambda: server.stats()['artifact_bytes'] > size // 10, 60, 'a tenth of the download')
    gateway.child.send_signal(signal.SIGTERM)
    server.post(AT_ONCE)
    check(gateway.child.wait(40) == 0, 'the gateway did not end cleanly')
    check(f'upstream_bytes={size}' in gateway.log, 'it did not end the download')
    start_gateway(bench, server.url, HTTPS_LISTEN=listen)
    until(lambda: succeeded(server), 60, 'success of the device')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    check(not device.noticed_a_cut(), 'the device was cut')
    check(reported(server, 'failure') == 0, f'reported: {all_statuses(server)}')
    stats = server.stats()
    check(stats['artifact_bytes'] == size and stats['artifact_requests'] == 1, f'crossed the link: {stats}')


def test_upstream_gone_at_the_beginning(bench):
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    between = bench.enter(Relay())
    server = MiniMender(bench, artifact, 'release-2', '--public-url', between.url)
    between.target = server.port
    between.down()
    gateway = start_gateway(bench, between.url)
    device = start_device(bench, 1, gateway.port, retry=1)
    until(lambda: gateway.log.count('status=502') > 2, 60, 'the device to be told three times')
    between.up()
    until(lambda: succeeded(server), 60, 'success after the outage')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    check(server.stats()['artifact_bytes'] == artifact.stat().st_size, f'crossed the link: {server.stats()}')


def test_upstream_gone_for_a_while(bench):
    """Server and storage refuse connections in mid-download: the device notices nothing."""
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    size, between = artifact.stat().st_size, bench.enter(Relay())
    server = MiniMender(bench, artifact, 'release-2', *SLOWLY, '--public-url', between.url)
    between.target = server.port
    gateway = start_gateway(bench, between.url)
    device = start_device(bench, 1, gateway.port)
    until(lambda: server.stats()['artifact_bytes'] > size // 10, 60, 'a tenth of the download')
    between.down()
    server.post(AT_ONCE)
    until(lambda: gateway.log.count('next try from byte') > 2, 60, 'three tries in the outage')
    check(not succeeded(server), 'the download was at its end before')
    between.up()
    until(lambda: succeeded(server), 60, 'success after the outage')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    check(not device.noticed_a_cut(), 'the device noticed the outage')
    check(reported(server, 'failure') == 0, f'reported: {all_statuses(server)}')
    stats = server.stats()
    check(stats['artifact_distinct_bytes'] == size and stats['artifact_bytes'] < size * 5 // 4, f'crossed the link: {stats}')


def test_over_plain_http(bench):
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    server = MiniMender(bench, artifact, 'release-2')
    gateway = start_gateway(bench, server.url, HTTP_ENABLED='true', HTTP_LISTEN='127.0.0.1:0')
    port = gateway.wait_for(r'listening on http://127\.0\.0\.1:(\d+)\n', 20)[1]
    device = start_device(bench, 1, gateway.port, ServerURL=f'http://localhost:{port}')
    until(lambda: succeeded(server), 60, 'success of the device')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    check(f'http://localhost:{port}/api/gateway/v1/artifacts/' in device.log, 'the link is not one of plain HTTP')
    check(server.stats()['artifact_bytes'] == artifact.stat().st_size, 'crossed the link more than once')


def test_a_self_signed_certificate(bench):
    """Whoever has it among its authorities takes it; whoever has not sends nothing."""
    cert, key = bench.path('self.crt'), bench.path('self.key')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert],
                   check=True, capture_output=True)
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    server = MiniMender(bench, artifact, 'release-2')
    gateway = start_gateway(bench, server.url, HTTPS_SERVER_CERTIFICATE=str(cert), HTTPS_SERVER_KEY=str(key))
    stranger = start_device(bench, 2, gateway.port)
    device = start_device(bench, 1, gateway.port, ServerCertificate=str(cert))
    until(lambda: succeeded(server), 60, 'success of the device')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    until(lambda: 'certificate' in stranger.log and 'ailed' in stranger.log, 20, 'the other device to refuse it')
    check(len(server.stats()['devices']) == 1, 'the other device got to the server')
    check(server.stats()['artifact_bytes'] == artifact.stat().st_size, 'crossed the link more than once')


def test_a_server_that_codes_with_gzip(bench):
    """Answers to the device's calls are coded, and the link in one of them is replaced all the same; artifacts never are."""
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    server = bench.enter(FleetServer(artifact.read_bytes(), coded=True))
    gateway = start_gateway(bench, server.url)
    device = start_device(bench, 1, gateway.port)
    until(lambda: server.reported('success'), 60, 'success of the device')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    check(any(path.endswith('/next') for path in server.coded_answers), f'coded: {server.coded_answers}')
    check(f'https://localhost:{gateway.port}/api/gateway/v1/artifacts/' in device.log, 'the link is not the gateway\'s')
    check(server.body_bytes == server.size, f'{server.body_bytes} bytes of {server.size} crossed the link')
    check(len(server.fetches()) == 1, f'{len(server.fetches())} fetches')


def test_configurations_of_two_devices(bench):
    """Each device gets its own, which stays in memory."""
    own, wanted = {}, {}
    for n in (1, 2):
        wanted[n] = {'timezone': f'Etc/GMT+{n}', 'filler': 'x' * 3000 * n}
        bench.path('config.json').write_text(json.dumps(wanted[n]))
        own[f'{bench.name}-{n}'] = write(bench, 'configuration-1', 'mender-configure', '-m', 'config.json').read_bytes()
    server = bench.enter(FleetServer(own=own, name='configuration-1'))
    gateway = start_gateway(bench, server.url)
    devices = {n: start_device(bench, n, gateway.port) for n in (1, 2)}
    until(lambda: server.reported('success') == 2, 60, 'success of both devices')
    for n, device in devices.items():
        check(json.loads((device.data / 'device-config.json').read_text()) == wanted[n], 'not its own configuration')
        check('/api/gateway/v1/private/' in device.log, 'the link is not one of its own')
    check(server.body_bytes == sum(map(len, own.values())), f'{server.body_bytes} bytes crossed the link')
    kept = [p for p in bench.path('cache').rglob('*') if p.is_file() and any(c in p.read_bytes() for c in own.values())]
    check(not kept, f'on disk: {kept}')
