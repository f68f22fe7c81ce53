"""Debian machines in a directory: made by mmdebstrap, entered by chroot, or started with systemd in namespaces of their own."""
import contextlib
import functools
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess

from support import BIN, Failure, Skip, check, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / 'build/deploy'  # made once, for this run and later ones
PATH = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'DEBIAN_FRONTEND': 'noninteractive', 'LC_ALL': 'C.UTF-8'}
# What becomes process 1 of a machine: file systems as systemd wants them, the directory as root.
BOOT = '''set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --make-rslave sys
mount -t tmpfs -o mode=755 none sys/fs
mkdir sys/fs/cgroup
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for d in null zero full random urandom tty; do : > dev/$d; mount --bind /dev/$d dev/$d; done
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 none run
mount -t tmpfs none tmp
mkdir -p old
pivot_root . old
umount -l old
exec env -i container=mgw PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system
'''


def needs(*tools):
    for tool in tools:
        if not shutil.which(tool):
            raise Skip(f'{tool} is not installed')
    if os.geteuid() != 0:
        raise Skip('needs root')


def run(*args, good=(0,), timeout=300, **more):
    """What it printed; fails the test if its exit status is none of `good`."""
    done = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors='replace', timeout=timeout, **more)
    check(done.returncode in good, f'{" ".join(map(str, args))[:300]}: {done.returncode}\n{done.stdout[-3000:]}')
    return done.stdout


@functools.lru_cache(None)
def packages():
    """The directory with the package of this build in two revisions: two paths, the older one first."""
    needs('cmake', 'cpack', 'dpkg-deb', 'dpkg-shlibdeps')
    build = BIN.parent
    if not (build / 'CPackConfig.cmake').is_file():
        raise Skip(f'{build} is no build directory of this project')
    run('cmake', '--build', build, '--target', 'mgw-gateway-files', timeout=1800)
    out = []
    for revision in (1, 2):
        where = KEPT / f'package-{revision}'
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        run('cpack', '--config', build / 'CPackConfig.cmake', '-D', f'CPACK_DEBIAN_PACKAGE_RELEASE={revision}', '-B', where,
            cwd=build)
        found = list(where.glob('*.deb'))
        check(len(found) == 1 and f'-{revision}_' in found[0].name, f'{found}')
        out.append(found[0])
    return out


def documented(section):
    """The commands of that section of docs/deployment.md, as they are to be typed, up to its list of remarks."""
    text = (ROOT / 'docs/deployment.md').read_text().split(f'\n## {section}\n')[1].split('\n- ')[0]
    return '\n'.join(line[4:] for line in text.splitlines() if line.startswith('    '))


def dependencies(package):
    """Names of packages, the first of alternatives."""
    listed = run('dpkg-deb', '-f', package, 'Depends')
    return sorted({re.match(r'[\w.+-]+', one.strip())[0] for one in listed.split(',')})


def base(include):
    """A tar file with a small Debian 12 and these packages."""
    needs('mmdebstrap')
    KEPT.mkdir(parents=True, exist_ok=True)
    names = ','.join(sorted(include))
    tar = KEPT / f'base-{hashlib.sha256(names.encode()).hexdigest()[:12]}.tar'
    if tar.is_file():
        return tar
    sources = [p for p in (pathlib.Path('/etc/apt/sources.list'), *sorted(pathlib.Path('/etc/apt/sources.list.d').glob('*')))
               if p.suffix in ('.list', '.sources') and p.is_file() and p.stat().st_size]
    partial = tar.with_suffix('.part')
    done = subprocess.run(['mmdebstrap', '--variant=minbase', '--format=tar', *(['--include=' + names] if names else []),
                           'bookworm', str(partial), *map(str, sources)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=1500)
    if done.returncode != 0:
        raise Skip('mmdebstrap makes no Debian here: ' + done.stderr.strip().splitlines()[-1])
    partial.rename(tar)
    return tar


def debian():
    """The one that has all that our package depends on, and systemd."""
    return base({'systemd', 'systemd-sysv', 'ca-certificates', *dependencies(packages()[0])})


class Machine:
    """Such a Debian in a directory. Leaving the context ends what runs in it and removes it."""

    def __init__(self, bench):
        self.root = bench.path('debian', 'x').parent
        run('tar', '-xf', debian(), '-C', self.root, '--numeric-owner')
        (self.root / 'etc/hosts').write_text('127.0.0.1 localhost\n')
        self.first = self.child = self.cgroup = None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGRTMIN + 3)  # halt
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()  # and with it, all in its namespace
                self.child.wait()
        if self.cgroup:
            for directory in sorted(self.cgroup.rglob('*'), reverse=True):
                if directory.is_dir():
                    with contextlib.suppress(OSError):
                        directory.rmdir()
            with contextlib.suppress(OSError):
                self.cgroup.rmdir()

    def boot(self):
        needs('unshare', 'nsenter')
        mounts = pathlib.Path('/proc/self/mounts').read_text()
        unified = re.search(r'^\S+ (\S+) cgroup2 rw', mounts, re.M)
        if not unified:
            raise Skip('no cgroup2 file system that can be written to')
        self.cgroup = pathlib.Path(unified[1], f'mgw-deploy-{os.getpid()}')
        try:
            self.cgroup.mkdir(exist_ok=True)
        except OSError as e:
            raise Skip(f'no cgroup to be had: {e}') from e
        group = self.cgroup / 'cgroup.procs'
        log = open(self.root.parent / 'boot.log', 'w+b')
        self.child = subprocess.Popen(
            ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--uts', '--ipc', '--net', '--cgroup', 'sh', '-c', BOOT,
             'sh', str(self.root)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=lambda: group.write_text(str(os.getpid())))

        def started():
            if self.child.poll() is not None:
                log.seek(0)
                raise Skip(f'systemd does not start in namespaces here: {log.read().decode(errors="replace")[-300:]}')
            children = pathlib.Path(f'/proc/{self.child.pid}/task/{self.child.pid}/children').read_text().split()
            if not children:
                return False
            self.first = int(children[0])
            state = self.inside('systemctl', 'is-system-running', good=range(256))
            return state.strip() in ('running', 'degraded')
        until(started, 120, 'systemd to be up')
        log.close()

    def inside(self, *command, **more):
        """Runs it on the machine that has booted; returns what it printed."""
        flags = ['--mount', '--pid', '--net', '--ipc', '--uts', '--cgroup', '--root', '--wd']
        return run('nsenter', '-t', self.first, *flags, *command, env=PATH, **more)

    def within(self, *command, **more):
        """Runs it in the directory, without services."""
        return run('chroot', self.root, *command, env=PATH, **more)

    def has(self, path):
        return (self.root / path.lstrip('/')).exists()


__all__ = ['Failure', 'KEPT', 'Machine', 'ROOT', 'Skip', 'debian', 'documented', 'needs', 'packages', 'run']
