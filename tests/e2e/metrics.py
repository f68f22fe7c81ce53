"""Metrics: the numbers agree with what was done, and the text is such as Prometheus takes without a finding."""
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from support import POLL, Origin, Skip, check, free_port, link, request, start_gateway, until

NAME = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*\Z')
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)\Z')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|\Z)')
DEPLOY = pathlib.Path(__file__).resolve().parents[2] / 'examples/gateway/deploy'
PROMTOOL = os.environ.get('MGW_PROMTOOL') or shutil.which('promtool')
NEXT = '/api/devices/v1/deployments/device/deployments/next'
NO_ARTIFACTS = {'ARTIFACTS_PROXY_CACHE_VERIFY': 'length'}


def parse(text):
    """{name: {labels: value}} of Prometheus' text format 0.0.4, more strictly than it asks: each family once, HELP, TYPE and
    samples together and in this order, no sample twice, counters named `_total`, buckets that only grow, up to `+Inf`."""
    check(text.endswith('\n'), 'no line end at the end')
    families, samples, family = {}, {}, None
    for number, line in enumerate(text.splitlines(), 1):
        where = f'line {number} {line!r}'
        words = line.split(' ', 3)
        if words[:2] == ['#', 'HELP']:
            check(len(words) == 4 and words[3] and NAME.match(words[2]), f'{where}: no help')
            check(words[2] not in families, f'{where}: a family twice')
            family = words[2]
            families[family] = None
        elif words[:2] == ['#', 'TYPE']:
            check(words[2] == family and families[family] is None, f'{where}: not behind its HELP')
            check(words[3] in ('counter', 'gauge', 'histogram'), f'{where}: what type?')
            check((words[3] == 'counter') == family.endswith('_total'), f'{where}: _total is for counters')
            families[family] = words[3]
        else:
            found = SAMPLE.match(line)
            check(found, f'{where}: no sample')
            kind = families.get(family)
            suffixes = ('_bucket', '_sum', '_count') if kind == 'histogram' else ('',)
            check(kind and found[1] in [family + s for s in suffixes], f'{where}: not in its family')
            labels, at = {}, 0
            while at < len(found[2] or ''):
                one = LABEL.match(found[2], at)
                check(one and one[1] not in labels, f'{where}: garbled labels')
                labels[one[1]] = one[2]
                at = one.end()
            of_name = samples.setdefault(found[1], {})
            key = frozenset(labels.items())
            check(key not in of_name, f'{where}: a sample twice')
            of_name[key] = float(found[3])
            check(of_name[key] >= 0, f'{where}: negative')
    for name, kind in families.items():
        if kind != 'histogram':
            continue
        for labels, count in samples.get(f'{name}_count', {}).items():
            buckets = sorted((float(dict(k)['le']), v) for k, v in samples[f'{name}_bucket'].items()
                             if k - {('le', dict(k)['le'])} == labels)
            values = [v for _, v in buckets]
            check(buckets[-1] == (float('inf'), count) and values == sorted(values), f'{name}: buckets {buckets}')
            check(labels in samples[f'{name}_sum'], f'{name}: no sum')
    return samples


def scrape(port):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    connection.request('GET', '/metrics')
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    check(answer.status == 200, f'/metrics: {answer.status}')
    check(answer.headers['Content-Type'] == 'text/plain; version=0.0.4; charset=utf-8', f'{answer.headers}')
    return text


def value(samples, name, **labels):
    return samples.get(name, {}).get(frozenset(labels.items()), 0)


def with_metrics(bench, upstream, **more):
    gateway = start_gateway(bench, upstream, METRICS_ENABLED='true', METRICS_LISTEN='127.0.0.1:0', **more)
    until(lambda: 'metrics are told' in gateway.log, 10, 'metrics')
    gateway.metrics = int(re.search(r'address=http://127\.0\.0\.1:(\d+)/metrics', gateway.log)[1])
    return gateway


def test_numbers_are_what_was_done(bench):
    origin = bench.enter(Origin(os.urandom(3 << 20)))
    gateway = with_metrics(bench, origin.url, WORKERS='3', **NO_ARTIFACTS)
    before = parse(scrape(gateway.metrics))
    links = [link(bench.pki, gateway.port) for _ in range(2)]
    for target in links:
        answer = request(bench.pki, gateway.port, 'GET', target)
        check(answer.status == 200 and answer.body == origin.artifact, f'a download: {answer.status}')
    for _ in range(20):
        request(bench.pki, gateway.port, 'GET', '/nowhere')
    request(bench.pki, gateway.port, 'BREW', '/nowhere')

    # What an exchange came to is counted when it has ended, which its client may see before.
    def counted():
        after = parse(scrape(gateway.metrics))
        done = sum(after['mender_gateway_http_requests_total'].values()) - sum(before.get('mender_gateway_http_requests_total', {}).values())
        return after if done >= 25 else None
    until(counted, 10, 'all requests to be counted')
    after = counted()

    def grew(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)
    requests = 'mender_gateway_http_requests_total'
    artifact = {'method': 'GET', 'status': '200', 'route': '/api/gateway/v1/artifacts/{key}/{token}'}
    check(grew(requests, **artifact) == 2, f'downloads: {after[requests]}')
    check(grew('mender_gateway_http_response_bytes_total', **artifact) >= 2 * len(origin.artifact), 'bytes of downloads')
    check(grew('mender_gateway_http_response_bytes_total', **artifact) < 2 * len(origin.artifact) + 2000, 'bytes of downloads')
    check(grew(requests, method='GET', status='404', route='none') == 20, f'404: {after[requests]}')
    check(grew(requests, method='other', status='404', route='none') == 1, f'BREW: {after[requests]}')
    check(sum(v for k, v in after[requests].items() if ('status', '200') in k and ('route', artifact['route']) not in k) == 2,
          f'polls: {after[requests]}')
    check(grew('mgw_artifact_requests_total', result='miss') == 1, 'misses')
    check(grew('mgw_artifact_requests_total', result='hit') == 1, 'hits')
    check(grew('mgw_artifact_upstream_bytes_total', kind='first_time') == len(origin.artifact), 'bytes from upstream')
    check(grew('mgw_artifact_upstream_bytes_total', kind='again') == 0, 'bytes from upstream that came again')
    check(grew('mgw_artifact_upstream_requests_total') == 1, 'requests upstream')
    check(not any(after['mgw_api_upstream_errors_total'].values()), 'errors of relayed requests')
    check(not any(after['mgw_artifact_upstream_errors_total'].values()), 'errors of downloads')
    check(grew('mgw_http_request_duration_seconds_count', route=artifact['route']) == 2, 'durations')
    check(grew('mgw_http_first_byte_seconds_count', route=artifact['route']) == 2, 'first bytes')
    check(sum(after['mgw_upstream_response_seconds_count'].values()) == 2, 'upstream times')
    check(grew('mgw_tls_handshakes_total', result='done') == 25, f'{after["mgw_tls_handshakes_total"]}')
    check(grew('mgw_connections_accepted_total') == 25, 'connections')
    check(value(after, 'mgw_cache_objects') == 1 and value(after, 'mgw_cache_bytes') >= len(origin.artifact), 'the cache')
    check(value(after, 'mgw_certificate_expiry_timestamp_seconds', certificate='server') > time.time(), 'expiry')
    check(0 <= time.time() - value(after, 'process_start_time_seconds') < 600, 'start')


def test_upstream_errors_are_counted_by_kind(bench):
    gateway = with_metrics(bench, f'http://127.0.0.1:{free_port()}', WORKERS='1')  # where nobody is
    for _ in range(3):
        check(request(bench.pki, gateway.port, 'GET', NEXT).status == 502, 'not refused')
    name = 'mgw_api_upstream_errors_total'
    until(lambda: sum(parse(scrape(gateway.metrics))[name].values()) == 3, 10, 'the errors to be counted')
    after = parse(scrape(gateway.metrics))
    check(value(after, name, error='connection_refused') == 3, f'{after[name]}')
    check(value(after, 'mender_gateway_http_requests_total', method='GET', status='502', route=NEXT) == 3, 'status 502')
    check(value(after, 'mgw_upstream_response_seconds_count', route=NEXT) == 3, 'upstream times')


def test_failed_handshakes_are_counted(bench):
    origin = bench.enter(Origin(b''))
    gateway = with_metrics(bench, origin.url, WORKERS='1')
    connection = http.client.HTTPConnection('127.0.0.1', gateway.port, timeout=10)
    try:
        connection.request('GET', '/')
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        pass
    connection.close()
    until(lambda: value(parse(scrape(gateway.metrics)), 'mgw_tls_handshakes_total', result='failed') == 1, 10,
          'the handshake to be counted')


def promtool(*args, **more):
    if not PROMTOOL:
        raise Skip('promtool is not installed')
    told = subprocess.run([PROMTOOL, *args], capture_output=True, text=True, timeout=60, **more)
    check(told.returncode == 0 and not told.stderr, f'promtool {args}: {told.stdout}{told.stderr}')
    return told.stdout


def test_alerts_fire_when_they_should(bench):
    check('rules found' in promtool('check', 'rules', str(DEPLOY / 'alerts.yml')), 'no rules')
    check('SUCCESS' in promtool('test', 'rules', str(DEPLOY / 'alerts_test.yml')), 'no tests')


def test_dashboard_asks_what_prometheus_understands(bench):
    dashboard = json.loads((DEPLOY / 'grafana.json').read_text(encoding='utf-8'))
    queries = [t['expr'] for p in dashboard['panels'] for t in p['targets']]
    plain = [q.replace('$__rate_interval', '5m').replace('$__range', '1h').replace('$instance', '.*') for q in queries]
    check(not any('$' in q for q in plain), f'an unknown variable: {plain}')
    rules = bench.path('dashboard.yml')  # JSON is YAML
    rules.write_text(json.dumps({'groups': [{'name': 'dashboard', 'rules': [
        {'record': f'panel:{i}', 'expr': q} for i, q in enumerate(plain)]}]}))
    check(f'{len(plain)} rules found' in promtool('check', 'rules', str(rules)), 'some are missing')


def test_text_is_taken_by_promtool(bench):
    origin = bench.enter(Origin(os.urandom(1 << 20)))
    gateway = with_metrics(bench, origin.url, **NO_ARTIFACTS)
    request(bench.pki, gateway.port, 'GET', link(bench.pki, gateway.port))
    request(bench.pki, gateway.port, 'POST', POLL, {}, b'{}')
    text = scrape(gateway.metrics)
    parse(text)
    check(promtool('check', 'metrics', input=text) == '', 'promtool has found something')


def test_metrics_alone_are_on_their_port(bench):
    origin = bench.enter(Origin(b''))
    gateway = with_metrics(bench, origin.url, WORKERS='1')
    for method, path, status in (('HEAD', '/metrics', 200), ('GET', '/', 404), ('GET', POLL, 404), ('POST', '/metrics', 405),
                                 ('GET', '/api/internal/v1/gateway/alive', 404)):
        connection = http.client.HTTPConnection('127.0.0.1', gateway.metrics, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        check(answer.status == status, f'{method} {path}: {answer.status}')
        connection.close()
    check(request(bench.pki, gateway.port, 'GET', '/metrics').status == 404, 'metrics are told to devices')
    check(not origin.requests, f'a request went upstream: {origin.requests}')


def test_a_port_that_is_taken_costs_the_metrics_alone(bench):
    origin = bench.enter(Origin(b''))
    gateway = start_gateway(bench, origin.url, METRICS_ENABLED='true',
                            METRICS_LISTEN=f'127.0.0.1:{origin.server.server_address[1]}')
    check('METRICS_LISTEN' in gateway.log and 'there are no metrics' in gateway.log, f'not said: {gateway.log}')
    answer = request(bench.pki, gateway.port, 'GET', '/api/internal/v1/gateway/alive')
    check(answer.status == 204, f'alive: {answer.status}')


def test_metrics_are_off_by_default(bench):
    gateway = start_gateway(bench, 'https://localhost:1')
    check('metrics' not in gateway.log, f'{gateway.log}')
