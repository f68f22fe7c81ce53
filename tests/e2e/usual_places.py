"""What is found without being named, and what another user may not read."""
import os
import pathlib
import shutil
import subprocess

from support import BIN, Skip, check, gateway_environment

NEEDS_CLIENT = True  # for the mount namespace that its tests run in: /etc/mender is a directory of their own
FILE = pathlib.Path('/etc/mender/mender-gateway.conf')
NOBODY = 65534


def test_the_configuration_file(bench):
    if 'MGW_E2E_NAMESPACE' not in os.environ:
        raise Skip('this is the real /etc/mender')
    FILE.write_text('{"Workers": 3}')
    try:
        done = subprocess.run([BIN / 'mgw-gateway', '--print-config'], capture_output=True, text=True, timeout=20)
    finally:
        FILE.unlink()
    check(done.returncode == 0, f'{done}')
    check(f'Workers = 3  (file {FILE}:1:13)' in done.stdout.splitlines(), f'another file was read, or none: {done.stdout}')


def test_a_key_that_only_root_may_read(bench):
    """The usual mistake with containers: the message has all that is needed to mend it."""
    program = bench.path('mgw-gateway')
    shutil.copy(BIN / 'mgw-gateway', program)  # the other user may not reach the build
    for path in (bench.dir, bench.pki.ca.parent):
        path.chmod(0o755)
    bench.pki.cert.chmod(0o644)
    bench.pki.ca.chmod(0o644)
    bench.pki.key.chmod(0o600)
    settings = gateway_environment(bench, 'https://localhost:1')
    done = subprocess.run(['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', program],
                          env={**os.environ, **settings}, capture_output=True, text=True, timeout=20)
    check(done.returncode == 2, f'{done}')
    for words in (f'HTTPS_SERVER_KEY (HTTPS.ServerKey) is "{bench.pki.key}"', 'Permission denied',
                  f'it belongs to uid 0, mode 0600, and we are uid {NOBODY}'):
        check(words in done.stderr, f'it does not say {words!r}: {done.stderr}')
    check_done = subprocess.run(['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', program, '--check-config'],
                                env={**os.environ, **settings}, capture_output=True, text=True, timeout=20)
    check(check_done.returncode == 1, f'{check_done}')
    for words in (f'HTTPS_SERVER_KEY (HTTPS.ServerKey) is "{bench.pki.key}"', 'StateDirectory) is "', 'ArtifactsCache.Path) is "',
                  f'needed: a directory that uid {NOBODY} may write to'):
        check(words in check_done.stderr, f'--check-config does not say {words!r}: {check_done.stderr}')
