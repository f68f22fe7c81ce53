"""The unit and what stands beside it, by systemd's own tools, in a directory that stands for a machine."""
import os
import pathlib
import re
import shutil
import subprocess

from support import Skip, check

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / 'examples/gateway/deploy'
SYSTEMD = DEPLOY / 'systemd'
UNIT = 'usr/lib/systemd/system/mender-gateway.service'


def needs(*tools):
    for tool in tools:
        if not shutil.which(tool):
            raise Skip(f'{tool} is not installed')
    if os.geteuid() != 0:
        raise Skip('needs root')


def run(*args, **more):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=120, **more)
    return done.returncode, done.stdout + done.stderr


def machine(bench, unit=None):
    """A directory with what the unit and its files need."""
    root = bench.path('machine', 'x').parent
    for source, name in (('mender-gateway.service', UNIT), ('mender-gateway.sysusers', 'usr/lib/sysusers.d/mender-gateway.conf'),
                         ('mender-gateway.tmpfiles', 'usr/lib/tmpfiles.d/mender-gateway.conf')):
        target = bench.path('machine', *name.split('/'))
        target.write_text((SYSTEMD / source).read_text())
    if unit:
        (root / UNIT).write_text(unit)
    for target in pathlib.Path('/lib/systemd/system').glob('*.target'):
        shutil.copy(target, root / 'usr/lib/systemd/system')
    for program in ('usr/bin/mgw-gateway', 'bin/kill'):
        shutil.copy('/bin/true', bench.path('machine', *program.split('/')))
    bench.path('machine', 'etc', 'mender', 'mender-gateway.conf').write_text('{}\n')
    bench.path('machine', 'etc', 'default', 'mender-gateway').write_text('\n')
    return root


def verified(root):
    return run('systemd-analyze', 'verify', '--man=no', f'--root={root}', root / UNIT)


def test_systemd_finds_nothing_wrong_with_the_unit(bench):
    needs('systemd-analyze')
    status, text = verified(machine(bench))
    check(status == 0 and not text.strip(), f'systemd-analyze verify: {status} {text}')


def test_a_mistake_in_the_unit_would_be_found(bench):
    needs('systemd-analyze')
    unit = (SYSTEMD / 'mender-gateway.service').read_text()
    status, text = verified(machine(bench, unit.replace('KillMode=mixed', 'KillMood=mixed')))
    check('KillMood' in text, f'systemd-analyze verify: {status} {text}')


def test_the_service_is_exposed_no_more_than_a_server_has_to_be(bench):
    needs('systemd-analyze')
    root = machine(bench)
    status, text = run('systemd-analyze', 'security', '--offline=true', '--threshold=20', '--no-pager', root / UNIT)
    check(status == 0, f'systemd-analyze security: {status} {text[-600:]}')
    check(re.search(r'Overall exposure level .*: 1\.\d OK', text), text[-300:])


def test_user_and_directories_are_made_and_the_files_with_secrets_are_shut(bench):
    needs('systemd-sysusers', 'systemd-tmpfiles')
    root = machine(bench)
    for tool in (['systemd-sysusers', f'--root={root}'],
                 ['systemd-tmpfiles', f'--root={root}', '--create', root / 'usr/lib/tmpfiles.d/mender-gateway.conf']):
        status, text = run(*tool)
        check(status == 0, f'{tool}: {status} {text}')
    user = re.search(r'^mender-gateway:x:(\d+):(\d+):', (root / 'etc/passwd').read_text(), re.M)
    check(user, 'no user')
    uid, gid = int(user[1]), int(user[2])
    for name, mode, owner in (('var/lib/mender-gateway', 0o700, uid), ('var/cache/mender-gateway', 0o700, uid),
                              ('etc/mender/mender-gateway.conf', 0o640, 0), ('etc/default/mender-gateway', 0o640, 0)):
        found = (root / name).stat()
        check((found.st_mode & 0o777, found.st_uid, found.st_gid) == (mode, owner, gid),
              f'{name}: {oct(found.st_mode)} {found.st_uid}:{found.st_gid}')
