"""The image of examples/gateway/deploy/docker: built by buildah, run by podman, and a fleet that downloads through it.

No registry is asked: a Debian made by mmdebstrap stands in for the base, and the program built on this machine for the one
that the Dockerfile builds. With MGW_DEPLOY_BUILD_IN_IMAGE=1 the Dockerfile is used as it is, which takes a compiler from
Debian and some minutes.
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

from machines import ROOT, debian, documented, needs, run
from support import BIN, Skip, check, free_port, until

DOCKER = ROOT / 'examples/gateway/deploy/docker'
# `docker` on a machine that has podman, and no network to publish a port on.
DOCKER_BY_PODMAN = '''docker() {
  local out=()
  while (($#)); do
    case $1 in
      run) out+=(run --network none --sysctl net.ipv4.ip_unprivileged_port_start=0) ;;
      -p) shift ;;
      *) out+=("$1") ;;
    esac
    shift
  done
  podman "${flags[@]}" "${out[@]}"
}
'''
# For machines without CAP_SYS_RESOURCE: takes out of a container's settings what they do not allow.
RUNTIME = '''#!/usr/bin/env python3
import json, os, sys
at = [i for i, a in enumerate(sys.argv) if a in ('--bundle', '-b', '--process', '-p')]
for i in at:
    name = sys.argv[i + 1] + ('/config.json' if sys.argv[i] in ('--bundle', '-b') else '')
    settings = json.load(open(name))
    process = settings.get('process', settings)
    process.pop('rlimits', None)
    process.pop('oomScoreAdj', None)
    for kind in process.get('capabilities', {}).values():
        if 'CAP_SYS_RESOURCE' in kind:
            kind.remove('CAP_SYS_RESOURCE')
    json.dump(settings, open(name, 'w'))
os.execv('%s', ['%s', *sys.argv[1:]])
'''


class Podman:
    def __init__(self, bench):
        needs('buildah', 'podman', 'runc')
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='mgw-pod-'))  # podman wants it short
        runtime = bench.path('runtime')
        runtime.write_text(RUNTIME % ((shutil.which('runc'),) * 2))
        runtime.chmod(0o755)
        self.store = ['--root', self.dir / 'root', '--runroot', self.dir / 'run', '--storage-driver', 'vfs']
        self.flags = [*self.store, '--tmpdir', self.dir / 'tmp', '--runtime', runtime, '--cgroup-manager', 'cgroupfs',
                      '--events-backend', 'file']

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        subprocess.run([*map(str, ['podman', *self.flags]), 'rm', '--all', '--force', '--time', '5'], capture_output=True,
                       timeout=120)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __call__(self, *args, **more):
        return run('podman', *self.flags, *args, **more)

    def build(self, bench):
        self('import', debian(), 'localhost/debian:bookworm-slim', timeout=600)
        text, context = (DOCKER / 'Dockerfile').read_text(), ROOT
        if os.environ.get('MGW_DEPLOY_BUILD_IN_IMAGE') != '1':
            context = bench.path('context', 'x').parent
            run('strip', '-o', context / 'program', BIN / 'mgw-gateway')
            text, found = re.subn(r'# build: begin\n.*# build: end\n', 'COPY program /image/usr/bin/mgw-gateway\n', text,
                                  flags=re.S)
            check(found == 1, 'the part of the Dockerfile that builds is not to be found')
        dockerfile = bench.path('Dockerfile')
        dockerfile.write_text(text)
        run('buildah', *self.store, 'bud', '--isolation', 'chroot', '--format', 'docker', '--ignorefile',
            DOCKER / 'Dockerfile.dockerignore' if context == ROOT else '/dev/null', '--build-arg',
            'BASE=localhost/debian:bookworm-slim', '-t', 'mgw-gateway', '-f', dockerfile, context, timeout=2400)

    def start(self, name, gateway, *flags):
        """Starts it as docs/deployment.md says, with these flags beside."""
        files = [f'{gateway / file}:/etc/mender/certs/{file}:ro' for file in ('server.crt', 'server.key')]
        settings = {'HTTPS_ENABLED': 'true', 'HTTPS_SERVER_CERTIFICATE': '/etc/mender/certs/server.crt',
                    'HTTPS_SERVER_KEY': '/etc/mender/certs/server.key'}
        try:
            self('run', '-d', '--name', name, '--read-only', '--cap-drop', 'ALL', '--security-opt', 'no-new-privileges',
                 *[w for f in files for w in ('-v', f)], *[w for s in settings.items() for w in ('-e', '='.join(s))], *flags,
                 'mgw-gateway', '--log-level', 'debug')
        except Exception as e:
            # A container that not even `true` could be run in says nothing about ours.
            tried = subprocess.run([*map(str, ['podman', *self.flags]), 'run', '--rm', '--network', 'none',
                                    'localhost/debian:bookworm-slim', 'true'], capture_output=True, text=True, timeout=120)
            if tried.returncode != 0:
                raise Skip(f'containers cannot be run here: {tried.stderr.strip().splitlines()[-1]}') from e
            raise
        until(lambda: 'listening on' in self('logs', name), 30, 'the gateway to listen')


def certificates(bench, upstream):
    out = bench.dir / 'gw'
    run(BIN / 'mgw-gateway', 'setup', '--host', 'localhost', '--upstream', upstream, '--out', out)
    os.chown(out / 'server.key', 65534, 65534)
    return out


def test_devices_download_through_a_container_with_a_read_only_root(bench):
    podman = bench.enter(Podman(bench))
    podman.build(bench)
    release = bench.path('release.mender')
    run(BIN / 'mgw-mini-mender', '--make-artifact', release, '--size', '4MiB')
    server = bench.start('server', [BIN / 'mgw-mini-mender', '--listen', '127.0.0.1:0', '--artifact', release],
                         ready=r'listening on (http://[^\s]+)')
    upstream = server.match[1]
    gateway, port = certificates(bench, upstream), free_port()
    # Without the status page: in the host's own network its port may be another's, which is a warning.
    podman.start('gw', gateway, '--network', 'host', '-e', f'HTTPS_LISTEN=127.0.0.1:{port}', '-e', 'ADMIN_ENABLED=false', '-e',
                 f'UPSTREAM_SERVER_URL={upstream}')
    run(BIN / 'mgw-fleet', '--server', f'https://localhost:{port}', '--ca', gateway / 'ca.crt', '--devices', '3')
    log = podman('logs', 'gw')
    check(len(re.findall(r'fill \w+: complete, ', log)) == 1, f'each artifact once:\n{log}')
    for trouble in ('level=error', 'level=warning'):
        check(trouble not in log, f'{trouble} in\n{log}')
    check('4.0 MiB' in podman('exec', 'gw', '/usr/bin/mgw-gateway', 'cache', 'list'), 'it is not in the cache')
    podman('healthcheck', 'run', 'gw')
    podman('stop', '--time', '40', 'gw')
    check(podman('inspect', 'gw', '--format', '{{.State.ExitCode}}').strip() == '0', 'it did not end cleanly')


def test_port_443_is_there_for_a_user_who_is_not_root(bench):
    podman = bench.enter(Podman(bench))
    podman.build(bench)
    settings = json.loads(podman('image', 'inspect', 'mgw-gateway'))[0]['Config']
    check(settings['User'] == '65534:65534' and settings['Entrypoint'] == ['/usr/bin/mgw-gateway'], str(settings))
    gateway = certificates(bench, 'http://127.0.0.1:9')
    podman.start('gw', gateway, '--network', 'none', '--sysctl', 'net.ipv4.ip_unprivileged_port_start=0', '-e',
                 'HTTPS_LISTEN=:443', '-e', 'UPSTREAM_SERVER_URL=http://127.0.0.1:9')
    podman('healthcheck', 'run', 'gw')
    with_no_gateway = podman('run', '--rm', '--network', 'none', '-e', 'HTTPS_ENABLED=true', 'mgw-gateway', 'health', good=(1,))
    check('Connection refused' in with_no_gateway, with_no_gateway)


def test_the_container_starts_by_what_the_page_says(bench):
    podman = bench.enter(Podman(bench))
    podman.build(bench)
    build, start = documented('Container').split('chown 65534 server.key')
    check('docker build -t mgw-gateway -f examples/gateway/deploy/docker/Dockerfile .' in build and 'docker run -d' in start,
          f'the page: {build} {start}')
    gateway = certificates(bench, 'https://hosted.mender.io')
    flags = ' '.join(shlex.quote(str(f)) for f in podman.flags)
    run('bash', '-ec', f'flags=({flags})\n{DOCKER_BY_PODMAN}\nchown 65534 server.key{start}', cwd=gateway)
    until(lambda: 'listening on https://[::]:443' in podman('logs', 'gateway'), 30, 'the gateway to listen')
    podman('healthcheck', 'run', 'gateway')
    check('level=error' not in podman('logs', 'gateway'), podman('logs', 'gateway'))
    volumes = podman('volume', 'ls', '--format', '{{.Name}}').split()
    check({'gateway-cache', 'gateway-state'} <= set(volumes), str(volumes))
    podman('exec', 'gateway', '/usr/bin/mgw-gateway', 'cache', 'list')


def test_ports_are_published_as_the_page_says(bench):
    """Devices' port to the network, the status page to the host itself alone: on a host of its own, which is a namespace."""
    needs('unshare', 'nsenter', 'ip', 'iptables')
    podman = bench.enter(Podman(bench))
    podman.build(bench)
    start = documented('Container').split('chown 65534 server.key')[1]
    gateway = certificates(bench, 'https://hosted.mender.io')
    host = subprocess.Popen(['unshare', '--net', 'sleep', '900'])
    try:
        on_host = ['nsenter', '-t', host.pid, '--net']
        until(lambda: os.readlink(f'/proc/{host.pid}/ns/net') != os.readlink('/proc/self/ns/net'), 10, 'a network of its own')
        run(*on_host, 'ip', 'link', 'set', 'lo', 'up')
        flags = ' '.join(shlex.quote(str(f)) for f in podman.flags)
        named = 'docker() { podman %s "$1" --sysctl net.ipv4.ip_unprivileged_port_start=0 "${@:2}"; }' % flags
        tried = subprocess.run([*map(str, on_host), 'bash', '-ec', f'{named}\nchown 65534 server.key{start}'], cwd=gateway,
                               capture_output=True, text=True, timeout=120)
        if re.search('netavark|iptables|nftables|bridge|CNI', tried.stderr):
            raise Skip(f'no port can be published here: {tried.stderr.strip().splitlines()[-1]}')
        check(tried.returncode == 0, tried.stderr)
        until(lambda: 'listening on https://[::]:443' in podman('logs', 'gateway'), 30, 'the gateway to listen')
        network = re.search(r'inet ([\d.]+)/\d+ .*scope global', run(*on_host, 'ip', '-4', 'addr'))[1]
        ask = 'import sys, urllib.request, ssl; print(urllib.request.urlopen(sys.argv[1], timeout=10, context=%s).status)'
        for url, status in (('http://127.0.0.1:9103/', '200'), ('http://localhost:9103/status.json', '200'),
                            (f'http://{network}:9103/', ''), (f'https://{network}/api/internal/v1/gateway/alive', '204')):
            context = 'ssl._create_unverified_context()' if url.startswith('https') else 'None'
            said = run(*on_host, sys.executable, '-c', ask % context, url, good=(0 if status else 1,))
            check(said.strip() == status if status else 'Connection refused' in said, f'{url}: {said}')
        run(*on_host, 'podman', *podman.flags, 'rm', '--force', '--time', '5', 'gateway')
    finally:
        host.kill()
        host.wait()


def test_the_image_has_program_libraries_and_trust_store_alone(bench):
    podman = bench.enter(Podman(bench))
    podman.build(bench)
    listed = run('sh', '-c', 'podman "$@" export "$(podman "$@" create mgw-gateway)" | tar -t', 'sh', *podman.flags)
    files = {f for f in listed.split('\n') if f and not f.endswith('/')}
    for needed in ('usr/bin/mgw-gateway', 'usr/bin/mender-gateway', 'etc/ssl/certs/ca-certificates.crt'):
        check(needed in files, f'{needed} is not in the image: {files}')
    # /dev, /proc, /etc/hosts and the like are what podman makes of any container.
    ours = re.compile(r'(usr/)?lib(64)?/|usr/bin/(mgw|mender)-gateway$|etc/|dev/|proc/|sys/|run/|\.dockerenv$')
    check(not [f for f in files if not ours.match(f)], f'in the image: {[f for f in files if not ours.match(f)]}')
    check(len(files) < 80, f'{len(files)} files: {files}')
    # It finds the trust store: an upstream over TLS that is named by a public host is no mistake of the configuration.
    gateway = certificates(bench, 'https://hosted.mender.io')
    podman('run', '--rm', '--network', 'none', '-e', 'HTTPS_ENABLED=true', '-e', 'HTTPS_LISTEN=:8443',
           '-e', 'UPSTREAM_SERVER_URL=https://hosted.mender.io',
           '-e', 'HTTPS_SERVER_CERTIFICATE=/etc/mender/certs/server.crt', '-e', 'HTTPS_SERVER_KEY=/etc/mender/certs/server.key',
           '-v', f'{gateway}/server.crt:/etc/mender/certs/server.crt:ro',
           '-v', f'{gateway}/server.key:/etc/mender/certs/server.key:ro', 'mgw-gateway', '--check-config')


def test_the_image_ends_where_the_original_does(_):
    text = (DOCKER / 'Dockerfile').read_text()
    for line in ('FROM scratch', 'USER 65534:65534', 'VOLUME ["/var/cache/mender-gateway", "/var/lib/mender-gateway"]'):
        check(line in text.split('# build: end')[1], f'{line} is not in the Dockerfile')
    check(pathlib.Path(DOCKER / 'compose.yaml').is_file(), 'no compose file')
