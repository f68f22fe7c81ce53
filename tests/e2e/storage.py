"""Signed links to real storage servers (s3rver and Azurite from npm): what the gateway sends upstream must still be signed.

S3 links are signed here as a Mender server's storage signs them, versions 2 and 4; Azure's are service SAS. Azurite checks
SAS, s3rver version 2. It does not check version 4, so a gate in front of each server does: it computes the signature again
from the bytes that arrive. The gate also counts, and cuts a body once.

`tests/run.sh --only storage` installs the servers (build/storage, or $MGW_STORAGE) and runs this.
"""
import base64
import concurrent.futures
import datetime
import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import re
import secrets
import socketserver
import threading
import time
import urllib.parse

from support import DEVICE_TYPE, Connection, Origin, check, link, make_artifact, request, start_gateway

BY_NAME = True  # not part of a run without names: what it needs is not on every machine
ROOT = pathlib.Path(__file__).resolve().parents[2]
STORAGE = pathlib.Path(os.environ.get('MGW_STORAGE', ROOT / 'build/storage'))
SIZE = 3 << 20


def quote(text):
    return urllib.parse.quote(text, safe='-_.~')


def now(offset=0):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset)


# ---- signing ---------------------------------------------------------------------------------------------------------

def signature_v4(secret, method, authority, path, query):
    """Of a presigned URL: `query` is raw, without X-Amz-Signature. Source: Amazon S3, Signature Version 4, query string."""
    members = sorted(query.split('&'))
    values = dict(m.partition('=')[::2] for m in members)
    date = values['X-Amz-Date']
    scope = '/'.join(urllib.parse.unquote(values['X-Amz-Credential']).split('/')[1:])
    canonical = '\n'.join([method, path, '&'.join(members), f'host:{authority}\n', 'host', 'UNSIGNED-PAYLOAD'])
    text = '\n'.join(['AWS4-HMAC-SHA256', date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b'AWS4' + secret.encode()
    for part in scope.split('/'):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def presign_v4(key_id, secret, authority, path, when, **response):
    """The query of a link as mender-server 4 makes it."""
    date = when.strftime('%Y%m%dT%H%M%SZ')
    values = {'X-Amz-Algorithm': 'AWS4-HMAC-SHA256', 'X-Amz-Date': date, 'X-Amz-Expires': '86400',
              'X-Amz-Credential': f'{key_id}/{date[:8]}/us-east-1/s3/aws4_request', 'X-Amz-SignedHeaders': 'host',
              'x-id': 'GetObject', **response}
    query = '&'.join(f'{quote(k)}={quote(v)}' for k, v in sorted(values.items()))
    return f'{query}&X-Amz-Signature={signature_v4(secret, "GET", authority, path, query)}'


def presign_v2(key_id, secret, method, path, expires):
    """Source: Amazon S3, Signature Version 2, query string authentication."""
    text = f'{method}\n\n\n{expires}\n{path}'.encode()
    signature = base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha1).digest()).decode()
    return f'AWSAccessKeyId={key_id}&Expires={expires}&Signature={quote(signature)}'


SAS_VERSION = '2021-12-02'


def azure_signature(key, *lines):
    return base64.b64encode(hmac.new(base64.b64decode(key), '\n'.join(lines).encode(), hashlib.sha256).digest()).decode()


def service_sas(account, key, path, start, end, disposition):
    """The query that lets one blob be read. Source: Azure Storage, Create a service SAS, versions 2020-12-06 and later."""
    st, se = (t.strftime('%Y-%m-%dT%H:%M:%SZ') for t in (start, end))
    resource = f'/blob/{account}/{path}'
    signature = azure_signature(key, 'r', st, se, resource, '', '', '', SAS_VERSION, 'b', '', '', '', disposition, '', '', '')
    values = {'sv': SAS_VERSION, 'st': st, 'se': se, 'sr': 'b', 'sp': 'r', 'rscd': disposition, 'sig': signature}
    return '&'.join(f'{k}={quote(v)}' for k, v in values.items())


def account_sas(account, key):
    """The query that lets containers and blobs be made. Source: Azure Storage, Create an account SAS."""
    se = now(3600).strftime('%Y-%m-%dT%H:%M:%SZ')
    signature = azure_signature(key, account, 'rwc', 'b', 'co', '', se, '', '', SAS_VERSION, '', '')
    values = {'sv': SAS_VERSION, 'ss': 'b', 'srt': 'co', 'sp': 'rwc', 'se': se, 'sig': signature}
    return '&'.join(f'{k}={quote(v)}' for k, v in values.items())


# ---- servers ---------------------------------------------------------------------------------------------------------

DENIED = b'<Error><Code>SignatureDoesNotMatch</Code></Error>'


class Gate:
    """Relays GET requests to the server at `port`, byte for byte what was asked; refuses a wrong signature of version 4.

    `requests` holds (path, headers, status) of all that came, `body_bytes` counts what of bodies was passed on. After
    `cut_after` bytes of the next body its connection ends, once."""

    def __init__(self, port, secret=None):
        self.requests, self.body_bytes, self.cut_after = [], 0, None
        gate, lock = self, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args):
                pass

            def do_GET(self):
                path, _, query = self.path.partition('?')
                signed, _, signature = query.partition('&X-Amz-Signature=')
                if signature and signature != signature_v4(secret, 'GET', self.headers['Host'], path, signed):
                    return self.answer(403, {}, [DENIED], len(DENIED))
                backend = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
                backend.putrequest('GET', self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    backend.putheader(name, value)
                backend.endheaders()
                response = backend.getresponse()
                pieces, length = iter(lambda: response.read(65536), b''), response.length
                if length is None:  # chunked: an error
                    pieces = [response.read()]
                    length = len(pieces[0])
                self.answer(response.status, response.headers, pieces, length)
                backend.close()

            def answer(self, status, headers, pieces, length):
                with lock:
                    gate.requests.append((self.path, dict(self.headers.items()), status))
                    limit, gate.cut_after = (gate.cut_after, None) if status in (200, 206) else (None, gate.cut_after)
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ('connection', 'keep-alive', 'transfer-encoding', 'content-length'):
                        self.send_header(name, value)
                self.send_header('Content-Length', str(length))
                self.end_headers()
                passed = 0
                for piece in pieces:
                    piece = piece if limit is None else piece[:limit - passed]
                    self.wfile.write(piece)
                    passed += len(piece)
                    with lock:
                        gate.body_bytes += len(piece)
                    if passed == limit:
                        self.close_connection = True
                        return

            def do_HEAD(self):  # a link is signed for GET alone
                self.answer(403, {}, [], 0)

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self.server = Server(('127.0.0.1', 0), Handler)
        self.authority = f'127.0.0.1:{self.server.server_address[1]}'

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True).start()
        return self

    def __exit__(self, *failure):
        self.server.shutdown()
        self.server.server_close()


def program(name):
    path = STORAGE / 'node_modules' / '.bin' / name
    check(path.exists(), f'{path} is not there: tests/run.sh --only storage installs it')
    return path


def put(port, target, body=b'', headers=None):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('PUT', target, body, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    check(answer.status in (200, 201), f'PUT {target.partition("?")[0]}: {answer.status} {text[:500]}')


class S3:
    """s3rver with one bucket, behind a gate. It knows one key."""
    KEY_ID = SECRET = 'S3RVER'

    def __init__(self, bench):
        server = bench.start('s3rver', [program('s3rver'), '--directory', bench.path('s3'), '--address', '127.0.0.1',
                                        '--port', '0', '--no-vhost-buckets', '--configure-bucket', 'mender-artifacts'],
                             ready=r'S3rver listening on 127\.0\.0\.1:(\d+)\n', wait=60)
        self.port = int(server.match[1])
        self.gate = bench.enter(Gate(self.port, self.SECRET))

    def store(self, name, body):
        path = f'/mender-artifacts/{name}'
        put(self.port, f'{path}?{presign_v2(self.KEY_ID, self.SECRET, "PUT", path, int(time.time()) + 600)}', body)

    def v4(self, name, n):
        path = f'/mender-artifacts/{name}'
        query = presign_v4(self.KEY_ID, self.SECRET, self.gate.authority, path, now(-60 * n),
                           **{'response-content-disposition': f'attachment; filename="release-{n}.mender"',
                              'response-content-type': 'application/vnd.mender-artifact'})
        return f'http://{self.gate.authority}{path}?{query}'

    def v2(self, name, n):
        path = f'/mender-artifacts/{name}'
        query = presign_v2(self.KEY_ID, self.SECRET, 'GET', path, int(time.time()) + 600 + n)
        return f'http://{self.gate.authority}{path}?{query}'


class Azure:
    """Azurite with one container, behind a gate."""
    ACCOUNT = 'mender'

    def __init__(self, bench):
        self.key = base64.b64encode(secrets.token_bytes(32)).decode()
        server = bench.start('azurite', [program('azurite-blob'), '--blobHost', '127.0.0.1', '--blobPort', '0',
                                         '--inMemoryPersistence', '--disableTelemetry'],
                             {'AZURITE_ACCOUNTS': f'{self.ACCOUNT}:{self.key}'},
                             ready=r'successfully listens on http://127\.0\.0\.1:(\d+)', wait=60)
        self.port = int(server.match[1])
        self.gate = bench.enter(Gate(self.port))
        put(self.port, f'/{self.ACCOUNT}/artifacts?restype=container&{account_sas(self.ACCOUNT, self.key)}')

    def store(self, name, body):
        put(self.port, f'/{self.ACCOUNT}/artifacts/{name}?{account_sas(self.ACCOUNT, self.key)}', body,
            {'x-ms-blob-type': 'BlockBlob', 'x-ms-version': SAS_VERSION})

    def sas(self, name, n):
        query = service_sas(self.ACCOUNT, self.key, f'artifacts/{name}', now(-600 - n), now(3600 + n),
                            f'attachment; filename="release-{n}.mender"')
        return f'http://{self.gate.authority}/{self.ACCOUNT}/artifacts/{name}?{query}'


class Site:
    """A Mender server that hands out the links of `sign(name, n)`, another one each time, and the gateway."""

    def __init__(self, bench, sign, name):
        self.pki, self.sign, self.name, self.given = bench.pki, sign, name, []
        origin = bench.enter(Origin(b''))
        origin.api_answer = lambda handler: origin.reply(handler, 200, self.deployment())
        self.gateway = start_gateway(bench, origin.url, ARTIFACTS_PROXY_DOMAIN_WHITELIST='127.0.0.1')
        self.port = self.gateway.port

    def deployment(self):
        self.given.append(self.sign(self.name, len(self.given)))
        return json.dumps({'id': 'w81s4fae-7dec-11d0-a765-00a0c91e6bf6', 'artifact': {
            'artifact_name': 'release-2', 'device_types_compatible': [DEVICE_TYPE],
            'source': {'uri': self.given[-1], 'expire': '2036-03-11T13:03:17.063493443Z'}}}).replace('&', '\\u0026').encode()

    def link(self):
        return link(self.pki, self.port)

    def get(self, target, **headers):
        return request(self.pki, self.port, 'GET', target, headers)


def broken(url):
    """The link with another signature of the same form."""
    head, signature = re.fullmatch(r'(.*[?&](?:X-Amz-Signature|Signature|sig)=)([^&]*)', url).groups()
    return head + ('b' if signature[0] != 'b' else 'c') + signature[1:]


def two_devices(bench, storage, sign):
    path, _ = make_artifact(bench, 'release-2', SIZE)
    body = path.read_bytes()
    storage.store('5abcb6de/b0c05f55', body)
    site, gate = Site(bench, sign, '5abcb6de/b0c05f55'), storage.gate

    first, second = site.link(), site.link()
    check(first != second and site.given[0] != site.given[1], 'both devices were given the same link')
    gate.cut_after = 1_000_000  # the upstream breaks off once: it is asked for the rest
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(site.get, (first, second)))
    for n, answer in enumerate(answers):
        check(answer.status == 200 and answer.whole and answer.body == body,
              f'device {n}: {answer.status}, {len(answer.body)} bytes')
    statuses = [r[2] for r in gate.requests]
    check(statuses == [200, 206], f'upstream answered {statuses}')
    check(gate.body_bytes == len(body), f'{gate.body_bytes} bytes came for an object of {len(body)}')
    asked = {k.lower(): v for k, v in gate.requests[1][1].items()}
    check(asked.get('range') == 'bytes=1000000-', f'the rest was asked for with {asked.get("range")}')
    check('if-match' in asked, 'the rest was asked for without If-Match')
    check(all(r[0] in (u[u.index('/', 7):] for u in site.given) for r in gate.requests), 'a link was not sent as it was given')
    check(all(r[1].get('Host') == gate.authority for r in gate.requests), 'Host is not the link\'s own')

    # A third device resumes with a link of its own, and nothing more is asked upstream.
    answer = site.get(site.link(), Range='bytes=2000000-')
    check(answer.status == 206 and answer.body == body[2_000_000:], f'a range: {answer.status}, {len(answer.body)} bytes')
    check(answer.headers['content-range'] == f'bytes 2000000-{len(body) - 1}/{len(body)}', str(answer.headers))
    check(len(gate.requests) == 2, f'{len(gate.requests)} requests upstream')


def wrong_signature(bench, storage, sign):
    path, _ = make_artifact(bench, 'release-2', 100_000)
    body = path.read_bytes()
    storage.store('other/object', body)
    spoil = [True]
    site = Site(bench, lambda name, n: broken(sign(name, n)) if spoil[0] else sign(name, n), 'other/object')
    answer = site.get(site.link())
    check(answer.status == 403, f'a wrong signature upstream: {answer.status}')
    check(storage.gate.requests[-1][2] == 403, f'upstream answered {storage.gate.requests[-1][2]}')
    with Connection(site.pki, site.port) as connection:  # a resume gets no status: a client would give up for good
        connection.send('GET', site.link(), {'Range': 'bytes=1000-'})
        check(connection.closed(), 'a resume was answered')
    spoil[0] = False
    answer = site.get(site.link())
    check(answer.status == 200 and answer.body == body, f'the true link after that: {answer.status}')


# ---- tests -----------------------------------------------------------------------------------------------------------

def test_the_signing_here_is_that_of_the_documentation(bench):
    """Amazon S3 API reference, "Authenticating requests: using query parameters", the example."""
    query = ('X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F'
             'aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host')
    got = signature_v4('wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY', 'GET', 'examplebucket.s3.amazonaws.com', '/test.txt', query)
    check(got == 'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404', f'got {got}')


def test_s3_version_4(bench):
    storage = S3(bench)
    two_devices(bench, storage, storage.v4)


def test_s3_version_2(bench):
    storage = S3(bench)
    two_devices(bench, storage, storage.v2)


def test_azure_sas(bench):
    storage = Azure(bench)
    two_devices(bench, storage, storage.sas)


def test_a_wrong_signature_of_version_4_is_refused(bench):
    storage = S3(bench)
    wrong_signature(bench, storage, storage.v4)


def test_a_wrong_signature_of_version_2_is_refused(bench):
    storage = S3(bench)
    wrong_signature(bench, storage, storage.v2)


def test_a_wrong_sas_is_refused(bench):
    storage = Azure(bench)
    wrong_signature(bench, storage, storage.sas)
