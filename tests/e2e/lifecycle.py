"""What the gateway does with signals and with the service manager: reading anew, being ready, handing over, ending."""
import json
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request

from support import BIN, Connection, Origin, check, gateway_environment, start_gateway, until

NOWHERE = 'http://127.0.0.1:9'
ALIVE = '/api/internal/v1/gateway/alive'


# ---- what is read anew -----------------------------------------------------------------------------------------------

class Pair:
    """A server certificate of the test's CA with a key of its own, in a directory of its own."""

    def __init__(self, bench, name, days=60):
        self.directory = bench.path('pairs', name, 'x').parent
        pki = bench.pki.ca.parent
        self.cert, self.key = self.directory / 'tls.crt', self.directory / 'tls.key'

        def openssl(*args):
            subprocess.run(['openssl', *map(str, args)], check=True, capture_output=True)
        openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}', '-keyout',
                self.key, '-out', self.directory / 'csr')
        openssl('x509', '-req', '-in', self.directory / 'csr', '-CA', bench.pki.ca, '-CAkey', pki / 'ca.key',
                '-CAcreateserial', '-days', days, '-extfile', pki / 'server.ext', '-out', self.cert)
        self.der = ssl.PEM_cert_to_DER_cert(self.cert.read_text())


def shown(bench, port):
    """The certificate in a new handshake, which has to verify."""
    with Connection(bench.pki, port) as c:
        return c.socket.getpeercert(binary_form=True)


def metrics(gateway, name):
    text = urllib.request.urlopen(f'http://127.0.0.1:{gateway.metrics}/metrics', timeout=10).read().decode()
    return [line for line in text.splitlines() if line.startswith(name)]


def test_a_certificate_is_renewed_while_connections_are_open(bench):
    first, second = Pair(bench, 'first', days=10), Pair(bench, 'second', days=20)
    now = bench.path('now')  # as Kubernetes does it: what is mounted is a link that is swapped
    now.symlink_to(first.directory)
    audit = bench.path('audit', 'log')
    gateway = start_gateway(bench, NOWHERE, HTTPS_SERVER_CERTIFICATE=str(now / 'tls.crt'),
                            HTTPS_SERVER_KEY=str(now / 'tls.key'), METRICS_ENABLED='true', METRICS_LISTEN='127.0.0.1:0',
                            AUDIT_PATH=str(audit))
    gateway.metrics = until(lambda: re.search(r'address=http://127\.0\.0\.1:(\d+)/metrics', gateway.log), 10, 'metrics')[1]
    before = metrics(gateway, 'mgw_certificate_expiry')
    with Connection(bench.pki, gateway.port) as open_one:
        def still_there():
            open_one.send('GET', ALIVE)
            check(open_one.read().status == 204, 'the open connection')
        still_there()
        check(shown(bench, gateway.port) == first.der, 'the first certificate is not shown')
        next_one = bench.path('next')
        next_one.symlink_to(second.directory)
        next_one.rename(now)
        until(lambda: shown(bench, gateway.port) == second.der, 10, 'the second certificate, without a signal')
        still_there()
        until(lambda: metrics(gateway, 'mgw_certificate_expiry') != before, 10, 'its end in the metrics')

        # What does not fit together is not shown, and the log says why.
        second.key.write_bytes(first.key.read_bytes())
        gateway.child.send_signal(signal.SIGHUP)
        until(lambda: 'stays the one of before' in gateway.log, 10, 'a line about the mismatch')
        check('the key is not that of the certificate' in gateway.log, gateway.log)
        check(shown(bench, gateway.port) == second.der, 'the second certificate is not shown any more')
        still_there()

        second.cert.write_bytes(first.cert.read_bytes())
        gateway.child.send_signal(signal.SIGHUP)
        until(lambda: shown(bench, gateway.port) == first.der, 10, 'the first certificate after a signal')
        still_there()
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    done = [r['done'] for r in records if r['event'] == 'certificate_read']
    check(len(done) >= 3 and done[0] and False in done and done[-1], f'the records: {records}')
    check(any(r['event'] == 'configuration_read' and r['done'] for r in records), f'the records: {records}')


def test_a_hangup_sets_the_log_level_and_names_what_needs_a_restart(bench):
    file = bench.path('gateway.conf')
    environment = gateway_environment(bench, NOWHERE)
    configuration = {'HTTPS': {'Enabled': True, 'Listen': environment['HTTPS_LISTEN'], 'ServerCertificate': str(bench.pki.cert),
                               'ServerKey': str(bench.pki.key)}, 'UpstreamServer': {'URL': NOWHERE},
                     'StateDirectory': environment['STATE_DIRECTORY'], 'Workers': 1, 'Log': {'Level': 'info'},
                     'Features': {'ArtifactsProxy': {'ArtifactsCache': {'Path': environment['ARTIFACTS_PROXY_CACHE_PATH']}}}}
    file.write_text(json.dumps(configuration))
    gateway = bench.start('gateway', [BIN / 'mgw-gateway', '--config', file], ready='mgw-gateway listening on')
    for level, workers in (('debug', 2), ('info', 1)):
        configuration['Log']['Level'], configuration['Workers'] = level, workers
        file.write_text(json.dumps(configuration))
        gateway.child.send_signal(signal.SIGHUP)
        until(lambda: f'the log level was changed" to={level}' in gateway.log, 10, f'level {level}')
    until(lambda: gateway.log.count('the configuration was read anew') == 2, 10, 'both readings')
    until(lambda: 'needs a restart: Workers"' in gateway.log, 10, 'what needs a restart')
    check(gateway.log.count('needs a restart') == 1, gateway.log)
    file.write_text('{"Log": {"Level": "loud"}}')
    gateway.child.send_signal(signal.SIGHUP)
    until(lambda: 'the configuration stays the one of before' in gateway.log, 10, 'the refusal')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
