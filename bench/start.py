#!/usr/bin/env python3
"""Measures how long mgw-gateway takes from its start until it listens, with N objects in its cache directory (10,000).

  cmake --preset release && cmake --build --preset release --target mgw-gateway
  bench/start.py [--cold] [N]

The directory is made as docs/cache-format.md says. --cold: once, at first, with nothing of the machine's files in the page
cache (needs root, and slows down everything else for a moment).
"""
import hashlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

PROGRAM = pathlib.Path(os.environ.get("MGW_BIN", pathlib.Path(__file__).resolve().parents[1] / "build/release/bin")) / "mgw-gateway"


def table():
    out = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        out.append(n)
    return out


def crc32c(data, steps=table()):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ steps[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def make(cache, count):
    for number in range(count):
        body = f"the body of object {number}\n".encode()
        digest, key = hashlib.sha256(body).hexdigest(), hashlib.sha256(f"key {number}".encode()).hexdigest()
        text = (f'mgw-meta 1\nkey {key}\nlength {len(body)}\nsha256 {digest}\nstored-at 1700000000\netag "{digest[:16]}"\n'
                "content-type application/vnd.mender-artifact\n").encode()
        text += b"crc32c %08x\n" % crc32c(text)
        for tree, name, content in (("objects", digest, body), ("meta", key, text)):
            path = cache / tree / name[:2] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def start(environment):
    """Seconds until it listens, resident bytes then, and what it logged."""
    began = time.monotonic()
    child = subprocess.Popen([PROGRAM], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = child.stdout.readline()
    took = time.monotonic() - began
    if "listening" not in line:
        sys.exit(f"mgw-gateway did not start: {child.communicate()[1]}")
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    child.kill()  # so that no start finds `clean`
    return took, int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024, child.communicate()[1]


def main():
    cold = "--cold" in sys.argv
    count = int(next((a for a in sys.argv[1:] if a != "--cold"), 10_000))
    with tempfile.TemporaryDirectory(prefix="mgw-bench-start.") as work:
        work = pathlib.Path(work)
        environment = dict(PATH=os.environ["PATH"], HTTPS_ENABLED="false", HTTP_ENABLED="true", HTTP_LISTEN="127.0.0.1:0",
                           UPSTREAM_SERVER_URL="http://127.0.0.1:9", ARTIFACTS_PROXY_CACHE_PATH=str(work / "cache"),
                           STATE_DIRECTORY=str(work / "state"), LOG_LEVEL="info")
        empty, small, _ = start(environment)
        make(work / "cache", count)
        os.sync()
        if cold:
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
            print(f"{count} objects, not in the page cache: {start(environment)[0]:.3f} s")
        runs = [start(environment) for _ in range(5)]
        if any("level=warning" in log for _, _, log in runs):
            sys.exit("the directory is not as it should be: " + runs[0][2])
        print(f"{count} objects, in the page cache: {statistics.median(t for t, _, _ in runs):.3f} s, "
              f"{(statistics.median(m for _, m, _ in runs) - small) / count:.0f} bytes of memory for each")
        print(f"an empty directory: {empty:.3f} s")


if __name__ == "__main__":
    main()
