"""examples/reverse_proxy: the toolkit as a plain reverse proxy, from its command line to its exit status."""
import http.client
import os
import socket
import subprocess

from support import BIN, Origin, check, request

PROGRAM = BIN / 'mgw-reverse-proxy'


def start(bench, *args, scheme='http'):
    """The proxy, running on a port of the kernel's choice; `.port` is it."""
    proxy = bench.start('proxy', [PROGRAM, '--listen', '127.0.0.1:0', *args],
                        ready=rf'mgw-reverse-proxy listening on {scheme}://127\.0\.0\.1:(\d+)\n')
    proxy.port = int(proxy.match[1])
    return proxy


def ask(port, method, target, body=None, headers=None):
    """(status, headers, body) of one request over plain HTTP."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
    try:
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_relays_any_path_and_method(bench):
    data = os.urandom(300_000)
    origin = bench.enter(Origin(data))
    origin.api_answer = lambda handler: origin.reply(handler, 201, handler.body[::-1])
    proxy = start(bench, '--upstream', origin.url + '/')
    for target in ('/', '/a/b?c=%20d', '/%41;x', '/a%20b/'):
        for method in ('PUT', 'PATCH', 'POST'):
            status, headers, body = ask(proxy.port, method, target, data)
            check(status == 201 and body == data[::-1], f'{method} {target}: {status}, {len(body)} bytes')
            check('mgw' in headers['Via'], f'Via is {headers["Via"]}')
            check(origin.requests[-1][:2] == (method, target), f'upstream saw {origin.requests[-1][:2]}')
            check(origin.requests[-1][3] == data, 'upstream saw another body')
    status, _, body = ask(proxy.port, 'GET', origin.PATH)
    check(status == 200 and body == data, f'the object: {status}, {len(body)} bytes')
    status, headers, body = ask(proxy.port, 'HEAD', origin.PATH)
    check(status == 200 and headers['Content-Length'] == str(len(data)) and not body, f'HEAD: {status}')
    for target in ('/a/../b', '/a//b', '/a%2fb'):
        ask(proxy.port, 'GET', target)
        check(origin.requests[-1][1] == target, f'{target} became {origin.requests[-1][1]}')
    check(len(origin.fetches()) == 1, 'without a cache something was not relayed')
    check(proxy.stop() == 0, 'does not end by SIGTERM with 0')


def test_a_path_in_front(bench):
    origin = bench.enter(Origin(b''))
    origin.api_answer = lambda handler: origin.reply(handler, 200, handler.path.encode())
    proxy = start(bench, '--upstream', origin.url + '/base/')
    check(ask(proxy.port, 'GET', '/x?y')[2] == b'/base/x?y', 'the path in the URL is not put in front')


def test_tls_on_both_sides(bench):
    data = os.urandom(300_000)
    origin = bench.enter(Origin(data))
    identity = ('--tls-cert', bench.pki.cert, '--tls-key', bench.pki.key)
    inner = start(bench, '--upstream', origin.url, *identity, scheme='https')
    direct = request(bench.pki, inner.port, 'GET', origin.PATH)
    check(direct.status == 200 and direct.body == data, f'over TLS: {direct.status}')
    url = f'https://localhost:{inner.port}'
    outer = start(bench, '--upstream', url, '--upstream-ca', bench.pki.ca)
    status, headers, body = ask(outer.port, 'GET', origin.PATH)
    check(status == 200 and body == data, f'TLS upstream: {status}')
    check(origin.requests[-1][2]['X-Forwarded-Proto'] == 'https', 'the hop over TLS is not told upstream')
    # Without the CA the upstream is not to be trusted.
    strict = start(bench, '--upstream', url)
    check(ask(strict.port, 'GET', origin.PATH)[0] == 502, 'an unknown certificate was trusted')
    check(len(origin.fetches()) == 2, f'{len(origin.fetches())} fetches upstream')


def test_fetches_once_with_a_cache(bench):
    data = os.urandom(300_000)
    origin = bench.enter(Origin(data))
    origin.api_answer = lambda handler: origin.reply(handler, 201, handler.body)
    cache = bench.path('files')
    cache.mkdir()
    proxy = start(bench, '--upstream', origin.url, '--cache', cache)
    for _ in range(2):
        status, _, body = ask(proxy.port, 'GET', origin.PATH)
        check(status == 200 and body == data, f'the object: {status}, {len(body)} bytes')
    status, _, body = ask(proxy.port, 'GET', origin.PATH, headers={'Range': 'bytes=100-199'})
    check(status == 206 and body == data[100:200], f'a range of it: {status}')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches upstream')
    for _ in range(2):
        status, _, body = ask(proxy.port, 'POST', '/elsewhere', b'text')
        check(status == 201 and body == b'text', f'POST: {status}')
    check([r[0] for r in origin.requests] == ['GET', 'POST', 'POST'], 'a POST was not relayed')
    check(proxy.stop() == 0, 'does not end by SIGTERM with 0')
    # What was kept is there after a restart, with nobody upstream.
    again = start(bench, '--upstream', origin.url, '--cache', cache)
    status, _, body = ask(again.port, 'GET', origin.PATH)
    check(status == 200 and body == data and len(origin.fetches()) == 1, f'after a restart: {status}')


def test_clients_that_leave_in_the_middle_of_a_file_end_nothing(bench):
    data = os.urandom(24_000_000)
    origin = bench.enter(Origin(data))
    cache = bench.path('files')
    cache.mkdir()
    proxy = start(bench, '--upstream', origin.url, '--cache', cache)
    check(ask(proxy.port, 'GET', origin.PATH)[2] == data, 'the object came with other bytes')
    for n in range(20):
        with socket.create_connection(('127.0.0.1', proxy.port), 30) as s:
            s.sendall(f'GET {origin.PATH} HTTP/1.1\r\nHost: a\r\n\r\n'.encode())
            check(n % 2 or s.recv(1000).startswith(b'HTTP/1.1 200 '), 'no answer')
    check(ask(proxy.port, 'GET', origin.PATH)[2] == data, 'the object came with other bytes after that')
    check(len(origin.fetches()) == 1 and proxy.stop() == 0, 'does not end by SIGTERM with 0')


def test_says_what_it_cannot_use(bench):
    taken = bench.enter(socket.create_server(('127.0.0.1', 0)))
    busy = f'127.0.0.1:{taken.getsockname()[1]}'
    upstream = ('--upstream', 'http://127.0.0.1:9')
    none = str(bench.path('none'))
    for args, status, named in (
            ((), 2, '--upstream'),
            (('--upstream', 'ftp://127.0.0.1'), 2, '--upstream'),
            (('--upstream', 'http://127.0.0.1/?a'), 2, '--upstream'),
            ((*upstream, '--listen', 'nowhere'), 2, '--listen'),
            ((*upstream, '--shout'), 2, '--shout'),
            ((*upstream, 'stray'), 2, 'stray'),
            ((*upstream, '--max-connections', '0'), 2, '--max-connections'),
            ((*upstream, '--tls-cert', bench.pki.cert), 2, '--tls-key'),
            ((*upstream, '--tls-key', bench.pki.key), 2, '--tls-cert'),
            ((*upstream, '--tls-cert', none, '--tls-key', none), 1, none),
            ((*upstream, '--upstream-ca', none), 1, none),
            ((*upstream, '--cache', '/dev/null'), 1, '/dev/null'),
            ((*upstream, '--listen', busy), 1, busy)):
        ended = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=30)
        said = ended.stdout + ended.stderr
        check(ended.returncode == status and named in said, f'{args}: exit status {ended.returncode}, {said!r}')
    ended = subprocess.run([PROGRAM, '--help'], capture_output=True, text=True, timeout=30)
    check(ended.returncode == 0 and '--upstream-ca' in ended.stdout, f'--help: {ended.returncode}')
