"""What the measurements share: one core for the proxy and one for origin and clients, the origin, loads, and figures."""
import fcntl
import http.client
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

from peers import DEVICES, HEADER, PATH, Ats, Gateway, Haproxy, Nginx, Squid, Varnish, end, get

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
GIB = 1 << 30
CALL = f"{DEVICES}/inventory/device/attributes"
CONGESTION_CONTROL = "/proc/sys/net/ipv4/tcp_congestion_control"


class Row:
    """A line of the table: what was measured of each proxy, as often as it was."""

    def __init__(self, name, unit, digits=2):
        self.name, self.unit, self.digits = name, unit, digits
        self.figures = {}
        self.seconds = None  # that it took, with those that are measured together
        self.memory = {}  # MiB of each proxy behind it; of the first of rows that are measured together

    def add(self, proxy, value):
        self.figures.setdefault(proxy.name, []).append(value)


def enter_own_network():
    """Starts the program again in a network namespace of its own, with the congestion control that Linux has of its own. One that
    paces (BBR) makes large plain objects cost six times as much, and each time differently, whoever sends them. Without root
    nothing changes."""
    mark = "MGW_BENCH_NETWORK"
    if mark not in os.environ:
        if os.geteuid() == 0 and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0:
            os.environ[mark] = "own"
            os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
        return
    set_flags, up = 0x8914, 1  # netdevice(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, set_flags, struct.pack("16sh22x", b"lo", up))
    try:
        with open(CONGESTION_CONTROL, "w") as f:
            f.write("cubic")
    except OSError as e:  # a container may not: the machine's line says what it has
        print(f"{CONGESTION_CONTROL}: {e.strerror}", file=sys.stderr)


class Bench:
    def __init__(self, o, work):
        self.o, self.work = o, work
        self.scheme = self.origin_scheme = "https"
        self.failures = []
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core, self.load_core = cores[0], cores[-1]
        self.origin = self.plain_origin = None
        self.proxies = []  # in the rows about artifacts: the two that are measured in all of them
        self.relays = []  # in the rows about API calls
        self.caches = []  # in those about hits and followers: all that are installed
        self.rows = ()  # that are measured now
        self.names = 0

    def program(self, name):
        return os.path.abspath(os.path.join(self.o.programs, name))

    def make_proxies(self):
        nginx, gateway = Nginx(self), Gateway(self)
        self.proxies, self.relays = [nginx, gateway], [nginx, Haproxy(self), gateway]
        others = [kind for kind in (Varnish, Squid, Ats) if kind.installed()]
        self.caches = [nginx, *(kind(self) for kind in others), gateway]
        for kind in (Varnish, Squid, Ats):
            if kind not in others:
                print(f"not installed, and so not measured: {kind.program}", flush=True)
        if Varnish in others and not Varnish.tls:
            print("not installed, and so not measured: hitch, TLS before Varnish", flush=True)

    # -- what is there besides proxies

    def make_certificate(self):
        self.cert, self.key = os.path.join(self.work, "cert.pem"), os.path.join(self.work, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", self.key, "-out", self.cert], check=True, capture_output=True)

    def start_origin(self, *arguments):
        self.origin, self.origin_port = self.origin_process(*arguments)

    def start_plain_origin(self):
        """One without TLS beside the other, for proxies with a plain upstream."""
        self.plain_origin, self.plain_origin_port = self.origin_process("-", "-")

    def origin_process(self, *arguments):
        process = subprocess.Popen([self.program("mgw-bench-origin"), *arguments], stdout=subprocess.PIPE, text=True,
                                   preexec_fn=self.on_load_core)
        return process, int(process.stdout.readline())

    def counters(self, plain=False):
        if plain:
            return get(f"http://127.0.0.1:{self.plain_origin_port}/counters")
        return get(f"{self.origin_scheme}://127.0.0.1:{self.origin_port}/counters")

    def settled(self, plain=False):
        """Artifact bytes that have left the origin, once there have been no more for a while."""
        now = self.counters(plain)["artifact_bytes"]
        while True:
            before = now
            time.sleep(0.3)
            now = self.counters(plain)["artifact_bytes"]
            if now == before:
                return now

    def stop(self):
        for proxy in {*self.relays, *self.proxies, *self.caches}:
            proxy.stop()
        for origin in (self.origin, self.plain_origin):
            end(origin)

    def on_load_core(self):
        os.sched_setaffinity(0, {self.load_core})

    def new_artifact(self, size, **how):
        self.names += 1
        query = f"size={size}&name=object{self.names}" + "".join(f"&{k}={v}" for k, v in how.items())
        return query, f"/artifacts/{size}/object{self.names}?{query}"

    # -- proxies

    def start_proxies(self, proxies, **how):
        for proxy in proxies:
            proxy.start(**how)

    def stop_proxies(self, proxies):
        for proxy in proxies:
            proxy.stop()

    def note_memory(self, proxy):
        """Called before a proxy ends."""
        if self.rows:
            try:
                self.rows[0].memory.setdefault(proxy.name, []).append(proxy.memory() / MIB)
            except (OSError, AttributeError):  # it is ending already
                pass

    def in_turn(self, proxies, warm_up=None):
        """Each proxy, as often as there are rounds, another one first each time. One is loaded, the others idle."""
        for proxy in proxies if warm_up else ():
            self.load(proxy, proxy.url(warm_up), "--clients", "32", "--requests", "50", "--header", HEADER)
        for i in range(self.o.rounds):
            first = i % len(proxies)
            yield from proxies[first:] + proxies[:first]

    # -- load

    def start_load(self, url, *options):
        return subprocess.Popen([self.program("mgw-bench-load"), url, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                text=True, preexec_fn=self.on_load_core)

    def finish_load(self, proxy, load):
        out, _ = load.communicate()
        answer = json.loads(out.splitlines()[-1])
        if answer["failures"] or answer["wrong"]:
            self.failures.append(f"{proxy.name}: {' '.join(load.args[1:6])}: {answer}")
        return answer

    def load(self, proxy, url, *options):
        """CPU seconds of the proxy, and what the load program says."""
        before = proxy.cpu()
        answer = self.finish_load(proxy, self.start_load(url, *options))
        return proxy.cpu() - before, answer

    def load_kept_alive(self, proxy, url, *options):
        """The same once all clients are connected and have had an answer."""
        load = self.start_load(url, "--together", *options)
        load.stdout.readline()
        before = proxy.cpu()
        answer = self.finish_load(proxy, load)
        return proxy.cpu() - before, answer

    def calls(self, proxy, seconds):
        """Milliseconds of each API call, one after the other on one connection, a pause of 10 ms between them."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        name, value = HEADER.split(": ", 1)
        connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, context=context, timeout=60)
        times, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.monotonic()
            connection.request("GET", CALL, headers={name: value})
            answer = connection.getresponse()
            answer.read()
            times.append((time.monotonic() - began) * 1000)
            if answer.status != 200:
                self.failures.append(f"{proxy.name}: an API call was answered {answer.status}")
            time.sleep(0.01)
        connection.close()
        return times

    # -- where it is measured

    def machine(self):
        """Lines that say where and with what."""
        with open("/proc/cpuinfo") as f:
            model = re.search(r"model name\s*:\s*(.*)", f.read())
        with open(CONGESTION_CONTROL) as f:
            control = f.read().strip()
        return [f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, {control}, "
                f"{' '.join(first_line('openssl', 'version').split()[:2])}",
                f"{self.versions()}; proxy on core {self.proxy_core}, origin and clients on core {self.load_core}",
                "load of the machine before: " + " ".join(f"{x:.1f}" for x in os.getloadavg())]

    def print_machine(self):
        print("\n".join(self.machine()), flush=True)

    def versions(self):
        said = {Nginx: ("nginx", "-v"), Haproxy: ("haproxy", "-v"), Varnish: ("varnishd", "-V"), Squid: ("squid", "-v"),
                Ats: ("traffic_server", "-V")}
        found = [f"{kind.name} {version(*command)}" for kind, command in said.items() if kind.installed()]
        if Varnish.tls:
            found.append(f"hitch {version('hitch', '--version')}")
        return ", ".join([*found, own_version()])


def measure(kind, o, name):
    """Runs a Bench of this kind in a directory of its own; says, and returns, what went wrong."""
    enter_own_network()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix=f"mgw-bench-{name}.", dir=o.directory)
    bench = kind(o, work)
    try:
        bench.run()
    finally:
        bench.stop()
        shutil.rmtree(work, ignore_errors=True)
    for f in bench.failures:
        print("went wrong: " + f)
    return bench.failures


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": PATH})
    return (done.stdout + done.stderr).strip().splitlines()[0]


def version(*command):
    found = re.search(r"\d+(\.\d+)+", first_line(*command))
    return found.group(0) if found else "?"


def own_version():
    with open(os.path.join(HERE, "../include/mgw/version.hpp")) as f:
        return "mgw-gateway " + re.search(r'"?(\d+\.\d+\.\d+)"?', f.read()).group(1)
