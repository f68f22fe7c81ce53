#include <mgw/proxy/tunnel.hpp>

#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>
#include <support/scripted_server.hpp>
#include <support/websocket.hpp>

#include <doctest/doctest.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::proxy::tunnel_test {
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

/// Switches, and hands the rest of the connection to the test.
scripted_server::script switching(std::function<void(blocking_socket&, std::string)> rest) {
  return [rest = std::move(rest)](blocking_socket& c) {
    std::string unread;
    scripted_server::read_head(c, unread);
    c.send(switched);
    rest(c, std::move(unread));
  };
}
/// What comes until the peer's end.
std::string all_of(blocking_socket& c, std::string have = {}) {
  while (c.receive(have)) {
  }
  return have;
}
/// The frames in `wire`, as opcode and payload; one that is not whole: "…".
std::vector<std::string> frames_in(std::string_view wire) {
  std::vector<std::string> out;
  while (!wire.empty()) {
    std::size_t const n = test::ws_size(wire);
    if (n == 0) {
      out.emplace_back("…");
      break;
    }
    out.push_back(std::to_string(static_cast<unsigned char>(wire[0]) & 15U) + ' ' + test::ws_payload(wire));
    wire.remove_prefix(n);
  }
  return out;
}
std::string const going = "8 \x03\xE9";

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

TEST_CASE("RFC 6455 7.4.1: a drain tells both ends of a WebSocket that we are going away") {
  std::string upstream_saw;
  {
    scripted_server s(switching([&](blocking_socket& c, std::string unread) {
      c.send(test::ws_frame(2, "to the client", false));
      upstream_saw = all_of(c, std::move(unread));
    }));
    relay r(test::forward_to(s.port()));
    http_client c(r.port());
    c.send(upgrade_request() + test::ws_frame(2, "early", true));
    CHECK(c.read_head().status() == 101);
    std::string const first = c.read_bytes(15);
    r.g.server().drain();
    CHECK(frames_in(first + all_of(c.socket())) == std::vector<std::string>{"2 to the client", going});
    CHECK(test::eventually([&r] { return r.g.server().idle(); }));
  }
  CHECK(frames_in(upstream_saw) == std::vector<std::string>{"2 early", going});
}

TEST_CASE("RFC 6455 5.4: a drain waits for the end of a frame under way before it says so") {
  std::string upstream_saw;
  std::string const big = test::ws_frame(2, pattern(300'000), false), own = test::ws_frame(1, "whole", true);
  {
    std::promise<void> drained;
    scripted_server s(switching([&](blocking_socket& c, std::string unread) {
      c.send(big.substr(0, 100'000));
      drained.get_future().wait();
      c.send(std::string_view(big).substr(100'000));
      upstream_saw = all_of(c, std::move(unread));
    }));
    relay r(test::forward_to(s.port()));
    http_client c(r.port());
    c.send(upgrade_request());
    CHECK(c.read_head().status() == 101);
    c.send(own.substr(0, 3));
    std::string got = c.read_bytes(100'000);
    r.g.server().drain();
    drained.set_value();
    c.send(own.substr(3));
    got = all_of(c.socket(), std::move(got));
    bool const as_sent = frames_in(got) == std::vector<std::string>{"2 " + pattern(300'000), going};
    CHECK(as_sent);
  }
  auto const saw = frames_in(upstream_saw);
  bool const whole = saw == std::vector<std::string>{"1 whole", going} || saw == std::vector<std::string>{going};
  CHECK(whole);  // the drain may have come before the first bytes of it
}

TEST_CASE("RFC 6455 5.5.1: nothing follows a close frame, and nothing is put where no frame can be told") {
  auto const [from_upstream, expected] = [] {
    std::pair<std::string, std::string> p;
    SUBCASE("closed already") { p = {std::string("\x88\x02\x03\xE8", 4), "8 \x03\xE8"}; }
    SUBCASE("no WebSocket") { p = {"hello", ""}; }
    return p;
  }();
  scripted_server s(switching([&, wire = from_upstream](blocking_socket& c, std::string unread) {
    c.send(wire);
    all_of(c, std::move(unread));
  }));
  relay r(test::forward_to(s.port()));
  http_client c(r.port());
  c.send(upgrade_request());
  CHECK(c.read_head().status() == 101);
  std::string const first = c.read_bytes(from_upstream.size());
  CHECK(first == from_upstream);
  r.g.server().drain();
  CHECK(all_of(c.socket()) == "");
  if (!expected.empty()) CHECK(frames_in(first) == std::vector<std::string>{expected});
}

TEST_CASE("10,000 small frames and a few very big ones pass both ways at once, byte for byte") {
  auto const wire = [](bool masked) {
    std::string out;
    for (int i = 0; i < 10'000; ++i) out += test::ws_frame(2, pattern(static_cast<std::size_t>(i % 40), 7), masked);
    for (std::size_t const n : {std::size_t{65'536}, std::size_t{8} << 20U, std::size_t{3}}) out += test::ws_frame(2, pattern(n), masked);
    return out;
  };
  std::string const up = wire(true), down = wire(false);
  std::string upstream_saw, client_saw;
  {
    std::promise<void> all_came;
    scripted_server s(switching([&](blocking_socket& c, std::string unread) {
      std::thread sender([&] { c.send(down); });
      while (unread.size() < up.size() && c.receive(unread)) {
      }
      sender.join();
      all_came.set_value();
      upstream_saw = all_of(c, std::move(unread));
    }));
    relay r(test::forward_to(s.port()));
    http_client c(r.port());
    c.send(upgrade_request());
    CHECK(c.read_head().status() == 101);
    std::thread sender([&] {
      for (std::size_t at = 0; at < up.size(); at += 1'000'000) c.send(std::string_view(up).substr(at, 1'000'000));
    });
    client_saw = c.read_bytes(down.size());
    sender.join();
    all_came.get_future().wait();
    r.g.server().drain();
    client_saw = all_of(c.socket(), std::move(client_saw));
  }
  bool const whole_up = upstream_saw.substr(0, up.size()) == up, whole_down = client_saw.substr(0, down.size()) == down;
  CHECK(whole_up);
  CHECK(whole_down);
  CHECK(frames_in(std::string_view(upstream_saw).substr(up.size())) == std::vector<std::string>{going});
  CHECK(frames_in(std::string_view(client_saw).substr(down.size())) == std::vector<std::string>{going});
}

namespace {
/// Of the process's own connections: whether the one from or to these ports (0: any) is probed. Nothing: there is none.
std::optional<bool> probed(std::uint16_t local, std::uint16_t remote) {
  for (int fd = 3; fd < 1024; ++fd) {
    sockaddr_in here{}, there{};
    socklen_t a = sizeof here, b = sizeof there;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&here), &a) != 0 ||
        ::getpeername(fd, reinterpret_cast<sockaddr*>(&there), &b) != 0)
      continue;
    if ((local != 0 && ntohs(here.sin_port) != local) || (remote != 0 && ntohs(there.sin_port) != remote)) continue;
    int on = 0;
    socklen_t size = sizeof on;
    ::getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &size);
    return on != 0;
  }
  return std::nullopt;
}
}  // namespace

TEST_CASE("both connections of a tunnel are probed, so that a peer that is gone is found out") {
  scripted_server s([](blocking_socket& c) { (void)echo(c); });
  relay r(test::forward_to(s.port()));
  http_client c(r.port());
  c.send(upgrade_request());
  CHECK(c.read_head().status() == 101);
  CHECK(probed(0, s.port()) == true);
  CHECK(probed(r.port(), 0) == true);
  CHECK(probed(0, r.port()) == false);  // the client's own end: not all are
}

TEST_CASE("a tunnel outlives every other clock in silence") {
  scripted_server s([](blocking_socket& c) { (void)echo(c); });
  forward_options f = test::forward_to(s.port());
  f.exchange.response_timeout = f.exchange.body_silence = f.exchange.send_silence = std::chrono::milliseconds(300);
  server_options o;
  o.head_timeout = o.idle_timeout = o.body_silence = o.send_silence = std::chrono::milliseconds(300);
  relay r(f, o);
  http_client c(r.port());
  c.send(upgrade_request());
  CHECK(c.read_head().status() == 101);
  CHECK(c.read_bytes(5) == "hello");
  for (int i = 0; i < 2; ++i) {  // each of these is closed for its silence
    http_client idle(r.port());
    CHECK(idle.closed());
  }
  c.send("ping");
  CHECK(c.read_bytes(4) == "ping");
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

}  // namespace mgw::proxy::tunnel_test
