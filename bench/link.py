#!/usr/bin/env python3
"""Measures what API calls suffer while artifacts are fetched over the same slow link, and how fast hits are then.

  cmake --preset release -DMGW_BUILD_BENCH=ON
  cmake --build --preset release --target mgw-gateway mgw-bench-origin mgw-bench-load
  bench/link.py [--seconds N] [--rate MIB] [--cap MIB] [--queue KIB]

Between proxy and origin stands a link: what comes from the origin passes it in one queue, at 8 MiB in a second, whoever it
is for; the queue holds 1 MiB before the origin is held back, as the buffers of modems do. For mgw-gateway and for nginx,
without a cap and with one a little below the link's rate (UPSTREAM_RATE_LIMIT; nginx has proxy_limit_rate, which counts for
each transfer alone), with one and with four artifacts being fetched: the time of API calls one after the other, what of the
artifacts came through, and the rate at which an object from the cache arrives meanwhile.
"""
import argparse
import os
import statistics
import sys
import time

sys.dont_write_bytecode = True
import harness  # noqa: E402
from harness import MIB  # noqa: E402
from peers import Gateway, Nginx, end  # noqa: E402
from slow_link import Link  # noqa: E402


# ---- what is measured ------------------------------------------------------------------------------------------------

class Bench(harness.Bench):
    def trial(self, proxy, fills, cap):
        """(calls' times, MiB/s over the link, MiB/s of hits)"""
        proxy.cap = cap
        proxy.start()
        query, path = self.new_artifact(32 * MIB)
        hit = proxy.artifact(query, path)
        self.load(proxy, hit, '--pattern')
        loads = [self.start_load(proxy.artifact(*self.new_artifact(1024 * MIB)), '--requests', '1') for _ in range(fills)]
        time.sleep(1)
        before, began = self.passed.value, time.monotonic()
        times = self.calls(proxy, self.o.seconds)
        over_link = (self.passed.value - before) / (time.monotonic() - began) / MIB
        _, answer = self.load(proxy, hit, '--requests', '16', '--pattern')
        for load in loads:
            if load.poll() is not None:
                self.failures.append(f'{proxy.name}: a fill was at its end too early')
            end(load)
        proxy.stop()
        return times, over_link, answer['bytes'] / answer['seconds'] / MIB

    def run(self):
        self.print_machine()
        self.make_certificate()
        self.start_origin(self.cert, self.key)
        real_port = self.origin_port
        self.proxies = [Nginx(self), Gateway(self)]
        self.on_load_core()
        print(f'\n{"":34}{"API call, ms":>20}{"link":>10}{"hits":>10}')
        print(f'{"":34}{"p50":>10}{"p99":>10}{"MiB/s":>10}{"MiB/s":>10}')
        with Link(real_port, self.o.rate * MIB, self.o.queue * 1024, self.load_core) as link:
            self.origin_port, self.passed = link.port, link.passed
            for fills in (1, 4):
                for cap in (None, self.o.cap * MIB):
                    for proxy in self.proxies:
                        times, over_link, hits = self.trial(proxy, fills, cap)
                        name = f'{proxy.name}, {fills} fill{"s" if fills > 1 else ""}, ' + (f'cap {cap // MIB} MiB/s' if cap else 'no cap')
                        cuts = statistics.quantiles(times, n=100)
                        print(f'{name:34}{cuts[49]:10.1f}{cuts[98]:10.1f}{over_link:10.2f}{hits:10.0f}', flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--programs', default='build/release/bin')
    p.add_argument('--directory')
    p.add_argument('--seconds', type=float, default=10, help='of API calls in each trial')
    p.add_argument('--rate', type=int, default=8, metavar='MIB', help='of the link, in a second')
    p.add_argument('--cap', type=int, default=7, metavar='MIB', help='what is set in the proxies, in a second')
    p.add_argument('--queue', type=int, default=1024, metavar='KIB', help='what the link buffers')
    o = p.parse_args()
    harness.measure(Bench, o, 'link')


if __name__ == '__main__':
    main()
