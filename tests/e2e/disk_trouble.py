"""A disk in trouble under the running gateway: too small, filled by somebody else, removed, read-only, hung.

Whatever it is, every client gets its bytes, the log says it, and the cache works again by itself when the disk does. The disk is a small tmpfs, mounted in the mount namespace of the tests; the one that hangs is a file with ext4 on it, frozen.
"""
import concurrent.futures
import json
import pathlib
import re
import shutil
import signal
import subprocess
import threading

import support
from support import Blob, check, request, start_gateway, until
from verify import artifact

NEEDS_CLIENT = True  # that is: root, and a mount namespace of its own
MIB = 1 << 20
TROUBLE = ('level=warning', 'level=error')


class Disk:
    """A tmpfs of `size` bytes at the bench's `disk`, with the gateway's cache on it."""

    def __init__(self, bench, size):
        self.path, self.mounts = bench.path('disk', 'cache').parent, 1
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', self.path], check=True, capture_output=True)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        for _ in range(self.mounts):
            subprocess.run(['umount', '-l', self.path], check=True, capture_output=True)

    def read_only(self):
        """For all names looked up from now on. (The file system itself cannot be, while a file is open for writing.)"""
        subprocess.run(['mount', '--bind', self.path, self.path], check=True)
        self.mounts += 1
        subprocess.run(['mount', '-o', 'remount,ro,bind', self.path], check=True)

    def writable(self):
        subprocess.run(['mount', '-o', 'remount,rw,bind', self.path], check=True)

    def fill(self):
        """Somebody else takes all that is left."""
        with open(self.path / 'other', 'wb', buffering=0) as f:
            try:
                while True:
                    f.write(b'x' * 65536)
            except OSError:
                pass

    def give_back(self):
        (self.path / 'other').unlink()


class FreezingDisk:
    """The same, on a block device of its own: frozen, whatever changes anything on it hangs until it is thawed."""

    def __init__(self, bench, size):
        self.path, self.image = bench.path('disk', 'cache').parent, bench.path('disk.img')
        self.device, self.mounted, self.frozen = None, False, False
        with open(self.image, 'wb') as f:
            f.truncate(size)

    def __enter__(self):
        try:
            self.run('mkfs.ext4', '-q', self.image)
            self.device = self.run('losetup', '-f', '--show', self.image)
            self.run('mount', self.device, self.path)
            self.mounted = True
            self.freeze()
            self.thaw()
        except (OSError, subprocess.CalledProcessError) as e:
            self.__exit__()
            raise support.Skip(f'no file system to freeze: {getattr(e, "stderr", "") or e}'.strip()) from e
        return self

    def __exit__(self, *failure):
        self.thaw()
        if self.mounted:
            self.run('umount', '-l', self.path)
        if self.device:
            self.run('losetup', '-d', self.device)  # when the last file on it is closed

    @staticmethod
    def run(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def freeze(self):
        self.run('fsfreeze', '-f', self.path)
        self.frozen = True

    def thaw(self):
        if self.frozen:
            self.frozen = False
            self.run('fsfreeze', '-u', self.path)


class Objects(support.Origin):
    """Artifacts of about these sizes at PATH/NUMBER; a poll as `Bearer NUMBER` gets the link of that one. `gate`, if set, is passed by each
    transfer at its middle."""

    def __init__(self, sizes):
        super().__init__(b'')
        self.all = {number: artifact(Blob(size - (16 << 10), 1 << 16)[:], '') for number, size in sizes.items()}
        self.gate, self.at_gate = None, threading.Event()

    def serve_api(self, handler):
        number = handler.headers['Authorization'].split()[-1]
        self.reply(handler, 200, json.dumps({'id': 'w81s4fae-7dec-11d0-a765-00a0c91e6bf6', 'artifact': {
            'artifact_name': f'release-{number}', 'device_types_compatible': [support.DEVICE_TYPE],
            'source': {'uri': f'{self.url}{self.PATH}/{number}?{self.query}', 'expire': '2036-03-11T13:03:17Z'}}}).encode())

    def serve_artifact(self, handler):
        number = int(re.match(re.escape(self.PATH) + r'/(\d+)', handler.path)[1])
        blob = self.all[number]
        wanted = re.fullmatch(r'bytes=(\d+)-(\d*)', handler.headers.get('Range', ''))
        at = int(wanted[1]) if wanted else 0
        end = int(wanted[2]) + 1 if wanted and wanted[2] else len(blob)
        handler.send_response(206 if wanted else 200)
        handler.send_header('ETag', f'"v{number}"')
        if wanted:
            handler.send_header('Content-Range', f'bytes {at}-{end - 1}/{len(blob)}')
        handler.send_header('Content-Length', str(end - at))
        handler.end_headers()
        while at < end:
            if self.gate and at >= len(blob) // 2:
                self.at_gate.set()
                self.gate.wait(60)
            data = blob[at:min(end, at + 65536)]
            handler.wfile.write(data)
            at += len(data)

    def count(self, number):
        with self.lock:
            return sum(r[0] == 'GET' and r[1].startswith(f'{self.PATH}/{number}?') for r in self.requests)


class Trial:
    def __init__(self, bench, disk_size, sizes, kind=Disk, **environment):
        self.bench = bench
        self.disk = bench.enter(kind(bench, disk_size))
        self.origin = bench.enter(Objects(sizes))
        self.cache = self.disk.path / 'cache'
        self.environment = {'ARTIFACTS_PROXY_CACHE_PATH': str(self.cache), 'LOG_LEVEL': 'info', **environment}
        self.gateway = self.start()

    def start(self):
        return start_gateway(self.bench, self.origin.url, **self.environment)

    def link(self, number):
        answer = request(self.bench.pki, self.gateway.port, 'POST', support.POLL,
                         {'Authorization': f'Bearer {number}', 'Content-Type': 'application/json'}, b'{}')
        check(answer.status == 200, f'a poll was answered {answer.status}')
        return '/' + answer.json()['artifact']['source']['uri'].split('/', 3)[3]

    def download(self, number, start=0):
        """The object's bytes, as one request gets them."""
        blob, fields = self.origin.all[number], {'Range': f'bytes={start}-'} if start else {}
        answer = request(self.bench.pki, self.gateway.port, 'GET', self.link(number), fields)
        check(answer.status == (206 if start else 200), f'object {number} from {start}: status {answer.status}')
        check(answer.whole and answer.body == blob[start:len(blob)],
              f'object {number} from {start}: {len(answer.body)} of {len(blob) - start} bytes, or other ones')

    def many(self, number, clients=8):
        """As many clients at once, half of them resuming."""
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            starts = [0, len(self.origin.all[number]) // 3] * (clients // 2)
            for done in [pool.submit(self.download, number, start) for start in starts]:
                done.result()

    def downloads_that_begin(self, number, clients=4):
        """Downloads whose transfer upstream is held in the middle: (executor, futures). `release` lets it go on."""
        self.origin.gate = threading.Event()
        self.origin.at_gate.clear()
        pool = self.bench.enter(concurrent.futures.ThreadPoolExecutor(clients))
        futures = [pool.submit(self.download, number) for _ in range(clients)]
        check(self.origin.at_gate.wait(30), 'no transfer came to its middle')
        return futures

    def release(self, futures):
        self.origin.gate.set()
        for f in futures:
            f.result(60)
        self.origin.gate = None

    def is_cached(self, number):
        """Two downloads in a row, of which the second needs nothing from upstream."""
        self.download(number)
        until(lambda: not list(self.cache.glob('parts/*')), 10, 'the fill to end')
        return self.is_served(number)

    def is_served(self, number):
        """A download that needs nothing from upstream."""
        before = self.origin.count(number)
        self.download(number)
        return self.origin.count(number) == before

    def trouble(self):
        return [line for line in self.gateway.log.splitlines() if any(w in line for w in TROUBLE)]

    def said_once(self, what, most=1):
        lines = self.trouble()
        check(lines, f'{what}: nothing of it in the log')
        check(len(lines) <= most, f'{what}: {len(lines)} lines in the log, such as\n' + '\n'.join(lines[:5]))


def test_object_larger_than_the_disk(bench):
    t = Trial(bench, 4 * MIB, {1: 6 * MIB, 2: MIB})
    t.many(1)
    t.many(1)
    check(t.is_cached(2), 'a small object is not cached beside it')
    t.many(1)
    check(t.is_cached(2), 'the small object was given up for one that cannot be stored')
    t.said_once('an object larger than the disk')


def test_disk_filled_in_the_middle(bench):
    t = Trial(bench, 16 * MIB, {1: 6 * MIB, 2: 2 * MIB})
    begun = t.downloads_that_begin(1)
    t.disk.fill()
    t.release(begun)
    t.many(2)
    t.many(1)
    t.disk.give_back()
    check(t.is_cached(1), 'not cached again with the space back')
    check(t.is_cached(2), 'not cached again with the space back')
    t.said_once('a full disk')


def test_directory_removed(bench):
    t = Trial(bench, 32 * MIB, {1: 4 * MIB, 2: 4 * MIB, 3: 2 * MIB})
    check(t.is_cached(3), 'not cached at first')
    begun = t.downloads_that_begin(1)
    gone = t.cache.rename(t.cache.with_name('gone'))  # in one step: the gateway may be making a file there
    shutil.rmtree(gone)
    t.release(begun)
    t.many(2)
    t.many(3)
    check(t.is_cached(1) and t.is_cached(2) and t.is_cached(3), 'not cached again in a new directory')
    t.said_once('a removed directory', 3)  # that it is, that the begun download is not kept, and the same of the ledger


def test_disk_made_read_only(bench):
    t = Trial(bench, 32 * MIB, {1: 4 * MIB, 2: 4 * MIB, 3: 2 * MIB})
    check(t.is_cached(3), 'not cached at first')
    begun = t.downloads_that_begin(1)
    t.disk.read_only()
    t.release(begun)
    t.many(2)
    check(t.is_served(3), 'what is stored is not served any more')
    t.disk.writable()
    check(t.is_cached(1) and t.is_cached(2), 'not cached again when it can be written')
    t.said_once('a disk that cannot be written')


HANGS, IS_BACK = "the cache's disk has not answered", "the cache's disk answers again"


def hanging(bench, sizes, **environment):
    """A trial whose disk can be frozen, and is thawed before the gateway is ended, however the test ends."""
    t = Trial(bench, 64 * MIB, sizes, FreezingDisk, **environment)
    bench.stack.callback(t.disk.thaw)
    return t


def test_disk_hangs(bench):
    t = hanging(bench, {1: 6 * MIB, 2: 2 * MIB, 3: MIB, 4: MIB})
    check(t.is_cached(3), 'not cached at first')
    begun = t.downloads_that_begin(1)
    t.disk.freeze()
    t.release(begun)
    check(HANGS in t.gateway.log, 'begun downloads ended before the disk was given up')
    t.many(2)
    t.many(1)
    check(not t.is_served(3), 'the disk is asked although it hangs')
    check(IS_BACK not in t.gateway.log, 'the disk is back while it is frozen')
    t.disk.thaw()
    until(lambda: IS_BACK in t.gateway.log, 10, 'the disk to be used again')
    check(t.is_served(3), 'what is stored is not served any more')
    check(t.is_cached(1) and t.is_cached(2) and t.is_cached(4), 'not cached again when the disk is back')
    t.said_once('a disk that hangs', 2)  # that it does, and that it is back


def test_end_while_the_disk_hangs(bench):
    t = hanging(bench, {1: 6 * MIB, 2: MIB}, DRAIN_TIMEOUT='1s')
    check(t.is_cached(2), 'not cached at first')
    begun = t.downloads_that_begin(1)
    t.disk.freeze()
    t.release(begun)
    child = t.gateway.child
    child.send_signal(signal.SIGTERM)
    # What waits for the disk is a task of the kernel's that nothing ends: the process is dead, but not gone.
    state = pathlib.Path(f'/proc/{child.pid}/stat')
    until(lambda: state.read_text().rsplit(')')[1].split()[0] == 'Z', 15, 'the gateway to end')
    check("stopped without the cache's disk" in t.gateway.log, 'it does not say what was not flushed')
    t.disk.thaw()
    check(child.wait(10) == 0, f'exit status {child.returncode}')
    t.gateway = t.start()
    check(t.is_served(2), 'what was stored before the hang is not served')
    check(t.is_cached(1), 'not cached after the hang')
