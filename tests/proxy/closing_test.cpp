#include <mgw/proxy/exchange.hpp>

#include <mgw/proxy/forward.hpp>

#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <thread>

namespace mgw::proxy::closing_test {
namespace {

using test::http_client;
using test::origin;
using test::pattern;
using test::post_head;
using test::relay;

/// A server that reads on for long after its last answer.
server_options patient() {
  server_options o;
  o.linger = std::chrono::seconds(60);
  return o;
}

/// True if the server has ended its side, but still reads: bytes that met a closed socket would be answered with a
/// reset.
bool half_closed(http_client& c) {
  if (!c.closed() || c.socket().was_reset()) return false;
  for (int i = 0; i < 20; ++i) {
    if (!c.send("more")) return false;
    c.socket().flush();
  }
  return true;
}

}  // namespace

TEST_CASE("RFC 9112 9.6: whoever is still sending when its body is refused reads the answer, and no reset") {
  origin o("ok");
  relay r(test::forward_to(o.port()), patient());
  http_client c(r.port());
  c.send(post_head("Transfer-Encoding: chunked") + "5\r\nhelloX");
  std::thread sender([&c] { c.send(pattern(40'000)); });
  CHECK(c.read_reply().status() == 400);
  CHECK(half_closed(c));
  sender.join();
}

TEST_CASE("RFC 9112 9.6: what comes behind a request that says close harms no answer") {
  origin o("ok");
  relay r(test::forward_to(o.port()), patient());
  http_client c(r.port());
  c.send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n" + pattern(40'000));
  CHECK(c.read_reply().body == "ok");
  CHECK(half_closed(c));
  CHECK(o.count() == 1);
}

TEST_CASE("RFC 9112 9.6: requests behind the last that a connection may have harm no answer") {
  origin o("ok");
  server_options few = patient();
  few.max_requests = 2;
  relay r(test::forward_to(o.port()), few);
  http_client c(r.port());
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  c.send(many);
  CHECK(c.read_reply().value("Connection").empty());
  CHECK(c.read_reply().value("Connection") == "close");
  CHECK(half_closed(c));
  CHECK(o.count() == 2);
}

TEST_CASE("a client that never ends its side is waited for no longer than `linger`") {
  origin o("ok");
  server_options brief;
  brief.linger = std::chrono::milliseconds(50);
  relay r(test::forward_to(o.port()), brief);
  http_client c(r.port());
  c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(c.read_reply().body == "ok");
  CHECK(test::eventually([&r] { return r.g.server().connections() == 0; }));
}

}  // namespace mgw::proxy::closing_test
