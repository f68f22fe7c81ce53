#include <mgw/proxy/tunnel.hpp>

#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>
#include <support/scripted_server.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace mgw::proxy {
namespace {

using test::blocking_socket;
using test::http_client;
using test::origin;
using test::pattern;
using test::relay;
using test::scripted_server;

std::string upgrade_request(std::string_view protocol = "websocket", std::string_view more = {}) {
  return "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: " + std::string(protocol) +
         "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + std::string(more) + "\r\n";
}
constexpr std::string_view switched =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";

/// Switches, then sends back what comes until its end, then "bye". Returns the head it read.
std::string echo(blocking_socket& c) {
  std::string unread;
  std::string head = scripted_server::read_head(c, unread);
  c.send(std::string(switched) + "hello");
  do {
    if (!unread.empty() && !c.send(unread)) return head;
    unread.clear();
  } while (c.receive(unread));
  c.send("bye");
  return head;
}

}  // namespace

TEST_CASE("RFC 9110 7.8: a switched connection carries bytes both ways, and one end leaves the other open") {
  std::string seen;
  {
    scripted_server s(
        [&seen](blocking_socket& c) { seen = echo(c); });  // its threads end with it, before `seen` is looked at
    relay r(test::forward_to(s.port()));
    http_client c(r.port());
    c.send(upgrade_request());
    auto const head = c.read_head();
    CHECK(head.status() == 101);
    CHECK(head.value("Connection") == "Upgrade");
    CHECK(head.value("Upgrade") == "websocket");
    CHECK(head.value("Sec-WebSocket-Accept") == "x");
    CHECK(head.count("Content-Length") == 0);
    CHECK(head.count("Transfer-Encoding") == 0);
    CHECK(c.read_bytes(5) == "hello");  // it came behind the head
    std::string const big = pattern(2'000'000);
    std::thread sender([&] {
      c.send("x");
      c.send(big);
      c.socket().finish();
    });
    CHECK((c.read_bytes(big.size() + 1) == "x" + big));
    sender.join();
    CHECK(c.read_bytes(3) == "bye");  // after our end
    CHECK(c.closed());
    CHECK(test::eventually([&r] { return r.g.records().size() == 1; }));
    CHECK(r.g.records()[0].status == 101);
    CHECK(r.g.records()[0].failure.empty());
  }
  auto const asked = test::message_head::parse(seen);
  CHECK(asked.value("Connection") == "Upgrade");
  CHECK(asked.value("Upgrade") == "websocket");
  CHECK(asked.value("Sec-WebSocket-Key") == "dGhlIHNhbXBsZSBub25jZQ==");
}

TEST_CASE("RFC 9110 7.8: an end of the upstream leaves the client's direction open") {
  std::string rest;
  {
    scripted_server s([&rest](blocking_socket& c) {
      std::string unread;
      scripted_server::read_head(c, unread);
      rest = unread;
      c.send(switched);
      c.finish();
      while (c.receive(rest)) {
      }
    });
    relay r(test::forward_to(s.port()));
    http_client c(r.port());
    c.send(upgrade_request() + "early ");
    CHECK(c.read_head().status() == 101);
    CHECK(c.closed());
    c.send("late");
    c.socket().finish();
    CHECK(test::eventually([&r] { return r.g.records().size() == 1; }));
  }
  CHECK(rest == "early late");
}

TEST_CASE("a tunnel ends when either side breaks off") {
  SUBCASE("the client") {
    std::string unread;
    bool ended = false;
    {
      scripted_server s([&](blocking_socket& c) {
        scripted_server::read_head(c, unread);
        c.send(switched);
        ended = !c.receive(unread);
      });
      relay r(test::forward_to(s.port()));
      http_client c(r.port());
      c.send(upgrade_request());
      CHECK(c.read_head().status() == 101);
      c.socket().reset();
      CHECK(test::eventually([&r] { return r.g.records().size() == 1; }));
      CHECK(r.g.records()[0].failure == "the tunnel broke off");
    }
    CHECK(ended);
  }
  SUBCASE("the upstream") {
    scripted_server s([](blocking_socket& c) {
      std::string unread;
      scripted_server::read_head(c, unread);
      c.send(switched);
      c.receive(unread);
      c.reset();
    });
    relay r(test::forward_to(s.port()));
    http_client c(r.port());
    c.send(upgrade_request());
    CHECK(c.read_head().status() == 101);
    c.send("x");
    std::string more;
    CHECK_FALSE(c.socket().receive(more));
    CHECK_FALSE(c.socket().timed_out());
  }
}

TEST_CASE("limit: silence of a tunnel") {
  scripted_server s([](blocking_socket& c) { (void)echo(c); });
  forward_options f = test::forward_to(s.port());
  f.tunnel_silence = std::chrono::milliseconds(60);
  relay r(f);
  http_client c(r.port());
  c.send(upgrade_request());
  CHECK(c.read_head().status() == 101);
  CHECK(c.read_bytes(5) == "hello");
  std::string more;
  CHECK_FALSE(c.socket().receive(more));
  CHECK_FALSE(c.socket().timed_out());
}

TEST_CASE("a drain ends a tunnel at once") {
  scripted_server s([](blocking_socket& c) { (void)echo(c); });
  relay r(test::forward_to(s.port()));
  http_client c(r.port());
  c.send(upgrade_request());
  CHECK(c.read_head().status() == 101);
  CHECK(c.read_bytes(5) == "hello");
  r.g.server().drain();
  std::string more;
  while (c.socket().receive(more)) {
  }
  CHECK_FALSE(c.socket().timed_out());
  CHECK(test::eventually([&r] { return r.g.server().idle(); }));
}

TEST_CASE("RFC 9110 7.8: protocols that are not listed are not asked for, and a refused switch is an ordinary answer") {
  origin o("ok");
  relay r(o);
  http_client c(r.port());
  c.send(upgrade_request("h2c", "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"));
  CHECK(c.read_reply().body == "ok");
  CHECK(o.requests()[0].value("Upgrade").empty());
  CHECK(o.requests()[0].value("Connection").empty());
  c.send(upgrade_request("websocket"));  // the origin ignores it
  CHECK(c.read_reply().body == "ok");
  CHECK(o.requests()[1].value("Upgrade") == "websocket");
  c.send("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");  // not named in Connection
  CHECK(c.read_reply().body == "ok");
  CHECK(o.requests()[2].value("Upgrade").empty());
  c.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi");
  CHECK(c.read_reply().body == "ok");
  CHECK(o.requests()[3].value("Upgrade").empty());
  CHECK(o.connections() == 1);
  http_client old(r.port());
  old.send("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  CHECK(old.read_reply().body == "ok");
  CHECK(o.requests()[4].value("Upgrade").empty());
}

TEST_CASE("RFC 9110 15.2.2: a 101 that nobody asked for, or for another protocol, is a bad answer") {
  std::string const other = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n";
  for (auto const& answer : {std::string(switched), other}) {
    scripted_server s([&answer](blocking_socket& c) {
      std::string unread;
      scripted_server::read_head(c, unread);
      c.send(answer);
      c.receive(unread);
    });
    relay r(test::forward_to(s.port()));
    http_client c(r.port());
    if (answer == other)
      c.send(upgrade_request());
    else
      c.request("GET", "/");
    CHECK(c.read_reply().status() == 502);
  }
}

}  // namespace mgw::proxy
