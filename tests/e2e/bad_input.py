"""What a server, or who poses as one, may answer to a poll: devices get it or an error, a line says what was wrong with it,
and others notice nothing."""
import gzip
import json
import re

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
    return origin, start_gateway(bench, origin.url, ARTIFACTS_PROXY_CACHE_VERIFY='off')


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
    origin, gateway = answering(bench, cases)
    for number, (what, body, _, told) in enumerate(cases):
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
    high = int(re.search(r'VmHWM:\s+(\d+)', open(f'/proc/{gateway.child.pid}/status').read())[1])
    check(high < 128 << 10, f'{high} KiB of memory')


def test_an_upstream_without_tls_on_the_tls_port(bench):
    with Origin(b'') as origin:
        gateway = start_gateway(bench, origin.url.replace('http:', 'https:'))
        answer = request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': 'Bearer x'}, b'{}')
        check(answer.status == 502, f'{answer.status}')
        said = until(lambda: warnings(gateway), 5, 'a line about TLS')
        check(len(said) == 1 and 'the peer speaks no TLS on this port' in said[0], f'{said}')
