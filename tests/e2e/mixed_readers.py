"""Readers of every kind of one cold object at once, on eight threads: one copy comes from upstream."""
import concurrent.futures
import threading

from disk_trouble import Objects
from support import POLL, Connection, check, request, start_gateway, until

MIB, EACH = 1 << 20, 6


def test_one_copy_for_all(bench):
    origin = bench.enter(Objects({1: 4 * MIB}))
    whole, etag = origin.all[1], '"v1"'
    size = len(whole)
    origin.gate = threading.Event()
    bench.stack.callback(origin.gate.set)
    gateway = start_gateway(bench, origin.url, WORKERS='8', LOG_LEVEL='info')
    middle = size // 2 - 50_000  # to beyond what is there while the upstream stands still
    spans = {'its begin': ('bytes=0-99999', 0, 100_000), 'its middle': (f'bytes={middle}-{middle + 99_999}', middle, middle + 100_000),
             'its end': (f'bytes={size - 70_000}-', size - 70_000, size), 'a suffix': ('bytes=-50000', size - 50_000, size),
             'its last byte': (f'bytes={size - 1}-{size - 1}', size - 1, size)}
    # (method, headers, status, body, Content-Range)
    kinds = {name: ('GET', {'Range': wanted}, 206, whole[begin:end], f'bytes {begin}-{end - 1}/{size}') for name, (wanted, begin, end) in spans.items()}
    kinds |= {'all': ('GET', {}, 200, whole, None), 'HEAD': ('HEAD', {}, 200, b'', None), 'several ranges': ('GET', {'Range': 'bytes=0-9,20-29'}, 200, whole, None),
              'the rest, as long as it is the same': ('GET', {'Range': 'bytes=1000-', 'If-Range': etag}, 206, whole[1000:], f'bytes 1000-{size - 1}/{size}'),
              'all, since it is another': ('GET', {'Range': 'bytes=1000-', 'If-Range': '"v0"'}, 200, whole, None),
              'nothing, unless it changed': ('GET', {'If-None-Match': etag}, 304, b'', None),
              'what is past its end': ('GET', {'Range': f'bytes={size}-'}, 416, b'', f'bytes */{size}')}
    at_once = 'its begin', 'HEAD', 'nothing', 'what is past'  # while the upstream stands still
    jobs = [(f'{name}, {number}', *kind) for number in range(EACH) for name, kind in kinds.items()]
    together = threading.Barrier(len(jobs))

    def read(name, method, headers, status, body, span):
        # Each on a link and a connection of its own.
        polled = request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': 'Bearer 1', 'Content-Type': 'application/json'}, b'{}')
        target = '/' + polled.json()['artifact']['source']['uri'].split('/', 3)[3]
        with Connection(bench.pki, gateway.port, 60) as connection:
            together.wait(60)
            connection.send(method, target, headers)
            answer = connection.read(method)
        check(answer.status == status and answer.whole and answer.body == body, f'{name}: {answer.status} {answer.headers}, {len(answer.body)} bytes')
        check(answer.headers.get('content-range') == span, f'{name}: {answer.headers}')
        check(status == 416 or answer.headers['etag'] == etag, f'{name}: {answer.headers}')

    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as readers:
        reading = [readers.submit(read, *job) for job in jobs]
        try:
            check(origin.at_gate.wait(60), 'the upstream did not come to its middle')
            # Meanwhile those are answered whose bytes are there.
            for job, one in zip(jobs, reading):
                if job[0].startswith(at_once):
                    until(one.done, 10, f'an answer to {job[0]}')
            check(not any(one.done() for job, one in zip(jobs, reading) if job[4] == whole), 'somebody has what is not there yet')
        finally:
            origin.gate.set()
        for one in reading:
            one.result(60)
    check(origin.count(1) == 1, f'fetched {origin.count(1)} times')
    until(lambda: 'complete, ' in gateway.log, 20, 'the object to be stored')
    check(gateway.stop() == 0, 'the gateway did not end well')
    check(f'upstream_bytes={size} again_bytes=0' in gateway.log, f'another sum: {gateway.log[-300:]}')
    check('level=error' not in gateway.log, 'an error in the log')
