"""Many downloads are held while the storage is down: the API does not notice."""
import ssl
import threading

from support import Connection, Origin, check, link, request, start_gateway, until

INVENTORY = '/api/devices/v1/inventory/device/attributes'
CONNECTIONS = 100


def test_api_calls_pass_while_downloads_are_held(bench):
    origin = bench.enter(Origin(b'x' * 3_000_000))
    down = True

    def answer(handler, start):
        if down:
            return handler.send_error(503)
        end = origin.size
        origin.head(handler, start if 'Range' in handler.headers else None, end, end)
        origin.send(handler, start, end)

    origin.artifact_answer = answer
    gateway = start_gateway(bench, origin.url, LIMITS_MAX_CONNECTIONS=str(CONNECTIONS), ARTIFACTS_PROXY_CACHE_VERIFY='length')
    held = []
    for _ in range(CONNECTIONS * 6 // 10):  # as many as may be held
        connection = bench.enter(Connection(bench.pki, gateway.port, 60))
        held.append(connection)
        connection.send('GET', link(bench.pki, gateway.port))

    def api():
        status = request(bench.pki, gateway.port, 'PUT', INVENTORY, {'Authorization': 'Bearer e2e'}, b'[]').status
        check(status == 404, f'an API call was answered {status}')  # as the origin does

    for _ in range(50):
        api()
    # More of them end the longest-held ones, and still the API is served.
    more = []
    for _ in range(CONNECTIONS * 3 // 10):
        connection = bench.enter(Connection(bench.pki, gateway.port, 60))
        more.append(connection)
        connection.send('GET', link(bench.pki, gateway.port))
        api()
    check(all(connection.closed() for connection in held[:len(more)]), 'not the longest-held were closed')
    for connection in held[len(more):]:
        connection.socket.settimeout(0.05)
        try:
            check(connection.recv() != b'', 'one that could be held was closed')
        except (TimeoutError, ssl.SSLWantReadError):
            pass
        connection.socket.settimeout(60)
    down = False
    before = len(origin.fetches())

    def tried_again():
        link(bench.pki, gateway.port)
        return len(origin.fetches()) > before

    until(tried_again, 20, 'a poll to make the download be tried again')
    for connection in held[len(more):] + more:
        answer = connection.read()
        check(answer.status == 200 and answer.whole and len(answer.body) == origin.size, f'after the outage: {answer.status}')


def test_a_stop_ends_what_is_held_at_once(bench):
    origin = bench.enter(Origin(b'x' * 3_000_000))
    asked, release = threading.Event(), threading.Event()

    def answer(handler, start):
        asked.set()
        release.wait(120)

    origin.artifact_answer = answer
    bench.stack.callback(release.set)
    gateway = start_gateway(bench, origin.url, DRAIN_TIMEOUT='110s', ARTIFACTS_PROXY_CACHE_VERIFY='length')
    held = []
    for _ in range(20):
        connection = bench.enter(Connection(bench.pki, gateway.port, 100))
        held.append(connection)
        connection.send('GET', link(bench.pki, gateway.port))
    check(asked.wait(30), 'the storage was not asked')
    check(gateway.stop(60) == 0, 'the exit status')  # long before anybody's time is over
    check(all(connection.closed() for connection in held), 'not all that were held were closed without an answer')
