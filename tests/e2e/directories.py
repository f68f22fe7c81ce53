"""The cache's directory: a copy of it serves on another gateway, and two gateways on one do not get along."""
import re
import shutil
import subprocess
import threading

from disk_trouble import Objects
from support import BIN, POLL, Connection, check, gateway_environment, request, start_gateway, until

MIB = 1 << 20
WHOLE, HALF = 1, 2


class Upstream(Objects):
    """One whose link gets slow: behind the middle of the second object comes little, until `fast`."""

    def __init__(self):
        super().__init__({WHOLE: 5 * MIB, HALF: 6 * MIB})
        self.fast, self.half = threading.Event(), 3 * MIB

    def serve_artifact(self, handler):
        whole = self.all[int(handler.path[len(self.PATH) + 1])]
        at = int(re.match(r'bytes=(\d+)-', handler.headers.get('Range', 'bytes=0-'))[1])
        handler.send_response(206 if 'Range' in handler.headers else 200)
        handler.send_header('ETag', f'"{len(whole)}"')
        if 'Range' in handler.headers:
            handler.send_header('Content-Range', f'bytes {at}-{len(whole) - 1}/{len(whole)}')
        handler.send_header('Content-Length', str(len(whole) - at))
        handler.end_headers()
        if whole is self.all[HALF]:
            handler.wfile.write(whole[at:self.half])
            at = max(at, self.half)
            while not self.fast.wait(0.1):
                handler.wfile.write(whole[at:at + 1000])
                at += 1000
        handler.wfile.write(whole[at:])

    def ranges(self, number):
        """Those that were asked for."""
        return [r[2].get('Range') for r in self.requests if r[1].startswith(f'{self.PATH}/{number}?')]


class Site:
    """An upstream, and a gateway that has the first object and half of the second, which goes on."""

    def __init__(self, bench):
        self.bench, self.origin = bench, bench.enter(Upstream())
        self.gateway, self.cache = self.start('first')
        self.get(self.gateway, WHOLE)
        until(lambda: 'complete, ' in self.gateway.log, 20, 'the first object to be stored')
        bench.stack.callback(self.origin.fast.set)
        self.reader = bench.enter(Connection(bench.pki, self.gateway.port))
        self.reader.send('GET', self.link(self.gateway, HALF))
        until(lambda: self.on_disk() > self.origin.half, 20, 'half of the second object to be durable')

    def environment(self, name, cache=None):
        return {'ARTIFACTS_PROXY_CACHE_PATH': str(cache or self.bench.path(name, 'cache')), 'LOG_LEVEL': 'info',
                'STATE_DIRECTORY': str(self.bench.path(name, 'state')), 'DRAIN_TIMEOUT': '1s'}

    def start(self, name):
        environment = self.environment(name)
        return start_gateway(self.bench, self.origin.url, **environment), self.bench.path(name, 'cache')

    def link(self, gateway, number):
        answer = request(self.bench.pki, gateway.port, 'POST', POLL, {'Authorization': f'Bearer {number}', 'Content-Type': 'application/json'}, b'{}')
        return '/' + answer.json()['artifact']['source']['uri'].split('/', 3)[3]

    def get(self, gateway, number):
        answer = request(self.bench.pki, gateway.port, 'GET', self.link(gateway, number))
        check(answer.status == 200 and answer.body == self.origin.all[number], f'object {number}: {answer.status}, {len(answer.body)} bytes')
        return answer

    def on_disk(self):
        """So much of the second object the last record of its part's journal promises."""
        records = [journal.read_bytes()[-48:] for journal in self.cache.glob('parts/*.journal')]
        return max((int.from_bytes(r[4:12], 'little') for r in records if r.startswith(b'CKPT')), default=0)

    def copy(self, name, how):
        target = self.bench.path(name, 'cache')
        if how == 'cp':
            subprocess.run(['cp', '-a', self.cache, target], check=True, capture_output=True)
        else:
            target.mkdir()
            made = subprocess.run(['tar', '-C', self.cache, '-cf', '-', '.'], capture_output=True)
            check(made.returncode in (0, 1), f'tar: {made.stderr}')  # 1: a file changed while it was read
            subprocess.run(['tar', '-C', target, '-xf', '-'], input=made.stdout, check=True, capture_output=True)


def test_a_copy_serves_elsewhere(bench):
    site = Site(bench)
    for how in ('cp', 'tar'):
        site.copy(f'{how}-running', how)
    site.reader.socket.close()
    check(site.gateway.stop() == 0, 'the gateway did not end well')
    check((site.cache / 'clean').exists(), 'it was not left in order')
    for how in ('cp', 'tar'):
        site.copy(f'{how}-stopped', how)
    shutil.rmtree(site.cache)
    site.origin.fast.set()
    for name in ('cp-running', 'tar-running', 'cp-stopped', 'tar-stopped'):
        site.origin.requests.clear()
        gateway, _ = site.start(name)
        answer = site.get(gateway, WHOLE)
        check(site.origin.ranges(WHOLE) == [] and ' hit' in answer.headers['cache-status'], f'{name}: the whole one is fetched: {answer.headers}')
        site.get(gateway, HALF)
        asked = [int(re.fullmatch(r'bytes=(\d+)-', r or 'bytes=0-')[1]) for r in site.origin.ranges(HALF)]
        check(len(asked) == 1 and asked[0] > site.origin.half, f'{name}: the rest is fetched from {asked}')
        until(lambda: 'complete, ' in gateway.log, 20, 'the part to become whole')
        check('level=warning' not in gateway.log and 'level=error' not in gateway.log, f'{name}: trouble in its log')
        check(gateway.stop() == 0, f'{name}: it did not end well')


def test_a_second_one_is_refused(bench):
    site = Site(bench)

    def files():
        return sorted((p, p.stat().st_ino) for p in site.cache.rglob('*'))
    before = files()
    second = subprocess.run([BIN / 'mgw-gateway'], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                            env=gateway_environment(bench, site.origin.url, **site.environment('second', site.cache)))
    check(second.returncode == 1 and not second.stdout, f'the second gateway: {second.returncode} {second.stdout}')
    wrong = [line for line in second.stderr.splitlines() if 'level=info' not in line]
    check(len(wrong) == 1 and f'the cache directory {site.cache} is in use by process {site.gateway.child.pid}' in wrong[0], f'it says {second.stderr}')
    check(files() == before, 'it changed something there')
    check((site.cache / 'lock').read_text() == f'{site.gateway.child.pid}\n', 'the lock is another\'s')
    site.origin.fast.set()
    answer = site.reader.read()
    check(answer.status == 200 and answer.body == site.origin.all[HALF], f'the download that had begun: {answer.status}, {len(answer.body)} bytes')
    for number in (WHOLE, HALF):
        site.get(site.gateway, number)
    check(site.origin.ranges(WHOLE) == site.origin.ranges(HALF) == [None], 'fetched again')
    check('level=warning' not in site.gateway.log and site.gateway.stop() == 0, 'the first one has trouble')
