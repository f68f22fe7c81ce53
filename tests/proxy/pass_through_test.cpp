#include <mgw/proxy/pass_through.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <ostream>
#include <string>
#include <tuple>
#include <utility>

namespace mgw::proxy::pass_through_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::reply;
using framing_kind = mishap::framing_kind;

caching_options no_store() {
  caching_options o;
  o.store = false;
  return o;
}
struct site {
  std::string body;
  test::origin origin;
  test::temporary_directory directory;
  caching_gateway g;
  explicit site(caching_options options = no_store())
      : body(pattern(300'000)), origin(body), g(directory.path(), origin.authority(), std::move(options)) {}
  reply get(test::field_list const& fields = {}) const { return test::get(g.port(), "/o", fields); }
};
bool is_whole(reply const& r, std::string const& body) {
  return r.status() == 200 && r.whole && r.body == body;
}
mishap cut(std::size_t n, bool reset = false) {
  mishap m;
  m.cut_after = n;
  m.reset = reset;
  return m;
}

}  // namespace

TEST_CASE("without a store every client fetches for itself") {
  site s;
  CHECK(is_whole(s.get(), s.body));
  reply const r = s.get({{"Range", "bytes=100-199"}});
  CHECK(r.status() == 206);
  CHECK(r.value("Content-Range") == "bytes 100-199/300000");
  CHECK(r.body == s.body.substr(100, 100));
  CHECK(r.value("Cache-Status") == "mgw; fwd=bypass");
  http_client c(s.g.port());
  reply const head = c.ask("HEAD", "/o");
  CHECK(head.status() == 200);
  CHECK(head.value("Content-Length") == "300000");
  reply const beyond = s.get({{"Range", "bytes=300000-"}});
  CHECK(beyond.status() == 416);
  CHECK(beyond.value("Content-Range") == "bytes */300000");
  CHECK(is_whole(s.get({{"Range", "bytes=0-1,3-4"}}), s.body));
  CHECK(s.origin.count() == 5);
}

TEST_CASE("a cut link is mended by range, on the same object only") {
  for (bool const reset : {false, true})
    for (std::size_t const at : {std::size_t{0}, std::size_t{1}, std::size_t{65'536}, std::size_t{299'999}}) {
      CAPTURE(at);
      site s;
      s.origin.script(0, cut(at, reset));
      CHECK(is_whole(s.get(), s.body));
      CHECK(s.origin.sent() == s.body.size());
      if (at != 0) CHECK(s.origin.requests()[1].value("If-Match") == "\"v1\"");
    }
}

TEST_CASE("a cut range is mended, too") {
  SUBCASE("from an origin with ranges") {
    site s;
    s.origin.script(0, cut(1000));
    reply const r = s.get({{"Range", "bytes=5000-9999"}});
    CHECK(r.status() == 206);
    CHECK((r.whole && r.body == s.body.substr(5000, 5000)));
    CHECK(s.origin.requests()[1].value("Range") == "bytes=6000-9999");
  }
  SUBCASE("a range, from an origin that has forgotten ranges") {
    site s;
    s.origin.script(0, cut(1000));
    mishap m;
    m.ignore_range = true;
    s.origin.script(1, m);
    reply const r = s.get({{"Range", "bytes=5000-9999"}});
    CHECK((r.whole && r.body == s.body.substr(5000, 5000)));
  }
  SUBCASE("only a date") {
    site s;
    s.origin.set_object(s.body, "", "Wed, 01 Jan 2025 00:00:00 GMT");
    s.origin.script(0, cut(1000));
    CHECK(is_whole(s.get(), s.body));
    CHECK(s.origin.requests()[1].value("If-Unmodified-Since") == "Wed, 01 Jan 2025 00:00:00 GMT");
  }
}

TEST_CASE("what does not belong to the same object ends the body") {
  std::string const other = pattern(300'000, 7);
  mishap second;
  std::string etag = "\"v1\"", other_etag = "\"v2\"";
  SUBCASE("412") {}
  SUBCASE("206 with another ETag") {
    second.status = 206;
    second.ignore_conditions = true;
    second.body = other.substr(10'000);
    second.content_range = "bytes 10000-299999/300000";
  }
  SUBCASE("206 without an ETag") {
    second.status = 206;
    second.ignore_conditions = true;
    second.body = other.substr(10'000);
    second.content_range = "bytes 10000-299999/300000";
    second.etag = "";
  }
  SUBCASE("206 of another place") {
    second.status = 206;
    second.ignore_conditions = true;
    second.etag = "\"v1\"";
    second.content_range = "bytes 9999-299999/300000";
  }
  SUBCASE("200 with another ETag") {
    second.ignore_range = second.ignore_conditions = true;
  }
  SUBCASE("no validators at all") {
    etag = other_etag = "";
  }
  SUBCASE("404") {
    second.status = 404;
  }
  site s;
  s.origin.set_object(s.body, etag);
  mishap first = cut(10'000);
  first.stall_after = 10'000;
  s.origin.script(0, first);
  s.origin.script(1, second);
  http_client c(s.g.port());
  c.request("GET", "/o");
  CHECK(s.origin.stalled());
  s.origin.set_object(other, other_etag);
  s.origin.release();
  reply const r = c.read_reply();
  CHECK(r.status() == 200);
  CHECK_FALSE(r.whole);
  CHECK((r.body == s.body.substr(0, 10'000 - 4096)));
}

TEST_CASE("a passing fault is held, then closed; a definite one is told to a first GET") {
  caching_options o = no_store();
  o.tee.reader.hold = std::chrono::milliseconds(150);
  site s(o);
  mishap m;
  m.status = 503;
  s.origin.script(0, m);
  s.origin.script(1, m);
  CHECK(is_whole(s.get(), s.body));
  s.origin.standing(m);
  http_client c(s.g.port());
  c.request("GET", "/o");
  CHECK(c.closed());
  m.status = 404;
  s.origin.standing(m);
  CHECK(s.get().status() == 404);
  http_client resume(s.g.port());
  resume.request("GET", "/o", {{"Range", "bytes=5-"}});
  CHECK(resume.closed());
}

TEST_CASE("a range is answered with exactly what was asked for, also of an upstream that knows no ranges") {
  site s;
  mishap m;
  m.ignore_range = true;
  s.origin.standing(m);
  for (auto const& [range, first, last] : {std::tuple("bytes=200000-", 200'000, 299'999), std::tuple("bytes=0-99", 0, 99),
                                           std::tuple("bytes=100-299999", 100, 299'999), std::tuple("bytes=-5", 299'995, 299'999)}) {
    CAPTURE(range);
    reply const r = s.get({{"Range", range}});
    CHECK(r.status() == 206);
    CHECK(r.value("Content-Range") == "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/300000");
    CHECK(r.whole);
    CHECK(r.body == s.body.substr(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first + 1)));
  }
  CHECK(s.get({{"Range", "bytes=300000-"}}).status() == 416);
  CHECK(is_whole(s.get({{"Range", "bytes=5-"}, {"If-Range", "\"another\""}}), s.body));
  mishap broken = m;
  broken.cut_after = 250'000;
  s.origin.script(6, broken);
  reply const r = s.get({{"Range", "bytes=200000-"}});
  CHECK((r.whole && r.body == s.body.substr(200'000)));
}

TEST_CASE("a part that was not asked for, or a coding, goes to nobody: it is held, then closed") {
  caching_options o = no_store();
  o.tee.reader.hold = std::chrono::milliseconds(50);
  site s(std::move(o));
  mishap m;
  bool served = false;  // the whole, of which the rest is skipped
  SUBCASE("another place") {
    served = true;
    m.content_range = "bytes 100-299999/300000";
  }
  SUBCASE("another place, always") {
    m.status = 206;
    m.content_range = "bytes 100-299999/300000";
  }
  SUBCASE("an unknown total, always") {
    m.status = 206;
    m.content_range = "bytes 200000-299999/*";
  }
  SUBCASE("no place, always") {
    m.status = 206;
    m.content_range = "";
  }
  SUBCASE("chunked, whole, of unknown length") {
    m.ignore_range = true;
    m.framing = framing_kind::chunked;
  }
  SUBCASE("a coding") {
    m.fields = {{"Content-Encoding", "gzip"}};
  }
  s.origin.standing(m);
  http_client c(s.g.port());
  c.request("GET", "/o", {{"Range", "bytes=200000-"}});
  if (served) {
    reply const r = c.read_reply();
    CHECK(r.status() == 206);
    CHECK((r.whole && r.body == s.body.substr(200'000)));
    CHECK(s.origin.requests().back().value("Range").empty());
  } else {
    CHECK(c.closed());
  }
  s.origin.heal();
  CHECK(s.get({{"Range", "bytes=200000-"}}).body == s.body.substr(200'000));
}

TEST_CASE("back-pressure: a client that reads nothing stops its own download") {
  site s;
  std::string const large = pattern(16'000'000);
  s.origin.set_object(large, "\"v1\"");
  http_client c(s.g.port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  r.body = c.read_bytes(1000);
  CHECK(s.origin.sent() < large.size());
  c.read_body(r);
  CHECK(is_whole(r, large));
}

}  // namespace mgw::proxy::pass_through_test
