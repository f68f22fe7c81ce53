#!/usr/bin/env python3
"""Measures what a scrape of the gateway's metrics costs while it is under full load, as part of one core.

  cmake --preset release -DMGW_BUILD_BENCH=ON
  cmake --build --preset release --target mgw-gateway mgw-bench-origin mgw-bench-load
  bench/scrape.py [--rounds N] [--requests N] [--devices N]

The gateway has one worker on one core. First, so that the metrics have all samples that they get in use, so many devices
(200) ask for each route of the device API, and each downloads an artifact of its own by a link of its own. Then 32 clients
send relayed API calls over kept-alive connections, as fast as answers come. In turn, one round of these is left alone, and
in the next one the metrics are scraped up to 200 times a second, a thousand times more often than Prometheus would: what the
same requests cost more of the process's CPU time then, divided by the scrapes, is what one costs. The median counts.
"""
import argparse
import http.client
import os
import ssl
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True
import harness  # noqa: E402
import peers  # noqa: E402
from peers import DEVICES, HEADER  # noqa: E402

EVERY = 15  # seconds: scrape_interval of docs/metrics.md
V2 = DEVICES.replace('v1', 'v2')
ROUTES = (('POST', f'{DEVICES}/authentication/auth_requests'), ('PUT', f'{DEVICES}/inventory/device/attributes'),
          ('PATCH', f'{DEVICES}/inventory/device/attributes'), ('GET', f'{DEVICES}/deployments/device/deployments/next'),
          ('POST', f'{V2}/deployments/device/deployments/next'), ('PUT', f'{DEVICES}/deployments/device/deployments/7/status'),
          ('PUT', f'{DEVICES}/deployments/device/deployments/7/log'), ('GET', f'{DEVICES}/other'), ('GET', f'{V2}/other'),
          ('GET', '/api/internal/v1/gateway/alive'), ('GET', '/api/internal/v1/gateway/health'), ('GET', '/none'))


class Gateway(peers.Gateway):
    def command(self, environment):
        self.metrics_port = next(port for port in iter(peers.free_port, None) if port != self.port)
        environment.update(METRICS_ENABLED='true', METRICS_LISTEN=f'127.0.0.1:{self.metrics_port}', ADMIN_LISTEN='127.0.0.1:0')
        return super().command(environment)


class Scraper(threading.Thread):
    """Scrapes so many times a second, on one connection. `done`: how often; `size`: of the last one."""

    def __init__(self, port, per_second):
        super().__init__()
        self.port, self.pause, self.done, self.size, self.ends = port, 1 / per_second, 0, 0, threading.Event()
        self.start()

    def run(self):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        following = time.monotonic()
        while not self.ends.is_set():
            connection.request('GET', '/metrics')
            answer = connection.getresponse()
            self.size = len(answer.read())
            self.done += answer.status == 200
            following = max(following + self.pause, time.monotonic())
            self.ends.wait(following - time.monotonic())
        connection.close()

    def end(self):
        self.ends.set()
        self.join()
        return self.done


class Bench(harness.Bench):
    def seen(self, proxy):
        """All routes, from many devices, and as many links."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for device in range(self.o.devices):
            connection = http.client.HTTPSConnection('127.0.0.1', proxy.port, context=context, timeout=60)
            query, _ = self.new_artifact(1024)
            calls = [(method, f'{path}?{query}' if path.endswith('/next') else path) for method, path in ROUTES]
            for method, path in [*calls, ('GET', proxy.artifact(query, None).split(f':{proxy.port}', 1)[1])]:
                body = b'{}' if method[0] == 'P' else None
                connection.request(method, path, body, {'Authorization': f'Bearer device-{device}', 'Content-Type': 'application/json'})
                connection.getresponse().read()
            connection.close()

    def scrape_idle(self, proxy):
        """CPU seconds of a scrape while nothing else is done, and its bytes."""
        scraper, before = Scraper(proxy.metrics_port, 200), proxy.cpu()
        time.sleep(2)
        done = scraper.end()
        return (proxy.cpu() - before) / done, scraper.size

    def versions(self):
        return harness.own_version()

    def run(self):
        self.print_machine()
        self.make_certificate()
        self.start_origin(self.cert, self.key)
        proxy = Gateway(self)
        self.relays = [proxy]
        self.on_load_core()
        proxy.start()
        self.seen(proxy)
        call = (proxy.url(f'{DEVICES}/inventory/device/attributes'), '--clients', '32', '--requests', str(self.o.requests // 32),
                '--header', HEADER)
        self.load(proxy, *call)
        alone, costs, times = [], [], []
        for _ in range(self.o.rounds):
            cpu, _ = self.load(proxy, *call)
            alone.append(cpu)
            scraper, began = Scraper(proxy.metrics_port, 200), time.monotonic()
            cpu, _ = self.load(proxy, *call)
            took, done = time.monotonic() - began, scraper.end()
            costs.append((cpu - alone[-1]) / done)
            times.append(done / took)
        idle, size = self.scrape_idle(proxy)
        cost = statistics.median(costs)
        print(f'\n{size} bytes of metrics, {self.o.devices} devices and links')
        print(f'a relayed API call             {statistics.median(alone) / (self.o.requests // 32 * 32) * 1e6:8.1f} µs of CPU')
        print(f'a scrape under full load       {cost * 1e3:8.3f} ms of CPU ({min(costs) * 1e3:.3f} to {max(costs) * 1e3:.3f}; '
              f'{statistics.median(times):.0f} a second were taken)')
        print(f'a scrape with nothing else     {idle * 1e3:8.3f} ms of CPU')
        print(f'one each {EVERY} s, of one core     {cost / EVERY * 100:8.4f} %')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--programs', default='build/release/bin')
    p.add_argument('--directory')
    p.add_argument('--rounds', type=int, default=7, help='of each kind')
    p.add_argument('--requests', type=int, default=30_000, help='in each round')
    p.add_argument('--devices', type=int, default=200)
    o = p.parse_args()
    harness.measure(Bench, o, 'scrape')


if __name__ == '__main__':
    main()
