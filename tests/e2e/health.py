"""`mgw-gateway health`, by which containers find out whether the gateway is alive; the manual page and the completion."""
import os
import pathlib
import re
import socket
import subprocess

from support import BIN, check, gateway_environment, start_gateway, until

NOWHERE = 'http://127.0.0.1:9'


def health(environment, *args):
    own = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
    done = subprocess.run([BIN / 'mgw-gateway', 'health', *args], env={**own, **environment}, capture_output=True, text=True,
                          timeout=60)
    check(not done.stdout, f'it printed {done.stdout}')
    return done.returncode, done.stderr


def listener():
    taken = socket.create_server(('127.0.0.1', 0))
    return taken, f'127.0.0.1:{taken.getsockname()[1]}'


def test_one_that_serves_is_alive(bench):
    gateway = start_gateway(bench, NOWHERE)
    where = {'HTTPS_ENABLED': 'true', 'HTTPS_LISTEN': f'127.0.0.1:{gateway.port}'}
    check(health(where) == (0, ''), f'it runs: {health(where)}')
    check(gateway.stop() == 0, 'the gateway did not end cleanly')
    status, said = health(where)
    check(status == 1 and 'Connection refused' in said, f'it has ended: {status} {said}')


def test_each_listener_has_to_answer(bench):
    gateway = start_gateway(bench, NOWHERE)
    free, address = listener()
    free.close()
    status, said = health({'HTTPS_ENABLED': 'true', 'HTTPS_LISTEN': f'127.0.0.1:{gateway.port}', 'HTTP_ENABLED': 'true',
                           'HTTP_LISTEN': address})
    check(status == 1 and address in said and str(gateway.port) not in said, f'{status} {said}')
    status, said = health({})
    check(status == 1 and 'neither' in said, f'no listener: {status} {said}')


def test_with_mutual_tls_it_asks_without_a_certificate(bench):
    audit = bench.path('audit', 'log')
    gateway = start_gateway(bench, NOWHERE, MTLS_ENABLED='true', MTLS_CA_CERTIFICATE=str(bench.pki.ca),
                            MTLS_MENDER_USERNAME='gw@example.com', MTLS_MENDER_PASSWORD='secret', LOG_LEVEL='debug',
                            AUDIT_PATH=str(audit))
    where = {'HTTPS_ENABLED': 'true', 'HTTPS_LISTEN': f'127.0.0.1:{gateway.port}', 'MTLS_ENABLED': 'true'}
    check(health(where) == (0, ''), f'it runs: {health(where)}')
    lines = until(lambda: re.findall('level=.* msg="?handshake with 127.0.0.1.*', gateway.log), 10, 'a word of it')
    check(all(line.startswith('level=debug') for line in lines), f'it is told as if a device had come: {lines}')
    gateway.stop()
    check('certificate_refused' not in audit.read_text(), 'it is recorded as if a device had come')
    check(health(where)[0] == 1, f'it has ended: {health(where)}')


def test_a_listener_that_says_nothing_is_not_alive(bench):
    taken, address = listener()  # the kernel takes connections, nobody answers
    with taken:
        for name in ('HTTP', 'HTTPS'):
            status, said = health({f'{name}_ENABLED': 'true', f'{name}_LISTEN': address}, '--timeout', '1')
            check(status == 1 and address in said, f'{name}: {status} {said}')


def said_by(flag):
    return subprocess.run([BIN / 'mgw-gateway', flag], capture_output=True, text=True, timeout=30, check=True).stdout


def test_manual_page_and_completion_have_all_that_help_has(bench):
    settings = set(re.findall(r'^  ([A-Z]\w*(?:\.\w+)*)(?:  [A-Z_]+)?$', said_by('--help'), re.M))
    flags = set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', said_by('--help').split('Settings are keys')[0]))
    commands = set(re.findall(r'^  ([a-z]+)  ', said_by('--help').split('Subcommands:')[1], re.M))
    check(len(settings) > 50 and len(flags) > 3 and 'doctor' in commands, f'{settings} {flags} {commands}')
    page, completion = said_by('--manual-page').replace('\\-', '-'), said_by('--bash-completion')
    headings = set(re.findall(r'^\.B ([\w.]+)', page, re.M))
    check(settings <= headings, f'not in the page: {settings - headings}')
    check(flags <= set(re.findall(r'--[a-z][a-z-]+', page)), f'not in the page: {flags}')
    for command in commands:
        check(re.search(rf'^\.SS "{command}\b', page, re.M), f'{command} is not in the page')
    signals = re.findall(r'^\.B (SIG.*)', page.split('.SH SIGNALS\n')[1].split('.SH')[0], re.M)
    check(signals == ['SIGTERM, SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'], f'signals: {signals}')
    files = re.findall(r'^\.I (\S+)', page.split('.SH FILES\n')[1].split('.SH')[0], re.M)
    state = '/var/lib/mender-gateway/'
    check({'/etc/mender/mender-gateway.conf', '/var/cache/mender-gateway/', state, state + 'link-secret', state + 'bindings',
           state + 'control.sock', state + 'audit-key'} <= set(files), f'files: {files}')
    start_gateway(bench, NOWHERE, AUDIT_PATH=str(bench.path('audit', 'log')))
    there = {p.name for p in pathlib.Path(gateway_environment(bench, NOWHERE)['STATE_DIRECTORY']).iterdir()}
    check({'link-secret', 'audit-key', 'audit-settings'} <= there, f'in the state directory: {there}')
    check(all(state + name in page for name in there), f'not in the page: {there}')

    def completed(*words):
        script = (completion + f'\nCOMP_WORDS=({" ".join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}\n'
                  '_mgw_gateway; printf "%s\\n" "${COMPREPLY[@]}"')
        return set(subprocess.run(['bash', '-c', script], capture_output=True, text=True, timeout=30, check=True).stdout.split())
    check(completed('mgw-gateway', '') == flags | commands, f'{completed("mgw-gateway", "")} {flags} {commands}')
    check(completed('mgw-gateway', 'doc') == {'doctor'}, str(completed('mgw-gateway', 'doc')))
    check('--json' in completed('mgw-gateway', 'cache', 'list', '--'), str(completed('mgw-gateway', 'cache', 'list', '--')))
    check(completed('mgw-gateway', '--log-level', 'w') == {'warn'}, str(completed('mgw-gateway', '--log-level', 'w')))
    check(not completed('mgw-gateway', '--config', ''), 'a file is for the shell to complete')
