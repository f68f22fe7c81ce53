"""Devices whose program cannot be run here, in the behaviour that a gateway sees of them: the C++ client (4.x to 6.x) and
mender-mcu on Zephyr. Their clocks can be shortened; what they accept and what they do about the rest is theirs.

Each runs in a thread of its own (`start`), enrols, reports its inventory, polls, and updates once. A test looks at:
`outcome` (see `Client`), `body` (what was downloaded), `statuses` (what it reported), `answers` (status of each answer to a
download; None where there was none), `connections` (how many it made).
"""
import base64
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

from support import DEVICE_TYPE, Connection, check, sha256

API = '/api/devices/v1'
NEXT_V1, NEXT_V2 = API + '/deployments/device/deployments/next', '/api/devices/v2/deployments/device/deployments/next'


class Gone(Exception):
    """No answer came: refused, reset, closed, or silent for too long."""


class Client:
    """What the two have in common. `outcome`: None while it runs; `success`; `failure`, told to the server; `aborted` by the
    server; `wedged`: it runs, and will never be heard of again; or the text of an exception."""
    USER_AGENT = None
    POLL = 0.2  # seconds

    def __init__(self, bench, number, port, certificate=None):
        """`certificate`: has `cert` and `key`, paths of a client certificate (the C++ client sends the first one of its file
        only) and of its key, which is the device's, too."""
        self.mac, self.port, self.has = f'{bench.name}-{number}', port, 'release-1'
        context = self.make_context(bench.pki)
        if certificate:
            self.key = certificate.key
            context.load_cert_chain(certificate.cert, certificate.key)
        else:
            self.key = bench.path('clients', f'{number}.key')
            self.openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', self.key)
        self.trust = type('Trust', (), {'client': lambda _: context})()
        self.token = self.outcome = self.deployment = None
        self.body, self.statuses, self.answers, self.connections = bytearray(), [], [], 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        bench.stack.callback(self.stopped.set)

    def make_context(self, pki):
        return pki.client()

    def start(self):
        self.thread.start()
        return self

    def sha256(self):
        return sha256(bytes(self.body))

    @staticmethod
    def openssl(*args, **more):
        return subprocess.run(['openssl', *map(str, args)], check=True, capture_output=True, **more).stdout

    def _run(self):
        try:
            while not self.enrol() or not self.report_inventory():
                self.wait(self.POLL)
            while not (offer := self.poll()):
                self.wait(self.POLL)
            self.deployment = offer['id']
            self.outcome = self.update(offer['artifact']['source']['uri'])
        except BaseException as e:  # noqa: B902
            self.outcome = repr(e)

    def wait(self, seconds):
        if self.stopped.wait(seconds):
            raise Gone('the test is over')

    # The lines of a request's head after the first one, but Host's.
    def fields(self, body):
        out = [f'User-Agent: {self.USER_AGENT}'] if self.USER_AGENT else []
        if self.token:
            out.append(f'Authorization: Bearer {self.token}')
        return out + (['Content-Type: application/json', f'Content-Length: {len(body)}'] if body else [])

    def host(self, port):
        return f'localhost:{port}'

    def connect(self, port, timeout):
        self.connections += 1
        try:
            connection = Connection(self.trust, port, timeout)
        except OSError as e:
            raise Gone(repr(e)) from e
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def write(self, connection, data):
        connection.socket.sendall(data)

    def send(self, connection, method, target, fields, body=b''):
        try:
            self.write(connection, '\r\n'.join([f'{method} {target} HTTP/1.1', *fields, '', '']).encode() + body)
        except OSError as e:
            raise Gone(repr(e)) from e

    def call(self, method, target, body=b'', extra=()):
        """A call of the API, on a connection of its own."""
        with self.connect(self.port, 120) as connection:
            self.send(connection, method, target, [f'Host: {self.host(self.port)}', *self.fields(body), *extra], body)
            answer = connection.read(method)
        if answer.status is None:
            raise Gone('closed without an answer')
        return answer

    def tried(self, *args, **more):
        """The answer, or None."""
        try:
            return self.call(*args, **more)
        except (Gone, OSError):
            return None

    def enrol(self):
        body = json.dumps({'id_data': json.dumps({'mac': self.mac}), 'pubkey': self.openssl(
            'pkey', '-in', self.key, '-pubout').decode(), 'tier': self.TIER}).encode()
        signature = base64.b64encode(self.openssl('dgst', '-sha256', '-sign', self.key, input=body)).decode()
        self.token = None
        answer = self.tried('POST', API + '/authentication/auth_requests', body,
                            (*self.AUTHORIZATION, f'X-MEN-Signature: {signature}'))
        if answer and answer.status == 200:
            self.token = answer.body.decode()
        return self.token

    def report_inventory(self):
        answer = self.tried('PUT', API + '/inventory/device/attributes', json.dumps([
            {'name': 'device_type', 'value': DEVICE_TYPE}, {'name': 'artifact_name', 'value': self.has}]).encode())
        return answer and answer.status == 200

    def poll(self):
        body = json.dumps({'device_provides': {'artifact_name': self.has, 'device_type': DEVICE_TYPE}}).encode()
        answer = self.tried('POST', NEXT_V2, body)
        if answer and answer.status == 404:
            answer = self.tried('GET', f'{NEXT_V1}?{self.query()}')
        if answer and answer.status == 401:
            self.enrol()
        return answer.json() if answer and answer.status == 200 else None

    def query(self):
        return urllib.parse.urlencode({'artifact_name': self.has, 'device_type': DEVICE_TYPE})

    def report(self, status):
        """The status of the server's answer, or None."""
        self.statuses.append(status)
        path = f'{API}/deployments/device/deployments/{self.deployment}/'
        if status == 'failure':
            log = {'messages': [{'timestamp': '2026-01-01T00:00:00Z', 'level': 'error', 'message': 'it failed'}]}
            self.tried('PUT', path + 'log', json.dumps(log).encode())
        answer = self.tried('PUT', path + 'status', json.dumps({'status': status}).encode())
        return answer and answer.status

    def update(self, uri):
        if self.report('downloading') == 409:
            return 'aborted'
        outcome = self.download(uri)
        if outcome != 'success':
            if outcome == 'failure':
                self.report('failure')
            return outcome
        for status in ('installing', *self.BEFORE_SUCCESS, 'success'):
            for _ in range(4):
                answered = self.report(status)
                if answered in (204, 409):
                    break
                self.wait(self.POLL)
            if answered != 204:
                return 'aborted' if answered == 409 else 'failure'
        return 'success'


class CppClient(Client):
    """mender-update 5.x: a connection for each request, closed after the answer. The first answer to a download has to be
    200 with a length, any other ends the deployment at once; no answer, a body that breaks off or is silent for `silence`
    costs a try, and after `retry_wait` it asks for exactly the rest. To that it takes exactly that, by Content-Range; any
    other answer wedges it. There are `tries` in all, whatever comes in between."""
    TIER, AUTHORIZATION, BEFORE_SUCCESS = 'standard', ('Authorization: API_KEY',), ()

    def __init__(self, bench, number, port, silence=300, retry_wait=60, tries=10, user_agent='Mender/5.1.0',
                 certificate=None):
        super().__init__(bench, number, port, certificate)
        self.silence, self.retry_wait, self.tries = silence, retry_wait, tries
        self.USER_AGENT = user_agent  # before 5.1 there was none
        self.lost_tries, self.length = 0, None

    def download(self, uri):
        while True:
            outcome = self.attempt(urllib.parse.urlsplit(uri))
            if outcome:
                return outcome
            if self.lost_tries == self.tries:
                return 'wedged' if self.length else 'failure'
            self.lost_tries += 1
            self.wait(self.retry_wait)

    def attempt(self, uri):
        """None: it may be tried again."""
        fields = [f'Host: {uri.netloc}'] + ([f'User-Agent: {self.USER_AGENT}'] if self.USER_AGENT else [])
        if self.length:
            fields.append(f'Range: bytes={len(self.body)}-{self.length - 1}')
        try:
            with self.connect(uri.port or 443, 600) as connection:
                self.send(connection, 'GET', f'{uri.path}?{uri.query}' if uri.query else uri.path, fields)
                head = connection.read_head()  # no limit of time here
                self.answers.append(head.status)
                if head.status is None:
                    return None
                if not self.length:
                    if head.status != 200:
                        return 'failure'
                    self.length = int(head.headers['content-length'])
                elif (head.status, head.headers.get('content-range')) != (
                        206, f'bytes {len(self.body)}-{self.length - 1}/{self.length}'):
                    return 'wedged'
                connection.socket.settimeout(self.silence)
                while len(self.body) < self.length and (data := connection.recv()):
                    self.body += data
        except (Gone, OSError):
            pass
        return 'success' if self.length == len(self.body) else None


class McuClient(Client):
    """mender-mcu on Zephyr: TLS 1.2, requests in pieces of 192 bytes, `Host` without a port, and twice for downloads.

    `ranges`: it reads so many bytes at a time, each by a request of its own on one connection, and tries each piece three
    times, half a second apart. 0: a plain GET, which has to be over within `limit` seconds, else it begins anew after
    `backoff`."""
    USER_AGENT, TIER, AUTHORIZATION, BEFORE_SUCCESS = 'Mender/1.0.0 MCU Zephyr/4.2.0', 'micro', (), ('rebooting',)
    PIECE, TRIES = 192, 3

    def __init__(self, bench, number, port, ranges=2048, limit=60, backoff=60):
        super().__init__(bench, number, port)
        self.ranges, self.limit, self.backoff = ranges, limit, backoff
        self.lost_tries, self.downloads = 0, 0

    def make_context(self, pki):
        context = pki.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    def host(self, port):
        return 'localhost'

    def query(self):  # as it is, whatever is in it
        return f'artifact_name={self.has}&device_type={DEVICE_TYPE}'

    def write(self, connection, data):
        for at in range(0, len(data), self.PIECE):
            connection.socket.sendall(data[at:at + self.PIECE])

    def ask(self, connection, uri, *fields):
        self.send(connection, 'GET', uri.path, [f'Host: {uri.hostname}', f'User-Agent: {self.USER_AGENT}',
                                                f'Host: {uri.hostname}', *fields])

    def download(self, uri):
        uri = urllib.parse.urlsplit(uri)
        return self.download_ranges(uri) if self.ranges else self.download_plain(uri)

    def download_ranges(self, uri):
        connection, total, tries = None, None, 0
        try:
            while total is None or len(self.body) < total:
                first = len(self.body)
                last = first + self.ranges - 1 if total is None else min(first + self.ranges, total) - 1
                try:
                    if connection is None:
                        self.downloads += 1
                        connection = self.connect(uri.port or 443, self.limit)
                    self.ask(connection, uri, f'Range: bytes={first}-{last}')
                    answer = connection.read()
                    self.answers.append(answer.status)
                    if not answer.whole and answer.status in (None, 206):
                        raise Gone('closed')
                except (Gone, OSError):
                    tries += 1
                    self.lost_tries += 1
                    if connection:
                        connection.socket.close()
                    connection = None
                    if tries == self.TRIES:
                        return 'failure'
                    self.wait(0.5)
                    continue
                unit, _, size = answer.headers.get('content-range', '').partition('/')
                if answer.status != 206 or not answer.body or not size.isdigit() or not unit.startswith(f'bytes {first}-'):
                    return 'failure'
                self.body += answer.body
                total, tries = int(size), 0
        finally:
            if connection:
                connection.socket.close()
        return 'success'

    def download_plain(self, uri):
        while True:
            self.body, end = bytearray(), time.monotonic() + self.limit
            try:
                self.downloads += 1
                with self.connect(uri.port or 443, self.limit) as connection:
                    self.ask(connection, uri)
                    head = connection.read_head()
                    self.answers.append(head.status)
                    if head.status is not None and head.status != 200:
                        return 'failure'
                    while head.status == 200:
                        connection.socket.settimeout(max(end - time.monotonic(), 0.001))
                        data = connection.recv()
                        self.body += data
                        if len(self.body) == int(head.headers['content-length']):
                            return 'success'
                        if not data or time.monotonic() > end:
                            break
            except (Gone, OSError):
                pass
            self.lost_tries += 1
            self.wait(self.backoff)


def check_success(client, artifact):
    """It updated, with the right bytes, and said so."""
    check(client.outcome == 'success', f'{client.mac}: {client.outcome}; answers {client.answers[-5:]}')
    check(client.body == artifact, f'{client.mac}: other bytes than the server has')
    check(client.statuses[-1] == 'success' and 'failure' not in client.statuses, f'{client.mac}: {client.statuses}')
