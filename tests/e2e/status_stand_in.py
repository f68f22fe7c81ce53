"""Stands in for the gateway's own listener: the page's files under the gateway's policy, and a status that a test writes."""
import contextlib
import copy
import http.server
import json
import pathlib
import socket
import threading
import time

from support import free_port

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'examples/gateway/status/page'
POLICY = ("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'")
MIB = 1 << 20


def example(now=None):
    """A status in mid-update, as docs/status.md describes it."""
    now = int(now or time.time())
    devices = [{'device': f'device-{n:02}', 'seen': now - n % 7, 'doing': 'GET artifact', 'artifact': 'release-2',
                'bytes': (40 + n) * MIB, 'size': 100 * MIB, 'state': 'downloading', 'why': ''} for n in range(12)]
    devices[3].update(state='held', why='waits for the link')
    devices[4].update(state='cut', why='the device closed the connection', seen=now - 95)
    devices += [{'device': f'device-{n}', 'seen': now - 30 * n, 'doing': 'POST status', 'artifact': 'release-1', 'bytes': 64 * MIB,
                 'size': 64 * MIB, 'state': 'done', 'why': ''} for n in range(12, 17)]
    devices += [{'device': f'device-{n}', 'seen': now - 60 * n, 'doing': 'POST next deployment', 'artifact': '', 'bytes': None,
                 'size': None, 'state': 'idle', 'why': ''} for n in range(17, 20)]
    history = [{'at': now - 60 * (60 - n), 'upstream': min(n, 10) * 10 * MIB + max(0, n - 50) * 5 * MIB,
                'delivered': max(0, n - 3) * 20 * MIB} for n in range(61)]
    up, down = history[-1]['upstream'], history[-1]['delivered']
    return {
        'version': '0.3.0', 'now': now, 'started': now - 13500, 'ready': True, 'reasons': [], 'warnings': [],
        'upstream': {'url': 'https://hosted.mender.io', 'state': 'reachable', 'reason': '', 'since': now - 13000,
                     'latency_ms': {'median': 12.5, 'p95': 80.0, 'requests': 120}},
        'link': {'bytes_per_second': 812345, 'limit': MIB, 'held_downloads': 1, 'held_reports': 0, 'requests_per_second': 3.2},
        'saved': {'upstream_bytes': up, 'again_bytes': 0, 'delivered_bytes': down, 'saved_bytes': down - up,
                  'percent': 100 * (down - up) / down, 'history': history},
        'fills': [{'name': 'release-2', 'host': 'storage.example.com', 'size': 100 * MIB, 'have': 52 * MIB, 'bytes_per_second': 812345,
                   'seconds_left': 62, 'readers': 11, 'state': 'fetching', 'why': '', 'started': now - 64}],
        'cache': {'enabled': True, 'size': 1400 * MIB, 'max_size': 10240 * MIB, 'pinned_bytes': 64 * MIB, 'parts': 1, 'objects': 3,
                  'trouble': '', 'more': 0, 'list': [
                      {'name': 'release-1', 'host': 'storage.example.com', 'size': 64 * MIB, 'added': now - 86400 * 9, 'used': now - 360,
                       'hits': 40, 'pinned': True, 'verified': True},
                      {'name': 'base-os-12.4', 'host': 'storage.example.com', 'size': 1200 * MIB, 'added': now - 86400 * 31,
                       'used': now - 86400 * 2, 'hits': 7, 'pinned': False, 'verified': True},
                      {'name': 'sensor-fw-3', 'host': 'files.example.org', 'size': 3 * MIB, 'added': now - 7200, 'used': now - 7000,
                       'hits': 212, 'pinned': False, 'verified': False}]},
        'devices': {'count': 20, 'more': 0, 'list': devices},
        'problems': [{'at': now - 300, 'level': 'error', 'text': 'storage.example.com closed the connection after 31.0 MiB; the download went on from there', 'times': 3},
                     {'at': now - 9000, 'level': 'warning', 'text': 'the certificate of this gateway ends in 12 days', 'times': 1}],
        'connections': {'open': 21, 'limit': 10000},
    }


class StandIn:
    """`status`: what is told, a JSON value; `tell(...)` changes it and sends it to all who listen. `silent`: takes no connections."""

    def __init__(self, essentials='<h2>Upstream</h2><p>reachable</p>'):
        self.essentials, self.status, self.version, self.asked = essentials, example(), 0, []
        self.changed = threading.Condition()
        self.events, self.open, self.port = True, set(), free_port()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *failure):
        self.stop()

    def start(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args):
                pass

            def setup(self):
                super().setup()
                with outer.changed:
                    outer.open.add(self.connection)
                    if outer.running is not server:  # taken just before the end
                        self.connection.shutdown(socket.SHUT_RDWR)

            def finish(self):
                with outer.changed:
                    outer.open.discard(self.connection)
                super().finish()

            def head(self, kind, length=None):
                self.send_response(200)
                for name, value in (('Content-Type', kind), ('Content-Security-Policy', POLICY), ('X-Content-Type-Options', 'nosniff'),
                                    ('Cache-Control', 'no-store'), ('Referrer-Policy', 'no-referrer')):
                    self.send_header(name, value)
                self.send_header(*(('Content-Length', length) if length is not None else ('Connection', 'close')))
                self.end_headers()

            def do_GET(self):
                outer.asked.append(self.path)
                if self.path == '/events' and outer.events:
                    return self.send_events()
                names = {'/': ('page.html', 'text/html; charset=utf-8'), '/status.css': ('status.css', 'text/css; charset=utf-8'),
                         '/status.js': ('status.js', 'text/javascript; charset=utf-8')}
                if self.path in names:
                    name, kind = names[self.path]
                    body = (PAGE / name).read_text(encoding='utf-8').replace('<!-- essentials -->', outer.essentials).encode()
                elif self.path == '/status.json':
                    kind, body = 'application/json', json.dumps(outer.status).encode()
                else:
                    return self.send_error(404)
                self.head(kind, len(body))
                self.wfile.write(body)

            def send_events(self):
                self.head('text/event-stream')
                self.close_connection, seen = True, -1
                while True:
                    with outer.changed:
                        outer.changed.wait_for(lambda: outer.version != seen or outer.running is not server, 1)
                        if outer.running is not server:
                            return
                        seen, data = outer.version, json.dumps(outer.status)
                    try:
                        self.wfile.write(f'event: status\ndata: {data}\n\n'.encode())
                    except OSError:
                        return

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            block_on_close = False

            def handle_error(self, *args):
                pass

        server = Server(('127.0.0.1', self.port), Handler)
        self.running, self.port = server, server.server_address[1]
        self.url = f'http://127.0.0.1:{self.port}/'
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """As if the gateway had ended: nobody listens, and what was open is closed."""
        server = self.running
        server.shutdown()
        server.server_close()
        with self.changed:
            self.running = None
            self.changed.notify_all()
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def tell(self, change):
        """`change(status)` changes a copy of what is told."""
        with self.changed:
            new = copy.deepcopy(self.status)
            change(new)
            self.status, self.version = new, self.version + 1
            self.changed.notify_all()
