#!/usr/bin/env python3
"""Measures whether a request costs the same however much there is: connections, objects in the cache, known devices, workers.

  bench/scale.py [--rounds N] [--connections N] [--more-connections N] [--objects N] [--devices N]

CPU of the gateway for each request, medians; bench/README.md says how. It needs what bench/run.sh builds, and wrk."""
import argparse
import base64
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
import harness  # noqa: E402
import peers  # noqa: E402
import start  # noqa: E402
from harness import CALL  # noqa: E402
from peers import HEADER  # noqa: E402

OF_MANY = '''local n, i = %d, 0
request = function()
  i = i %% n + 1
  return wrk.format("GET", nil, {["Authorization"] = "Bearer " .. tokens[i]})
end
'''


class Gateway(peers.Gateway):
    """With so many objects in its cache, from the start, and so many workers."""
    made = 0

    def __init__(self, bench, objects=0, workers=1):
        super().__init__(bench)
        self.objects, self.workers = objects, workers
        Gateway.made += 1
        self.name = f'mgw{Gateway.made}-'

    def command(self, environment):
        command = super().command(environment)
        environment.update(WORKERS=str(self.workers), LIMITS_MAX_CONNECTIONS='20000', ADMIN_LISTEN='127.0.0.1:0')
        start.make(pathlib.Path(self.directory) / 'cache', self.objects)
        return command

    def start(self, **how):
        super().start(**how)
        if self.workers > 1:  # wherever there is room: beside the load, too
            every = range(os.cpu_count())
            for thread in os.listdir(f'/proc/{self.process.pid}/task'):
                os.sched_setaffinity(int(thread), every)


class ReverseProxy(peers.Proxy):
    """The toolkit's server, relay and pools, without the gateway's own bound on connections."""
    made = 0

    def __init__(self, bench):
        super().__init__(bench)
        ReverseProxy.made += 1
        self.name = f'reverse-proxy{ReverseProxy.made}-'

    def command(self, environment):
        bench = self.bench
        return [bench.program('mgw-reverse-proxy'), '--listen', f'127.0.0.1:{self.port}', '--tls-cert', bench.cert, '--tls-key', bench.key,
                '--upstream', f'https://localhost:{bench.origin_port}', '--upstream-ca', bench.cert, '--max-connections', '100000']


class Scale(harness.Bench):
    def calls_cpu(self, proxy, *options):
        """Microseconds of CPU for a relayed call, 32 clients."""
        before = proxy.cpu()
        done = subprocess.run(['wrk', '-t1', '-c32', '-d2s', *(options or ('-H', HEADER)), proxy.url(CALL)], capture_output=True,
                              text=True, check=True, preexec_fn=self.on_load_core).stdout
        cpu = proxy.cpu() - before
        if 'Non-2xx' in done or 'Socket errors' in done:
            self.failures.append(' '.join(done.split()))
        return cpu / int(re.search(r'(\d+) requests in', done).group(1)) * 1e6

    def hits_cpu(self, proxy, url):
        """The same for a hit of 1 KiB, eight clients."""
        cpu, answer = self.load_kept_alive(proxy, url, '--clients', '8', '--requests', str(self.o.requests // 8), '--pattern',
                                           '--header', HEADER)
        return cpu / answer['requests'] * 1e6

    def say(self, what, *figures):
        medians = [statistics.median(f) for f in figures]
        print(f'{what:62}' + ''.join(f'{m:8.1f}' for m in medians) + f'   x {medians[-1] / medians[0]:.2f}', flush=True)

    def run(self):
        self.print_machine()
        self.make_certificate()
        self.start_origin(self.cert, self.key)
        self.start_plain_origin()
        print(f'\nµs of CPU for each request {"few":>41}{"many":>8}')
        self.connections('a relayed call', lambda: self.two(), self.o.connections)
        self.connections("the same by mgw-reverse-proxy", lambda: self.started(ReverseProxy(self), ReverseProxy(self)),
                         self.o.more_connections)
        self.objects()
        self.devices()
        self.workers()

    def in_pairs(self, few, many):
        """Measures both in each round, so that what else the machine does is with both."""
        pairs = [(few(), many()) for _ in range(self.o.rounds)]
        return [p[0] for p in pairs], [p[1] for p in pairs]

    def two(self, **how):
        return self.started(Gateway(self), Gateway(self, **how))

    def started(self, *proxies):
        self.relays = proxies
        for proxy in self.relays:
            proxy.start()
            self.calls_cpu(proxy)
        return self.relays

    def end(self):
        self.stop_proxies(self.relays)

    def connections(self, what, start, most):
        few, many = start()
        for proxy, n in ((few, 10), (many, most)):
            proxy.idle = self.start_load(proxy.url(CALL), '--idle', str(n), '--header', HEADER)
            proxy.idle.stdout.readline()
        self.say(f'{what}, beside 10 and {most} idle connections',
                 *self.in_pairs(lambda: self.calls_cpu(few), lambda: self.calls_cpu(many)))
        for proxy, n in ((few, 10), (many, most)):
            held = len(os.listdir(f'/proc/{proxy.process.pid}/fd'))
            if held < n:
                self.failures.append(f'{n} connections were to be idle, and the gateway has {held} descriptors open')
            self.finish_load(proxy, proxy.idle)
        self.end()

    def objects(self):
        few, many = self.two(objects=self.o.objects)
        query, path = self.new_artifact(1024)
        urls = [proxy.artifact(query, path) for proxy in (few, many)]
        for proxy, url in zip((few, many), urls):
            self.load(proxy, url, '--pattern')
        self.say(f'a hit of 1 KiB, of 1 and of {self.o.objects + 1} objects',
                 *self.in_pairs(lambda: self.hits_cpu(few, urls[0]), lambda: self.hits_cpu(many, urls[1])))
        self.end()

    def devices(self):
        scripts = []
        for n in (1, self.o.devices):
            # As many tokens of one device: the load has the same work.
            tokens = [self.token(i % n, i) for i in range(self.o.devices)]
            scripts.append(os.path.join(self.work, f'{n}.lua'))
            with open(scripts[-1], 'w') as f:
                f.write('tokens = {' + ','.join(f'"{t}"' for t in tokens) + '}\n' + OF_MANY % len(tokens))
        few, many = self.two()
        self.say(f'a relayed call, by 1 and by {self.o.devices} devices',
                 *self.in_pairs(lambda: self.calls_cpu(few, '-s', scripts[0]), lambda: self.calls_cpu(many, '-s', scripts[1])))
        self.end()

    @staticmethod
    def token(device, which):
        part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip('=')
        return f'{part({"alg": "RS256"})}.{part({"sub": f"6f64d0a1-0000-4000-8000-{device:012}"})}.{part(which)}'

    def workers(self):
        few, many = self.two(workers=2)
        self.say('a relayed call, 1 and 2 workers', *self.in_pairs(lambda: self.calls_cpu(few), lambda: self.calls_cpu(many)))
        self.end()


def idle_connections():
    """16,000; or what the gateway takes under the hard limit of descriptors, two for each connection and a hundred, less those of
    the load (examples/gateway/open_files.hpp)."""
    return min(16_000, (hard_limit() - 100) // 2 - 50)


def hard_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--programs', default='build/release/bin')
    p.add_argument('--directory')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--requests', type=int, default=8000, help='hits in each round')
    p.add_argument('--connections', type=int, default=idle_connections(), help='idle ones: 16,000, or what descriptors allow')
    p.add_argument('--more-connections', type=int, default=min(16_000, hard_limit() - 200), help='those of mgw-reverse-proxy')
    p.add_argument('--objects', type=int, default=10_000)
    p.add_argument('--devices', type=int, default=100_000)
    o = p.parse_args()
    harness.measure(Scale, o, 'scale')


if __name__ == '__main__':
    main()
