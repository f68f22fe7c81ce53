"""What is found without being named, and what another user may not read."""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

from support import BIN, Skip, check, gateway_environment, until

NEEDS_CLIENT = True  # for mount namespaces
FILE = pathlib.Path('/etc/mender/mender-gateway.conf')
NOBODY = 65534


def run_beside(files, *args, env=None):
    """The gateway with these files ({path: text}) in directories of its own, which no other one sees: of those outside of
    /etc, the whole of /var/lib."""
    script = ' && '.join(['mount -t tmpfs none /etc/mender', 'mount -t tmpfs none /var/lib',
                          *(f'mkdir -p {path.parent} && printf %s {shlex.quote(text)} > {path}' for path, text in files.items()),
                          'exec "$0" "$@"'])
    return subprocess.run(['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, BIN / 'mgw-gateway', *args],
                          env=env, capture_output=True, text=True, timeout=60)


def test_the_configuration_file(bench):
    if 'MGW_E2E_NAMESPACE' not in os.environ:
        raise Skip('there may be no /etc/mender')
    done = run_beside({FILE: '{"Workers": 3}'}, '--print-config')
    check(done.returncode == 0, f'{done}')
    check(f'Workers = 3  (file {FILE}:1:13)' in done.stdout.splitlines(), f'another file was read, or none: {done.stdout}')


def test_a_file_at_the_former_place(bench):
    if 'MGW_E2E_NAMESPACE' not in os.environ:
        raise Skip('there may be no /etc/mender')
    former = pathlib.Path('/var/lib/mender/mender-gateway.conf')

    def mentioned(files):
        done = run_beside(files, '--check-config', env={**os.environ, **gateway_environment(bench, 'https://localhost:1')})
        check(done.returncode == 0, f'{done}')
        return f'{former} is not read; the configuration file is {FILE}' in done.stderr
    check(mentioned({former: '{}'}), 'it is not mentioned')
    check(not mentioned({former: '{}', FILE: '{}'}), 'it is mentioned although there is one at the usual place')


def test_a_key_that_only_root_may_read(bench):
    """The usual mistake with containers: the message has all that is needed to mend it."""
    program = bench.path('mgw-gateway')
    shutil.copy(BIN / 'mgw-gateway', program)  # the other user may not reach the build
    for path in (bench.dir, bench.pki.ca.parent):
        path.chmod(0o755)
    bench.pki.cert.chmod(0o644)
    bench.pki.ca.chmod(0o644)
    bench.pki.key.chmod(0o600)
    settings = gateway_environment(bench, 'https://localhost:1')
    done = subprocess.run(['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', program],
                          env={**os.environ, **settings}, capture_output=True, text=True, timeout=20)
    check(done.returncode == 2, f'{done}')
    for words in (f'HTTPS_SERVER_KEY (HTTPS.ServerKey) is "{bench.pki.key}"', 'Permission denied',
                  f'it belongs to uid 0, mode 0600, and we are uid {NOBODY}'):
        check(words in done.stderr, f'it does not say {words!r}: {done.stderr}')
    check_done = subprocess.run(['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', program, '--check-config'],
                                env={**os.environ, **settings}, capture_output=True, text=True, timeout=20)
    check(check_done.returncode == 1, f'{check_done}')
    for words in (f'HTTPS_SERVER_KEY (HTTPS.ServerKey) is "{bench.pki.key}"', 'StateDirectory) is "', 'ArtifactsCache.Path) is "',
                  f'needed: a directory that uid {NOBODY} may write to'):
        check(words in check_done.stderr, f'--check-config does not say {words!r}: {check_done.stderr}')


def test_a_low_port_without_the_right(bench):
    program = bench.path('mgw-gateway')
    shutil.copy(BIN / 'mgw-gateway', program)
    bench.dir.chmod(0o755)
    settings = {'HTTP_ENABLED': 'true', 'HTTP_LISTEN': ':80', 'UPSTREAM_SERVER_URL': 'http://localhost:1',
                'ARTIFACTS_PROXY_ENABLED': 'false'}
    # A network of its own: which ports are free to all is set for each.
    done = subprocess.run(['unshare', '--net', 'setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', program],
                          env={**os.environ, **settings}, capture_output=True, text=True, timeout=20)
    check(done.returncode == 1, f'{done}')
    for words in ('HTTP_LISTEN (HTTP.Listen) is ":80": cannot listen there: Permission denied',
                  f'uid {NOBODY} may take no port below 1024', 'AmbientCapabilities=CAP_NET_BIND_SERVICE',
                  'net.ipv4.ip_unprivileged_port_start=80'):
        check(words in done.stderr, f'it does not say {words!r}: {done.stderr}')


# Where no interface was ever up, Linux takes any address to listen on.
WITH_LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack('16sH', b'lo', 0x1))  # SIOCSIFFLAGS, IFF_UP
os.execv(sys.argv[1], sys.argv[1:])
"""
ADD_ADDRESS = """
import socket, struct
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as s:
    address = socket.inet_aton('192.0.2.1')
    body = struct.pack('=BBBBi', socket.AF_INET, 32, 0, 0, socket.if_nametoindex('lo'))
    for kind in (1, 2):  # IFA_ADDRESS, IFA_LOCAL
        body += struct.pack('=HH', 8, kind) + address
    s.send(struct.pack('=IHHII', 16 + len(body), 20, 0x605, 1, 0) + body)  # RTM_NEWADDR; request, ack, create, exclusive
    assert struct.unpack_from('=i', s.recv(4096), 16)[0] == 0
"""


def test_an_address_that_is_not_up_yet(bench):
    settings = gateway_environment(bench, 'https://localhost:1')
    settings['HTTPS_LISTEN'] = '192.0.2.1:8443'
    alone = ['unshare', '--net', sys.executable, '-c', WITH_LOOPBACK, BIN / 'mgw-gateway']
    late = bench.start('late', alone, settings)
    until(lambda: 'no interface has this address yet; it is tried again for 2m' in late.log or late.child.poll() is not None,
          10, 'the gateway to wait')
    check(late.child.poll() is None, f'it has ended: {late.log}')
    subprocess.run(['nsenter', f'--net=/proc/{late.child.pid}/ns/net', sys.executable, '-c', ADD_ADDRESS], check=True, timeout=20)
    until(lambda: 'mgw-gateway listening on https://192.0.2.1:8443\n' in late.out, 10, 'it to listen')
    check('the address is there, after ' in late.log, f'it does not say that it is there: {late.log}')
    stopped = bench.start('stopped', alone, {**settings, 'ARTIFACTS_PROXY_CACHE_ENABLED': 'false'})
    until(lambda: 'no interface has this address yet' in stopped.log, 10, 'the gateway to wait')
    stopped.child.terminate()
    until(lambda: stopped.child.poll() is not None, 10, 'its end')
    check(stopped.child.returncode == 0 and 'told to stop before' in stopped.log,
          f'{stopped.child.returncode}: {stopped.log}')
    never = bench.start('never', alone, {**settings, 'LISTEN_TIMEOUT': '100ms', 'ARTIFACTS_PROXY_CACHE_ENABLED': 'false'})
    until(lambda: never.child.poll() is not None, 10, 'the end of the wait')
    check(never.child.returncode == 1 and 'no interface of this machine has this address' in never.log,
          f'{never.child.returncode}: {never.log}')


def test_a_machine_without_ca_certificates(bench):
    settings = gateway_environment(bench, 'https://localhost:1')
    del settings['UPSTREAM_SERVER_CA_CERTIFICATE']
    empty = bench.path('empty')
    empty.mkdir()
    bare = {**settings, 'SSL_CERT_DIR': str(empty), 'SSL_CERT_FILE': '/nonexistent'}
    done = subprocess.run([BIN / 'mgw-gateway'], env={**os.environ, **bare}, capture_output=True, text=True, timeout=20)
    check(done.returncode == 2, f'{done}')
    for words in ('UPSTREAM_SERVER_URL (UpstreamServer.URL) is "https://localhost:1"', 'there are no CA certificates',
                  f'none in {empty}', 'UPSTREAM_SERVER_CA_CERTIFICATE'):
        check(words in done.stderr, f'it does not say {words!r}: {done.stderr}')
