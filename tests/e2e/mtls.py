"""Client certificates: devices that are authorized by theirs, and those that are not."""
import base64
import concurrent.futures
import contextlib
import http.client
import json
import re
import signal
import socket
import ssl
import subprocess

from support import POLL, Device, MiniMender, Origin, check, make_artifact, start_gateway, until

NEEDS_CLIENT = True
AUTH = '/api/devices/v1/authentication/auth_requests'
USER = ('--manager', 'gw@example.com', '--manager-password', 'pass:word')


class Certificate:
    """A client certificate by the devices' CA, or by another one, with a key of its own."""

    def __init__(self, bench, name, ca='device-ca', serial=None):
        self.directory = bench.path('clients', 'x').parent
        if not (self.directory / f'{ca}.crt').exists():
            self.openssl('req', '-x509', *self.new_key(), '-days', '2', '-subj', f'/CN={ca}', '-keyout', f'{ca}.key',
                         '-out', f'{ca}.crt')
        self.cert, self.key = self.directory / f'{name}.crt', self.directory / f'{name}.key'
        self.openssl('req', *self.new_key(), '-subj', f'/CN={name}', '-keyout', self.key, '-out', f'{name}.csr')
        number = ('-set_serial', serial) if serial else ('-CAcreateserial',)
        self.openssl('x509', '-req', '-in', f'{name}.csr', '-CA', f'{ca}.crt', '-CAkey', f'{ca}.key', *number, '-days', '2',
                     '-out', self.cert)

    @staticmethod
    def new_key():
        return ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

    def openssl(self, *args, **more):
        return subprocess.run(['openssl', *map(str, args)], cwd=self.directory, check=True, capture_output=True, **more)

    def auth_request(self, identity):
        """An auth request's body and signature, by this key."""
        pubkey = self.openssl('pkey', '-in', self.key, '-pubout').stdout.decode()
        body = json.dumps({'id_data': json.dumps(identity), 'pubkey': pubkey, 'tenant_token': ''}).encode() + b'\n'
        signature = self.openssl('dgst', '-sha256', '-sign', self.key, input=body).stdout
        return body, base64.b64encode(signature).decode()


def trust(bench, certificate=None, version=None):
    context = bench.pki.client()
    if certificate:
        context.load_cert_chain(certificate.cert, certificate.key)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def ask(bench, gateway, certificate, path='/api/devices/v1/x', body=None, signature=''):
    """The status of the answer, or None if the connection is refused."""
    connection = http.client.HTTPSConnection('localhost', gateway.port, timeout=20, context=trust(bench, certificate))
    with contextlib.closing(connection):
        try:
            connection.request('POST' if body else 'GET', path, body,
                               {'X-MEN-Signature': signature, 'Content-Type': 'application/json'} if body else {})
            return connection.getresponse().status
        except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
            return None


def enrol(bench, gateway, certificate, identity, signer=None):
    body, signature = (signer or certificate).auth_request(identity)
    return ask(bench, gateway, certificate, AUTH, body, signature)


def start(bench, *server_args, **more):
    """A server that accepts only who is authorized, and a gateway that asks for certificates."""
    artifact, payload = make_artifact(bench, 'release-2', 1 << 20)
    server = MiniMender(bench, artifact, 'release-2', *USER, *server_args)
    Certificate(bench, 'first')  # makes the CA
    server.payload = payload
    return server, gateway_for(bench, server, **more)


def gateway_for(bench, server, **more):
    return start_gateway(bench, server.url, **{
        'MTLS_ENABLED': 'true', 'MTLS_MENDER_USERNAME': 'gw@example.com', 'MTLS_MENDER_PASSWORD': 'pass:word',
        'MTLS_CA_CERTIFICATE': str(bench.path('clients', 'device-ca.crt')), **more})


def test_client_needs_nobody_to_accept_it(bench):
    server, gateway = start(bench)
    one = Certificate(bench, 'device-1')
    device = Device(bench, 1, gateway.port, HttpsClient={'Certificate': str(one.cert), 'Key': str(one.key)},
                    Security={'AuthPrivateKey': str(one.key)})
    until(lambda: any('success' in d['statuses'] for d in server.stats()['devices'].values()), 90, 'success of the device')
    check(device.payload() == server.payload, 'the device installed other bytes than were packed')
    stats = server.stats()
    check(stats['management_logins'] == 1, f'{stats["management_logins"]} logins')
    check(stats['management_requests'] == 2, f'{stats["management_requests"]} calls where a login and one would do')
    check('is preauthorized' in gateway.log, 'no audit line')
    check('pass:word' not in gateway.log and 'session.' not in gateway.log, 'a secret is in the log')


def health(bench, gateway, certificate):
    connection = http.client.HTTPSConnection('localhost', gateway.port, timeout=20, context=trust(bench, certificate))
    with contextlib.closing(connection):
        connection.request('GET', '/api/internal/v1/gateway/health')
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_a_wrong_password_is_told_by_health_once_it_is_known(bench):
    server, gateway = start(bench)
    one = Certificate(bench, 'device-1')
    check(enrol(bench, gateway, one, {'mac': 'aa'}) == 200, 'the device was not accepted')
    check(health(bench, gateway, one) == (200, {'ready': True}), 'a right password is no trouble')
    gateway.stop()
    wrong = gateway_for(bench, server, MTLS_MENDER_USERNAME='other@example.com', MTLS_MENDER_PASSWORD='wrong')
    check(health(bench, wrong, one) == (200, {'ready': True}), 'nobody has asked yet')
    check(enrol(bench, wrong, Certificate(bench, 'device-2'), {'mac': 'bb'}) == 401, 'a device was accepted')
    status, told = health(bench, wrong, one)
    check(status == 200 and told['ready'] and told['warnings'][0].startswith('management API: it refuses our credentials'), f'{told}')
    check('other@example.com' not in json.dumps(told), 'a name is told to devices')


def test_without_a_good_certificate_nothing_passes(bench):
    server, gateway = start(bench)
    stranger, good = Certificate(bench, 'stranger', ca='other-ca'), Certificate(bench, 'good')
    before = server.stats()['api_requests']
    check(ask(bench, gateway, None) is None, 'a client without a certificate was served')
    check(ask(bench, gateway, stranger) is None, 'a client of another CA was served')
    check(server.stats()['api_requests'] == before, 'something of it reached the server')
    for why in ('peer did not return a certificate', 'certificate verify failed: '):  # neither hides the other
        until(lambda: re.search(f'level=warning msg="handshake with 127.0.0.1: {why}', gateway.log), 10, f'a line: {why}')
    check(ask(bench, gateway, good) == 401, 'a good client was not relayed')


def test_certificate_of_another_device(bench):
    server, gateway = start(bench)
    victim, thief = Certificate(bench, 'victim'), Certificate(bench, 'thief')
    check(enrol(bench, gateway, victim, {'mac': 'aa'}) == 200, 'the device was not accepted')
    calls = server.stats()['management_requests']
    check(enrol(bench, gateway, thief, {'mac': 'aa'}) == 401, 'a thief became the device')
    check(enrol(bench, gateway, thief, {'mac': 'tt'}) == 200, 'the other device was not accepted as itself')
    check(enrol(bench, gateway, thief, {'mac': 'aa'}) == 401, 'a thief became the device')
    check(server.stats()['management_requests'] == calls + 1, 'the management API was asked for a thief')
    for line in ('the identity is bound to another subject', 'its subject is bound to another identity'):
        check(line in gateway.log, f'no audit line: {line}')
    # A restart forgets nothing.
    gateway.stop()
    again = gateway_for(bench, server)
    check(enrol(bench, again, thief, {'mac': 'aa'}) == 401, 'a thief became the device after a restart')
    check(enrol(bench, again, victim, {'mac': 'aa'}) == 200, 'the device was not accepted after a restart')


def test_new_key_and_an_operators_no(bench):
    server, gateway = start(bench)
    one, new_key = Certificate(bench, 'one'), Certificate(bench, 'new-key')
    check(enrol(bench, gateway, one, {'mac': 'aa'}) == 200, 'the device was not accepted')
    check(enrol(bench, gateway, one, {'mac': 'aa'}, signer=new_key) == 200, 'its new key was not accepted')
    # The server rejects the old key then, which looks like an operator's no.
    check(enrol(bench, gateway, one, {'mac': 'aa'}) == 401, 'a rejected key was accepted')
    check(enrol(bench, gateway, one, {'mac': 'aa'}) == 401, 'a rejected key was accepted')
    check('rejected' in gateway.log, 'no audit line')
    check(enrol(bench, gateway, one, {'mac': 'aa'}, signer=new_key) == 200, 'the new key is not good any more')


def test_management_api_in_trouble(bench):
    server, gateway = start(bench)
    one, two, three, four = (Certificate(bench, name) for name in ('one', 'two', 'three', 'four'))
    server.post('/demo/management?status=500')
    check(enrol(bench, gateway, one, {'mac': 'aa'}) == 401, 'the request was not relayed')
    server.post('/demo/management?status=0')
    # It is left alone for five seconds. The server knows the device as pending now.
    until(lambda: enrol(bench, gateway, one, {'mac': 'aa'}) == 200, 30, 'the device to be accepted')
    check('is accepted' in gateway.log, 'no audit line')
    server.post('/demo/management?sessions=end')
    check(enrol(bench, gateway, two, {'mac': 'bb'}) == 200, 'an ended session was not renewed')
    server.post('/demo/management?status=429')
    check(enrol(bench, gateway, three, {'mac': 'cc'}) == 401, 'the request was not relayed')
    server.post('/demo/management?status=0&role=narrow')
    until(lambda: enrol(bench, gateway, three, {'mac': 'cc'}) == 200, 30, 'a narrow role to be enough')
    server.post('/demo/management?status=422')
    check(enrol(bench, gateway, four, {'mac': 'dd'}) == 401, 'the request was not relayed')
    said = [l for l in gateway.log.splitlines() if 'the device limit is reached' in l]
    check(len(said) == 1 and ' level=warning ' in said[0] and 'is refused, status 422' in said[0] and 'dd' in said[0], f'the limit: {said}')
    check(enrol(bench, gateway, three, {'mac': 'cc'}) == 200, 'the limit is held against a known device')
    server.post('/demo/management?status=0')
    until(lambda: enrol(bench, gateway, four, {'mac': 'dd'}) == 200, 30, 'the device to be accepted below the limit')


def test_management_api_that_never_answers(bench):
    """Silence, or an end: who is known notices nothing, who is not is relayed soon."""
    server, gateway = start(bench)
    known, new, newer = (Certificate(bench, name) for name in ('known', 'new', 'newer'))
    check(enrol(bench, gateway, known, {'mac': 'aa'}) == 200, 'the device was not accepted')

    server.post('/demo/management?how=hang')
    check(enrol(bench, gateway, new, {'mac': 'bb'}) == 401, 'the request was not relayed')
    until(lambda: server.stats()['management_held'] == 1, 5, 'the call to be under way')
    asked = server.stats()['management_requests']
    check(enrol(bench, gateway, known, {'mac': 'aa'}) == 200, 'a known device was held up')
    check(enrol(bench, gateway, new, {'mac': 'bb'}) == 401, 'the request was not relayed')  # and not asked a second time
    check('not asked for' not in gateway.log, 'they were answered only when the call had ended')
    check(server.stats()['management_requests'] == asked, 'the call was made twice')
    check(gateway.log.count('no answer within 3000 ms') == 1, 'no line about the silence')
    server.post('/demo/management?how=drop')
    until(lambda: 'not asked for 5 s' in gateway.log, 20, 'the end of the call to be told')
    check(enrol(bench, gateway, known, {'mac': 'aa'}) == 200, 'a known device was held up')
    check(enrol(bench, gateway, newer, {'mac': 'cc'}) == 401, 'the request was not relayed')
    server.post('/demo/management?how=open')
    for certificate, mac in ((new, 'bb'), (newer, 'cc')):
        until(lambda: enrol(bench, gateway, certificate, {'mac': mac}) == 200, 30, f'{mac} to be accepted')


def test_a_slow_management_api_authorizes_after_all(bench):
    """The device goes on after three seconds, and the answer that comes later is its authorization."""
    server, gateway = start(bench)
    one, two = Certificate(bench, 'one'), Certificate(bench, 'two')
    check(enrol(bench, gateway, one, {'mac': 'aa'}) == 200, 'the device was not accepted')
    server.post('/demo/management?how=hold')
    check(enrol(bench, gateway, two, {'mac': 'bb'}) == 200, 'what was done is not seen')  # only its answer is late
    asked = server.stats()['management_requests']
    server.post('/demo/management?how=open')
    until(lambda: gateway.log.count('is preauthorized') == 2, 10, 'the answer to be taken')
    check(enrol(bench, gateway, two, {'mac': 'bb'}) == 200, 'the device lost its token')
    check(server.stats()['management_requests'] == asked, 'it was asked for again')


def test_two_gateways_do_not_fight(bench):
    server, first = start(bench)
    second = gateway_for(bench, server, STATE_DIRECTORY=str(bench.path('state-2', 'x').parent),
                         ARTIFACTS_PROXY_CACHE_PATH=str(bench.path('cache-2', 'x').parent))
    one = Certificate(bench, 'one')
    for gateway in (first, second, first, second):
        check(enrol(bench, gateway, one, {'mac': 'aa'}) == 200, 'the device lost its token')
    check(server.stats()['management_logins'] == 2, 'more than one login each')
    check('further key' not in first.log + second.log, 'a key was forced')


def test_two_gateways_with_one_device_in_flight(bench):
    """At each step both have the server's answer before either goes on: one of them does it, the other finds it done."""
    server, first = start(bench)
    second = gateway_for(bench, server, STATE_DIRECTORY=str(bench.path('state-2', 'x').parent),
                         ARTIFACTS_PROXY_CACHE_PATH=str(bench.path('cache-2', 'x').parent))
    gateways = (first, second)
    for n, gateway in enumerate(gateways):  # so that both have a session
        check(enrol(bench, gateway, Certificate(bench, f'other-{n}'), {'mac': f'other-{n}'}) == 200, 'was not accepted')
    new, pending, new_key = (Certificate(bench, name) for name in ('new', 'pending', 'new-key'))
    check(enrol(bench, server, pending, {'mac': 'pp'}) == 401, 'accepted by nobody')
    with concurrent.futures.ThreadPoolExecutor(2) as both:
        for what, certificate, mac, signer, steps in (
                ('a new device', new, 'nn', None, (2, 1)),  # one is told that it is preauthorized, and reads it
                ('a pending one', pending, 'pp', None, (2, 2, 2)),  # both read it, and one accepts
                ('a further key', new, 'nn', new_key, (2, 2, 2))):
            server.post('/demo/management?how=hold')
            asked = [both.submit(enrol, bench, g, certificate, {'mac': mac}, signer) for g in gateways]
            for held in steps:
                until(lambda: server.stats()['management_held'] == held, 10, f'{what}: {held} answers to be held')
                server.post('/demo/management?how=hold')
            server.post('/demo/management?how=open')
            statuses = [a.result() for a in asked]
            # 401: this machine is so busy that the device did not wait any more.
            check(200 in statuses and set(statuses) <= {200, 401}, f'{what}: {statuses}')
            for gateway in gateways:
                check(enrol(bench, gateway, certificate, {'mac': mac}, signer) == 200, f'{what} is not accepted')
    log = first.log + second.log
    check(log.count('is preauthorized') == 5, 'not: two others, the new one, and its further key by each')
    check(log.count('is accepted') == 1, 'the pending key was accepted twice')


def test_blacklist_on_resumed_and_open_connections(bench):
    blacklist = bench.path('blacklist')
    blacklist.write_text('')
    _, gateway = start(bench, MTLS_BLACKLIST_PATH=str(blacklist))
    leaked, good = Certificate(bench, 'leaked', serial='0xAB12'), Certificate(bench, 'good')
    request = b'GET /api/internal/v1/gateway/alive HTTP/1.1\r\nHost: localhost\r\n\r\n'

    def connect(certificate, version, session=None):
        context = trust(bench, certificate, version)
        if session:
            context = session[0]
        raw = socket.create_connection(('localhost', gateway.port), timeout=20)
        tls = bench.enter(context.wrap_socket(raw, server_hostname='localhost', session=session and session[1]))
        tls.sendall(request)
        return context, tls, tls.recv(4096)

    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        blacklist.write_text('# none\n')
        gateway.child.send_signal(signal.SIGHUP)
        until(lambda: ask(bench, gateway, leaked) == 401, 20, 'the certificate to be good')
        context, open_one, answer = connect(leaked, version)
        _, fine, _ = connect(good, version)
        check(b' 204 ' in answer, f'a good certificate was refused: {answer}')
        session = open_one.session
        blacklist.write_text('00:AB:12\n')
        gateway.child.send_signal(signal.SIGHUP)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            check(open_one.recv(4096) == b'', 'the open connection of a leaked certificate goes on')
        check(ask(bench, gateway, leaked) is None, 'a leaked certificate was served')
        try:
            check(b' 204 ' not in connect(leaked, version, (context, session))[2], 'a session was resumed')
        except (ConnectionError, ssl.SSLError):
            pass
        fine.sendall(request)
        check(b' 204 ' in fine.recv(4096), 'the connection of a good certificate was cut')
    # Without a signal, and with a list that cannot be read.
    blacklist.write_text('no number\n')
    until(lambda: 'judged as before' in gateway.log, 20, 'the bad list to be told')
    check(ask(bench, gateway, leaked) is None, 'a bad list let a leaked certificate in')
    blacklist.write_text('# none at all\n')
    until(lambda: ask(bench, gateway, leaked) == 401, 20, 'the change to be seen')


def test_plain_listener_serves_health_only(bench):
    ports = {'HTTP_ENABLED': 'true', 'HTTP_LISTEN': '127.0.0.1:0'}
    server, gateway = start(bench, **ports)
    match = gateway.wait_for(r'listening on http://127\.0\.0\.1:(\d+)\n', 20)

    def plain(path):
        connection = http.client.HTTPConnection('localhost', int(match[1]), timeout=20)
        with contextlib.closing(connection):
            connection.request('GET', path)
            return connection.getresponse().status
    check(plain('/api/internal/v1/gateway/alive') == 204, 'no health check')
    check(plain('/api/devices/v1/x') == 403, 'a device is served without a certificate')
    check(plain('/api/gateway/v1/artifacts/' + 'a' * 64 + '/x') == 403, 'artifacts are served without a certificate')
    check(plain('/api/management/v1/x') == 404, 'not the device API')
    gateway.stop()
    gateway = gateway_for(bench, server, **ports, MTLS_PLAIN_SERVES_DEVICES='true')
    match = gateway.wait_for(r'listening on http://127\.0\.0\.1:(\d+)\n', 20)
    check(plain('/api/devices/v1/x') == 401, 'PlainServesDevices does not')


def test_plain_listener_serves_links_that_lead_there(bench):
    origin, one = bench.enter(Origin(b'x' * 1000)), Certificate(bench, 'one')
    gateway = gateway_for(bench, origin, HTTP_ENABLED='true', HTTP_LISTEN='127.0.0.1:0', ARTIFACTS_PROXY_CACHE_VERIFY='off',
                          ARTIFACTS_PROXY_GATEWAY_URL='http://gateway.example')
    port = int(gateway.wait_for(r'listening on http://127\.0\.0\.1:(\d+)\n', 20)[1])
    with contextlib.closing(http.client.HTTPSConnection('localhost', gateway.port, timeout=20, context=trust(bench, one))) as tls:
        tls.request('POST', POLL, b'{}', {'Authorization': 'Bearer x'})
        uri = json.loads(tls.getresponse().read())['artifact']['source']['uri']
    check(uri.startswith('http://gateway.example/'), f'the link: {uri}')

    def plain(path):
        with contextlib.closing(http.client.HTTPConnection('localhost', port, timeout=20)) as connection:
            connection.request('GET', path)
            answer = connection.getresponse()
            return answer.status, answer.read()
    check(plain(uri.removeprefix('http://gateway.example')) == (200, origin.artifact), 'the link is not served')
    check(plain('/api/devices/v1/x')[0] == 403, 'a device is served without a certificate')
    check('and artifacts on links that the gateway has made' in gateway.log, 'the start does not say what is served without TLS')
