"""What the gateway needs to start, and what it says when it lacks something."""
import subprocess

from support import (BIN, POLL, Origin, check, gateway_environment, request, start_gateway)


def poll(bench, gateway):
    return request(bench.pki, gateway.port, 'POST', POLL, {'Authorization': 'Bearer e2e', 'Content-Type': 'application/json'},
                   b'{"device_provides":{"artifact_name":"release-1","device_type":"e2e-board"}}')


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
