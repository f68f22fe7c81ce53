#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>
#include <support/scripted_server.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::proxy::forward_test {
namespace {

using test::chunked;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::post_head;
using test::relay;
using test::reply;
using test::scripted_server;
using framing_kind = mishap::framing_kind;

forward_options options_for(origin const& o) {
  return test::forward_to(o.port());
}

}  // namespace

TEST_CASE("bodies pass byte for byte, both ways, in any framing") {
  std::string const small = pattern(700), large = pattern(300'000, 2), answer = pattern(200'000, 3);
  origin o(answer);
  relay r(o);
  http_client c(r.port());
  for (framing_kind const f : {framing_kind::length, framing_kind::chunked, framing_kind::until_close}) {
    mishap m;
    m.framing = f;
    o.standing(m);
    reply const got = c.get("/path?q=%20x");
    CHECK(got.status() == 200);
    CHECK(got.whole);
    CHECK((got.body == answer));
    CHECK((got.value("Transfer-Encoding") == "chunked") == (f != framing_kind::length));
    CHECK(o.requests().back().target() == "/path?q=%20x");
    CHECK(o.requests().back().head.count("Content-Length") == 0);
    for (auto const* body : {&small, &large}) {
      reply const posted = c.ask("POST", "/p", {}, *body);
      CHECK((posted.whole && posted.body == answer));
      CHECK((o.requests().back().body == *body));
      CHECK(o.requests().back().value("Content-Length") == std::to_string(body->size()));
      c.send(post_head("Transfer-Encoding: chunked") + chunked(*body, 5000));
      reply const sent = c.read_reply();
      CHECK((sent.whole && sent.body == answer));
      CHECK((o.requests().back().body == *body));
      CHECK((o.requests().back().value("Transfer-Encoding") == "chunked") == (body == &large));
    }
  }
}

TEST_CASE("an empty body stays an empty body") {
  origin o("ok");
  relay r(o);
  http_client c(r.port());
  c.send(post_head("Content-Length: 0"));
  CHECK(c.read_reply().body == "ok");
  CHECK(o.requests().back().value("Content-Length") == "0");
  c.send(post_head("Transfer-Encoding: chunked") + "0\r\n\r\n");
  CHECK(c.read_reply().body == "ok");
  CHECK(o.requests().back().body.empty());
}

TEST_CASE("RFC 9110 7.6.1: fields of one connection, and those that Connection names, stay on it") {
  origin o("ok");
  mishap m;
  m.fields = {{"Connection", "keep-alive, X-Up-Hop"},
              {"Keep-Alive", "timeout=5"},
              {"X-Up-Hop", "1"},
              {"Proxy-Authenticate", "Basic"},
              {"X-Kept", "yes"},
              {"Set-Cookie", "a=1"},
              {"Set-Cookie", "b=2"}};
  o.script(0, m);
  relay r(o);
  http_client c(r.port());
  reply const got = c.get("/", {{"Connection", "X-Hop, keep-alive, Authorization"},
                                {"X-Hop", "1"},
                                {"TE", "trailers"},
                                {"Trailer", "X-T"},
                                {"Proxy-Authorization", "Basic eA=="},
                                {"Proxy-Connection", "keep-alive"},
                                {"Keep-Alive", "timeout=1"},
                                {"Upgrade", "h2c"},
                                {"Authorization", "Bearer x"},
                                {"X-Kept", "yes"}});
  auto const asked = o.requests().at(0);
  for (std::string const name :
       {"X-Hop", "TE", "Trailer", "Proxy-Authorization", "Proxy-Connection", "Keep-Alive", "Upgrade", "Connection"}) {
    CAPTURE(name);
    CHECK(asked.head.count(name) == 0);
  }
  CHECK(asked.value("Authorization") == "Bearer x");  // no Connection field can take it away
  CHECK(asked.value("X-Kept") == "yes");
  for (std::string const name : {"X-Up-Hop", "Keep-Alive", "Connection", "Proxy-Authenticate"}) {
    CAPTURE(name);
    CHECK(got.head.count(name) == 0);
  }
  CHECK(got.value("X-Kept") == "yes");
  CHECK(got.head.count("Set-Cookie") == 2);
}

TEST_CASE("RFC 9110 7.6.3: Via is added to what came, both ways") {
  origin o("ok");
  mishap m;
  m.fields = {{"Via", "1.1 far"}};
  o.script(0, m);
  forward_options f = options_for(o);
  relay r(f);
  reply const got = test::get(r.port(), "/", {{"Via", "1.0 near"}});
  auto const asked = o.requests().at(0).head;
  CHECK(asked.values("Via") == std::vector<std::string>{"1.0 near", "1.1 " + f.pseudonym});
  CHECK(got.head.values("Via") == std::vector<std::string>{"1.1 far", "1.1 " + f.pseudonym});
  CHECK(f.pseudonym.starts_with("mgw-"));
}

TEST_CASE("RFC 9110 7.6.3: Via names the version in which a message came") {
  scripted_server s([](test::blocking_socket& c) {
    std::string unread;
    std::string const head = scripted_server::read_head(c, unread);
    bool const old = head.find("Via: 1.0 mgw-") != head.npos;
    c.send(old ? "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n1.0" : "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n?");
  });
  relay r(test::forward_to(s.port()));
  http_client c(r.port());
  c.send("GET / HTTP/1.0\r\n\r\n");
  reply const got = c.read_reply();
  CHECK(got.body == "1.0");
  CHECK(got.value("Via").starts_with("1.0 mgw-"));
}

TEST_CASE("RFC 9110 7.6.3: a request that came through us before is refused, one through another gateway is not") {
  origin o("ok");
  forward_options f = options_for(o);
  relay r(f);
  for (std::string const& via : {"1.1 near, 1.1 " + f.pseudonym, "HTTP/1.0\t " + f.pseudonym + " (a, b) ,1.1 far"}) {
    reply const got = test::get(r.port(), "/", {{"Via", via}});
    CHECK(got.status() == 508);
    CHECK(got.value("Proxy-Status") == f.pseudonym + "; error=proxy_loop_detected");
  }
  CHECK(o.count() == 0);
  for (std::string const& via : {"1.1 " + forward_options().pseudonym, "1.1 near (" + f.pseudonym + ")",
                                 std::string(","), "1.1 near" + f.pseudonym, f.pseudonym})
    CHECK(test::get(r.port(), "/", {{"Via", via}}).status() == 200);
}

TEST_CASE("RFC 9110 7.2: Host is the upstream's, once, whatever the client called us") {
  origin o("ok");
  relay r(o);
  http_client c(r.port());
  c.send("GET http://other.test:81/x?y HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
  CHECK(c.read_reply().status() == 200);
  auto const asked = o.requests().at(0);
  CHECK(asked.value("Host") == "upstream.test:" + std::to_string(o.port()));
  CHECK(asked.head.count("Host") == 1);
  CHECK(asked.target() == "/x?y");
}

TEST_CASE("RFC 7239 8.1: who asked is what we see, and what a trusted proxy says") {
  test::field_list const said = {{"X-Forwarded-For", "6.6.6.6"},
                                 {"X-Forwarded-For", "7.7.7.7"},
                                 {"X-Forwarded-Proto", "https"},
                                 {"X-Forwarded-Host", "evil.test"},
                                 {"Forwarded", "for=6.6.6.6"}};
  origin o("ok");
  SUBCASE("anybody") {
    relay r(o);
    CHECK(test::get(r.port(), "/", said).status() == 200);
    auto const asked = o.requests().at(0).head;
    CHECK(asked.values("X-Forwarded-For") == std::vector<std::string>{"127.0.0.1"});
    CHECK(asked.values("X-Forwarded-Proto") == std::vector<std::string>{"http"});
    CHECK(asked.count("X-Forwarded-Host") == 0);
    CHECK(asked.count("Forwarded") == 0);
  }
  SUBCASE("a proxy of ours") {
    forward_options f = options_for(o);
    f.trusts = [](peer_info const& p) { return p.address.address().is_loopback(); };
    relay r(f);
    CHECK(test::get(r.port(), "/", said).status() == 200);
    CHECK(test::get(r.port(), "/").status() == 200);
    auto const asked = o.requests().at(0).head;
    CHECK(asked.values("X-Forwarded-For") == std::vector<std::string>{"6.6.6.6, 7.7.7.7, 127.0.0.1"});
    CHECK(asked.values("X-Forwarded-Proto") == std::vector<std::string>{"https"});
    CHECK(asked.value("X-Forwarded-Host") == "evil.test");
    CHECK(asked.value("Forwarded") == "for=6.6.6.6");
    CHECK(o.requests().at(1).value("X-Forwarded-Proto") == "http");
  }
}

TEST_CASE("options: a path prefix, fields that are dropped") {
  origin o("ok");
  forward_options f = options_for(o);
  f.path_prefix = "/base";
  f.drop_request_field = [](std::string_view name) { return name == "X-Secret"; };
  relay r(f);
  CHECK(test::get(r.port(), "/x?y", {{"X-Secret", "1"}, {"X-Open", "1"}}).body == "ok");
  CHECK(o.requests()[0].target() == "/base/x?y");
  CHECK(o.requests()[0].head.count("X-Secret") == 0);
  CHECK(o.requests()[0].head.count("X-Open") == 1);
}

TEST_CASE("a large request is streamed: the upstream has its beginning before its end was sent") {
  origin o("ok");
  mishap m;
  m.skip_request_body = true;  // answers as soon as the head is there
  m.close_after = true;
  o.standing(m);
  relay r(o);
  std::string const part = pattern(100'000);
  SUBCASE("with a length") {
    http_client c(r.port());
    c.send(post_head("Content-Length: 1000000") + part);
    CHECK(o.saw(1));  // the other 900000 bytes are not sent yet
  }
  SUBCASE("chunked") {
    http_client c(r.port());
    std::string const whole = chunked(part, 10'000);
    c.send(post_head("Transfer-Encoding: chunked") + whole.substr(0, whole.size() - 5));
    CHECK(o.saw(1));
  }
}

TEST_CASE("a large response is streamed: the client has its beginning before its end was sent") {
  std::string const body = pattern(500'000);
  origin o(body);
  relay r(o);
  for (framing_kind const f : {framing_kind::length, framing_kind::chunked, framing_kind::until_close}) {
    mishap m;
    m.framing = f;
    m.stall_after = 1000;
    o.standing(m);
    http_client c(r.port());
    c.request("GET", "/");
    reply got;
    got.head = c.read_head();
    if (f == framing_kind::length) {
      got.body = c.read_bytes(1000);
    } else {
      CHECK(c.read_bytes(5) == "3e8\r\n");
      got.body = c.read_bytes(1000);
      CHECK(c.read_bytes(2) == "\r\n");
    }
    CHECK((got.body == body.substr(0, 1000)));
    o.release();
    c.read_body(got);
    CHECK(got.whole);
    CHECK((got.body == body));
  }
}

TEST_CASE("a request body over the limit is refused: by its length at once, by its bytes when there are too many") {
  origin o("ok");
  forward_options f = options_for(o);
  f.max_body = 200'000;
  relay r(f);
  {
    http_client c(r.port());
    c.send(post_head("Content-Length: 200001"));
    CHECK(c.read_reply().status() == 413);
    CHECK(o.connections() == 0);
  }
  {
    http_client c(r.port());
    c.send(post_head("Transfer-Encoding: chunked") + chunked(pattern(200'001), 50'000));
    CHECK(c.read_reply().status() == 413);
  }
  http_client c(r.port());
  CHECK(c.ask("POST", "/p", {}, pattern(200'000)).status() == 200);
  c.send(post_head("Transfer-Encoding: chunked") + chunked(pattern(200'000), 50'000));
  CHECK(c.read_reply().status() == 200);
}

TEST_CASE("an upstream that cannot be had is 502, a silent one 504") {
  origin o("ok");
  forward_options f = options_for(o);
  f.exchange.response_timeout = std::chrono::milliseconds(100);
  relay r(f);
  http_client c(r.port());
  mishap m;
  m.silent = true;
  o.script(0, m);
  CHECK(c.get("/").status() == 504);
  CHECK(c.get("/").status() == 200);  // the client's connection lives on
  for (std::string const raw : {"garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
                                "HTTP/1.1 200 OK\r\nX y\r\n\r\n", "HTTP/1.1 200 OK\r\nConte"}) {
    CAPTURE(raw);
    mishap g;
    g.raw = raw;
    o.standing(g);
    CHECK(c.get("/").status() == 502);
  }
  o.heal();
  o.refuse();
  o.cut_all();
  CHECK(c.get("/").status() == 502);
  CHECK(c.ask("POST", "/", {}, "x").status() == 502);
  o.accept_again();
  CHECK(c.get("/").status() == 200);
}

TEST_CASE("RFC 9112 8: a response that breaks off breaks off at the client, never a clean end") {
  std::string const body = pattern(100'000);
  origin o(body);
  relay r(o);
  for (framing_kind const f : {framing_kind::length, framing_kind::chunked})
    for (bool const reset : {false, true})
      for (std::size_t const n : {std::size_t{0}, std::size_t{1}, std::size_t{50'000}, body.size() - 1}) {
        CAPTURE(n);
        CAPTURE(reset);
        mishap m;
        m.framing = f;
        m.cut_after = n;
        m.reset = reset;
        o.standing(m);
        reply const got = test::get(r.port(), "/");
        if (n == 0 && got.status() == 502) continue;  // nothing of it was passed on yet
        CHECK_FALSE(got.whole);
        CHECK((body.substr(0, got.body.size()) == got.body));
        if (!reset && got.head.there()) CHECK(got.body.size() == n);
      }
}

TEST_CASE("RFC 9112 8: a close-delimited response that breaks off does not look whole to an HTTP/1.0 client") {
  std::string const body = pattern(100'000);
  origin o(body);
  relay r(o);
  for (framing_kind const f : {framing_kind::length, framing_kind::chunked}) {
    mishap m;
    m.framing = f;
    m.cut_after = 50'000;
    o.standing(m);
    http_client c(r.port());
    c.send("GET / HTTP/1.0\r\n\r\n");
    reply got;
    got.head = c.read_head();
    c.read_body(got);
    CHECK_FALSE(got.whole);
    o.heal();
    http_client again(r.port());
    again.send("GET / HTTP/1.0\r\n\r\n");
    CHECK((again.read_reply().body == body));
  }
}

TEST_CASE("RFC 9112 6.3: answers without a body: HEAD, 204, 304") {
  origin o(pattern(1000));
  relay r(o);
  http_client c(r.port());
  reply const head = c.ask("HEAD", "/");
  CHECK(head.status() == 200);
  CHECK(head.value("Content-Length") == "1000");
  mishap m;
  m.status = 204;
  o.standing(m);
  reply const none = c.get("/");
  CHECK(none.status() == 204);
  CHECK(none.head.count("Content-Length") == 0);
  CHECK(none.head.count("Transfer-Encoding") == 0);
  m.status = 304;
  m.fields = {{"Content-Length", "1000"}};
  o.standing(m);
  reply const same = c.get("/");
  CHECK(same.status() == 304);
  CHECK(same.value("Content-Length") == "1000");
  CHECK(same.value("ETag") == "\"v1\"");
  o.heal();
  CHECK(c.get("/").body.size() == 1000);  // nothing of all that was taken for a body
}

TEST_CASE("RFC 9110 9.2.2: what was asked on a connection that had died is asked once more, if it may be") {
  struct {
    char const* method;
    bool may_repeat;
    std::size_t body;
    int status;
    std::size_t requests;  // that the origin sees, the one on the dead connection included
  } const cases[] = {
      {"GET", false, 0, 200, 2},    {"HEAD", false, 0, 200, 2},      {"PUT", false, 10, 200, 2},
      {"DELETE", false, 0, 200, 2}, {"POST", false, 10, 502, 1},     {"POST", true, 10, 200, 2},
      {"PATCH", false, 10, 502, 1}, {"POST", true, 100'000, 502, 1}, {"PUT", false, 100'000, 502, 1},
  };
  for (auto const& k : cases) {
    std::string const method = k.method;
    CAPTURE(method);
    CAPTURE(k.may_repeat);
    CAPTURE(k.body);
    origin o("ok");
    test::gateway g;
    forward_options const f = options_for(o);
    auto const relayed = [](test::gateway* at, forward_options const* options, bool repeat,
                            exchange* x) -> asio::awaitable<void> {
      auto one = std::make_unique<forwarding>(*x, at->upstreams, *options);
      forward_call call;
      call.may_repeat = repeat;
      forward_outcome const sent = co_await one->send(call);
      if (!sent.ec)
        co_await one->relay();
      else
        co_await answer_failure(*x, *options, sent);
    };
    g.start([&g, &f, relayed, repeat = k.may_repeat](exchange& x) { return relayed(&g, &f, repeat, &x); });
    http_client c(g.port());
    CHECK(c.get("/warm").status() == 200);
    mishap m;
    m.drop = true;  // the request is read, and the connection closed without a byte
    o.script(1, m);
    reply const got = c.ask(k.method, "/", {}, std::string(k.body, 'x'));
    CHECK(got.status() == k.status);
    CHECK(o.count() == 1 + k.requests);
    if (k.requests == 2) CHECK(o.requests()[2].connection == 1);
    // Exactly once: if the second one dies, too, that is the answer.
    if (k.requests == 2) {
      o.script(3, m);
      o.script(4, m);
      CHECK(c.ask(k.method, "/", {}, std::string(k.body, 'x')).status() == 502);
      CHECK(o.count() == 5);
    }
  }
}

TEST_CASE("RFC 9110 9.2.2: a request that died on a new connection is not repeated") {
  origin o("ok");
  mishap m;
  m.drop = true;
  o.script(0, m);
  relay r(o);
  CHECK(test::get(r.port(), "/").status() == 502);
  CHECK(o.count() == 1);
}

TEST_CASE("an early refusal reaches a client that is still sending") {
  origin o("ok");
  mishap m;
  m.skip_request_body = true;
  m.status = 401;
  SUBCASE("the upstream closes") {
    m.close_after = true;
  }
  SUBCASE("the upstream keeps the connection, and reads no more") {
    m.stall_after = 2;
  }
  o.standing([m](origin::seen_request const& r) { return r.method() == "POST" ? m : mishap(); });
  relay r(o);
  http_client c(r.port());
  std::size_t const length = 12'000'000;
  c.send(post_head("Content-Length: " + std::to_string(length)));
  CHECK(c.send(pattern(100'000)));
  CHECK(o.saw(1));
  std::thread sender([&c] {
    std::string const piece = pattern(100'000);
    for (int i = 0; i < 100; ++i)
      if (!c.send(piece)) return;
  });
  reply const got = c.read_reply();
  CHECK(got.status() == 401);
  CHECK(got.body == "no");
  ::shutdown(c.socket().fd(), SHUT_RDWR);
  sender.join();
  CHECK(test::get(r.port(), "/").body == "ok");
}

TEST_CASE("RFC 9110 7.8: a switch of protocols that nobody asked for ends a request whose body is still coming") {
  origin o("ok");
  mishap m;
  m.skip_request_body = true;
  m.status = 101;
  o.standing([m](origin::seen_request const& r) { return r.method() == "POST" ? m : mishap(); });
  relay r(o);
  http_client c(r.port());
  c.send(post_head("Content-Length: 12000000"));
  CHECK(c.send(pattern(100'000)));  // no more: the relay waits for the rest when the answer comes
  reply const got = c.read_reply();
  CHECK(got.status() == 502);
  CHECK(got.value("Connection") == "close");
  CHECK(test::get(r.port(), "/").body == "ok");
}

TEST_CASE("a client that leaves in the middle of its request leaves no whole request upstream") {
  origin o("ok");
  relay r(o);
  {
    http_client c(r.port());
    c.send(post_head("Transfer-Encoding: chunked") + chunked(pattern(100'000), 10'000).substr(0, 90'000));
    CHECK(o.saw(1));
  }
  CHECK(test::get(r.port(), "/").body == "ok");
  for (auto const& seen : o.requests())
    if (seen.method() == "POST") CHECK(seen.body.empty());  // set only when it is whole
}

}  // namespace mgw::proxy::forward_test
