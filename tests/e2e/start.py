"""What the gateway needs to start, and what it says when it lacks something."""
import subprocess

from support import (BIN, POLL, Origin, check, gateway_environment, link, make_artifact, request, start_gateway)


def poll(bench, gateway):
    return request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': 'Bearer e2e', 'Content-Type': 'application/json'},
                   b'{"device_provides":{"artifact_name":"release-1","device_type":"e2e-board"}}')


def test_one_that_only_forwards_needs_no_directory(bench):
    origin = bench.enter(Origin(b'x' * 1000))
    no_directory = bench.path('file')
    no_directory.write_text('nothing can be made below this, not even by root')
    nowhere = {'ARTIFACTS_PROXY_CACHE_PATH': f'{no_directory}/cache', 'STATE_DIRECTORY': f'{no_directory}/state'}
    environment = gateway_environment(bench, origin.url, **nowhere)
    done = subprocess.run([BIN / 'mgw-gateway'], env=environment, capture_output=True, text=True, timeout=30)
    check(done.returncode == 2 and 'STATE_DIRECTORY' in done.stderr, f'with artifacts: {done.returncode} {done.stderr}')

    gateway = start_gateway(bench, origin.url, **nowhere, ARTIFACTS_PROXY_ENABLED='false')
    answer = poll(bench, gateway)
    check(answer.status == 200, f'{answer.status}: not forwarded')
    uri = answer.json()['artifact']['source']['uri']
    check(uri.startswith(origin.url), f'the link was changed: {uri}')
    answer = request(bench.pki, gateway.port, 'GET', '/api/gateway/v1/private/nothing')
    check(answer.status in (403, 404), f'a link that nobody made: {answer.status}')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
    check('level=err' not in gateway.log, gateway.log)
    check(no_directory.is_file() and not list(bench.path('cache').iterdir()) and not list(bench.path('state').iterdir()),
          'something was written')


def test_a_path_of_the_upstream_with_slashes_at_its_end(bench):
    origin = bench.enter(Origin(b'x' * 1000))
    for path, prefix in (('', ''), ('/', ''), ('//', ''), ('/base', '/base'), ('/base/', '/base'), ('/base//', '/base')):
        gateway = start_gateway(bench, origin.url + path)
        poll(bench, gateway)
        check(origin.requests[-1][1] == prefix + POLL, f'{path}: {origin.requests[-1][1]}')
        gateway.stop()


def test_urls_with_more_than_a_path_are_refused(bench):
    for variable, key in (('UPSTREAM_SERVER_URL', 'UpstreamServer.URL'),
                          ('ARTIFACTS_PROXY_GATEWAY_URL', 'Features.ArtifactsProxy.GatewayURL')):
        for url in ('https://gw.example/#x', 'https://gw.example/?', 'https://gw.example/x?y=z'):
            environment = {**gateway_environment(bench, 'https://a.example'), variable: url}
            done = subprocess.run([BIN / 'mgw-gateway', '--check-config'], env=environment, capture_output=True, text=True,
                                  timeout=30)
            text = done.stdout + done.stderr
            check(done.returncode == 1, f'{url}: {done.returncode} {text}')
            for part in (variable, key, f'"{url}"', 'accepted: an http:// or https:// URL without query and fragment'):
                check(part in text, f'{part!r} is not in {text}')


def test_without_a_verifier_it_says_so_at_once_and_forwards(bench):
    artifact = make_artifact(bench, 'release-2', 20_000)[0].read_bytes()
    origin = bench.enter(Origin(artifact))
    # The verifier's limit of processor time is above what it is given here: it cannot shut itself in.
    gateway = bench.start('gateway', ['/bin/sh', '-c', f'ulimit -t 40; exec "{BIN}/mgw-gateway"'],
                          gateway_environment(bench, origin.url, ARTIFACTS_PROXY_HOLD_TIMEOUT='1s'),
                          ready=r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n')
    gateway.port = int(gateway.match[1])
    lines = [line for line in gateway.log.splitlines() if 'level=err' in line]
    check(len(lines) == 1, f'at start: {gateway.log}')
    for part in ('no artifact can be verified, and none is served', 'limit of processor time', 'seccomp',
                 'ARTIFACTS_PROXY_CACHE_VERIFY'):
        check(part in lines[0], f'{part!r} is not in {lines[0]}')
    target = link(bench.pki, gateway.port)  # the device API is forwarded
    answer = request(bench.pki, gateway.port, 'GET', target)
    check(answer.status is None, f'an artifact that nobody verified: {answer.status}')
    check(origin.requests[-1][1].startswith(Origin.PATH), 'nobody asked the storage')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')

    with_one = start_gateway(bench, origin.url)
    check('level=err' not in with_one.log, with_one.log)
    answer = request(bench.pki, with_one.port, 'GET', link(bench.pki, with_one.port))
    check(answer.status == 200 and answer.body == artifact, f'{answer.status}: not the artifact')
