#!/usr/bin/env python3
"""Measures mgw-gateway side by side with nginx and HAProxy and prints a table. bench/run.sh builds and starts it; bench/README.md
says what is measured and what to think of it."""
import argparse
import base64
import http.client
import json
import mmap
import os
import platform
import re
import resource
import shutil
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.dont_write_bytecode = True
from slow_link import Link  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
GIB = 1 << 30
DEVICES = "/api/devices/v1"


def main():
    o = read_options()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    work = tempfile.mkdtemp(prefix="mgw-bench.", dir=o.directory)
    bench = Bench(o, work)
    try:
        table = bench.run()
    finally:
        bench.stop()
        shutil.rmtree(work, ignore_errors=True)
    print_table(table, bench.failures)
    print(f"measured in {time.monotonic() - started:.0f} s")
    if o.json:
        with open(o.json, "w") as out:
            json.dump([r.__dict__ for r in table], out, indent=1)


def read_options():
    p = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    p.add_argument("--programs", default="build/release/bin", help="where the programs are")
    p.add_argument("--directory", help="where caches and logs go (the system's temporary directory)")
    p.add_argument("--quick", action="store_true", help="less of everything")
    p.add_argument("--rounds", type=int, help="how often each figure of CPU is taken; the median counts (5; 3)")
    p.add_argument("--seconds", type=float, help="of each round of relayed calls (4; 2)")
    p.add_argument("--object", type=int, metavar="MIB", help="size of a large object that is served from the cache (256; 64)")
    p.add_argument("--downloads", type=int, help="of the large object, each round (8; 8)")
    p.add_argument("--small", type=int, help="requests for an object of 1 KiB, each round (20000; 8000)")
    p.add_argument("--handshakes", type=int, help="relayed calls on connections of their own, each round (2000; 1000)")
    p.add_argument("--idle", type=int, help="idle connections (1000; 500)")
    p.add_argument("--clients", type=int, help="of one cold object (200; 200)")
    p.add_argument("--cold", type=int, metavar="MIB", help="size of the cold object (64; 16)")
    p.add_argument("--rate", type=int, default=8, metavar="MIB", help="of the upstream link for the cold object, in a second (8)")
    p.add_argument("--slow", type=int, help="slow clients of one big object (50; 50)")
    p.add_argument("--slow-rate", type=int, default=2, metavar="MIB", help="that each of them reads in a second (2)")
    p.add_argument("--big", type=int, metavar="MIB", help="size of the big object (1024; 128)")
    p.add_argument("--big-rate", type=int, default=64, metavar="MIB", help="of the upstream link for it, in a second (64)")
    p.add_argument("--only", help="rows whose name matches this regular expression")
    p.add_argument("--json", help="writes all figures to this file")
    o = p.parse_args()
    full_and_quick = dict(rounds=(5, 3), seconds=(4, 2), object=(256, 64), downloads=(8, 8), small=(20000, 8000),
                          handshakes=(2000, 1000), idle=(1000, 500), clients=(200, 200), cold=(64, 16), slow=(50, 50), big=(1024, 128))
    for name, (full, quick) in full_and_quick.items():
        if getattr(o, name) is None:
            setattr(o, name, quick if o.quick else full)
    return o


def token():
    """A bearer token of 1 KiB, of the shape that device tokens have."""
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    body = part({"alg": "RS256", "typ": "JWT"}) + "." + part({"sub": "5d3f6f3e-0b7e-4c0c-9f0f-6a2d3b1c4e5f", "mender.device": True}) + "."
    return body + "x" * (1024 - len(body))


HEADER = "Authorization: Bearer " + token()


# ---- processes --------------------------------------------------------------------------------------------------------

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process):
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} does not listen")


def end(process):
    if process and process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def get(url):
    """A small answer, over TLS, whoever shows whichever certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    name, value = HEADER.split(": ", 1)
    with urllib.request.urlopen(urllib.request.Request(url, headers={name: value}), context=context, timeout=60) as answer:
        return json.load(answer)


class Proxy:
    """A proxy on its core. Subclasses say how it is started and where a device finds an artifact."""

    def __init__(self, bench):
        self.bench = bench
        self.process = None
        self.starts = 0

    def start(self, counted=False):
        self.stop()
        self.starts += 1
        self.directory = os.path.join(self.bench.work, f"{self.name}{self.starts}")
        os.mkdir(self.directory)
        self.port = free_port()
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG")}
        if counted:
            counter = os.path.join(self.directory, "allocations")
            with open(counter, "wb") as f:
                f.write(bytes(mmap.PAGESIZE))
            environment["LD_PRELOAD"] = self.bench.program("mgw-count-allocations.so")
            environment["MGW_COUNT_ALLOCATIONS"] = self.counter = counter
        command = self.command(environment)
        core = self.bench.proxy_core
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        wait_for_port(self.port, self.process)

    def stop(self):
        end(self.process)
        self.process = None

    def pids(self):
        """The processes that serve."""
        return [self.process.pid]

    def cpu(self):
        """Seconds of CPU, user and system, of all its threads, those that have ended too (clock_getcpuclockid(3))."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids())

    def children_cpu(self):
        """The same of its children that have ended; to the clock tick, 10 ms."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/stat") as f:
                total += sum(int(ticks) for ticks in f.read().rpartition(")")[2].split()[13:15])
        return total / os.sysconf("SC_CLK_TCK")

    def memory(self, what="VmRSS"):
        """Resident bytes."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as f:
                total += int(re.search(what + r":\s+(\d+)", f.read()).group(1)) * 1024
        return total

    def forget_peak(self):
        """The largest memory("VmHWM") is counted from here on (proc(5), clear_refs)."""
        for pid in self.pids():
            with open(f"/proc/{pid}/clear_refs", "w") as f:
                f.write("5")

    def allocations(self):
        with open(self.counter, "rb") as f:
            return struct.unpack("=Q", f.read(8))[0]

    def fill_in(self, template):
        """Writes the configuration that a template of this directory makes; returns its path."""
        with open(os.path.join(HERE, template)) as f:
            text = f.read()
        values = dict(DIR=self.directory, PORT=self.port, ORIGIN_PORT=self.bench.origin_port, CERT=self.bench.cert, KEY=self.bench.key)
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        configuration = os.path.join(self.directory, template.removesuffix(".in"))
        with open(configuration, "w") as f:
            f.write(text)
        return configuration

    def url(self, path):
        return f"{self.bench.scheme}://127.0.0.1:{self.port}{path}"


class Nginx(Proxy):
    name = "nginx"
    cap = None  # bytes in a second, of each transfer

    def fill_in(self, template):
        configuration = super().fill_in(template)
        if self.cap:
            with open(configuration) as f:
                text = f.read()
            with open(configuration, "w") as f:
                f.write(text.replace("proxy_cache artifacts;", f"proxy_cache artifacts;\n      proxy_limit_rate {self.cap};"))
        return configuration

    def command(self, environment):
        user = "user root; " if os.geteuid() == 0 else ""  # as the gateway beside it
        return [shutil.which("nginx"), "-e", os.path.join(self.directory, "error.log"), "-c", self.fill_in("nginx.conf.in"),
                "-g", user + "daemon off;"]

    def pids(self):
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            children = [int(child) for child in f.read().split()]
        return [child for child in children if b"worker process" in open(f"/proc/{child}/cmdline", "rb").read()]

    def artifact(self, query, path):
        return self.url(path)


class Haproxy(Proxy):
    name = "haproxy"

    def command(self, environment):
        with open(os.path.join(self.directory, "both.pem"), "w") as both:
            for part in (self.bench.cert, self.bench.key):
                with open(part) as f:
                    both.write(f.read())
        return [shutil.which("haproxy"), "-db", "-f", self.fill_in("haproxy.cfg.in")]


class Gateway(Proxy):
    name = "mgw"
    cap = None  # bytes in a second, of all artifacts together

    def command(self, environment):
        if self.cap:
            environment["UPSTREAM_RATE_LIMIT"] = str(self.cap)
        # One proxy thread, access log on. The objects of this benchmark are no Mender artifacts: by length is how they
        # can be checked.
        environment.update(
            HTTPS_ENABLED="true", HTTPS_LISTEN=f"127.0.0.1:{self.port}", HTTPS_SERVER_CERTIFICATE=self.bench.cert,
            HTTPS_SERVER_KEY=self.bench.key, UPSTREAM_SERVER_URL=f"{self.bench.origin_scheme}://localhost:{self.bench.origin_port}",
            UPSTREAM_SERVER_CA_CERTIFICATE=self.bench.cert, ARTIFACTS_PROXY_ENABLED="true",
            ARTIFACTS_PROXY_CACHE_PATH=os.path.join(self.directory, "cache"), STATE_DIRECTORY=os.path.join(self.directory, "state"),
            ARTIFACTS_PROXY_CACHE_VERIFY="length", WORKERS="1", DRAIN_TIMEOUT="1s",
            UPSTREAM_REQUESTS_PER_SECOND="0")
        for name in ("cache", "state"):
            os.mkdir(os.path.join(self.directory, name))
        return [self.bench.program("mgw-gateway")]

    def artifact(self, query, path):
        answer = get(self.url(f"{DEVICES}/deployments/device/deployments/next?{query}"))
        return answer["artifact"]["source"]["uri"]


# ---- what is measured -------------------------------------------------------------------------------------------------

class Row:
    def __init__(self, name, unit, digits=2):
        self.name, self.unit, self.digits = name, unit, digits
        self.nginx, self.haproxy, self.mgw = [], [], []

    def add(self, proxy, value):
        getattr(self, proxy.name).append(value)


class Bench:
    def __init__(self, o, work):
        self.o, self.work = o, work
        self.scheme = self.origin_scheme = "https"
        self.failures = []
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core, self.load_core = cores[0], cores[-1]
        self.origin = None
        self.proxies = []  # in the rows about artifacts
        self.relays = []  # in the rows about API calls
        self.names = 0

    def program(self, name):
        return os.path.abspath(os.path.join(self.o.programs, name))

    def run(self):
        self.print_machine()
        self.make_certificate()
        self.start_origin(self.cert, self.key)
        nginx, gateway = Nginx(self), Gateway(self)
        self.proxies, self.relays = [nginx, gateway], [nginx, Haproxy(self), gateway]
        table = []
        for measure in (self.large_hits, self.small_hits, self.relayed, self.handshakes, self.idle, self.allocations, self.cold,
                        self.cut, self.slow, self.beside_fill):
            rows = [Row(*columns) for columns in self.rows_of(measure)]
            if self.o.only and not any(re.search(self.o.only, r.name) for r in rows):
                continue
            print(f"  {rows[0].name} ...", file=sys.stderr, flush=True)
            measure(*rows)
            table += rows
        return table

    def make_certificate(self):
        self.cert, self.key = os.path.join(self.work, "cert.pem"), os.path.join(self.work, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", self.key, "-out", self.cert], check=True, capture_output=True)

    def start_origin(self, *arguments):
        self.origin = subprocess.Popen([self.program("mgw-bench-origin"), *arguments], stdout=subprocess.PIPE, text=True,
                                       preexec_fn=self.on_load_core)
        self.origin_port = int(self.origin.stdout.readline())

    def rows_of(self, measure):
        o = self.o
        return {
            "large_hits": [(f"cache hits over TLS, {o.object} MiB objects", "CPU s/GiB", 3)],
            "small_hits": [("cache hits over TLS, 1 KiB objects", "CPU µs/request", 1)],
            "relayed": [("relayed API calls, TLS on both sides", "CPU µs/request", 1)],
            "handshakes": [("relayed API call on a new TLS connection", "CPU µs/request", 1)],
            "idle": [("idle TLS connection", "KiB", 1)],
            "allocations": [("heap allocations, relayed API call", "per request", 2), ("heap allocations, cache hit of 1 KiB", "per request", 2)],
            "cold": [(f"{o.clients} clients, one cold {o.cold} MiB object at {o.rate} MiB/s", "upstream copies", 2),
                     ("  median time to the first byte", "s", 3), ("  until the last client has it whole", "s", 1),
                     ("  CPU for what the clients got", "CPU s/GiB", 3)],
            "cut": [("link cut at half of one object", "upstream bytes/size", 3), ("  times the client was cut", "", 0),
                    ("  for the next client", "upstream bytes/size", 3)],
            "slow": [(f"{o.slow} clients at {o.slow_rate} MiB/s, one cold {o.big} MiB object at {o.big_rate} MiB/s", "MiB of memory", 1),
                     ("  fill, beside what the link needs", "time/time", 2), ("  read by the clients, of what they would", "bytes/bytes", 2)],
            "beside_fill": [(f"API call while a fill capped at {o.rate * 7 // 8} MiB/s fills a link of {o.rate} MiB/s", "ms, median", 2),
                            ("  95th percentile", "ms", 2), ("  with no fill", "ms, median", 2), ("  95th percentile", "ms", 2)],
        }[measure.__name__]

    def large_hits(self, row):
        size = self.o.object * MIB
        urls = self.warm(size)
        for proxy in self.in_turn(self.proxies):
            cpu, answer = self.load(proxy, urls[proxy], "--clients", "2", "--requests", str(max(1, self.o.downloads // 2)), "--pattern")
            row.add(proxy, cpu / (answer["bytes"] / GIB))
        self.stop_proxies(self.proxies)

    def small_hits(self, row):
        urls = self.warm(1024)
        for proxy in self.in_turn(self.proxies):
            cpu, answer = self.load(proxy, urls[proxy], "--clients", "8", "--requests", str(self.o.small // 8), "--pattern", "--header", HEADER)
            row.add(proxy, cpu / answer["requests"] * 1e6)
        self.stop_proxies(self.proxies)

    def relayed(self, row):
        self.start_proxies(self.relays)
        for proxy in self.in_turn(self.relays, warm_up=True):
            before = proxy.cpu()
            done = subprocess.run(["wrk", "-t1", "-c32", f"-d{self.o.seconds:g}s", "-H", HEADER, proxy.url(f"{DEVICES}/inventory/device/attributes")],
                                  capture_output=True, text=True, check=True, preexec_fn=self.on_load_core).stdout
            cpu = proxy.cpu() - before
            if "Non-2xx" in done or "Socket errors" in done:
                self.failures.append(f"{proxy.name}: relayed API calls: " + " ".join(done.split()))
            row.add(proxy, cpu / int(re.search(r"(\d+) requests in", done).group(1)) * 1e6)
        self.stop_proxies(self.relays)

    def handshakes(self, row):
        self.start_proxies(self.relays)
        for proxy in self.in_turn(self.relays, warm_up=True):
            cpu, answer = self.load(proxy, proxy.url(f"{DEVICES}/inventory/device/attributes"), "--clients", "4", "--requests",
                                    str(self.o.handshakes // 4), "--fresh", "--header", HEADER)
            row.add(proxy, cpu / answer["requests"] * 1e6)
        self.stop_proxies(self.relays)

    def idle(self, row):
        for proxy in self.relays:
            proxy.start()
            memory = []
            loads = []
            # The first hundred pay for what is there once.
            for connections in (100, self.o.idle):
                loads.append(self.start_load(proxy.url(f"{DEVICES}/inventory/device/attributes"), "--idle", str(connections), "--header", HEADER))
                loads[-1].stdout.readline()
                memory.append(proxy.memory())
            for one in loads:
                self.finish_load(proxy, one)
            row.add(proxy, (memory[1] - memory[0]) / self.o.idle / 1024)
            proxy.stop()

    def allocations(self, relayed, hit):
        for proxy in self.proxies:
            proxy.start(counted=True)
            size = 1024
            query, path = self.new_artifact(size)
            for row, url in ((relayed, proxy.url(f"{DEVICES}/inventory/device/attributes")), (hit, proxy.artifact(query, path))):
                counted = []
                for requests in (800, 4800):
                    before = proxy.allocations()
                    self.load(proxy, url, "--clients", "16", "--requests", str(requests // 16), "--header", HEADER)
                    counted.append(proxy.allocations() - before)
                row.add(proxy, (counted[1] - counted[0]) / 4000)  # what connections cost falls out
            proxy.stop()

    def cold(self, copies, first_byte, whole, cpu_per_gib):
        size = self.o.cold * MIB
        for proxy in self.proxies:
            proxy.start()
            query, path = self.new_artifact(size, rate=self.o.rate * MIB)
            url = proxy.artifact(query, path)
            before = self.counters()["artifact_bytes"]
            children = proxy.children_cpu()
            cpu, answer = self.load(proxy, url, "--clients", str(self.o.clients), "--pattern")
            cpu += proxy.children_cpu() - children
            copies.add(proxy, (self.counters()["artifact_bytes"] - before) / size)
            first_byte.add(proxy, answer["first_byte_median"])
            whole.add(proxy, answer["seconds"])
            cpu_per_gib.add(proxy, cpu / (answer["bytes"] / GIB))
            proxy.stop()

    def cut(self, copies, cuts, next_copies):
        size = self.o.cold * MIB
        for proxy in self.proxies:
            proxy.start()
            query, path = self.new_artifact(size, cut=size // 2)
            url = proxy.artifact(query, path)
            before = self.counters()["artifact_bytes"]
            _, answer = self.load(proxy, url, "--pattern")
            between = self.settled()
            copies.add(proxy, (between - before) / size)
            cuts.add(proxy, answer["cuts"])
            self.load(proxy, url, "--pattern")
            next_copies.add(proxy, (self.settled() - between) / size)
            proxy.stop()

    def slow(self, growth, fill, read):
        size, link = self.o.big * MIB, self.o.big / self.o.big_rate
        seconds = int(1.5 * link) + 5
        for proxy in self.proxies:
            proxy.start()
            # What is there once: code, and the buffers of a fill.
            for _ in range(2):
                self.load(proxy, proxy.artifact(*self.new_artifact(MIB)), "--pattern", "--clients", "2")
            query, path = self.new_artifact(size, rate=self.o.big_rate * MIB)
            url = proxy.artifact(query, path)
            proxy.forget_peak()
            memory = proxy.memory()
            before = self.counters()["artifact_bytes"]
            begun = time.monotonic()
            load = self.start_load(url, "--clients", str(self.o.slow), "--rate", str(self.o.slow_rate * MIB), "--seconds", str(seconds), "--pattern")
            while (missing := size - self.counters()["artifact_bytes"] + before) > 0 and load.poll() is None:
                time.sleep(0.05)
            fill.add(proxy, (time.monotonic() - begun) / link)
            if missing > 0:
                self.failures.append(f"{proxy.name}: {growth.name}: {missing} bytes had not left the origin after {seconds} s")
            answer = self.finish_load(proxy, load)
            read.add(proxy, answer["bytes"] / (self.o.slow * min(size, self.o.slow_rate * MIB * seconds)))
            growth.add(proxy, (proxy.memory("VmHWM") - memory) / MIB)
            proxy.stop()
            shutil.rmtree(proxy.directory)

    def beside_fill(self, median, high, median_alone, high_alone):
        direct = self.origin_port
        with Link(direct, self.o.rate * MIB, MIB, self.load_core) as link:
            self.origin_port = link.port
            for proxy in self.proxies:
                proxy.cap = self.o.rate * MIB * 7 // 8
                proxy.start()
                for during in (False, True):
                    if during:
                        load = self.start_load(proxy.artifact(*self.new_artifact(GIB)))
                        time.sleep(1)  # the queue and the limit's first burst are full
                    passed, began = link.passed.value, time.monotonic()
                    cuts = statistics.quantiles(self.calls(proxy, 3 * self.o.seconds), n=20)
                    share = (link.passed.value - passed) / (time.monotonic() - began) / proxy.cap
                    for row, value in zip((median, high) if during else (median_alone, high_alone), (cuts[9], cuts[18])):
                        row.add(proxy, value)
                if load.poll() is not None or share < 0.7:
                    self.failures.append(f"{proxy.name}: {median.name}: the fill was at its end, or slower than its cap: {share:.2f} of it")
                end(load)
                proxy.stop()
                proxy.cap = None
        self.origin_port = direct

    # -- helpers

    def calls(self, proxy, seconds):
        """Milliseconds of each API call, one after the other on one connection, a pause of 10 ms between them."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        name, value = HEADER.split(": ", 1)
        connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, context=context, timeout=60)
        times, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            connection.request("GET", f"{DEVICES}/inventory/device/attributes", headers={name: value})
            answer = connection.getresponse()
            answer.read()
            times.append((time.monotonic() - began) * 1000)
            if answer.status != 200:
                self.failures.append(f"{proxy.name}: an API call was answered {answer.status}")
            time.sleep(0.01)
        connection.close()
        return times

    def on_load_core(self):
        os.sched_setaffinity(0, {self.load_core})

    def start_proxies(self, proxies):
        for proxy in proxies:
            proxy.start()

    def stop_proxies(self, proxies):
        for proxy in proxies:
            proxy.stop()

    def in_turn(self, proxies, warm_up=False):
        """Each proxy, as often as there are rounds, another one first each time. One is loaded, the others idle."""
        for proxy in proxies if warm_up else ():
            self.load(proxy, proxy.url(f"{DEVICES}/inventory/device/attributes"), "--clients", "32", "--requests", "50", "--header", HEADER)
        for i in range(self.o.rounds):
            first = i % len(proxies)
            yield from proxies[first:] + proxies[:first]

    def new_artifact(self, size, **how):
        self.names += 1
        query = f"size={size}&name=object{self.names}" + "".join(f"&{k}={v}" for k, v in how.items())
        return query, f"/artifacts/{size}/object{self.names}?{query}"

    def warm(self, size):
        """Starts both, each with the same object in its cache and in the page cache. Returns where each offers it."""
        self.start_proxies(self.proxies)
        query, path = self.new_artifact(size)
        urls = {proxy: proxy.artifact(query, path) for proxy in self.proxies}
        for proxy, url in urls.items():
            for _ in range(3):
                self.load(proxy, url, "--pattern")
        return urls

    def start_load(self, url, *options):
        return subprocess.Popen([self.program("mgw-bench-load"), url, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                text=True, preexec_fn=self.on_load_core)

    def finish_load(self, proxy, load):
        out, _ = load.communicate()
        answer = json.loads(out.splitlines()[-1])
        if answer["failures"] or answer["wrong"]:
            self.failures.append(f"{proxy.name}: {' '.join(load.args[2:6])}: {answer}")
        return answer

    def load(self, proxy, url, *options):
        """CPU seconds of the proxy, and what the load program says."""
        before = proxy.cpu()
        answer = self.finish_load(proxy, self.start_load(url, *options))
        return proxy.cpu() - before, answer

    def settled(self):
        """Artifact bytes that have left the origin, once there have been no more for a while."""
        now = self.counters()["artifact_bytes"]
        while True:
            before = now
            time.sleep(0.3)
            now = self.counters()["artifact_bytes"]
            if now == before:
                return now

    def counters(self):
        return get(f"{self.scheme}://127.0.0.1:{self.origin_port}/counters")

    def stop(self):
        for proxy in self.relays:
            proxy.stop()
        end(self.origin)

    def print_machine(self):
        with open("/proc/cpuinfo") as f:
            model = re.search(r"model name\s*:\s*(.*)", f.read())
        print(f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, {first_line('openssl', 'version')}")
        print(f"{self.versions()}; proxy on core {self.proxy_core}, origin and clients on core {self.load_core}", flush=True)
        print("load of the machine before: " + " ".join(f"{x:.1f}" for x in os.getloadavg()), flush=True)

    def versions(self):
        return f"{first_line('nginx', '-v').split(': ')[-1]}, {' '.join(first_line('haproxy', '-v').split()[:3])}, {own_version()}"


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def own_version():
    with open(os.path.join(HERE, "../include/mgw/version.hpp")) as f:
        return "mgw-gateway " + re.search(r'"?(\d+\.\d+\.\d+)"?', f.read()).group(1)


def print_table(table, failures):
    columns = [("", "unit", "nginx", "haproxy", "mgw", "mgw/nginx", "mgw/haproxy")]
    for r in table:
        peers = [statistics.median(values) if values else None for values in (r.nginx, r.haproxy)]
        mgw = statistics.median(r.mgw)
        columns.append((r.name, r.unit, *("" if p is None else f"{p:.{r.digits}f}" for p in peers), f"{mgw:.{r.digits}f}",
                        *("" if p is None else f"{mgw / p:.2f}" if p else "-" for p in peers)))
    widths = [max(len(c[i]) for c in columns) for i in range(len(columns[0]))]
    print()
    for c in columns:
        print("  ".join((c[0].ljust(widths[0]), c[1].ljust(widths[1]), *(c[i].rjust(widths[i]) for i in range(2, len(c))))).rstrip())
    print()
    for f in failures:
        print("went wrong: " + f)


if __name__ == "__main__":
    main()
