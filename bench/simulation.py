#!/usr/bin/env python3
"""Checks the model of docs/sizing.md: a fleet polls and then updates through mgw-gateway, over a link of a stated rate.

  cmake --preset release && cmake --build --preset release --target mgw-gateway mgw-mini-mender mgw-fleet
  bench/simulation.py [--devices N] [--poll-interval S] [--artifact SIZE] [--link RATE] [--requests-per-second N]

All devices enrol, spread over one interval, and poll. Then the server has a deployment for them. TLS everywhere, a new
connection for each call of a device. The exit status is 1 unless each device got the right bytes and reported success, and
the artifact crossed the link once. bench/README.md says more.
"""
import argparse
import hashlib
import json
import math
import os
import pathlib
import re
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

sys.dont_write_bytecode = True
import harness  # noqa: E402
import model  # noqa: E402
import peers  # noqa: E402
from model import MIB  # noqa: E402
from slow_link import Link  # noqa: E402

# Over the slow link no packets are counted, and the demo's tokens have some 320 bytes.
TLS_ONLY, POLL = 1.002, 1230
QUEUE = 256 << 10  # of the link


class Gateway(peers.Gateway):
    """With an audit log and without a status page; whatever else is not about this machine has its default."""

    def command(self, environment):
        command = super().command(environment)
        for name in ("ARTIFACTS_PROXY_CACHE_VERIFY", "HTTP_ENABLED", "HTTP_LISTEN", "DRAIN_TIMEOUT", "UPSTREAM_REQUESTS_PER_SECOND"):
            environment.pop(name)
        environment.update(UPSTREAM_REQUESTS_PER_SECOND=str(self.bench.o.requests_per_second), ADMIN_ENABLED="false",
                           AUDIT_PATH=os.path.join(self.directory, "audit"))
        return command

    def sockets(self):
        count = 0
        for fd in os.listdir(f"/proc/{self.process.pid}/fd"):
            try:
                count += os.readlink(f"/proc/{self.process.pid}/fd/{fd}").startswith("socket:")
            except OSError:  # closed meanwhile
                pass
        return count

    def written(self, name):
        """Bytes of its files that begin so."""
        return sum(f.stat().st_size for f in pathlib.Path(self.directory).glob(name + "*"))

    def cached(self):
        """Blocks on the disk."""
        return sum(f.lstat().st_blocks * 512 for f in pathlib.Path(self.directory, "cache").rglob("*") if f.is_file())


class Peak(threading.Thread):
    """The largest of what `sample` gives, twice a second."""

    def __init__(self, sample):
        super().__init__(daemon=True)
        self.sample, self.value, self.over = sample, 0, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.5):
            self.value = max(self.value, self.sample())

    def end(self):
        self.over.set()
        self.join()
        return self.value


def cpu_of(*pids):
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


class Simulation(harness.Bench):
    def versions(self):
        return harness.own_version()

    def run(self):
        self.server = self.fleet = None
        self.print_machine()
        self.make_certificate()
        artifact = os.path.join(self.work, "demo-2.mender")
        subprocess.run([self.program("mgw-mini-mender"), "--make-artifact", artifact, "--size", str(int(self.o.artifact))], check=True)
        self.size = os.path.getsize(artifact)
        with open(artifact, "rb") as f:
            self.sha256 = hashlib.file_digest(f, "sha256").hexdigest()
        port = peers.free_port()
        with Link(port, self.o.link, QUEUE, self.load_core) as link:
            self.link, self.origin_port = link, link.port
            self.start_server(port, artifact)
            self.gateway = Gateway(self)
            self.relays = [self.gateway]
            self.gateway.start()
            self.enrol()
            self.poll()
            self.update()
        self.report()

    def stop(self):
        for process in (self.fleet, self.server):
            peers.end(process)
        super().stop()

    def start_server(self, port, artifact):
        with open(os.path.join(self.work, "server"), "wb") as out:
            self.server = subprocess.Popen([
                self.program("mgw-mini-mender"), "--listen", f"127.0.0.1:{port}", "--cert", self.cert, "--key", self.key,
                "--artifact", artifact, "--deploy-later", "--public-url", f"https://localhost:{self.link.port}"],
                stdout=out, stderr=out, preexec_fn=self.on_load_core)
        peers.wait_for_port(port, self.server)
        self.control = f"https://localhost:{port}/demo/"

    def call(self, path, method="GET"):
        context = ssl.create_default_context(cafile=self.cert)
        with urllib.request.urlopen(urllib.request.Request(self.control + path, method=method), context=context, timeout=60) as answer:
            return answer.read()

    def stats(self):
        return json.loads(self.call("stats"))

    def over_link(self):
        """Bytes so far, both ways."""
        return self.link.passed.value + self.link.returned.value

    def written(self):
        """Bytes of the log and the audit log."""
        return self.gateway.written("log") + self.gateway.written("audit")

    # -- what happens

    def enrol(self):
        self.fleet = subprocess.Popen([
            self.program("mgw-fleet"), "--server", f"https://127.0.0.1:{self.gateway.port}", "--ca", self.cert, "--devices",
            str(self.o.devices), "--poll-interval", str(round(self.o.poll_interval * 1000)), "--expect-sha256", self.sha256,
            "--expect-size", str(self.size)], stdout=subprocess.PIPE, text=True, preexec_fn=self.on_load_core)
        line = self.fleet.stdout.readline()
        while line and not line.startswith("fleet:"):
            self.failures.append(line.strip())
            line = self.fleet.stdout.readline()
        print(line.strip(), flush=True)

    def poll(self):
        """Counts for an interval, but not longer than for a minute."""
        calls, passed, cpu, began = self.stats()["api_requests"], self.over_link(), self.gateway.cpu(), time.monotonic()
        time.sleep(min(self.o.poll_interval, 60))
        cpu, passed, took = self.gateway.cpu() - cpu, self.over_link() - passed, time.monotonic() - began
        calls = self.stats()["api_requests"] - calls
        self.calls, self.polling_cpu, self.polling_link = calls / took, cpu / took, passed / took

    def update(self):
        gateway, load = self.gateway, (self.fleet.pid, self.server.pid, self.link.process.pid)
        passed, cpu, children, busy = self.over_link(), gateway.cpu(), gateway.children_cpu(), cpu_of(*load)
        written, sockets, began, peak = self.written(), gateway.sockets(), time.monotonic(), Peak(gateway.sockets)
        self.call("deploy", "POST")
        self.ends, updated = [], 0
        for line in self.fleet.stdout:
            if line.startswith("fleet:"):
                self.fleet_says = line.strip()
                self.busy = (cpu_of(*load) - busy) / (time.monotonic() - began)
                continue
            self.ends.append(time.monotonic() - began)
            if line.rstrip().endswith("sha256 ok"):
                updated += 1
            else:
                self.failures.append(line.strip())
        self.fleet.wait()
        self.sockets = peak.end() - sockets
        self.update_link, self.update_cpu = self.over_link() - passed, gateway.cpu() - cpu
        self.verifier_cpu = gateway.children_cpu() - children
        self.memory, self.cache, self.logs = gateway.memory("VmHWM"), gateway.cached(), self.written() - written
        self.check(updated)

    def check(self, updated):
        stats, n = self.stats(), self.o.devices
        if updated != n or self.fleet.returncode != 0:
            self.failures.append(f"{updated} of {n} devices were updated")
        succeeded = sum(d["statuses"][-1:] == ["success"] for d in stats["devices"].values())
        if succeeded != n:
            self.failures.append(f"{succeeded} of {n} devices reported success")
        if stats["artifact_bytes"] != self.size:
            self.failures.append(f"{stats['artifact_bytes']} bytes of an artifact of {self.size} left the server")

    # -- what came out

    def report(self):
        site = model.Site(devices=self.o.devices, poll_interval=self.o.poll_interval, artifact=self.size, link=self.o.link,
                          inventory_interval=math.inf, requests_per_second=self.o.requests_per_second, packets=TLS_ONLY, poll=POLL,
                          call_cpu=self.o.call * 1e-6, hit_cpu=self.o.hit / model.GIB)
        print(f"{self.fleet_says}; the load's core was busy to {100 * self.busy:.0f} % of the update\n")
        print(f"| {self.o.devices} devices, a poll in {self.o.poll_interval:g} s, {self.size / MIB:.1f} MiB at {self.o.link / MIB:g} MiB/s "
              "| model | measured | ratio |\n|---|---|---|---|")
        ends = sorted(self.ends) or [math.nan]
        for what, expected, measured, unit, digits in (
                ("calls in a second", site.calls_per_second(), self.calls, 1, 1),
                ("CPU while polling, ms in a second", site.polling_cpu(), self.polling_cpu, 1e-3, 1),
                ("link while polling, KiB/s", site.polling_link(), self.polling_link, 1024, 1),
                ("CPU of the update, s", site.update_cpu(), self.update_cpu + self.verifier_cpu, 1, 1),
                ("connections at the same time", site.together(), self.sockets, 1, 0),
                ("peak memory, MiB", site.memory(), self.memory, MIB, 1),
                ("cache on disk, MiB", self.size, self.cache, MIB, 1),
                ("log and audit log, MiB", site.logs(), self.logs, MIB, 1),
                ("link for the update, MiB", site.update_link(), self.update_link, MIB, 1),
                ("first device updated, s", site.first(), ends[0], 1, 1),
                ("median, s", site.median(), statistics.median(ends), 1, 1),
                ("last, s", site.last(), ends[-1], 1, 1)):
            print(f"| {what} | {expected / unit:.{digits}f} | {measured / unit:.{digits}f} | {measured / expected:.2f} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--programs", default="build/release/bin")
    p.add_argument("--directory")
    p.add_argument("--devices", type=int, default=5000)
    p.add_argument("--poll-interval", type=float, default=200, metavar="S", help="seconds (200)")
    p.add_argument("--artifact", type=model.size, default=8 * MIB, metavar="SIZE", help="of its payload (8MiB)")
    p.add_argument("--link", type=model.size, default=MIB // 2, metavar="RATE", help="bytes in a second (512KiB)")
    p.add_argument("--requests-per-second", type=int, default=80, help="UPSTREAM_REQUESTS_PER_SECOND; 0: no limit (80)")
    p.add_argument("--call", type=float, default=model.CALL * 1e6, metavar="US", help="what a relayed call on a new TLS connection costs on "
                   "this machine by bench/measure.py, in µs")
    p.add_argument("--hit", type=float, default=model.HIT * model.GIB, metavar="S", help="what a GiB from the cache costs over TLS, in seconds")
    return 1 if harness.measure(Simulation, p.parse_args(), "simulation") else 0


if __name__ == "__main__":
    sys.exit(main())
