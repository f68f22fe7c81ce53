#!/usr/bin/env python3
"""Carries out the deployments of examples/gateway/deploy/: `run.py [--list] [NAME ...]`, where NAME is part of `file.test`.

The programs are taken from build/release/bin, or from $MGW_BIN. What cannot be done on this machine is a SKIP line that says
why. Output: `PASS file.test (seconds)`, `FAIL …` or `SKIP …` for each, and a last line `deploy: N passed, N failed`.
"""
import argparse
import importlib
import pathlib
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'e2e'))
import run as e2e  # noqa: E402


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--list', action='store_true', help='only name the tests')
    arguments.add_argument('names', nargs='*', metavar='NAME')
    chosen = arguments.parse_args()
    sys.path.insert(0, str(HERE))
    tests = []
    for path in sorted(HERE.glob('deploy_*.py')):
        for name, function in vars(importlib.import_module(path.stem)).items():
            full = f'{path.stem.removeprefix("deploy_")}.{name.removeprefix("test_")}'
            if name.startswith('test_') and (not chosen.names or any(n in full for n in chosen.names)):
                tests.append((full, function))
    if chosen.list:
        print('\n'.join(full for full, _ in tests))
        return 0
    results = [e2e.run_one(full, function) for full, function in tests]
    print(f'deploy: {results.count(True)} passed, {results.count(False)} failed')
    return 1 if False in results or not results else 0


if __name__ == '__main__':
    sys.exit(main())
