"""Care for the upstream link: a cap and its windows, API calls that go first, hits that do not need the link."""
from disk_trouble import Objects
from support import BIN, POLL, Connection, check, gateway_environment, request, start_gateway, until

MIB = 1 << 20
LARGE, SMALL = 1, 2


class Site:
    """An origin with a large and a small object, and a gateway whose cache has the small one, restarted with `settings`."""

    def __init__(self, bench, **settings):
        self.bench, self.origin = bench, bench.enter(Objects({LARGE: 16 * MIB, SMALL: 2 * MIB}))
        same = {'LOG_LEVEL': 'info'}
        self.gateway = start_gateway(bench, self.origin.url, **same)
        self.small_is_whole()
        until(lambda: 'complete' in self.gateway.log, 10, 'the small object to be stored')
        check(self.gateway.stop() == 0, 'the gateway did not end in order')
        self.gateway = start_gateway(bench, self.origin.url, **same, **settings)

    def link(self, number=LARGE):
        """An API call: a poll, as it were of a device that is to have that object."""
        answer = request(self.bench.pki, self.gateway.port, 'POST', POLL,
                         {'Authorization': f'Bearer {number}', 'Content-Type': 'application/json'}, b'{}')
        check(answer.status == 200, f'an API call was answered {answer.status}')
        return '/' + answer.json()['artifact']['source']['uri'].split('/', 3)[3]

    def small_is_whole(self):
        answer = request(self.bench.pki, self.gateway.port, 'GET', self.link(SMALL))
        check(answer.status == 200 and answer.whole and answer.body == self.origin.all[SMALL],
              f'the small object: status {answer.status}, {len(answer.body)} bytes')
        return answer


def test_api_calls_and_hits_beside_a_capped_fill(bench):
    site = Site(bench, UPSTREAM_RATE_LIMIT='128KiB')
    with Connection(bench.pki, site.gateway.port) as download:
        download.send('GET', site.link())
        begun = download.read(limit=4096)
        check(begun.status == 200 and len(begun.body) == 4096, f'the download did not begin: {begun.status}')
        for _ in range(50):
            site.link()
        for _ in range(3):
            check('hit' in site.small_is_whole().headers['cache-status'], 'the small object was not in the cache')
        # 128 s of the cap: whatever the machine's speed, it is far from its end.
        lines = site.gateway.log
        check('complete' not in lines, f'the fill was at its end before: {lines[-500:]}')
        check(site.origin.count(LARGE) == 1 and site.origin.count(SMALL) == 1,
              f'fetched {site.origin.count(LARGE)} and {site.origin.count(SMALL)} times')


def test_nothing_is_fetched_in_a_pause(bench):
    site = Site(bench, UPSTREAM_RATE_WINDOWS='00:00-24:00 pause')
    with Connection(bench.pki, site.gateway.port) as download:
        download.send('GET', site.link())
        until(lambda: 'the link is paused' in site.gateway.log, 10, 'the fill to stand by')
        for _ in range(10):
            site.link()
        site.small_is_whole()
        check(site.origin.count(LARGE) == 0, 'it was asked for')
    check('level=warning' not in site.gateway.log, 'a pause that was wished for is a warning')


def test_a_device_that_leaves_frees_the_link(bench):
    site = Site(bench, UPSTREAM_RATE_LIMIT='1MiB', ARTIFACTS_PROXY_CACHE_WHEN_ABANDONED='suspend')
    with Connection(bench.pki, site.gateway.port) as download:
        download.send('GET', site.link())
        check(download.read(limit=4096).status == 200, 'the download did not begin')
    until(lambda: 'nobody follows it' in site.gateway.log, 30, 'the fill to leave the link')
    with Connection(bench.pki, site.gateway.port) as again:
        again.send('GET', site.link())
        check(again.read(limit=4096).status == 200, 'the download did not begin again')
        until(lambda: site.origin.count(LARGE) == 2, 30, 'the fill to go on')
    ranges = [r[2].get('Range') for r in site.origin.requests if r[1].startswith(f'{site.origin.PATH}/{LARGE}?')]
    check(ranges[0] is None and ranges[1], f'it did not go on where it was: {ranges}')


BAD = {
    'a rate without a unit of ours': ({'UPSTREAM_RATE_LIMIT': '5MB'}, ('UPSTREAM_RATE_LIMIT', '5MB', '1KiB or more')),
    'a rate of nothing': ({'UPSTREAM_RATE_LIMIT': '0'}, ('UPSTREAM_RATE_LIMIT', '1KiB or more')),
    'a window without a rate': ({'UPSTREAM_RATE_WINDOWS': 'mon-fri 08:00-18:00'},
                                ('UPSTREAM_RATE_WINDOWS', 'mon-fri 08:00-18:00', 'HH:MM-HH:MM')),
    'an hour that is none': ({'UPSTREAM_RATE_WINDOWS': '08:00-25:00 1MiB'}, ('UPSTREAM_RATE_WINDOWS', '08:00-25:00 1MiB')),
    'another word': ({'ARTIFACTS_PROXY_CACHE_WHEN_ABANDONED': 'stop'},
                     ('ARTIFACTS_PROXY_CACHE_WHEN_ABANDONED', 'stop', 'finish or suspend')),
}


def test_bad_values_are_refused(bench):
    good = gateway_environment(bench, 'https://localhost:1')
    for number, (name, (settings, words)) in enumerate(BAD.items()):
        process = bench.start(f'bad-{number}', [BIN / 'mgw-gateway'], {**good, **settings})
        until(lambda: process.child.poll() is not None, 10, f'refusal of: {name}')
        said = process.out + process.log
        check(process.child.returncode == 2, f'{name}: exit status {process.child.returncode}')
        for word in words:
            check(word in said, f'{name}: does not say {word!r}: {said.strip()[-300:]}')
