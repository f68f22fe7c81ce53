"""What the gateway needs to start, and what it says when it lacks something."""
import subprocess

from support import (BIN, POLL, Origin, check, gateway_environment, request, start_gateway)


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
