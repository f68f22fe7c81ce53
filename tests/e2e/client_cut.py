"""Debian's mender-client loses its own connection in the middle of the download. It waits 60 s, then resumes."""
from client_update import succeeded
from support import Device, Forwarder, MiniMender, check, make_artifact, start_gateway, until

NEEDS_CLIENT = True


def test_client_resumes_by_range(bench):
    artifact, payload = make_artifact(bench, 'release-2', 8 << 20)
    size = artifact.stat().st_size
    server = MiniMender(bench, artifact, 'release-2')
    gateway = start_gateway(bench, server.url)
    between = bench.enter(Forwarder(gateway.port, cut_after=size // 2))
    device = Device(bench, 1, between.port)
    until(between.cut.is_set, 60, 'the download to be cut')
    until(lambda: succeeded(server) == 1, 120, 'success of the device')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    check(device.noticed_a_cut(), 'the device noticed no cut')
    check('status=206' in gateway.log, 'the gateway answered no 206')
    check(server.stats()['artifact_bytes'] == size, 'upstream sent more than one copy')
