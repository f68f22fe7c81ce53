"""The simulation that docs/sizing.md checks its model with, small: it says of every device whether it was updated."""
import pathlib
import re
import subprocess
import sys

from support import BIN, check

SIMULATION = pathlib.Path(__file__).resolve().parents[2] / 'bench/simulation.py'


def test_of_forty_devices(bench):
    done = subprocess.run([sys.executable, '-B', SIMULATION, '--programs', BIN, '--devices', '40', '--poll-interval', '2', '--artifact', '1MiB',
                           '--link', '1MiB'], capture_output=True, text=True, timeout=120)
    check(done.returncode == 0 and 'fleet: 40 of 40 updated' in done.stdout and 'went wrong' not in done.stdout,
          f'status {done.returncode}: {done.stdout}{done.stderr}')
    rows = re.findall(r'^\| (.+?) \| ([\d.]+) \| ([\d.]+) \| [\d.]+ \|$', done.stdout, re.M)
    check(len(rows) == 12 and all(float(measured) > 0 for _, _, measured in rows), f'not every quantity was measured: {done.stdout}')
