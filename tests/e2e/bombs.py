"""Archive bombs and odd names, from an upstream through the gateway: condemned in bounded memory, told in one line, and others are served."""
import gzip
import hashlib
import io
import lzma
import re
import struct
import sys
import tarfile
import threading
import zlib

from disk_trouble import Objects
from support import BIN, POLL, Connection, check, gateway_environment, request
from verifier_child import SANITIZER
from verify import INFO, artifact, tar

MIB = 1 << 20
KEPT = 64 << 10  # the bytes of an object that nobody gets before the verdict
VERSION = b'{"format":"mender","version":3}'
TYPE = {'headers/0000/type-info': b'{"type":"single-file"}'}
HEADER = {'header-info': INFO, **TYPE}
ZEROS = 131072  # what an RLE block of zstd makes of four bytes

# Runs the program it is given and writes the largest resident size, in KiB, that it or one of its children had (wait4: those it waited for)
# into a file. A small process of its own, since a new program begins with the peak of whoever started it.
MEASURED = '''
import ctypes, os, signal, sys
pid = os.fork()
if pid == 0:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # it ends with this one
    os.execv(sys.argv[2], sys.argv[2:])
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
_, status, used = os.wait4(pid, 0)
open(sys.argv[1], 'w').write(str(used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status) & 255)
'''


# ---- what they are made of -------------------------------------------------------------------------------------------

def entry(name, size=0, kind=b'0', link=''):
    """A header that may claim what it likes."""
    about = tarfile.TarInfo(name)
    about.size, about.type, about.linkname = size, kind, link
    return about.tobuf(tarfile.GNU_FORMAT)


def file(name, content=b''):
    return entry(name, len(content)) + content + b'\0' * (-len(content) % 512)


END = b'\0' * 1024


def sparse(name):
    """A file of a terabyte, of which two bytes are there."""
    records = b''
    for key, value in (('size', '1000000000000'), ('map', '0,1,999999999999,1')):
        text = f' GNU.sparse.{key}={value}\n'
        records += f'{len(text) + 2}{text}'.encode()
    return entry('PaxHeader', len(records), b'x') + records + b'\0' * (-len(records) % 512) + file(name, b'ab')


def gnu_sparse(name):
    """The same of 8 GB, as GNU tar once wrote it."""
    head = bytearray(entry(name, 2, b'S'))
    head[386:434] = b'00000000000\x0000000000001\x0077777777776\x0000000000001\0'
    head[483:495] = b'77777777777\0'
    head[148:156] = b'%06o\0 ' % (sum(head[:148]) + 8 * ord(' ') + sum(head[156:]))
    return bytes(head) + b'ab' + b'\0' * 510


def zstd_of_zeros(first, blocks, window=0x38):
    """A frame of `first` and so many times 128 KiB of zeros."""
    out = [b'\x28\xb5\x2f\xfd\x00', bytes([window])]
    for at in range(0, len(first), ZEROS):
        piece = first[at:at + ZEROS]
        out += (len(piece) << 3).to_bytes(3, 'little'), piece
    out += [(ZEROS << 3 | 1 << 1).to_bytes(3, 'little') + b'\0'] * blocks
    return b''.join(out) + (1).to_bytes(3, 'little')


def xz_that_looks_far_back(data):
    """Its header says that unpacking takes 4 GiB of memory."""
    out = bytearray(lzma.compress(data))
    size = (out[12] + 1) * 4
    check(out[14:16] == b'\x21\x01', 'another filter')
    out[16] = 40
    out[12 + size - 4:12 + size] = struct.pack('<I', zlib.crc32(out[12:12 + size - 4]))
    return bytes(out)


def made(*payloads, header=None, suffix='', listed=('blob.bin',), contents=()):
    """An artifact whose version, manifest and header are in order, whatever the bytes of header and payloads do. `listed` are the names of
    empty files in the first payload, `contents` further lines of the manifest."""
    header = tar(HEADER, suffix) if header is None else header
    suffix = f'.{suffix}' if suffix else ''
    lines = {'version': VERSION, f'header.tar{suffix}': header, **{f'data/0000/{name}': b'' for name in listed}, **dict(contents)}
    manifest = ''.join(f'{hashlib.sha256(content).hexdigest()}  {name}\n' for name, content in lines.items())
    return tar({'version': VERSION, 'manifest': manifest.encode(), f'header.tar{suffix}': header,
                **{f'data/{number:04}.tar{suffix}': payload for number, payload in enumerate(payloads or [tar({'blob.bin': b''}, suffix[1:])])}})


def without_end(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        last = archive.getmembers()[-1]
    return content[:last.offset_data + (last.size + 511) // 512 * 512]


def bombs():
    """(what it is, its bytes, a part of why it is condemned)"""
    tera = 8 << 40
    names = [f'f{n}' for n in range(5000)]
    scripts = [f'scripts/{n}' for n in range(2000)]
    deep_info = b'{"payloads":' + b'[' * 100_000 + b']' * 100_000 + b'}'
    return (
        ('a kilobyte that says it is 8 TB', made(entry('blob.bin', tera)), 'the end is missing'),
        ('an artifact whose first entry says it is 8 TB', entry('version', tera), 'too large'),
        ('a file of a terabyte of holes', made(sparse('blob.bin') + END), 'not a plain file'),
        ('a sparse file of GNU tar', made(gnu_sparse('blob.bin') + END), 'not a plain file'),
        ('12 KiB that unpack to 400 MB', made(zstd_of_zeros(entry('blob.bin', tera), 3100), suffix='zst'), 'unpacks to too much'),
        ('zeros after the end of a payload', made(zstd_of_zeros(file('blob.bin') + END, 3100), suffix='zst'), 'something follows'),
        ('a header of 20 MB', made(header=tar({**HEADER, 'scripts/a': bytes(20 * MIB)}, 'gz'), suffix='gz'), 'unpacks to too much'),
        ('xz that takes 4 GiB', made(xz_that_looks_far_back(tar({'blob.bin': b''})), suffix='xz'), 'needs too much memory'),
        ('zstd that takes 4 GiB', made(zstd_of_zeros(file('blob.bin') + END, 0, 22 << 3 | 7), suffix='zst'), 'needs too much memory'),
        ('a million entries in a payload', made(gzip.compress(file('blob.bin') * 1000) * 1000 + gzip.compress(END), suffix='gz'), 'there twice'),
        ('five thousand files in a payload', made(b''.join(map(file, names)) + END, listed=names), 'too many entries'),
        ('two thousand scripts', made(header=gzip.compress(b''.join(file(name, HEADER.get(name, b'')) for name in (*HEADER, *scripts)) + END), suffix='gz'),
         'too many entries'),
        ('a million entries in an artifact', without_end(made()) + file('a') * 2000 + END, 'does not belong here'),
        ('an artifact in an artifact', made(made()), 'not in the manifest'),
        ('a description nested 100,000 deep', made(header=tar({'header-info': deep_info, **TYPE})), 'description is not understood'),
        ('a name of 5,000 folders', made(tar({'a/' * 5000 + 'b': b''})), 'no name that a file may have'),
        ('a name of a megabyte', made(entry('././@LongLink', MIB, b'L') + b'n' * MIB + file('a') + END), 'headers are too large'),
        ('.. in a payload', made(file('../../blob.bin') + END), 'no name that a file may have'),
        ('.. in the header', made(header=tar({**HEADER, 'scripts/../../etc/passwd': b''})), 'no name that a file may have'),
        ('.. in an artifact', without_end(made()) + file('../data/0001.tar') + END, 'does not belong here'),
        ('a link out of a payload', made(entry('blob.bin', 0, b'2', '/etc/passwd') + END), 'not a plain file'),
        ('a device in a payload', made(entry('blob.bin', 0, b'3') + END), 'not a plain file'),
    )


# ---- what clients see ------------------------------------------------------------------------------------------------

def refused(answer):
    return answer.status == 403 and answer.whole


def spoilt(answer, content):
    """Of a larger one the head may be out before the verdict: it has its length, and zeros for its end."""
    return answer.status == 200 and answer.whole and len(answer.body) == len(content) and answer.body != content and not any(answer.body[-KEPT:])


# ---- through the gateway ---------------------------------------------------------------------------------------------

class Site:
    """A gateway whose memory is measured, and an upstream with these objects under their numbers."""

    def __init__(self, bench, objects, **settings):
        self.bench, self.origin = bench, bench.enter(Objects({}))
        self.origin.all = dict(enumerate(objects))
        self.peak_file = bench.path('peak')
        self.gateway = bench.start('gateway', [sys.executable, '-I', '-S', '-c', MEASURED, self.peak_file, BIN / 'mgw-gateway'],
                                   gateway_environment(bench, self.origin.url, LOG_LEVEL='info', **settings),
                                   ready=r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n')
        self.port = int(self.gateway.match[1])

    def link(self, number):
        answer = request(self.bench.pki, self.port, 'POST', POLL, {'Authorization': f'Bearer {number}', 'Content-Type': 'application/json'}, b'{}')
        check(answer.status == 200, f'a poll was answered {answer.status}')
        return '/' + answer.json()['artifact']['source']['uri'].split('/', 3)[3]

    def get(self, target, headers=None):
        return request(self.bench.pki, self.port, 'GET', target, headers)

    def condemned(self, target):
        """The lines that tell of it: they name the object as its link and `cache list` do."""
        key = re.search(r'/artifacts/([0-9a-f]{12})', target)[1]
        return [line for line in self.gateway.log.splitlines() if f'fill {key}: condemned: ' in line]

    def end(self):
        check(self.gateway.stop() == 0, 'the gateway did not end well')
        peak = int(self.peak_file.read_text()) << 10
        check(SANITIZER or peak < 64 * MIB, f'gateway or verifier took {peak >> 20} MiB')


def test_each_is_condemned_and_the_gateway_goes_on(bench):
    cases = bombs()
    good = artifact(bytes(range(256)) * 4000, 'gz')
    site = Site(bench, [content for _, content, _ in cases] + [good])
    for number, (what, content, why) in enumerate(cases):
        target = site.link(number)
        answer = site.get(target)
        lines = site.condemned(target)
        check(refused(answer) or len(content) > KEPT and spoilt(answer, content), f'{what}: the client got {answer.status}; the log says {lines}')
        check(len(lines) == 1 and ' level=error ' in lines[0] and why in lines[0], f'{what}: {lines}')
        check(site.get(target, {'Range': 'bytes=1-'}).status is None, f'{what}: a resume is answered')
        check(site.get(site.link(number)).status == 403, f'{what}: another link gets it')
        check(len(again := site.condemned(target)) == 3 and all(' level=info ' in line and 'found to be bad before' in line for line in again[1:]), f'{what}: {again}')
    answer = site.get(site.link(len(cases)))
    check(answer.status == 200 and answer.body == good, f'a good one: {answer.status}')
    check(site.gateway.log.count('level=error') == len(cases), 'something else is an error')
    site.end()
    sizes = sum(len(content) for content in site.origin.all.values())
    upstream = int(re.search(r'upstream_bytes=(\d+)', site.gateway.log)[1])
    check(upstream <= sizes, f'{upstream} bytes were fetched of objects of {sizes}')


def test_in_a_download_that_has_begun(bench):
    noise = hashlib.shake_256(b'noise').digest(MIB // 2)
    info = INFO.replace(b'[{', b'[{"type":"single-file"},{', 1)
    header = tar({'header-info': info, **TYPE, 'headers/0001/type-info': b'{"type":"single-file"}'}, 'zst')
    bomb = made(zstd_of_zeros(file('blob.bin', noise) + END, 0), zstd_of_zeros(entry('more.bin', 8 << 40), 1 << 17), header=header,
                suffix='zst', listed=(), contents={'data/0000/blob.bin': noise, 'data/0001/more.bin': b''}.items())
    site = Site(bench, [bomb])
    site.origin.gate = threading.Event()
    bench.stack.callback(site.origin.gate.set)
    target = site.link(0)
    with Connection(bench.pki, site.port) as reader:
        reader.send('GET', target)
        first = reader.recv()
        check(first.startswith(b'HTTP/1.1 200 '), f'the head: {first[:300]}')
        site.origin.gate.set()
        reader.buffer = first
        answer = reader.read()
    check(spoilt(answer, bomb) and answer.body[:4096] == bomb[:4096], f'the client got {answer.status}, {len(answer.body)} bytes of {len(bomb)}')
    lines = site.condemned(target)
    check(len(lines) == 1 and 'data/0001/more.bin: this unpacks to too much' in lines[0], f'the log: {lines}')
    check(site.get(site.link(0)).status == 403, 'it is served again')
    site.end()
