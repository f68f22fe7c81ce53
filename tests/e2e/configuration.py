"""Artifacts of configurations: made anew for each request, by a server that knows no ranges, for one device each."""
import json

from support import (Connection, Origin, check, link, make_artifact, request, start_gateway)

PATH = '/api/devices/v1/deployments/download/configuration/w81s4fae/e2e-board/device-1'


class Server(Origin):
    """Answers each request for the configuration with the next of `artifacts`, whole, without a validator."""

    def __init__(self, artifacts):
        super().__init__(b'')
        self.artifacts, self.given = artifacts, 0
        self.cut_next = False
        self.api_answer = self.answer

    def answer(self, handler):
        if not handler.path.startswith(PATH):
            return self.poll(handler)
        with self.lock:
            body = self.artifacts[self.given % len(self.artifacts)]
            self.given += 1
            cut, self.cut_next = self.cut_next, False
        handler.send_response(200)
        handler.send_header('Content-Type', 'application/vnd.mender-artifact')
        handler.send_header('Content-Length', str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:len(body) // 2] if cut else body)
        if cut:
            handler.close_connection = True

    def poll(self, handler):
        if not handler.path.endswith('/deployments/next'):
            return self.reply(handler, 404, b'{"error":"not found"}')
        return self.reply(handler, 200, json.dumps({
            'id': 'w81s4fae', 'artifact': {'artifact_name': 'c', 'device_types_compatible': ['e2e-board'], 'source': {
                'uri': f'{self.url}{PATH}?tenant_id=t&x-men-expire=2036-03-11T13:03:17Z&x-men-signature=abc',
                'expire': '2036-03-11T13:03:17Z'}}}).encode())


def artifacts(bench, count=3):
    return [make_artifact(bench, f'configuration-{i}', 20_000)[0].read_bytes() for i in range(count)]


def files(bench, directory):
    return [p for sub in ('objects', 'parts', 'meta') for p in bench.path(directory, sub).rglob('*') if p.is_file()]


def test_each_link_has_its_own_copy(bench):
    made = artifacts(bench)
    server = bench.enter(Server(made))
    gateway = start_gateway(bench, server.url)
    one, other = link(bench.pki, gateway.port), link(bench.pki, gateway.port)
    check(one.startswith('/api/gateway/v1/private/') and one != other, f'links {one} and {other}')
    server.cut_next = True  # the first copy breaks off, and the second is made of other bytes
    with Connection(bench.pki, gateway.port) as connection:
        connection.send('GET', one)
        head = connection.read(limit=5000)
        check(head.status == 200 and head.body == made[1][:5000], f'{head.status}: not the bytes of one copy')
    rest = request(bench.pki, gateway.port, 'GET', one, {'Range': 'bytes=5000-'})
    check(rest.status == 206 and rest.body == made[1][5000:], f'{rest.status}: not the rest of the same bytes')
    answer = request(bench.pki, gateway.port, 'GET', other)
    check(answer.status == 200 and answer.body == made[2], f'{answer.status}: the other link shares a copy')
    check(server.given == 3, f'{server.given} requests upstream')
    check(not files(bench, 'cache'), f'on disk: {files(bench, "cache")}')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
    check(f'upstream_bytes={len(made[0]) // 2 + len(made[1]) + len(made[2])}' in gateway.log, 'what was fetched is not counted')


def test_a_bad_one_is_refused(bench):
    bad = bytearray(artifacts(bench, 1)[0])
    bad[len(bad) // 2] ^= 1
    server = bench.enter(Server([bytes(bad)]))
    gateway = start_gateway(bench, server.url)
    answer = request(bench.pki, gateway.port, 'GET', link(bench.pki, gateway.port))
    check(answer.status == 403, f'a bad artifact: {answer.status}')


def test_behind_another_gateway(bench):
    made = artifacts(bench)
    server = bench.enter(Server(made))
    outer = start_gateway(bench, server.url)
    cache, state = bench.path('inner', 'cache'), bench.path('inner', 'state')
    for directory in (cache, state):
        directory.mkdir()
    inner = start_gateway(bench, f'https://localhost:{outer.port}', ARTIFACTS_PROXY_CACHE_PATH=str(cache),
                          STATE_DIRECTORY=str(state))
    for expected in made[:2]:
        target = link(bench.pki, inner.port)
        check(target.startswith('/api/gateway/v1/private/'), target)
        answer = request(bench.pki, inner.port, 'GET', target)
        check(answer.status == 200 and answer.body == expected, f'{answer.status}: not its own copy')
        rest = request(bench.pki, inner.port, 'GET', target, {'Range': 'bytes=5000-'})
        check(rest.status == 206 and rest.body == expected[5000:], f'{rest.status}: not the rest of it')
    check(server.given == 2, f'{server.given} requests upstream')
    check(not files(bench, 'cache') and not files(bench, 'inner/cache'), 'a copy is on disk')
