"""A device goes on far ahead of what a wiped cache has fetched again."""
import re
import shutil
import threading

from support import Blob, Connection, Origin, check, link, request, start_gateway, until

SIZE, FILLED, AT, WITHHELD, RESERVE = 48 << 20, 1 << 20, 40 << 20, 64 << 10, 4 << 10


def test_a_wiped_cache_does_not_stop_a_resume(bench):
    origin = bench.enter(Origin(Blob(SIZE)))
    gate, ranges = threading.Event(), []

    def answer(handler, start):
        wanted = re.fullmatch(r'bytes=(\d+)-(\d+)', handler.headers.get('Range', ''))
        if wanted:
            end = int(wanted[2]) + 1
            ranges.append((start, end))
            origin.head(handler, start, end, SIZE)
            return origin.send(handler, start, end)
        origin.head(handler, None, SIZE, SIZE)
        origin.send(handler, 0, FILLED)
        gate.wait(60)
        return origin.send(handler, FILLED, SIZE)

    # The device began before the cache went: all that is left of that is its link.
    first = start_gateway(bench, origin.url, ARTIFACTS_PROXY_CACHE_VERIFY='length')
    target = link(bench.pki, first.port)
    answered = request(bench.pki, first.port, 'GET', target, {'Range': 'bytes=0-99'})
    check(answered.status == 206, f'{answered.status}')
    check(first.stop() == 0, 'the gateway did not end cleanly')
    shutil.rmtree(bench.path('cache'))
    origin.artifact_answer, origin.body_bytes = answer, 0

    gateway = start_gateway(bench, origin.url, ARTIFACTS_PROXY_CACHE_VERIFY='length')
    with Connection(bench.pki, gateway.port) as device:
        device.send('GET', target, {'Range': f'bytes={AT}-'})
        head = device.read_head()
        check(head.status == 206 and head.headers['content-range'] == f'bytes {AT}-{SIZE - 1}/{SIZE}', f'{head.headers}')
        got = bytearray()
        while len(got) < SIZE - AT - WITHHELD - RESERVE:  # while the fetch for all stands still
            data = device.recv()
            check(data, f'cut after {len(got)} bytes')
            got += data
        check(origin.body_bytes == FILLED + SIZE - AT - WITHHELD, f'{origin.body_bytes} bytes came from upstream')
        gate.set()
        while len(got) < SIZE - AT:
            data = device.recv()
            check(data, f'cut after {len(got)} bytes')
            got += data
        check(got == origin.artifact[AT:SIZE], 'other bytes')
    check(ranges == [(AT, SIZE - WITHHELD)], f'ranges {ranges}')
    until(lambda: 'complete, ' in gateway.log, 30, 'the fetch for all to be complete')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
    check(f'upstream_bytes={SIZE} again_bytes={SIZE - AT - WITHHELD}' in gateway.log, 'the bytes are not counted')
