"""The status page: what it tells while a fleet downloads, while the link is down, and at the end; and what it never tells."""
import contextlib
import hashlib
import http.client
import json
import re
import socket
import subprocess
import threading
import time

from cache_commands import Site
from support import BIN, Forwarder, MiniMender, Origin, check, free_port, gateway_environment, link, request, start_gateway, until

MIB = 1 << 20
DEVICES = 5


def page_of(gateway):
    gateway.status = int(gateway.wait_for(r'status page: http://127\.0\.0\.1:(\d+)/\n', 10)[1])
    return gateway.status


def get(port, path, host=None, method='GET'):
    """(status, headers, body) from the status page."""
    with contextlib.closing(http.client.HTTPConnection('127.0.0.1', port, timeout=20)) as connection:
        connection.request(method, path, headers={'Host': host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


class Wire:
    """The way to the server, which may be cut."""

    def __init__(self, port):
        self.port, self.end = port, None

    def connect(self, to, pause=0):
        self.end = Forwarder(to, 1 << 60, self.port, pause).__enter__()

    def cut(self):
        if self.end:
            self.end.__exit__()
        self.end = None


class Watch:
    """Reads /status.json, and keeps all that was said."""

    def __init__(self, port):
        self.port, self.said = port, []

    def __call__(self, path='/status.json'):
        status, _, text = get(self.port, path)
        check(status == 200, f'{path}: {status}')
        self.said.append(text)
        return json.loads(text) if path.endswith('.json') else text

    def until(self, condition, seconds, what):
        """What is said once that is true."""
        def look():
            now = self()
            return now if condition(now) else None
        return until(look, seconds, what)


class Listener:
    """An open /events."""

    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port), 20)
        self.socket.sendall(b'GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n')
        self.text = b''

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.socket.close()

    def events(self, wanted):
        """Reads on until there were so many events: their data."""
        while self.text.count(b'\n\n') < wanted:
            data = self.socket.recv(65536)
            check(data, 'the events ended')
            self.text += data
        return [json.loads(e) for e in re.findall(rb'event: status\ndata: ([^\n]*)\n\n', re.sub(rb'\r\n[0-9a-f]+\r\n', b'', self.text))]

    def ended(self):
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass
        return True


def fleet(bench, gateway, artifact):
    """The demo's fleet, at its update."""
    content = artifact.read_bytes()
    return bench.start('fleet', [BIN / 'mgw-fleet', '--server', f'https://localhost:{gateway.port}', '--ca', bench.pki.ca,
                                 '--devices', DEVICES, '--expect-sha256', hashlib.sha256(content).hexdigest(),
                                 '--expect-size', len(content)])


def make_demo(bench):
    artifact = bench.path('demo.mender')
    subprocess.run([BIN / 'mgw-mini-mender', '--make-artifact', artifact, '--size', '5MiB', '--artifact-name', 'release-2',
                    '--device-type', 'mgw-demo'], check=True, capture_output=True)
    return artifact


def test_an_update_is_watched_through_an_outage(bench):
    artifact = make_demo(bench)
    upstream = Wire(free_port())
    server = MiniMender(bench, artifact, 'release-2', '--device-type', 'mgw-demo', '--public-url',
                        f'https://localhost:{upstream.port}')
    upstream.connect(server.port, pause=0.25)
    bench.stack.callback(upstream.cut)
    gateway = start_gateway(bench, f'https://localhost:{upstream.port}', ADMIN_LISTEN='127.0.0.1:0', UPSTREAM_RATE_LIMIT='64MiB')
    watch = Watch(page_of(gateway))
    first = watch()
    check(first['devices']['count'] == 0 and first['fills'] == [] and first['problems'] == [], f'before: {first}')
    check(first['saved']['percent'] is None and first['upstream']['latency_ms']['median'] is None, f'before: {first}')
    reached = watch.until(lambda s: s['upstream']['state'] == 'reachable', 10, 'the server to be asked since somebody looks')
    check(reached['ready'] and reached['reasons'] == [], f'{reached}')

    devices = fleet(bench, gateway, artifact)
    begun = watch.until(lambda s: s['fills'] and s['fills'][0]['have'] and s['fills'][0]['bytes_per_second'], 20, 'the fetch')
    fill = begun['fills'][0]
    check(fill['name'] == 'release-2' and fill['size'] == artifact.stat().st_size and fill['readers'] >= 1, f'{fill}')
    check(fill['host'] == f'localhost:{upstream.port}', f'{fill}')
    watch.until(lambda s: s['fills'] and s['fills'][0]['have'] > fill['have'] and (s['fills'][0]['seconds_left'] or 0) > 0, 20,
                'progress')
    busy = watch.until(lambda s: any(d['state'] == 'downloading' and d['bytes'] for d in s['devices']['list']), 20, 'a download')
    one = next(d for d in busy['devices']['list'] if d['state'] == 'downloading')
    check(one['artifact'] == 'release-2' and one['bytes'] < one['size'] == artifact.stat().st_size, f'{one}')
    check(one['doing'] == 'GET artifact', f'{one}')
    watch.until(lambda s: any(d['device'] == one['device'] and d['bytes'] > one['bytes'] for d in s['devices']['list']), 20,
                'a download to go on')
    # All of them, so that none has a call under way when the link is cut.
    watch.until(lambda s: sum(d['state'] in ('downloading', 'held') and d['doing'] == 'GET artifact' for d in s['devices']['list'])
                == DEVICES, 20, 'all devices to download')

    upstream.cut()
    down = watch.until(lambda s: s['fills'] and s['fills'][0]['state'] == 'retrying', 20, 'the fetch to be cut')
    check('refused' in down['fills'][0]['why'] or 'broke off' in down['fills'][0]['why'], f"{down['fills']}")
    held = watch.until(lambda s: any(d['why'].startswith('waits for the link: ') for d in s['devices']['list']), 20, 'devices to wait')
    waits = held['devices']['list'][0]
    check(waits['state'] == 'held', f'{waits}')
    said = watch.until(lambda s: s['problems'], 20, 'the problem')
    check('its transfer stopped' in said['problems'][0]['text'] and said['problems'][0]['level'] == 'warning', f"{said['problems']}")
    html = watch('/')
    check('release-2' in html and 'waits for the link' in html and one['device'] in html, 'the page without scripts')

    down = watch.until(lambda s: not s['ready'] and 'refused' in s['upstream']['reason'], 30, 'the server to be asked again')
    check(down['upstream']['state'] == 'unreachable', f"{down['upstream']}")
    check(down['reasons'] == ['upstream: ' + down['upstream']['reason']], f"{down['reasons']}")

    upstream.connect(server.port)
    others = fleet(bench, gateway, artifact)  # its polls end the fetch's pause
    done = watch.until(lambda s: not s['fills'] and s['cache']['objects'] == 1, 30, 'the fetch to end')
    kept = watch.until(lambda s: s['cache']['list'], 5, 'what is in the cache')['cache']['list'][0]
    check(kept['name'] == 'release-2' and kept['verified'] and not kept['pinned'] and kept['size'] == fill['size'], f'{kept}')
    check(kept['host'] == f'localhost:{upstream.port}', f'{kept}')
    end = watch.until(lambda s: sum(d['state'] == 'done' for d in s['devices']['list']) == 2 * DEVICES, 20, 'all downloads to end')
    saved = end['saved']
    check(saved['delivered_bytes'] >= 2 * DEVICES * fill['size'] and saved['upstream_bytes'] >= fill['size'], f'{saved}')
    check(saved['saved_bytes'] == saved['delivered_bytes'] - saved['upstream_bytes'] and saved['percent'] > 50, f'{saved}')
    check(saved['history'][-1]['delivered'] == saved['delivered_bytes'], f'{saved}')
    check(end['upstream']['latency_ms']['requests'] > 0 and end['upstream']['latency_ms']['median'] > 0, f"{end['upstream']}")
    check(done['link']['limit'] == 64 * MIB and end['devices']['count'] == 2 * DEVICES, f"{done['link']}")
    devices.stop()
    others.stop()
    # Where links lead, and what they end with, is nobody's business.
    for text in watch.said:
        for secret in ('signature', 'X-Amz', '/demo/', 'eyJ', '?', '/api/gateway'):
            check(secret not in text or (secret == '?' and '<' in text), f'{secret!r} is told')


def test_hits_and_pins_of_what_is_in_the_cache(bench):
    site = Site(bench, ADMIN_LISTEN='127.0.0.1:0')
    site.start()
    watch = Watch(page_of(site.gateway))
    begun = int(time.time())
    site.download()
    first = watch.until(lambda s: s['cache']['list'], 10, 'the artifact')['cache']
    one = first['list'][0]
    check(one['name'] == 'release-2' and one['verified'] and one['size'] == len(site.artifact), f'{one}')
    check((one['hits'], one['pinned'], first['pinned_bytes'], first['objects']) == (0, False, 0, 1), f'{first}')
    check(begun <= one['added'] <= one['used'] <= time.time(), f'{one}')
    for _ in range(3):
        site.download()
    watch.until(lambda s: s['cache']['list'][0]['hits'] == 3, 10, 'three hits')
    check(len(site.origin.fetches()) == 1, f'{len(site.origin.fetches())} fetches')
    site.good('pin', 'release-2')
    pinned = watch.until(lambda s: s['cache']['list'][0]['pinned'], 10, 'it to be pinned')['cache']
    check(pinned['pinned_bytes'] >= one['size'] and pinned['list'][0]['hits'] == 3, f'{pinned}')
    cells = re.findall(r'<td>([^<]*)</td>', watch('/').split('<h2>In the cache</h2>')[1].split('</table>')[0])
    check(cells[0] == 'release-2' and cells[5:] == ['3', 'yes'], f'without scripts: {cells}')
    site.good('unpin', 'release-2')
    watch.until(lambda s: not s['cache']['list'][0]['pinned'] and s['cache']['pinned_bytes'] == 0, 10, 'it not to be pinned')


def test_nothing_secret_is_told(bench):
    origin = bench.enter(Origin(b'x' * 3_000_000))
    origin.query = 'X-Amz-Signature=presigned-and-secret'
    asked = threading.Event()

    def answer(handler, start):
        asked.set()
        handler.send_error(403)

    gateway = start_gateway(bench, origin.url, ADMIN_LISTEN='127.0.0.1:0', ARTIFACTS_PROXY_CACHE_VERIFY='length')
    watch = Watch(page_of(gateway))
    origin.artifact_answer = answer
    path = link(bench.pki, gateway.port)
    token = path.rsplit('/', 1)[1]
    with Listener(gateway.status) as listener:
        listener.events(1)
        check(request(bench.pki, gateway.port, 'GET', path).status == 403, 'the storage refused it')
        check(asked.is_set(), 'the storage was not asked')
        refused = watch.until(lambda s: s['problems'], 10, 'the refusal to be told')
        check('403' in refused['problems'][0]['text'], f"{refused['problems']}")
        watch('/')
        seen = len(listener.events(1))
        listener.events(seen + 1)
        all_said = '\n'.join(watch.said) + listener.text.decode()
    for secret in (token, 'presigned-and-secret', 'X-Amz', 'Bearer', Origin.PATH):
        check(secret not in all_said, f'{secret!r} is told')


def test_events_come_by_themselves_and_hold_up_no_stop(bench):
    origin = bench.enter(Origin(b'x' * 1000))
    gateway = start_gateway(bench, origin.url, ADMIN_LISTEN='127.0.0.1:0', DRAIN_TIMEOUT='100s')
    port = page_of(gateway)
    with Listener(port) as reads, Listener(port) as sleeps:
        events = reads.events(2)
        check(events[0]['now'] <= events[1]['now'] and events[0]['version'], f'{events[0]}')
        check(b'\r\nContent-Type: text/event-stream\r\n' in reads.text, f'{reads.text[:400]}')
        begun = time.monotonic()
        check(gateway.stop(30) == 0, 'the gateway did not end in order')
        check(time.monotonic() - begun < 20, 'the stop waited for who listens')
        check(reads.ended() and sleeps.ended(), 'the events did not end')


def test_who_may_ask_for_what(bench):
    origin = bench.enter(Origin(b'x' * 1000))
    gateway = start_gateway(bench, origin.url, ADMIN_LISTEN='127.0.0.1:0')
    port = page_of(gateway)
    for path, kind in (('/', 'text/html'), ('/status.css', 'text/css'), ('/status.js', 'text/javascript'),
                       ('/status.json', 'application/json')):
        status, headers, body = get(port, path)
        check(status == 200 and headers['Content-Type'] == f'{kind}; charset=utf-8' and body, f'{path}: {status} {headers}')
        check("default-src 'none'" in headers['Content-Security-Policy'] and headers['Cache-Control'] == 'no-store', f'{headers}')
    check(get(port, '/nothing')[0] == 404 and get(port, '/api/internal/v1/gateway/health')[0] == 404, 'other paths')
    check(get(port, '/', method='POST')[0] == 405, 'methods')
    for host, wanted in (('evil.example', 421), (f'evil.example:{port}', 421), ('localhost', 200), (f'[::1]:{port}', 200)):
        check(get(port, '/status.json', host)[0] == wanted, f'Host {host}')
    check(request(bench.pki, gateway.port, 'GET', '/status.json').status == 404, 'devices see the page')


def test_an_address_that_is_taken(bench):
    origin = bench.enter(Origin(b'x' * 1000))
    with socket.create_server(('127.0.0.1', 0)) as other:
        taken = other.getsockname()[1]
        gateway = bench.start('gateway', [BIN / 'mgw-gateway'],
                              gateway_environment(bench, origin.url, ADMIN_LISTEN=f'127.0.0.1:{taken}'))
        check(gateway.child.wait(20) != 0, 'it started, though its address was set and is taken')
        check(f'ADMIN_LISTEN (Admin.Listen) is "127.0.0.1:{taken}": cannot listen there' in gateway.log, gateway.log)
    off = start_gateway(bench, origin.url, ADMIN_ENABLED='false')
    check('status page' not in off.out + off.log, 'it is off')
    clash = free_port()
    with_both = bench.start('gateway', [BIN / 'mgw-gateway'], gateway_environment(
        bench, origin.url, HTTPS_LISTEN=f'127.0.0.1:{clash}', ADMIN_LISTEN=f':{clash}'))
    check(with_both.child.wait(20) != 0 and 'both want one port' in with_both.log, with_both.log)
