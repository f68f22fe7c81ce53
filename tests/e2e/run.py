#!/usr/bin/env python3
"""Runs the end-to-end tests: `run.py [--list] [NAME ...]`, where NAME is part of `file.test`.

The programs are taken from build/release/bin, or from $MGW_BIN. Those tests that run Mender's own client need root: the
client's compiled-in paths are laid over with bind mounts in a mount namespace of this process alone, so that nothing of
the machine changes. Where they cannot run, one SKIP line says why; with MGW_CI=1 that is a failure.

Output: `PASS file.test (seconds)` or `FAIL …` for each, the reason and the ends of the logs of what failed, and a last line
`e2e: N passed, N failed`.
"""
import argparse
import concurrent.futures
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.dont_write_bytecode = True
import support  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
NAMESPACE = 'MGW_E2E_NAMESPACE'  # the scratch directory of the process that runs in its own mount namespace
# Tests that mostly wait, and files of such: they run beside the others, which run one after another.
CONCURRENT = ('client_commit', 'client_cut', 'client_outage', 'disk_trouble.disk_hangs', 'disk_trouble.end_while_the_disk_hangs',
              'real_clients', 'scripted_clients', 'simulation', 'squid', 'long_clients',
              'status_page.connection_lost_and_found_again', 'status_page.real_gateway', 'status_page.without_events_it_asks')
MODULES = pathlib.Path('/usr/share/mender/modules/v3')
CONFIGURE = '''#!/bin/sh
# Stands in for mender-configure's update module: keeps the configuration where only this device has it.
case $1 in
  NeedsArtifactReboot | SupportsRollback) echo No ;;
  ArtifactInstall) cp "$2/header/meta-data" "$2/../../../../../device-config.json" ;;
esac
'''


def client_files(scratch):
    """What Mender's client wants at places that are compiled in: {path on the machine: its stand-in}."""
    identity, inventory, etc, modules = (scratch / name for name in ('identity', 'inventory', 'etc', 'modules'))
    shutil.copytree(MODULES, modules)
    (modules / 'mender-configure').write_text(CONFIGURE)
    (modules / 'mender-configure').chmod(0o755)
    for directory in (identity, inventory, etc):
        directory.mkdir()
    script = identity / 'mender-device-identity'
    script.write_text('#!/bin/sh\necho "mac=$MGW_E2E_DEVICE"\n')
    script.chmod(0o755)
    (etc / 'artifact_info').write_text('artifact_name=release-1\n')
    return {'/usr/share/mender/identity': identity, '/usr/share/mender/inventory': inventory, '/etc/mender': etc,
            str(MODULES): modules}


def missing():
    """Why Mender's client cannot be run here, or None."""
    for tool in ('mender', 'mender-artifact', 'openssl', 'unshare', 'mount'):
        if not shutil.which(tool):
            return f'{tool} is not installed'
    if os.geteuid() != 0:
        return 'needs root'
    tried = subprocess.run(['unshare', '-m', 'true'], capture_output=True, text=True)
    return None if tried.returncode == 0 else f'no mount namespace to be had: {tried.stderr.strip()}'


def enter_namespace():
    """Starts this program again in a mount namespace of its own, and ends with its exit status."""
    with tempfile.TemporaryDirectory(prefix='mgw-e2e-machine-') as scratch:
        mounts = ' && '.join(f'mkdir -p {path} && mount --bind {stand_in} {path}'
                             for path, stand_in in client_files(pathlib.Path(scratch)).items())
        args = ['unshare', '-m', '--propagation', 'private', 'sh', '-c', f'{mounts} && exec "$@"', 'sh',
                sys.executable, __file__, *sys.argv[1:]]
        child = subprocess.Popen(args, env={**os.environ, NAMESPACE: scratch})
        try:
            status = child.wait()
        except KeyboardInterrupt:
            status = child.wait()
    sys.exit(status)


def collect(names):
    """[(file.test, function, whether it needs Mender's client)]"""
    found = []
    for path in sorted(HERE.glob('*.py')):
        if path.stem in ('run', 'support', 'fleet_server', 'clients'):
            continue
        module = importlib.import_module(path.stem)
        if getattr(module, 'BY_NAME', False) and not any(n.startswith(path.stem) for n in names):
            continue
        for name, function in vars(module).items():
            full = f'{path.stem}.{name.removeprefix("test_")}'
            if name.startswith('test_') and (not names or any(n in full for n in names)):
                found.append((full, function, getattr(module, 'NEEDS_CLIENT', False)))
    return found


printing = threading.Lock()


def run_one(full, function):
    began = time.monotonic()
    bench, failure, skipped = support.Bench(full.replace('.', '-')), None, None
    try:
        with bench:
            function(bench)
    except support.Skip as e:
        skipped = str(e)
    except support.Failure as e:
        failure = str(e) + '\n' + ''.join(traceback.format_tb(e.__traceback__)[-1:])
    except BaseException:  # noqa: B902
        failure = traceback.format_exc()
    with printing:
        took = f'{time.monotonic() - began:.1f} s'
        print(f'{"SKIP" if skipped else "FAIL" if failure else "PASS"} {full} ({skipped or took})')
        if failure:
            print('    ' + failure.rstrip().replace('\n', '\n    '))
            for tail in bench.tails:
                print('    ' + tail.replace('\n', '\n    '))
        sys.stdout.flush()
    return None if skipped else failure is None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--list', action='store_true', help='only name the tests')
    arguments.add_argument('names', nargs='*', metavar='NAME')
    chosen = arguments.parse_args()
    tests = collect(chosen.names)
    if chosen.list:
        print('\n'.join(full for full, _, _ in tests))
        return 0
    refused, reason = 0, missing() if any(needs for _, _, needs in tests) else None
    if reason:
        skipped = [full for full, _, needs in tests if needs]
        must = os.environ.get('MGW_CI') == '1'
        for full in skipped:
            print(f'{"FAIL" if must else "SKIP"} {full} ({reason})')
        refused = len(skipped) if must else 0
        tests = [t for t in tests if not t[2]]
    elif any(needs for _, _, needs in tests) and NAMESPACE not in os.environ:
        enter_namespace()
    slow = [t for t in tests if t[0].startswith(CONCURRENT)]
    with concurrent.futures.ThreadPoolExecutor(max(1, len(slow))) as beside:
        later = [beside.submit(run_one, full, function) for full, function, _ in slow]
        results = [run_one(full, function) for full, function, _ in tests if not full.startswith(CONCURRENT)]
        results += [f.result() for f in later]
    failed = refused + results.count(False)
    print(f'e2e: {results.count(True)} passed, {failed} failed')
    return 1 if failed or not results else 0


if __name__ == '__main__':
    sys.exit(main())
