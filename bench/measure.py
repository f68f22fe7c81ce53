#!/usr/bin/env python3
"""Measures mgw-gateway side by side with nginx, HAProxy, Varnish, Squid and Apache Traffic Server, and prints a table. bench/run.sh
builds and starts it; bench/README.md says what is measured and what to think of it."""
import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import micro  # noqa: E402
import report  # noqa: E402
from harness import enter_own_network  # noqa: E402
from rows import Rows  # noqa: E402


def main():
    o = read_options()
    enter_own_network()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    o.idle = min(o.idle, limit - 1000)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    work = tempfile.mkdtemp(prefix="mgw-bench.", dir=o.directory)
    bench = Rows(o, work)
    try:
        bench.print_machine()
        machine = bench.machine()
        rows = bench.run()
    finally:
        bench.stop()
        shutil.rmtree(work, ignore_errors=True)
    steps = measure_steps(o)
    print("\n".join(["", *report.table(rows), "", *report.memory_table(rows)]))
    if steps:
        print("\n".join(["", *micro.table(steps)]))
    print()
    for f in bench.failures:
        print("went wrong: " + f)
    print(f"measured in {time.monotonic() - started:.0f} s")
    if o.json:
        with open(o.json, "w") as out:
            json.dump(report.as_json(rows, machine, bench.failures, steps), out, indent=1)
    if o.charts:
        report.write_charts(rows, o.charts)


def measure_steps(o):
    """bench/micro.py's, where its program was built and no rows of the table are asked for."""
    program = os.path.join(o.programs, "mgw-bench-micro")
    if o.only or not os.path.exists(program):
        return []
    print("  single steps ...", file=sys.stderr, flush=True)
    return micro.measure(program, rounds=o.rounds)


def read_options():
    p = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    p.add_argument("--programs", default="build/release/bin", help="where the programs are")
    p.add_argument("--directory", help="where caches and logs go (the system's temporary directory)")
    p.add_argument("--quick", action="store_true", help="less of everything")
    p.add_argument("--rounds", type=int, help="how often each figure of CPU is taken; the median counts (5; 3)")
    p.add_argument("--seconds", type=float, help="of each round of relayed calls (2; 1)")
    p.add_argument("--object", type=int, metavar="MIB", help="size of a large object that is served from the cache (256; 64)")
    p.add_argument("--volume", type=int, metavar="MIB", help="of larger objects that is served in each round, if the clients are few (256; 64)")
    p.add_argument("--small", type=int, help="requests for an object of 1 KiB, each round (8000; 2000)")
    p.add_argument("--handshakes", type=int, help="relayed calls on connections of their own, each round (1000; 200)")
    p.add_argument("--messages", type=int, help="there and back on WebSockets, each round (8000; 2000)")
    p.add_argument("--idle", type=int, help="idle connections (5000; 500)")
    p.add_argument("--clients", type=int, help="of one cold object (200; 200)")
    p.add_argument("--cold", type=int, metavar="MIB", help="size of the cold object (32; 16)")
    p.add_argument("--rate", type=int, default=8, metavar="MIB", help="of the upstream link for the cold object, in a second (8)")
    p.add_argument("--slow", type=int, help="slow clients of one big object (50; 50)")
    p.add_argument("--slow-rate", type=int, default=2, metavar="MIB", help="that each of them reads in a second (2)")
    p.add_argument("--big", type=int, metavar="MIB", help="size of the big object (1024; 128)")
    p.add_argument("--big-rate", type=int, default=64, metavar="MIB", help="of the upstream link for it, in a second (64)")
    p.add_argument("--only", help="rows whose name matches this regular expression")
    p.add_argument("--json", help="writes all figures to this file")
    p.add_argument("--charts", metavar="DIR", help="draws charts (SVG) into this directory")
    o = p.parse_args()
    full_and_quick = dict(rounds=(5, 3), seconds=(2, 1), object=(256, 64), volume=(256, 64), small=(8000, 2000),
                          handshakes=(1000, 200), messages=(8000, 2000), idle=(5000, 500), clients=(200, 200), cold=(32, 16), slow=(50, 50), big=(1024, 128))
    for name, (full, quick) in full_and_quick.items():
        if getattr(o, name) is None:
            setattr(o, name, quick if o.quick else full)
    return o


if __name__ == "__main__":
    main()
