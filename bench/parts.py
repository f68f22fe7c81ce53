#!/usr/bin/env python3
"""Measures what each part of mgw-gateway costs for each GiB of an artifact, over HTTP and over TLS, and prints a table.

  cmake --preset release -DMGW_BUILD_BENCH=ON && cmake --build --preset release --target mgw-gateway mgw-bench-origin mgw-bench-load
  bench/parts.py [--quick]

bench/README.md says what the parts are. Figures are CPU seconds, user and system, of the gateway's process, or of the
verifier's process where the table says so, for each GiB that is downloaded. The median of the rounds counts.
"""
import argparse
import glob
import hashlib
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import time

from harness import GIB, MIB, Bench, measure, own_version
from peers import Gateway, end

OFF = dict(ARTIFACTS_PROXY_CACHE_VERIFY="off")
VERIFY = dict(ARTIFACTS_PROXY_CACHE_VERIFY="artifact")
NO_CACHE = dict(ARTIFACTS_PROXY_CACHE_ENABLED="false")


def main():
    p = argparse.ArgumentParser(prog="bench/parts.py", description=__doc__.splitlines()[0])
    p.add_argument("--programs", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../build/release/bin"), help="where the programs are")
    p.add_argument("--directory", help="where the caches go (the system's temporary directory)")
    p.add_argument("--quick", action="store_true", help="less of everything")
    p.add_argument("--size", type=int, metavar="MIB", help="of an artifact's payload (512; 64)")
    p.add_argument("--rounds", type=int, help="how often each figure is taken (5; 3)")
    o = p.parse_args()
    o.size, o.rounds = o.size or (64 if o.quick else 512), o.rounds or (3 if o.quick else 5)
    measure(Parts, o, "parts")


# ---- artifacts --------------------------------------------------------------------------------------------------------

class Payload(io.RawIOBase):
    """The gateway's own program, over and over: as compressible as a root file system is; gzip looks back 32 KiB only."""

    def __init__(self, program, size):
        with open(program, "rb") as f:
            self.text = f.read()
        self.at, self.size = 0, size

    def read(self, n=-1):
        begin = self.at % len(self.text)
        piece = self.text[begin:begin + min(n if n >= 0 else self.size, self.size - self.at)]
        self.at += len(piece)
        return piece if not piece or len(piece) == n else piece + self.read(n - len(piece))


def add(archive, files):
    for name, content in files.items():
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def tar(files, compression):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:" + compression, format=tarfile.PAX_FORMAT) as archive:
        add(archive, files)
    return out.getvalue()


def make_artifact(path, program, size, compression):
    """A Mender artifact of format 3 with one file of `size` bytes."""
    suffix = "." + compression if compression else ""
    data = path + ".data"
    how = dict(compresslevel=6) if compression else {}
    with tarfile.open(data, "w:" + compression, format=tarfile.PAX_FORMAT, **how) as archive:
        entry = tarfile.TarInfo("rootfs.img")
        entry.size = size
        archive.addfile(entry, Payload(program, size))
    payload, digest = Payload(program, size), hashlib.sha256()
    while piece := payload.read(MIB):
        digest.update(piece)
    version = b'{"format":"mender","version":3}'
    info = (b'{"payloads":[{"type":"single-file"}],"artifact_provides":{"artifact_name":"bench"},'
            b'"artifact_depends":{"device_type":["bench"]}}')
    header = tar({"header-info": info, "headers/0000/type-info": b'{"type":"single-file"}'}, compression)
    manifest = "".join(f"{sha}  {name}\n" for sha, name in (
        (hashlib.sha256(version).hexdigest(), "version"), (hashlib.sha256(header).hexdigest(), "header.tar" + suffix),
        (digest.hexdigest(), "data/0000/rootfs.img")))
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, {"version": version, "manifest": manifest.encode(), "header.tar" + suffix: header})
        archive.add(data, "data/0000.tar" + suffix)
    os.remove(data)
    return path


# ---- what is measured -------------------------------------------------------------------------------------------------

class Part(Gateway):
    """The gateway with some settings, and with or without TLS on both sides."""

    def start_with(self, settings):
        self.settings = settings
        self.start()

    def command(self, environment):
        command = super().command(environment)
        environment.update(self.settings)
        return command

    def stop(self):
        if self.process:
            super().stop()
            shutil.rmtree(self.directory)

    def settle(self):
        """Waits until it has no verifier any more and does nothing; returns its CPU and its children's."""
        children = lambda: any(open(path).read() for path in glob.glob(f"/proc/{self.process.pid}/task/*/children"))
        before, now = -1, self.cpu()
        while children() or now - before > 0.001:
            time.sleep(0.1)
            before, now = now, self.cpu()
        return now, self.children_cpu()


class Parts(Bench):
    def run(self):
        self.print_machine()
        self.make_certificate()
        program = self.program("mgw-gateway")
        self.plain, self.gzip = (make_artifact(os.path.join(self.work, name), program, self.o.size * MIB, compression)
                                 for name, compression in (("plain.mender", ""), ("gzip.mender", "gz")))
        unpacked = self.o.size * MIB / os.path.getsize(self.gzip)
        print(f"artifacts with a payload of {self.o.size} MiB; gzip makes one byte of {unpacked:.2f}", flush=True)
        sha256 = self.sha256()
        print_table([part_rows(self.measure(scheme), sha256, unpacked) for scheme in ("http", "https")])

    def versions(self):
        return own_version()

    def sha256(self):
        """CPU seconds for a GiB, of OpenSSL alone."""
        said = subprocess.run(["openssl", "speed", "-seconds", "1", "-bytes", "65536", "-evp", "sha256"], capture_output=True, text=True,
                              check=True, preexec_fn=lambda: os.sched_setaffinity(0, {self.proxy_core})).stdout
        return GIB / (float(re.search(r"([\d.]+)k\s*$", said).group(1)) * 1000)

    def measure(self, scheme):
        """The figures of each download, by its name: CPU per GiB of the gateway, and of its verifier."""
        print(f"  {scheme} ...", file=sys.stderr, flush=True)
        self.scheme = self.origin_scheme = scheme
        tls = (self.cert, self.key) if scheme == "https" else ("-", "-")
        self.start_origin(*tls, "127.0.0.1:0", self.plain, self.gzip)
        gateway = Part(self)
        self.relays = [gateway]  # what stop() ends
        taken = {}
        for _ in range(self.o.rounds):
            for name, file, settings in (("relay", self.plain, NO_CACHE), ("fill", self.plain, OFF), ("verified fill", self.plain, VERIFY),
                                         ("gzip fill", self.gzip, OFF), ("verified gzip fill", self.gzip, VERIFY)):
                gateway.start_with(settings)
                query, _ = self.new_artifact(os.path.getsize(file), file=os.path.basename(file))
                url = gateway.artifact(query, None)
                taken.setdefault(name, []).append(self.download(gateway, url, file, 1))
                if name == "fill":
                    taken.setdefault("hit", []).append(self.download(gateway, url, file, 0))
                gateway.stop()
        end(self.origin)
        return {name: [statistics.median(f) for f in zip(*figures)] for name, figures in taken.items()}

    def download(self, gateway, url, file, copies):
        upstream = self.counters()["artifact_bytes"]
        before = gateway.settle()
        answer = self.finish_load(gateway, self.start_load(url, "--body", file))
        after = gateway.settle()
        upstream = self.counters()["artifact_bytes"] - upstream
        if upstream != copies * os.path.getsize(file):
            self.failures.append(f"{self.scheme}: {gateway.settings}: {upstream} bytes from upstream")
        return [(a - b) / (answer["bytes"] / GIB) for a, b in zip(after, before)]


def part_rows(figures, sha256, unpacked):
    own, child = ({name: f[i] for name, f in figures.items()} for i in (0, 1))
    return [
        ("relay: passed through, no cache", own["relay"]),
        ("fill: downloaded, stored and read by one client", own["fill"]),
        ("hit: read from the cache", own["hit"]),
        ("tee: fill without relay", own["fill"] - own["relay"]),
        ("  of it SHA-256, as OpenSSL alone takes", sha256),
        ("verifier, payload not compressed: its process", child["verified fill"]),
        ("  feeding it", own["verified fill"] - own["fill"]),
        ("verifier, payload compressed by gzip: its process", child["verified gzip fill"]),
        ("  for each GiB unpacked", child["verified gzip fill"] / unpacked),
        ("  feeding it", own["verified gzip fill"] - own["gzip fill"]),
    ]


def print_table(columns):
    width = max(len(name) for name, _ in columns[0])
    print(f"\n{'CPU s/GiB'.ljust(width)}    HTTP     TLS")
    for (name, http), (_, https) in zip(*columns):
        print(f"{name.ljust(width)}  {http:6.3f}  {https:6.3f}")
    print()


if __name__ == "__main__":
    main()
