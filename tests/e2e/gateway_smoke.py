"""The gateway as a black box: refusals, lying upstreams, one fetch for many clients, memory, stopping, configuration."""
import concurrent.futures
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time

from support import (BIN, POLL, Blob, Connection, Failure, Origin, check, gateway_environment, link, request, sha256,
                     start_gateway, until)


NO_ARTIFACTS = {'ARTIFACTS_PROXY_CACHE_VERIFY': 'length'}  # what these tests serve


def with_origin(bench, artifact=b'', **environment):
    origin = bench.enter(Origin(artifact or os.urandom(1 << 20)))
    return origin, start_gateway(bench, origin.url, **NO_ARTIFACTS, **environment)


# ---- refusals --------------------------------------------------------------------------------------------------------

def test_unknown_path_is_404(bench):
    origin, gateway = with_origin(bench)
    for path in ('/', '/index.html', '/api/management/v1/deployments/deployments', '/api/gateway/v1/artifacts'):
        answer = request(bench.pki, gateway.port, 'GET', path)
        check(answer.status == 404, f'GET {path}: {answer.status}')
        check('error' in answer.json(), f'GET {path}: no JSON error body: {answer.body}')
    until(lambda: len(re.findall(r'level=warning msg=request .* status=404', gateway.log)) == 4, 5, 'a warning of each')
    check(not origin.requests, f'a request went upstream: {origin.requests}')


GARBLED = {
    'no request at all': b'\x16\x03\x01 what\r\n\r\n',
    'no version': b'GET /\r\nHost: localhost\r\n\r\n',
    'space before the colon': b'GET / HTTP/1.1\r\nHost : localhost\r\n\r\n',
    'two framings': b'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'two lengths': b'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
    'folded line': b'GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n',
    'no host': b'GET / HTTP/1.1\r\n\r\n',
    'NUL in a field': b'GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n',
}


def test_garbled_request_is_400_and_closed(bench):
    origin, gateway = with_origin(bench)
    for name, text in GARBLED.items():
        with Connection(bench.pki, gateway.port) as connection:
            connection.socket.sendall(text)
            answer = connection.read()
            check(answer.status == 400, f'{name}: {answer.status}')
            check(answer.headers.get('connection', '').lower() == 'close', f'{name}: it does not say that it closes')
            check(connection.closed(), f'{name}: not closed')
    check(not origin.requests, f'a request went upstream: {origin.requests}')


def test_large_head_is_431(bench):
    origin, gateway = with_origin(bench)
    for name, fields in {'one long field': {'X-Long': 'x' * 200_000},
                         'many fields': {f'X-{i}': 'x' for i in range(5000)}}.items():
        with Connection(bench.pki, gateway.port) as connection:
            try:
                connection.send('GET', POLL, fields)
            except OSError:
                pass  # refused before all of it was sent
            answer = connection.read()
            check(answer.status == 431, f'{name}: {answer.status}')
            check(connection.closed(), f'{name}: not closed')
    check(not origin.requests, f'a request went upstream: {len(origin.requests)}')


def test_forged_link_is_403(bench):
    origin, gateway = with_origin(bench)
    good = link(bench.pki, gateway.port)
    prefix, key, token = good.rsplit('/', 2)
    other_key = ('0' if key[0] != '0' else '1') + key[1:]
    middle = len(token) // 2
    flipped = token[:middle] + ('A' if token[middle] != 'A' else 'B') + token[middle + 1:]
    for name, target in {'another key': f'{prefix}/{other_key}/{token}', 'a changed token': f'{prefix}/{key}/{flipped}',
                         'half a token': f'{prefix}/{key}/{token[:middle]}'}.items():
        answer = request(bench.pki, gateway.port, 'GET', target)
        check(answer.status == 403, f'{name}: {answer.status}')
    check(not origin.fetches(), 'a forged link led to a fetch')
    answer = request(bench.pki, gateway.port, 'GET', good)
    check(answer.status == 200 and answer.body == origin.artifact, f'the true link: {answer.status}')


def test_expired_link_is_403(bench):
    origin, gateway = with_origin(bench, ARTIFACTS_PROXY_CACHE_LINK_EXPIRE_DURATION='1s')
    target = link(bench.pki, gateway.port)
    made = time.monotonic()
    # Expiry is judged in whole seconds.
    until(lambda: time.monotonic() - made > 2.1, 5, 'the link to expire')
    answer = request(bench.pki, gateway.port, 'GET', target)
    check(answer.status == 403, f'an expired link: {answer.status}')
    check(not origin.fetches(), 'an expired link led to a fetch')


def test_upstream_refused_is_502(bench):
    origin, gateway = with_origin(bench)
    origin.server.shutdown()
    origin.server.server_close()
    for method, path, body in (('POST', POLL, b'{}'),
                               ('PUT', '/api/devices/v1/inventory/device/attributes', b'[]')):
        answer = request(bench.pki, gateway.port, method, path, {'Authorization': 'Bearer x'}, body)
        check(answer.status == 502, f'{method} {path}: {answer.status}')
        check(answer.headers['content-type'].startswith('application/json'), f'{path}: {answer.headers}')
        check(set(answer.json()) >= {'error', 'request_id'}, f'{path}: {answer.body}')


# ---- artifacts -------------------------------------------------------------------------------------------------------

def test_short_upstream_is_never_whole(bench):
    data = os.urandom(1 << 20)
    origin, gateway = with_origin(bench, data, ARTIFACTS_PROXY_HOLD_TIMEOUT='2s')

    def half_then_another_size(handler, start):
        handler.close_connection = True
        if start:  # asked for the rest, it has another object
            origin.head(handler, start, len(data) // 2 + 1, len(data) // 2 + 1)
            origin.send(handler, start, len(data) // 2 + 1)
        else:
            origin.head(handler, None, len(data), len(data))
            origin.send(handler, 0, len(data) // 2)
    origin.artifact_answer = half_then_another_size
    target = link(bench.pki, gateway.port)
    for attempt in (1, 2):
        with Connection(bench.pki, gateway.port) as connection:
            connection.send('GET', target)
            answer = connection.read()
            check(not (answer.status == 200 and answer.whole), f'attempt {attempt}: a part was served as the whole')
            check(answer.status in (None, 200), f'attempt {attempt}: {answer.status} for a passing fault')
            check(data.startswith(answer.body), f'attempt {attempt}: other bytes')
            check(connection.closed(), f'attempt {attempt}: not closed')
    origin.artifact_answer = None
    answer = request(bench.pki, gateway.port, 'GET', link(bench.pki, gateway.port))
    check(answer.status == 200 and answer.whole and answer.body == data, f'the honest answer afterwards: {answer.status}')


def test_a_redirect_from_https_to_http_is_not_followed(bench):
    plain, storage = bench.enter(Origin(os.urandom(1000))), Origin(b'x')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bench.pki.cert, bench.pki.key)
    storage.server.socket = context.wrap_socket(storage.server.socket, server_side=True)
    bench.enter(storage).url = f'https://localhost:{storage.server.server_address[1]}'
    where = 'http'

    def elsewhere(handler, start):
        handler.send_response(302)
        handler.send_header('Location', plain.url if where == 'http' else storage.url + '/elsewhere')
        handler.send_header('Content-Length', '0')
        handler.end_headers()

    storage.artifact_answer = elsewhere
    storage.api_answer = lambda h: storage.reply(h, 200, plain.artifact) if h.command == 'GET' else storage.serve_api(h)
    gateway = start_gateway(bench, storage.url, ARTIFACTS_PROXY_HOLD_TIMEOUT='1s', **NO_ARTIFACTS)
    target = link(bench.pki, gateway.port)
    answer = request(bench.pki, gateway.port, 'GET', target)
    check(answer.status is None, f'it was answered {answer.status}')
    check('redirected from https to http' in gateway.log, f'the log does not say why: {gateway.log}')
    check(not plain.requests, f'it was followed: {plain.requests}')
    where = 'https'
    answer = request(bench.pki, gateway.port, 'GET', target)
    check(answer.status == 200 and answer.body == plain.artifact, f'another redirect was not followed: {answer.status}')


def test_ranges_and_head(bench):
    data = os.urandom(300_000)
    origin, gateway = with_origin(bench, data)
    target, size = link(bench.pki, gateway.port), len(data)
    with Connection(bench.pki, gateway.port) as connection:
        for wanted, begin, end in (('0-99', 0, 100), ('100000-', 100_000, size), ('-100', size - 100, size),
                                   (f'{size - 1}-{size - 1}', size - 1, size), (f'1000-{size * 2}', 1000, size)):
            connection.send('GET', target, {'Range': f'bytes={wanted}'})
            answer = connection.read()
            check(answer.status == 206 and answer.body == data[begin:end], f'{wanted}: {answer.status}')
            check(answer.headers['content-range'] == f'bytes {begin}-{end - 1}/{size}', f'{wanted}: {answer.headers}')
        connection.send('GET', target, {'Range': f'bytes={size}-'})
        answer = connection.read()
        check(answer.status == 416 and answer.headers['content-range'] == f'bytes */{size}', f'past the end: {answer.status}')
        connection.send('HEAD', target)
        answer = connection.read('HEAD')
        check(answer.status == 200 and answer.headers['content-length'] == str(size), f'HEAD: {answer.headers}')
        check(answer.headers['accept-ranges'] == 'bytes', f'HEAD: {answer.headers}')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches')


def test_small_ranges_are_one_line(bench):
    size, step = 100_000, 2048
    origin, gateway = with_origin(bench, os.urandom(size))
    target = link(bench.pki, gateway.port)
    lines = lambda: [l for l in gateway.log.splitlines() if '{token}' in l and ' status=206 ' in l]
    with Connection(bench.pki, gateway.port) as connection:
        for begin in range(0, size, step):
            check(not lines(), f'before the last range: {lines()}')
            connection.send('GET', target, {'Range': f'bytes={begin}-{min(begin + step, size) - 1}'})
            check(connection.read().status == 206, f'at {begin}')
    until(lines, 5, 'the line of the download')
    check(len(lines()) == 1, f'{len(lines())} lines for one download')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches')


def test_many_clients_one_fetch(bench):
    clients, size = 200, 4 << 20
    origin, gateway = with_origin(bench, os.urandom(size))
    targets = [link(bench.pki, gateway.port) for _ in range(clients)]
    all_ready, gate = threading.Barrier(clients), threading.Event()

    def hold_back(handler, start):
        gate.wait(60)  # until every client has asked
        origin.head(handler, None, size, size)
        origin.send(handler, 0, size)
    origin.artifact_answer = hold_back

    def client(number):
        with Connection(bench.pki, gateway.port, timeout=120) as connection:
            all_ready.wait(60)
            connection.send('GET', targets[number])
            if all_ready.wait(60) == 0:
                gate.set()
            answer, digest, left = connection.read_head(), hashlib.sha256(), size
            while left and (data := connection.recv(left if left < 65536 else 65536)):
                digest.update(data)
                left -= len(data)
            return answer.status, left, digest.hexdigest()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        results = list(pool.map(client, range(clients)))
    wrong = [r for r in results if r != (200, 0, sha256(origin.artifact))]
    check(not wrong, f'{len(wrong)} of {clients} clients got something else, such as {wrong[:1]}')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches for {clients} clients')
    check(origin.body_bytes == size, f'{origin.body_bytes} bytes came from upstream')


def test_memory_with_slow_clients(bench):
    clients, size, rate, seconds, limit = 50, 1 << 30, 1 << 20, 20, 64 << 20
    if os.environ.get('MGW_E2E_SANITIZER'):  # which takes memory of its own
        limit = 1 << 30
    free = shutil.disk_usage(bench.dir).free
    check(free > size * 2, f'needs {size >> 19} MiB of disk, {free >> 20} MiB are free')
    origin, gateway = with_origin(bench, Blob(size))
    target = link(bench.pki, gateway.port)
    began = time.monotonic()

    def client(_):
        got, piece = 0, 1 << 16
        with Connection(bench.pki, gateway.port, timeout=60) as connection:
            connection.send('GET', target)
            answer = connection.read_head()
            check(answer.status == 200 and answer.headers['content-length'] == str(size), f'{answer.status} {answer.headers}')
            while (now := time.monotonic() - began) < seconds:
                if got > now * rate:
                    time.sleep((got - now * rate) / rate)  # this client is slow
                    continue
                data = connection.recv(piece)
                check(data, f'cut after {got} bytes')
                check(data == origin.artifact[got:got + len(data)], f'wrong bytes after {got}')
                got += len(data)
        return got
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        got = list(pool.map(client, range(clients)))
    check(min(got) > rate * seconds // 20, f'a client got {min(got)} bytes in {seconds} s')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches')
    peak = gateway.peak_memory()
    check(peak < limit, f'the gateway took {peak >> 20} MiB at its peak')
    check(gateway.child.poll() is None, 'the gateway ended')


def test_restart_keeps_artifacts_and_links(bench):
    origin, gateway = with_origin(bench)
    target = link(bench.pki, gateway.port)
    check(request(bench.pki, gateway.port, 'GET', target).body == origin.artifact, 'the first download')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
    again = start_gateway(bench, origin.url, **NO_ARTIFACTS)
    answer = request(bench.pki, again.port, 'GET', target)
    check(answer.status == 200 and answer.body == origin.artifact, f'after a restart: {answer.status}')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches')


# ---- what devices do ----------------------------------------------------------------------------------------------------

def plain_port(gateway):
    """Where it listens without TLS."""
    return int(until(lambda: re.search(r'listening on http://127\.0\.0\.1:(\d+)\n', gateway.out), 10, 'the plain listener')[1])


def test_both_listeners(bench):
    """Links have the scheme and the name that the device used, whatever else it says; nothing of the storage is in them."""
    origin, gateway = with_origin(bench, HTTP_ENABLED='true', HTTP_LISTEN='127.0.0.1:0')
    plain = plain_port(gateway)

    def ask(scheme, method, target, **headers):
        made = {'http': lambda: http.client.HTTPConnection('127.0.0.1', plain, timeout=30),
                'https': lambda: http.client.HTTPSConnection('localhost', gateway.port, timeout=30, context=bench.pki.client())}
        connection = made[scheme]()
        connection.request(method, target, b'{}' if method == 'POST' else None, headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    lies = {'X-Forwarded-Host': 'evil.example', 'X-Forwarded-Proto': 'ftp', 'Forwarded': 'host=evil.example;proto=ftp'}
    for scheme, host in (('https', f'localhost:{gateway.port}'), ('https', 'gateway.example'), ('http', f'127.0.0.1:{plain}'),
                         ('http', '[::1]:8080')):
        status, body = ask(scheme, 'POST', POLL, Host=host, Authorization='Bearer x', **lies)
        check(status == 200, f'a poll of {scheme}://{host}: {status}')
        uri = json.loads(body)['artifact']['source']['uri']
        check(uri.startswith(f'{scheme}://{host}/api/gateway/v1/artifacts/'), f'the link for {scheme}://{host}: {uri[:100]}')
        check(Origin.PATH.encode() not in body and origin.url.encode() not in body, f'it tells of the storage: {body}')
        target = uri.split('/', 3)[3]
        status, body = ask(scheme, 'GET', f'/{target}', Host=host)
        check(status == 200 and body == origin.artifact, f'the download from {scheme}://{host}: {status}')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches')
    asked = len(origin.requests)
    for scheme in ('http', 'https'):
        status, _ = ask(scheme, 'GET', '/api/internal/v1/gateway/alive')
        check(status == 204, f'alive over {scheme}: {status}')
        status, _ = ask(scheme, 'POST', f'{scheme}://evil.example{POLL}', Host='localhost')
        check(status == 404, f'a target of another host over {scheme}: {status}')
    check(len(origin.requests) == asked, f'a request went upstream: {origin.requests[asked:]}')


class Microcontroller(Connection):
    """TLS 1.2, `Host` twice and without a port, heads in pieces of a few bytes, one connection for all of a download."""

    def __init__(self, bench, port):
        context = bench.pki.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with_context = type('Pki', (), {'client': lambda _: context})()
        super().__init__(with_context, port)

    def ask(self, method, target, *fields):
        head = f'{method} {target} HTTP/1.1\r\n' + ''.join(f'{field}\r\n' for field in fields) + '\r\n'
        for at in range(0, len(head), 50):
            self.socket.sendall(head[at:at + 50].encode())
        return self.read(method)


def test_a_microcontroller_downloads(bench):
    data, step = os.urandom(64 * 1024 - 100), 2048
    origin, gateway = with_origin(bench, data, LOG_LEVEL='info')
    target, size = link(bench.pki, gateway.port), len(data)
    with Microcontroller(bench, gateway.port) as device:
        check(device.socket.version() == 'TLSv1.2', f'{device.socket.version()}')
        got = b''
        while len(got) < size:
            first, last = len(got), min(len(got) + step, size) - 1
            answer = device.ask('GET', target, 'Host: localhost', 'User-Agent: Mender/1.0 MCU Zephyr/4', 'Host: localhost',
                                f'Range: bytes={first}-{last}')
            check(answer.status == 206 and answer.whole, f'{first}-{last}: {answer.status}')
            check(answer.headers['content-range'] == f'bytes {first}-{last}/{size}', f'{first}-{last}: {answer.headers}')
            got += answer.body
    check(got == data, 'other bytes than upstream has')
    check(len(origin.fetches()) == 1, f'{len(origin.fetches())} fetches')
    until(lambda: 'status=206' in gateway.log, 5, 'the line of the download')
    check(gateway.log.count('status=206') == 1, 'each small range is a line in the log')
    asked = len(origin.requests)
    for what, method, where, second in (('two different Hosts', 'GET', target, 'localhost.example'),
                                        ('two Hosts at another call', 'POST', POLL, 'localhost')):
        with Microcontroller(bench, gateway.port) as device:
            answer = device.ask(method, where, 'Host: localhost', f'Host: {second}')
            check(answer.status == 400, f'{what}: {answer.status}')
    lines = until(lambda: [l for l in gateway.log.splitlines() if 'status=400' in l][1:], 5, 'a line of each refusal')
    check(all('level=warning' in l and 'peer=127.0.0.1' in l for l in lines), f'the device is not named: {lines}')
    check(len(origin.requests) == asked, f'a request went upstream: {origin.requests[asked:]}')


def test_tls_as_devices_speak_it(bench):
    """TLS 1.2 with either kind of key and AES-GCM, TLS 1.3, and nothing older."""
    rsa = {'HTTPS_SERVER_KEY': str(bench.path('rsa.key')), 'HTTPS_SERVER_CERTIFICATE': str(bench.path('rsa.crt'))}
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout',
                    rsa['HTTPS_SERVER_KEY'], '-out', rsa['HTTPS_SERVER_CERTIFICATE']], check=True, capture_output=True)
    for kind, files in (('ECDSA', {}), ('RSA', rsa)):
        _, gateway = with_origin(bench, **files)

        def context(version, ciphers):
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
            made.set_ciphers(ciphers)
            made.minimum_version = made.maximum_version = version
            return type('Pki', (), {'client': lambda _: made})()

        def shake(offered):
            with Connection(offered, gateway.port) as connection:
                connection.send('GET', '/api/internal/v1/gateway/alive')
                return connection.read().status, connection.socket.cipher()[0]
        for cipher in ('AES128-GCM-SHA256', 'AES256-GCM-SHA384'):
            name = f'ECDHE-{kind}-{cipher}'
            check(shake(context(ssl.TLSVersion.TLSv1_2, name)) == (204, name), name)
        check(shake(context(ssl.TLSVersion.TLSv1_3, 'DEFAULT'))[0] == 204, f'{kind}: TLS 1.3')
        for version, ciphers in ((ssl.TLSVersion.TLSv1_1, 'ALL:@SECLEVEL=0'), (ssl.TLSVersion.TLSv1_2, 'AES128-SHA256')):
            offered = context(version, ciphers)
            try:
                done = shake(offered)
            except (ssl.SSLError, ConnectionError):
                continue
            raise Failure(f'{kind}: {version.name} with {ciphers} was accepted: {done}')
        check(gateway.stop() == 0, 'the gateway did not end in order')


def test_logs_of_megabytes_pass(bench):
    origin, gateway = with_origin(bench)
    origin.api_answer = lambda handler: (handler.send_response(204), handler.end_headers())
    path = '/api/devices/v1/deployments/device/deployments/7f3a/log'
    log = os.urandom(5 << 20)
    check(request(bench.pki, gateway.port, 'PUT', path, {}, log).status == 204, 'a log with its length')
    with Connection(bench.pki, gateway.port) as connection:
        connection.send('PUT', path, {'Transfer-Encoding': 'chunked'})
        for at in range(0, len(log), 100_000):
            piece = log[at:at + 100_000]
            connection.socket.sendall(b'%x\r\n' % len(piece) + piece + b'\r\n')
        connection.socket.sendall(b'0\r\n\r\n')
        check(connection.read().status == 204, 'a log in chunks')
    check([r[3] == log for r in origin.requests] == [True, True], 'the log came otherwise than it was sent')
    with Connection(bench.pki, gateway.port) as connection:
        connection.send('PUT', path, {'Content-Length': 17 << 20})
        check(connection.read().status == 413, 'a log over the limit')
    check(len(origin.requests) == 2, 'what is over the limit went upstream')


def test_starts_without_an_upstream(bench):
    """And serves what it has."""
    origin, gateway = with_origin(bench)
    target = link(bench.pki, gateway.port)
    check(request(bench.pki, gateway.port, 'GET', target).body == origin.artifact, 'the first download')
    check(gateway.stop() == 0, 'the gateway did not end in order')
    origin.server.shutdown()
    origin.server.server_close()
    again = start_gateway(bench, origin.url, **NO_ARTIFACTS)
    check(request(bench.pki, again.port, 'GET', '/api/internal/v1/gateway/alive').status == 204, 'it is not alive')
    answer = request(bench.pki, again.port, 'GET', target)
    check(answer.status == 200 and answer.whole and answer.body == origin.artifact, f'what is stored: {answer.status}')
    check(request(bench.pki, again.port, 'POST', POLL, {}, b'{}').status == 502, 'a poll without upstream')


# ---- stopping --------------------------------------------------------------------------------------------------------

def test_old_artifacts_are_deleted(bench):
    origin, gateway = with_origin(bench, ARTIFACTS_PROXY_CACHE_MAX_AGE='1s', LOG_LEVEL='info')
    cache = bench.path('cache')
    for n in (1, 2):
        answer = request(bench.pki, gateway.port, 'GET', link(bench.pki, gateway.port))
        check(answer.status == 200 and sha256(answer.body) == sha256(origin.artifact), 'not served whole')
        until(lambda: gateway.log.count('nobody used it for so long') == n, 60, 'the artifact to be deleted')
        check(not list(cache.glob('*/*/*')), f'deleted, but not all of it: {list(cache.glob("*/*/*"))}')
        check(len(origin.fetches()) == n, f'fetched {len(origin.fetches())} times instead of {n}')


def test_sigterm_finishes_what_is_served(bench):
    size = 64 << 20  # more than the sockets between can hold
    origin, gateway = with_origin(bench, Blob(size))
    target = link(bench.pki, gateway.port)
    check(request(bench.pki, gateway.port, 'HEAD', target).status == 200, 'HEAD')
    with Connection(bench.pki, gateway.port) as connection:
        connection.send('GET', target)
        answer = connection.read_head()
        check(answer.status == 200, f'{answer.status}')
        until(lambda: origin.body_bytes == size, 60, 'the artifact to be fetched')
        got, digest = 0, hashlib.sha256()
        while got < 1 << 20:
            data = connection.recv()
            digest.update(data)
            got += len(data)
        gateway.child.terminate()
        until(lambda: refuses(bench, gateway.port), 10, 'the gateway to take no new connections')
        while data := connection.recv():
            digest.update(data)
            got += len(data)
    wanted = hashlib.sha256()
    for begin in range(0, size, 1 << 20):
        wanted.update(origin.artifact[begin:begin + (1 << 20)])
    check(got == size and digest.digest() == wanted.digest(), f'{got} of {size} bytes came after SIGTERM')
    until(lambda: gateway.child.poll() is not None, 10, 'the gateway to end')
    check(gateway.child.returncode == 0, f'exit status {gateway.child.returncode}')


def test_what_a_stop_cuts_has_its_line(bench):
    size = 64 << 20  # more than the sockets between can hold
    _, gateway = with_origin(bench, Blob(size), DRAIN_TIMEOUT='1s', AUDIT_PATH=str(bench.path('audit')))
    with Connection(bench.pki, gateway.port) as connection:
        connection.send('GET', link(bench.pki, gateway.port))
        check(connection.read_head().status == 200, 'not served')
        check(gateway.stop(20) == 0, 'exit status')
    lines = [line for line in gateway.log.splitlines() if 'method="GET"' in line]
    check(len(lines) == 1 and 'status=200' in lines[0] and 'cut=true reason="the gateway was stopped"' in lines[0], f'{lines}')
    told = [r for r in map(json.loads, bench.path('audit').read_text().splitlines()) if r['event'] == 'delivery']
    check(len(told) == 1 and told[0]['whole'] is False and told[0]['why'] == 'the gateway was stopped', f'{told}')


def refuses(bench, port):
    try:
        with Connection(bench.pki, port, timeout=5):
            return False
    except OSError:
        return True


def test_sigterm_ends_an_idle_gateway(bench):
    _, gateway = with_origin(bench)
    with Connection(bench.pki, gateway.port) as connection:
        connection.send('GET', '/')
        connection.read()
        began = time.monotonic()
        check(gateway.stop(20) == 0, 'exit status')
        took = time.monotonic() - began
        check(took < 5, f'an idle connection kept it for {took:.1f} s')


# ---- configuration ---------------------------------------------------------------------------------------------------

BAD = {
    'bad listen address': ({'HTTPS_LISTEN': 'localhost:notaport'}, ('HTTPS_LISTEN', 'localhost:notaport')),
    'listen port out of range': ({'HTTPS_LISTEN': '127.0.0.1:70000'}, ('HTTPS_LISTEN', '127.0.0.1:70000')),
    'missing key file': ({'HTTPS_SERVER_KEY': '/nonexistent/server.key'}, ('HTTPS_SERVER_KEY', '/nonexistent/server.key')),
    'missing certificate file': ({'HTTPS_SERVER_CERTIFICATE': '/nonexistent/server.crt'},
                                 ('HTTPS_SERVER_CERTIFICATE', '/nonexistent/server.crt')),
    'no key named': ({'HTTPS_SERVER_KEY': ''}, ('HTTPS_SERVER_KEY',)),
    'missing CA file': ({'UPSTREAM_SERVER_CA_CERTIFICATE': '/nonexistent/ca.crt'},
                        ('UPSTREAM_SERVER_CA_CERTIFICATE', '/nonexistent/ca.crt')),
    'no upstream': ({'UPSTREAM_SERVER_URL': ''}, ('UPSTREAM_SERVER_URL',)),
    'upstream of another scheme': ({'UPSTREAM_SERVER_URL': 'ftp://example.com'}, ('UPSTREAM_SERVER_URL', 'ftp://example.com')),
    'nothing enabled': ({'HTTPS_ENABLED': 'false'}, ('HTTPS_ENABLED', 'HTTP_ENABLED')),
    'no yes or no': ({'HTTPS_ENABLED': 'perhaps'}, ('HTTPS_ENABLED', 'perhaps')),
    'bad size': ({'ARTIFACTS_PROXY_CACHE_MAX_SIZE': '12 parsecs'}, ('ARTIFACTS_PROXY_CACHE_MAX_SIZE', '12 parsecs')),
    'no number': ({'WORKERS': 'banana'}, ('WORKERS', 'banana', '1 to 1024')),
    'no workers': ({'WORKERS': '0'}, ('WORKERS', '"0"', '1 to 1024')),
    'too many workers': ({'WORKERS': '1000000000'}, ('WORKERS', '1000000000', '1 to 1024')),
    'mTLS without a CA': ({'MTLS_ENABLED': 'true'}, ('MTLS_CA_CERTIFICATE', 'MTLS_MENDER_USERNAME')),
    'key of another certificate': ({'HTTPS_SERVER_KEY': 'OTHER'}, ('HTTPS_SERVER_KEY', 'mismatch')),
    'missing secret file': ({'ARTIFACTS_PROXY_CACHE_SECRET_FILE': '/nonexistent/secret'},
                            ('ARTIFACTS_PROXY_CACHE_SECRET_FILE', '/nonexistent/secret')),
    'short secret': ({'ARTIFACTS_PROXY_CACHE_SECRET': 'short'}, ('ARTIFACTS_PROXY_CACHE_SECRET',)),
}


def test_bad_configuration_is_refused(bench):
    good = gateway_environment(bench, 'https://localhost:1')
    BAD['key of another certificate'][0]['HTTPS_SERVER_KEY'] = str(other_key(bench))
    wrong = []
    for number, (name, (settings, words)) in enumerate(BAD.items()):
        process = bench.start(f'bad-{number}', [BIN / 'mgw-gateway'], {**good, **settings})
        try:
            until(lambda: process.child.poll() is not None, 10, f'refusal of: {name}')
        except Failure as failure:
            wrong.append(str(failure))
            continue
        said = process.out + process.log
        if process.child.returncode in (0, None) or process.child.returncode < 0:
            wrong.append(f'{name}: exit status {process.child.returncode}')
        wrong += [f'{name}: does not say {word!r}: {said.strip()[-200:]}' for word in words if word not in said]
        if name == 'short secret' and "'short'" in said.replace('"', "'"):
            wrong.append('a secret was written to the log')
    check(not wrong, '\n'.join(wrong))


def other_key(bench):
    path = bench.path('other.key')
    subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', path], check=True)
    return path


def file_settings(bench, upstream):
    """What gateway_environment sets, as a configuration file has it."""
    cache, state = bench.path('cache'), bench.path('state')
    return {'HTTPS': {'Enabled': True, 'Listen': '127.0.0.1:0', 'ServerCertificate': str(bench.pki.cert),
                      'ServerKey': str(bench.pki.key)},
            'UpstreamServer': {'URL': upstream, 'CACertificate': str(bench.pki.ca)},
            'Features': {'ArtifactsProxy': {'ArtifactsCache': {'Path': str(cache), 'Verify': 'length'}}},
            'StateDirectory': str(state)}


def gateway_says(bench, *args, **environment):
    """Runs the gateway to its end: exit status, standard output, standard error."""
    process = bench.start('gateway', [BIN / 'mgw-gateway', *args], environment)
    until(lambda: process.child.poll() is not None, 20, f'the end of mgw-gateway {args}')
    return process.child.returncode, process.out, process.log


def written(bench, settings, name='gateway.conf'):
    path = bench.path(name)
    path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return path


def test_configuration_file(bench):
    origin = bench.enter(Origin(os.urandom(1 << 20)))
    settings = file_settings(bench, origin.url)
    settings['Workers'] = 1
    settings['Stray'] = {'Key': 1}
    path = written(bench, settings)
    gateway = bench.start('gateway', [BIN / 'mgw-gateway', '--config', path], {'LOG_LEVEL': 'info'},
                          ready=r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n')
    answer = request(bench.pki, int(gateway.match[1]), 'GET', link(bench.pki, int(gateway.match[1])))
    check(answer.status == 200 and answer.body == origin.artifact, f'a download: {answer.status}')
    for words in ('configuration file loaded', str(path), 'Stray is not a known key'):
        check(words in gateway.log, f'the log does not say {words!r}: {gateway.log[:1000]}')
    line = r'(?m)^time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S+" level=info msg="starting mgw-gateway" .*upstream="' + re.escape(origin.url)
    check(re.search(line, gateway.log), f'lines of another form: {gateway.log[:1000]}')
    check('Stray.Key' not in gateway.log, 'the members of an unknown key are named too')


def test_environment_wins_over_file(bench):
    path = written(bench, {'Workers': 1, 'Log': {'Level': 'warn'}, 'HTTP': {'Listen': ':81'}})
    status, out, _ = gateway_says(bench, f'--config={path}', '--print-config', '--log-level', 'error', WORKERS='2',
                                  LOG_LEVEL='debug')
    check(status == 0, f'exit status {status}')
    for line in ('Workers = 2  (environment WORKERS)', 'Log.Level = "error"  (flag --log-level)',
                 f'HTTP.Listen = ":81"  (file {path}:1:61)', 'HTTPS.Listen = ":443"  (default)'):
        check(line in out.splitlines(), f'no line {line!r} in\n{out}')


def test_print_config_shows_no_secret(bench):
    secret = 'a secret of many words'
    settings = file_settings(bench, 'https://localhost:1')
    settings['Features']['ArtifactsProxy']['ArtifactsCache']['SignatureSecret'] = secret
    secret_file = written(bench, f'{secret}\n', 'secret')
    for args, environment in (((), {'ARTIFACTS_PROXY_CACHE_SECRET': secret}),
                              ((), {'ARTIFACTS_PROXY_CACHE_SECRET_FILE': str(secret_file)}),
                              (('--config', written(bench, settings)), {})):
        status, out, log = gateway_says(bench, '--print-config', *args, **environment)
        check(status == 0 and 'SignatureSecret = "***"' in out, f'{args}: {status} {out}')
        check('many words' not in out + log, f'{args}: the secret was printed')


def test_check_config(bench):
    good = file_settings(bench, 'https://localhost:1')
    status, out, log = gateway_says(bench, '--check-config', '--config', written(bench, good))
    check((status, log) == (0, '') and 'good' in out, f'good: {status} {out} {log}')
    check(not bench.path('state').exists(), 'a check made a directory')
    for words in (f'"{bench.pki.cert}": CN=localhost, for DNS:localhost IP:127.0.0.1, ', 'days left), EC P-256\n',
                  'the key of that certificate', f'"{bench.pki.ca}": CN=mgw test CA', 'may make it', 'are free, '):
        check(words in out, f'good: does not say {words!r}: {out}')

    def changed(**more):
        return json.dumps({**good, **more})
    https = good['HTTPS']
    bad = {
        'unknown key': (changed(UpstreamSever={}), (':1:', 'UpstreamSever is not a known key', 'nearest is UpstreamServer')),
        'other key': (changed(HTTPS={**https, 'ServerKey': str(other_key(bench))}), ('HTTPS.ServerKey', 'mismatch')),
        'missing certificate': (changed(HTTPS={**https, 'ServerCertificate': '/nonexistent/c'}),
                                ('HTTPS.ServerCertificate', '/nonexistent/c')),
        'no JSON': ('{"HTTP": {\n  "Enabled": true,\n}}', (':3:1: ', 'unexpected } after a comma')),
        'wrong type': ('{"Workers":\n true}', (':2:2: ', 'Workers is true', '1 to 1024')),
        'repeated key': ('{"Workers": 1,\n"workers": 2}', (':2:1: ', 'there twice')),
        'no certificate': (changed(HTTPS={**https, 'ServerCertificate': str(bench.pki.key)}),
                           ('HTTPS.ServerCertificate', 'there is no certificate in it, it has PRIVATE KEY')),
        'mTLS': (changed(Features={'mTLS': {'Enabled': True}}), ('Features.mTLS.CACertificate', 'a PEM file')),
    }
    wrong = []
    for name, (text, words) in bad.items():
        status, out, log = gateway_says(bench, '--check-config', '--config', written(bench, text))
        if status != 1 or out:
            wrong.append(f'{name}: exit status {status}, {out!r}')
        wrong += [f'{name}: does not say {word!r}: {log}' for word in words if word not in log]
        if name != 'unknown key':  # of which a start only warns
            status, _, log = gateway_says(bench, '--config', bench.path('gateway.conf'))
            wrong += [f'{name}: starts: {status}'] if status != 2 else []
    check(not wrong, '\n'.join(wrong))


def test_flags_act_before_the_file(bench):
    broken = written(bench, '{')
    for flag, pattern in (('--version', r'\d+\.\d+\.\d+\n'), ('--help', '(?s).*--check-config.*'), ('-h', '(?s).*--check-config.*')):
        status, out, log = gateway_says(bench, '--config', broken, flag, WORKERS='banana')
        check(status == 0 and re.fullmatch(pattern, out) and not log, f'{flag}: {status} {out} {log}')
    status, _, log = gateway_says(bench, '--config', broken, '--log-level', 'loud')
    check(status == 2 and '--log-level is "loud"' in log and str(broken) not in log, f'--log-level: {status} {log}')
    for absent in ('/nonexistent/gateway.conf', ''):
        status, _, log = gateway_says(bench, '--config', absent)
        check(status == 2 and f'configuration file {absent}' in log, f'absent file {absent!r}: {status} {log}')


def test_limit_per_peer(bench):
    _, gateway = with_origin(bench, LIMITS_MAX_CONNECTIONS_PER_PEER='2')
    with Connection(bench.pki, gateway.port) as first, Connection(bench.pki, gateway.port) as second:
        check(refuses(bench, gateway.port), 'a third connection was taken')
        for connection in (first, second):
            connection.send('GET', '/')
            check(connection.read().status == 404, 'a connection within the limit')
    until(lambda: not refuses(bench, gateway.port), 10, 'a place to be free again')


def test_heads_can_be_limited(bench):
    _, gateway = with_origin(bench, LIMITS_MAX_HEAD_SIZE='10KiB')
    with_room = 'x' * (9 << 10)
    for name, target, fields, status in (
            ('a field below', '/', {'X-Long': with_room}, 404), ('a field above', '/', {'X-Long': with_room + 'x' * 200}, 431),
            ('a target below', '/' + with_room[1:], {}, 404), ('a target above', '/' + with_room, {}, 414),
            ('a head above', '/', {'X-Long': with_room, 'X-More': 'x' * 1000}, 431)):
        with Connection(bench.pki, gateway.port) as connection:
            connection.send('GET', target, fields)
            answer = connection.read()
            check(answer.status == status, f'{name}: {answer.status}')
