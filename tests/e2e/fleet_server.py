"""A Mender server and its storage in one, as tests of whole clients want it: it keeps what devices report, their logs too, and
may code its answers or give each device an artifact of its own. And a relay before a server, which may be down for a while."""
import base64
import contextlib
import gzip
import json
import socket
import threading

from support import DEVICE_TYPE, Origin, free_port, reset


class FleetServer(Origin):
    """Answers the whole device API. `devices` maps what a device is (the `mac` of its identity) to what it sent: `statuses`,
    oldest first, `log` (text), `inventory`. Each device gets `artifact`, named `name`, until it reported an end of it.

    `coded`: answers to calls are coded with gzip, asked for or not, as some front ends do; the artifact is where the request
    allows it. `coded_answers` holds their paths.
    `own`: {mac: artifact}; these are configurations, as deviceconfig makes them, each behind a link for that device only.
    `no_v2`: as an open-source server answers.
    """
    ID = 'w81s4fae-7dec-11d0-a765-00a0c91e6bf6'
    CONFIGURATION = '/api/devices/v1/deployments/download/configuration'

    def __init__(self, artifact=b'', name='release-2', coded=False, own=None, no_v2=False):
        super().__init__(artifact)
        self.name, self.coded, self.own, self.no_v2 = name, coded, own or {}, no_v2
        self.devices, self.coded_answers, self.refused = {}, [], set()
        self.api_answer = self.answer_api

    def reported(self, status):
        """How many devices have reported this status."""
        return sum(status in d['statuses'] for d in self.devices.values())

    def answer_api(self, handler):
        path, _, query = handler.path.partition('?')
        if path.startswith(self.CONFIGURATION):
            return self.answer_configuration(handler, path)
        if path.endswith('/auth_requests'):
            mac = json.loads(json.loads(handler.body)['id_data'])['mac']
            self.devices.setdefault(mac, {'statuses': [], 'log': None, 'inventory': None})
            claims = base64.urlsafe_b64encode(json.dumps({'sub': mac}).encode()).decode().rstrip('=')
            return self.reply(handler, 200, f'eyJhbGciOiJSUzI1NiJ9.{claims}.c2ln'.encode())
        mac = self.sender(handler)
        if mac not in self.devices:
            return self.reply(handler, 401, b'{"error":"unauthorized"}')
        device = self.devices[mac]
        if path.endswith('/attributes'):
            device['inventory'] = json.loads(handler.body)
            return self.reply(handler, 200, b'')
        if path.endswith('/next'):
            return self.answer_next(handler, mac, device)
        if path.endswith('/status'):
            status = json.loads(handler.body)['status']
            device['statuses'].append(status)
            if status in self.refused:
                return self.reply(handler, 409, b'{"error":"the deployment was aborted"}')
        elif path.endswith('/log'):
            device['log'] = handler.body.decode()
        handler.send_response(204)
        handler.end_headers()

    @staticmethod
    def sender(handler):
        parts = handler.headers.get('Authorization', '').split('.')
        if len(parts) != 3:
            return None
        return json.loads(base64.urlsafe_b64decode(parts[1] + '==='))['sub']

    def answer_next(self, handler, mac, device):
        if self.no_v2 and handler.command == 'POST':
            return self.reply(handler, 404, b'{"error":"not found"}')
        if {'success', 'failure', 'already-installed'} & set(device['statuses']):
            handler.send_response(204)
            return handler.end_headers()
        uri = f'{self.url}{self.PATH}?{self.query}'
        if mac in self.own:
            uri = f'{self.url}{self.CONFIGURATION}/{self.ID}/{DEVICE_TYPE}/{mac}' \
                  '?tenant_id=t&x-men-expire=2036-03-11T13:03:17Z&x-men-signature=abc'
        return self.reply(handler, 200, json.dumps({
            'id': self.ID, 'artifact': {'artifact_name': self.name, 'device_types_compatible': [DEVICE_TYPE],
                                        'source': {'uri': uri, 'expire': '2036-03-11T13:03:17Z'}}}).encode())

    def answer_configuration(self, handler, path):
        body = self.own[path.rsplit('/', 1)[1]]
        handler.send_response(200)
        handler.send_header('Content-Type', 'application/vnd.mender-artifact')
        handler.send_header('Content-Length', str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        with self.lock:
            self.body_bytes += len(body)

    def reply(self, handler, status, body):
        if not body or not self.coded:
            return super().reply(handler, status, body)
        self.reply_coded(handler, status, body, 'application/json')

    def serve_artifact(self, handler):
        if self.coded and 'gzip' in handler.headers.get('Accept-Encoding', ''):
            return self.reply_coded(handler, 200, self.artifact, 'application/vnd.mender-artifact')
        return super().serve_artifact(handler)

    def reply_coded(self, handler, status, body, kind):
        with self.lock:
            self.coded_answers.append(handler.path)
        coded = gzip.compress(body)
        handler.send_response(status)
        handler.send_header('Content-Type', kind)
        handler.send_header('Content-Encoding', 'gzip')
        handler.send_header('Content-Length', str(len(coded)))
        handler.end_headers()
        handler.wfile.write(coded)


class Relay:
    """Passes connections to the server at `target` (set it before the first one comes). While it is down all of them are
    reset, and new ones refused."""

    def __init__(self, target=None):
        self.target, self.open, self.lock = target, set(), threading.Lock()
        self.listener = socket.create_server(('127.0.0.1', free_port()))
        self.port = self.listener.getsockname()[1]
        self.url = f'https://localhost:{self.port}'

    def __enter__(self):
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        return self

    def __exit__(self, *failure):
        self.down(final=True)

    def down(self, final=False):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if not final:
            self.listener = socket.socket()
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind(('127.0.0.1', self.port))  # nobody else gets the port
        with self.lock:
            gone, self.open = self.open, set()
        for s in gone:
            reset(s)

    def up(self):
        self.listener.listen(128)
        self.__enter__()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(('127.0.0.1', self.target))
            with self.lock:
                self.open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
