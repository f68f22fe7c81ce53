"""Debian's mender-client, from enrolment to a finished update, through the gateway."""
from support import Device, MiniMender, check, make_artifact, start_gateway, until

NEEDS_CLIENT = True
SIZE = 4 << 20


def succeeded(server):
    """How many devices have reported success."""
    return sum('success' in device['statuses'] for device in server.stats()['devices'].values())


def test_two_devices_one_transfer(bench):
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    server = MiniMender(bench, artifact, 'release-2')
    gateway = start_gateway(bench, server.url)
    first = Device(bench, 1, gateway.port)
    until(lambda: succeeded(server) == 1, 60, 'success of the first device')
    check(first.payload() == payload, 'the first device installed other bytes than were packed')
    sent = server.stats()['artifact_bytes']
    check(sent == artifact.stat().st_size, f'upstream sent {sent} bytes of an artifact of {artifact.stat().st_size}')

    second = Device(bench, 2, gateway.port)
    until(lambda: succeeded(server) == 2, 60, 'success of the second device')
    check(second.payload() == payload, 'the second device installed other bytes than were packed')
    check(server.stats()['artifact_bytes'] == sent, 'upstream sent the artifact again for the second device')


def test_upstream_cut_is_not_noticed(bench):
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    size = artifact.stat().st_size
    server = MiniMender(bench, artifact, 'release-2')
    gateway = start_gateway(bench, server.url)
    server.post(f'/demo/cut?after={size // 2}')
    device = Device(bench, 1, gateway.port)
    until(lambda: succeeded(server) == 1, 60, 'success of the device')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    stats = server.stats()
    check(stats['artifact_requests'] == 2, f'upstream was asked {stats["artifact_requests"]} times')
    check(stats['artifact_distinct_bytes'] == size, f'upstream sent {stats["artifact_distinct_bytes"]} of {size} bytes')
    # Asked for the whole again, it would have sent half as much more.
    check(stats['artifact_bytes'] < size * 5 // 4, f'upstream sent {stats["artifact_bytes"]} bytes of an artifact of {size}')
    check(not device.noticed_a_cut(), 'the device noticed the cut')


def test_without_gateway_nothing_succeeds(bench):
    artifact, _ = make_artifact(bench, 'release-2', 1 << 20)
    server = MiniMender(bench, artifact, 'release-2')
    gateway = start_gateway(bench, server.url)
    gateway.stop()
    device = Device(bench, 1, gateway.port)
    until(lambda: device.log.count('connection refused') >= 2, 30, 'the device to be refused twice')
    check(succeeded(server) == 0, 'a device succeeded without a gateway')
    check(device.payload() is None, 'a device was updated without a gateway')


def reported(server, status):
    """How many devices have reported this status."""
    return sum(status in device['statuses'] for device in server.stats()['devices'].values())


def test_bad_artifact_fails_at_once(bench):
    """What turns out bad a device reports as failed, without an hour of tries; and the next one does not get it at all."""
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    bad = bytearray(artifact.read_bytes())
    bad[bad.index(payload[:64]) + SIZE // 2] ^= 1
    artifact.write_bytes(bad)
    server = MiniMender(bench, artifact, 'release-2', '--rate', SIZE // 2)  # the download begins before the verdict
    gateway = start_gateway(bench, server.url)
    first = Device(bench, 1, gateway.port)
    until(lambda: reported(server, 'failure') == 1, 60, 'the device to report the failure')
    check(first.payload() is None, 'the device installed a bad artifact')
    check(not first.noticed_a_cut(), 'the device was cut')
    check('condemned: data/0000/payload.bin' in gateway.log, 'the gateway does not say why')
    sent = server.stats()['artifact_bytes']
    second = Device(bench, 2, gateway.port)
    until(lambda: 'status=403' in gateway.log, 60, 'the second device to be refused')
    check('found to be bad before' in gateway.log, 'the gateway does not know the artifact again')
    check(server.stats()['artifact_bytes'] - sent < len(bad) // 2, 'the bad artifact crossed the link again')
    check(second.payload() is None, 'the second device installed a bad artifact')
    check(succeeded(server) == 0, 'a device reported success')
