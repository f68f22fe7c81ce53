"""Clients with their own clocks: minutes. Run by name only (tests/run.sh --all)."""
import signal
import time

from client_update import succeeded
from clients import CppClient, check_success
from scripted_clients import AT_ONCE, SIZE, SLOWLY, Site, ended
from support import Device, MiniMender, check, make_artifact, start_gateway, until

BY_NAME = True
NEEDS_CLIENT = True
PATIENCE, OUTAGE = 300, 340  # seconds: of the C++ client, in silence


def test_gateway_killed_in_mid_download(bench):
    """Debian's client waits a minute and resumes, by the link that it has."""
    artifact, payload = make_artifact(bench, 'release-2', SIZE)
    size = artifact.stat().st_size
    server = MiniMender(bench, artifact, 'release-2', *SLOWLY)
    gateway = start_gateway(bench, server.url)
    device = Device(bench, 1, gateway.port)
    until(lambda: server.stats()['artifact_bytes'] > size // 10, 60, 'a tenth of the download')
    gateway.child.send_signal(signal.SIGKILL)
    gateway.child.wait()
    server.post(AT_ONCE)
    check(not succeeded(server), 'the download was at its end before')
    gateway = start_gateway(bench, server.url, HTTPS_LISTEN=f'127.0.0.1:{gateway.port}')
    until(lambda: succeeded(server), 150, 'success of the device')
    check(device.payload() == payload, 'the device installed other bytes than were packed')
    check(device.noticed_a_cut() and 'status=206' in gateway.log, 'it did not resume')
    stats = server.stats()
    check(stats['artifact_distinct_bytes'] == size and stats['artifact_bytes'] < size * 3 // 2, f'crossed the link: {stats}')


def silent_for_minutes(bench, how):
    site = Site(bench, *SLOWLY)
    client = CppClient(bench, 1, site.gateway.port, silence=PATIENCE).start()
    until(lambda: len(client.body) > site.size // 10, 60, 'a tenth of the download')
    site.server.post(f'/demo/pause{how}')
    site.server.post(AT_ONCE)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > OUTAGE, OUTAGE + 10, 'the outage to last')
    check(not client.outcome and client.lost_tries == 0, f'{client.outcome}, {client.lost_tries} tries lost')
    site.server.post('/demo/resume')
    ended(client, seconds=120)
    check_success(client, site.artifact)
    check(client.answers == [200] and client.lost_tries == 0, f'answers {client.answers}, {client.lost_tries} tries lost')
    site.check_link(most=1.25)


def test_cpp_storage_silent_for_minutes(bench):
    silent_for_minutes(bench, '')


def test_cpp_storage_refuses_for_minutes(bench):
    silent_for_minutes(bench, '?how=refuse')
