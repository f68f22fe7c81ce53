"""`mgw-gateway verify`: from its command line to its exit status, on artifacts that Python's tarfile writes."""
import ctypes
import hashlib
import io
import subprocess
import tarfile

from support import BIN, check

INFO = (b'{"payloads":[{"type":"single-file"}],"artifact_provides":{"artifact_name":"release-2"},'
        b'"artifact_depends":{"device_type":["qemux86-64"]}}')
COMPRESSIONS = '', 'gz', 'xz', 'zst'


def zstd(data):
    """One frame. Python 3.11 has no zstd; the gateway's own library is there."""
    library = ctypes.CDLL('libzstd.so.1')
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    room = ctypes.create_string_buffer(library.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    size = library.ZSTD_compress(room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data)), 3)
    check(size <= len(room), 'zstd failed')
    return room.raw[:size]


def tar(files, compression=''):
    """`compression`: none, gz, xz or zst."""
    if compression == 'zst':
        return zstd(tar(files))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:' + compression, format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1234.5  # a fraction: it takes a PAX record
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def artifact(payload, compression):
    suffix = f'.{compression}' if compression else ''
    version = b'{"format":"mender","version":3}'
    header = tar({'header-info': INFO, 'headers/0000/type-info': b'{"type":"single-file"}'}, compression)
    lines = {'version': version, f'header.tar{suffix}': header, 'data/0000/blob.bin': payload}
    manifest = ''.join(f'{hashlib.sha256(content).hexdigest()}  {name}\n' for name, content in lines.items())
    return tar({'version': version, 'manifest': manifest.encode(), f'header.tar{suffix}': header,
                f'data/0000.tar{suffix}': tar({'blob.bin': payload}, compression)})


def verify(*args, stdin=b''):
    done = subprocess.run([BIN / 'mgw-gateway', 'verify', *args], input=stdin, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_good_bad_and_none(bench):
    payload = bytes(range(256)) * 5000
    for compression in COMPRESSIONS:
        good = artifact(payload, compression)
        file = bench.path('good.mender')
        file.write_bytes(good)
        for status, out, _ in (verify(file), verify('-', stdin=good)):
            check(status == 0, f'{compression}: {status} {out}')
            for line in ('artifact   release-2\n', 'devices    qemux86-64\n', 'verdict    good\n',
                         f'file       {hashlib.sha256(payload).hexdigest()}  {len(payload)}  data/0000/blob.bin\n'):
                check(line in out, f'{compression}: no {line!r} in {out}')
        status, out, _ = verify('-', stdin=good[:-len(good) // 3])
        check(status == 1 and 'verdict    bad: ' in out, f'{compression}, cut: {status} {out}')
    status, out, _ = verify('-', stdin=b'x' * 100_000)
    check(status == 1 and out == 'verdict    bad: this is no Mender artifact\n', f'no artifact: {status} {out}')


def test_signature(bench):
    key, public, signed, text = (bench.path(name) for name in ('key.pem', 'public.pem', 'signed.mender', 'manifest'))
    subprocess.run(['openssl', 'ecparam', '-genkey', '-name', 'prime256v1', '-noout', '-out', key], check=True, capture_output=True)
    subprocess.run(['openssl', 'ec', '-in', key, '-pubout', '-out', public], check=True, capture_output=True)
    files = {}
    with tarfile.open(fileobj=io.BytesIO(artifact(b'payload', 'gz'))) as archive:
        for entry in archive:
            files[entry.name] = archive.extractfile(entry).read()
            if entry.name == 'manifest':
                text.write_bytes(files['manifest'])
                der = subprocess.run(['openssl', 'dgst', '-sha256', '-sign', key, text], check=True, capture_output=True).stdout
                files['manifest.sig'] = subprocess.run(['openssl', 'base64', '-A'], input=der, check=True, capture_output=True).stdout
    signed.write_bytes(tar(files))
    status, out, _ = verify(signed, '--key', public)
    check(status == 0 and f'signature  good: {public}\n' in out, f'{status} {out}')
    subprocess.run(['openssl', 'ecparam', '-genkey', '-name', 'prime256v1', '-noout', '-out', key], check=True, capture_output=True)
    other = bench.path('other.pem')
    subprocess.run(['openssl', 'ec', '-in', key, '-pubout', '-out', other], check=True, capture_output=True)
    status, out, _ = verify('--key', other, signed)
    check(status == 1 and 'verdict    bad: manifest.sig: ' in out, f'{status} {out}')
    status, out, _ = verify('--key', other, '--key', public, signed)
    check(status == 0, f'two keys: {status} {out}')


def test_what_cannot_be_checked_is_status_2(bench):
    for args in ([], ['-', 'more'], ['--wrong', '-'], [bench.path('missing')], ['-', '--key', bench.path('missing')]):
        status, out, errors = verify(*args)
        check(status == 2 and not out and errors, f'{args}: {status} {out} {errors}')
