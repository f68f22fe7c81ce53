"""An artifact that was carried in stands for its download: what crosses the link then, and what happens when it is gone."""
import os

from cache_commands import Site
from support import Connection, check, link, request


def poll(site):
    return link(site.bench.pki, site.gateway.port)


def get(site, target, headers=None):
    return request(site.bench.pki, site.gateway.port, 'GET', target, headers)


def carried(bench, **more):
    """A gateway with the origin's artifact imported."""
    site = Site(bench, payload=os.urandom(5_000_000), **more)
    site.start()
    file = bench.path('carried.mender')
    file.write_bytes(site.artifact)
    site.good('import', file)
    return site


def test_an_imported_artifact_saves_the_link(bench):
    site = carried(bench)
    for device in range(3):
        answer = get(site, poll(site))
        check(answer.status == 200 and answer.body == site.artifact, f'device {device}: {answer.status}, {len(answer.body)} bytes')
    asked = site.origin.fetches()
    check(len(asked) == 1 and asked[0][2]['Range'] == 'bytes=0-8191', f'asked for: {asked}')
    check(site.origin.body_bytes == 8192, f'{site.origin.body_bytes} bytes crossed the link')
    check('stands for the one upstream' in site.gateway.log, 'it is not told')
    # A resume, in the middle of which the gateway starts anew.
    target = poll(site)
    with Connection(bench.pki, site.gateway.port) as connection:
        connection.send('GET', target)
        check(connection.read(limit=100_000).body == site.artifact[:100_000], 'the first bytes')
    check(site.gateway.stop() == 0, 'the gateway did not stop')
    site.start()
    answer = get(site, target, {'Range': 'bytes=100000-'})
    check(answer.status == 206 and answer.body == site.artifact[100_000:], f'the resume: {answer.status}')
    check(site.origin.body_bytes == 8192, 'the resume crossed the link')


def test_another_artifact_of_that_name_is_fetched(bench):
    site = carried(bench)
    other = Site(bench, payload=os.urandom(700_000))  # its artifact is release-2, too
    site.origin.artifact, site.origin.size = other.artifact, len(other.artifact)
    answer = get(site, poll(site))
    check(answer.status == 200 and answer.body == other.artifact, f'{answer.status}, {len(answer.body)} bytes')
    check('is another one than upstream' in site.gateway.log, 'it is not told')


def test_an_import_that_is_removed(bench):
    site = carried(bench)
    begun, fresh = poll(site), poll(site)
    with Connection(bench.pki, site.gateway.port) as connection:
        connection.send('GET', begun)
        check(connection.read(limit=100_000).body == site.artifact[:100_000], 'the first bytes')
    site.good('remove', 'release-2')
    check(get(site, begun, {'Range': 'bytes=100000-'}).status is None, 'what was begun goes on from another copy')
    answer = get(site, fresh)
    check(answer.status == 200 and answer.body == site.artifact, f'what was not begun: {answer.status}')
    check(site.origin.body_bytes == 8192 + len(site.artifact), f'{site.origin.body_bytes} bytes crossed the link')
