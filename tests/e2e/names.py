"""The upstream's name, as the machine looks it up (/etc/hosts, one of its own): addresses that change, and that lead nowhere."""
import socket

from support import BIN, POLL, Forwarder, Origin, Skip, check, free_port, gateway_environment, request, until

NEEDS_CLIENT = True  # that is: root, and mount namespaces
NAME = 'mender.test'


class At(Forwarder):
    """To `port` of 127.0.0.1 from another address of this machine."""

    def __init__(self, port, address, own_port=0):
        super().__init__(port, 1 << 40)
        self.listener.close()
        self.listener = socket.create_server((address, own_port or free_port()))
        self.port = self.listener.getsockname()[1]


class Silent:
    """An address of IPv6 at which no SYN is answered: the queue of what is to be accepted is full."""

    def __init__(self, port):
        self.waiting = []
        self.listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self.listener.bind(('::1', port))
        self.listener.listen(0)

    def __enter__(self):
        for _ in range(8):
            s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            s.setblocking(False)
            s.connect_ex(self.listener.getsockname())
            self.waiting.append(s)
        return self

    def __exit__(self, *failure):
        for s in (*self.waiting, self.listener):
            s.close()


class Site:
    """A gateway whose upstream is a name."""

    def __init__(self, bench, port, *addresses):
        self.bench, self.hosts = bench, bench.path('hosts')
        self.lead_to(*addresses)
        self.gateway = bench.start(
            'gateway', ['unshare', '-m', '--propagation', 'private', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$1"',
                        self.hosts, BIN / 'mgw-gateway'],
            gateway_environment(bench, f'http://{NAME}:{port}', WORKERS='1'),  # each has connections and addresses of its own
            ready=r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n')
        self.port = int(self.gateway.match[1])

    def lead_to(self, *addresses):
        self.hosts.write_text('127.0.0.1 localhost\n' + ''.join(f'{a} {NAME}\n' for a in addresses))

    def poll(self):
        return request(self.bench.pki, self.port, 'POST', POLL, {'Authorization': 'Bearer e2e', 'Content-Type': 'application/json'},
                       b'{"device_provides":{"artifact_name":"release-1","device_type":"e2e-board"}}').status


def need_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.bind(('::1', 0))
    except OSError as e:
        raise Skip(f'no IPv6 here: {e}') from e


def test_another_address_is_followed(bench):
    first, second = bench.enter(Origin(b'x')), bench.enter(Origin(b'x'))
    before = At(first.server.server_address[1], '127.0.0.2')
    after = bench.enter(At(second.server.server_address[1], '127.0.0.3', before.port))
    with before:
        site = Site(bench, before.port, '127.0.0.2')
        check(site.poll() == 200 and len(first.requests) == 1, f'{first.requests}')
        site.lead_to('127.0.0.3')
        check(site.poll() == 200 and len(first.requests) == 2, 'a good connection was given up')
    until(lambda: site.poll() == 200, 20, 'the new address to be found')
    check(len(first.requests) == 2 and len(second.requests) == 1, f'{len(first.requests)}, {len(second.requests)}')
    check(after.port == before.port, 'the test is wrong')


def test_an_address_of_ipv6_that_leads_nowhere(bench):
    need_ipv6()
    origin = bench.enter(Origin(b'x'))
    front = bench.enter(At(origin.server.server_address[1], '127.0.0.2'))
    site = Site(bench, front.port, '::1', '127.0.0.2')
    check(site.poll() == 200, f'it refuses: {site.gateway.log}')  # nobody listens there
    site.gateway.stop()
    silent = bench.enter(Silent(front.port))
    quiet = Site(bench, front.port, '::1', '127.0.0.2')
    check(quiet.poll() == 200, f'it is silent: {quiet.gateway.log}')
    check(silent.listener.fileno() >= 0 and len(origin.requests) == 2, f'{origin.requests}')


def test_two_addresses_that_fail_are_both_told(bench):
    need_ipv6()
    with At(1, '127.0.0.2') as gone:
        port = gone.port
    site = Site(bench, port, '::1', '127.0.0.2')
    check(site.poll() == 502, 'there is an upstream')
    for part in (f'[::1]:{port}: Connection refused', f'127.0.0.2:{port}: Connection refused'):
        until(lambda: part in site.gateway.log, 10, f'{part!r} in the log')  # noqa: B023
    health = request(bench.pki, site.port, 'GET', '/api/internal/v1/gateway/health')
    check(health.status == 503 and f'127.0.0.2:{port}: Connection refused' in health.body.decode(), f'{health.body}')
