#!/usr/bin/env python3
"""What a gateway needs for a fleet that gets one artifact, by the model of docs/sizing.md.

  bench/model.py --devices 5000 --poll-interval 1800 --artifact 64MiB --link 2MiB [--network 100MiB] [--cores N]
                 [--inventory-interval 28800] [--requests-per-second 80]

Rates are bytes in a second, intervals seconds.
"""
import argparse
import dataclasses
import math
import re

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# What was measured, see docs/sizing.md. Seconds of CPU:
CALL = 303e-6  # a call of the device API on a new TLS connection, one after the other
LONE_CALL = 1e-3  # the same where calls are rare, and nothing of the last one is in the processor's caches
HIT = 0.57 / GIB  # of an artifact, to one device, over TLS
FILL = (2.22 - 0.57 + 0.16) / GIB  # over the link into the cache, and to the verifier
VERIFIER = 0.68 / GIB  # the verifier's own, payload not compressed
# Bytes:
START = 16e6  # memory of the gateway, without a verifier
DOWNLOAD, WAITING, IDLE = 0.2e6, 80e3, 19e3  # of a download that is slow itself, of one that waits for the link, of other connections
LOG, AUDIT = 367, 340  # a line, a record
POLL, INVENTORY = 2130, 3480  # over the link, both ways, TLS, TCP and IP included
LINE = 10  # seconds that a call waits for its turn, where there are too many
PACKETS = 1.04  # TLS, TCP and IP around an artifact
# A device that updates makes a poll that brings a link, the download, and three reports: all are in the log, the download in
# the audit log as well, and all but the download go upstream.
CALLS, UPSTREAM_CALLS = 5, 4


@dataclasses.dataclass
class Site:
    devices: int
    poll_interval: float
    artifact: int
    link: float
    network: float = math.inf
    cores: int = 1
    inventory_interval: float = 28800
    requests_per_second: float = 80  # UPSTREAM_REQUESTS_PER_SECOND
    packets: float = PACKETS
    poll: float = POLL
    call_cpu: float = CALL
    hit_cpu: float = HIT

    def calls_per_second(self):
        return self.devices * (1 / self.poll_interval + 1 / self.inventory_interval)

    def polling_cpu(self):
        """Of one core."""
        return self.calls_per_second() * max(LONE_CALL, self.call_cpu)

    def polling_link(self):
        """Bytes in a second."""
        return self.devices * (self.poll / self.poll_interval + INVENTORY / self.inventory_interval)

    def transfer(self):
        return self.artifact * self.packets / self.link

    def device_cpu(self):
        return CALLS * self.call_cpu + self.artifact * self.hit_cpu

    def update_cpu(self):
        return self.devices * self.device_cpu() + self.artifact * (FILL + VERIFIER)

    def limits(self):
        """What the roll-out waits for, and the seconds that each alone makes of it."""
        n = self.devices
        return {"polls": self.poll_interval, "link": self.transfer(), "local network": n * self.artifact / self.network,
                "cores": n * self.device_cpu() / self.cores,
                "requests per second": n * UPSTREAM_CALLS / self.requests_per_second if self.requests_per_second else 0}

    def waiting(self):
        """Devices that hear of the artifact before it is there: they download at the same time, and report at the same time."""
        return self.devices * min(1, self.transfer() / self.poll_interval)

    def first(self):
        return self.transfer() + (self.waiting() / self.requests_per_second if self.requests_per_second else 0)

    def last(self):
        return max(self.first(), *self.limits().values())

    def sharing(self):
        """Seconds that the local network or the cores take for all downloads."""
        limits = self.limits()
        return max(limits["local network"], limits["cores"])

    def median(self):
        """Half of the devices. Those that share the network or the cores get the last bytes at about the same time."""
        limits = self.limits()
        return max(self.first(), self.poll_interval / 2, limits["requests per second"] / 2, self.sharing() - self.poll_interval / 2)

    def in_line(self):
        """Calls that wait for their turn, where there are more of them than may go upstream."""
        come = self.devices / self.poll_interval
        return come * LINE if 0 < self.requests_per_second < come * UPSTREAM_CALLS else 0

    def slow(self):
        """Downloads at the same time where devices come faster than the local network or the cores serve them."""
        return self.devices * max(0, 1 - self.poll_interval / self.sharing())

    def together(self):
        """Connections."""
        return max(self.waiting() + self.in_line(), self.slow())

    def memory(self):
        return START + max(WAITING * self.waiting() + IDLE * self.in_line(), DOWNLOAD * self.slow())

    def cache(self):
        return 2 * self.artifact

    def logs(self):
        return self.devices * (CALLS * LOG + AUDIT)

    def update_link(self):
        return self.artifact * self.packets + self.devices * UPSTREAM_CALLS * self.poll


def size(text):
    """Bytes: 4096, 64MiB, 1.5GiB."""
    found = re.fullmatch(r"([\d.]+)(KiB|MiB|GiB|)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: bytes, or a number with KiB, MiB, GiB")
    return float(found[1]) * {"": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}[found[2]]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--devices", type=int, required=True)
    p.add_argument("--poll-interval", type=float, default=1800, help="UpdatePollIntervalSeconds")
    p.add_argument("--inventory-interval", type=float, default=28800, help="InventoryPollIntervalSeconds")
    p.add_argument("--artifact", type=size, required=True, help="its size")
    p.add_argument("--link", type=size, required=True, help="rate of the link to the server")
    p.add_argument("--network", type=size, default=math.inf, help="rate of the local network")
    p.add_argument("--cores", type=int, default=1, help="of the gateway")
    p.add_argument("--requests-per-second", type=float, default=80, help="UPSTREAM_REQUESTS_PER_SECOND; 0: no limit")
    site = Site(**vars(p.parse_args()))
    limits = site.limits()
    busy = site.update_cpu() / site.last()
    for what, text in (
            ("calls in a second", f"{site.calls_per_second():.1f}"),
            ("cores while polling", f"{site.polling_cpu():.4f}"),
            ("cores while updating", f"{busy:.2f}; {site.update_cpu():.1f} s of CPU in all"),
            ("memory", f"{site.memory() / MIB:.0f} MiB"),
            ("connections", f"{site.together():.0f} at the same time"),
            ("disk", f"{site.cache() / MIB:.0f} MiB for the cache, {site.logs() / MIB:.1f} MiB for the logs"),
            ("link, polling", f"{site.polling_link() * 86400 / MIB:.0f} MiB a day"),
            ("link, update", f"{site.update_link() / MIB:.1f} MiB"),
            ("first device after", f"{site.first():.0f} s"),
            ("half of them after", f"{site.median():.0f} s"),
            ("last device after", f"{site.last():.0f} s: {max(limits, key=limits.get)}")):
        print(f"{what:24}{text}")


if __name__ == "__main__":
    main()
