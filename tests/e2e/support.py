"""What the end-to-end tests share: a test CA, processes that end, a forwarder that cuts, an origin, an HTTP client.

Python 3 standard library and Debian's openssl, mender-client and mender-artifact. Everything listens on loopback at ports
the kernel chose (or free_port), keeps its files in one temporary directory per test, and is ended by its own process id.
"""
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import tempfile
import threading
import time

BIN = pathlib.Path(os.environ.get('MGW_BIN', pathlib.Path(__file__).resolve().parents[2] / 'build/release/bin'))
MENDER = '/usr/bin/mender'


class Failure(Exception):
    """A test found something wrong."""


class Skip(Exception):
    """A test cannot be run on this machine; the sentence says why."""


def check(ok, text):
    if not ok:
        raise Failure(text)


def until(condition, seconds, what):
    """Polls `condition` until it returns something true, and returns that. Fails the test after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f'waited {seconds} s in vain for: {what}')
        time.sleep(0.05)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Bench:
    """One test's surroundings: a temporary directory, certificates, and everything that must end with the test."""

    def __init__(self, name):
        self.name = name
        # Not all of a long name: the path of the control socket in there has room for 107 bytes.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f'mgw-e2e-{name[:20]}-'))
        self.stack = contextlib.ExitStack()
        self.processes = []
        self._pki = None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        try:
            self.stack.close()
        finally:
            self.tails = [p.tail() for p in self.processes]
            shutil.rmtree(self.dir, ignore_errors=True)

    def enter(self, thing):
        return self.stack.enter_context(thing)

    def path(self, *parts):
        """A path in the temporary directory, whose folders exist."""
        out = self.dir.joinpath(*parts)
        out.parent.mkdir(parents=True, exist_ok=True)
        return out

    @property
    def pki(self):
        """Paths `ca`, `cert` and `key`: a CA and a server certificate of it for localhost and 127.0.0.1."""
        if self._pki is None:
            self._pki = make_pki(self.dir / 'pki')
        return self._pki

    def start(self, name, args, env=None, ready=None, wait=20, descriptors=()):
        """Starts a program. `ready` is a pattern that its standard output will hold within `wait` seconds."""
        process = Process(name, args, env, self.dir, f'{len(self.processes)}-{name}', descriptors)
        self.processes.append(process)
        self.enter(process)
        if ready:
            process.match = process.wait_for(ready, wait)
        return process


class Process:
    """A program whose output goes to files. Leaving the context ends it: SIGTERM, and SIGKILL after 10 s."""

    def __init__(self, name, args, env, directory, stem, descriptors=()):
        self.name = name
        self.out_path, self.err_path = directory / f'{stem}.out', directory / f'{stem}.err'
        own = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
        own.setdefault('ADMIN_LISTEN', '127.0.0.1:0')  # many gateways run at once
        with open(self.out_path, 'wb') as out, open(self.err_path, 'wb') as err:
            self.child = subprocess.Popen([str(a) for a in args], env={**own, **(env or {})}, cwd=directory,
                                          stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=descriptors)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.stop()

    @property
    def out(self):
        return self.out_path.read_text(errors='replace')

    @property
    def log(self):
        return self.err_path.read_text(errors='replace')

    def tail(self, lines=40):
        text = '\n'.join((self.out + self.log).splitlines()[-lines:])
        return f'--- end of what {self.name} wrote (exit status {self.child.poll()})\n{text}'

    def wait_for(self, pattern, seconds):
        def found():
            match = re.search(pattern, self.out)
            if not match and self.child.poll() is not None:
                raise Failure(f'{self.name} ended with {self.child.returncode}: {self.log[-500:]}')
            return match
        return until(found, seconds, f'{self.name} to write {pattern!r}')

    def stop(self, seconds=10):
        """Returns the exit status."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
        return self.child.wait()

    def peak_memory(self):
        """Largest resident size so far, in bytes."""
        status = pathlib.Path(f'/proc/{self.child.pid}/status').read_text()
        return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) * 1024


class Pki:
    def __init__(self, directory):
        self.ca, self.cert, self.key = directory / 'ca.crt', directory / 'server.crt', directory / 'server.key'

    def client(self):
        return ssl.create_default_context(cafile=str(self.ca))


def make_pki(directory):
    directory.mkdir()
    extensions = directory / 'server.ext'
    extensions.write_text('subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n')
    new_key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

    def openssl(*args):
        subprocess.run(['openssl', *args], cwd=directory, check=True, capture_output=True)
    openssl('req', '-x509', *new_key, '-days', '60', '-subj', '/CN=mgw test CA', '-keyout', 'ca.key', '-out', 'ca.crt')
    openssl('req', *new_key, '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr')
    openssl('x509', '-req', '-in', 'server.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '60',
            '-extfile', 'server.ext', '-out', 'server.crt')
    return Pki(directory)


# ---- the programs under test -----------------------------------------------------------------------------------------

def gateway_environment(bench, upstream, **more):
    """The gateway's settings: TLS on a port of the kernel's choice, its own cache and state directory."""
    cache, state = bench.path('cache'), bench.path('state')
    cache.mkdir(exist_ok=True)
    state.mkdir(exist_ok=True)
    return {'HTTPS_ENABLED': 'true', 'HTTPS_LISTEN': '127.0.0.1:0', 'HTTPS_SERVER_CERTIFICATE': str(bench.pki.cert),
            'HTTPS_SERVER_KEY': str(bench.pki.key), 'UPSTREAM_SERVER_URL': upstream,
            'UPSTREAM_SERVER_CA_CERTIFICATE': str(bench.pki.ca), 'ARTIFACTS_PROXY_CACHE_PATH': str(cache),
            'STATE_DIRECTORY': str(state), **more}


def start_gateway(bench, upstream, **more):
    """The gateway, running; `.port` is where it listens."""
    gateway = bench.start('gateway', [BIN / 'mgw-gateway'], gateway_environment(bench, upstream, **more),
                          ready=r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n')
    gateway.port = int(gateway.match[1])
    return gateway


class MiniMender:
    """The demo's server, running, with its control calls."""

    def __init__(self, bench, artifact, name, *args):
        self.process = bench.start('server', [BIN / 'mgw-mini-mender', '--listen', '127.0.0.1:0', '--cert', bench.pki.cert,
                                              '--key', bench.pki.key, '--artifact', artifact, '--artifact-name', name,
                                              '--device-type', DEVICE_TYPE, *args],
                                   ready=r'mgw-mini-mender listening on https://localhost:(\d+)\n')
        self.port = int(self.process.match[1])
        self.url = f'https://localhost:{self.port}'
        self.tls = bench.pki.client()

    def call(self, method, path):
        connection = http.client.HTTPSConnection('localhost', self.port, timeout=10, context=self.tls)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
            check(response.status in (200, 204), f'{method} {path}: {response.status} {body[:200]}')
            return body

    def stats(self):
        return json.loads(self.call('GET', '/demo/stats'))

    def post(self, path):
        self.call('POST', path)


# ---- Mender's own client ---------------------------------------------------------------------------------------------

DEVICE_TYPE = 'e2e-board'


def make_artifact(bench, name, size):
    """A .mender file with one payload file of `size` random bytes. Returns (path, payload).

    Mender's single-file module runs in DATA/modules/v3/payloads/0000/tree of the device: the relative destination puts
    the file into DATA/dest, so that devices on one machine do not share it.
    """
    payload = os.urandom(size)
    for file, content in (('dest_dir', b'../../../../../dest'), ('filename', b'payload.bin'), ('permissions', b'644'),
                          ('payload.bin', payload)):
        bench.path('artifact', file).write_bytes(content)
    out = bench.path(f'{name}.mender')
    subprocess.run(['mender-artifact', 'write', 'module-image', '-T', 'single-file', '-n', name, '-t', DEVICE_TYPE,
                    '--compression', 'none', '--software-name', 'payload', '--software-version', name, '-o', out,
                    '-f', 'dest_dir', '-f', 'filename', '-f', 'permissions', '-f', 'payload.bin'],
                   cwd=bench.path('artifact', 'payload.bin').parent, check=True, capture_output=True)
    return out, payload


class Device:
    """Debian's mender-client as a daemon of its own identity, data and destination, talking to https://localhost:PORT."""

    def __init__(self, bench, number, port, environment=None, retry=60, bus=False, **more):
        """`more`: further members of its configuration."""
        self.data = bench.path(f'device-{number}', 'data')
        self.data.mkdir()
        home = self.data.parent
        (home / 'device_type').write_text(f'device_type={DEVICE_TYPE}\n')
        (home / 'mender.conf').write_text(json.dumps({
            'ServerURL': f'https://localhost:{port}', 'ServerCertificate': str(bench.pki.ca), 'TenantToken': 'e2e',
            'UpdatePollIntervalSeconds': 1, 'InventoryPollIntervalSeconds': 30, 'RetryPollIntervalSeconds': retry,
            'DeviceTypeFile': str(home / 'device_type'), 'UpdateLogPath': str(self.data), 'DBus': {'Enabled': bus}, **more}))
        self.process = bench.start(f'device-{number}', [
            MENDER, '--config', home / 'mender.conf', '--fallback-config', home / 'none', '--data', self.data,
            '--no-syslog', '--log-level', 'debug', 'daemon'], {'MGW_E2E_DEVICE': f'{bench.name}-{number}', **(environment or {})})

    @property
    def log(self):
        return self.process.log

    def noticed_a_cut(self):
        return 'Download connection broken' in self.log or 'Attempting to resume' in self.log

    def payload(self):
        """What the update put there, or None."""
        try:
            return (self.data / 'dest' / 'payload.bin').read_bytes()
        except FileNotFoundError:
            return None


# ---- connections that break ------------------------------------------------------------------------------------------

class Forwarder:
    """Passes bytes to `port` and back. Once `cut_after` bytes of one connection have gone to the client, that connection
    ends: the client sees it close, the other side a reset. No other is ever cut. `pause`: seconds behind each full piece
    of 64 KiB to the client."""

    def __init__(self, port, cut_after, own_port=0, pause=0):
        self.target, self.cut_after, self.pause = port, cut_after, pause
        self.cut = threading.Event()
        self.lock = threading.Lock()
        self.listener = socket.create_server(('127.0.0.1', own_port))
        self.port = self.listener.getsockname()[1]
        self.open = set()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *failure):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for s in self.open:
                reset(s)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(('127.0.0.1', self.target))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.open |= {client, server}
            for source, sink, counts in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(source, sink, counts), daemon=True).start()

    def _pass(self, source, sink, counts):
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                if counts and self.pause:
                    time.sleep(self.pause * len(data) / 65536)
                passed += len(data)
                if counts and passed > self.cut_after:
                    with self.lock:
                        first = not self.cut.is_set()
                        self.cut.set()
                    if first:
                        reset(source)
                        break
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def reset(s):
    """Closes with a reset, even while another thread waits in recv."""
    with contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        s.shutdown(socket.SHUT_RDWR)
    s.close()


# ---- an origin that does as it is told -------------------------------------------------------------------------------

class Blob:
    """`size` bytes that need no room: one random block over and over, each time rotated by its number."""

    def __init__(self, size, block=1 << 20):
        self.size, self.block = size, block
        self.base = os.urandom(block) * 2

    def __getitem__(self, where):
        begin, end, _ = where.indices(self.size)
        out = []
        while begin < end:
            number, inside = divmod(begin, self.block)
            turn = number * 4099 % self.block
            piece = self.base[turn + inside:turn + min(self.block, inside + end - begin)]
            out.append(piece)
            begin += len(piece)
        return b''.join(out)


reserved = []


def free_port():
    """A port of loopback for what has to be told its port, or has to come back to one. It is bound here, by a socket that
    never listens, until this program ends: nobody else is given it (by us or by the kernel), and connections to it are
    refused as long as nobody listens. Who listens there sets SO_REUSEADDR, as servers do."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(('127.0.0.1', 0))
    reserved.append(held)
    return held.getsockname()[1]


class Origin:
    """A Mender server and its storage in one, over plain HTTP. Counts, and misbehaves on request.

    `artifact` is anything that can be sliced and has a `size`, or bytes. `requests` holds (method, path, headers, body)
    of all that came; `body_bytes` counts what of artifacts was sent. `artifact_answer`, if set, is called with
    (handler, start) instead of the honest answer. `api_answer`, if set, with (handler) for anything else.
    """
    PATH = '/storage/object'

    def __init__(self, artifact):
        self.artifact = artifact
        self.size = artifact.size if hasattr(artifact, 'size') else len(artifact)
        self.requests, self.body_bytes = [], 0
        self.artifact_answer = self.api_answer = None
        self.query = 'X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=900&X-Amz-Signature=abc'
        self.lock = threading.Lock()
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args):
                pass

            def read_body(self):
                if self.headers.get('Transfer-Encoding', '').lower() == 'chunked':
                    body = b''
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return body
                return self.rfile.read(int(self.headers.get('Content-Length', 0)))

            def answer(self):
                self.body = self.read_body()
                with origin.lock:
                    origin.requests.append((self.command, self.path, dict(self.headers), self.body))
                if self.path.startswith(origin.PATH):
                    origin.serve_artifact(self)
                elif origin.api_answer:
                    origin.api_answer(self)
                else:
                    origin.serve_api(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, address):
                pass

        self.server = Server(('127.0.0.1', free_port()), Handler)  # once it is gone, nobody else is there
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}'

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True).start()
        return self

    def __exit__(self, *failure):
        self.server.shutdown()
        self.server.server_close()

    def fetches(self):
        with self.lock:
            return [r for r in self.requests if r[1].startswith(self.PATH) and r[0] == 'GET']

    def serve_api(self, handler):
        if handler.path.endswith('/deployments/next'):
            return self.reply(handler, 200, json.dumps({
                'id': 'w81s4fae-7dec-11d0-a765-00a0c91e6bf6',
                'artifact': {'artifact_name': 'release-2', 'device_types_compatible': [DEVICE_TYPE],
                             'source': {'uri': f'{self.url}{self.PATH}?{self.query}',
                                        'expire': '2036-03-11T13:03:17.063493443Z'}}}).encode())
        return self.reply(handler, 404, b'{"error":"not found"}')

    def reply(self, handler, status, body):
        handler.send_response(status)
        handler.send_header('Content-Type', 'application/json')
        handler.send_header('Content-Length', str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def serve_artifact(self, handler):
        wanted = re.fullmatch(r'bytes=(\d+)-(\d*)', handler.headers.get('Range', ''))
        start = int(wanted[1]) if wanted else 0
        if self.artifact_answer:
            return self.artifact_answer(handler, start)
        end = min(int(wanted[2]) + 1, self.size) if wanted and wanted[2] else self.size
        self.head(handler, start if wanted else None, end, self.size)
        if handler.command == 'GET':
            self.send(handler, start, end)

    def head(self, handler, start, end, total):
        """The head of a 200, or of a 206 if `start` is not None."""
        handler.send_response(200 if start is None else 206)
        handler.send_header('ETag', '"v1"')
        handler.send_header('Accept-Ranges', 'bytes')
        handler.send_header('Content-Type', 'application/vnd.mender-artifact')
        if start is not None:
            handler.send_header('Content-Range', f'bytes {start}-{end - 1}/{total}')
        handler.send_header('Content-Length', str(end - (start or 0)))
        handler.end_headers()

    def send(self, handler, start, end, piece=1 << 18):
        while start < end:
            data = self.artifact[start:min(end, start + piece)]
            handler.wfile.write(data)
            with self.lock:
                self.body_bytes += len(data)
            start += len(data)


# ---- an HTTP client that hides nothing -------------------------------------------------------------------------------

class Answer:
    """`status` (None if none came), `headers` with lower-case names, `body`, and whether the body is `whole`."""

    def __init__(self):
        self.status, self.headers, self.body, self.whole = None, {}, b'', False

    def json(self):
        return json.loads(self.body)


class Connection:
    """One TLS connection to the gateway at `port`."""

    def __init__(self, pki, port, timeout=30, certificate=None):
        """`certificate`: has paths `cert` and `key`."""
        raw = socket.create_connection(('127.0.0.1', port), timeout)
        raw.settimeout(timeout)
        context = pki.client()
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # some versions of Python set it: every end would look clean
        if certificate:
            context.load_cert_chain(certificate.cert, certificate.key)
        self.socket = context.wrap_socket(raw, server_hostname='localhost')
        self.host = f'localhost:{port}'
        self.buffer = b''

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.socket.close()

    def recv(self, most=65536):
        """Bytes, or b'' once the peer has closed in whatever way."""
        if self.buffer:
            data, self.buffer = self.buffer[:most], self.buffer[most:]
            return data
        try:
            return self.socket.recv(most)
        except (ConnectionError, ssl.SSLError):
            return b''

    def send(self, method, target, headers=None, body=b''):
        fields = {'Host': self.host, **(headers or {})}
        if body:
            fields['Content-Length'] = len(body)
        head = f'{method} {target} HTTP/1.1\r\n' + ''.join(f'{k}: {v}\r\n' for k, v in fields.items()) + '\r\n'
        self.socket.sendall(head.encode('latin-1') + body)

    def read_head(self):
        answer, head = Answer(), b''
        while b'\r\n\r\n' not in head:
            data = self.recv()
            if not data:
                return answer
            head += data
        head, self.buffer = head.split(b'\r\n\r\n', 1)
        lines = head.decode('latin-1').split('\r\n')
        answer.status = int(lines[0].split(' ')[1])
        answer.headers = {k.lower(): v.strip() for k, v in (line.split(':', 1) for line in lines[1:])}
        return answer

    def read(self, method='GET', limit=None):
        """The answer to a request already sent; of its body at most `limit` bytes."""
        answer = self.read_head()
        if answer.status is None:
            return answer
        if method == 'HEAD' or answer.status in (204, 304):
            answer.whole = True
            return answer
        check('transfer-encoding' not in answer.headers, f'an unexpected coding: {answer.headers}')
        left, parts = int(answer.headers['content-length']), []
        if limit is not None:
            left = min(left, limit)
        while left:
            data = self.recv(min(left, 65536))
            if not data:
                break
            parts.append(data)
            left -= len(data)
        answer.body, answer.whole = b''.join(parts), left == 0
        return answer

    def closed(self):
        """Whether the peer closes without another byte."""
        return self.recv() == b''


def request(pki, port, method, target, headers=None, body=b'', timeout=30):
    with Connection(pki, port, timeout) as connection:
        connection.send(method, target, headers, body)
        return connection.read(method)


POLL = '/api/devices/v2/deployments/device/deployments/next'


def link(pki, port):
    """Polls as a device does and returns the target of the link that comes back."""
    answer = request(pki, port, 'POST', POLL, {'Authorization': 'Bearer e2e', 'Content-Type': 'application/json'},
                     b'{"device_provides":{"artifact_name":"release-1","device_type":"%s"}}' % DEVICE_TYPE.encode())
    check(answer.status == 200, f'the poll was answered {answer.status}: {answer.body[:300]}')
    uri = answer.json()['artifact']['source']['uri']
    prefix = f'https://localhost:{port}/'
    check(uri.startswith(prefix), f'the link is not the gateway\'s: {uri[:200]}')
    return uri[len(prefix) - 1:]
