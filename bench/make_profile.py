#!/usr/bin/env python3
"""Writes examples/gateway/profile.tar.xz, by which the release build lays out the gateway's code: how often each function of it
runs, and which way it goes there, under relayed calls, hits of small objects, handshakes, and polls answered with links.

  bench/make_profile.py      needs what bench/run.sh installs, and llvm-profdata-19 (Debian: llvm-19)

To be run again when the ways of requests have changed; bench/instructions.py shows what a request costs."""
import argparse
import lzma
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
from peers import DEVICES, HEADER, Gateway  # noqa: E402
from rows import Rows  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEPT = ROOT / "examples/gateway/profile.tar.xz"
BUILD = ROOT / "build/profile"
COUNTED = BUILD / "counted"
ROWS = r"^(relayed|the same with|cache hits, (TLS|plain), 1 KiB, 64)"


class CountingGateway(Gateway):
    def command(self, environment):
        environment["LLVM_PROFILE_FILE"] = str(COUNTED / "%m.profraw")  # each adds to it at its end
        return super().command(environment)


class Training(Rows):
    def make_proxies(self):
        self.proxies = self.relays = self.caches = [CountingGateway(self)]

    def polls(self):
        gateway = self.relays[0]
        gateway.start()
        self.load(gateway, gateway.url(f"{DEVICES}/deployments/device/deployments/next?size=1024&name=polled"), "--clients", "8",
                  "--requests", "500", "--header", HEADER)
        gateway.stop()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    build()
    train()
    # What never ran is in it, too: else it would be taken for what may run often.
    subprocess.run(["llvm-profdata-19", "merge", *COUNTED.iterdir(), "-o", BUILD / "gateway.profdata"], check=True)
    with tarfile.open(KEPT, "w:xz", preset=9 | lzma.PRESET_EXTREME) as archive:
        archive.add(BUILD / "gateway.profdata", "gateway.profdata", filter=nobodys)
    print(f"{KEPT.relative_to(ROOT)}: {KEPT.stat().st_size} bytes")


def build():
    subprocess.run(["cmake", "--preset", "release", "-B", BUILD, "-DMGW_PROFILE=COUNT", "-DMGW_BUILD_BENCH=ON", "-DMGW_BUILD_TESTS=OFF"],
                   cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", BUILD, "--target", "mgw-gateway", "mgw-bench-origin", "mgw-bench-load"], check=True)


def train():
    shutil.rmtree(COUNTED, ignore_errors=True)
    os.environ["LLVM_PROFILE_FILE"] = os.devnull  # of the programs beside it
    work = tempfile.mkdtemp(prefix="mgw-profile.")
    o = argparse.Namespace(programs=str(BUILD / "bin"), only=ROWS, rounds=1, seconds=1, object=1, small=24_000, handshakes=200, idle=0,
                           clients=0, cold=0, rate=0, slow=0, slow_rate=0, big=0, big_rate=0)
    bench = Training(o, work)
    try:
        bench.run()
        bench.polls()
    finally:
        bench.stop()
        shutil.rmtree(work, ignore_errors=True)
    if bench.failures:
        sys.exit("\n".join(bench.failures))


def nobodys(member):
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
