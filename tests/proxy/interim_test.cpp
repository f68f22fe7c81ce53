// Expect, interim responses, and answers that come before the request is whole.
#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>
#include <support/scripted_server.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <ostream>
#include <string>
#include <thread>
#include <utility>

namespace mgw::proxy::interim_test {
namespace {

using test::blocking_socket;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::post_head;
using test::relay;
using test::reply;
using test::scripted_server;

/// By default whoever waits for our own 100 fails.
forward_options waiting(origin const& o, std::chrono::milliseconds for_so_long = std::chrono::minutes(10)) {
  forward_options f = test::forward_to(o.port());
  f.continue_timeout = for_so_long;
  return f;
}

}  // namespace

TEST_CASE("RFC 9110 10.1.1: an expectation is forwarded, and the client goes on when the origin says so") {
  origin o("ok");
  mishap m;
  m.interim = "HTTP/1.1 100 Continue\r\n\r\n";
  o.standing(m);
  relay r(waiting(o));
  http_client c(r.port());
  for (std::string const& body : {pattern(1'000), pattern(300'000)}) {
    c.send(post_head("Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size())));
    CHECK(c.read_head().status() == 100);
    c.send(body);
    CHECK(c.read_reply().status() == 200);
    CHECK(o.requests().back().value("Expect") == "100-continue");
    CHECK((o.requests().back().body == body));
  }
  c.send(post_head("Expect: 100-continue\r\nTransfer-Encoding: chunked"));
  CHECK(c.read_head().status() == 100);
  c.send(test::chunked(pattern(100'000), 5'000));
  CHECK(c.read_reply().status() == 200);
  CHECK((o.requests().back().body == pattern(100'000)));
  CHECK(o.connections() == 1);
}

TEST_CASE("RFC 9110 10.1.1: an origin that refuses the expectation refuses it to the client, which sends no body") {
  for (int const status : {417, 401, 413}) {
    CAPTURE(status);
    origin o("ok");
    mishap m;
    m.skip_request_body = true;
    m.status = status;
    o.script(0, m);
    relay r(waiting(o));
    http_client c(r.port());
    c.send(post_head("Expect: 100-continue\r\nContent-Length: 5"));
    reply const got = c.read_reply();
    CHECK(got.status() == status);
    CHECK(got.value("Connection") == "close");
    CHECK(c.closed());
    CHECK(test::get(r.port(), "/").body == "ok");  // on another upstream connection
    CHECK(o.connections() == 2);
  }
}

TEST_CASE("RFC 9110 10.1.1: a client whose expectation the origin never answers is not left hanging") {
  origin o("ok");
  relay r(waiting(o, std::chrono::milliseconds(60)));
  http_client c(r.port());
  c.send(post_head("Expect: 100-continue\r\nContent-Length: 5"));
  CHECK(c.read_head().status() == 100);
  c.send("hello");
  CHECK(c.read_reply().status() == 200);
  CHECK(o.requests()[0].body == "hello");
  CHECK(c.get("/").body == "ok");
  CHECK(o.connections() == 1);
}

TEST_CASE("RFC 9110 10.1.1: a client that does not wait gets no 100, and an expectation without a body means nothing") {
  origin o("ok");
  relay r(waiting(o, std::chrono::milliseconds(60)));
  http_client c(r.port());
  c.send(post_head("Expect: 100-continue\r\nContent-Length: 5") + "hello");
  CHECK(c.read_head().status() == 200);
  CHECK(c.read_bytes(2) == "ok");
  CHECK(o.requests()[0].body == "hello");
  CHECK(c.get("/", {{"Expect", "100-continue"}}).body == "ok");
  CHECK(o.requests()[1].value("Expect").empty());
}

TEST_CASE("RFC 9110 10.1.1: 100-continue in an HTTP/1.0 request is ignored") {
  origin o("ok");
  relay r(waiting(o));
  http_client c(r.port());
  c.send("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
  CHECK(c.read_head().status() == 200);
  CHECK(o.requests()[0].value("Expect").empty());
  CHECK(o.requests()[0].body == "hello");
}

TEST_CASE("an expectation on a connection that had died is put to another one") {
  origin o("ok");
  mishap m;
  m.interim = "HTTP/1.1 100 Continue\r\n\r\n";
  relay r(waiting(o));
  CHECK(test::get(r.port(), "/").status() == 200);
  mishap dies;
  dies.drop = dies.skip_request_body = true;
  o.script(1, dies);
  o.standing(m);
  http_client c(r.port());
  c.send("PUT /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  CHECK(c.read_head().status() == 100);
  c.send("hello");
  CHECK(c.read_reply().status() == 200);
  CHECK(o.count() == 3);
  CHECK(o.requests()[2].body == "hello");
}

TEST_CASE("RFC 9110 15.2: interim responses are passed on, in order, without fields of this hop") {
  origin o("ok");
  mishap m;
  m.interim =
      "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"
      "HTTP/1.1 102 Processing\r\n\r\n";
  o.standing(m);
  relay r(o);
  http_client c(r.port());
  c.request("GET", "/");
  auto const hints = c.read_head();
  CHECK(hints.status() == 103);
  CHECK(hints.value("Link") == "</a>; rel=preload");
  CHECK(hints.count("X-Hop") == 0);
  CHECK(hints.count("Connection") == 0);
  CHECK(c.read_head().status() == 102);
  CHECK(c.read_reply().body == "ok");
}

TEST_CASE("RFC 9110 15.2: an HTTP/1.0 client gets no interim response") {
  origin o("ok");
  mishap m;
  m.interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
  o.standing(m);
  relay r(o);
  http_client c(r.port());
  c.send("GET / HTTP/1.0\r\n\r\n");
  CHECK(c.read_head().status() == 200);
}

TEST_CASE("a flood of interim responses ends the request") {
  for (int const n : {15, 16}) {
    origin o("ok");
    mishap m;
    for (int i = 0; i < n; ++i) m.interim += "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    o.standing(m);
    relay r(o);
    CHECK(test::get(r.port(), "/").status() == (n == 15 ? 200 : 502));
  }
}

TEST_CASE("an interim answer is no reason to stop sending, and comes before the request is whole") {
  origin o("ok");
  mishap m;
  m.interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
  o.standing(m);
  relay r(o);
  http_client c(r.port());
  std::string const body = pattern(600'000);
  c.send(post_head("Content-Length: 600000") + body.substr(0, 100'000));
  CHECK(c.read_head().status() == 103);
  c.send(body.substr(100'000));
  CHECK(c.read_reply().status() == 200);
  CHECK((o.requests()[0].body == body));
}

TEST_CASE("RFC 9112 9.5: a refusal reaches a client that has stopped in the middle of its body") {
  origin o("ok");
  mishap m;
  m.skip_request_body = true;
  m.status = 401;
  m.stall_after = 2;
  o.script(0, m);
  relay r(o);
  http_client c(r.port());
  c.send(post_head("Content-Length: 1000000") + pattern(100'000));
  reply const got = c.read_reply();  // without another byte of the body
  CHECK(got.status() == 401);
  CHECK(got.value("Connection") == "close");
  CHECK(c.closed());
}

TEST_CASE("RFC 9112 9.5: a refusal reaches a client although the origin reads nothing") {
  std::promise<void> answered;
  scripted_server s([&answered](blocking_socket& c) {
    std::string unread;
    scripted_server::read_head(c, unread);
    c.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    answered.get_future().wait();  // nothing of the body is read: both sides' buffers fill
  });
  relay r(test::forward_to(s.port()));
  http_client c(r.port());
  c.send(post_head("Content-Length: 12000000"));
  std::thread sender([&c] {
    std::string const piece = pattern(100'000);
    for (int i = 0; i < 120; ++i)
      if (!c.send(piece)) return;
  });
  CHECK(c.read_reply().status() == 413);
  answered.set_value();
  ::shutdown(c.socket().fd(), SHUT_RDWR);
  sender.join();
}

TEST_CASE("an origin may answer while the request is on its way: both bodies pass at the same time") {
  // Answers at once and sends every byte back: a deadlock if either side were served first.
  scripted_server s([](blocking_socket& c) {
    std::string unread;
    scripted_server::read_head(c, unread);
    std::size_t left = 3'000'000;
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n");
    for (;;) {
      left -= unread.size();
      if (!c.send(unread)) return;
      unread.clear();
      if (left == 0 || !c.receive(unread)) break;
    }
    c.finish();
    c.receive(unread);
  });
  relay r(test::forward_to(s.port()));
  http_client c(r.port());
  std::string const body = pattern(3'000'000);
  c.send(post_head("Content-Length: 3000000"));
  std::thread sender([&] { c.send(body); });
  reply const got = c.read_reply();
  sender.join();
  CHECK(got.status() == 200);
  CHECK((got.body == body));
  CHECK(got.whole);
}

}  // namespace mgw::proxy::interim_test
