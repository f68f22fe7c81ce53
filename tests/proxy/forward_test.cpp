#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace mgw::proxy {
namespace {

using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::reply;
using framing_kind = mishap::framing_kind;

forward_options options_for(origin const& o) {
  forward_options f;
  f.upstream = upstream::endpoint("127.0.0.1", o.port(), false);
  f.host = "upstream.test:" + std::to_string(o.port());
  return f;
}
/// A gateway that forwards everything to one origin.
struct relay {
  test::gateway g;
  explicit relay(forward_options options, server_options server = {}) {
    auto const handler = std::make_shared<forward>(g.upstreams, std::move(options));
    g.start([handler](exchange& x) { return (*handler)(x); }, std::move(server));
  }
  explicit relay(origin const& o) : relay(options_for(o)) {}
  std::uint16_t port() const { return g.port(); }
};

std::string chunked(std::string_view body, std::size_t piece) {
  std::string out;
  while (!body.empty()) {
    std::string_view const part = body.substr(0, piece);
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", part.size());
    out.append(size).append(part).append("\r\n");
    body.remove_prefix(part.size());
  }
  return out + "0\r\n\r\n";
}
std::string post_head(std::string_view framing) {
  return "POST /p HTTP/1.1\r\nHost: gateway.test\r\n" + std::string(framing) + "\r\n\r\n";
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

TEST_CASE("what concerns one hop stays there; we say who we are and who asked") {
  origin o("ok");
  mishap m;
  m.fields = {{"Connection", "keep-alive, X-Up-Hop"},
              {"Keep-Alive", "timeout=5"},
              {"X-Up-Hop", "1"},
              {"X-Kept", "yes"},
              {"Set-Cookie", "a=1"},
              {"Set-Cookie", "b=2"},
              {"Via", "1.1 far"}};
  o.script(0, m);
  relay r(o);
  http_client c(r.port());
  reply const got = c.get("/", {{"Connection", "X-Hop, keep-alive, Authorization"},
                                {"X-Hop", "1"},
                                {"TE", "trailers"},
                                {"Proxy-Authorization", "Basic eA=="},
                                {"Keep-Alive", "timeout=1"},
                                {"Upgrade", "h2c"},
                                {"X-Forwarded-For", "6.6.6.6"},
                                {"X-Forwarded-Proto", "https"},
                                {"X-Forwarded-Host", "evil.test"},
                                {"Forwarded", "for=6.6.6.6"},
                                {"Via", "1.0 near"},
                                {"Authorization", "Bearer x"},
                                {"X-Kept", "yes"}});
  auto const asked = o.requests().at(0);
  CHECK(asked.value("Host") == "upstream.test:" + std::to_string(o.port()));
  CHECK(asked.head.count("Host") == 1);
  for (std::string const name :
       {"X-Hop", "TE", "Proxy-Authorization", "Keep-Alive", "Upgrade", "Connection", "X-Forwarded-Host", "Forwarded"}) {
    CAPTURE(name);
    CHECK(asked.head.count(name) == 0);
  }
  CHECK(asked.head.count("X-Forwarded-For") == 1);
  CHECK(asked.value("X-Forwarded-For") == "127.0.0.1");
  CHECK(asked.head.count("X-Forwarded-Proto") == 1);
  CHECK(asked.value("X-Forwarded-Proto") == "http");
  CHECK(asked.head.count("Via") == 2);
  CHECK(asked.value("Via") == "1.0 near");
  CHECK(asked.value("Authorization") == "Bearer x");  // no Connection field can take it away
  CHECK(asked.value("X-Kept") == "yes");
  CHECK(got.head.count("X-Up-Hop") == 0);
  CHECK(got.head.count("Keep-Alive") == 0);
  CHECK(got.head.count("Connection") == 0);
  CHECK(got.value("X-Kept") == "yes");
  CHECK(got.head.count("Set-Cookie") == 2);
  CHECK(got.head.count("Via") == 2);
  CHECK(got.value("Via") == "1.1 far");
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

TEST_CASE("a response that breaks off breaks off at the client: never a clean end") {
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
        CHECK_FALSE(got.whole);
        CHECK((body.substr(0, got.body.size()) == got.body));
        if (!reset && got.head.there()) CHECK(got.body.size() == n);
      }
}

TEST_CASE("answers without a body: HEAD, 204, 304") {
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

TEST_CASE("what was asked on a connection that had died is asked once more, if it may be") {
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
        co_await answer_failure(*x, sent);
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

TEST_CASE("a request that died on a new connection is not repeated") {
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

TEST_CASE("an interim answer is no reason to stop sending") {
  origin o("ok");
  mishap m;
  m.interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
  o.standing(m);
  relay r(o);
  http_client c(r.port());
  std::string const body = pattern(600'000);
  c.send(post_head("Content-Length: 600000") + body.substr(0, 100'000));
  CHECK(o.saw(1));  // the interim answer is out
  c.send(body.substr(100'000));
  reply const got = c.read_reply();
  CHECK(got.status() == 200);
  CHECK((o.requests()[0].body == body));
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

}  // namespace mgw::proxy
