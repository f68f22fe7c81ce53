"""Debian's mender-client updates from the cache while the gateway's server is away."""
import json

from fleet_server import FleetServer
from real_clients import SIZE, start_device
from support import DEVICE_TYPE, POLL, check, make_artifact, request, start_gateway, until

NEEDS_CLIENT = True


class Server(FleetServer):
    """Cuts every call and every download unanswered, from when the device `last` has reported twice that it downloads, as
    it does before it reads the artifact, until `up`."""

    def __init__(self, artifact, last):
        super().__init__(artifact)
        self.last, self.down, self.up, self.cut = last, False, False, 0
        self.artifact_answer = self.api_answer = None

    def serve_api(self, handler):
        if self.is_down(handler):
            return
        self.answer_api(handler)
        reports = self.devices.get(self.last, {'statuses': []})['statuses']
        self.down = self.down or reports == ['downloading'] * 2

    def serve_artifact(self, handler):
        if not self.is_down(handler):
            super().serve_artifact(handler)

    def is_down(self, handler):
        down = self.down and not self.up
        if down:
            self.cut += 1
            handler.close_connection = True
        return down


def download(bench, gateway):
    """What another device's update brings into the cache."""
    body = json.dumps({'id_data': '{"mac":"other"}', 'pubkey': '', 'tenant_token': ''}).encode()
    token = request(bench.pki, gateway.port, 'POST', '/api/devices/v1/authentication/auth_requests', {}, body).body.decode()
    answer = request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': f'Bearer {token}'},
                     b'{"device_provides":{"artifact_name":"release-1","device_type":"%s"}}' % DEVICE_TYPE.encode())
    target = answer.json()['artifact']['source']['uri'].partition(f':{gateway.port}')[2]
    return request(bench.pki, gateway.port, 'GET', target).body


def test_a_complete_artifact_installs_in_an_outage(bench):
    """The device downloads while nothing else passes, its reports wait, and nothing is rolled back."""
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    server = bench.enter(Server(artifact.read_bytes(), f'{bench.name}-1'))
    gateway = start_gateway(bench, server.url)
    check(download(bench, gateway) == server.artifact, 'the first download')
    device = start_device(bench, 1, gateway.port, retry=1)
    until(lambda: server.down, 60, 'the device to be about to download')
    until(lambda: gateway.log.count('/artifacts/{key}/{token}" status=200') == 2, 60, 'its download to end in the outage')
    until(lambda: server.cut > 2, 30, 'its next report to be tried three times')
    reports = server.devices[server.last]['statuses']
    check(reports == ['downloading'] * 2, f'reported in an outage: {reports}')
    server.up = True
    until(lambda: server.reported('success'), 60, 'success after the outage')
    check('failure' not in reports, f'reported: {reports}')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    check(not device.noticed_a_cut(), 'the device noticed the outage')
    check(len(server.fetches()) == 1 and server.body_bytes == server.size, 'the artifact crossed the link again')
