"""The README's gateway of sixty lines: it relays an API, and fetches a file once for all who ask for it."""
import os

from support import BIN, Origin, check, request


def test_relays_and_caches(bench):
    data = os.urandom(300_000)
    origin = bench.enter(Origin(data))
    origin.PATH = '/files/object'
    cache = bench.path('files')
    cache.mkdir()
    gateway = bench.start('custom', [BIN / 'custom_gateway', bench.pki.cert, bench.pki.key, origin.url, cache, '127.0.0.1:0'],
                          ready=r'custom_gateway listening on https://127\.0\.0\.1:(\d+)\n')
    port = int(gateway.match[1])
    for _ in range(2):
        whole = request(bench.pki, port, 'GET', '/files/object')
        check(whole.status == 200 and whole.body == data, f'the file: {whole.status}, {len(whole.body)} bytes')
    part = request(bench.pki, port, 'GET', '/files/object', {'Range': 'bytes=100-199'})
    check(part.status == 206 and part.body == data[100:200], f'a range of it: {part.status}')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches upstream')
    api = request(bench.pki, port, 'POST', '/api/deployments/next', {}, b'{}')
    check(api.status == 200 and 'artifact' in api.json(), f'the API: {api.status}')
    check(request(bench.pki, port, 'GET', '/elsewhere').status == 404, 'another path is not refused')
    check(gateway.stop() == 0, 'does not end by SIGTERM with 0')
