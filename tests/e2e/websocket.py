"""WebSockets over TLS on both legs of the gateway: many and big frames, ends of every kind, silence, a stop."""
import base64
import contextlib
import hashlib
import os
import queue
import select
import signal
import socket
import ssl
import struct
import threading
import time

from support import Connection, check, reset, start_gateway, until

CONNECT = '/api/devices/v1/deviceconnect/connect'
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10
MIB = 1 << 20


def frame(what, payload, masked):
    """A whole frame. Source: RFC 6455 5.2."""
    n, mask = len(payload), 0x80 if masked else 0
    if n < 126:
        head = struct.pack('>BB', 0x80 | what, mask | n)
    elif n < 1 << 16:
        head = struct.pack('>BBH', 0x80 | what, mask | 126, n)
    else:
        head = struct.pack('>BBQ', 0x80 | what, mask | 127, n)
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + unmasked(key, payload)


def unmasked(key, payload):
    n = len(payload)
    pad = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, 'big') ^ int.from_bytes(pad, 'big')).to_bytes(n, 'big')


class End:
    """One end of a WebSocket over TLS. Its server's end sends without masks."""

    def __init__(self, tls, server, left=b''):
        self.tls, self.server, self.buffer = tls, server, bytearray(left)

    def send(self, what, payload):
        self.tls.sendall(frame(what, payload, not self.server))

    def take(self, n):
        while len(self.buffer) < n:
            data = self.tls.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data
        out = bytes(self.buffer[:n])
        del self.buffer[:n]
        return out

    def read(self):
        """The next frame, as (opcode, payload). EOFError: a clean end came instead; any other: one that is not."""
        first, second = self.take(2)
        n = second & 0x7F
        if n == 126:
            n, = struct.unpack('>H', self.take(2))
        elif n == 127:
            n, = struct.unpack('>Q', self.take(8))
        check((second > 0x7F) == self.server, 'a mask where none belongs, or none')
        key = self.take(4) if second > 0x7F else None
        payload = self.take(n)
        return first & 0x0F, unmasked(key, payload) if key else payload

    def send_and_receive(self, data, n):
        """Both at once, until `data` is sent and `n` bytes are in the buffer. (Python's TLS bears one thread only.)"""
        self.tls.setblocking(False)
        data = memoryview(data)
        while data or len(self.buffer) < n:
            stuck = full = True
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                data = data[self.tls.send(data[:65536]):] if data else data
                full = False
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self.buffer += (got := self.tls.recv(65536))
                check(got, 'an end too early')
                stuck = False
            if stuck and (full or not data and len(self.buffer) < n):
                check(any(select.select([self.tls], [self.tls] if data else [], [], 30)), 'nothing moves for 30 s')
        self.tls.settimeout(30)

    def ends(self):
        """How: 'clean' or 'broken'. Check failure: a frame came."""
        try:
            got = self.read()
        except (EOFError, ssl.SSLZeroReturnError):
            return 'clean'
        except (ConnectionError, ssl.SSLError):
            return 'broken'
        raise AssertionError(f'a frame came: {got[0]}, {len(got[1])} bytes')

    def end_sending(self):
        """Says that no more comes, and still reads."""
        self.tls.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.tls.settimeout(30)


class Server:
    """A TLS server that switches each connection to WebSocket; `ends` has them, one after the other."""

    def __init__(self, bench):
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        self.context.load_cert_chain(bench.pki.cert, bench.pki.key)
        self.listener = bench.enter(contextlib.closing(socket.create_server(('127.0.0.1', 0))))
        self.url = f'https://localhost:{self.listener.getsockname()[1]}'
        self.ends = queue.Queue()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.switch, args=self.listener.accept()[:1], daemon=True).start()

    def switch(self, raw):
        raw.settimeout(30)
        with contextlib.suppress(OSError):
            tls, head = self.context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=False), b''
            while b'\r\n\r\n' not in head:
                head += tls.recv(65536)
            head, left = head.split(b'\r\n\r\n', 1)
            fields = dict(line.split(': ', 1) for line in head.decode().split('\r\n')[1:])
            key = {k.lower(): v for k, v in fields.items()}['sec-websocket-key']
            accept = hashlib.sha1(key.encode() + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest()
            tls.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                        b'Sec-WebSocket-Accept: ' + base64.b64encode(accept) + b'\r\n\r\n')
            self.ends.put(End(tls, True, left))


def connect(bench, server, gateway):
    """A device's WebSocket: its end and the server's."""
    connection = bench.enter(Connection(bench.pki, gateway.port))
    connection.socket.suppress_ragged_eofs = False
    connection.send('GET', CONNECT, {'Authorization': 'Bearer x', 'Connection': 'Upgrade', 'Upgrade': 'websocket',
                                     'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ=='})
    answer = connection.read_head()
    check(answer.status == 101, f'not switched: {answer.status}')
    check(answer.headers['sec-websocket-accept'] == 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=', 'not the server\'s answer')
    other = server.ends.get(timeout=30)
    bench.stack.callback(other.tls.close)
    return End(connection.socket, False, connection.buffer), other


def start(bench, **more):
    server = Server(bench)
    return server, start_gateway(bench, server.url, **more)


def test_many_and_big_frames_both_ways(bench):
    server, gateway = start(bench)
    both = connect(bench, server, gateway)
    frames = [b'%d' % i for i in range(10_000)] + [os.urandom(16 * MIB) for _ in range(2)] + [b'', b'the end']
    failures = []

    def talk(end):
        try:
            end.send_and_receive(b''.join(frame(BINARY, payload, not end.server) for payload in frames),
                                 sum(len(frame(BINARY, payload, end.server)) for payload in frames))
            for n, payload in enumerate(frames):
                check(end.read() == (BINARY, payload), f'frame {n} is another one')
        except Exception as e:  # noqa: B902
            failures.append(repr(e))

    threads = [threading.Thread(target=talk, args=(end,)) for end in both]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not failures, f'{failures}')
    high = gateway.peak_memory()
    check(high < 96 * MIB, f'{high >> 10} KiB of memory')
    client, other = both
    client.send(CLOSE, b'\x03\xe8')
    check(other.read() == (CLOSE, b'\x03\xe8'), 'no close frame')
    other.send(CLOSE, b'\x03\xe8')
    check(client.read() == (CLOSE, b'\x03\xe8'), 'no close frame')


def test_one_side_ends_and_the_other_goes_on(bench):
    server, gateway = start(bench)
    for turn in (0, 1):
        both = connect(bench, server, gateway)
        ends, goes_on = both[turn], both[1 - turn]
        ends.send(BINARY, b'the last one')
        ends.end_sending()
        check(goes_on.read() == (BINARY, b'the last one') and goes_on.ends() == 'clean', 'the end is not passed on')
        for n in range(20):
            goes_on.send(BINARY, b'%d' % n * 50_000)
            check(ends.read() == (BINARY, b'%d' % n * 50_000), 'what came after the end of the other way')
        goes_on.end_sending()
        check(ends.ends() == 'clean', 'the second end is not passed on')
    until(lambda: gateway.log.count('status=101') == 2, 10, 'the lines of both')


def test_abrupt_ends(bench):
    server, gateway = start(bench)
    witness = connect(bench, server, gateway)

    def vanish(end):  # no close_notify: TLS must not take it for an end
        end.tls.shutdown(socket.SHUT_RDWR)
        end.tls.close()
    for how in (vanish, lambda end: reset(end.tls)):
        for turn in (0, 1):
            for midway in (False, True):
                both = connect(bench, server, gateway)
                both[turn].send(BINARY, b'hello')
                check(both[1 - turn].read() == (BINARY, b'hello'), 'nothing comes')
                if midway:  # in a frame
                    both[turn].tls.sendall(frame(BINARY, b'x' * MIB, turn == 0)[:1000])
                    both[1 - turn].take(1000)
                how(both[turn])
                check(both[1 - turn].ends() == 'broken', 'an abrupt end was passed on as a clean one')
    witness[0].send(PING, b'still there')
    check(witness[1].read() == (PING, b'still there'), 'another WebSocket was disturbed')


def test_a_stop_closes_them(bench):
    """Each side gets a close frame that says so, behind the frame that is under way."""
    server, gateway = start(bench)
    idle, busy = connect(bench, server, gateway), connect(bench, server, gateway)
    big = frame(BINARY, b'x' * MIB, True)
    busy[0].tls.sendall(big[:MIB // 2])
    busy[1].take(MIB // 2)  # it is on its way
    gateway.child.send_signal(signal.SIGTERM)
    for end in idle:
        what, payload = end.read()
        check(what == CLOSE and payload[:2] == b'\x03\xe9', f'{what}: {payload}')
        check(end.ends() == 'clean', 'no clean end')
    busy[0].tls.sendall(big[MIB // 2:])
    rest = busy[1].take(len(big) - MIB // 2)
    check(rest == big[MIB // 2:], 'the frame that was under way did not come')
    what, payload = busy[1].read()
    check(what == CLOSE and payload[:2] == b'\x03\xe9', f'{what}: {payload}')
    check(gateway.child.wait(20) == 0, 'it did not end well')


def test_silence_ends_them(bench):
    """A ping now and then is no silence."""
    server, gateway = start(bench, LIMITS_TUNNEL_SILENCE='2s')
    client, other = connect(bench, server, gateway)
    begun = time.monotonic()
    while time.monotonic() < begun + 3:
        other.send(PING, b'.')
        check(client.read() == (PING, b'.'), 'no ping')
        time.sleep(0.1)
    for end in (client, other):
        end.ends()
