"""Behind Debian's squid: credentials, both kinds of requests, 407, and a proxy that dies in mid-download.

The names of the servers are in squid's own hosts file: nobody else can find them.
"""
import os
import pathlib
import pwd
import shutil
import socket
import ssl
import subprocess
import threading

from support import POLL, Connection, Origin, Skip, check, free_port, link, request, start_gateway, until

HELPER = '/usr/lib/squid/basic_ncsa_auth'
USER, PASSWORD, CREDENTIALS = 'gateway', 'p@ss:w/rd', 'g%61teway:p%40ss%3Aw%2Frd'
SETTINGS = {'ARTIFACTS_PROXY_CACHE_VERIFY': 'off', 'LOG_LEVEL': 'info'}


class Squid:
    """A squid on loopback that lets in who knows the password."""

    def __init__(self, bench):
        self.program = shutil.which('squid', path=os.environ['PATH'] + ':/usr/sbin')
        if not self.program or os.geteuid() != 0:
            raise Skip('squid is not installed' if not self.program else 'needs root')
        self.bench, self.dir = bench, bench.path('squid', 'squid.conf').parent
        os.chmod(bench.dir, 0o711)
        self.port = free_port()
        hashed = subprocess.run(['openssl', 'passwd', '-apr1', PASSWORD], check=True, capture_output=True, text=True).stdout
        (self.dir / 'passwords').write_text(f'{USER}:{hashed}')
        (self.dir / 'hosts').write_text('127.0.0.1 mender.test\n')
        self.conf = self.dir / 'squid.conf'
        self.conf.write_text(f'''
http_port 127.0.0.1:{self.port}
auth_param basic program {HELPER} {self.dir}/passwords
auth_param basic children 2
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
hosts_file {self.dir}/hosts
dns_nameservers 127.0.0.1
cache deny all
cache_mem 8 MB
pid_filename none
access_log stdio:{self.dir}/access.log
logfile_rotate 0
cache_log {self.dir}/cache.log
coredump_dir {self.dir}
visible_hostname squid.test
shutdown_lifetime 0 seconds
pinger_enable off
max_filedescriptors 1024
''')
        owner = pwd.getpwnam('proxy')
        for path in (self.dir, *self.dir.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        self.start()

    def start(self):
        self.process = self.bench.start('squid', [self.program, '-N', '-f', self.conf])
        until(self.answers, 30, 'squid to listen')

    def answers(self):
        check(self.process.child.poll() is None, f'squid ended: {self.process.log[-500:]}')
        try:
            socket.create_connection(('127.0.0.1', self.port), 5).close()
            return True
        except ConnectionRefusedError:
            return False

    def url(self, credentials=CREDENTIALS):
        return f'http://{credentials}@127.0.0.1:{self.port}'

    def log(self):
        path = pathlib.Path(self.dir, 'access.log')
        return path.read_text() if path.exists() else ''


def named(origin, tls=False):
    """The origin under the name that only squid knows."""
    port = origin.server.server_address[1]
    origin.url = f'{"https" if tls else "http"}://mender.test:{port}'
    return origin


def whole(bench, gateway, data):
    answer = request(bench.pki, gateway.port, 'GET', link(bench.pki, gateway.port))
    check(answer.status == 200 and answer.body == data, f'the download: status {answer.status}, {len(answer.body)} bytes')


def test_http_with_credentials(bench):
    squid, data = Squid(bench), os.urandom(1 << 20)
    origin = named(bench.enter(Origin(data)))
    gateway = start_gateway(bench, origin.url, HTTP_PROXY=squid.url(), **SETTINGS)
    whole(bench, gateway, data)
    _, path, headers, _ = origin.fetches()[0]
    check('squid' in headers.get('Via', '') and path.endswith(origin.query), f'not through squid: {path} {headers}')
    check('Proxy-Authorization' not in headers, 'the password went further than the proxy')
    until(lambda: f' GET {origin.url}{origin.PATH}' in squid.log() and f' {USER} ' in squid.log(), 10, 'squid to log it')
    check('through an HTTP proxy' in gateway.log and 'p%40ss' not in gateway.log and PASSWORD not in gateway.log,
          f'the log: {gateway.log[:500]}')


def test_https_through_connect(bench):
    squid, data = Squid(bench), os.urandom(1 << 20)
    origin = Origin(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bench.pki.cert, bench.pki.key)
    origin.server.socket = context.wrap_socket(origin.server.socket, server_side=True)
    named(bench.enter(origin), tls=True)
    gateway = start_gateway(bench, origin.url, https_proxy=squid.url(), UPSTREAM_SERVER_INSECURE_SKIP_VERIFY='true',
                            **SETTINGS)
    whole(bench, gateway, data)
    check('Via' not in origin.fetches()[0][2], 'squid saw what was in the tunnel')
    gateway.stop()
    until(lambda: f' CONNECT mender.test:{origin.server.server_address[1]} {USER} ' in squid.log(), 10, 'squid to log it')


def test_wrong_password(bench):
    squid = Squid(bench)
    for scheme, variable in (('http', 'HTTP_PROXY'), ('https', 'HTTPS_PROXY')):
        origin = bench.enter(Origin(b'x'))
        url = f'{scheme}://mender.test:{origin.server.server_address[1]}'
        gateway = start_gateway(bench, url, **{variable: squid.url(f'{USER}:wrong')}, **SETTINGS)
        answer = request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': 'Bearer e2e'}, b'{}')
        check(answer.status == 502, f'the poll was answered {answer.status}')
        check('proxy-authenticate' not in answer.headers, 'the device is asked for the proxy\'s password')
        until(lambda g=gateway: 'proxy: the proxy wants other credentials (407)' in g.log, 10, 'the log to say why')
        check(not origin.requests, 'something got through')
        gateway.stop()


def test_private_addresses_are_refused_by_name(bench):
    squid = Squid(bench)
    origin = named(bench.enter(Origin(b'x')))
    gateway = start_gateway(bench, origin.url, HTTP_PROXY=squid.url(), **SETTINGS)
    target = link(bench.pki, gateway.port)
    for address in ('10.1.2.3', '[::ffff:10.1.2.4]'):
        origin.url = f'http://{address}'
        answer = request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': 'Bearer e2e'}, b'{}')
        check(answer.json()['artifact']['source']['uri'].startswith(f'http://{address}/'), f'not left as it is: {answer.body}')

    def elsewhere(handler, start):
        handler.send_response(302)
        handler.send_header('Location', 'http://169.254.169.254/latest/meta-data/')
        handler.send_header('Content-Length', '0')
        handler.end_headers()

    origin.artifact_answer = elsewhere
    answer = request(bench.pki, gateway.port, 'GET', target)
    check(answer.status == 403, f'a redirect into the private network was answered {answer.status}')
    for host in ('10.1.2.3', '::ffff:10.1.2.4', '169.254.169.254'):
        lines = [line for line in gateway.log.splitlines() if f'host {host}, which has the private address {host},' in line]
        check(len(lines) == 1 and 'ARTIFACTS_PROXY_DOMAIN_WHITELIST' in lines[0] and
              'UPSTREAM_ALLOW_PRIVATE_ADDRESSES' in lines[0], f'{host} is told of thus: {lines}')
    check('169.254' not in squid.log() and '10.1.2' not in squid.log(), 'squid was asked for it')


def test_squid_dies_in_mid_download(bench):
    squid, data = Squid(bench), os.urandom(2 << 20)
    origin = named(bench.enter(Origin(data)))
    dead = threading.Event()

    def half(handler, start):
        origin.artifact_answer = None
        origin.head(handler, None, len(data), len(data))
        origin.send(handler, start, len(data) // 2)
        dead.wait(60)
        handler.close_connection = True

    origin.artifact_answer = half
    gateway = start_gateway(bench, origin.url, HTTP_PROXY=squid.url(), **SETTINGS)
    target = link(bench.pki, gateway.port)
    with Connection(bench.pki, gateway.port, timeout=120) as download:
        download.send('GET', target)
        first = download.read(limit=256 << 10)
        check(first.status == 200, f'the download did not begin: {first.status}')
        squid.process.child.kill()
        squid.process.child.wait()
        dead.set()
        until(lambda: 'proxy mender.test' in gateway.log, 30, 'the log to name the proxy')
        answer = request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': 'Bearer e2e'}, b'{}')
        check(answer.status == 502, f'a poll without a proxy was answered {answer.status}')
        squid.start()
        rest = b''
        while len(first.body) + len(rest) < len(data):
            piece = download.recv()
            check(piece, f'the download ended after {len(first.body) + len(rest)} bytes')
            rest += piece
    check(first.body + rest == data, 'other bytes came')
    fetches = origin.fetches()
    check(len(fetches) == 2 and 'Range' in fetches[1][2], f'fetched {len(fetches)} times: {fetches[1:]}')
