"""Debian's mender-client loses its server between installing and committing an update."""
import json
import time

from support import DEVICE_TYPE, Device, Origin, check, make_artifact, start_gateway, until

NEEDS_CLIENT = True
TOKEN = b'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZXYtMSJ9.c2ln'  # {"sub":"dev-1"}
RETRY, OUTAGE = 5, 30  # seconds; refused, the client tries four times, RETRY apart, and then rolls back


class Server(Origin):
    """Answers the device API as an open-source server does: there is no v2. After the first report of `installing` it cuts
    every call unanswered while `down`."""

    def __init__(self, artifact):
        super().__init__(artifact)
        self.down, self.statuses, self.cut = False, [], 0
        self.api_answer = self.answer_api

    def answer_api(self, handler):
        path = handler.path.split('?')[0]
        if self.down:
            self.cut += 1
            handler.close_connection = True
        elif path.endswith('/auth_requests'):
            self.reply(handler, 200, TOKEN)
        elif path.endswith('/attributes'):
            self.reply(handler, 200, b'')
        elif path.endswith('/next'):
            self.answer_next(handler)
        else:
            if path.endswith('/status'):
                self.statuses.append(json.loads(handler.body)['status'])
                self.down = self.statuses.count('installing') == 1 and self.statuses[-1] == 'installing'
            self.nothing(handler)

    def answer_next(self, handler):
        if handler.command == 'POST':
            self.reply(handler, 404, b'{"error":"not found"}')
        elif 'success' in self.statuses:
            self.nothing(handler)
        else:
            self.reply(handler, 200, json.dumps({
                'id': 'w81s4fae-7dec-11d0-a765-00a0c91e6bf6',
                'artifact': {'artifact_name': 'release-2', 'device_types_compatible': [DEVICE_TYPE],
                             'source': {'uri': f'{self.url}{self.PATH}?{self.query}'}}}).encode())

    @staticmethod
    def nothing(handler):
        handler.send_response(204)
        handler.end_headers()


def test_an_outage_before_commit_rolls_nothing_back(bench):
    artifact, payload = make_artifact(bench, 'release-2', 1 << 20)
    server = bench.enter(Server(artifact.read_bytes()))
    gateway = start_gateway(bench, server.url, LOG_LEVEL='info')
    device = Device(bench, 1, gateway.port, retry=RETRY)
    until(lambda: server.down, 60, 'the update to be installed')
    began = time.monotonic()
    until(lambda: time.monotonic() - began > OUTAGE, OUTAGE + 5, 'the outage to last')
    check(server.cut > 2, f'the server was asked {server.cut} times in the outage')
    server.down = False
    until(lambda: 'success' in server.statuses, 60, f'success after the outage; reported: {server.statuses}')
    check('failure' not in server.statuses, f'reported: {server.statuses}')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
