"""A gateway behind a gateway: edge, middle, server. Links are rewritten at each, and each stage is crossed once."""
import hashlib
import os
import re
import socket
import subprocess
import threading
import time

from support import (BIN, DEVICE_TYPE, POLL, Connection, Forwarder, MiniMender, Origin, check, link, request, start_gateway,
                     until)

SIZE = 4 << 20


def stage(bench, name, upstream, **more):
    """A gateway with its own cache and state."""
    cache, state = bench.path(name, 'cache'), bench.path(name, 'state')
    cache.mkdir()
    state.mkdir()
    return start_gateway(bench, upstream, ARTIFACTS_PROXY_CACHE_PATH=str(cache), STATE_DIRECTORY=str(state), **more)


def packed(bench, size):
    """An artifact release-2 of random bytes, without Mender's own tools."""
    out = bench.path('release-2.mender')
    subprocess.run([BIN / 'mgw-mini-mender', '--make-artifact', out, '--artifact-name', 'release-2', '--device-type', DEVICE_TYPE,
                    '--size', str(size)], check=True, capture_output=True, timeout=60)
    return out


def downloads(gateway):
    """(method, status, bytes out, cut) of each artifact request in a gateway's log."""
    lines = (line for line in gateway.log.splitlines() if 'msg=request' in line and 'path="/api/gateway/v1/artifacts' in line)
    return [(re.search(r'method="(\w+)"', line)[1], re.search(r' status=(\w+)', line)[1],
             int(re.search(r' out=(\d+)', line)[1]), 'cut=true' in line) for line in lines]


class Stages:
    """The demo's server, a gateway before it, and one before that; the link between the two may be cut once."""

    def __init__(self, bench, *args, cut_after=1 << 60):
        self.bench = bench
        self.artifact = packed(bench, SIZE)
        self.size = self.artifact.stat().st_size
        self.server = MiniMender(bench, self.artifact, 'release-2', *args)
        self.middle = stage(bench, 'middle', self.server.url)
        self.between = bench.enter(Forwarder(self.middle.port, cut_after))
        self.edge = stage(bench, 'edge', f'https://localhost:{self.between.port}')

    def fleet(self, gateway, devices):
        """So many devices update through the gateway, and compare every byte; none of them notices anything."""
        digest = hashlib.sha256(self.artifact.read_bytes()).hexdigest()
        fleet = self.bench.start('fleet', [
            BIN / 'mgw-fleet', '--server', f'https://localhost:{gateway.port}', '--ca', self.bench.pki.ca, '--devices', devices,
            '--device-type', DEVICE_TYPE, '--artifact-name', 'release-1', '--expect-sha256', digest, '--expect-size', self.size])
        until(lambda: fleet.child.poll() is not None, 60, 'the devices to end')
        check(f'fleet: {devices} of {devices} updated' in fleet.out, f'not all of them updated: {fleet.out}')
        tries = re.findall(r'(\d+) requests?\b', fleet.out)
        check(tries == ['1'] * devices, f'a device noticed something: {fleet.out}')


def test_each_stage_is_crossed_once(bench):
    stages = Stages(bench)
    stages.fleet(stages.edge, 8)
    stats = stages.server.stats()
    check(stats['artifact_bytes'] == stages.size and stats['artifact_requests'] == 1,
          f'the server sent {stats["artifact_bytes"]} bytes for {stats["artifact_requests"]} requests')
    # What the edge fetched is a link of the middle one's: the server's own link never got that far.
    until(lambda: downloads(stages.middle), 10, 'the middle gateway to log the download')
    (method, status, sent, cut), = downloads(stages.middle)
    check((method, status, cut) == ('GET', '200', False), f'the middle gateway was asked: {downloads(stages.middle)}')
    check(stages.size <= sent < stages.size + 4096, f'the middle gateway sent {sent} bytes of {stages.size}')

    # Each poll brought other links; they are the same object at both stages.
    stages.fleet(stages.edge, 1)
    check(len(downloads(stages.middle)) == 1, 'the second fleet cost the link between the gateways something')
    stages.fleet(stages.middle, 1)
    stats = stages.server.stats()
    check(stats['artifact_bytes'] == stages.size, f'the server sent {stats["artifact_bytes"]} bytes')
    check(sum('success' in d['statuses'] for d in stats['devices'].values()) == 10, 'not all reports of success came through')


def test_cut_between_the_gateways_is_not_noticed(bench):
    stages = Stages(bench, cut_after=SIZE // 2)
    stages.fleet(stages.edge, 2)
    check(stages.between.cut.is_set(), 'the link was not cut')
    stats = stages.server.stats()
    check(stats['artifact_bytes'] == stages.size, f'the cut between the gateways cost the server: {stats}')
    until(lambda: len(downloads(stages.middle)) == 2, 10, 'the middle gateway to log both downloads')
    check([d[1] for d in downloads(stages.middle)] == ['200', '206'], f'it was not resumed: {downloads(stages.middle)}')


def test_cut_before_the_server_is_not_noticed(bench):
    stages = Stages(bench)
    stages.server.post(f'/demo/cut?after={SIZE // 2}')
    stages.fleet(stages.edge, 2)
    stats = stages.server.stats()
    check(stats['artifact_requests'] == 2 and stats['artifact_distinct_bytes'] == stages.size, f'it was not resumed: {stats}')
    check(stats['artifact_bytes'] < stages.size * 5 // 4, f'the server sent {stats["artifact_bytes"]} of {stages.size} bytes')
    until(lambda: downloads(stages.middle), 10, 'the middle gateway to log the download')
    check([d[1] for d in downloads(stages.middle)] == ['200'], f'the edge noticed the cut: {downloads(stages.middle)}')


def expire(made):
    """Waits until a SHORT link that was made at `made` has expired: judged in whole seconds."""
    until(lambda: time.monotonic() - made > LIFE + 1.1, LIFE + 10, 'the link to expire')


SETTINGS = {'ARTIFACTS_PROXY_CACHE_VERIFY': 'off'}
LIFE = 4  # seconds; a loaded machine must use a link within it
SHORT = {'ARTIFACTS_PROXY_CACHE_LINK_EXPIRE_DURATION': f'{LIFE}s'}


def test_links_that_the_middle_gateway_lets_expire(bench):
    data = os.urandom(SIZE)
    origin = bench.enter(Origin(data))
    middle = stage(bench, 'middle', origin.url, **SETTINGS, **SHORT)
    edge = stage(bench, 'edge', f'https://localhost:{middle.port}', **SETTINGS)
    old = link(bench.pki, edge.port)
    expire(time.monotonic())
    refused = request(bench.pki, edge.port, 'GET', old)
    check(refused.status == 403 and not origin.fetches(), f'with its only link expired: {refused.status}')
    until(lambda: [d[1] for d in downloads(middle)] == ['403'], 10, 'the middle gateway to log that it refused')
    new = link(bench.pki, edge.port)
    check(new != old, 'two polls brought the same link')
    # The newer one works, and what it fetched serves the older one.
    for target in (new, old):
        answer = request(bench.pki, edge.port, 'GET', target)
        check(answer.status == 200 and answer.body == data, f'after another poll: {answer.status}')
    check(len(origin.fetches()) == 1, f'fetched {len(origin.fetches())} times')
    # Whole at the edge, neither link needs anybody upstream.
    middle.stop()
    for target in (old, new):
        answer = request(bench.pki, edge.port, 'GET', target, {'Range': f'bytes={SIZE // 2}-'})
        check(answer.status == 206 and answer.body == data[SIZE // 2:], f'without the middle gateway: {answer.status}')


def test_a_link_that_expires_in_mid_download(bench):
    data = os.urandom(SIZE)
    origin, go_on = bench.enter(Origin(data)), threading.Event()

    def with_a_break(handler, start):
        origin.head(handler, None, SIZE, SIZE)
        origin.send(handler, start, SIZE // 4)
        go_on.wait(60)
        origin.send(handler, SIZE // 4, SIZE)

    origin.artifact_answer = with_a_break
    middle = stage(bench, 'middle', origin.url, **SETTINGS, **SHORT)
    between = bench.enter(Forwarder(middle.port, cut_after=SIZE // 2))
    edge = stage(bench, 'edge', f'https://localhost:{between.port}', **SETTINGS)
    target, made = link(bench.pki, edge.port), time.monotonic()
    with Connection(bench.pki, edge.port, timeout=60) as download:
        download.send('GET', target)
        begun = download.read(limit=1000)
        check(begun.status == 200 and begun.body == data[:1000], f'the download did not begin: {begun.status}')
        expire(made)
        go_on.set()
        rest = b''
        while len(rest) < SIZE - 1000:
            piece = download.recv()
            check(piece, f'the download ended after {len(rest)} bytes')
            rest += piece
    check(between.cut.is_set() and rest == data[1000:], 'other bytes came')
    check(len(origin.fetches()) == 1, f'fetched {len(origin.fetches())} times')
    until(lambda: [d[1] for d in downloads(middle)] == ['200', '206'], 10, 'the middle gateway to log both downloads')


def test_who_asked_is_told_by_trusted_gateways(bench):
    origin = bench.enter(Origin(b''))
    for n, (trusted, told) in enumerate((('', '127.0.0.1'), ('192.0.2.1', '127.0.0.1'), ('127.0.0.0/29', '127.0.0.9, 127.0.0.1'))):
        middle = stage(bench, f'middle-{n}', origin.url, TRUSTED_PROXIES=trusted)
        edge = stage(bench, f'edge-{n}', f'https://localhost:{middle.port}')
        raw = socket.create_connection(('127.0.0.1', edge.port), 20, source_address=('127.0.0.9', 0))
        with bench.pki.client().wrap_socket(raw, server_hostname='localhost') as device:
            device.sendall(f'GET /api/devices/v1/x HTTP/1.1\r\nHost: localhost:{edge.port}\r\nX-Forwarded-For: 6.6.6.6\r\n'
                           'Connection: close\r\n\r\n'.encode())
            check(device.recv(100).startswith(b'HTTP/1.1 404 '), 'the call was not relayed')
        # What the device says of itself is believed by nobody.
        asked = origin.requests[-1][2]
        check(asked['X-Forwarded-For'] == told, f'with {trusted!r} trusted upstream was told {asked["X-Forwarded-For"]}')
        until(lambda m=middle, e=edge: 'msg=request' in m.log and 'msg=request' in e.log, 10, 'both gateways to log the call')
        known = 'peer=127.0.0.1 for=127.0.0.9 ' in middle.log
        check(known == told.startswith('127.0.0.9'), f'with {trusted!r} trusted: {middle.log}')
        check(' for=' not in edge.log, f'a device was believed: {edge.log}')


def test_gateways_in_a_circle_answer_508(bench):
    between = bench.enter(Forwarder(0, cut_after=1 << 60))
    first = stage(bench, 'first', f'https://localhost:{between.port}')
    second = stage(bench, 'second', f'https://localhost:{first.port}')
    between.target = second.port
    answer = request(bench.pki, first.port, 'POST', POLL, {'Authorization': 'Bearer e2e'}, b'{}')
    check(answer.status == 508, f'a circle was answered {answer.status}')
