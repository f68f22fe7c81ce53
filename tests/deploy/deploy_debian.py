"""The Debian package: what lintian says, and a machine that installs, runs, upgrades and purges it."""
import re
import shutil

from machines import Machine, needs, packages, run
from support import BIN, check, until

CONFIGURATION = '/etc/mender/mender-gateway.conf'
PLACES = ('/usr/bin/mgw-gateway', '/usr/bin/mender-gateway', '/lib/systemd/system/mender-gateway.service',
          '/lib/systemd/system/mender-gateway.socket', CONFIGURATION,
          '/etc/default/mender-gateway', '/usr/lib/sysusers.d/mender-gateway.conf', '/usr/lib/tmpfiles.d/mender-gateway.conf',
          '/usr/share/mender/inventory/mender-inventory-mender-gateway', '/usr/share/man/man1/mgw-gateway.1.gz',
          '/usr/share/bash-completion/completions/mgw-gateway')
MASK = '/etc/systemd/system/mender-gateway.service'


def put(where, *files):
    for file in files:
        shutil.copy(file, where.root / 'root')
    return [f'/root/{file.name}' for file in files]


def test_lintian_finds_no_error(bench):
    needs('lintian', 'man')
    package = packages()[0]
    run('lintian', '--fail-on', 'error', '--allow-root', package)
    unpacked = bench.path('unpacked', 'x').parent
    run('dpkg-deb', '-x', package, unpacked)
    page = unpacked / 'usr/share/man/man1/mgw-gateway.1.gz'
    warned = run('sh', '-c', 'man --warnings -l -Tutf8 "$1" 2>&1 > /dev/null', 'sh', page)
    check(not warned.strip(), f'the manual page: {warned}')


def test_installed_upgraded_and_purged_where_no_service_runs(bench):
    older, newer = packages()
    where = bench.enter(Machine(bench))
    old, new = put(where, older, newer)
    where.within('dpkg', '-i', old)
    for place in PLACES:
        check(where.has(place), f'{place} is not there')
    check(where.has('/etc/systemd/system/multi-user.target.wants') and
          (where.root / 'etc/systemd/system/multi-user.target.wants/mender-gateway.service').is_symlink(), 'not enabled')
    check(where.within('mender-gateway', '--version').strip(), 'the program does not run')
    configuration = where.root / CONFIGURATION.lstrip('/')
    mine = configuration.read_text().replace('hosted.mender.io', 'mender.example')
    configuration.write_text(mine)
    where.within('systemctl', 'disable', 'mender-gateway')
    where.within('dpkg', '-i', new)
    check(configuration.read_text() == mine, 'the upgrade changed the configuration')
    check(not (where.root / 'etc/systemd/system/multi-user.target.wants/mender-gateway.service').is_symlink(),
          'the upgrade enabled what somebody had disabled')
    where.within('dpkg', '-r', 'mgw-gateway')
    check(configuration.read_text() == mine and not where.has('/usr/bin/mgw-gateway'), 'removed')
    where.within('dpkg', '-P', 'mgw-gateway')
    left = where.within('find', '/etc', '/usr', '/lib', '/var', '-xdev', '-name', 'm*-gateway*')
    check(not left.strip() and not (where.root / MASK.lstrip('/')).is_symlink(), f'left after the purge: {left}')


def systemd_is_told(where):
    """When it serves, how things stand, and when it reads anew."""
    def state(name):
        return where.inside('systemctl', 'show', '-p', name, '--value', 'mender-gateway').strip()
    check(state('Type') == 'notify' and state('StatusText').startswith('serving https://[::]:443; '), state('StatusText'))
    where.inside('sh', '-ec', 'cp /srv/mgw/server.crt /etc/mender/certs/server.crt; systemctl reload mender-gateway')
    until(lambda: state('ActiveState') == 'active', 20, 'the reload to end')
    until(lambda: 'read anew' in where.inside('journalctl', '-b', '-u', 'mender-gateway', '--no-pager'), 20, 'a line of it')
    check(state('WatchdogUSec') == '1min' and state('WatchdogTimestampMonotonic') != '0', 'no ping')


def restarts_with_a_kept_socket(where, update):
    """As docs/lifecycle.md says."""
    where.inside('sh', '-ec', '''systemctl stop mender-gateway
        systemctl reset-failed mender-gateway.service
        systemctl enable --now mender-gateway.socket
        systemctl start mender-gateway
        mgw-gateway health''')
    log = where.inside('journalctl', '-b', '-u', 'mender-gateway', '--no-pager')
    check('hands over listening sockets' in log, log[-2000:])
    # Each of these is answered, whenever it comes.
    where.inside('sh', '-ec', '''(for i in 1 2 3; do systemctl restart mender-gateway; done) &
        for i in $(seq 60); do mgw-gateway health --timeout 20; done
        wait''')
    update(1)
    where.inside('systemctl', 'stop', 'mender-gateway')
    where.inside('mgw-gateway', 'health', '--timeout', '20')  # whoever connects starts it
    where.inside('systemctl', 'disable', '--now', 'mender-gateway.socket')
    where.inside('systemctl', 'reset-failed', 'mender-gateway.service')  # so many starts are no trouble of its own


def test_the_service_under_systemd_serves_devices_through_an_upgrade(bench):
    older, newer = packages()
    where = bench.enter(Machine(bench))
    old, new = put(where, older, newer)
    put(where, BIN / 'mgw-mini-mender', BIN / 'mgw-fleet')
    where.boot()
    said = where.inside('dpkg', '-i', old)
    check('not configured yet' in said, f'what an administrator has to do: {said}')
    check(where.inside('systemctl', 'is-active', 'mender-gateway', good=(3,)).strip() == 'inactive', 'it runs unconfigured')

    # As docs/deployment.md says.
    where.inside('sh', '-ec', '''cd /root
        ./mgw-mini-mender --make-artifact release.mender --size 4MiB
        systemd-run --unit server /root/mgw-mini-mender --listen 127.0.0.1:9080 --artifact /root/release.mender
        mgw-gateway setup --host localhost --upstream http://127.0.0.1:9080 --out /srv/mgw
        cd /srv/mgw
        install -d -m 755 /etc/mender/certs
        install -m 644 server.crt /etc/mender/certs/server.crt
        install -m 640 -g mender-gateway server.key /etc/mender/certs/server.key
        echo UPSTREAM_SERVER_URL=http://127.0.0.1:9080 >> /etc/default/mender-gateway
        systemctl enable --now mender-gateway
        for i in $(seq 100); do mgw-gateway health 2> /dev/null && break; sleep 0.1; done
        mgw-gateway health''')

    def update(devices):
        where.inside('/root/mgw-fleet', '--server', 'https://localhost', '--ca', '/srv/mgw/ca.crt', '--devices', devices,
                     timeout=120)

    def process():
        return where.inside('systemctl', 'show', '-p', 'MainPID', '--value', 'mender-gateway').strip()
    update(3)
    listed = where.inside('runuser', '-u', 'mender-gateway', '--', 'mgw-gateway', 'cache', 'list')
    check('4.0 MiB' in listed, f'the cache: {listed}')
    seen = where.inside('runuser', '-u', 'mender-gateway', '--', 'sh', '-c', 'set -a; . /etc/default/mender-gateway; '
                        'mgw-gateway doctor --ca /srv/mgw/ca.crt --host localhost', good=(0, 1))
    check(re.search('https port +:443: the gateway runs, and is ready', seen), f'the doctor, who may not take port 443: {seen}')
    log = where.inside('journalctl', '-b', '-u', 'mender-gateway', '--no-pager')
    for trouble in ('level=error', 'erifier', 'Operation not permitted'):
        check(trouble not in log, f'{trouble} in the log:\n{log[-3000:]}')
    before = process()
    where.inside('dpkg', '-i', new)
    check(process() not in ('0', before), f'the upgrade did not restart it: {before} {process()}')
    update(1)
    log = where.inside('journalctl', '-b', '-u', 'mender-gateway', '--no-pager')
    check(len(re.findall(r'fill \w+: complete, ', log)) == 1 and 'cache=hit' in log, f'it was fetched again:\n{log[-3000:]}')
    systemd_is_told(where)
    restarts_with_a_kept_socket(where, update)
    where.inside('systemctl', 'stop', 'mender-gateway')
    result = where.inside('systemctl', 'show', '-p', 'Result', '-p', 'ExecMainStatus', 'mender-gateway')
    check('Result=success' in result and 'ExecMainStatus=0' in result, f'it was stopped: {result}')

    # With directories elsewhere: what setup made, by a drop-in.
    where.inside('sh', '-ec', '''mkdir /etc/systemd/system/mender-gateway.service.d
        printf '[Service]\\nEnvironmentFile=/srv/mgw/gateway.env\\nReadWritePaths=/srv/mgw/cache /srv/mgw/state\\n' \\
          > /etc/systemd/system/mender-gateway.service.d/override.conf
        chown -R mender-gateway: /srv/mgw/server.key /srv/mgw/cache /srv/mgw/state
        systemctl daemon-reload
        systemctl start mender-gateway
        for i in $(seq 100); do mgw-gateway health 2> /dev/null && break; sleep 0.1; done''')
    update(1)
    check(where.has('/srv/mgw/state/link-secret') and any((where.root / 'srv/mgw/cache/objects').iterdir()),
          'its directories are elsewhere')
    where.inside('dpkg', '-P', 'mgw-gateway')
    check(not where.has('/var/lib/mender-gateway') and not where.has(CONFIGURATION), 'the purge left something')
    check('not-found' in where.inside('systemctl', 'show', '-p', 'LoadState', 'mender-gateway'), 'the unit is still known')
