"""What a server, or who poses as one, may answer, and what a device may send: devices get an answer, a line says what was
wrong with it, and others notice nothing."""
import contextlib
import gzip
import json
import re

import mtls
from support import Connection, Origin, POLL, check, link, request, start_gateway, until

NEXT = '/api/devices/v1/deployments/device/deployments/next'


def deployment(uri):
    return json.dumps({'id': 'd', 'artifact': {'artifact_name': 'a', 'device_types_compatible': ['e2e-board'],
                                               'source': {'uri': uri, 'expire': '2036-03-11T13:03:17Z'}}}).encode()


def answering(bench, cases):
    """A server that answers `?N` with case N, and everything else as it should."""
    origin = bench.enter(Origin(b'x' * 100_000))

    def answer(handler):
        number = re.search(r'\?(\d+)$', handler.path)
        if not number:
            return origin.serve_api(handler)
        body, fields = cases[int(number[1])][1:3]
        handler.send_response(200)
        handler.send_header('Content-Type', 'application/json')
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.send_header('Content-Length', str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    origin.api_answer = answer
    return origin


def warnings(gateway):
    return [l for l in gateway.log.splitlines() if 'level=warning' in l or 'level=error' in l]


def test_answers_that_are_no_deployment(bench):
    bomb = gzip.compress(b' ' * (64 << 20))
    good = deployment('https://storage.test/o?X-Amz-Signature=a')
    cases = [  # what, body, fields, what the line says of it
        ('no JSON', b'<html>it works</html>', {}, 'not JSON'),
        ('half of a deployment', good[:-20], {}, 'not JSON'),
        ('an empty object', b'{}', {}, "no artifact's link"),
        ('no URL', deployment('our storage, third shelf'), {}, "no artifact's link"),
        ('a URL of another scheme', deployment('ftp://storage.test/o'), {}, 'no http or https URI'),
        ('CR LF in a URL', deployment('https://storage.test/o\r\nX-Evil: 1'), {}, "no artifact's link"),
        ('a URL of a megabyte', deployment('https://storage.test/' + 'a' * (1 << 20)), {}, 'more than 1 MiB'),
        ('10 MB of JSON', b'[' + b'1,' * 5_000_000 + b'1]', {}, 'more than 1 MiB'),
        ('10,000 deep', b'[' * 10_000 + b']' * 10_000, {}, 'nested too deeply'),
        ('a gzip bomb', bomb, {'Content-Encoding': 'gzip'}, 'a coding that cannot be undone'),
        ('gzip that is none', good, {'Content-Encoding': 'gzip'}, 'a coding that cannot be undone'),
        ('another coding', good, {'Content-Encoding': 'br'}, 'a coding that cannot be undone'),
    ]
    rounds = {}  # a line that is said already is left out for a while: each gateway is to say it once
    for number, (*_, told) in enumerate(cases):
        rounds.setdefault(sum(c[3] == told for c in cases[:number]), []).append(number)
    origin = answering(bench, cases)
    for numbers in rounds.values():
        gateway = start_gateway(bench, origin.url, ARTIFACTS_PROXY_CACHE_VERIFY='off')
        for number in numbers:
            what, body, _, told = cases[number]
            before = len(warnings(gateway))
            with Connection(bench.pki, gateway.port) as connection:
                connection.send('GET', f'{NEXT}?{number}', {'Accept-Encoding': 'gzip', 'Authorization': 'Bearer x'})
                answer = connection.read()
                check(answer.status == 200 and answer.whole and answer.body == body, f'{what}: {answer.status}, not as it came')
                check('x-evil' not in answer.headers, f'{what}: a field was let in')
                connection.send('POST', POLL, {'Authorization': 'Bearer x'}, b'{}')  # the next call on that connection
                answer = connection.read()
                check(answer.status == 200 and b'/api/gateway/v1/artifacts/' in answer.body, f'after {what}: {answer.status}')
            until(lambda: len(warnings(gateway)) > before, 5, f'a line about {what}')
            said = warnings(gateway)[before:]
            check(len(said) == 1 and told in said[0] and len(said[0]) < 300, f'{what}: {[l[:400] for l in said]}')
        answer = request(bench.pki, gateway.port, 'GET', link(bench.pki, gateway.port))
        check(answer.status == 200 and answer.body == origin.artifact, f'an artifact afterwards: {answer.status}')
        check_memory(gateway)
        gateway.stop()


def test_an_upstream_without_tls_on_the_tls_port(bench):
    with Origin(b'') as origin:
        gateway = start_gateway(bench, origin.url.replace('http:', 'https:'))
        answer = request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': 'Bearer x'}, b'{}')
        check(answer.status == 502, f'{answer.status}')
        said = until(lambda: warnings(gateway), 5, 'a line about TLS')
        check(len(said) == 1 and 'the peer speaks no TLS on this port' in said[0], f'{said}')


BOMB = gzip.compress(b' ' * (64 << 20))
BIG, DEEP = b'[' + b'1,' * 5_000_000 + b'1]', b'[' * 10_000 + b']' * 10_000


class ManagedServer:
    """A server that has accepted all devices. `answers` holds what the management API answers to the next calls, as
    (status, body, further fields, how much of the body comes); then it is as it should be."""

    def __init__(self, bench):
        self.answers, self.origin = [], bench.enter(Origin(b''))
        self.origin.api_answer = self.answer
        self.origin.port = int(self.origin.url.rpartition(':')[2])

    def answer(self, handler):
        if not handler.path.startswith('/api/management/'):
            return self.reply(handler, 200, b'a.device.token')
        if handler.path.endswith('/login'):
            return self.reply(handler, *(self.answers.pop(0) if self.answers[:1] == [LOGIN_PAGE] else (200, b'a.token')))
        return self.reply(handler, *(self.answers.pop(0) if self.answers else (201, b'')))

    @staticmethod
    def reply(handler, status, body, fields=(), comes=1.0):
        handler.send_response(status)
        for name, value in dict(fields).items():
            handler.send_header(name, value)
        handler.send_header('Content-Length', str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:int(len(body) * comes)])
        handler.close_connection = comes < 1


LOGIN_PAGE = (200, b'<html>please log in</html>')


def managed_gateway(bench, server, number):
    mtls.Certificate(bench, 'first')  # makes the CA
    return mtls.gateway_for(bench, server.origin, **{
        name: str(bench.path(f'{what}-{number}', 'x').parent) for name, what in (('STATE_DIRECTORY', 'state'),
                                                                                ('ARTIFACTS_PROXY_CACHE_PATH', 'cache'))})


def check_memory(gateway):
    high = gateway.peak_memory()
    check(high < 128 << 20, f'{high >> 10} KiB of memory')


def test_answers_of_the_management_api(bench):
    server = ManagedServer(bench)
    good = (201, b'')
    deviceless = [  # the API is asked again at once; what, the answers, what the line says of it
        ('a device that is no JSON', [(409, b'<html>it works</html>')], 'the server does not say as which: malformed'),
        ('half a device', [(409, b'{"id":"d-1')], 'does not say as which: not JSON'),
        ('10,000 deep', [(409, b'{"id":"d-1","x":' + DEEP + b'}')], 'does not say as which: JSON nested too deeply'),
        ('an id that is a number', [(409, b'{"id":7}')], 'does not say as which: malformed'),
        ('a gzip bomb', [(409, BOMB, {'Content-Encoding': 'gzip'})], 'the server does not say as which: malformed'),
        ('keys of other types', [(409, b'{"id":"d-1"}'), (200, b'{"id":"d-1","auth_sets":{"status":"accepted"}}')],
         'is told in a form that is not understood'),
        ('another place', [(302, b'', {'Location': 'https://evil.test/'})], 'preauthorizing is refused, status 302'),
    ]
    trouble = [  # it is left alone for a while
        ('an error', [(500, b'{"error":"internal"}')], 'status 500; not asked for 5 s'),
        ('half an answer', [(409, b'{"id":"d-1"}', {}, 0.5)], 'not asked for 5 s'),
        ('10 MB of JSON', [(409, BIG)], 'has more than 1048576 bytes, the most that is taken of one (no key sets that), and was '
         'given up; is UpstreamServer.URL (UPSTREAM_SERVER_URL) a Mender server?; not asked for 5 s'),
        ('a login page', [LOGIN_PAGE], 'was answered with something else than a token; not asked for 60 s'),
    ]
    known = mtls.Certificate(bench, 'known')
    gateway, number = None, 0
    for what, answers, told in deviceless + trouble:
        number += 1
        if not gateway or (what, answers, told) in trouble:
            if gateway:
                check_memory(gateway)
                gateway.stop()
            gateway = managed_gateway(bench, server, number)
            server.answers = []
            if what != 'a login page':
                check(mtls.enrol(bench, gateway, known, {'mac': 'known'}) == 200, 'the device was not relayed')
        server.answers = answers[:]
        before = len(warnings(gateway))
        check(mtls.enrol(bench, gateway, mtls.Certificate(bench, f'new-{number}'), {'mac': str(number)}) == 200,
              f'{what}: the device was not relayed')
        check(not server.answers, f'{what}: was not asked for')
        said = warnings(gateway)[before:]
        check(len(said) == 1 and told in said[0] and len(said[0]) < 400, f'{what}: {[l[:400] for l in said]}')
        check(mtls.enrol(bench, gateway, known, {'mac': 'known'}) == 200, f'{what}: another device is not served')
    check_memory(gateway)
    check(not any('evil' in str(r) for r in server.origin.requests), 'a redirect was followed')


def test_bodies_of_devices(bench):
    """As far as they are HTTP the server gets them as they are, and says what it says; nobody is authorized by them."""
    server = ManagedServer(bench)
    good, bad = mtls.Certificate(bench, 'good'), mtls.Certificate(bench, 'bad')
    deep = b'{"id_data":"{\\"mac\\":\\"x\\"}","pubkey":' + DEEP + b'}'
    for number, (what, body, fields, told) in enumerate((
            ('10 MB of JSON', BIG, {}, 'more than 64 KiB is relayed, and nobody is authorized by it'),
            ('10,000 deep', deep, {}, 'is not authorized: '),
            ('no JSON', b'<html>', {}, 'is not authorized: '),
            ('a gzip bomb', BOMB[:60_000], {'Content-Encoding': 'gzip'}, 'is not authorized: malformed'))):
        if number:
            check_memory(gateway)
            gateway.stop()
        gateway = managed_gateway(bench, server, number)  # another one, since a line that is said already is left out for a while
        before = len(warnings(gateway))
        with Connection(bench.pki, gateway.port, certificate=bad) as connection:
            connection.send('POST', mtls.AUTH, {'X-MEN-Signature': 'c2ln', **fields}, body)
            answer = connection.read()
        check(answer.status == 200, f'{what}: {answer.status}')
        check(server.origin.requests[-1][3] == body, f'{what}: the server got something else')
        said = warnings(gateway)[before:]
        check(len(said) == 1 and told in said[0] and len(said[0]) < 400, f'{what}: {[l[:400] for l in said]}')
        check(mtls.enrol(bench, gateway, good, {'mac': 'good'}) == 200, f'{what}: another device is not served')
    asked = len(server.origin.requests)
    for n, (what, body) in enumerate((('no size', b'zz\r\nabc\r\n0\r\n\r\n'), ('a size beyond all', b'f' * 17 + b'\r\n'),
                       ('more than its size', b'1\r\nabc\r\n0\r\n\r\n'), ('an extension without end', b'1;' + b'a' * 100_000)), 1):
        with Connection(bench.pki, gateway.port, certificate=bad) as connection:
            with contextlib.suppress(OSError):  # the answer may come before all is sent
                connection.socket.sendall(b'POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n'
                                          % mtls.AUTH.encode() + body)
            answer = connection.read()
            check(answer.status == 400 and connection.closed(), f'{what}: {answer.status}')
        until(lambda: gateway.log.count('status=400') >= n, 5, f'{what}: a line')
    check(len(server.origin.requests) == asked, 'chunked nonsense reached the server')
    check(mtls.enrol(bench, gateway, good, {'mac': 'good'}) == 200, 'another device is not served')
    check_memory(gateway)
