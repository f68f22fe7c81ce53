#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/raw_listener.hpp>
#include <support/relay.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::proxy::pool_hygiene_test {
namespace {

using test::blocking_socket;
using test::http_client;
using test::pattern;
using test::raw_listener;
using test::read_head;
using test::reply;

constexpr std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
constexpr std::string_view timed_out =
    "HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";

/// A gateway, the origin it forwards to, which the test plays by hand, and a client.
struct site {
  raw_listener upstream;
  test::gateway g;
  http_client c;
  explicit site(upstream::pool_options pools = {}) : g(1, pools), c(start()) {}

  /// One request that leaves a connection in the pool; returns the origin's end of it.
  blocking_socket warm() {
    c.request("GET", "/warm");
    blocking_socket o = upstream.accept();
    answer(o, ok);
    CHECK(c.read_reply().body == "ok");
    return o;
  }
  /// Reads a request without a body and answers it.
  static std::string answer(blocking_socket& o, std::string_view response) {
    std::string head = read_head(o);
    CHECK_FALSE(head.empty());
    o.send(response);
    return head;
  }
  static bool closed(blocking_socket& o) {
    std::string bytes;
    return !o.receive(bytes) && !o.timed_out();
  }

private:
  std::uint16_t start() {
    forward_options f;
    f.upstream = upstream::endpoint("127.0.0.1", upstream.port(), false);
    f.host = "upstream.test";
    return g.start(test::forwarder(g.upstreams, f));
  }
};

}  // namespace

TEST_CASE("RFC 9112 9.3: a connection is used again exactly if its last response ended cleanly and lets it") {
  struct {
    char const* what;
    char const* method;
    std::string response;
    bool kept;
  } const cases[] = {
      {"a length", "GET", std::string(ok), true},
      {"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true},
      {"chunks and a trailer", "GET",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n", true},
      {"no body by status 204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", true},
      {"no body by status 304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", true},
      {"no body by method", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true},
      {"HTTP/1.0 that asks for it", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
       true},
      {"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
      {"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false},
      {"close in a list", "GET", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok", false},
      {"a surplus behind a length", "GET", std::string(ok) + "x", false},
      {"a second response", "GET", std::string(ok) + std::string(ok), false},
      {"a surplus behind chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx",
       false},
      {"a body behind a 204", "GET", "HTTP/1.1 204 No Content\r\n\r\nok", false},
      {"a length in a 204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", false},
      {"a body behind a 304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", false},
      {"a body behind an answer to HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
      {"408", "GET", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\nno", false},
  };
  for (auto const& k : cases) {
    CAPTURE(k.what);
    site s;
    s.c.request(k.method, "/1");
    blocking_socket first = s.upstream.accept();
    site::answer(first, k.response);
    CHECK(s.c.read_reply(k.method).whole);
    if (k.kept) {
      s.c.request("GET", "/2");
      CHECK(site::answer(first, ok).starts_with("GET /2 "));
    } else {
      CHECK(site::closed(first));
      s.c.request("GET", "/2");
      blocking_socket second = s.upstream.accept();
      CHECK(site::answer(second, ok).starts_with("GET /2 "));
    }
    CHECK(s.c.read_reply().body == "ok");
  }
}

TEST_CASE("RFC 9112 9.5: an upstream that closed while idle is noticed, and nothing is lost, whatever the method") {
  for (bool const reset : {false, true})
    for (std::string const method : {"GET", "POST"}) {
      CAPTURE(method);
      CAPTURE(reset);
      site s;
      blocking_socket first = s.warm();
      if (reset)
        first.reset();
      else
        first.close();
      s.c.request(method, "/2", {}, method == "POST" ? "body" : "");
      blocking_socket second = s.upstream.accept();
      CHECK(site::answer(second, ok).starts_with(method + " /2 "));
      CHECK(s.c.read_reply().body == "ok");
    }
}

TEST_CASE(
    "RFC 9112 9.3.1: what an upstream closed unanswered is repeated once on a fresh connection, if it is idempotent") {
  for (bool const reset : {false, true})
    for (std::string const method : {"GET", "DELETE", "PUT", "POST", "PATCH"}) {
      CAPTURE(method);
      CAPTURE(reset);
      bool const idempotent = method != "POST" && method != "PATCH";
      site s;
      blocking_socket first = s.warm();
      s.c.request(method, "/2", {}, method == "PUT" ? "body" : "");
      CHECK_FALSE(read_head(first).empty());
      if (reset)
        first.reset();
      else
        first.close();
      if (!idempotent) {
        CHECK(s.c.read_reply().status() == 502);
        CHECK_FALSE(s.upstream.somebody_waits());
        continue;
      }
      blocking_socket second = s.upstream.accept();
      std::string const again = read_head(second);
      CHECK(again.starts_with(method + " /2 "));
      second.close();  // not a third time
      CHECK(s.c.read_reply().status() == 502);
      CHECK_FALSE(s.upstream.somebody_waits());
    }
}

TEST_CASE("RFC 9112 9.3.1: a response that has begun is no reason to repeat, even if it never ends") {
  site s;
  blocking_socket first = s.warm();
  s.c.request("GET", "/2");
  CHECK_FALSE(read_head(first).empty());
  first.send("HTTP/1.1 2");
  first.close();
  CHECK(s.c.read_reply().status() == 502);
  CHECK_FALSE(s.upstream.somebody_waits());
}

TEST_CASE("RFC 9110 9.2.2: a request is repeated only with its whole body") {
  SUBCASE("which is there if it is small") {
    site s;
    blocking_socket first = s.warm();
    std::string const body = pattern(30'000);
    s.c.request("PUT", "/2", {}, body);
    CHECK_FALSE(read_head(first).empty());
    first.reset();  // a part of the body may have been read, the rest is lost
    blocking_socket second = s.upstream.accept();
    std::string got = read_head(second);
    while (got.size() - got.find("\r\n\r\n") - 4 < body.size() && second.receive(got)) {
    }
    CHECK((got.substr(got.find("\r\n\r\n") + 4) == body));
    second.send(ok);
    CHECK(s.c.read_reply().body == "ok");
  }
  SUBCASE("which is gone if it is large") {
    site s;
    blocking_socket first = s.warm();
    std::jthread const sender([&] { s.c.request("PUT", "/2", {}, pattern(3'000'000)); });
    CHECK_FALSE(read_head(first).empty());
    first.reset();
    CHECK(s.c.read_reply().status() == 502);
    CHECK_FALSE(s.upstream.somebody_waits());
  }
}

TEST_CASE("RFC 9110 15.5.9: a 408 that comes on an idle connection answers no request") {
  site s;
  blocking_socket first = s.warm();
  first.send(timed_out);
  SUBCASE("and the connection is closed") {
    first.close();
  }
  SUBCASE("and the connection is left open") {}
  s.c.request("POST", "/2", {}, "body");
  blocking_socket second = s.upstream.accept();
  CHECK(site::answer(second, ok).starts_with("POST /2 "));
  CHECK(s.c.read_reply().body == "ok");
}

TEST_CASE("RFC 9110 15.5.9: a 408 that crosses the next request is no answer to it: that is repeated, if it may be") {
  for (std::string const method : {"GET", "POST"}) {
    CAPTURE(method);
    site s;
    blocking_socket first = s.warm();
    s.c.request(method, "/2");
    CHECK_FALSE(read_head(first).empty());
    first.send(timed_out);
    first.close();
    if (method == "POST") {
      CHECK(s.c.read_reply().status() == 502);
      CHECK_FALSE(s.upstream.somebody_waits());
      continue;
    }
    blocking_socket second = s.upstream.accept();
    CHECK(site::answer(second, ok).starts_with("GET /2 "));
    CHECK(s.c.read_reply().body == "ok");
  }
}

TEST_CASE("RFC 9110 15.5.9: a 408 on a new connection is the answer, and ends the connection") {
  site s;
  s.c.request("GET", "/");
  blocking_socket first = s.upstream.accept();
  site::answer(first, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\nno");
  CHECK(s.c.read_reply().status() == 408);
  CHECK(site::closed(first));
  CHECK_FALSE(s.upstream.somebody_waits());
}

TEST_CASE("RFC 9112 9.3: a response to nobody meets no request") {
  site s;
  blocking_socket first = s.warm();
  first.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
  s.c.request("GET", "/2");
  blocking_socket second = s.upstream.accept();
  CHECK(site::answer(second, ok).starts_with("GET /2 "));
  CHECK(s.c.read_reply().body == "ok");
  CHECK(site::closed(first));
}

TEST_CASE("limit: idle upstream connections, at and past it; the oldest goes first") {
  upstream::pool_options pools;
  pools.max_idle = 2;
  site s(pools);
  std::vector<http_client> clients;
  std::vector<blocking_socket> ends;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back(s.g.port());
    clients.back().request("GET", "/" + std::to_string(i));
    ends.push_back(s.upstream.accept());
  }
  for (std::size_t i = 0; i < 4; ++i) {
    site::answer(ends[i], ok);
    CHECK(clients[i].read_reply().body == "ok");
  }
  CHECK(site::closed(ends[0]));
  CHECK(site::closed(ends[1]));
  for (std::size_t const i : {std::size_t{3}, std::size_t{2}}) {  // the youngest first: most likely to be alive
    clients[i].request("GET", "/again");
    CHECK(read_head(ends[i]).starts_with("GET /again "));
  }
}

TEST_CASE("limit: idle time of an upstream connection, whether another request comes or not") {
  upstream::pool_options pools;
  pools.idle_timeout = std::chrono::milliseconds(100);
  site s(pools);
  blocking_socket first = s.warm();
  CHECK(site::closed(first));
  blocking_socket second = s.warm();  // again and again
  CHECK(site::closed(second));
}

TEST_CASE("limit: no idle upstream connection at all") {
  upstream::pool_options pools;
  pools.max_idle = 0;
  site s(pools);
  blocking_socket first = s.warm();
  CHECK(site::closed(first));
}

}  // namespace mgw::proxy::pool_hygiene_test
