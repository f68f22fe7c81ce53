"""`mgw-gateway setup`: what it makes works as it is, with the gateway, Debian's mender-client and the openssl command."""
import json
import os
import re
import shutil
import stat
import subprocess

from support import (BIN, DEVICE_TYPE, MENDER, Forwarder, MiniMender, Origin, Pki, check, link, make_artifact, request, until)

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
    until(lambda: any(p.is_file() for p in (out / 'cache/objects').rglob('*')), 20, 'something to be in the cache')


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


# A container as docker makes it of a compose file: mounts, a read-only root, a user, no capabilities.
CONTAINER = """set -e
program=$1 user=$2 group=$3
shift 3
for d in /var/cache /var/lib /etc/mender; do mount -t tmpfs -o mode=755 tmpfs $d; done
for volume; do
  from=${volume%%:*} to=${volume#*:}
  to=${to%:ro}
  if [ -d "$from" ]; then mkdir -p $to; else mkdir -p ${to%/*}; touch $to; fi
  mount --bind "$from" $to
done
for d in /var/cache /var/lib /etc/mender /; do mount -o remount,bind,ro $d; done
exec setpriv --reuid=$user --regid=$group --clear-groups --bounding-set=-all --no-new-privs "$program"
"""


def test_the_compose_file(bench):
    """What it says is enough for the gateway, which keeps artifacts and links, and is not root."""
    body = make_artifact(bench, 'release-2', 300_000)[0].read_bytes()
    origin = bench.enter(Origin(body))
    out = bench.dir / 'gateway'
    made = setup('--host', 'localhost', '--upstream', origin.url, '--out', out)
    check(made.returncode == 0, f'{made}')
    text = (out / 'compose.yaml').read_text()
    check('    read_only: true\n' in text and '    cap_drop: [ALL]\n' in text, text)
    user, group = re.search(r'    user: "(\d+):(\d+)"', text).groups()
    check(user != '0', f'it runs as root: {text}')
    environment = dict(re.findall(r'^      ([A-Z_]+): "(.*)"$', text, re.M))
    check(re.search(r'    ports: \["443:8443", "127\.0\.0\.1:9103:9103"\]', text) and environment['ADMIN_LISTEN'] == ':9103', text)
    volumes = [f'{out}/{v.removeprefix("./")}' for v in re.findall(r'^      - (\./.*)$', text, re.M)]
    program = bench.path('bin', 'mgw-gateway')
    shutil.copy(BIN / 'mgw-gateway', program)
    bench.dir.chmod(0o755)
    for run in range(2):
        gateway = bench.start('gateway', ['unshare', '-m', '--propagation', 'private', 'sh', '-c', CONTAINER, 'sh', program, user,
                                          group, *volumes], {**environment, 'HTTPS_LISTEN': '127.0.0.1:0', 'ADMIN_LISTEN': '127.0.0.1:0'},
                              ready=r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n')
        port = int(gateway.match[1])
        answer = request(Pki(out), port, 'GET', link(Pki(out), port))
        check(answer.status == 200 and answer.body == body, f'{answer.status}: {len(answer.body)} bytes')
        health = request(Pki(out), port, 'GET', '/api/internal/v1/gateway/health')
        check(health.status == 200 and health.json() == {'ready': True}, f'{health.status}: {health.body}')
        until(lambda: any(p.is_file() for p in (out / 'cache/objects').rglob('*')), 20, 'the artifact to be kept')
        check(gateway.stop(40) == 0 and 'level=err' not in gateway.log and 'level=warn' not in gateway.log, gateway.log)
    check(len(origin.fetches()) == 1, f'it was fetched {len(origin.fetches())} times: nothing was kept')
    check((out / 'state/link-secret').stat().st_uid == int(user), 'who owns the state?')
