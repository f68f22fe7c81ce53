"""The log: a JSON object on each line, levels that change at run time, text of peers that stays in its field."""
import json
import os
import re
import signal

from support import Connection, Origin, check, link, request, start_gateway, until

NO_ARTIFACTS = {'ARTIFACTS_PROXY_CACHE_VERIFY': 'length'}


def lines(gateway):
    return [json.loads(line) for line in gateway.log.splitlines()]


def requests(gateway):
    return [line for line in lines(gateway) if line['msg'] == 'request']


def test_json_has_one_object_a_request(bench):
    origin = bench.enter(Origin(os.urandom(1 << 20)))
    gateway = start_gateway(bench, origin.url, LOG_FORMAT='json', **NO_ARTIFACTS)
    target = link(bench.pki, gateway.port)
    for _ in range(2):
        check(request(bench.pki, gateway.port, 'GET', target).status == 200, 'no download')
    with Connection(bench.pki, gateway.port) as connection:
        connection.socket.sendall(b'GET /"\\\x80\xff\x9b HTTP/1.1\r\nHost: localhost\r\nX-MEN-RequestID: mine-1\r\n\r\n')
        connection.read()
    request(bench.pki, gateway.port, 'GET', '/a"b\\c', {'X-MEN-RequestID': 'mine-2'})
    until(lambda: len(requests(gateway)) == 5, 10, 'five lines')
    for line in lines(gateway):
        check({'time', 'level', 'msg'} <= set(line), f'{line}')
        check(re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d', line['time']), f'{line}')
    poll, miss, hit = requests(gateway)[:3]
    check(poll['route'].endswith('/deployments/next') and poll['status'] == 200 and 0 <= poll['upstream'] <= poll['seconds'], f'{poll}')
    for line, cache in ((miss, 'miss'), (hit, 'hit')):
        check(line['cache'] == cache and line['out'] > len(origin.artifact) and line['in'] > 0, f'{line}')
        check(line['route'] == line['path'] == '/api/gateway/v1/artifacts/{key}/{token}', f'{line}')
        check(0 <= line['first'] <= line['seconds'] and 'upstream' not in line, f'{line}')
        check(re.fullmatch(r'[0-9a-f-]{36}', line['request']), f'{line}')
    check(len({line['request'] for line in (poll, miss, hit)}) == 3, 'ids are not unique')
    check([line.get('request') for line in requests(gateway)[3:]][-1] == 'mine-2', f'{requests(gateway)[3:]}')


def test_level_changes_while_it_runs(bench):
    origin = bench.enter(Origin(b''))
    gateway = start_gateway(bench, origin.url, LOG_LEVEL='warn')
    alive = '/api/internal/v1/gateway/alive'
    request(bench.pki, gateway.port, 'GET', alive)
    gateway.child.send_signal(signal.SIGUSR1)
    until(lambda: 'level=info msg="the log level was changed" to=info' in gateway.log, 10, 'the level to be info')
    check('msg=request' not in gateway.log, f'a line below its level: {gateway.log}')
    request(bench.pki, gateway.port, 'GET', alive)
    until(lambda: gateway.log.count('msg=request') == 1, 10, 'the line of a request')
    gateway.child.send_signal(signal.SIGUSR1)
    until(lambda: 'level=debug msg="the log level was changed" to=debug' in gateway.log, 10, 'the level to be debug')
    gateway.child.send_signal(signal.SIGUSR2)
    until(lambda: 'level=warning msg="the log level was changed" to=warning' in gateway.log, 10, 'the level to be warn')
    request(bench.pki, gateway.port, 'GET', alive)
    request(bench.pki, gateway.port, 'GET', '/nowhere')
    until(lambda: 'status=404' in gateway.log, 10, 'the line of a refusal')
    check(gateway.log.count('msg=request') == 2, f'a line below its level: {gateway.log}')
