"""The gateway's own program as the child that verifies artifacts: what it says on a pipe, and that it is shut in."""
import os
import pathlib
import re
import signal
import socket
import subprocess

from support import BIN, check
from verify import COMPRESSIONS, artifact

MEMORY, CPU = 256 << 20, 60
SANITIZER = os.environ.get('MGW_E2E_SANITIZER') == '1'  # it needs system calls, memory and descriptors of its own

# What the child says of verify.artifact()'s artifacts: name, device types, the digest of the head.
LABELS = ''.join(f'about {name} {value}\n' for name, value in (
    ('artifact-name', b'release-2'.hex()), ('device-types', b'qemux86-64'.hex()), ('artifact-head', '(3[0-9]|6[1-6]){64}')))


def child(keys=b'', memory=MEMORY, **more):
    ours, its = socket.socketpair()
    process = subprocess.Popen([BIN / 'mgw-gateway', '--verify-from-standard-input', str(memory), str(CPU), str(len(keys))],
                               stdin=its, stdout=its, **more)
    its.close()
    ours.settimeout(60)
    ours.sendall(keys)
    return process, ours


def said(ours):
    text = b''
    try:
        while piece := ours.recv(65536):
            text += piece
    except ConnectionResetError:
        pass  # it left some of its input unread
    return text.decode()


def judge(content, keys=b''):
    process, ours = child(keys)
    try:
        ours.sendall(content)
        ours.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has its verdict and does not wait for the rest
    text = said(ours)
    ours.close()
    process.wait(60)
    return text


def test_good_bad_and_none(bench):
    payload = bytes(range(256)) * 20_000
    for compression in COMPRESSIONS:
        good = artifact(payload, compression)
        text = judge(good)
        check(re.fullmatch(rf'ready\n(want \d+\n)+head\n{LABELS}good\n', text), f'{compression}: {text}')
        text = judge(good[:-len(good) // 3])
        check(re.fullmatch(rf'ready\n(want \d+\n)+head\n({LABELS})?bad (data/0000/blob.bin: )?the end is missing\n', text),
              f'{compression}, cut: {text}')
    text = judge(b'x' * 1000)
    check(text.endswith('\nother\n'), text)
    text = judge(artifact(payload, ''), keys=b'no key')
    check(text == 'unable the keys are not to be used\n', text)


def test_it_is_shut_in_before_it_reads(bench):
    process, ours = child()
    text = b''
    while b'want 0\n' not in text:
        text += ours.recv(1)
    about = pathlib.Path('/proc') / str(process.pid)
    status, limits = (about / 'status').read_text(), (about / 'limits').read_text()
    try:
        open_ones = sorted(int(p.name) for p in (about / 'fd').iterdir())
    except PermissionError:
        open_ones = [0, 1, 2]  # it may not be looked into, which is the point
    check(open_ones == [0, 1, 2], f'{open_ones}')
    check('NoNewPrivs:\t1\n' in status, status)
    for name in ('core file size', 'file size') + (() if SANITIZER else ('open files',)):
        check(re.search(rf'^Max {name} +0 +0 ', limits, re.M), f'{name}: {limits}')
    check(re.search(rf'^Max cpu time +{CPU} ', limits, re.M), limits)
    if not SANITIZER:
        check('Seccomp:\t2\n' in status, status)
        bounded = int(re.search(r'^Max address space +(\d+) +\1 ', limits, re.M)[1])
        taken = int(re.search(r'^VmSize:\s+(\d+) kB', status, re.M)[1]) << 10
        check(MEMORY < bounded <= MEMORY + taken, f'{bounded} of which {taken}')
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process.send_signal(ignored)
    ours.sendall(artifact(b'payload', 'gz'))
    ours.shutdown(socket.SHUT_WR)
    text += said(ours).encode()
    check(re.search(rf'\nhead\n{LABELS}good\n$', text.decode()) and process.wait(60) == 0, f'{text}')
    ours.close()


def test_it_ends_with_its_input(bench):
    process, ours = child()
    ours.sendall(artifact(b'payload', 'gz')[:2000])
    ours.close()
    check(process.wait(60) in (0, 1, -signal.SIGPIPE), f'{process.returncode}')


def test_by_hand_it_says_so(bench):
    done = subprocess.run([BIN / 'mgw-gateway', '--verify-from-standard-input'], capture_output=True, timeout=60)
    check(done.returncode == 2 and done.stdout == b'unable this is not to be called by hand\n', f'{done}')
