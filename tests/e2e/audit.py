"""The audit log: what updates leave in it, through kill -9 and a torn line; what tampering looks like; and no log at all."""
import csv
import io
import json
import os
import re
import signal
import subprocess

import mtls
from support import (BIN, Connection, Device, MiniMender, Origin, check, gateway_environment, link, make_artifact, request,
                     sha256, start_gateway, until)

NEEDS_CLIENT = True
HEALTH = '/api/internal/v1/gateway/health'


class Site:
    """A gateway that keeps an audit log, and commands that look into it."""

    def __init__(self, bench, upstream, **more):
        self.bench, self.upstream = bench, upstream
        self.log = bench.path('audit', 'audit.log')
        self.more = {'AUDIT_PATH': str(self.log), **more}
        self.environment = {**os.environ, **gateway_environment(bench, upstream, **self.more)}

    def start(self):
        return start_gateway(self.bench, self.upstream, **self.more)

    def run(self, *args, status=0):
        done = subprocess.run([BIN / 'mgw-gateway', 'audit', *args], env=self.environment, capture_output=True, text=True, timeout=60)
        check(done.returncode == status, f'audit {args} ended with {done.returncode}: {done.stdout}{done.stderr}')
        return done.stdout + done.stderr

    def records(self, *args):
        return [json.loads(line) for line in self.run('export', '--format', 'json', *args).splitlines()]

    def deliveries(self, *args):
        return self.records('--event', 'delivery', *args)


def test_updates_and_a_kill(bench):
    artifact, payload = make_artifact(bench, 'release-2', 1 << 20)
    digest, size = sha256(artifact.read_bytes()), artifact.stat().st_size
    server = MiniMender(bench, artifact, 'release-2')
    site = Site(bench, server.url, AUDIT_HEAD_PERIOD='1s', ARTIFACTS_PROXY_CACHE_SECRET='a secret of many bytes')
    gateway = site.start()
    first = Device(bench, 1, gateway.port)
    until(lambda: first.payload() == payload, 60, 'the first device to be updated')
    until(lambda: site.log.exists() and b'"delivery"' in site.log.read_bytes(), 20, 'a record of the delivery')
    until(lambda: 'audit: head seq=' in gateway.log, 20, 'the head in the log')
    gateway.child.send_signal(signal.SIGKILL)
    gateway.child.wait()
    first.process.stop()
    heads = re.findall(r'audit: head seq=(\d+) mac=([0-9a-f]{64})', gateway.log)
    site.run('verify', '--head', ':'.join(heads[-1]))

    # As if the machine had lost its power in the middle of a line.
    line = site.log.read_bytes().splitlines()[-1]
    with open(site.log, 'ab') as file:
        file.write(line[:77])
    check('not whole' in site.run('verify'), 'the torn line is not told')
    gateway = site.start()
    second = Device(bench, 2, gateway.port)
    until(lambda: second.payload() == payload, 60, 'the second device to be updated')
    until(lambda: len(site.deliveries()) == 2, 20, 'a record of the second delivery')
    second.process.stop()
    check(gateway.stop() == 0, 'the gateway did not end in order')

    check('77 bytes of a torn line were cut' in site.run('verify', '--head', ':'.join(heads[-1])), 'the cut is not told')
    deliveries = site.deliveries()
    check(len({d['device'] for d in deliveries}) == 2, f'not two devices: {deliveries}')
    for d in deliveries:
        wanted = {'artifact': 'release-2', 'sha256': digest, 'size': size, 'whole': True, 'peer': '127.0.0.1'}
        check({**d, **wanted} == d, f'a delivery is recorded as {d}')
        check(site.deliveries('--device', d['device']) == [d], 'a device is not found by its id')
    check([d['cache'] for d in deliveries] == ['miss', 'hit'], f'from where: {deliveries}')
    check(site.deliveries('--artifact', 'release-2', '--since', '1h') == deliveries, 'an artifact is not found by its name')
    check(site.deliveries('--artifact', digest[:8]) == deliveries, 'an artifact is not found by its digest')
    check(site.deliveries('--until', deliveries[0]['time'][:19]) == [], 'what was before is found')
    events = [r['event'] for r in site.records()]
    check(events[:3] == ['file', 'start', 'configuration'] and events[-1] == 'stop', f'events: {events}')
    check(events.count('cut') == 1 and events.count('start') == 2, f'events: {events}')
    admitted = [r for r in site.records('--event', 'authentication') if r['granted']]
    check({r['device'] for r in admitted} == {d['device'] for d in deliveries}, f'not the devices that were let in: {admitted}')
    for r in admitted:
        for who in (r['device'], r['identity'], r['identity'].replace(':', ' : ', 1)):
            check(r in site.records('--event', 'authentication', '--device', who), f'not found by {who}: {r}')
    changes = [r['changed'] for r in site.records('--event', 'configuration')]
    secret = 'Features.ArtifactsProxy.ArtifactsCache.SignatureSecret'
    check(changes[0][secret] == '"***"' and changes[0]['UpstreamServer.URL'] == f'"{server.url}"', f'changes: {changes}')
    check(changes[1] == {}, f'nothing was changed: {changes}')
    for word in ('a secret of many bytes', 'Bearer', '/api/gateway/v1/artifacts/'):
        check(word not in site.log.read_text(), f'{word} is in the log')

    table = site.run('show', '--event', 'delivery')
    check(table.count('whole, ') == 2 and 'release-2' in table, table)
    rows = list(csv.DictReader(io.StringIO(site.run('export', '--format', 'csv'))))
    check(len(rows) == len(events) and [r['sha256'] for r in rows if r['event'] == 'delivery'] == [digest] * 2, f'rows: {rows}')

    lines = site.log.read_text().splitlines()
    number = next(i for i, text in enumerate(lines) if '"delivery"' in text)
    lines[number] = lines[number].replace('"release-2"', '"release-3"')
    site.log.write_text('\n'.join(lines) + '\n')
    said = site.run('verify', status=1)
    check(f'{site.log}:{number + 1}: the chain breaks here' in said, said)


def test_the_head_is_logged_whatever_the_level(bench):
    artifact, _ = make_artifact(bench, 'release-1', 1 << 16)
    server = MiniMender(bench, artifact, 'release-1')
    gateway = Site(bench, server.url, AUDIT_HEAD_PERIOD='1s', LOG_LEVEL='error').start()
    until(lambda: gateway.log.count('audit: head seq=') >= 1, 20, 'the head in the log')
    check('msg=running' not in gateway.log, 'other information is logged')


def test_cache_commands(bench):
    # By the gateway, and by the commands themselves where none runs.
    artifact, _ = make_artifact(bench, 'release-2', 1 << 16)
    server = MiniMender(bench, artifact, 'release-2')
    site = Site(bench, server.url, AUDIT_SYNC='never')

    def cache(*args):
        done = subprocess.run([BIN / 'mgw-gateway', 'cache', *args], env=site.environment, capture_output=True, text=True, timeout=60)
        check(done.returncode == 0, f'cache {args}: {done.stderr}')
    gateway = site.start()
    cache('import', str(artifact))
    cache('unpin', 'release-2')
    check(gateway.stop() == 0, 'the gateway did not end in order')
    for _ in range(3):
        cache('pin', 'release-2')
    cache('remove', 'release-2')
    site.run('verify')
    told = [(r['event'], r['objects'][0]['name'], r['done']) for r in site.records('--artifact', 'release-2')]
    check(told == [('cache_import', 'release-2', True), ('cache_unpin', 'release-2', True)] + [('cache_pin', 'release-2', True)] * 3 +
          [('cache_remove', 'release-2', True)], f'told: {told}')
    check(site.records('--artifact', 'release-2')[0]['objects'][0]['sha256'] == sha256(artifact.read_bytes()), 'not the digest')


def test_nothing_can_be_recorded(bench):
    server = bench.enter(Origin(os.urandom(1 << 16)))
    site = Site(bench, server.url, AUDIT_ON_FAILURE='refuse', ARTIFACTS_PROXY_CACHE_VERIFY='length')
    gateway = site.start()
    until(lambda: request(bench.pki, gateway.port, 'GET', HEALTH).status == 200, 20, 'the gateway to be ready')
    target = link(bench.pki, gateway.port)
    gateway.stop()
    aside = site.log.with_name('aside')
    site.log.rename(aside)
    site.log.write_text('not a record\n')  # stands for any disk that takes nothing
    gateway = site.start()
    answer = request(bench.pki, gateway.port, 'GET', HEALTH)
    check(answer.status == 503 and 'audit: nothing can be recorded' in answer.json()['reasons'], f'{answer.status} {answer.body}')
    answer = request(bench.pki, gateway.port, 'POST', '/api/devices/v1/authentication/auth_requests', body=b'{}')
    check(answer.status == 503 and answer.headers['retry-after'] == '60', f'an auth request: {answer.status}')
    with Connection(bench.pki, gateway.port) as connection:
        connection.send('GET', target)
        check(connection.closed(), 'a download was answered')
    check('nothing can be recorded in' in gateway.log, 'it is not told')
    site.log.unlink()
    aside.rename(site.log)
    until(lambda: request(bench.pki, gateway.port, 'GET', HEALTH).status == 200, 20, 'the gateway to be ready again')
    check(request(bench.pki, gateway.port, 'GET', target).status == 200, 'a download after it')
    gateway.stop()
    site.run('verify')
    refusing = Site(bench, server.url, AUDIT_PATH='')
    check('no audit log is kept' in refusing.run('verify', status=2), 'no log, and no word of it')


def test_who_is_let_in(bench):
    log = bench.path('audit', 'audit.log')
    server, gateway = mtls.start(bench, AUDIT_PATH=str(log))
    site = Site(bench, server.url)
    victim, thief = mtls.Certificate(bench, 'victim'), mtls.Certificate(bench, 'thief')
    stranger = mtls.Certificate(bench, 'stranger', ca='other-ca')
    check(mtls.ask(bench, gateway, stranger) is None, 'a client of another CA was served')
    check(mtls.enrol(bench, gateway, victim, {'mac': 'aa'}) == 200, 'the device was not accepted')
    check(mtls.enrol(bench, gateway, thief, {'mac': 'aa'}) == 401, 'a thief became the device')
    gateway.stop()
    site.run('verify')
    told = [(r['subject'], json.loads(r['identity'])['mac'], r['granted'], r['why']) for r in site.records('--event', 'authorization')]
    check(told == [('CN=victim', 'aa', True, 'is preauthorized'),
                   ('CN=thief', 'aa', False, 'the identity is bound to another subject')], f'told: {told}')
    check([(r['subject'], r['granted']) for r in site.records('--event', 'authentication')] == [('CN=victim', True), ('CN=thief', False)],
          'not what the server said')
    check([(json.loads(r['identity'])['mac'], 'device' in r) for r in site.records('--event', 'authentication')] == [('aa', True), ('aa', False)],
          f"not whom: {site.records('--event', 'authentication')}")
    check(len(site.records('--event', 'certificate_refused')) == 1, 'nothing of the stranger')
    check({r['event'] for r in site.records('--device', 'CN=thief')} == {'authorization', 'authentication'}, 'not found by subject')


def test_a_device_of_another_tenant(bench):
    artifact, _ = make_artifact(bench, 'release-1', 1 << 16)
    server = MiniMender(bench, artifact, 'release-1')
    site = Site(bench, server.url, ALLOWED_TENANTS='ours')
    gateway = site.start()
    body = json.dumps({'id_data': '{"mac": "bb"}', 'tenant_token': 'theirs', 'pubkey': ''}).encode()
    answer = request(bench.pki, gateway.port, 'POST', '/api/devices/v1/authentication/auth_requests', body=body)
    check(answer.status == 401, f'it was answered {answer.status}')
    gateway.stop()
    told = site.records('--device', '{"mac":"bb"}')
    check([(r['event'], r['peer'], r['identity']) for r in told] == [('tenant_refused', '127.0.0.1', '{"mac":"bb"}')], f'told: {told}')
    check(site.records('--event', 'authentication') == [], 'the server is said to have answered')
    check('theirs' not in site.log.read_text(), 'the token is in the log')


def test_small_ranges_and_cut_downloads(bench):
    size, step = 1 << 18, 4096
    server = bench.enter(Origin(os.urandom(size)))
    site = Site(bench, server.url, ARTIFACTS_PROXY_CACHE_VERIFY='length')
    gateway = site.start()
    target = link(bench.pki, gateway.port)
    with Connection(bench.pki, gateway.port) as connection:
        for at in range(0, size, step):
            connection.send('GET', target, {'Range': f'bytes={at}-{at + step - 1}'})
            check(connection.read().status == 206, f'the range at {at}')
    until(lambda: len(site.deliveries()) == 1, 20, 'a record of all ranges')
    with Connection(bench.pki, gateway.port) as connection:  # one that takes the first half only
        connection.send('GET', target, {'Range': f'bytes=0-{size // 2 - 1}'})
        check(connection.read().status == 206, 'the first half')
    forged = request(bench.pki, gateway.port, 'GET', target[:-1] + ('A' if target[-1] != 'A' else 'B'))
    check(forged.status == 403, f'a forged link: {forged.status}')
    gateway.stop()
    site.run('verify')
    told = [(r['from'], r['to'], r['whole'], r['pieces']) for r in site.deliveries()]
    check(told == [(0, size, True, size // step), (0, size // 2, False, 1)], f'told: {told}')
    check(len(site.records('--event', 'refusal')) == 1, 'nothing of the forged link')


def test_condemned_artifact(bench):
    path, payload = make_artifact(bench, 'release-2', 1 << 20)
    bad = bytearray(path.read_bytes())
    bad[bad.index(payload[:64]) + (1 << 19)] ^= 1
    server = bench.enter(Origin(bytes(bad)))
    site = Site(bench, server.url)
    gateway = site.start()
    target = link(bench.pki, gateway.port)
    for _ in range(2):  # the first one may have begun before the verdict
        request(bench.pki, gateway.port, 'GET', target)
    gateway.stop()
    site.run('verify')
    condemned = site.records('--event', 'condemned')
    check(condemned and 'payload.bin' in condemned[0]['why'], f'condemned: {condemned}')
    check(all(not r['whole'] for r in site.deliveries()), f'a bad artifact was delivered whole: {site.deliveries()}')
    check(site.records('--event', 'refusal', '--artifact', condemned[0]['object']) != [], 'the second one was not refused')
