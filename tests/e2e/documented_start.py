"""What the original's documentation says to start starts ours: its container with nothing but its own variables, its sample
file, the file of its examples package.
"""
import contextlib
import copy
import http.client
import json
import shutil
import subprocess
import sys

from mtls import USER, Certificate, enrol, trust
from support import (BIN, Device, MiniMender, Origin, check, link, make_artifact, request, until)
from usual_places import WITH_LOOPBACK

NEEDS_CLIENT = True  # that is: root, Mender's client, and mount namespaces
NOBODY = 65534
CERTS = '/etc/mender/certs'
# The container's root: nobody has made the directories of ours, and uid 65534 may not. Its trust is the system's.
CONTAINER = """set -e
for d in /var/cache /var/lib /etc/mender; do mount -t tmpfs -o mode=755 tmpfs $d; done
mkdir /etc/mender/certs
for f in server.crt server.key devices.crt; do touch /etc/mender/certs/$f; mount --bind "$1/$f" /etc/mender/certs/$f; done
mount -t tmpfs -o mode=755 tmpfs /etc/ssl/certs
cp "$1/ca.crt" "/etc/ssl/certs/$(openssl x509 -hash -noout -in "$1/ca.crt").0"
if [ "$2" = ro ]; then for d in /var/cache /var/lib /etc/mender /; do mount -o remount,bind,ro $d; done; fi
shift 2
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --no-new-privs "$@"
"""


def docker_run(bench, upstream, root, devices=None, **more):
    """`docker run` as the original documents it, here at a port of the kernel's choice."""
    program, certs = bench.path('bin', 'mgw-gateway'), bench.path('certs', 'server.crt').parent
    shutil.copy(BIN / 'mgw-gateway', program)  # the other user may not reach the build
    for name, source in (('server.crt', bench.pki.cert), ('server.key', bench.pki.key), ('ca.crt', bench.pki.ca),
                         ('devices.crt', devices or bench.pki.ca)):
        shutil.copy(source, certs / name)
        (certs / name).chmod(0o644)
    shutil.chown(certs / 'server.key', NOBODY, NOBODY)
    (certs / 'server.key').chmod(0o600)
    for path in (bench.dir, program.parent, certs):
        path.chmod(0o755)
    gateway = bench.start('gateway', ['unshare', '-m', '--propagation', 'private', 'sh', '-c', CONTAINER, 'sh', certs, root,
                                      program, '--log-level', 'debug'],
                          {'HTTPS_ENABLED': 'true', 'HTTPS_LISTEN': ':0', 'HTTPS_SERVER_CERTIFICATE': f'{CERTS}/server.crt',
                           'HTTPS_SERVER_KEY': f'{CERTS}/server.key', 'UPSTREAM_SERVER_URL': upstream, **more},
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


def test_docker_run_with_certificates_of_devices(bench):
    artifact, _ = make_artifact(bench, 'release-2', 300_000)
    server = MiniMender(bench, artifact, 'release-2', *USER)
    one = Certificate(bench, 'device-1')
    gateway = docker_run(bench, server.url, 'rw', bench.path('clients', 'device-ca.crt'), MTLS_ENABLED='true',
                         MTLS_CA_CERTIFICATE=f'{CERTS}/devices.crt', MTLS_MENDER_USERNAME='gw@example.com', MTLS_MENDER_PASSWORD='pass:word')
    check(enrol(bench, gateway, one, {'mac': 'aa'}) == 200, 'the device is not authorized')
    forgets = [e for e in gateway.log.splitlines() if 'level=err' in e and 'is forgotten with this process' in e]
    check(len(forgets) == 1 and f'uid {NOBODY}' in forgets[0] and 'Permission denied' in forgets[0], f'{forgets}')
    with contextlib.closing(http.client.HTTPSConnection('localhost', gateway.port, timeout=20, context=trust(bench, one))) as connection:
        connection.request('GET', '/api/internal/v1/gateway/health')
        told = json.load(connection.getresponse())
    check(any(w.startswith('certificates: ') for w in told['warnings']), f'{told}')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')


# Every key of the original's page on its configuration, in the order it has there; names and secrets are of the same form.
SAMPLE = {
    'Features': {
        'ArtifactsProxy': {
            'Enabled': True, 'GatewayURL': 'https://gateway.example', 'DomainWhitelist': ['s3.amazonaws.com'],
            'ArtifactsCache': {'Enabled': True, 'Path': '/var/cache/mender-gateway',
                               'SignatureSecret': 'KDbQ+Z9asYtPdRQoakM5lGs6xgkWyNx4', 'LinkExpireDuration': '30m'}},
        'mTLS': {'Enabled': True, 'CACertificate': '/etc/mender/ca.pem', 'MenderUsername': 'gw@example',
                 'MenderPassword': 'password', 'BlacklistPath': '/var/lib/mender/blacklist.txt'},
        'DeviceSystem': {'Enabled': False, 'SystemID': 'site-7', 'DefaultInventory': [{'Name': 'region', 'Value': 'eu'}]}},
    'HTTP': {'Enabled': False, 'Listen': ':80'},
    'HTTPS': {'Enabled': True, 'Listen': ':443', 'MinimumTLSVersion': '1.2', 'ServerCertificate': '/etc/mender/cert.pem',
              'ServerKey': '/etc/mender/key.pem'},
    'UpstreamServer': {'URL': 'https://hosted.mender.io', 'CACertificate': '/etc/mender/upstream.pem', 'InsecureSkipVerify': False},
    'Metrics': {'Enabled': False, 'Listen': ':9102'},
}
# That of its package of examples.
EXAMPLE = {
    'Features': {'ArtifactsProxy': {'Enabled': True, 'GatewayURL': 'https://gateway.docker.mender.io',
                                    'DomainWhitelist': ['s3.amazonaws.com']}},
    'HTTPS': {'Enabled': True, 'Listen': ':443',
              'ServerCertificate': '/usr/share/doc/mender-gateway/examples/cert/cert.crt',
              'ServerKey': '/usr/share/doc/mender-gateway/examples/cert/private.key'},
    'UpstreamServer': {'URL': 'https://hosted.mender.io', 'CACertificate': '/etc/mender/upstream.pem'},
}
# A machine, as a package would leave it.
MACHINE = """set -e
for d in /var/cache /var/lib /etc/mender /usr/share/doc; do mount -t tmpfs -o mode=755 tmpfs $d; done
mkdir -p /var/lib/mender /usr/share/doc/mender-gateway/examples/cert
cp "$1/conf" /etc/mender/mender-gateway.conf
cp "$1/devices.crt" /etc/mender/ca.pem
echo 0badcafe > /var/lib/mender/blacklist.txt
for crt in /etc/mender/cert.pem /usr/share/doc/mender-gateway/examples/cert/cert.crt; do cp "$1/server.crt" $crt; done
for key in /etc/mender/key.pem /usr/share/doc/mender-gateway/examples/cert/private.key; do cp "$1/server.key" $key; done
cp "$1/ca.crt" /etc/mender/upstream.pem
shift
exec "$@"
"""
PROBE = """
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
if sys.argv[2:]: context.load_cert_chain(sys.argv[2], sys.argv[3])
connection = http.client.HTTPSConnection('localhost', 443, timeout=20, context=context)
try:
    connection.request('GET', '/api/internal/v1/gateway/alive')
    print(connection.getresponse().status)
except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
    print('refused')
"""


def start_with_file(bench, name, content):
    """The gateway with this file at its usual place, in a network of its own, where the usual port is free."""
    files = bench.path(name, 'conf').parent
    (files / 'conf').write_text(json.dumps(content, indent=2))
    for target, source in (('server.crt', bench.pki.cert), ('server.key', bench.pki.key), ('ca.crt', bench.pki.ca),
                           ('devices.crt', bench.path('clients', 'device-ca.crt'))):
        shutil.copy(source, files / target)
    return bench.start(name, ['unshare', '--mount', '--net', '--propagation', 'private', 'sh', '-c', MACHINE, 'sh', files,
                              sys.executable, '-c', WITH_LOOPBACK, BIN / 'mgw-gateway'],
                       ready=r'mgw-gateway listening on https://\[::\]:443\n')


def alive(bench, gateway, *certificate):
    done = subprocess.run(['nsenter', f'--net=/proc/{gateway.child.pid}/ns/net', sys.executable, '-c', PROBE, bench.pki.ca,
                           *certificate], capture_output=True, text=True, timeout=30)
    check(done.returncode == 0, f'{done}')
    return done.stdout.strip()


def test_the_sample_file_and_that_of_the_examples(bench):
    device = Certificate(bench, 'device')
    sample = start_with_file(bench, 'sample', SAMPLE)
    check(alive(bench, sample, device.cert, device.key) == '204', f'with a certificate: {sample.log}')
    check(alive(bench, sample) == 'refused', 'without a certificate it is served')
    lower = copy.deepcopy(SAMPLE)
    lower['Features']['mtls'] = lower['Features'].pop('mTLS')  # as files in the field have it
    lower['DebugLog'] = True
    fielded = start_with_file(bench, 'fielded', lower)
    check(alive(bench, fielded, device.cert, device.key) == '204', f'with a certificate: {fielded.log}')
    check(alive(bench, fielded) == 'refused', 'without a certificate it is served')
    example = start_with_file(bench, 'example', EXAMPLE)
    check(alive(bench, example) == '204', f'{example.log}')
    for gateway in (sample, fielded, example):
        check('msg="configuration file loaded" file="/etc/mender/mender-gateway.conf"' in gateway.log, gateway.log)
        start = gateway.log.split('msg=running')[0]
        check('level=err' not in start and 'level=warn' not in start, f'it complains: {start}')
        check(gateway.stop() == 0, f'the gateway did not end cleanly: {gateway.log}')
