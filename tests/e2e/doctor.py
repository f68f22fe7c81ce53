"""mgw-gateway doctor: nothing to say of a good installation, and each fault once with its check and what to do."""
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time

from support import BIN, MiniMender, Origin, check, gateway_environment, make_artifact, make_pki, start_gateway, until

DAY = 86400


def doctor(bench, environment, *args):
    """The exit status, and the findings by their checks."""
    own = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
    done = subprocess.run([BIN / 'mgw-gateway', 'doctor', '--json', '--timeout', '2', '--ca', bench.pki.ca, '--host',
                           'localhost', *map(str, args)], env={**own, **environment}, capture_output=True, text=True, timeout=60)
    check(done.returncode in (0, 1), f'exit status {done.returncode}: {done.stderr}')
    answer = json.loads(done.stdout)
    found = {f['check']: f for f in answer['findings']}
    check(answer['problems'] == sum(f['level'] == 'problem' for f in answer['findings']), f'miscounted: {answer}')
    check((done.returncode == 1) == (answer['problems'] > 0), f'exit status {done.returncode}: {answer}')
    return done.returncode, found


def expect_problem(bench, environment, name, *parts):
    """That this is the one problem, and that these are in what is said of it."""
    status, found = doctor(bench, environment)
    check(status == 1, f'exit status {status}: {found}')
    problems = [f for f in found.values() if f['level'] == 'problem']
    check([f['check'] for f in problems] == [name], f'problems: {problems}')
    for part in parts:
        check(part in problems[0]['found'] + ' ' + problems[0]['advice'], f'no {part!r} in {problems[0]}')


def server_without_tls(bench, days=0):
    """One that answers as a Mender server does, `days` from now."""
    origin = bench.enter(Origin(b''))

    def answer(handler):
        handler.date_time_string = lambda: time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime(time.time() + days * DAY))
        origin.reply(handler, 401, b'{"error":"unauthorized"}')
    origin.api_answer = answer
    return origin


def expired(bench):
    """A server certificate of the test CA that ended yesterday; paths of certificate and key."""
    directory = bench.path('expired', 'x').parent
    (directory / 'index').write_text('')
    (directory / 'conf').write_text(
        f'[ca]\ndefault_ca=own\n[own]\ndatabase={directory}/index\nnew_certs_dir={directory}\nrand_serial=yes\n'
        'default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n[server]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n')

    def date(days):
        return time.strftime('%Y%m%d%H%M%SZ', time.gmtime(time.time() + days * DAY))

    def openssl(*args):
        subprocess.run(['openssl', *map(str, args)], cwd=directory, check=True, capture_output=True)
    openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=old', '-keyout',
            'key', '-out', 'csr')
    openssl('ca', '-batch', '-notext', '-config', 'conf', '-extensions', 'server', '-startdate', date(-10), '-enddate',
            date(-1), '-cert', bench.pki.ca, '-keyfile', bench.pki.ca.parent / 'ca.key', '-in', 'csr', '-out', 'cert')
    return directory / 'cert', directory / 'key'


def test_good_installations(bench):
    artifact, _ = make_artifact(bench, 'release-2', 10_000)
    server = MiniMender(bench, artifact, 'release-2')
    environment = gateway_environment(bench, server.url)
    storage = bench.enter(Origin(artifact.read_bytes()))
    status, found = doctor(bench, environment, '--artifact-url', f'{storage.url}{storage.PATH}?{storage.query}')
    check(all(f['level'] == 'ok' and f['advice'] == '' for f in found.values()), f'planned: {found}')
    wanted = {'configuration', 'https port', 'status page', 'certificate', 'certificate name', 'certificate chain', 'state directory',
              'cache directory', 'cache space', 'upstream name', 'upstream tcp', 'upstream tls', 'upstream http', 'clock',
              'artifact host', 'artifact name', 'artifact tcp', 'artifact'}
    check(set(found) == wanted, f'checks: {set(found) ^ wanted}')
    more = {'METRICS_ENABLED': 'true', 'METRICS_LISTEN': '127.0.0.1:0', 'AUDIT_PATH': str(bench.path('audit', 'log'))}
    gateway = start_gateway(bench, server.url, **more)
    metrics, page = (until(lambda: re.search(rf'address=http://(127\.0\.0\.1:\d+)/{path}\n', gateway.log), 20, 'an address')[1]
                     for path in ('metrics', ''))
    environment = {**environment, **more, 'HTTPS_LISTEN': f'127.0.0.1:{gateway.port}', 'METRICS_LISTEN': metrics, 'ADMIN_LISTEN': page}
    status, found = doctor(bench, environment)
    check(status == 0 and all(f['level'] == 'ok' for f in found.values()), f'running: {found}')
    for name in ('metrics port', 'status page'):
        check('a gateway runs there' in found[name]['found'], f'{found[name]}')
    check(found['audit log']['found'].endswith('can be written to'), f'{found["audit log"]}')
    check('the gateway runs, and is ready' in found['https port']['found'], f'{found["https port"]}')
    table = subprocess.run([BIN / 'mgw-gateway', 'doctor'], env={'PATH': os.environ['PATH'], **environment},
                           capture_output=True, text=True, timeout=60)
    check(table.returncode == 0 and 'ok       https port' in table.stdout, f'the table: {table.stdout}')


def test_management_account(bench):
    artifact, _ = make_artifact(bench, 'release-2', 10_000)
    server = MiniMender(bench, artifact, 'release-2', '--manager', 'gw@example.com', '--manager-password', 'right')
    mtls = {'MTLS_ENABLED': 'true', 'MTLS_CA_CERTIFICATE': str(bench.pki.ca), 'MTLS_MENDER_USERNAME': 'gw@example.com'}
    good = {**mtls, 'MTLS_MENDER_PASSWORD': 'right'}
    gateway = start_gateway(bench, server.url, **good)
    environment = gateway_environment(bench, server.url, HTTPS_LISTEN=f'127.0.0.1:{gateway.port}', **good)
    status, found = doctor(bench, environment)
    check(status == 0 and found['management']['level'] == 'ok', f'{found}')
    check(found['https port']['level'] == 'ok', f'a gateway that wants certificates is not known: {found["https port"]}')
    environment['MTLS_MENDER_PASSWORD'] = 'wrong'
    expect_problem(bench, environment, 'management', 'gw@example.com', 'MTLS_MENDER_PASSWORD')


def test_faults_of_the_upstream(bench):
    artifact, _ = make_artifact(bench, 'release-2', 10_000)
    server = MiniMender(bench, artifact, 'release-2')
    environment = gateway_environment(bench, server.url)
    other = make_pki(bench.path('other'))
    expect_problem(bench, {**environment, 'UPSTREAM_SERVER_CA_CERTIFICATE': str(other.ca)}, 'upstream tls',
                   'UPSTREAM_SERVER_CA_CERTIFICATE', 'CN=mgw test CA')
    expect_problem(bench, {**environment, 'UPSTREAM_SERVER_URL': f'http://localhost:{server.port}'}, 'upstream http')
    server.process.stop()
    expect_problem(bench, environment, 'upstream tcp', 'Connection refused', 'nothing listens there')


def test_expired_certificates(bench):
    cert, key = expired(bench)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listening = bench.enter(socket.create_server(('127.0.0.1', 0)))
    stopped = threading.Event()

    def serve():
        while not stopped.is_set():
            try:
                with listening.accept()[0] as raw:
                    raw.settimeout(10)
                    context.wrap_socket(raw, server_side=True).close()
            except OSError:
                pass
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        environment = gateway_environment(bench, f'https://127.0.0.1:{listening.getsockname()[1]}')
        expect_problem(bench, environment, 'upstream tls', 'expired', 'CN=old', 'renewed')
    finally:
        stopped.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    origin = server_without_tls(bench)
    environment = gateway_environment(bench, origin.url, HTTPS_SERVER_CERTIFICATE=str(cert), HTTPS_SERVER_KEY=str(key))
    expect_problem(bench, environment, 'certificate', 'expired', 'devices refuse it')


def test_clock_off_by_a_day(bench):
    origin = server_without_tls(bench, -1)
    expect_problem(bench, gateway_environment(bench, origin.url), 'clock', ' s (24 hours) ahead of', 'timedatectl')


def test_faults_of_this_machine(bench):
    origin = server_without_tls(bench)
    good = gateway_environment(bench, origin.url)
    file = bench.path('in-the-way')
    file.write_text('x')
    expect_problem(bench, {**good, 'ARTIFACTS_PROXY_CACHE_PATH': str(file)}, 'cache directory', 'no directory')
    expect_problem(bench, {**good, 'STATE_DIRECTORY': str(file / 'below')}, 'state directory', 'STATE_DIRECTORY')
    pipe = bench.path('pipe')
    os.mkfifo(pipe)  # reading it hangs, as a disk can
    expect_problem(bench, {**good, 'HTTPS_SERVER_CERTIFICATE': str(pipe)}, 'configuration', 'does not answer')
    with socket.create_server(('127.0.0.1', 0)) as taken:  # and never says a word
        expect_problem(bench, {**good, 'HTTPS_LISTEN': f'127.0.0.1:{taken.getsockname()[1]}'}, 'https port',
                       'another program', 'HTTPS_LISTEN')
        expect_problem(bench, {**good, 'ADMIN_LISTEN': f'127.0.0.1:{taken.getsockname()[1]}'}, 'status page',
                       'another program', 'ADMIN_LISTEN')
    expect_problem(bench, {**good, 'AUDIT_PATH': str(file / 'log')}, 'audit log', 'AUDIT_PATH')
