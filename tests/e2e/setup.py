"""`mgw-gateway setup`: what it makes works as it is, with the gateway, Debian's mender-client and the openssl command."""
import json
import os
import stat
import subprocess

from support import (BIN, DEVICE_TYPE, MENDER, Forwarder, MiniMender, Pki, check, make_artifact, request, until)

NEEDS_CLIENT = True


def setup(*arguments):
    return subprocess.run([BIN / 'mgw-gateway', 'setup', *map(str, arguments)], capture_output=True, text=True, timeout=30)


def start(bench, out):
    """The gateway as the first of the next steps says, on a port of the kernel's choice."""
    script = 'set -a; . "$0"; HTTPS_LISTEN=127.0.0.1:0; exec "$1"'
    gateway = bench.start('gateway', ['sh', '-c', script, out / 'gateway.env', BIN / 'mgw-gateway'],
                          ready=r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n')
    gateway.port = int(gateway.match[1])
    return gateway


def verified(out, *name):
    done = subprocess.run(['openssl', 'verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', out / 'ca.crt', *name,
                           out / 'server.crt'], capture_output=True, text=True)
    return done.returncode == 0


def alive(out, port):
    return request(Pki(out), port, 'GET', '/api/internal/v1/gateway/alive').status == 204


def test_a_device_enrols_by_what_it_made(bench):
    artifact, payload = make_artifact(bench, 'release-2', 1 << 20)
    server = MiniMender(bench, artifact, 'release-2')
    out = bench.dir / 'gate way'
    # Stands where devices look for the gateway, whose own port is known only when it runs.
    front = bench.enter(Forwarder(0, 1 << 40))
    made = setup('--host', 'localhost', '--host', '127.0.0.1', '--upstream', server.url, '--upstream-ca', bench.pki.ca,
                 '--out', out, '--port', front.port, '--device-ca', out / 'device/gateway-ca.crt')
    check(made.returncode == 0 and '\n3. ' in made.stdout, f'{made.returncode}: {made.stdout}{made.stderr}')
    for path in out.rglob('*'):
        mode = stat.S_IMODE(path.stat().st_mode)
        expected = 0o600 if path.suffix == '.key' else 0o644
        check(path.is_dir() or mode == expected, f'{path} has mode {mode:o}')
    check(verified(out, '-verify_hostname', 'localhost'), 'openssl does not verify the name')
    check(verified(out, '-verify_ip', '127.0.0.1'), 'openssl does not verify the address')
    check(not verified(out, '-verify_hostname', 'other.example'), 'openssl verifies any name')

    gateway = start(bench, out)
    front.target = gateway.port
    check(alive(out, front.port), 'the gateway is not there')
    home = bench.path('device', 'data', 'x').parent
    (home / 'device_type').write_text(f'device_type={DEVICE_TYPE}\n')
    (home / 'rest.conf').write_text(json.dumps({  # what the device had before
        'TenantToken': 'e2e', 'UpdatePollIntervalSeconds': 1, 'InventoryPollIntervalSeconds': 30,
        'RetryPollIntervalSeconds': 60, 'DeviceTypeFile': str(home / 'device_type'), 'UpdateLogPath': str(home),
        'DBus': {'Enabled': False}}))
    bench.start('device', [MENDER, '--config', out / 'device/mender.conf', '--fallback-config', home / 'rest.conf', '--data',
                           home, '--no-syslog', '--log-level', 'debug', 'daemon'], {'MGW_E2E_DEVICE': bench.name})
    until(lambda: any('success' in d['statuses'] for d in server.stats()['devices'].values()), 60, 'the update to succeed')
    check((home / 'dest/payload.bin').read_bytes() == payload, 'the device installed other bytes than were packed')
    check(any((out / 'cache/objects').rglob('*')), 'nothing is in the cache')


def test_renewal(bench):
    out = bench.dir / 'gateway'
    arguments = ('--host', 'localhost', '--upstream', 'https://localhost:1', '--out', out)
    check(setup(*arguments).returncode == 0, 'nothing was made')
    checked = subprocess.run(['sh', '-c', 'set -a; . "$0"; exec "$1" --check-config', out / 'gateway.env', BIN / 'mgw-gateway'],
                             capture_output=True, text=True)
    check(checked.returncode == 0 and not checked.stderr, f'{checked.returncode}: {checked.stderr}')
    gateway = start(bench, out)
    check(alive(out, gateway.port), 'the gateway is not there')
    gateway.stop()
    before = {p: p.read_bytes() for p in out.rglob('*') if p.is_file()}

    again = setup(*arguments)
    check(again.returncode == 2 and '--renew' in again.stderr, f'{again.returncode}: {again.stderr}')
    check(before == {p: p.read_bytes() for p in before}, 'a second setup changed something')
    renewed = setup('--renew', '--out', out)
    check(renewed.returncode == 0 and 'for localhost, good until' in renewed.stdout, renewed.stdout + renewed.stderr)
    changed = [p.name for p in before if p.read_bytes() != before[p]]
    check(changed == ['server.crt'], f'changed: {changed}')
    check(verified(out, '-verify_hostname', 'localhost'), 'openssl does not verify the new certificate')
    check(alive(out, start(bench, out).port), 'the gateway is not there again')


def test_refusals_leave_nothing(bench):
    out = bench.dir / 'gateway'
    for arguments, says in ((('--host', 'localhost:443'), '--host is "localhost:443"; accepted: '),
                            (('--host', 'localhost', '--upstream', 'localhost'), '--upstream is "localhost"; accepted: '),
                            (('--host', 'localhost', '--days', 'ever'), '--days is "ever"; accepted: ')):
        tried = setup(*arguments, '--out', out)
        check(tried.returncode == 2 and says in tried.stderr, f'{tried.returncode}: {tried.stderr}')
        check(len(tried.stderr.splitlines()) == 1 and not tried.stdout, tried.stdout + tried.stderr)
        check(os.listdir(bench.dir) == [], f'there is {os.listdir(bench.dir)}')
