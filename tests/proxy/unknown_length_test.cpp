#include <mgw/proxy/pass_through.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <utility>

namespace mgw::proxy::unknown_length_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::reply;
using framing_kind = mishap::framing_kind;

/// A gateway without a store before an origin whose answers have no length.
struct site {
  std::string body = pattern(300'000);
  test::origin origin{body};
  test::temporary_directory directory;
  caching_gateway g;
  framing_kind framing;

  explicit site(framing_kind f = framing_kind::chunked)
      : g(directory.path(), origin.authority(), options()), framing(f) {
    origin.standing([this](origin::seen_request const&) { return unframed(); });
  }
  static caching_options options() {
    caching_options o;
    o.store = false;
    return o;
  }
  mishap unframed() const {
    mishap m;
    m.framing = framing;
    return m;
  }
  reply get(test::field_list const& fields = {}) const { return test::get(g.port(), "/o", fields); }
  bool is_whole(reply const& r) const {
    return r.status() == 200 && r.whole && r.body == body && r.head.count("Content-Range") == 0;
  }
  bool has_length(reply const& r) const {
    return is_whole(r) && r.value("Content-Length") == "300000" && r.head.count("Transfer-Encoding") == 0 &&
           r.value("Accept-Ranges") == "bytes";
  }
  bool is_chunked(reply const& r) const {
    return is_whole(r) && r.value("Transfer-Encoding") == "chunked" && r.head.count("Content-Length") == 0;
  }
};

}  // namespace

TEST_CASE("a 200 without a length: asked once more for all of it as a range, it goes out with one") {
  for (framing_kind const f : {framing_kind::chunked, framing_kind::until_close}) {
    site s(f);
    CHECK(s.has_length(s.get()));
    auto const asked = s.origin.requests();
    REQUIRE(asked.size() == 2);
    CHECK(asked[0].head.count("Range") == 0);
    CHECK(asked[1].value("Range") == "bytes=0-");
    CHECK(asked[1].value("If-Match") == "\"v1\"");
    http_client c(s.g.port());
    CHECK(c.ask("HEAD", "/o").value("Content-Length") == "300000");
    CHECK(s.has_length(s.get({{"Range", "bytes=5-"}, {"If-Range", "\"another\""}})));
  }
}

TEST_CASE("a body whose length was asked for goes on after a cut, and after an end that comes too early") {
  site s;
  mishap cut = s.unframed();
  SUBCASE("a cut") {
    cut.cut_after = 100'000;
  }
  SUBCASE("an early end") {
    cut.body = s.body.substr(0, 100'000);
  }
  s.origin.script(1, cut);
  CHECK(s.has_length(s.get()));
  CHECK(s.origin.requests().back().value("Range") == "bytes=100000-299999");
}

TEST_CASE("where only a date names the object, the question has that condition; where nothing does, none") {
  site s;
  std::string const date = "Wed, 01 Jan 2025 00:00:00 GMT";
  s.origin.set_object(s.body, "", date);
  CHECK(s.has_length(s.get()));
  CHECK(s.origin.requests().back().value("If-Unmodified-Since") == date);
  s.origin.set_object(s.body, "");
  CHECK(s.has_length(s.get()));
  CHECK(s.origin.requests().back().value("Range") == "bytes=0-");
  CHECK(s.origin.requests().back().head.count("If-Match") == 0);
}

TEST_CASE("a length that a range does not tell either: the body goes out in chunks") {
  site s;
  mishap m = s.unframed();
  std::size_t asked = 3;
  SUBCASE("no ranges") {
    m.ignore_range = true;
    asked = 2;
  }
  SUBCASE("no total") {
    m.content_range = "bytes 0-299999/*";
  }
  SUBCASE("no Content-Range") {
    m.content_range = "";
  }
  SUBCASE("a part of it") {
    m.content_range = "bytes 0-99999/300000";
    m.body = s.body.substr(0, 100'000);
  }
  SUBCASE("a framing that says another length") {
    m.framing = framing_kind::length;
    m.body = s.body.substr(0, 100'000);
  }
  SUBCASE("a refusal") {
    m.status = 403;
  }
  SUBCASE("416") {
    m.status = 416;
  }
  SUBCASE("412, again and again") {
    m.status = 412;
    asked = 5;
    s.origin.script(3, m);
  }
  s.origin.script(1, m);
  CHECK(s.is_chunked(s.get()));
  CHECK(s.origin.count() == asked);
}

TEST_CASE("a passing fault does not answer the question for the length") {
  site s;
  mishap m;
  m.status = 503;
  s.origin.script(1, m);
  m = mishap();
  m.drop = true;
  s.origin.script(2, m);
  CHECK(s.has_length(s.get()));
  CHECK(s.origin.count() == 4);
}

TEST_CASE("an object that is replaced before its length is told is another one, whole and with its length") {
  site s;
  mishap old = s.unframed();
  old.etag = "\"v0\"";
  s.origin.script(0, old);
  CHECK(s.has_length(s.get()));
  auto const asked = s.origin.requests();
  REQUIRE(asked.size() == 4);
  CHECK(asked[1].value("If-Match") == "\"v0\"");
  CHECK(asked[3].value("If-Match") == "\"v1\"");
}

TEST_CASE("of a body without a length the cut is a cut, also for a client of HTTP/1.0") {
  for (bool const cut : {false, true})
    for (std::string const version : {"HTTP/1.1", "HTTP/1.0"}) {
      CAPTURE(version);
      site s;
      s.origin.standing([&](origin::seen_request const&) {
        mishap m = s.unframed();
        m.ignore_range = true;
        if (cut) m.cut_after = 1000;
        return m;
      });
      http_client c(s.g.port());
      c.send("GET /o " + version + "\r\nHost: gateway.test\r\n\r\n");
      reply const r = c.read_reply();
      CHECK(r.status() == 200);
      CHECK(r.head.count("Content-Length") == 0);
      CHECK(r.whole == !cut);
      CHECK(r.body == s.body.substr(0, cut ? 1000 : s.body.size()));
    }
}

}  // namespace mgw::proxy::unknown_length_test
