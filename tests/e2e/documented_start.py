"""What the original's documentation says to start starts ours: its container with nothing but its own variables, its sample
file, the file of its examples package.
"""
import json
import shutil

from support import (BIN, Device, MiniMender, Origin, check, link, make_artifact, request, until)

NEEDS_CLIENT = True  # that is: root, Mender's client, and mount namespaces
NOBODY = 65534
CERTS = '/etc/mender/certs'
# The container's root: nobody has made the directories of ours, and uid 65534 may not. Its trust is the system's.
CONTAINER = """set -e
for d in /var/cache /var/lib /etc/mender; do mount -t tmpfs -o mode=755 tmpfs $d; done
mkdir /etc/mender/certs
for f in server.crt server.key; do touch /etc/mender/certs/$f; mount --bind "$1/$f" /etc/mender/certs/$f; done
mount -t tmpfs -o mode=755 tmpfs /etc/ssl/certs
cp "$1/ca.crt" "/etc/ssl/certs/$(openssl x509 -hash -noout -in "$1/ca.crt").0"
if [ "$2" = ro ]; then for d in /var/cache /var/lib /etc/mender /; do mount -o remount,bind,ro $d; done; fi
shift 2
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --no-new-privs "$@"
"""


def docker_run(bench, upstream, root):
    """`docker run` as the original documents it, here at a port of the kernel's choice."""
    program, certs = bench.path('bin', 'mgw-gateway'), bench.path('certs', 'server.crt').parent
    shutil.copy(BIN / 'mgw-gateway', program)  # the other user may not reach the build
    for name, source in (('server.crt', bench.pki.cert), ('server.key', bench.pki.key), ('ca.crt', bench.pki.ca)):
        shutil.copy(source, certs / name)
        (certs / name).chmod(0o644)
    shutil.chown(certs / 'server.key', NOBODY, NOBODY)
    (certs / 'server.key').chmod(0o600)
    for path in (bench.dir, program.parent, certs):
        path.chmod(0o755)
    gateway = bench.start('gateway', ['unshare', '-m', '--propagation', 'private', 'sh', '-c', CONTAINER, 'sh', certs, root,
                                      program, '--log-level', 'debug'],
                          {'HTTPS_ENABLED': 'true', 'HTTPS_LISTEN': ':0', 'HTTPS_SERVER_CERTIFICATE': f'{CERTS}/server.crt',
                           'HTTPS_SERVER_KEY': f'{CERTS}/server.key', 'UPSTREAM_SERVER_URL': upstream},
                          ready=r'mgw-gateway listening on https://\[::\]:(\d+)\n')
    gateway.port = int(gateway.match[1])
    return gateway


def check_errors(gateway, reason):
    errors = [line for line in gateway.log.splitlines() if 'level=err' in line]
    cache = [e for e in errors if 'ARTIFACTS_PROXY_CACHE_PATH (Features.ArtifactsProxy.ArtifactsCache.Path) is not set' in e]
    state = [e for e in errors if 'STATE_DIRECTORY (StateDirectory) is not set' in e]
    check(len(cache) == 1 and len(state) == 1 and len(errors) == 2, f'not one line for each directory: {errors}')
    for line, place in ((cache[0], '/var/cache/mender-gateway'), (state[0], '/var/lib/mender-gateway')):
        for part in (f'uid {NOBODY}', f'its default {place}', reason, 'mount a directory there'):
            check(part in line, f'{part!r} is not in {line}')


def test_docker_run_without_any_place_to_write(bench):
    artifact, payload = make_artifact(bench, 'release-2', 300_000)
    server = MiniMender(bench, artifact, 'release-2')
    gateway = docker_run(bench, server.url, 'rw')
    check_errors(gateway, 'Permission denied')
    device = Device(bench, 1, gateway.port)
    until(lambda: device.payload() == payload, 60, 'the device to have its update')
    health = request(bench.pki, gateway.port, 'GET', '/api/internal/v1/gateway/health')
    check(health.status == 200, f'{health.status}: {health.body}')
    told = json.loads(health.body)
    check(told['ready'] and told['warnings'][0].startswith('cache: '), f'{told}')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')


def test_docker_run_with_a_read_only_root(bench):
    body = make_artifact(bench, 'release-2', 300_000)[0].read_bytes()
    origin = bench.enter(Origin(body))
    gateway = docker_run(bench, origin.url, 'ro')
    check_errors(gateway, 'Read-only file system')
    for _ in range(2):
        answer = request(bench.pki, gateway.port, 'GET', link(bench.pki, gateway.port))
        check(answer.status == 200 and answer.body == body, f'{answer.status}: {len(answer.body)} bytes')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
