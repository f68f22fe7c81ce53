#include <mgw/proxy/peer_counts.hpp>

#include <mgw/core/lent_buffer.hpp>
#include <mgw/proxy/forward.hpp>
#include <mgw/proxy/router.hpp>

#include <support/no_descriptors.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/raw_listener.hpp>
#include <support/relay.hpp>
#include <support/test_certificates.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::proxy::limits_test {
namespace {

using std::chrono::milliseconds;
using test::blocking_socket;
using test::eventually;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::raw_listener;
using test::relay;
using test::reply;

constexpr milliseconds shortly{100};

forward_options options_for(std::uint16_t port) {
  forward_options f;
  f.upstream = upstream::endpoint("127.0.0.1", port, false);
  f.host = "upstream.test:" + std::to_string(port);
  return f;
}
/// A gateway that answers 204 by itself.
struct site {
  test::gateway g;
  explicit site(server_options options = {}) {
    g.start([](exchange& x) { return answer_status(204)(x); }, std::move(options));
  }
  std::uint16_t port() const { return g.port(); }
};

std::string get_with(std::string_view target, std::string_view lines = {}) {
  std::string out = "GET ";
  return out.append(target).append(" HTTP/1.1\r\nHost: a\r\n").append(lines).append("\r\n");
}
int status_of(std::uint16_t port, std::string_view request) {
  http_client c(port);
  c.send(request);
  return c.read_reply().status();
}
std::string post_head(std::string_view framing) {
  return "POST /p HTTP/1.1\r\nHost: gateway.test\r\n" + std::string(framing) + "\r\n\r\n";
}
/// Waits for the request's body; one that the client holds back is asked for.
asio::awaitable<void> answer_after_body(exchange& x) {
  body::chunk const c = co_await x.read_body();
  if (c.ec) co_return;
  (void)co_await x.respond(204, {}, {});
}
/// A client that takes next to nothing into its kernel.
http_client slow_reader(std::uint16_t port) {
  blocking_socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int const little = 4096;
  ::setsockopt(s.fd(), SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
  sockaddr_in const to = blocking_socket::loopback(port);
  if (::connect(s.fd(), reinterpret_cast<sockaddr const*>(&to), sizeof to) != 0)
    throw std::runtime_error("connect failed");
  return http_client(std::move(s));
}
/// A client with another address of the loopback net.
http_client from_address(std::uint32_t address, std::uint16_t port) {
  blocking_socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in own = blocking_socket::loopback(0);
  own.sin_addr.s_addr = htonl(address);
  sockaddr_in const to = blocking_socket::loopback(port);
  if (::bind(s.fd(), reinterpret_cast<sockaddr const*>(&own), sizeof own) != 0 ||
      ::connect(s.fd(), reinterpret_cast<sockaddr const*>(&to), sizeof to) != 0)
    throw std::runtime_error("connect failed");
  return http_client(std::move(s));
}

}  // namespace

TEST_CASE("limit: size of the head, at and past it") {
  std::string const request = get_with("/", "X: 1\r\n");
  server_options options;
  options.limits.max_head = request.size();
  site s(options);
  CHECK(status_of(s.port(), request) == 204);
  CHECK(status_of(s.port(), get_with("/", "X: 12\r\n")) == 431);
}

TEST_CASE("limit: size of the head, where it is as large as a buffer") {
  site s;
  std::string head = get_with("/");
  while (head.size() + 8000 < lent_buffer::capacity)
    head.insert(head.size() - 2, "X: " + std::string(4000, 'x') + "\r\n");
  head.insert(head.size() - 2, "Y: " + std::string(lent_buffer::capacity - head.size() - 5, 'y') + "\r\n");
  REQUIRE(head.size() == http::limits().max_head);
  CHECK(status_of(s.port(), head) == 204);
  CHECK(status_of(s.port(), head.insert(head.size() - 4, "y")) == 431);
}

TEST_CASE("limit: number of fields, at and past it") {
  server_options options;
  options.limits.max_fields = 3;
  site s(options);
  CHECK(status_of(s.port(), get_with("/", "A: 1\r\nB: 2\r\n")) == 204);
  CHECK(status_of(s.port(), get_with("/", "A: 1\r\nB: 2\r\nC: 3\r\n")) == 431);
}

TEST_CASE("limit: length of a field line, at and past it") {
  server_options options;
  options.limits.max_line = 20;
  site s(options);
  CHECK(status_of(s.port(), get_with("/", "A: " + std::string(17, 'x') + "\r\n")) == 204);
  CHECK(status_of(s.port(), get_with("/", "A: " + std::string(18, 'x') + "\r\n")) == 431);
}

TEST_CASE("limit: length of the target, at and past it") {
  server_options options;
  options.limits.max_target = 20;
  site s(options);
  CHECK(status_of(s.port(), get_with("/" + std::string(19, 'x'))) == 204);
  CHECK(status_of(s.port(), get_with("/" + std::string(20, 'x'))) == 414);
}

TEST_CASE("limit: size of a request body, at and past it, with a length and in chunks") {
  origin o("ok");
  forward_options f = options_for(o.port());
  f.max_body = 1000;
  for (std::size_t const whole : {std::size_t{100}, std::size_t{64 * 1024}}) {  // streamed, and held whole
    CAPTURE(whole);
    f.whole_body = whole;
    relay r(f);
    std::string const body(1000, 'x');
    CHECK(status_of(r.port(), post_head("Content-Length: 1000") + body) == 200);
    CHECK(status_of(r.port(), post_head("Content-Length: 1001")) == 413);
    CHECK(status_of(r.port(), post_head("Transfer-Encoding: chunked") + "3e8\r\n" + body + "\r\n0\r\n\r\n") == 200);
    CHECK(status_of(r.port(), post_head("Transfer-Encoding: chunked") + "3e9\r\n" + body + "x\r\n0\r\n\r\n") == 413);
  }
  for (auto const& seen : o.requests()) CHECK(seen.body.size() <= 1000);
}

TEST_CASE("limit: chunk lines and trailers, at and past it") {
  origin o("ok");
  server_options options;
  options.limits.max_chunk_line = 20;
  options.limits.max_trailer = 30;
  relay r(options_for(o.port()), options);
  auto const post = [&](std::string const& body) {
    return status_of(r.port(), post_head("Transfer-Encoding: chunked") + body);
  };
  CHECK(post("1;" + std::string(18, 'x') + "\r\na\r\n0\r\n\r\n") == 200);
  CHECK(post("1;" + std::string(19, 'x') + "\r\na\r\n0\r\n\r\n") == 400);
  CHECK(post("0\r\nA: " + std::string(23, 'x') + "\r\n\r\n") == 200);
  CHECK(post("0\r\nA: " + std::string(24, 'x') + "\r\n\r\n") != 200);
}

TEST_CASE("limit: requests per connection, the last one says so") {
  server_options options;
  options.max_requests = 3;
  site s(options);
  http_client c(s.port());
  for (int i = 0; i < 4; ++i) c.request("GET", "/");
  CHECK(c.read_reply().head.count("Connection") == 0);
  CHECK(c.read_reply().head.count("Connection") == 0);
  CHECK(c.read_reply().value("Connection") == "close");
  CHECK(c.closed());
  CHECK(eventually([&] { return s.g.server().connections() == 0; }));
  CHECK(s.g.records().size() == 3);
}

namespace {
/// Answers `body` and notes how many requests are in work at once and how many bytes were read ahead.
struct watched {
  struct counts {
    std::atomic<int> now{0}, most{0};
    std::atomic<std::size_t> served{0}, most_read{0};
  };
  counts* at;
  std::string_view body;
  watched(counts& c, std::string_view b) : at(&c), body(b) {}
  asio::awaitable<void> operator()(exchange& x) const { return answer(at, body, &x); }

private:
  static asio::awaitable<void> answer(counts* at, std::string_view body, exchange* x) {
    at->most = std::max(at->most.load(), ++at->now);
    at->most_read = std::max<std::size_t>(at->most_read.load(), x->bytes_in());
    (void)co_await x->respond(200, "text/plain", body);
    --at->now;
    ++at->served;
  }
};
}  // namespace

TEST_CASE("limit: pipelined requests wait in one buffer, and one is in work at a time") {
  watched::counts counts;
  test::gateway g;
  watched const handler(counts, "ok");
  g.start([handler](exchange& x) { return handler(x); });
  http_client c(g.port());
  constexpr std::size_t many = 5000;
  std::jthread const asking([&] {
    std::string all;
    for (std::size_t i = 0; i < many; ++i) all += get_with("/" + std::to_string(i));
    c.send(all);
  });
  std::size_t answered = 0;
  while (answered < many && c.read_reply().whole) ++answered;
  CHECK(answered == many);
  CHECK(counts.most == 1);
  CHECK(counts.most_read <= lent_buffer::capacity);
}

TEST_CASE("limit: who pipelines and reads no answer is read no further") {
  watched::counts counts;
  test::gateway g;
  std::string const body(50'000, 'x');
  watched const handler(counts, body);
  server_options options;
  options.send_silence = shortly;
  g.start([handler](exchange& x) { return handler(x); }, options);
  http_client c = slow_reader(g.port());
  std::string const request = get_with("/");
  std::size_t sent = 0;
  while (sent < 4'000'000 && c.send(request)) ++sent;  // ends when the gateway has given up on this client
  CHECK(sent < 4'000'000);
  CHECK(counts.served * body.size() < 16u << 20);  // what the kernel holds, and no more
  CHECK(counts.served < sent);
  CHECK(counts.most == 1);
  CHECK(counts.most_read <= lent_buffer::capacity);
}

TEST_CASE("limit: connections in all, at and past it, and one log line for a burst") {
  server_options options;
  options.max_connections = 2;
  test::gateway g;
  g.start(answer_after_body, options);
  auto first = std::make_unique<http_client>(g.port());
  http_client second(g.port());
  for (auto* const c : {first.get(), &second}) {  // in the middle of a request
    c->send(post_head("Content-Length: 1\r\nExpect: 100-continue"));
    CHECK(c->read_head().status() == 100);
  }
  for (int i = 0; i < 5; ++i) {
    http_client past(g.port());
    past.request("GET", "/");
    CHECK_FALSE(past.read_reply().head.there());
  }
  second.send("x");
  CHECK(second.read_reply().status() == 204);
  CHECK(g.server().refused() == 5);
  CHECK(g.log.count("2 are open (max_connections)") == 1);
  first.reset();
  CHECK(eventually([&] { return g.server().connections() == 1; }));
  CHECK(test::get(g.port(), "/").status() == 204);
}

TEST_CASE("limit: for a connection past the limit an idle one is closed, then what a handler can spare, then that one") {
  server_options options;
  options.max_connections = 2;
  std::atomic<int> spare{1};
  options.make_room = [&spare] { return spare-- > 0; };
  test::gateway g;
  g.start(answer_after_body, options);
  http_client busy(g.port()), idle(g.port());
  busy.send(post_head("Content-Length: 1\r\nExpect: 100-continue"));
  CHECK(busy.read_head().status() == 100);
  CHECK(idle.get("/").status() == 204);
  CHECK(eventually([&] { return g.records().size() == 1; }));
  http_client third(g.port());
  third.send(post_head("Content-Length: 1\r\nExpect: 100-continue"));
  CHECK(third.read_head().status() == 100);
  CHECK(idle.closed());
  http_client fourth(g.port());
  CHECK(fourth.get("/").status() == 204);  // a handler has made room
  CHECK(spare == 0);
  http_client fifth(g.port());  // for the fourth, which is idle
  CHECK(fifth.get("/").status() == 204);
  CHECK(g.server().refused() == 0);
  busy.send("x");
  third.send("x");
  CHECK(busy.read_reply().status() == 204);
  CHECK(third.read_reply().status() == 204);
}

TEST_CASE("limit: connections of one client, at and past it, over all workers") {
  server_options options;
  options.max_connections_per_peer = 2;
  test::gateway g(2);
  g.start([](exchange& x) { return answer_status(204)(x); }, options);
  auto first = std::make_unique<http_client>(g.port());
  http_client second(g.port());
  CHECK(first->get("/").status() == 204);
  CHECK(second.get("/").status() == 204);
  for (int i = 0; i < 5; ++i) {
    http_client past(g.port());
    past.request("GET", "/");
    CHECK_FALSE(past.read_reply().head.there());
  }
  http_client other = from_address(INADDR_LOOPBACK + 1, g.port());
  CHECK(other.get("/").status() == 204);
  CHECK(g.server().refused() == 5);
  CHECK(g.log.count("127.0.0.1 has 2 (max_connections_per_peer)") == 1);
  first.reset();
  CHECK(eventually([&] { return g.server().connections() == 2; }));
  CHECK(test::get(g.port(), "/").status() == 204);
}

TEST_CASE("limit: a client is an IPv4 address or an IPv6 network of 64 bits") {
  auto const address = [](char const* text) { return asio::ip::make_address(text); };
  peer_counts counts(1);
  CHECK(counts.enter(address("192.0.2.1")));
  CHECK_FALSE(counts.enter(address("192.0.2.1")));
  CHECK(counts.enter(address("192.0.2.2")));
  CHECK(counts.enter(address("2001:db8:0:1::1")));
  CHECK_FALSE(counts.enter(address("2001:db8:0:1:ffff:ffff:ffff:ffff")));
  CHECK(counts.enter(address("2001:db8:0:2::1")));
  CHECK(counts.enter(address("::1")));  // no relative of IPv4
  CHECK(counts.clients() == 5);
  counts.leave(address("192.0.2.1"));
  counts.leave(address("2001:db8:0:1::2"));
  CHECK(counts.clients() == 3);  // nothing is kept of who is gone
  CHECK(counts.enter(address("192.0.2.1")));
  CHECK(counts.enter(address("2001:db8:0:1::3")));
  peer_counts none(0);
  for (int i = 0; i < 1000; ++i) CHECK(none.enter(address("192.0.2.1")));
  CHECK(none.clients() == 0);
}

TEST_CASE("limit: time for the handshake, from its beginning, however it drips in") {
  test::test_certificates const made;
  test::gateway g;
  server_options options;
  options.handshake_timeout = milliseconds(300);
  auto const identity = net::tls_context::server({made.server.certificate, made.server.key});
  g.start([](exchange& x) { return answer_status(204)(x); }, options, identity);
  http_client silent(g.port());
  CHECK(silent.closed());
  http_client dripping(g.port());
  dripping.send(std::string_view("\x16\x03\x01\x20\x00\x01\x00\x1f\xfc\x03\x03", 11));  // a long ClientHello
  CHECK_FALSE(test::drip(dripping.socket(), std::string(3000, 'x'), milliseconds(10)));
  // Who is done in time is served, here through a gateway that speaks TLS upstream.
  net::client_tls trust;
  trust.ca_file = made.ca_file;
  test::gateway edge(1, {}, trust);
  forward_options f;
  f.upstream = upstream::endpoint("localhost", g.port(), true);
  f.host = "localhost";
  edge.start(test::forwarder(edge.upstreams, f));
  CHECK(test::get(edge.port(), "/").status() == 204);
}

TEST_CASE("limit: time for the head, from its first byte, however it drips in") {
  server_options options;
  options.head_timeout = milliseconds(300);
  options.idle_timeout = std::chrono::seconds(60);
  site s(options);
  CHECK(http_client(s.port()).closed());  // also for the first byte of the first one
  http_client half(s.port());
  half.send("GET / HTTP/1.1\r\nHost: a\r\n");
  CHECK(half.closed());
  http_client dripping(s.port());
  CHECK(dripping.get("/").status() == 204);  // the second head has the same time
  dripping.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
  CHECK_FALSE(test::drip(dripping.socket(), std::string(3000, 'x'), milliseconds(10)));
  CHECK(eventually([&] { return s.g.server().connections() == 0; }));
  CHECK(s.g.records().size() == 1);
}

TEST_CASE("limit: silence of a request body; a slow one is no silent one") {
  origin o("ok");
  server_options options;
  options.body_silence = milliseconds(500);
  options.head_timeout = milliseconds(500);
  relay r(options_for(o.port()), options);
  http_client slow(r.port());
  slow.send(post_head("Content-Length: 40"));
  CHECK(test::drip(slow.socket(), std::string(39, 'x'), milliseconds(20)));  // longer than any of the limits
  slow.send("x");
  CHECK(slow.read_reply().status() == 200);
  http_client silent(r.port());
  silent.send(post_head("Content-Length: 40") + std::string(39, 'x'));
  CHECK_FALSE(silent.read_reply().whole);
  CHECK(o.count() == 1);
  CHECK(eventually([&] { return r.g.server().connections() == 1; }));
}

TEST_CASE("limit: silence of a response body; a slow one is no silent one") {
  raw_listener upstream;
  forward_options f = options_for(upstream.port());
  f.exchange.body_silence = milliseconds(500);
  f.exchange.response_timeout = milliseconds(500);
  relay r(f);
  http_client c(r.port());
  c.request("GET", "/");
  blocking_socket o = upstream.accept();
  CHECK_FALSE(test::read_head(o).empty());
  o.send("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n");
  CHECK(test::drip(o, std::string(40, 'x'), milliseconds(20)));
  CHECK(c.read_reply().whole);
  c.request("GET", "/");
  CHECK_FALSE(test::read_head(o).empty());
  o.send("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + std::string(39, 'x'));
  reply const cut = c.read_reply();
  CHECK(cut.status() == 200);
  CHECK_FALSE(cut.whole);
  std::string nothing;
  CHECK_FALSE(o.receive(nothing));  // nor is the connection kept
}

TEST_CASE("limit: silence of a client that takes no response") {
  server_options options;
  options.send_silence = shortly;
  origin o(pattern(32'000'000));
  relay r(options_for(o.port()), options);
  http_client c = slow_reader(r.port());
  c.request("GET", "/");
  CHECK(eventually([&] { return r.g.records().size() == 1; }));
  CHECK_FALSE(r.g.records().at(0).finished);
  CHECK_FALSE(c.read_reply().whole);
}

TEST_CASE("limit: idle time between two requests") {
  server_options options;
  options.idle_timeout = shortly;
  site s(options);
  http_client c(s.port());
  CHECK(c.get("/").status() == 204);
  CHECK(c.closed());
}

TEST_CASE("limit: time to connect upstream") {
  raw_listener full(0);  // a listener whose queue is full answers no SYN
  std::vector<http_client> queue;
  upstream::pool_options pools;
  pools.connect_timeout = shortly;
  relay r(options_for(full.port()), {}, pools);
  std::vector<int> statuses;
  for (int i = 0; i < 8 && (statuses.empty() || statuses.back() == 0); ++i) {
    // The first ones are taken into the queue and get no answer: those wait.
    http_client c(r.port());
    c.request("GET", "/");
    pollfd p{c.socket().fd(), POLLIN, 0};
    statuses.push_back(::poll(&p, 1, 2000) == 1 ? c.read_reply().status() : 0);
    queue.push_back(std::move(c));
  }
  CHECK(statuses.back() == 504);
}

TEST_CASE("limit: time for an upstream's response, and for it to take the request") {
  origin o("ok");
  forward_options f = options_for(o.port());
  f.exchange.response_timeout = shortly;
  f.exchange.send_silence = shortly;
  f.max_body = 100'000'000;
  relay r(f);
  mishap m;
  m.silent = true;
  o.script(0, m);
  CHECK(test::get(r.port(), "/").status() == 504);
  CHECK(test::get(r.port(), "/").status() == 200);
  m.skip_request_body = true;
  o.script(2, m);
  http_client c(r.port());
  c.send(post_head("Content-Length: 50000000"));
  std::jthread const sender([&c] {
    std::string const piece = pattern(100'000);
    for (int i = 0; i < 500; ++i)
      if (!c.send(piece)) return;
  });
  CHECK(c.read_reply().status() == 504);
  ::shutdown(c.socket().fd(), SHUT_RDWR);
}

TEST_CASE("limit: a client that reads nothing of a large response costs buffers of a fixed size") {
  std::size_t const size = 64u << 20;
  origin o(std::string(size, 'x'));
  server_options options;
  options.send_silence = milliseconds(500);
  relay r(options_for(o.port()), options);
  http_client c = slow_reader(r.port());
  c.request("GET", "/");
  CHECK(eventually([&] { return r.g.records().size() == 1; }));  // it was given up
  CHECK(o.sent() > 0);
  CHECK(o.sent() < size / 4);  // the kernel's buffers on both sides, and ours of 18 KiB
}

TEST_CASE("limit: without descriptors accepting pauses, open connections are served, and nobody is lost") {
  site s;
  http_client early(s.port());
  early.send("GET / HTTP/1.1\r\n");
  CHECK(eventually([&] { return s.g.server().connections() == 1; }));
  blocking_socket late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in const to = blocking_socket::loopback(s.port());
  {
    test::no_descriptors const none;
    REQUIRE(::connect(late.fd(), reinterpret_cast<sockaddr const*>(&to), sizeof to) == 0);
    CHECK(late.send(get_with("/")));
    CHECK(eventually([&] { return s.g.server().pauses() >= 2; }));
    CHECK(s.g.server().connections() == 1);
    early.send("Host: a\r\n\r\n");
    CHECK(early.read_reply().status() == 204);
  }
  http_client c(std::move(late));
  CHECK(c.read_reply().status() == 204);
  CHECK(s.g.log.count("no connection can be accepted") == 1);
}

TEST_CASE("limit: without descriptors an idle connection is closed for one that comes") {
  site s;
  http_client idle(s.port());
  CHECK(idle.get("/").status() == 204);
  blocking_socket late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in const to = blocking_socket::loopback(s.port());
  test::no_descriptors const none;
  REQUIRE(::connect(late.fd(), reinterpret_cast<sockaddr const*>(&to), sizeof to) == 0);
  CHECK(late.send(get_with("/")));
  http_client c(std::move(late));
  CHECK(c.read_reply().status() == 204);
  CHECK(idle.closed());
}

}  // namespace mgw::proxy::limits_test
