"""What the gateway does with signals and with the service manager: reading anew, being ready, handing over, ending."""
import asyncio
import contextlib
import json
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request

from support import (BIN, DEVICE_TYPE, POLL, Blob, Connection, Origin, check, gateway_environment, link, request, sha256,
                     start_gateway, until)

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
                     'Audit': {'Path': str(bench.path('audit', 'log'))},
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
    for which in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2):  # the second one has nothing to change
        before = gateway.log.count('the log level was changed')
        gateway.child.send_signal(which)
        until(lambda: gateway.log.count('the log level was changed') == before + 1, 10, f'a change by {which}')
    file.write_text('{"Log": {"Level": "loud"}}')
    gateway.child.send_signal(signal.SIGHUP)
    until(lambda: 'the configuration stays the one of before' in gateway.log, 10, 'the refusal')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
    records = [json.loads(line) for line in bench.path('audit', 'log').read_text().splitlines()]
    read = [(r['done'], r.get('changed'), r.get('restart')) for r in records if r['event'] == 'configuration_read']
    check(read == [(True, {'Log.Level': '"debug"'}, 'Workers'), (True, {'Log.Level': '"info"'}, None), (False, None, None)],
          f'the records: {read}')
    levels = [(r['from'], r['to'], r['by']) for r in records if r['event'] == 'log_level']
    check(levels == [('info', 'debug', 'SIGUSR1'), ('debug', 'info', 'SIGUSR2')], f'the records: {levels}')


# ---- the service manager ---------------------------------------------------------------------------------------------

class Manager:
    """Stands in for systemd: hears what it is told, and keeps listening sockets that it hands over."""
    # What systemd does between fork and exec.
    HAND_OVER = ('import fcntl, os, sys\n'
                 'taken = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in os.environ.pop("SOCKETS").split()]\n'
                 'for i, fd in enumerate(taken): os.dup2(fd, 3 + i)\n'
                 'os.environ["LISTEN_PID"] = str(os.getpid())\n'
                 'os.execv(sys.argv[1], sys.argv[1:])\n')

    def __init__(self, bench, **sockets):
        self.bench, self.sockets, self.all = bench, sockets, []
        self.lock = threading.Lock()
        self.path = str(bench.path('notify'))
        self.socket = bench.enter(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.socket.bind(self.path)
        self.socket.settimeout(0.1)
        self.ended = False
        thread = threading.Thread(target=self.hear)
        thread.start()

        def end():
            self.ended = True
            thread.join()
        bench.stack.callback(end)

    def hear(self):
        while not self.ended:
            with contextlib.suppress(TimeoutError):
                text = self.socket.recv(4096).decode()
                with self.lock:
                    self.all.append(text)

    def said(self):
        with self.lock:
            return list(self.all)

    def wait_for(self, pattern, after=0):
        """The place of the first such message from there on."""
        def found():
            return next((i + 1 for i, text in enumerate(self.said()) if i >= after and re.match(pattern, text)), None)
        return until(found, 20, f'{pattern!r} in {self.said()}') - 1

    def start(self, upstream, ready=True, **more):
        environment = gateway_environment(self.bench, upstream, NOTIFY_SOCKET=self.path, **more)
        descriptors = [s.fileno() for s in self.sockets.values()]
        environment['SOCKETS'] = ' '.join(map(str, descriptors))
        if descriptors:
            environment.update(LISTEN_FDS=str(len(descriptors)), LISTEN_FDNAMES=':'.join(self.sockets))
        return self.bench.start('gateway', [sys.executable, '-c', self.HAND_OVER, BIN / 'mgw-gateway'], environment,
                                ready='mgw-gateway listening on' if ready else None, descriptors=descriptors)


def listening(bench):
    return bench.enter(socket.create_server(('127.0.0.1', 0), backlog=4096))


def test_the_manager_hears_how_things_stand(bench):
    origin = bench.enter(Origin(b'x'))
    manager = Manager(bench)
    gateway = manager.start(origin.url, WATCHDOG_USEC='400000')
    port = int(re.search(r'https://127\.0\.0\.1:(\d+)\n', gateway.out)[1])
    starting, ready = manager.wait_for('STATUS=starting'), manager.wait_for('READY=1')
    serving = manager.wait_for(f'STATUS=serving https://127.0.0.1:{port}; 0 connections, ')
    ping = manager.wait_for('WATCHDOG=1')
    check(starting < ready < serving < ping, f'{manager.said()}')
    second = manager.wait_for('WATCHDOG=1', manager.wait_for('WATCHDOG=1', ping + 1) + 1)
    link(bench.pki, port)
    manager.wait_for('STATUS=.*upstream reachable')
    gateway.child.send_signal(signal.SIGHUP)
    reloading = manager.wait_for(r'RELOADING=1\nMONOTONIC_USEC=\d+$', second)
    manager.wait_for('READY=1', reloading)
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
    stopping = manager.wait_for('STOPPING=1')
    manager.wait_for(r'EXTEND_TIMEOUT_USEC=\d+', stopping)
    manager.wait_for('STATUS=stopping; 0 connections left', stopping)


def test_exit_codes(bench):
    manager = Manager(bench, http=listening(bench))
    refused = manager.start(NOWHERE, ready=False)
    check(refused.child.wait(20) == 2 and 'is for http' in refused.log, f'a socket that does not fit: {refused.log}')
    taken = listening(bench)
    busy = bench.start('gateway', [BIN / 'mgw-gateway'],
                       gateway_environment(bench, NOWHERE, HTTPS_LISTEN=f'127.0.0.1:{taken.getsockname()[1]}'))
    check(busy.child.wait(20) == 1 and 'Address already in use' in busy.log, f'a port that is taken: {busy.log}')
    wrong = bench.start('gateway', [BIN / 'mgw-gateway', '--config', bench.path('none')], gateway_environment(bench, NOWHERE))
    check(wrong.child.wait(20) == 2, f'a configuration file that is not there: {wrong.log}')


class Load:
    """So many requests a second, each on a connection of its own, two of three a device's poll that is relayed; and one
    client with one connection for many. `polls`: answers of the server, with a link of the gateway."""

    def __init__(self, bench, port, rate):
        self.context, self.port, self.rate = bench.pki.client(), port, rate
        self.done, self.polls, self.failed, self.polite, self.goes_on = 0, 0, [], 0, True
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()))
        self.thread.start()
        bench.stack.callback(self.stop)

    def stop(self):
        self.goes_on = False
        self.thread.join()

    async def connect(self):
        return await asyncio.open_connection('127.0.0.1', self.port, ssl=self.context, server_hostname='localhost',
                                             ssl_handshake_timeout=50)

    async def ask(self, reader, writer):
        writer.write(f'GET {ALIVE} HTTP/1.1\r\nHost: localhost:{self.port}\r\n\r\n'.encode())
        await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b'\r\n\r\n'), 50)
        if not head.startswith(b'HTTP/1.1 204 '):
            raise ValueError(head)
        self.done += 1
        return head.lower()

    async def poll(self, reader, writer):
        body = b'{"device_provides":{"artifact_name":"release-1","device_type":"%s"}}' % DEVICE_TYPE.encode()
        writer.write(f'POST {POLL} HTTP/1.1\r\nHost: localhost:{self.port}\r\nAuthorization: Bearer e2e\r\n'
                     f'Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body)
        await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b'\r\n\r\n'), 50)
        length = re.search(rb'\r\nContent-Length: (\d+)\r\n', head, re.I)
        if not head.startswith(b'HTTP/1.1 200 ') or not length:
            raise ValueError(head)
        offer = json.loads(await asyncio.wait_for(reader.readexactly(int(length[1])), 50))
        if not offer['artifact']['source']['uri'].startswith(f'https://localhost:{self.port}/'):
            raise ValueError(offer)
        self.done += 1
        self.polls += 1

    async def alone(self, ask):
        try:
            reader, writer = await self.connect()
            try:
                await ask(reader, writer)
            finally:
                writer.close()
        except Exception as e:  # noqa: B902
            self.failed.append(repr(e))

    async def many(self):
        reader = writer = None
        while self.goes_on:
            try:
                used = writer is not None
                if not used:
                    reader, writer = await self.connect()
                try:
                    closes = b'\r\nconnection: close\r\n' in await self.ask(reader, writer)
                except (asyncio.IncompleteReadError, ConnectionError):
                    if not used:
                        raise
                    closes = True  # closed while it was idle: RFC 9110 9.2.2 has a client try again
                if closes:
                    self.polite += 1
                    writer.close()
                    writer = None
            except Exception as e:  # noqa: B902
                self.failed.append(repr(e))
                writer = None
            await asyncio.sleep(0.01)
        if writer:
            writer.close()

    async def run(self):
        tasks, loop = [asyncio.create_task(self.many())], asyncio.get_running_loop()
        began = loop.time()
        while self.goes_on:
            tasks.append(asyncio.create_task(self.alone(self.poll if len(tasks) % 3 else self.ask)))
            await asyncio.sleep(max(0, began + len(tasks) / self.rate - loop.time()))
        await asyncio.gather(*tasks)


class Download(threading.Thread):
    """At a pace; when it is told to hurry, and where it is cut and goes on with a range, as fast as it can."""

    def __init__(self, bench, port, target, seconds, size):
        super().__init__()
        self.bench, self.port, self.target, self.size, self.hurry = bench, port, target, size, threading.Event()
        self.piece, self.body, self.connections, self.failed = int(size * 0.05 / seconds), bytearray(), 0, None
        self.start()
        bench.stack.callback(self.join)

    def run(self):
        try:
            while len(self.body) < self.size and self.connections < 4:
                self.connections += 1
                with Connection(self.bench.pki, self.port, 60) as c:
                    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)  # what it has not read is not sent
                    c.send('GET', self.target, {'Range': f'bytes={len(self.body)}-'} if self.body else {})
                    status = c.read_head().status
                    check(status == (206 if self.body else 200), f'connection {self.connections}: {status}')
                    self.read(c)
        except Exception as e:  # noqa: B902
            self.failed = repr(e)

    def read(self, c):
        turn = 0
        while len(self.body) < self.size and (data := c.recv()):
            self.body += data
            turn += len(data)
            if turn >= self.piece and self.connections == 1:
                turn = 0
                self.hurry.wait(0.05)


def test_another_process_takes_over_and_nothing_is_lost(bench):
    artifact = Blob(32 << 20)
    origin = bench.enter(Origin(artifact))
    manager = Manager(bench, https=listening(bench), metrics=listening(bench))
    port = manager.sockets['https'].getsockname()[1]
    more = {'METRICS_ENABLED': 'true', 'ARTIFACTS_PROXY_CACHE_VERIFY': 'length', 'DRAIN_TIMEOUT': '4s', 'WORKERS': '2'}
    held, release = threading.Event(), threading.Event()

    def api_answer(handler):
        if handler.path.endswith('/inventory/device/attributes'):
            held.set()
            release.wait(20)
            return origin.reply(handler, 200, b'')
        return origin.serve_api(handler)
    origin.api_answer = api_answer
    old = manager.start(origin.url, **more)
    manager.wait_for('READY=1')
    flags = re.search(r'flags:\s+(\d+)', pathlib.Path(f'/proc/{old.child.pid}/fdinfo/3').read_text())[1]
    check(int(flags, 8) & 0o2000000, 'children of the gateway would have the socket, too')
    target = link(bench.pki, port)
    request(bench.pki, port, 'GET', target)  # into the cache
    fetched = origin.body_bytes
    load = Load(bench, port, 100)
    short = Download(bench, port, target, 10, artifact.size)
    long = Download(bench, port, target, 20, artifact.size)
    busy = bench.enter(Connection(bench.pki, port))
    busy.send('PATCH', '/api/devices/v1/inventory/device/attributes', {'Authorization': 'Bearer e2e'}, b'[]')
    until(lambda: held.is_set() and short.body and long.body and load.done > 50 and load.polls > 20, 20, 'all of it to be under way')

    before = len(manager.said())
    old.child.send_signal(signal.SIGTERM)
    new = manager.start(origin.url, ready=False, **more)
    manager.wait_for('STOPPING=1', before)
    short.hurry.set()
    release.set()
    answer = busy.read()
    check(answer.status == 200 and answer.headers.get('connection') == 'close', f'a request of before: {answer.headers}')
    check(busy.closed(), 'its connection was left open')
    ready = manager.wait_for('READY=1', before)
    check(old.child.wait(10) == 0, f'the old one: {old.child.poll()}')
    check(any('waiting for the gateway before' in text for text in manager.said()[:ready]), f'{manager.said()}')
    count, polls = load.done, load.polls
    until(lambda: load.done > count + 100 and load.polls > polls + 50, 20, 'the new one to serve')
    for one in (short, long):
        one.join(100)
        check(not one.failed and sha256(one.body) == sha256(artifact[0:artifact.size]),
              f'a download: {one.failed}, {len(one.body)} bytes in {one.connections} connections')
    check(short.connections == 1, 'the short download was cut')
    check(long.connections == 2, f'the long download took {long.connections} connections')
    load.stop()
    check(not load.failed, f'{len(load.failed)} of {load.done + len(load.failed)} requests failed: {load.failed[:5]}')
    relayed = sum(r[:2] == ('POST', POLL) and r[2].get('Authorization') == 'Bearer e2e' for r in origin.requests)
    check(relayed > load.polls > load.done // 4, f'{load.polls} of {load.done} were polls, the server had {relayed} with our own')
    check(load.polite >= 1, 'the client with one connection was not told')
    check(origin.body_bytes == fetched, 'the new one has fetched the artifact again')
    new.metrics = manager.sockets['metrics'].getsockname()[1]
    check(metrics(new, 'mgw_connections_accepted_total'), 'no metrics where they were handed over')
    check(new.stop() == 0, 'the new one did not end cleanly')
    check(takes_connections(manager.sockets['https']), 'whoever keeps the socket cannot use it any more')


def takes_connections(listener):
    listener.settimeout(5)
    with socket.create_connection(listener.getsockname()), listener.accept()[0]:
        return True
