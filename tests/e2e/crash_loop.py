"""`tests/crash_loop.sh [N [SEED]]`: the gateway killed N times while clients download through it.

After each kill the cache directory is read as the kill left it: which objects are complete, and which bytes of parts a
checkpoint covers (the last valid record of each journal, read here by docs/cache-format.md and not by mgw). The gateway
starts again on that directory, and the clients go on where they were cut, with a range. Now and then an object is
replaced upstream by one of the same length. A fault is:

- a byte, a length, a range or a status (but 200 and 206) that a client should not have got; bytes of two generations;
- a request upstream that begins before the last checkpoint of a part, or for an object that was complete, at a kill;
- a start that fails; a line of the log that says that something in the directory was damaged, or an error;
- at the end: a part, a temporary file, a body without metadata or the reverse, a body that has not its name's digest.
"""
import hashlib
import json
import mmap
import os
import pathlib
import random
import re
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
import support  # noqa: E402
from support import Blob, Connection, Failure, check, link, until  # noqa: E402
from verify import artifact  # noqa: E402

CLIENTS = 4
RATE = 3 << 20  # bytes a second of each transfer upstream


def etag(which):
    return '"v{}.{}"'.format(*which)


class Objects(support.Origin):
    """Any number of artifacts at PATH/NUMBER, sent slowly; a poll as `Bearer NUMBER` gets the link of that one. What is
    replaced has the same length. An object is (number, generation)."""

    def __init__(self, directory, faults):
        super().__init__(b'')
        self.directory, self.faults, self.lock, self.all, self.current = directory, faults, threading.Lock(), {}, {}
        self.sent, self.again = {}, 0        # how far each object was sent at most; bytes sent once more
        self.covered, self.requested = {}, 0  # bytes of each object that must not be asked for again
        self.finished = threading.Event()     # an object's last byte has just been sent

    def latest(self, number):
        with self.lock:
            return number, self.current.get(number, 0)

    def far_sent(self, number):
        """Of any generation: once one is complete in the cache, a newer one is never asked for."""
        with self.lock:
            return any(n == number and size > 1 << 19 for (n, _), size in self.sent.items())

    def replace(self, number):
        with self.lock:
            self.current[number] = self.current.get(number, 0) + 1

    def object(self, which):
        with self.lock:
            if which not in self.all:
                number, path = which[0], self.directory / str(which)
                path.write_bytes(artifact(Blob((2 << 20) + number * 7919 * 131 % (8 << 20), 1 << 16)[:], ''))
                with path.open('rb') as file:
                    self.all[which] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return self.all[which]

    def serve_api(self, handler):
        number = handler.headers['Authorization'].split()[-1]
        self.reply(handler, 200, json.dumps({
            'id': f'w81s4fae-7dec-11d0-a765-{int(number):012d}',
            'artifact': {'artifact_name': f'release-{number}', 'device_types_compatible': [support.DEVICE_TYPE],
                         'source': {'uri': f'{self.url}{self.PATH}/{number}?{self.query}',
                                    'expire': '2036-03-11T13:03:17.063493443Z'}}}).encode())

    def serve_artifact(self, handler):
        which = self.latest(int(re.match(re.escape(self.PATH) + r'/(\d+)', handler.path)[1]))
        blob = self.object(which)
        wanted = re.fullmatch(r'bytes=(\d+)-', handler.headers.get('Range', ''))
        at = int(wanted[1]) if wanted else 0
        if handler.headers.get('If-Match', etag(which)) != etag(which):
            return self.reply(handler, 412, b'')
        with self.lock:
            self.requested += 1
            if at < self.covered.get(which, 0):
                self.faults.append(f'object {which} is asked for from byte {at}, {self.covered[which]} were safe')
        handler.send_response(206 if wanted else 200)
        handler.send_header('ETag', etag(which))
        if wanted:
            handler.send_header('Content-Range', f'bytes {at}-{len(blob) - 1}/{len(blob)}')
        handler.send_header('Content-Length', str(len(blob) - at))
        handler.end_headers()
        began, first = time.monotonic(), at
        while at < len(blob):
            data = blob[at:at + (1 << 15)]
            handler.wfile.write(data)
            with self.lock:
                known = self.sent.get(which, 0)
                self.again += max(0, min(known, at + len(data)) - at)
                self.sent[which] = max(known, at + len(data))
            at += len(data)
            time.sleep(max(0, began + (at - first) / RATE - time.monotonic()))  # this is the rate
        self.finished.set()


# ---- the directory, read by its documentation ------------------------------------------------------------------------

def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def metadata(text):
    return dict(line.split(' ', 1) for line in text.decode().splitlines())


def journal(path):
    """(metadata, bytes that the last valid checkpoint covers)"""
    data = path.read_bytes()
    head = re.match(rb'mgw-part 1\n(\d+)\n', data)
    if not head:
        return None, 0
    end = head.end() + int(head[1])
    about, covered, seed = metadata(data[head.end():end]), 0, crc32c(data[:end])
    for at in range(end, len(data) - 47, 48):
        record = data[at:at + 48]
        size, = struct.unpack_from('<Q', record, 4)
        if record[:4] != b'CKPT' or size <= covered or crc32c(record[:44], seed) != struct.unpack('<I', record[44:])[0]:
            break
        covered = size
    return about, covered


def object_of(tag):
    """Which object this is, by the tag it was sent with."""
    return tuple(int(n) for n in re.fullmatch(r'"v(\d+)\.(\d+)"', tag).groups())


def what_is_safe(cache):
    """{object: bytes that need not be fetched again}, and how many of them are complete."""
    safe, complete = {}, 0
    for path in cache.glob('parts/*.journal'):
        about, covered = journal(path)
        if covered:
            safe[object_of(about['etag'])] = covered
    for path in cache.glob('meta/??/*'):
        if path.suffix == '.tmp':
            continue
        about = metadata(path.read_bytes())
        safe[object_of(about['etag'])] = int(about['length'])
        complete += 1
    return safe, complete


def leftovers(cache):
    """What is wrong with a directory whose downloads are all over."""
    wrong = [f'left: {path}' for path in cache.glob('parts/*')]
    named = set()
    for path in cache.glob('meta/??/*'):
        about = metadata(path.read_bytes())
        if path.name != about.get('key'):
            wrong.append(f'left: {path}')
        named.add(about['sha256'])
    found = list(cache.glob('objects/??/*'))
    wrong += [f'no body: {name}' for name in named - {path.name for path in found}]
    for path in found:
        if path.name not in named:
            wrong.append(f'no metadata: {path}')
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            wrong.append(f'other bytes: {path}')
    return wrong


# ---- clients ---------------------------------------------------------------------------------------------------------

class Clients:
    """Threads that download one object after the other; cut, they go on with a range at the gateway's new port."""

    def __init__(self, bench, origin, faults, seed):
        self.bench, self.origin, self.faults = bench, origin, faults
        self.port, self.ending = None, False
        self.newest, self.done, self.cuts, self.begun_anew = 0, 0, 0, 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(random.Random(f'{seed} {n}'),), daemon=True)
                        for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, dice):
        try:
            while not self.ending:
                with self.lock:
                    if self.origin.far_sent(self.newest):  # so two or three are fetched at a time
                        self.newest += 1
                    number = self.newest if dice.random() < 0.7 else dice.randint(0, self.newest)
                    if number == self.newest and dice.random() < 0.3:
                        self.origin.replace(max(0, self.newest - dice.randint(0, 1)))
                self.download(number)
        except Exception as e:  # noqa: B902
            self.faults.append(f'a client: {type(e).__name__}: {e}')

    def download(self, number):
        which, blob, target, got, closed = None, None, None, 0, 0
        while blob is None or got < len(blob):
            port = self.port
            if port is None:  # the gateway is down
                time.sleep(0.02)
                continue
            if closed > 3 and which != self.origin.latest(number):  # what was begun is nowhere any more
                which, blob, target, got, closed = None, None, None, 0, 0
                with self.lock:
                    self.begun_anew += 1
            try:
                if target is None:
                    target = self.poll(port, number)
                with Connection(self.bench.pki, port, timeout=60) as connection:
                    connection.send('GET', target, {'Range': f'bytes={got}-'} if got else {})
                    answer = connection.read_head()
                    closed = 0 if answer.status else closed + 1
                    if answer.status:
                        check(answer.status == (206 if got else 200), f'{which or number} from {got}: status {answer.status}')
                        found = object_of(answer.headers['etag'])
                        check(found[0] == number and (got == 0 or found == which), f'{which} goes on as {found}')
                        which, blob = found, self.origin.object(found)
                        got = self.read(connection, answer, which, blob, got)
            except OSError:
                pass
            if blob is None or got < len(blob):
                with self.lock:
                    self.cuts += 1
        with self.lock:
            self.done += 1

    def poll(self, port, number):
        answer = support.request(self.bench.pki, port, 'POST', support.POLL,
                                 {'Authorization': f'Bearer {number}', 'Content-Type': 'application/json'}, b'{}')
        if answer.status is None or (answer.status == 200 and not answer.whole):
            raise OSError
        check(answer.status == 200, f'a poll was answered {answer.status}')
        return '/' + answer.json()['artifact']['source']['uri'].split('/', 3)[3]

    def read(self, connection, answer, which, blob, got):
        check(int(answer.headers['content-length']) == len(blob) - got, f'{which} from {got}: {answer.headers}')
        if got:
            check(answer.headers['content-range'] == f'bytes {got}-{len(blob) - 1}/{len(blob)}', f'{answer.headers}')
        while got < len(blob):
            data = connection.recv()
            if not data:
                break
            check(data == blob[got:got + len(data)], f'{which}: other bytes at {got}')
            got += len(data)
        return got


# ---- the loop --------------------------------------------------------------------------------------------------------

def start(bench, origin, wait=True):
    settings = support.gateway_environment(bench, origin.url, LOG_LEVEL='info')
    ready = r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n' if wait else None
    return bench.start('gateway', [support.BIN / 'mgw-gateway'], settings, ready)


def complaints(gateway):
    """What a gateway logged that nothing here should have caused."""
    words = ('damaged', 'dropped', 'unexpected name', 'level=error')
    lines = (line for line in gateway.log.splitlines() if 'was replaced upstream' not in line)
    return [f'logged: {line}' for line in lines if any(w in line for w in words)]


def moment(origin, dice):
    """Waits for the moment of a kill, at most some seconds."""
    if dice.random() < 0.3:  # around the end of a download: its commit
        origin.finished.clear()
        origin.finished.wait(3)
        time.sleep(dice.random() * 0.03)
    else:
        time.sleep(dice.random() * 2.5)


def loop(bench, kills, seed, faults):
    dice, cache, _ = random.Random(seed), bench.path('cache'), bench.pki
    bench.path('artifacts').mkdir()
    origin = bench.enter(Objects(bench.path('artifacts'), faults))
    clients, with_part, covered, starts, slowest = Clients(bench, origin, faults, seed), 0, 0, 0, 0.0
    for _ in range(min(kills, 10)):  # the first start of all, which makes the directories
        gateway = start(bench, origin, wait=False)
        time.sleep(dice.random() * 0.1)
        gateway.child.kill()
        gateway.child.wait()
        starts += 1
    gateway = start(bench, origin)
    for number in range(kills):
        clients.port = int(gateway.match[1])
        moment(origin, dice)
        clients.port = None
        gateway.child.kill()
        gateway.child.wait()
        while dice.random() < 0.2:  # and once more, while it starts
            gateway = start(bench, origin, wait=False)
            time.sleep(dice.random() * 0.1)
            gateway.child.kill()
            gateway.child.wait()
            starts += 1
        safe, complete = what_is_safe(cache)
        with origin.lock:
            for which, size in origin.covered.items():
                if safe.get(which, 0) < size and which[1] == origin.current.get(which[0], 0):
                    faults.append(f'kill {number}: object {which} had {size} bytes safe before, {safe.get(which, 0)} now')
            origin.covered = safe
            parts = len(safe) - complete
            with_part += parts > 0
            covered += sum(size for which, size in safe.items() if size < len(origin.all[which]))
        faults += complaints(gateway)
        if faults:
            clients.ending = True
            return
        began = time.monotonic()
        gateway = start(bench, origin)
        slowest = max(slowest, time.monotonic() - began)
        if sys.stderr.isatty():
            print(f'\r{number + 1} kills, {clients.done} downloads', end='', file=sys.stderr, flush=True)
    clients.port, clients.ending = int(gateway.match[1]), True
    for thread in clients.threads:
        thread.join(60)
        if thread.is_alive():
            faults.append('a client did not end')
    for number in sorted({number for number, _ in origin.sent}):  # once more: some were complete at their clients before they were stored
        clients.download(number)
    if not faults:
        until(lambda: not list(cache.glob('parts/*')), 30, 'the last fills to end')
        check(gateway.stop() == 0, 'the exit status')
        faults += complaints(gateway) + leftovers(cache)
    check(clients.done > 0 and (kills < 20 or with_part > 0), 'nothing was tried')
    print(f'crash loop: seed {seed}, {kills} kills and {starts} during a start, {with_part} with a part on disk '
          f'({covered} bytes covered by checkpoints); {clients.done} downloads of {len(origin.sent)} objects, cut '
          f'{clients.cuts} times, begun anew {clients.begun_anew} times after {sum(origin.current.values())} replacements; upstream sent {sum(origin.sent.values())} bytes in {origin.requested} requests, '
          f'{origin.again} bytes again, none of them covered by a checkpoint; slowest start {slowest:.2f} s')


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    faults, bench = [], support.Bench('crash-loop')
    try:
        with bench:
            loop(bench, kills, seed, faults)
    except Failure as e:
        faults.append(str(e))
    for fault in faults[:10]:
        print(f'fault (seed {seed}): {fault}')
    if faults:
        print('\n'.join(bench.tails[-2:]))
    print(f'faults: {len(faults)}')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
