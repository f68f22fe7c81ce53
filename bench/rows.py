"""The rows of the table: what is measured, and how. bench/README.md says it in words."""
import functools
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

from harness import CALL, GIB, MIB, Bench, Row
from peers import DEVICES, HEADER, end
from slow_link import Link

KIB_OF = {1 << 10: "1 KiB", MIB: "1 MiB"}


class Rows(Bench):
    def run(self):
        self.make_proxies()
        self.make_certificate()
        self.start_origin(self.cert, self.key)
        self.start_plain_origin()
        table = []
        for rows, measure in self.all():
            if self.o.only and not any(re.search(self.o.only, r.name) for r in rows):
                continue
            print(f"  {rows[0].name} ...", file=sys.stderr, flush=True)
            began = time.monotonic()
            self.rows = rows
            measure(*rows)
            self.rows = ()
            rows[0].seconds = round(time.monotonic() - began, 1)
            table += rows
        return table

    def all(self):
        """(rows, how they are measured), in the table's order."""
        o = self.o
        for plain in (False, True):
            way = "plain" if plain else "TLS"
            for size, clients in ((1 << 10, 1), (1 << 10, 8), (1 << 10, 64), (MIB, 1), (MIB, 8), (MIB, 64), (o.object * MIB, 1)):
                small = size < MIB
                name = f"cache hits, {way}, {KIB_OF.get(size, f'{size // MIB} MiB')}, {clients} client{'s' if clients > 1 else ''}"
                row = Row(name, "CPU µs/request", 1) if small else Row(name, "CPU s/GiB", 3)
                yield [row], functools.partial(self.hits, plain, size, clients)
            for clients, part in ((8, min(64, o.object)), (64, min(16, o.object))):
                row = Row(f"cache hits, {way}, {part} MiB of {o.object} MiB, {clients} clients", "CPU s/GiB", 3)
                yield [row], functools.partial(self.hits, plain, o.object * MIB, clients, part=part * MIB)
        per_request = lambda name: [Row(name, "CPU µs/request", 1)]
        yield per_request("relayed API calls, TLS on both sides"), functools.partial(self.relayed, False, None)
        yield per_request("relayed API calls, plain upstream"), functools.partial(self.relayed, True, None)
        yield per_request("relayed API calls, POST of 4 KB, TLS on both sides"), functools.partial(self.relayed, False, 4096)
        yield per_request("relayed API call on a new TLS connection"), functools.partial(self.handshakes, ())
        yield per_request("the same with a resumed handshake"), functools.partial(self.handshakes, ("--resume",))
        yield [Row("WebSocket, 100 bytes there and back", "CPU µs/message", 1)], self.websocket
        yield [Row(f"idle TLS connection, one of {o.idle}", "KiB", 1)], self.idle
        yield [Row("start to first answer", "ms", 0)], self.starts
        yield ([Row("heap allocations, relayed API call", "per request", 2), Row("heap allocations, cache hit of 1 KiB", "per request", 2)],
               self.allocations)
        for plain in (False, True):
            yield ([Row(f"{o.clients} clients, one cold {o.cold} MiB object at {o.rate} MiB/s, {'plain' if plain else 'TLS'} on both sides",
                        "upstream copies", 2),
                    Row("  median time to the first byte", "s", 3), Row("  until the last client has it whole", "s", 1),
                    Row("  CPU for what the clients got", "CPU s/GiB", 3)], functools.partial(self.followers, plain))
        yield ([Row("link cut at half of one object", "upstream bytes/size", 3), Row("  times the client was cut", "", 0),
                Row("  for the next client", "upstream bytes/size", 3)], self.cut)
        yield ([Row(f"{o.slow} clients at {o.slow_rate} MiB/s, one cold {o.big} MiB object at {o.big_rate} MiB/s", "MiB of memory", 1),
                Row("  fill, beside what the link needs", "time/time", 2), Row("  read by the clients, of what they would", "bytes/bytes", 2)],
               self.slow)
        yield ([Row(f"API call while a fill capped at {o.rate * 7 // 8} MiB/s fills a link of {o.rate} MiB/s", "ms, median", 2),
                Row("  95th percentile", "ms", 2), Row("  with no fill", "ms, median", 2), Row("  95th percentile", "ms", 2)], self.beside_fill)

    def hits(self, plain, size, clients, row, part=None):
        """The object is in all caches and in the page cache; the clients are connected. `part`: they fetch so much of it."""
        proxies = [proxy for proxy in self.caches if (plain or proxy.tls) and (proxy.large or size <= MIB)]
        self.start_proxies(proxies)
        query, path = self.new_artifact(size)
        urls = {proxy: proxy.artifact(query, path, plain) for proxy in proxies}
        for proxy, url in urls.items():
            for _ in range(3):
                self.load(proxy, url, "--pattern")
        requests = self.o.small if size < MIB else clients if part else self.o.volume * MIB // size
        fields = ("--header", HEADER) if size < MIB else ("--part", str(part)) if part else ()
        for proxy in self.in_turn(proxies):
            each = str(max(1, requests // clients))
            left = self.counters(proxy.plain_upstream)["artifact_bytes"]
            cpu, answer = self.load_kept_alive(proxy, urls[proxy], "--clients", str(clients), "--requests", each, "--pattern", *fields)
            row.add(proxy, cpu / answer["requests"] * 1e6 if size < MIB else cpu / (answer["bytes"] / GIB))
            if fetched := self.counters(proxy.plain_upstream)["artifact_bytes"] - left:
                self.failures.append(f"{proxy.name}: {row.name}: {fetched} bytes were fetched")
        self.stop_proxies(proxies)

    def relayed(self, plain_upstream, post, row):
        self.start_proxies(self.relays, plain_upstream=plain_upstream)
        script = []
        if post:
            script = ["-s", os.path.join(self.work, "post.lua")]
            with open(script[1], "w") as f:
                f.write(f'wrk.method = "POST"\nwrk.body = string.rep("x", {post})\nwrk.headers["Content-Type"] = "application/json"\n')
        for proxy in self.in_turn(self.relays, warm_up=CALL):
            before = proxy.cpu()
            done = subprocess.run(["wrk", "-t1", "-c32", f"-d{self.o.seconds:g}s", "-H", HEADER, *script, proxy.url(CALL)],
                                  capture_output=True, text=True, check=True, preexec_fn=self.on_load_core).stdout
            cpu = proxy.cpu() - before
            if "Non-2xx" in done or "Socket errors" in done:
                self.failures.append(f"{proxy.name}: {row.name}: " + " ".join(done.split()))
            row.add(proxy, cpu / int(re.search(r"(\d+) requests in", done).group(1)) * 1e6)
        self.stop_proxies(self.relays)

    def handshakes(self, how, row):
        self.start_proxies(self.relays)
        for proxy in self.in_turn(self.relays, warm_up=CALL):
            cpu, answer = self.load(proxy, proxy.url(CALL), "--clients", "4", "--requests", str(self.o.handshakes // 4), "--fresh", *how,
                                    "--header", HEADER)
            resumed = answer["requests"] - 4 if how else 0  # the first of each client cannot be
            if answer["resumed"] != resumed:
                self.failures.append(f"{proxy.name}: {row.name}: {answer['resumed']} of {resumed} handshakes were resumed")
            row.add(proxy, cpu / answer["requests"] * 1e6)
        self.stop_proxies(self.relays)

    def websocket(self, row):
        self.start_proxies(self.relays)
        for proxy in self.in_turn(self.relays):
            cpu, answer = self.load_kept_alive(proxy, proxy.url(f"{DEVICES}/deviceconnect/connect"), "--clients", "8", "--requests",
                                               str(self.o.messages // 8), "--websocket", "100", "--header", HEADER)
            row.add(proxy, cpu / answer["requests"] * 1e6)
        self.stop_proxies(self.relays)

    def starts(self, row):
        """From the start of the process to the end of the first answer, nothing being in the cache."""
        for proxy in self.in_turn(self.relays):
            proxy.start(awaited=False)
            self.finish_load(proxy, self.start_load(proxy.url(CALL), "--await", "--header", HEADER))
            row.add(proxy, (time.monotonic() - proxy.started) * 1000)
            proxy.stop()

    def idle(self, row):
        for proxy in self.relays:
            proxy.start()
            memory = []
            loads = []
            # The first hundred pay for what is there once.
            for connections in (100, self.o.idle):
                loads.append(self.start_load(proxy.url(CALL), "--idle", str(connections), "--header", HEADER))
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
            for row, url in ((relayed, proxy.url(CALL)), (hit, proxy.artifact(query, path))):
                counted = []
                for requests in (800, 4800):
                    before = proxy.allocations()
                    self.load(proxy, url, "--clients", "16", "--requests", str(requests // 16), "--header", HEADER)
                    counted.append(proxy.allocations() - before)
                row.add(proxy, (counted[1] - counted[0]) / 4000)  # what connections cost falls out
            proxy.stop()

    def followers(self, plain, copies, first_byte, whole, cpu_per_gib):
        """Everybody wants an object that is not there. Without TLS on both sides, or with it on both."""
        size = self.o.cold * MIB
        for proxy in self.caches:
            if not proxy.large or not (plain or proxy.tls):
                continue
            proxy.start(plain_upstream=plain)
            query, path = self.new_artifact(size, rate=self.o.rate * MIB)
            url = proxy.artifact(query, path, plain)
            before = self.counters(proxy.plain_upstream)["artifact_bytes"]
            children = proxy.children_cpu()
            cpu, answer = self.load(proxy, url, "--clients", str(self.o.clients), "--pattern")
            cpu += proxy.children_cpu() - children
            copies.add(proxy, (self.counters(proxy.plain_upstream)["artifact_bytes"] - before) / size)
            first_byte.add(proxy, answer["first_byte_median"])
            whole.add(proxy, answer["seconds"])
            cpu_per_gib.add(proxy, cpu / (answer["bytes"] / GIB))
            proxy.stop()

    def cut(self, copies, cuts, next_copies):
        size = self.o.cold * MIB
        for proxy in self.caches:
            proxy.start()
            query, path = self.new_artifact(size, cut=size // 2)
            url = proxy.artifact(query, path, not proxy.tls)
            before = self.settled(proxy.plain_upstream)
            _, answer = self.load(proxy, url, "--pattern")
            between = self.settled(proxy.plain_upstream)
            copies.add(proxy, (between - before) / size)
            cuts.add(proxy, answer["cuts"])
            self.load(proxy, url, "--pattern")
            next_copies.add(proxy, (self.settled(proxy.plain_upstream) - between) / size)
            proxy.stop()

    def slow(self, growth, fill, read):
        size, link = self.o.big * MIB, self.o.big / self.o.big_rate
        seconds = int(1.2 * link) + 3
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
