#!/usr/bin/env python3
"""Counts what a request costs the gateway, under valgrind's callgrind: instructions outside of the kernel, system calls and
heap allocations. Unlike times, these do not depend on what else the machine does.

  bench/instructions.py             counts, and compares with bench/instructions.json: fails where something grew by more than 5 %
                                    (system calls, which depend on time, too: 15 %)
  bench/instructions.py --write     counts, and writes that file
  bench/instructions.py --nginx     nginx beside it, by the same method (not compared, not written)
  bench/instructions.py --profile DIRECTORY    keeps callgrind's files there (*.6 has twice the requests of *.4)

bench/README.md says what the rows are. Numbers of another compiler, OpenSSL, C library or processor are not compared."""
import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from harness import Bench  # noqa: E402
from peers import DEVICES, HEADER, Gateway, Nginx, end  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
KEPT = os.path.join(HERE, "instructions.json")
COLUMNS = ("instructions", "system calls", "allocations")
# So much more is no growth yet. A timer ticks while a slow machine takes its time, at three system calls each.
GROWTH = {"instructions": 1.05, "system calls": 1.15, "allocations": 1.05}
SLACK = {"instructions": 0, "system calls": 1.5, "allocations": 0.5}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--programs", default="build/release/bin", help="where the programs are")
    p.add_argument("--write", action="store_true")
    p.add_argument("--nginx", action="store_true")
    p.add_argument("--profile", metavar="DIRECTORY")
    p.add_argument("--only", metavar="REGEX", default="", help="rows whose name matches")
    o = p.parse_args()
    o.directory = None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="mgw-instructions.")
    bench = Counting(o, work)
    try:
        counted = bench.run(CountedGateway)
        beside = bench.run(CountedNginx) if o.nginx else {}
    finally:
        bench.stop()
        shutil.rmtree(work, ignore_errors=True)
    kept = read_kept()
    show(counted, kept["rows"], beside)
    if bench.failures:
        print("\n".join("went wrong: " + f for f in bench.failures))
        return 1
    if o.write:
        with open(KEPT, "w") as out:
            json.dump({"made with": made_with(o.programs), "rows": {**kept["rows"], **counted} if o.only else counted}, out, indent=1)
            out.write("\n")
        return 0
    return compare(counted, kept, made_with(o.programs))


def read_kept():
    if not os.path.exists(KEPT):
        return {"made with": {}, "rows": {}}
    with open(KEPT) as f:
        return json.load(f)


def made_with(programs):
    """What numbers depend on beside the source."""
    def said(pattern, *command):
        found = re.search(pattern, subprocess.run(command, capture_output=True, text=True).stdout)
        return found.group(1) if found else "?"
    with open(os.path.join(programs, "../CMakeCache.txt")) as f:
        compiler = re.search(r"CMAKE_CXX_COMPILER:\w+=(.*)", f.read()).group(1)
    with open("/proc/cpuinfo") as f:
        flags = set(re.search(r"flags\s*:(.*)|$", f.read()).group(0).split())
    return {"compiler": said(r"(\d+\.\d+\.\d+)", compiler, "--version"),
            "openssl": said(r"OpenSSL (\S+)", "openssl", "version"),
            "libc": platform.libc_ver()[1],
            "valgrind": said(r"valgrind-(\S+)", "valgrind", "--version"),
            "processor": " ".join(f for f in ("aes", "avx2", "bmi2", "adx", "sha_ni") if f in flags)}


def show(counted, kept, beside):
    print("per request".ljust(44) + "".join(c.rjust(14) for c in COLUMNS))
    for name, now in counted.items():
        print(name.ljust(44) + "".join(f"{now[c]:14.1f}" for c in COLUMNS))
        for label, other in (("  kept", kept.get(name)), ("  nginx", beside.get(name))):
            if other:
                print(label.ljust(44) + "".join(f"{other[c]:14.1f}" for c in COLUMNS))


def compare(counted, kept, made):
    if kept["made with"] != made:
        print(f"not compared: made with {made}, the kept ones with {kept['made with']}")
        return 0
    status = 0
    for name, now in counted.items():
        for c in COLUMNS:
            before = kept["rows"].get(name, {}).get(c)
            if before is None or now[c] > before * GROWTH[c] + SLACK[c]:
                print(f"grew: {name}: {c}: {before} became {now[c]} (bench/instructions.py --write if it has to)")
                status = 1
    return status


def read_dump(path):
    """Instructions and system calls of a file of callgrind's, reading the time left out: that is none without valgrind."""
    names, instructions, calls = {}, 0, 0
    function, of_callee, is_clock = None, False, False
    with open(path) as f:
        for line in f:
            if line.startswith(("fn=", "cfn=")):
                number, _, name = line.rstrip("\n").partition("=")[2].partition(" ")
                function = names.setdefault(number, name) if line[0] == "f" else function
                names.setdefault(number, name)
                is_clock = any(word in function for word in ("clock_gettime", "gettimeofday", "time_syscall"))
            elif line.startswith("calls="):
                of_callee = True
            elif line[0].isdigit() or line[0] in "+-*":
                costs = [int(c) for c in line.split()[1:3]]
                if not of_callee:
                    instructions += costs[0]
                    calls += costs[1] if len(costs) > 1 and not is_clock else 0
                of_callee = False
    return instructions, calls


class Counted:
    """A proxy under callgrind."""

    def command(self, environment):
        keep = self.bench.o.profile or self.directory
        self.out = os.path.join(keep, f"{self.name}{self.starts}.callgrind")
        return ["valgrind", "-q", "--tool=callgrind", "--collect-systime=msec", f"--callgrind-out-file={self.out}", *super().command(environment)]

    def counts(self, name):
        """Instructions and system calls since the last time, and allocations so far."""
        subprocess.run(["vgdb", f"--pid={self.process.pid}", "dump", name], check=True, capture_output=True)
        self.dumps = getattr(self, "dumps", 0) + 1
        instructions, calls = read_dump(f"{self.out}.{self.dumps}")
        return instructions, calls, self.allocations()

    def start(self, counted=False):
        self.dumps = 0
        super().start(counted)


class CountedGateway(Counted, Gateway):
    def command(self, environment):
        # valgrind 3.19 gives up on clang 19's debugging information.
        stripped = os.path.join(self.bench.work, "mgw-gateway")
        if not os.path.exists(stripped):
            subprocess.run(["strip", "--strip-debug", "-o", stripped, self.bench.program("mgw-gateway")], check=True)
        command = super().command(environment)
        command[-1] = stripped
        # Without a verifier, which is started in a way that valgrind does not know (execveat(2)).
        environment.update(ARTIFACTS_PROXY_CACHE_VERIFY="off")
        return command


class CountedNginx(Counted, Nginx):
    def command(self, environment):
        command = super().command(environment)
        command[-1] += " master_process off;"
        return command


class Counting(Bench):
    # Milliseconds that origin and client wait, so that the proxy, which valgrind makes slow, always has to wait for them.
    pause = 5

    def run(self, proxy_type):
        if not hasattr(self, "cert"):
            self.make_certificate()
        rows = {}
        proxy = self.proxy = proxy_type(self)
        call = f"{DEVICES}/inventory/device/attributes?delay={self.pause}"
        poll = f"{DEVICES}/deployments/device/deployments/next?size=1024&name=polled"
        for self.origin_scheme, certificate in (("https", (self.cert, self.key)), ("http", ("-", "-"))):
            self.start_origin(*certificate)
            if self.origin_scheme == "https":
                wanted = [("relayed API call, TLS on both sides", 60, call, ()),
                          ("poll answered with a link, TLS on both sides", 40, poll, ()),
                          ("relayed API call on a new TLS connection", 20, call, ("--fresh",)),
                          ("cache hit of 1 KiB, TLS", 60, 1024, ("--pattern",)),
                          ("cache hit of 1 KiB, plain", 60, 1024, ("--pattern", "plain")),
                          ("cache hit of 1 MiB, TLS", 5, 1 << 20, ("--pattern",))]
            else:
                wanted = [("relayed API call, plain upstream", 60, call, ())]
            wanted = [w for w in wanted if re.search(self.o.only, w[0])]
            if wanted:
                proxy.start(counted=True)
            for name, requests, what, options in wanted:
                rows[name] = self.row(proxy, name, requests, what, options)
            proxy.stop()
            end(self.origin)
        return rows

    def row(self, proxy, name, requests, what, options):
        plain = "plain" in options
        url = proxy.artifact(*self.new_artifact(what), plain) if isinstance(what, int) else proxy.url(what, plain)
        options = [o for o in options if o != "plain"]
        counted = []
        for n in (3, requests, 2 * requests):  # the first warms up; what one connection costs falls out of the others
            before = proxy.counts("before")
            self.finish_load(proxy, self.start_load(url, "--requests", str(n), "--pause", str(self.pause), "--header", HEADER, *options))
            after = proxy.counts(name)
            counted.append((after[0], after[1], after[2] - before[2]))
        return {c: round((b - a) / requests, 1) for c, a, b in zip(COLUMNS, counted[1], counted[2])}

    def stop(self):
        if getattr(self, "proxy", None):
            self.proxy.stop()
        end(self.origin)


if __name__ == "__main__":
    sys.exit(main())
