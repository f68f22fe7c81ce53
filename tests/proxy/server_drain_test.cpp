#include <mgw/proxy/server.hpp>
// The header under test comes first.
#include <mgw/net/tls_context.hpp>

#include <support/blocking_socket.hpp>
#include <support/blocking_tls.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/test_certificates.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <ostream>
#include <string>
#include <string_view>

namespace mgw::proxy::server_drain_test {
namespace {

using test::blocking_socket;
using test::eventually;

constexpr std::string_view question = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

asio::awaitable<void> answer(exchange& x) {
  (void)co_await x.respond(200, "text/plain", "well.");
}

/// Drains, and waits until each worker has.
void drain(test::gateway& g) {
  g.server().drain();
  std::promise<void> all;
  std::atomic<std::size_t> left{g.workers.size()};
  g.workers.post([&](net::worker&) {
    if (--left == 0) all.set_value();
  });
  all.get_future().wait();
}

server_options patient() {
  server_options o;
  o.head_timeout = o.idle_timeout = o.first_at_drain = std::chrono::hours(1);
  return o;
}

/// Promises more than comes before the server is stopped.
asio::awaitable<void> begin(exchange& x) {
  x.start(200);
  http::framing f;
  f.kind = http::body_kind::length;
  f.length = 10;
  x.end_head(f);
  (void)co_await x.write("begun");
  (void)co_await x.read_body();
}

/// All that comes, up to the end.
template <class Connection>
std::string rest_of(Connection& c) {
  std::string all;
  while (c.receive(all)) {
  }
  return all;
}

}  // namespace

TEST_CASE("a connection that came before a drain gets its first request answered, and is told that it was the last") {
  test::gateway g;
  std::uint16_t const port = g.start(answer, patient());
  blocking_socket early = blocking_socket::connect(port);
  REQUIRE(eventually([&] { return g.server().connections() == 1; }));
  drain(g);
  REQUIRE(early.send(question));
  std::string const got = rest_of(early);
  CHECK(got.starts_with("HTTP/1.1 200 "));
  CHECK(got.find("Connection: close\r\n") != std::string::npos);
  CHECK(got.ends_with("well."));
  CHECK(eventually([&] { return g.server().idle(); }));
}

TEST_CASE("a handshake that was under way at a drain gets its first request answered, too") {
  test::test_certificates const made;
  test::gateway g(2);
  std::uint16_t const port =
      g.start(answer, patient(), net::tls_context::server({made.server.certificate, made.server.key}));
  blocking_socket early = blocking_socket::connect(port);
  REQUIRE(eventually([&] { return g.server().connections() == 1; }));
  drain(g);
  test::blocking_tls client(std::move(early));
  REQUIRE(client.send(question));
  CHECK(rest_of(client).ends_with("well."));
  CHECK(client.ended_well());
}

TEST_CASE("a connection that has had its answer is closed by a drain at once, and so is a second request's") {
  test::gateway g;
  std::uint16_t const port = g.start(answer, patient());
  blocking_socket used = blocking_socket::connect(port);
  REQUIRE(used.send(question));
  std::string got;
  while (!got.ends_with("well.")) REQUIRE(used.receive(got));
  drain(g);
  CHECK(rest_of(used).empty());
  CHECK(eventually([&] { return g.server().idle(); }));
}

TEST_CASE("a connection on which nothing is asked does not hold up a drain") {
  server_options o = patient();
  o.first_at_drain = std::chrono::milliseconds(1);
  test::gateway g;
  std::uint16_t const port = g.start(answer, o);
  blocking_socket silent = blocking_socket::connect(port);
  REQUIRE(eventually([&] { return g.server().connections() == 1; }));
  drain(g);
  CHECK(rest_of(silent).empty());
  CHECK(eventually([&] { return g.server().idle(); }));
}

TEST_CASE("a connection past the limit ends an idle one at once, also if nothing was asked on it") {
  server_options o = patient();
  o.max_connections = 1;
  test::gateway g;
  std::uint16_t const port = g.start(answer, o);
  blocking_socket first = blocking_socket::connect(port);
  REQUIRE(eventually([&] { return g.server().connections() == 1; }));
  blocking_socket second = blocking_socket::connect(port);
  CHECK(rest_of(first).empty());
  REQUIRE(second.send(question));
  std::string got;
  while (!got.ends_with("well.") && second.receive(got)) {
  }
  CHECK(got.ends_with("well."));
}

TEST_CASE("a request that a stop cuts is told, too") {
  test::gateway g(2);
  std::uint16_t const port = g.start(begin, patient());
  blocking_socket idle = blocking_socket::connect(port), cut = blocking_socket::connect(port);
  REQUIRE(cut.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"));
  std::string got;
  while (!got.ends_with("begun")) REQUIRE(cut.receive(got));
  REQUIRE(eventually([&] { return g.server().connections() == 2; }));
  CHECK(g.records().empty());
  g.stop();
  auto const told = g.records();
  REQUIRE(told.size() == 1);
  CHECK(told[0].status == 200);
  CHECK_FALSE(told[0].finished);
  CHECK(told[0].failure == "the gateway was stopped");
}

TEST_CASE("an answer that was out when a stop came is told as whole") {
  test::gateway g;
  auto const waits = [](exchange& x) -> asio::awaitable<void> {
    (void)co_await x.respond(200, "text/plain", "whole");
    (void)co_await x.read_body();
  };
  std::uint16_t const port = g.start(waits, patient());
  blocking_socket client = blocking_socket::connect(port);
  REQUIRE(client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"));
  std::string got;
  while (!got.ends_with("whole")) REQUIRE(client.receive(got));
  g.stop();
  auto const told = g.records();
  REQUIRE(told.size() == 1);
  CHECK(told[0].finished);
  CHECK(told[0].failure.empty());
}

}  // namespace mgw::proxy::server_drain_test
