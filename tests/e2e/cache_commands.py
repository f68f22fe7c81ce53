"""`mgw-gateway cache …`, against a running gateway and without one: what it prints, its exit statuses, and who may."""
import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import termios
import threading
import time

import verify
from support import BIN, Connection, Origin, check, gateway_environment, link, request, start_gateway, until

NOBODY = 65534


class Site:
    """A gateway's surroundings: an origin with one artifact, the settings, and commands with them."""

    def __init__(self, bench, payload=os.urandom(1_500_000), **more):
        self.bench = bench
        self.artifact = verify.artifact(payload, 'gz')
        self.origin = bench.enter(Origin(self.artifact))
        self.more = more
        self.environment = gateway_environment(bench, self.origin.url, **more)
        self.cache = pathlib.Path(self.environment['ARTIFACTS_PROXY_CACHE_PATH'])
        self.socket = pathlib.Path(self.environment['STATE_DIRECTORY']) / 'control.sock'

    def start(self):
        self.gateway = start_gateway(self.bench, self.origin.url, **self.more)
        return self.gateway

    def download(self):
        answer = request(self.bench.pki, self.gateway.port, 'GET', link(self.bench.pki, self.gateway.port))
        check(answer.status == 200 and answer.body == self.artifact, f'a download: {answer.status}, {len(answer.body)} bytes')
        until(lambda: self.objects(), 20, 'the object to be stored')

    def command(self, *args, prefix=(), environment=None, **more):
        return [*prefix, BIN / 'mgw-gateway', 'cache', *args], {'env': {**os.environ, **self.environment, **(environment or {})}, **more}

    def run(self, *args, **more):
        """(exit status, standard output as bytes, standard error as text)"""
        command, how = self.command(*args, **more)
        done = subprocess.run(command, capture_output=True, timeout=60, **how)
        return done.returncode, done.stdout, done.stderr.decode()

    def good(self, *args, **more):
        """What it prints."""
        status, out, errors = self.run(*args, **more)
        check(status == 0 and not errors, f'{args}: {status} {out[:300]} {errors}')
        return out.decode()

    def refused(self, status, part, *args, **more):
        got, out, errors = self.run(*args, **more)
        check(got == status and part in errors and errors.count('\n') == 1 and errors.startswith('mgw-gateway: '),
              f'{args}: {got} {out[:300]} {errors}')

    def objects(self):
        return json.loads(self.good('list', '--json'))['objects']

    def damage(self):
        """A byte of the one body."""
        body, = (p for p in (self.cache / 'objects').rglob('*') if p.is_file())
        with open(body, 'r+b') as f:
            f.seek(3000)
            old = f.read(1)
            f.seek(3000)
            f.write(bytes([old[0] ^ 1]))

    def every_command(self):
        """With the object of the one download in the cache; leaves an imported one of another name."""
        out = self.bench.path('out.mender')
        object, = self.objects()
        check(object['name'] == 'release-2' and object['device_types'] == ['qemux86-64'] and len(object['head']) == 64 and
              object['size'] == len(self.artifact) and not object['pinned'], f'list --json: {object}')
        check(re.search(rf'^NAME +SIZE +STORED +USED +PINNED +KEY\nrelease-2 .* {object["key"][:8]}\n$', self.good('list')), self.good('list'))
        check(self.good('pin', 'release-2').startswith('pinned release-2 ('), 'pin')
        check(self.objects()[0]['pinned'], 'it is not pinned')
        check(' yes ' in self.good('list'), 'the table does not say that it is pinned')
        check(json.loads(self.good('unpin', object['key'][:3].upper(), '--json'))['objects'][0]['key'] == object['key'], 'unpin')
        check(not self.objects()[0]['pinned'], 'it is still pinned')
        check(self.good('verify').endswith('1 good, 0 damaged\n'), 'verify')
        check(self.good('verify', 'release-2').startswith('good     release-2 ('), 'verify of one')

        check(self.good('export', 'release-2', out).startswith('exported release-2 ('), 'export')
        check(out.read_bytes() == self.artifact, 'what was exported is something else')
        check(stat.S_IMODE(out.stat().st_mode) == 0o666 & ~umask(), 'the mode of what was exported')
        self.good('export', object['key'], out)  # over it
        check([p.name for p in out.parent.glob('out.mender*')] == ['out.mender'], 'something is left beside it')
        status, through_pipe, errors = self.run('export', 'release-2', '-')
        check((status, errors) == (0, '') and through_pipe == self.artifact, f'through a pipe: {status} {errors} {len(through_pipe)} bytes')
        with open(self.bench.path('redirected'), 'w+b') as f:
            command, how = self.command('export', 'release-2', '-')
            check(subprocess.run(command, stdout=f, timeout=60, **how).returncode == 0, 'into a file that is standard output')
            f.seek(0)
            check(f.read() == self.artifact, 'into a file that is standard output: something else')
        self.good('export', 'release-2', '/dev/null')
        self.refused(2, 'No such file', 'export', 'release-2', self.bench.path('x').parent / 'missing' / 'out')
        self.refused(2, 'Is a directory', 'export', 'release-2', self.bench.dir)

        self.refused(2, '"release-9"', 'pin', 'release-9')
        self.refused(2, '"release-9"', 'export', 'release-9', out)
        check(out.read_bytes() == self.artifact, 'a failed export changed the file')
        check(json.loads(self.run('pin', 'release-9', '--json')[1])['status'] == 2, 'pin --json of what is not there')

        other, bad = self.bench.path('other.mender'), self.bench.path('bad.mender')
        other.write_bytes(verify.artifact(b'another payload', 'xz'))
        bad.write_bytes(self.artifact[:-len(self.artifact) // 3])
        check(self.good('import', other).startswith('imported and pinned release-2 ('), 'import')
        check(' is in the cache already\n' in self.good('import', other), 'a second import')
        self.refused(1, f'{bad}: not imported: data/0000/blob.bin: ', 'import', bad)
        self.refused(2, 'No such file', 'import', self.bench.path('missing.mender'))
        self.refused(2, 'only a plain file', 'import', self.bench.dir)
        status, text, errors = self.run('import', bad, other, '--json')
        answers = [json.loads(line) for line in text.splitlines()]
        check(status == 1 and answers[0]['status'] == 1 and answers[1]['already'], f'import of two: {status} {text} {errors}')
        self.refused(2, 'may be any of 2 objects', 'remove', 'release-2')
        imported, = (o for o in self.objects() if 'imported_at' in o)
        check(imported['pinned'] and imported['size'] == other.stat().st_size, f'imported: {imported}')
        stats = json.loads(self.good('stats', '--json'))
        check((stats['objects'], stats['pinned'], stats['imported'], stats['parts']) == (2, 1, 1, 0), f'stats: {stats}')
        check(stats['bytes'] == object['size'] + imported['size'] and stats['path'] == str(self.cache), f'stats: {stats}')
        check(self.good('stats').startswith(f'directory     {self.cache}\n'), 'stats')

        check(self.good('remove', object['key']).startswith('removed release-2 ('), 'remove')
        self.good('export', 'release-2', out)
        check(out.read_bytes() == other.read_bytes(), 'what was imported is exported as something else')
        self.damage()
        status, text, errors = self.run('verify')
        check(status == 1 and text.endswith(b'0 good, 1 damaged\n') and text.startswith(b'damaged  release-2 ('), f'verify of a damaged one: {status} {text} {errors}')
        check(self.good('list') == 'the cache is empty\n', 'what was damaged is still there')
        self.good('import', other)
        return stats


def umask():
    now = os.umask(0)
    os.umask(now)
    return now


def test_every_command_of_a_running_gateway(bench):
    site = Site(bench)
    gateway = site.start()
    mode = site.socket.stat().st_mode
    check(stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600, f'the socket: {oct(mode)}')
    site.download()
    site.download()
    stats = site.every_command()
    check((stats['misses'], stats['hits'], stats['upstream_bytes']) == (1, 1, len(site.artifact)), f'downloads: {stats}')
    site.download()  # it was removed
    check(len(site.objects()) == 2, 'not two objects')
    check(gateway.stop() == 0 and not site.socket.exists(), 'the socket is still there after SIGTERM')
    for line in ('"command pin release-2: done"', ' level=info msg="command import ', 'not imported: ', '"command verify: damage found"'):
        check(line in gateway.log, f'the log has no {line}')
    check('command list' not in gateway.log, 'the log tells of a list')
    check(len(site.objects()) == 2, 'not two objects without the gateway')


def test_every_command_without_a_gateway(bench):
    site = Site(bench)
    gateway = site.start()
    site.download()
    check(gateway.stop() == 0, 'the gateway did not stop in order')
    stats = site.every_command()
    check('hits' not in stats, f'downloads of no gateway: {stats}')
    check((site.cache / 'clean').exists(), 'the cache was not left in order')
    site.start()
    imported, = site.objects()
    check(imported['pinned'], 'the import is not pinned under the gateway')


def test_usage_and_a_cache_that_is_not_there(bench):
    site = Site(bench)
    for args in ([], ['nonsense'], ['list', 'x'], ['pin'], ['export', 'a'], ['import'], ['list', '--wrong']):
        status, out, errors = site.run(*args)
        check(status == 2 and not out and errors, f'{args}: {status} {out} {errors}')
    for args in (['--help'], ['import', '--help']):
        status, out, _ = site.run(*args)
        check(status == 0 and b'Exit status 0: done; 1: ' in out, f'{args}: {status} {out}')
    site.refused(2, 'there is no cache at ', 'list', environment={'ARTIFACTS_PROXY_CACHE_PATH': str(bench.dir / 'none')})
    check(not (bench.dir / 'none').exists(), 'a mistyped path was made')
    config = bench.path('gateway.conf')
    config.write_text(json.dumps({'Features': {'ArtifactsProxy': {'ArtifactsCache': {'Path': str(bench.dir / 'none')}}}}))
    site.refused(2, f'there is no cache at {bench.dir}/none', 'list', '--config', config, environment={'ARTIFACTS_PROXY_CACHE_PATH': ''})
    long_path = '/' + 'x' * 120
    site.refused(2, 'STATE_DIRECTORY', 'list', environment={'STATE_DIRECTORY': long_path})
    done = subprocess.run([BIN / 'mgw-gateway'], env={**os.environ, **site.environment, 'STATE_DIRECTORY': str(bench.path('state', 'y' * 120))},
                          capture_output=True, text=True, timeout=60)
    check(done.returncode == 2 and 'at most 107' in done.stderr, f'a gateway with such a path: {done.returncode} {done.stderr}')


def test_a_cache_that_is_in_use_without_a_socket(bench):
    site = Site(bench)
    gateway = site.start()
    site.refused(2, f'is in use by process {gateway.child.pid}, and no gateway answers at ', 'list',
                 environment={'STATE_DIRECTORY': str(bench.path('elsewhere'))})
    site.refused(2, f'has its cache in {site.cache}, not in ', 'list', environment={'ARTIFACTS_PROXY_CACHE_PATH': str(bench.dir)})


def test_what_a_killed_gateway_left(bench):
    site = Site(bench)
    gateway = site.start()
    site.download()
    gateway.child.kill()
    gateway.child.wait()
    check(site.socket.exists(), 'there is nothing to replace')
    check(len(site.objects()) == 1 and site.socket.exists(), 'not done without the gateway')
    second = site.start()
    check(len(site.objects()) == 1 and 'misses' in json.loads(site.good('stats', '--json')), 'the new gateway does not answer')
    check(second.stop() == 0 and not site.socket.exists(), 'the socket is still there after SIGTERM')


def test_other_users_are_refused(bench):
    if os.geteuid() != 0 or not shutil.which('setpriv'):
        return  # nobody can be somebody else
    site = Site(bench)
    site.start()
    for directory in (bench.dir, site.socket.parent):
        directory.chmod(0o755)
    program = bench.path('mgw-gateway')
    shutil.copy(BIN / 'mgw-gateway', program)  # the other user may not reach the build
    other = ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', program, 'cache', 'list']

    def as_other():
        done = subprocess.run(other, env={**os.environ, **site.environment}, capture_output=True, text=True, timeout=60)
        check(done.returncode == 2 and not done.stdout and done.stderr.count('\n') == 1, f'another user: {done}')
        return done.stderr
    check('Permission denied; it takes commands from its own user and from root' in as_other(), f'the socket: {as_other()}')
    site.socket.chmod(0o666)
    check('only user 0 and root may give commands' in as_other(), f'the gateway: {as_other()}')
    site.good('list')


def test_root_takes_the_part_of_the_caches_owner(bench):
    if os.geteuid() != 0 or not shutil.which('setpriv'):
        return
    site = Site(bench)
    other = bench.path('other.mender')
    other.write_bytes(site.artifact)
    other.chmod(0o600)  # the owner of the cache may not read it
    for directory in (site.cache, site.socket.parent):
        os.chown(directory, NOBODY, NOBODY)
    bench.dir.chmod(0o755)
    site.good('import', other)
    owners = {p.stat().st_uid for p in site.cache.rglob('*')}
    check(owners == {NOBODY}, f'files of {owners}')
    out = bench.path('root-only', 'out.mender')
    out.parent.chmod(0o700)
    site.good('export', 'release-2', out)
    check(out.read_bytes() == site.artifact and out.stat().st_uid == 0, 'export')

    program = bench.path('bin', 'mgw-gateway')
    shutil.copy(BIN / 'mgw-gateway', program)
    for path in (bench.pki.ca, bench.pki.cert, bench.pki.key):
        path.chmod(0o644)
    bench.pki.ca.parent.chmod(0o755)
    bench.start('gateway', ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', program], site.environment,
                ready=r'mgw-gateway listening on')
    check(site.socket.stat().st_uid == NOBODY, 'the socket is not its user\'s')
    site.good('remove', 'release-2')
    site.good('import', other)
    site.good('export', 'release-2', out)
    check(out.read_bytes() == site.artifact, 'export by another user\'s gateway')


def test_while_downloads_run(bench):
    site = Site(bench)
    site.start()
    go, begun = threading.Event(), threading.Event()

    def half(handler, start):
        site.origin.head(handler, start or None, site.origin.size, site.origin.size)
        site.origin.send(handler, start, site.origin.size // 2)
        begun.set()
        go.wait(60)
        site.origin.send(handler, max(start, site.origin.size // 2), site.origin.size)
    site.origin.artifact_answer = half
    with concurrent.futures.ThreadPoolExecutor(4) as beside:
        target = link(bench.pki, site.gateway.port)
        download = beside.submit(request, bench.pki, site.gateway.port, 'GET', target, timeout=60)
        check(begun.wait(30), 'the download did not begin')
        files = []
        for number in range(3):
            files.append(bench.path(f'{number}.mender'))
            files[-1].write_bytes(verify.artifact(os.urandom(500_000) if number < 2 else b'x', ''))
        imports = [beside.submit(site.run, 'import', f) for f in (files[0], files[1], files[2])]
        for done in imports:
            check(done.result()[0] == 0, f'import while a download runs: {done.result()}')
        check(json.loads(site.good('stats', '--json'))['parts'] == 1, 'the download has no part')
        go.set()
        check(download.result().body == site.artifact, 'the download got something else')
    until(lambda: len(site.objects()) == 4, 20, 'the download to be stored')

    # One that is read can be removed; its reader goes on.
    site.origin.artifact_answer = None
    key, = (o['key'] for o in site.objects() if 'imported_at' not in o)
    with Connection(bench.pki, site.gateway.port, 60) as reader:
        reader.send('GET', target)
        head = reader.read_head()
        check(head.status == 200, f'a hit: {head.status}')
        site.good('remove', key)
        body = b''
        while len(body) < len(site.artifact):
            piece = reader.recv()
            check(piece, 'the download of a removed object was cut')
            body += piece
        check(body == site.artifact, 'the download of a removed object got something else')


def test_a_command_that_is_killed(bench):
    site = Site(bench, payload=os.urandom(3_000_000))
    site.start()
    site.download()
    command, how = site.command('export', 'release-2', '-')
    child = subprocess.Popen(command, stdout=subprocess.PIPE, **how)  # nobody reads
    try:
        until(lambda: site.objects()[0]['in_use'], 20, 'the export to begin')
        child.kill()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    until(lambda: not site.objects()[0]['in_use'], 20, 'the export to be over')

    # Without a gateway, Ctrl-C ends it in order.
    check(site.gateway.stop() == 0, 'the gateway did not stop')
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
    with contextlib.closing(child.stdout), contextlib.closing(child.stderr):
        until(lambda: not (site.cache / 'clean').exists(), 20, 'the export to begin')
        check(child.stdout.read(1000), 'nothing is exported')
        child.send_signal(signal.SIGINT)
        check(child.wait(20) == 2, f'its status: {child.returncode}')
        check(b'standard output' in child.stderr.read(), 'it does not say why')
    check((site.cache / 'clean').exists(), 'the cache was not left in order')


def test_each_answers_with_a_line_of_json(bench):
    site = Site(bench)
    site.start()
    site.download()
    out = bench.path('out.mender')
    of_object = {'key', 'name', 'device_types', 'size', 'sha256', 'stored_at', 'used_at', 'pinned', 'in_use', 'head'}
    of_stats = {'path', 'bytes', 'objects', 'pinned', 'pinned_bytes', 'imported', 'in_use', 'parts', 'part_bytes', 'max_size', 'min_free'}
    of_downloads = {'hits', 'joined', 'misses', 'bypassed', 'upstream_bytes', 'again_bytes'}

    def answer(members, *args, status=0):
        """Of a command, on its one line; these members beside the two of all."""
        got, text, errors = site.run(*args, '--json')
        check(text.count(b'\n') == 1 and text.endswith(b'\n') and (status == 1 or bool(errors) == (status == 2)), f'{args}: {got} {text} {errors}')
        line = json.loads(text)
        check(got == line['status'] == status and line['mgw'] == 1 and line.keys() == {'mgw', 'status', *members}, f'{args}: {got} {line}')
        return line

    def described(one, pinned=False, more=()):
        check(one.keys() - {'imported_at'} == of_object | set(more), f'an object: {one}')
        check((one['name'], one['device_types'], one['size'], one['pinned'], one['in_use']) ==
              ('release-2', ['qemux86-64'], len(site.artifact), pinned, False), f'an object: {one}')
        check(one['sha256'] == hashlib.sha256(site.artifact).hexdigest() and re.fullmatch('[0-9a-f]{64}', one['key']), f'an object: {one}')
        check(0 < one['stored_at'] <= time.time() and 0 < one['used_at'] <= time.time() + 60, f'an object: {one}')

    for running in (True, False):
        described(answer(['objects'], 'list')['objects'][0])
        described(answer(['objects'], 'pin', 'release-2')['objects'][0], pinned=True)
        stats = answer(of_stats | (of_downloads if running else set()), 'stats')
        check((stats['objects'], stats['pinned'], stats['bytes'], stats['pinned_bytes']) == (1, 1, *[len(site.artifact)] * 2), f'{stats}')
        described(answer(['objects'], 'unpin', 'release-2')['objects'][0])
        exported = answer(of_object, 'export', 'release-2', out)
        described({k: v for k, v in exported.items() if k in of_object})
        check(out.read_bytes() == site.artifact, 'what was exported is something else')
        check(site.run('export', 'release-2', '-', '--json') == (0, site.artifact, ''), 'JSON among the bytes')
        verified = answer(['damaged', 'objects'], 'verify')
        check(verified['damaged'] == 0 and verified['objects'][0]['good'] is True, f'{verified}')
        described(verified['objects'][0], more=['good'])
        for args in (['verify', 'none'], ['export', 'none', out], ['remove', 'none'], ['pin', 'none'], ['unpin', 'none']):
            check('"none"' in answer(['error'], *args, status=2)['error'], f'{args}: another error')
        if running:
            check(site.gateway.stop() == 0, 'the gateway did not stop')
    described(answer(['objects'], 'remove', 'release-2')['objects'][0])
    check(answer(['objects'], 'list')['objects'] == [] == answer(['damaged', 'objects'], 'verify')['objects'], 'it is still there')
    out.write_bytes(site.artifact)
    imported = answer(['key', 'name', 'sha256', 'size'], 'import', out)
    check(len(imported['key']) == 64 and imported['sha256'] == hashlib.sha256(site.artifact).hexdigest(), f'{imported}')
    site.damage()
    damaged = answer(['damaged', 'objects'], 'verify', status=1)
    check(damaged['damaged'] == 1 and damaged['objects'][0]['good'] is False, f'{damaged}')
    check(answer(['objects'], 'list')['objects'] == [], 'the damaged one is still there')


def test_progress_goes_to_a_terminal(bench):
    site = Site(bench)
    file = bench.path('a.mender')
    file.write_bytes(site.artifact)

    def on_terminal(*args):
        """(standard output, what the terminal got) of a command whose output is read slowly"""
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 60, 0, 0))
        command, how = site.command(*args)
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its, **how)
        os.close(its)
        out = text = b''
        with contextlib.closing(child.stdout):
            while data := child.stdout.read(100_000):
                out += data
                with contextlib.suppress(OSError):
                    if select.select([ours], [], [], 0.1)[0]:
                        text += os.read(ours, 65536)
        with contextlib.suppress(OSError):  # the command has closed it
            while data := os.read(ours, 65536):
                text += data
        os.close(ours)
        check(child.wait(60) == 0, f'{args}: {child.returncode}')
        return out, text.decode()
    for running in (False, True):
        if running:
            site.start()
            site.good('remove', 'release-2')
        copy = bench.path('copy.mender')
        for args, said in ((('import', file), b'imported and pinned release-2'), (('verify',), b'good     release-2 ('), (('verify', '--json'), b'{'),
                           (('export', 'release-2', copy), b'exported release-2 ('), (('export', 'release-2', '-'), site.artifact)):
            out, progress = on_terminal(*args)
            check(out.startswith(said), f'standard output of {args}: {out[:300]}')
            check(re.match(rf'\r{args[0]} .*  \[[#.]+\] +0 %  0 B of ', progress), f'the terminal of {args}, {running}: {progress[:300]!r}')
            check(progress.endswith('\r\x1b[K'), 'the line stays')
            check(max(len(line) for line in re.split(r'\r|\x1b\[K', progress)) < 60, 'a line is too long')
        check(re.search(r'\rexport .*  \[#+\.+\] +[1-9]\d? %  ', progress), f'it does not get on: {progress!r}')
        check(copy.read_bytes() == site.artifact, 'what was exported is something else')
    out, progress = on_terminal('list')
    check(not progress and out.count(b'\n') == 2, f'list: {out} {progress}')
