"""The unit and what stands beside it, by systemd's own tools, in a directory that stands for a machine."""
import pathlib
import re
import shutil
import subprocess

from machines import ROOT, Machine, documented, needs
from support import BIN, check

DEPLOY = ROOT / 'examples/gateway/deploy'
SYSTEMD = DEPLOY / 'systemd'
UNIT = 'usr/lib/systemd/system/mender-gateway.service'
SOCKET = 'usr/lib/systemd/system/mender-gateway.socket'


def run(*args, **more):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=120, **more)
    return done.returncode, done.stdout + done.stderr


def machine(bench, unit=None):
    """A directory with what the unit and its files need."""
    root = bench.path('machine', 'x').parent
    for source, name in (('mender-gateway.service', UNIT), ('mender-gateway.socket', SOCKET),
                         ('mender-gateway.sysusers', 'usr/lib/sysusers.d/mender-gateway.conf'),
                         ('mender-gateway.tmpfiles', 'usr/lib/tmpfiles.d/mender-gateway.conf')):
        target = bench.path('machine', *name.split('/'))
        target.write_text((SYSTEMD / source).read_text())
    if unit:
        (root / UNIT).write_text(unit)
    for target in pathlib.Path('/lib/systemd/system').glob('*.target'):
        shutil.copy(target, root / 'usr/lib/systemd/system')
    for program in ('usr/bin/mgw-gateway', 'bin/sh'):
        shutil.copy('/bin/true', bench.path('machine', *program.split('/')))
    bench.path('machine', 'etc', 'mender', 'mender-gateway.conf').write_text('{}\n')
    bench.path('machine', 'etc', 'default', 'mender-gateway').write_text('\n')
    return root


def verified(root):
    return run('systemd-analyze', 'verify', '--man=no', f'--root={root}', root / UNIT, root / SOCKET)


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


def test_the_service_is_set_up_by_what_the_page_says(bench):
    where = bench.enter(Machine(bench))
    source = where.root / 'root/mgw'
    shutil.copytree(SYSTEMD, source / 'examples/gateway/deploy/systemd')
    (source / 'build/release/bin').mkdir(parents=True)
    shutil.copy(BIN / 'mgw-gateway', source / 'build/release/bin')
    subprocess.run([BIN / 'mgw-gateway', 'setup', '--host', 'localhost', '--upstream', 'https://hosted.mender.io', '--out',
                    bench.dir / 'gw'], check=True, capture_output=True)
    for file in ('server.crt', 'server.key'):
        shutil.copy(bench.dir / 'gw' / file, source)
    commands, follow = documented('systemd').split('journalctl -u mender-gateway -f')
    check('systemctl enable --now' in commands and not follow.strip(), f'the page: {commands}')
    where.boot()
    where.inside('bash', '-ec', f'cd /root/mgw\n{commands}')
    where.inside('sh', '-ec', 'set -a; . /etc/default/mender-gateway; '
                              'for i in $(seq 100); do mgw-gateway health 2> /dev/null && exit; sleep 0.1; done; exit 1')
    state = where.inside('systemctl', 'show', '-p', 'User', '-p', 'ActiveState', 'mender-gateway')
    check('User=mender-gateway' in state and 'ActiveState=active' in state, state)
    for name, mode in (('etc/default/mender-gateway', 0o640), ('var/lib/mender-gateway', 0o700)):
        check((where.root / name).stat().st_mode & 0o777 == mode, f'{name}: {oct((where.root / name).stat().st_mode)}')
