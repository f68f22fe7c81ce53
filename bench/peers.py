"""The programs that are measured, and how each is started. What their configurations are like: the files *.in beside this one."""
import base64
import json
import mmap
import os
import pwd
import re
import shutil
import socket
import ssl
import struct
import subprocess
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
DEVICES = "/api/devices/v1"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def token():
    """A bearer token of 1 KiB, of the shape that device tokens have."""
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    body = part({"alg": "RS256", "typ": "JWT"}) + "." + part({"sub": "5d3f6f3e-0b7e-4c0c-9f0f-6a2d3b1c4e5f", "mender.device": True}) + "."
    return body + "x" * (1024 - len(body))


HEADER = "Authorization: Bearer " + token()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def free_ports(n):
    """So many different ones."""
    found = set()
    while len(found) < n:
        found.add(free_port())
    return list(found)


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


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]


def get(url):
    """A small answer, over TLS, whoever shows whichever certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    name, value = HEADER.split(": ", 1)
    with urllib.request.urlopen(urllib.request.Request(url, headers={name: value}), context=context, timeout=60) as answer:
        return json.load(answer)


class Proxy:
    """A proxy on its core, listening with TLS and without. Subclasses say how it is started and where a device finds an artifact."""
    program = None  # what has to be installed
    tls = True  # it can serve with TLS
    large = True  # large objects are served within seconds

    def __init__(self, bench):
        self.bench = bench
        self.process = None
        self.starts = 0

    @classmethod
    def installed(cls):
        return cls.program is None or shutil.which(cls.program, path=PATH) is not None

    def start(self, counted=False, plain_upstream=False, awaited=True):
        """`awaited`: it listens when this returns."""
        self.stop()
        self.plain_upstream = plain_upstream or self.bench.origin_scheme == "http"
        self.starts += 1
        self.directory = os.path.join(self.bench.work, f"{self.name}{self.starts}")
        os.mkdir(self.directory)
        self.port, self.plain_port = free_ports(2)
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
            self.started = time.monotonic()
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        if awaited:
            wait_for_port(self.port if self.tls else self.plain_port, self.process)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.bench.note_memory(self)
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
        values = dict(DIR=self.directory, PORT=self.port, PLAIN_PORT=self.plain_port, ORIGIN_PORT=self.upstream_port(), CERT=self.bench.cert,
                      KEY=self.bench.key, UPSTREAM=self.upstream_scheme())
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        configuration = os.path.join(self.directory, template.removesuffix(".in"))
        with open(configuration, "w") as f:
            f.write(text)
        return configuration

    def upstream_port(self):
        both = self.bench.origin_scheme == "https"  # else there is the one without TLS alone
        return self.bench.plain_origin_port if self.plain_upstream and both else self.bench.origin_port

    def upstream_scheme(self):
        return "http" if self.plain_upstream else "https"

    def url(self, path, plain=False):
        plain = plain or self.bench.scheme == "http"
        return f"http://127.0.0.1:{self.plain_port}{path}" if plain else f"https://127.0.0.1:{self.port}{path}"

    def artifact(self, query, path, plain=False):
        return self.url(path, plain)


class Nginx(Proxy):
    name = program = "nginx"
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
        return [shutil.which("nginx", path=PATH), "-e", os.path.join(self.directory, "error.log"), "-c", self.fill_in("nginx.conf.in"),
                "-g", user + "daemon off;"]

    def pids(self):
        return [child for child in children(self.process.pid) if b"worker process" in open(f"/proc/{child}/cmdline", "rb").read()]


class Haproxy(Proxy):
    name = program = "haproxy"

    def command(self, environment):
        with open(os.path.join(self.directory, "both.pem"), "w") as both:
            for part in (self.bench.cert, self.bench.key):
                with open(part) as f:
                    both.write(f.read())
        configuration = self.fill_in("haproxy.cfg.in")
        if self.plain_upstream:
            with open(configuration) as f:
                text = f.read()
            with open(configuration, "w") as f:
                f.write(re.sub(r"(server origin \S+) ssl.*? (pool-max-conn)", r"\1 \2", text))
        return [shutil.which("haproxy", path=PATH), "-db", "-f", configuration]


class Varnish(Proxy):
    """With a plain upstream, and TLS by hitch before it, where that is installed; with the writer of its access log, since what it
    writes itself goes to a ring in memory."""
    name, program = "varnish", "varnishd"
    tls = shutil.which("hitch", path=PATH) is not None

    def __init__(self, bench):
        super().__init__(bench)
        self.log = self.hitch = None

    def start(self, counted=False, plain_upstream=True, awaited=True):
        super().start(counted, True, False)
        if awaited:
            wait_for_port(self.plain_port, self.process)
        self.log = self.beside("varnishncsa", "-n", os.path.join(self.directory, "varnish"), "-w", os.path.join(self.directory, "access.log"))
        if self.tls:
            user = ("--user=root", "--group=root") if os.geteuid() == 0 else ()  # as the others
            self.hitch = self.beside("hitch", f"--config={self.fill_in('hitch.conf.in')}", *user)
            if awaited:
                wait_for_port(self.port, self.hitch)

    def beside(self, program, *arguments):
        """A program that has a part in it, on the same core."""
        core = self.bench.proxy_core
        with open(os.path.join(self.directory, f"{program}.log"), "wb") as log:
            return subprocess.Popen([shutil.which(program, path=PATH), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    preexec_fn=lambda: os.sched_setaffinity(0, {core}))

    def command(self, environment):
        tls = ["-a", f"{self.directory}/tls.sock,PROXY"] if self.tls else []
        return [shutil.which("varnishd", path=PATH), "-F", "-j", "none", "-n", os.path.join(self.directory, "varnish"), "-T", "none",
                "-a", f"127.0.0.1:{self.plain_port}", *tls, "-f", self.fill_in("varnish.vcl.in"), "-s", "malloc,2G",
                "-s", "Transient=malloc,256M", "-p", "thread_pools=1", "-p", "thread_pool_min=100"]

    def stop(self):
        super().stop()
        for process in (self.log, self.hitch):
            end(process)
        self.log = self.hitch = None

    def pids(self):
        """Varnish's child, the log's writer and hitch's worker."""
        found = children(self.process.pid)
        if self.log:
            found.append(self.log.pid)
        if self.hitch:
            found += children(self.hitch.pid)
        return found


class Squid(Proxy):
    """With a plain upstream: Debian's, which has GnuTLS, reads no answers from an upstream with TLS 1.3."""
    name = program = "squid"
    large = False  # 6 s of CPU for each GiB of it, which comes from its disk in pages of 4 KiB

    def start(self, counted=False, plain_upstream=True, awaited=True):
        super().start(counted, True, awaited)

    def command(self, environment):
        configuration = self.fill_in("squid.conf.in")
        if os.geteuid() == 0:  # it gives that up
            os.chmod(self.bench.work, 0o711)
            owner = pwd.getpwnam("proxy")
            for place in (self.directory, *(os.path.join(self.directory, name) for name in os.listdir(self.directory))):
                os.chown(place, owner.pw_uid, owner.pw_gid)
        squid = [shutil.which("squid", path=PATH), "-N", "-n", f"mgwbench{os.getpid()}", "-f", configuration]
        subprocess.run([*squid, "-z"], check=True, capture_output=True)
        return squid


class Ats(Proxy):
    """Apache Traffic Server, in a run root of its own."""
    name, program = "ats", "traffic_server"

    def command(self, environment):
        for place in ("etc", "logs", "run", "cache"):
            os.mkdir(os.path.join(self.directory, place))
        with open("/etc/trafficserver/ip_allow.yaml") as f, open(os.path.join(self.directory, "etc/ip_allow.yaml"), "w") as out:
            out.write(f.read())
        for name in ("records.config", "remap.config", "ssl_multicert.config", "storage.config", "cache.config", "logging.yaml"):
            os.rename(self.fill_in(f"ats.{name}.in"), os.path.join(self.directory, "etc", name))
        for name in ("plugin.config", "hosting.config", "volume.config", "parent.config", "sni.yaml", "strategies.yaml"):
            open(os.path.join(self.directory, "etc", name), "w").close()
        os.rename(self.fill_in("ats.runroot.yaml.in"), os.path.join(self.directory, "runroot.yaml"))
        return [shutil.which("traffic_server", path=PATH), f"--run-root={self.directory}/runroot.yaml"]


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
            HTTPS_SERVER_KEY=self.bench.key, HTTP_ENABLED="true", HTTP_LISTEN=f"127.0.0.1:{self.plain_port}",
            UPSTREAM_SERVER_URL=f"{self.upstream_scheme()}://localhost:{self.upstream_port()}",
            UPSTREAM_SERVER_CA_CERTIFICATE=self.bench.cert, ARTIFACTS_PROXY_ENABLED="true",
            ARTIFACTS_PROXY_CACHE_PATH=os.path.join(self.directory, "cache"), STATE_DIRECTORY=os.path.join(self.directory, "state"),
            ARTIFACTS_PROXY_CACHE_VERIFY="length", WORKERS="1", DRAIN_TIMEOUT="1s",
            UPSTREAM_REQUESTS_PER_SECOND="0")
        for name in ("cache", "state"):
            os.mkdir(os.path.join(self.directory, name))
        return [self.bench.program("mgw-gateway")]

    def artifact(self, query, path, plain=False):
        answer = get(self.url(f"{DEVICES}/deployments/device/deployments/next?{query}"))
        link = answer["artifact"]["source"]["uri"]
        return self.url(link[link.index("/", len("https://")):], plain)
