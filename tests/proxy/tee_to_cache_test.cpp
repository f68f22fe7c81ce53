#include <mgw/proxy/tee_to_cache.hpp>

#include <mgw/cache/file.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::proxy::tee_to_cache_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::quick_tee;
using test::reply;
using framing_kind = mishap::framing_kind;

template <class Rig = test::disk_rig>
test::basic_caching_options<Rig> with(tee_options tee, std::size_t threads = 1, std::uint64_t max_size = 1u << 30) {
  test::basic_caching_options<Rig> o;
  o.tee = std::move(tee);
  o.threads = threads;
  o.max_size = max_size;
  return o;
}
/// An origin, a directory and a gateway over both, with a Rig's store.
template <class Rig>
struct site_of {
  std::string body;
  test::origin origin;
  test::temporary_directory directory;
  test::basic_caching_gateway<Rig> g;
  explicit site_of(std::size_t size, test::basic_caching_options<Rig> options)
      : body(pattern(size)), origin(body), g(directory.path(), origin.authority(), std::move(options)) {}
  explicit site_of(std::size_t size, tee_options options = quick_tee(), std::size_t threads = 1,
                   std::uint64_t max_size = 1u << 30)
      : site_of(size, with<Rig>(std::move(options), threads, max_size)) {}
  reply get(test::field_list const& fields = {}) const { return test::get(g.port(), "/o", fields); }
  bool fills_ended() {
    return eventually([this] { return g.tee().fills() == 0; });
  }
};
using site = site_of<test::disk_rig>;  // what holds for every store is tested over every rig
bool is_whole(reply const& r, std::string const& body) {
  return r.status() == 200 && r.whole && r.body == body;
}
std::string range_of(std::size_t first, std::size_t last, std::size_t total) {
  return "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" + std::to_string(total);
}
mishap cut(std::size_t n, bool reset = false) {
  mishap m;
  m.cut_after = n;
  m.reset = reset;
  return m;
}

}  // namespace

TEST_CASE_TEMPLATE("two hundred clients on two workers are one download", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(400'000, quick_tee(), 2);
  mishap m;
  m.stall_after = 200'000;  // until all clients are there
  s.origin.script(0, m);
  std::vector<std::unique_ptr<http_client>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<http_client>(s.g.port()));
    clients.back()->request("GET", "/o");
  }
  std::vector<std::thread> readers;
  std::atomic<int> whole{0}, early{0};
  for (auto& c : clients)
    readers.emplace_back([&, at = c.get()] {
      reply r;
      r.head = at->read_head();
      r.body = at->read_bytes(50'000);
      ++early;
      at->read_body(r);
      whole += is_whole(r, s.body);
    });
  CHECK(eventually([&] { return early == 200; }));  // the origin is in the middle of it
  CHECK(s.origin.sent() == 200'000);
  s.origin.release();
  for (auto& t : readers) t.join();
  CHECK(whole == 200);
  CHECK(s.origin.count() == 1);
  CHECK(s.origin.sent() == s.body.size());
  CHECK(s.origin.requests()[0].value("Accept-Encoding") == "identity");
  CHECK(s.origin.requests()[0].value("Host") == s.origin.authority());
  CHECK(s.fills_ended());
  reply const later = s.get();
  CHECK(is_whole(later, s.body));
  CHECK(later.value("Cache-Status") == "mgw; hit");
  CHECK(s.origin.count() == 1);
  CHECK(s.g.tee().counters().again_bytes == 0);
  CHECK(s.g.tee().counters().first_time_bytes == s.body.size());
}

TEST_CASE("RFC 9211 2: a first answer has a length, a validator, no coding, and says how it came") {
  site s(10'000);
  mishap m;
  m.fields = {{"Content-Type", "application/vnd.mender-artifact"},
              {"Content-Disposition", "attachment"},
              {"Set-Cookie", "a=b"}};
  s.origin.script(0, m);
  reply const r = s.get();
  CHECK(is_whole(r, s.body));
  CHECK(r.value("Content-Length") == "10000");
  CHECK(r.value("Accept-Ranges") == "bytes");
  CHECK(r.value("ETag") == "\"v1\"");
  CHECK(r.value("Content-Type") == "application/vnd.mender-artifact");
  CHECK(r.value("Content-Disposition") == "attachment");
  CHECK(r.head.count("Age") == 1);
  CHECK(r.value("Cache-Status") == "mgw; fwd=miss; stored");
  CHECK(r.head.count("Transfer-Encoding") == 0);
  CHECK(r.head.count("Set-Cookie") == 0);
  CHECK(test::get(s.g.port(), "/o", {{"Range", "bytes=0-9"}}).head.count("Cache-Status") == 1);
  http_client c(s.g.port());
  CHECK(c.ask("POST", "/o", {}, "x").status() == 405);
}

TEST_CASE_TEMPLATE("the first client leaves: the download goes on and completes", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(2'000'000);
  mishap m;
  m.stall_after = 500'000;
  s.origin.script(0, m);
  {
    http_client c(s.g.port());
    c.request("GET", "/o");
    CHECK(c.read_head().status() == 200);
    CHECK(c.read_bytes(1000).size() == 1000);
    c.socket().reset();
  }
  s.origin.release();
  CHECK(eventually([&] { return s.g.stored("/o"); }));
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.origin.count() == 1);
}

TEST_CASE("a slow client does not slow the download") {
  site s(8'000'000);
  http_client slow(s.g.port());
  slow.request("GET", "/o");
  CHECK(slow.read_bytes(100).size() == 100);
  CHECK(eventually([&] { return s.g.stored("/o"); }));
  CHECK(is_whole(s.get(), s.body));
  CHECK(slow.read_bytes(8'000'000).size() == 8'000'000);
  CHECK(s.origin.count() == 1);
}

TEST_CASE_TEMPLATE("RFC 9110 15.3.7: ranges of complete and of growing objects have exact numbers", Rig, MGW_EVERY_RIG) {
  constexpr std::size_t size = 1'000'000;
  bool const growing = [] {
    bool g = false;
    SUBCASE("complete") {}
    SUBCASE("growing") {
      g = true;
    }
    return g;
  }();
  site_of<Rig> s(size);
  mishap m;
  m.stall_after = 600'000;
  if (growing) {
    s.origin.script(0, m);
    http_client c(s.g.port());
    c.request("GET", "/o");
    CHECK(c.read_bytes(1000).size() == 1000);
    CHECK(s.origin.stalled());
    CHECK(eventually([&] { return s.g.tee().counters().first_time_bytes == 600'000; }));
  } else {
    CHECK(is_whole(s.get(), s.body));
  }
  struct {
    char const* range;
    std::size_t first, last;
    bool later;  // not there yet while the object grows
  } const cases[] = {
      {"bytes=0-0", 0, 0, false},
      {"bytes=0-99", 0, 99, false},
      {"bytes=100-199", 100, 199, false},
      {"bytes=599999-599999", 599'999, 599'999, false},
      {"bytes=500000-600000", 500'000, 600'000, true},
      {"bytes=700000-700009", 700'000, 700'009, true},
      {"bytes=1000-", 1000, size - 1, true},
      {"bytes=999999-", size - 1, size - 1, true},
      {"bytes=999990-2000000", 999'990, size - 1, true},
      {"bytes=-10", size - 10, size - 1, true},
      {"bytes=-5000000", 0, size - 1, true},
      {"bytes=0-", 0, size - 1, true},
  };
  std::vector<std::unique_ptr<http_client>> waiting;
  for (auto const& k : cases) {
    auto c = std::make_unique<http_client>(s.g.port());
    c->request("GET", "/o", {{"Range", k.range}});
    if (growing && k.later) {
      waiting.push_back(std::move(c));
      continue;
    }
    std::string const range = k.range;
    CAPTURE(range);
    reply const r = c->read_reply();
    CHECK(r.status() == 206);
    CHECK(r.value("Content-Range") == range_of(k.first, k.last, size));
    CHECK(r.value("Content-Length") == std::to_string(k.last - k.first + 1));
    CHECK(r.value("ETag") == "\"v1\"");
    CHECK((r.whole && r.body == s.body.substr(k.first, k.last - k.first + 1)));
  }
  for (auto const* beyond : {"bytes=1000000-", "bytes=5000000-5000001", "bytes=-0"}) {
    reply const r = s.get({{"Range", beyond}});
    CHECK(r.status() == 416);
    CHECK(r.value("Content-Range") == "bytes */1000000");
    CHECK(r.body.empty());
  }
  {
    http_client c(s.g.port());
    reply const r = c.ask("HEAD", "/o", {{"Range", "bytes=0-9"}});
    CHECK(r.status() == 200);
    CHECK(r.value("Content-Length") == "1000000");
    CHECK(c.ask("HEAD", "/o").value("ETag") == "\"v1\"");
  }
  if (growing) {
    s.origin.release();
    std::size_t n = 0;
    for (auto const& k : cases) {
      if (!k.later) continue;
      std::string const range = k.range;
      CAPTURE(range);
      reply const r = waiting[n++]->read_reply();
      CHECK(r.status() == 206);
      CHECK(r.value("Content-Range") == range_of(k.first, k.last, size));
      CHECK((r.whole && r.body == s.body.substr(k.first, k.last - k.first + 1)));
    }
  }
  for (std::string const whole : {"bytes=5-1", "bytes=0-1,3-4", "bytes=a-b", "bytes=-", "items=0-1", "0-1"}) {
    CAPTURE(whole);
    CHECK(is_whole(s.get({{"Range", whole}}), s.body));
  }
  CHECK(s.origin.count() == 1);
}

TEST_CASE_TEMPLATE("RFC 9110 13.1: conditions", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(10'000);
  s.origin.set_object(s.body, "\"v1\"", "Wed, 01 Jan 2025 00:00:00 GMT");
  CHECK(is_whole(s.get(), s.body));
  struct {
    char const *name, *value;
    int plain, ranged;
  } const cases[] = {
      {"If-Range", "\"v1\"", 200, 206},
      {"If-Range", "\"v2\"", 200, 200},
      {"If-Range", "W/\"v1\"", 200, 200},
      {"If-Range", "Wed, 01 Jan 2025 00:00:00 GMT", 200, 206},
      {"If-Range", "Thu, 02 Jan 2025 00:00:00 GMT", 200, 200},
      {"If-None-Match", "\"v1\"", 304, 304},
      {"If-None-Match", "W/\"v1\"", 304, 304},
      {"If-None-Match", "\"v0\", \"v1\"", 304, 304},
      {"If-None-Match", "*", 304, 304},
      {"If-None-Match", "\"v2\"", 200, 206},
  };
  for (auto const& k : cases) {
    std::string const value = k.value;
    CAPTURE(value);
    reply const plain = s.get({{k.name, k.value}});
    CHECK(plain.status() == k.plain);
    CHECK(plain.body.size() == (k.plain == 304 ? 0 : 10'000));
    reply const ranged = s.get({{k.name, k.value}, {"Range", "bytes=10-19"}});
    CHECK(ranged.status() == k.ranged);
    CHECK(ranged.body.size() == (k.ranged == 304 ? 0 : k.ranged == 206 ? 10 : 10'000));
  }
  CHECK(s.origin.count() == 1);
}

TEST_CASE_TEMPLATE("RFC 9110 13.1.5: a weak validator holds no range", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(10'000);
  s.origin.set_object(s.body, "W/\"v1\"");
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.get({{"Range", "bytes=10-19"}, {"If-Range", "W/\"v1\""}}).status() == 200);
  CHECK(s.get({{"If-None-Match", "W/\"v1\""}}).status() == 304);
  CHECK(s.get({{"If-None-Match", "\"v1\""}}).status() == 304);  // compared weakly (RFC 9110 13.1.2)
}

TEST_CASE_TEMPLATE("one uninterrupted body, wherever the link is cut, and no byte twice", Rig, MGW_EVERY_RIG) {
  constexpr std::size_t size = 400'000;
  std::size_t const offsets[] = {0, 1, 2, 4095, 4096, 4097, 65'535, 65'536, 131'072, 200'001, 399'999, 399'998};
  for (bool const reset : {false, true}) {
    site_of<Rig> s(size);
    for (std::size_t const at : offsets) {
      CAPTURE(at);
      CAPTURE(reset);
      std::string const target = "/o" + std::to_string(at);
      std::size_t const before = s.origin.count(), sent = s.origin.sent();
      s.origin.script(before, cut(at, reset));
      reply const r = test::get(s.g.port(), target);
      CHECK(is_whole(r, s.body));
      auto const asked = s.origin.requests();
      REQUIRE(asked.size() == before + 2);
      CHECK(s.origin.sent() - sent == size);
      auto const& again = asked.back();
      if (at == 0) {
        CHECK(again.head.count("Range") == 0);
      } else {
        CHECK(again.value("Range") == "bytes=" + std::to_string(at) + "-");
        CHECK(again.value("If-Match") == "\"v1\"");
        CHECK(again.value("If-Range") == "\"v1\"");
      }
    }
    CHECK(s.g.tee().counters().again_bytes == 0);
  }
}

TEST_CASE_TEMPLATE("cut again and again: what is there counts, and the body is right", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(300'000);
  s.origin.standing([](origin::seen_request const&) { return cut(17'000); });
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.origin.count() == 18);
  CHECK(s.origin.sent() == s.body.size());
}

TEST_CASE("the condition of a resume without a strong ETag is the date; without both the whole is compared") {
  site s(300'000);
  std::string etag, date;
  SUBCASE("date") {
    date = "Wed, 01 Jan 2025 00:00:00 GMT";
  }
  SUBCASE("weak ETag and date") {
    etag = "W/\"v1\"";
    date = "Wed, 01 Jan 2025 00:00:00 GMT";
  }
  SUBCASE("weak ETag") {
    etag = "W/\"v1\"";
  }
  SUBCASE("nothing") {}
  s.origin.set_object(s.body, etag, date);
  s.origin.script(0, cut(100'000));
  CHECK(is_whole(s.get(), s.body));
  auto const again = s.origin.requests().at(1);
  CHECK(again.head.count("If-Match") == 0);
  CHECK(again.value("Range") == (date.empty() ? "" : "bytes=100000-"));
  CHECK(again.value("If-Unmodified-Since") == date);
  CHECK(s.g.tee().counters().again_bytes == (date.empty() ? 100'000u : 0u));
}

TEST_CASE_TEMPLATE("an origin without ranges: what is equal is skipped", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(300'000);
  s.origin.standing([](origin::seen_request const& r) {
    mishap m;
    m.ignore_range = true;
    if (r.head.count("Range") == 0) m.cut_after = 100'000;
    return m;
  });
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.origin.count() == 2);
  CHECK(s.g.tee().counters().again_bytes == 100'000);
}

TEST_CASE("what does not continue the part never gets into the body") {
  std::string const other = pattern(300'000, 9);
  struct trial {
    char const* what;
    mishap second;
    bool replaced = false;  // the origin has another object from then on
    std::size_t size = 300'000;
  };
  std::vector<trial> trials(10);
  trials[0].what = "206 with another start", trials[0].second.content_range = "bytes 90000-299999/300000";
  trials[1].what = "206 with a length that does not fit", trials[1].second.content_range = "bytes 100000-299998/299999";
  trials[2].what = "206 without Content-Range", trials[2].second.content_range = "";
  trials[3].what = "206 with an unknown total", trials[3].second.content_range = "bytes 100000-299999/*";
  trials[4].what = "206 with another ETag", trials[4].second.ignore_conditions = true, trials[4].second.etag = "\"v2\"";
  trials[4].second.body = other.substr(100'000), trials[4].second.status = 206;
  trials[4].second.content_range = "bytes 100000-299999/300000", trials[4].replaced = true;
  trials[5].what = "412", trials[5].replaced = true;
  trials[6].what = "416", trials[6].second.ignore_conditions = true, trials[6].second.status = 416,
  trials[6].replaced = true;
  trials[7].what = "200 with another ETag", trials[7].second.ignore_conditions = trials[7].second.ignore_range = true,
  trials[7].replaced = true;
  trials[8].what = "200 with the same ETag and other bytes";
  trials[8].second.ignore_conditions = trials[8].second.ignore_range = true, trials[8].second.etag = "\"v1\"",
  trials[8].replaced = true;
  trials[9].what = "206 without an ETag, from another object";
  trials[9].second.status = 206, trials[9].second.ignore_conditions = true, trials[9].second.etag = "";
  trials[9].second.body = other.substr(100'000), trials[9].second.content_range = "bytes 100000-299999/300000",
  trials[9].replaced = true;
  for (auto const& t : trials) {
    std::string const what = t.what;
    CAPTURE(what);
    site s(t.size);
    s.origin.script(0, cut(100'000));
    s.origin.script(1, t.second);
    http_client c(s.g.port());
    if (t.replaced) {
      // The client has a body of the first object when the second takes its place.
      mishap first = cut(100'000);
      first.stall_after = 100'000;
      s.origin.script(0, first);
      c.request("GET", "/o");
      reply r;
      r.head = c.read_head();
      r.body = c.read_bytes(1000);
      s.origin.set_object(other, "\"v2\"");
      s.origin.release();
      c.read_body(r);
      CHECK_FALSE(r.whole);
      CHECK((r.body == s.body.substr(0, r.body.size())));
      CHECK(is_whole(s.get(), other));
      // What was begun before goes on only on a link made since.
      CHECK(s.fills_ended());
      http_client old(s.g.port());
      old.request("GET", "/o", {{"Range", "bytes=1000-"}, {"X-Issued", "1000"}});
      CHECK(old.closed());
      CHECK(s.get({{"Range", "bytes=1000-1009"}}).body == other.substr(1000, 10));
      CHECK(is_whole(s.get({{"X-Issued", "1000"}}), other));
      CHECK(is_whole(s.get({{"Range", "bytes=0-"}, {"X-Issued", "1000"}}), other) == false);  // 206, from the beginning
    } else {
      CHECK(is_whole(c.get("/o"), s.body));
    }
  }
}

TEST_CASE("an upstream that only says that the object has changed: its links are resumed all the same") {
  struct {
    int status;
    bool cuts;
  } const wrong[] = {{416, false}, {412, true}};
  for (auto const& w : wrong) {
    CAPTURE(w.status);
    site s(300'000);
    mishap first = cut(100'000), second;
    first.stall_after = 100'000;
    s.origin.script(0, first);
    second.status = w.status;
    if (w.status == 416) second.fields = {{"Content-Range", "bytes */300000"}};
    second.body = "";
    second.ignore_range = second.ignore_conditions = true;
    s.origin.script(1, second);
    http_client c(s.g.port());
    c.request("GET", "/o", {{"X-Link", "a"}});
    reply r;
    r.head = c.read_head();
    r.body = c.read_bytes(1000);
    s.origin.release();
    c.read_body(r);
    CHECK(r.whole == !w.cuts);
    if (w.cuts) {
      std::string const range = "bytes=" + std::to_string(r.body.size()) + "-";
      auto const rest = s.get({{"X-Link", "a"}, {"Range", range}});
      CHECK(rest.status() == 206);
      r.body += rest.body;
    }
    CHECK((r.body == s.body));
  }
}

TEST_CASE("a wrong 206 costs one beginning, not the ranges of all that comes after") {
  site s(300'000);
  s.origin.script(0, cut(100'000));
  mishap wrong;
  wrong.content_range = "bytes 7-299999/300000";
  s.origin.script(1, wrong);
  s.origin.script(2, cut(200'000));
  CHECK(is_whole(s.get(), s.body));
  REQUIRE(s.origin.count() == 4);
  CHECK(s.origin.requests()[2].value("Range").empty());
  CHECK(s.origin.requests()[3].value("Range") == "bytes=200000-");
}

TEST_CASE("a content coding that was not asked for is a fault: nothing of it is stored or sent") {
  site s(300'000);
  mishap coded;
  coded.fields = {{"Content-Encoding", "gzip"}};
  coded.body = "coded";
  s.origin.script(0, coded);
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.origin.count() == 2);
}

TEST_CASE("another total under the same ETag is another object") {
  site s(300'000);
  std::string const longer = s.body + "more";
  mishap first = cut(100'000);
  first.stall_after = 100'000;
  s.origin.script(0, first);
  http_client c(s.g.port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  s.origin.set_object(longer, "\"v1\"");
  s.origin.release();
  c.read_body(r);
  CHECK_FALSE(r.whole);
  CHECK(is_whole(s.get(), longer));
}

TEST_CASE("the same, when the other total comes in a 200 without a length") {
  site s(300'000);
  std::string const longer = s.body + "more";
  mishap first = cut(100'000);
  first.stall_after = 100'000;
  s.origin.script(0, first);
  mishap second;
  second.ignore_range = second.ignore_conditions = true;
  second.framing = framing_kind::chunked;
  s.origin.script(1, second);
  http_client c(s.g.port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  s.origin.set_object(longer, "\"v1\"");
  s.origin.release();
  c.read_body(r);
  CHECK_FALSE(r.whole);
  CHECK((r.body == s.body.substr(0, r.body.size())));
  CHECK(is_whole(s.get(), longer));
  http_client old(s.g.port());
  old.request("GET", "/o", {{"Range", "bytes=1000-"}, {"X-Issued", "1000"}});
  CHECK(old.closed());
}

TEST_CASE_TEMPLATE("a passing fault at the first GET is held, not told", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(100'000);
  SUBCASE("5xx, 429, 408, 425") {
    int const statuses[] = {503, 500, 502, 504, 429, 408, 425};
    for (std::size_t i = 0; i < std::size(statuses); ++i) {
      mishap m;
      m.status = statuses[i];
      s.origin.script(i, m);
    }
    CHECK(is_whole(s.get(), s.body));
    CHECK(s.origin.count() == 8);
  }
  SUBCASE("garbage, nothing, half a head") {
    mishap m;
    m.raw = "garbage\r\n\r\n";
    s.origin.script(0, m);
    m = mishap();
    m.drop = true;
    s.origin.script(1, m);
    m = mishap();
    m.raw = "HTTP/1.1 200 OK\r\nCont";
    s.origin.script(2, m);
    CHECK(is_whole(s.get(), s.body));
  }
  SUBCASE("refused") {
    s.origin.refuse();
    http_client c(s.g.port());
    c.request("GET", "/o");
    CHECK(eventually([&] { return s.g.tee().counters().faults > 3; }));
    s.origin.accept_again();
    CHECK(is_whole(c.read_reply(), s.body));
  }
}

TEST_CASE("held too long: closed without a byte of a response") {
  tee_options o = quick_tee();
  o.reader.hold = std::chrono::milliseconds(150);
  site s(100'000, o);
  s.origin.refuse();
  http_client c(s.g.port());
  c.request("GET", "/o");
  CHECK(c.closed());
  http_client ranged(s.g.port());
  ranged.request("GET", "/o", {{"Range", "bytes=5000-"}});
  CHECK(ranged.closed());
  s.origin.accept_again();
  CHECK(is_whole(s.get(), s.body));
}

TEST_CASE("a client that leaves while it is held is not kept for long") {
  tee_options o = quick_tee();
  o.reader.look = std::chrono::milliseconds(20);
  site s(100'000, o);
  mishap m;
  m.silent = true;
  s.origin.script(0, m);
  {
    http_client c(s.g.port());
    c.request("GET", "/o");
    CHECK(s.origin.saw(1));
  }
  CHECK(eventually([&] { return s.g.base().server().connections() == 0; }));
  s.origin.release();
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.origin.count() == 1);
}

TEST_CASE("a silent origin is a passing fault") {
  tee_options o = quick_tee();
  o.fetch.exchange.response_timeout = o.fetch.exchange.body_silence = std::chrono::milliseconds(100);
  site s(100'000, o);
  mishap m;
  m.silent = true;
  s.origin.script(0, m);
  m = mishap();
  m.stall_after = 50'000;
  s.origin.script(1, m);
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.origin.count() == 3);
  CHECK(s.origin.requests()[2].value("Range") == "bytes=50000-");
}

TEST_CASE_TEMPLATE("a begun body is never silent in an outage, and whole after it", Rig, MGW_EVERY_RIG) {
  tee_options o = quick_tee();
  o.reader.trickle = std::chrono::milliseconds(5);
  site_of<Rig> s(100'000, o);
  std::atomic<bool> down{true};
  s.origin.standing([&](origin::seen_request const& r) {
    mishap m;
    if (down && r.head.count("Range") == 0) m.cut_after = 50'000;
    if (down && r.head.count("Range") != 0) m.status = 503;
    return m;
  });
  http_client c(s.g.port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  CHECK(r.status() == 200);
  std::size_t const reserve = o.reader.reserve;
  r.body = c.read_bytes(50'000 - reserve);
  for (int i = 0; i < 40; ++i) {
    std::string piece;
    CHECK(c.read_some(piece));  // one by one, or a few where this thread is slow
    r.body += piece;
  }
  CHECK(r.body.size() < 50'000);
  down = false;
  c.read_body(r);
  CHECK(is_whole(r, s.body));
  CHECK(s.origin.sent() >= s.body.size());
  CHECK(s.g.tee().counters().again_bytes == 0);
}

TEST_CASE("no head goes out before more than the reserve is there, unless the range is") {
  tee_options o = quick_tee();
  o.reader.hold = std::chrono::milliseconds(200);
  site s(100'000, o);
  mishap m;
  m.stall_after = 4096;
  s.origin.script(0, m);
  http_client c(s.g.port()), small(s.g.port());
  c.request("GET", "/o");
  CHECK(s.origin.stalled());
  small.request("GET", "/o", {{"Range", "bytes=0-4095"}});
  CHECK(small.read_reply().body == s.body.substr(0, 4096));
  CHECK(c.closed());
  s.origin.release();
  CHECK(is_whole(s.get(), s.body));
}

TEST_CASE("a definite no is told to a first GET and closes a resume") {
  for (int const status : {404, 403, 410, 401, 400}) {
    CAPTURE(status);
    site s(100'000);
    mishap m;
    m.status = status;
    s.origin.standing(m);
    CHECK(s.get().status() == status);
    CHECK(s.get({{"Range", "bytes=0-"}}).status() == status);
    CHECK(s.fills_ended());
    http_client resume(s.g.port());
    resume.request("GET", "/o", {{"Range", "bytes=5000-"}});
    CHECK(resume.closed());
    s.origin.heal();
    CHECK(s.fills_ended());
    CHECK(is_whole(s.get(), s.body));
  }
}

TEST_CASE_TEMPLATE("a no in the middle closes begun bodies, and what was stored is kept", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(300'000);
  s.origin.script(0, cut(100'000));
  mishap m;
  m.status = 404;
  s.origin.script(1, m);
  reply const r = s.get();
  CHECK_FALSE(r.whole);
  CHECK((r.body == s.body.substr(0, r.body.size())));
  CHECK(s.fills_ended());
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.origin.requests().at(2).value("Range") == "bytes=100000-");
}

TEST_CASE("403 on a link: a newer one is tried, and only then it is definite") {
  site s(300'000);
  s.origin.standing([](origin::seen_request const& r) {
    mishap m;
    if (r.target() == "/expired") m.status = 403;
    return m;
  });
  mishap first = cut(100'000);
  first.stall_after = 100'000;
  s.origin.script(0, first);
  http_client c(s.g.port()), other(s.g.port());
  c.request("GET", "/o", {{"X-Source", "/expired"}, {"X-Issued", "1000"}});
  CHECK(s.origin.stalled());
  other.request("GET", "/o", {{"X-Source", "/new"}, {"X-Issued", "2000"}});
  CHECK(other.read_bytes(1000).size() == 1000);  // its link is known by now
  s.origin.release();
  CHECK(is_whole(c.read_reply(), s.body));
  CHECK(s.origin.requests().back().target() == "/new");
  CHECK(s.origin.sent() == s.body.size());
}

TEST_CASE("403 on the newest link, whose signature has not expired, is definite") {
  std::string query;
  SUBCASE("unsigned") {}
  SUBCASE("signed") {
    query = "?X-Amz-Date=20990101T000000Z&X-Amz-Expires=60&X-Amz-Signature=a";
  }
  site s(100'000);
  mishap no;
  no.status = 403;
  s.origin.standing(no);
  no.silent = true;  // until the newer link is known
  s.origin.script(0, no);
  http_client c(s.g.port()), other(s.g.port());
  c.request("GET", "/o", {{"X-Source", "/old" + query}, {"X-Issued", "1000"}});
  CHECK(s.origin.saw(1));
  other.request("GET", "/o", {{"X-Source", "/new" + query}, {"X-Issued", "2000"}});
  CHECK(eventually([&] { return s.g.tee().held() == 2; }));
  s.origin.release();
  CHECK(c.read_reply().status() == 403);
  CHECK(other.read_reply().status() == 403);
  CHECK(s.origin.count() == 2);
  CHECK(s.origin.requests().back().target() == "/new" + query);
}

TEST_CASE_TEMPLATE("a link whose signature has expired: readers are held until there is a newer one", Rig, MGW_EVERY_RIG) {
  std::string const expired = "/1?X-Amz-Date=20130524T000000Z&X-Amz-Expires=60&X-Amz-Signature=a";
  std::string const newer = "/2?X-Amz-Date=20990101T000000Z&X-Amz-Expires=60&X-Amz-Signature=b";
  int status = 403;
  bool begun = false, polled = false;
  SUBCASE("403, a request brings it") {}
  SUBCASE("400, a request brings it") {
    status = 400;
  }
  SUBCASE("403, a poll brings it") {
    polled = true;
  }
  SUBCASE("403 in the middle") {
    begun = true;
  }
  tee_options o = quick_tee();
  o.fetch.backoff_first = o.fetch.backoff_max = std::chrono::hours(begun ? 0 : 1);
  if (begun) o.fetch.backoff_max = std::chrono::milliseconds(10);
  site_of<Rig> s(300'000, std::move(o));
  s.origin.standing([&](origin::seen_request const& r) {
    mishap m;
    if (r.target() == expired) m.status = status, m.body = "";
    return m;
  });
  if (begun) s.origin.script(0, cut(100'000));
  http_client c(s.g.port()), other(s.g.port());
  c.request("GET", "/o", {{"X-Source", expired}, {"X-Issued", "1000"}});
  REQUIRE(eventually([&] { return s.g.log().count("the link's signature has expired; a newer one is waited for") >= 1; }));
  CHECK(s.g.log().count("refused") == 0);
  CHECK(s.g.tee().fills() == 1);
  if (polled)
    s.g.tee().offer(s.g.key_of("/o"), fetch_source(s.origin.url(newer), {}, 2000));
  else
    other.request("GET", "/o", {{"X-Source", newer}, {"X-Issued", "2000"}});
  CHECK(is_whole(c.read_reply(), s.body));
  if (!polled) CHECK(is_whole(other.read_reply(), s.body));
  CHECK(s.origin.requests().back().target() == newer);
  CHECK(s.origin.requests().back().value("Range") == (begun ? "bytes=100000-" : ""));
  if (!begun) CHECK(s.origin.count() == 2);
  CHECK(s.origin.sent() == s.body.size());
}

TEST_CASE("of newer links that have expired, too, one is tried, and the next a second later at the earliest") {
  std::string const past = "?X-Amz-Date=20130524T000000Z&X-Amz-Expires=60&X-Amz-Signature=a";
  tee_options o = quick_tee();
  o.fetch.backoff_first = o.fetch.backoff_max = std::chrono::hours(1);
  site s(100'000, std::move(o));
  s.origin.standing([](origin::seen_request const& r) {
    mishap m;
    if (r.target() != "/new") m.status = 403;
    return m;
  });
  std::vector<std::unique_ptr<http_client>> clients;
  auto const come = [&](std::string const& source, int issued) {
    clients.push_back(std::make_unique<http_client>(s.g.port()));
    clients.back()->request("GET", "/o", {{"X-Source", source}, {"X-Issued", std::to_string(issued)}});
    REQUIRE(eventually([&] { return s.g.tee().held() == clients.size(); }));
  };
  auto const begun = std::chrono::steady_clock::now();
  come("/0" + past, 1000);
  REQUIRE(eventually([&] { return s.g.tee().counters().faults == 1; }));
  int n = 0;
  while (s.g.tee().counters().faults < 3) {
    ++n;
    come("/" + std::to_string(n) + past, 1000 + n);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // not thousands of connections
  }
  CHECK(std::chrono::steady_clock::now() - begun >= std::chrono::seconds(2));
  CHECK(s.origin.count() == 3);
  CHECK(n >= 2);
  come("/new", 1'000'000);
  for (auto const& c : clients) CHECK(is_whole(c->read_reply(), s.body));
  CHECK(s.origin.count() == 4);
}

TEST_CASE("a fill that waits for a newer link ends at once when it is told to") {
  tee_options o = quick_tee();
  o.fetch.backoff_first = o.fetch.backoff_max = std::chrono::hours(1);
  site s(100'000, std::move(o));
  mishap no;
  no.status = 403;
  s.origin.standing(no);
  http_client c(s.g.port());
  c.request("GET", "/o", {{"X-Source", "/o?Expires=1141889120&AWSAccessKeyId=me&Signature=a"}});
  REQUIRE(eventually([&] { return s.g.tee().counters().faults == 1; }));
  CHECK(s.g.suspend());
  CHECK(c.closed());
}

TEST_CASE("in an outage requests do not make a fill try sooner, a poll that was answered does, once a second at most") {
  tee_options o = quick_tee();
  o.fetch.backoff_first = o.fetch.backoff_max = std::chrono::hours(1);
  site s(100'000, std::move(o));
  mishap down;
  down.drop = true;
  s.origin.script(0, down);
  s.origin.script(1, down);
  http_client c(s.g.port());
  c.request("GET", "/o", {{"X-Source", "/1"}});
  REQUIRE(eventually([&] { return s.g.tee().counters().faults == 1; }));
  std::vector<std::unique_ptr<http_client>> others;
  for (int i = 2; i < 30; ++i) {
    others.push_back(std::make_unique<http_client>(s.g.port()));
    others.back()->request("GET", "/o", {{"X-Source", "/" + std::to_string(i)}});
  }
  auto const poll = [&s](int n) {
    s.g.tee().offer(s.g.key_of("/o"), fetch_source(s.origin.url("/poll" + std::to_string(n)), {}, 5'000'000'000 + n));
  };
  REQUIRE(eventually([&] {
    poll(0);  // within the first second it is too early
    return s.g.tee().counters().faults == 2;
  }));
  CHECK(s.origin.count() == 2);
  CHECK(s.origin.requests().back().target() == "/poll0");
  REQUIRE(eventually([&] {
    poll(1);
    return s.origin.count() == 3;
  }));
  CHECK(is_whole(c.read_reply(), s.body));
  CHECK(s.origin.requests().back().target() == "/poll1");
  for (auto const& other : others) CHECK(is_whole(other->read_reply(), s.body));
}

TEST_CASE("redirects are followed, without the link's fields, and the client sees 200") {
  site s(100'000);
  mishap m;
  m.status = 302;
  m.fields = {{"Location", "/elsewhere?x=1"}};
  s.origin.script(0, m);
  m.fields = {{"Location", s.origin.url("/third")}};
  m.status = 307;
  s.origin.script(1, m);
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.origin.requests()[1].target() == "/elsewhere?x=1");
  CHECK(s.origin.requests()[2].target() == "/third");
}

TEST_CASE("a redirect without an end is a passing fault") {
  tee_options o = quick_tee();
  o.reader.hold = std::chrono::milliseconds(150);
  site s(100'000, o);
  mishap m;
  m.status = 302;
  m.fields = {{"Location", "/o"}};
  s.origin.standing(m);
  http_client c(s.g.port());
  c.request("GET", "/o");
  CHECK(c.closed());
  CHECK(s.origin.saw(6));
}

TEST_CASE_TEMPLATE("an unknown length: held until the object is whole, then served with its length", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(300'000);
  SUBCASE("chunked") {
    mishap m;
    m.framing = framing_kind::chunked;
    m.stall_after = 200'000;
    s.origin.script(0, m);
    http_client c(s.g.port());
    c.request("GET", "/o");
    CHECK(s.origin.stalled());
    s.origin.release();
    reply const r = c.read_reply();
    CHECK(is_whole(r, s.body));
    CHECK(r.value("Content-Length") == "300000");
    CHECK(s.origin.count() == 1);
  }
  SUBCASE("chunked and cut: the rest's head says the length") {
    mishap m = cut(100'000);
    m.framing = framing_kind::chunked;
    s.origin.script(0, m);
    reply const r = s.get();
    CHECK(is_whole(r, s.body));
    CHECK(s.origin.sent() == s.body.size());
  }
  SUBCASE("close-delimited") {
    mishap m;
    m.framing = framing_kind::until_close;
    s.origin.standing(m);
    reply const r = s.get();
    CHECK(is_whole(r, s.body));
    CHECK(r.value("Content-Length") == "300000");
  }
  SUBCASE("close-delimited without validators: asked twice") {
    s.origin.set_object(s.body, "");
    mishap m;
    m.framing = framing_kind::until_close;
    s.origin.standing(m);
    CHECK(is_whole(s.get(), s.body));
    CHECK(s.origin.count() == 2);
  }
  SUBCASE("close-delimited and cut: not served as whole") {
    mishap m = cut(100'000);
    m.framing = framing_kind::until_close;
    s.origin.script(0, m);
    CHECK(is_whole(s.get(), s.body));
  }
  SUBCASE("close-delimited and cut, without validators") {
    s.origin.set_object(s.body, "");
    mishap m = cut(100'000);
    m.framing = framing_kind::until_close;
    s.origin.script(0, m);
    CHECK(is_whole(s.get(), s.body));
  }
}

TEST_CASE_TEMPLATE("an empty object is an object", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(0);
  CHECK(is_whole(s.get(), ""));
  CHECK(s.fills_ended());
  CHECK(s.get({{"Range", "bytes=0-"}}).status() == 416);
  CHECK(s.origin.count() == 1);
}

TEST_CASE("after a restart the download goes on where it was") {
  std::string const body = pattern(3'000'000);
  origin o(body);
  test::temporary_directory const directory;
  std::uint64_t kept = 0;
  {
    mishap m;
    m.stall_after = 1'500'000;
    o.script(0, m);
    caching_gateway g(directory.path(), o.authority());
    http_client c(g.port());
    c.request("GET", "/o");
    CHECK(c.read_bytes(1000).size() == 1000);
    CHECK(o.stalled());
    CHECK(eventually([&] { return g.tee().counters().first_time_bytes == 1'500'000; }));
    kept = g.tee().counters().first_time_bytes;
    CHECK(g.suspend());
    CHECK_FALSE(c.read_bytes(3'000'000).size() > 1'500'000);  // cut, not spliced
  }
  {
    caching_gateway g(directory.path(), o.authority());
    CHECK(is_whole(test::get(g.port(), "/o"), body));
    auto const again = o.requests().at(1);
    CHECK(again.value("Range") == "bytes=" + std::to_string(kept) + "-");
    CHECK(again.value("If-Match") == "\"v1\"");
    CHECK(again.sent == body.size() - kept);
    CHECK(eventually([&] { return g.stored("/o"); }));
  }
  caching_gateway third(directory.path(), o.authority());
  o.refuse();
  CHECK(is_whole(test::get(third.port(), "/o"), body));
  CHECK(o.count() == 2);
}

TEST_CASE("after a restart a replaced object is not spliced") {
  std::string const body = pattern(300'000), other = pattern(300'000, 5);
  origin o(body);
  test::temporary_directory const directory;
  {
    mishap m;
    m.stall_after = 150'000;
    o.script(0, m);
    caching_gateway g(directory.path(), o.authority());
    http_client c(g.port());
    c.request("GET", "/o");
    CHECK(c.read_bytes(1000).size() == 1000);
    CHECK(eventually([&] { return g.tee().counters().first_time_bytes == 150'000; }));
    CHECK(g.suspend());
  }
  o.set_object(other, "\"v2\"");
  caching_gateway g(directory.path(), o.authority());
  reply r = test::get(g.port(), "/o");
  if (!r.whole) {  // it may have begun on the stored part
    CHECK((r.body == body.substr(0, r.body.size())));
    r = test::get(g.port(), "/o");
  }
  CHECK(is_whole(r, other));
}

TEST_CASE_TEMPLATE("a store that is full is passed by, also when the link is cut", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(300'000, quick_tee(), 1, 100'000);
  CHECK(is_whole(s.get(), s.body));
  std::size_t const n = s.origin.count();
  SUBCASE("whole") {}
  SUBCASE("cut") {
    s.origin.script(n, cut(0));  // the fill's own
    s.origin.script(n + 1, cut(70'000));
    s.origin.script(n + 2, cut(100'000, true));
  }
  SUBCASE("no ranges") {
    s.origin.script(n, cut(0));
    s.origin.script(n + 1, cut(70'000));
    mishap m;
    m.ignore_range = true;
    s.origin.script(n + 2, m);
  }
  CHECK(is_whole(s.get(), s.body));
  reply const r = s.get({{"Range", "bytes=100-199"}});
  CHECK(r.status() == 206);
  CHECK(r.value("Content-Range") == range_of(100, 199, 300'000));
  CHECK(r.body == s.body.substr(100, 100));
  CHECK_FALSE(s.g.stored("/o"));
}

/// A disk that takes nothing any more once it is told so.
struct failing_disk : cache::file_ops {
  std::atomic<bool> full{false};
  result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
    if (full) return std::make_error_code(std::errc::no_space_on_device);
    return cache::file_ops::pwrite(fd, bytes, offset);
  }
};

/// Counts the writes that go beyond a multiple of `batch`.
struct watched_disk : cache::file_ops {
  static constexpr std::size_t batch = 65'536;
  std::atomic<int> beyond{0};
  result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
    if (offset % batch + bytes.size() > batch) ++beyond;
    return cache::file_ops::pwrite(fd, bytes, offset);
  }
};

TEST_CASE("what is written to the store ends at multiples of a batch, behind a cut as well") {
  watched_disk disk;
  caching_options options;
  options.ops = &disk;
  options.tee.fetch.batch = watched_disk::batch;
  site s(5'000'000, options);
  s.origin.script(0, cut(1'234'567));
  CHECK(is_whole(s.get(), s.body));
  CHECK(s.fills_ended());
  CHECK(s.g.stored("/o"));
  CHECK(is_whole(s.get(), s.body));
  CHECK(disk.beyond == 0);
  CHECK(s.origin.sent() == s.body.size());
}

TEST_CASE("a disk that fails in the middle: begun bodies go on behind what is stored") {
  failing_disk disk;
  caching_options options;
  options.ops = &disk;
  site s(300'000, options);
  mishap first;
  first.stall_after = 100'000;
  s.origin.script(0, first);
  mishap second;
  SUBCASE("by range") {}
  SUBCASE("and the link is cut, too") {
    second = cut(50'000);
  }
  SUBCASE("without ranges") {
    second.ignore_range = true;
  }
  SUBCASE("and the object was replaced") {
    second.ignore_conditions = true;
  }
  s.origin.script(1, second);
  http_client c(s.g.port()), part(s.g.port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  r.body = c.read_bytes(1000);
  part.request("GET", "/o", {{"Range", "bytes=50000-149999"}});
  reply p;
  p.head = part.read_head();
  CHECK(s.origin.stalled());
  bool const replaced = second.ignore_conditions;
  if (replaced) s.origin.set_object(pattern(300'000, 8), "\"v2\"");
  disk.full = true;  // last: what has arrived may not have been written yet
  s.origin.release();
  c.read_body(r);
  part.read_body(p);
  CHECK(r.whole == !replaced);
  CHECK((r.body == s.body.substr(0, r.body.size())));
  CHECK(p.whole == !replaced);
  CHECK((p.body == s.body.substr(50'000, p.body.size())));
  disk.full = false;
  CHECK(s.fills_ended());
  CHECK(s.get().whole);
  CHECK(s.fills_ended());
  CHECK(s.g.stored("/o"));
}

TEST_CASE_TEMPLATE("an unknown length that outgrows the store is passed by", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(300'000, quick_tee(), 1, 100'000);
  mishap m;
  m.framing = framing_kind::chunked;
  s.origin.standing(m);
  CHECK(is_whole(s.get(), s.body));
  CHECK_FALSE(s.g.stored("/o"));
}

TEST_CASE_TEMPLATE("two keys never mix", Rig, MGW_EVERY_RIG) {
  std::string const a = pattern(500'000, 1), b = pattern(500'000, 2);
  origin o(a);
  o.standing([&](origin::seen_request const& r) {
    mishap m;
    bool const is_b = r.target() == "/b";
    std::string const& body = is_b ? b : a;
    std::string const range = r.value("Range");
    std::size_t const at = range.empty() ? 0 : std::stoul(range.substr(6));
    m.body = body.substr(at);
    m.etag = is_b ? "\"b\"" : "\"a\"";
    m.ignore_conditions = true;
    if (at != 0) {
      m.status = 206;
      m.content_range = range_of(at, body.size() - 1, body.size());
    }
    if (at < 400'000) m.cut_after = 60'000;
    return m;
  });
  test::temporary_directory const directory;
  test::basic_caching_gateway<Rig> g(directory.path(), o.authority(), with<Rig>(quick_tee(), 2));
  std::vector<std::thread> clients;
  std::atomic<int> whole{0};
  for (int i = 0; i < 10; ++i)
    clients.emplace_back([&, i] {
      reply const r = test::get(g.port(), i % 2 != 0 ? "/b" : "/a");
      whole += is_whole(r, i % 2 != 0 ? b : a);
    });
  for (auto& t : clients) t.join();
  CHECK(whole == 10);
  CHECK(o.sent() == a.size() + b.size());
}

TEST_CASE("so many objects are fetched at once, the others in their turn; one that pauses gives its turn away") {
  tee_options options = quick_tee();
  options.fetch.max_fills = 1;
  options.fetch.backoff_first = options.fetch.backoff_max = std::chrono::hours(1);
  site s(300'000, options, 2);
  mishap m;
  m.cut_after = 100'000;
  m.stall_after = 100'000;
  s.origin.script(0, m);
  m = mishap();
  m.stall_after = 50'000;
  s.origin.script(1, m);
  http_client a(s.g.port()), b(s.g.port()), c(s.g.port());
  a.request("GET", "/a");
  CHECK(s.origin.saw(1));
  b.request("GET", "/b");
  CHECK(eventually([&] { return s.g.tee().fills() == 2 && s.g.tee().waiting_fills() == 1; }));
  CHECK(s.origin.count() == 1);
  s.origin.release();  // the first one breaks off, and pauses
  CHECK(s.origin.saw(2));
  c.request("GET", "/c");
  CHECK(eventually([&] { return s.g.tee().waiting_fills() == 1; }));
  CHECK(s.origin.requests()[1].target() == "/b");
  s.origin.release();
  CHECK(is_whole(b.read_reply(), s.body));
  CHECK(is_whole(c.read_reply(), s.body));
  CHECK(s.origin.count() == 3);
  CHECK(s.g.suspend());  // also what waits an hour
}

TEST_CASE("a fill that waits in line ends at once when it is told to") {
  tee_options options = quick_tee();
  options.fetch.max_fills = 1;
  site s(300'000, options);
  mishap m;
  m.silent = true;
  s.origin.script(0, m);
  http_client a(s.g.port()), b(s.g.port());
  a.request("GET", "/a");
  CHECK(s.origin.saw(1));
  b.request("GET", "/b");
  CHECK(eventually([&] { return s.g.tee().waiting_fills() == 1; }));
  CHECK(s.g.suspend());
  CHECK(a.closed());
  CHECK(b.closed());
  CHECK(s.origin.count() == 1);
}

TEST_CASE("so many requests are held: for one more the longest-held is closed, and on each link the last one counts") {
  for (bool const store : {true, false}) {
    CAPTURE(store);
    caching_options options = with(quick_tee());
    options.store = store;
    options.tee.reader.max_held = 2;
    options.tee.reader.replaced_after = std::chrono::milliseconds(0);
    site s(300'000, options);
    mishap m;
    m.silent = true;
    for (std::size_t i = 0; i < 10; ++i) s.origin.script(i, m);
    http_client a(s.g.port()), b(s.g.port()), again(s.g.port()), c(s.g.port());
    a.request("GET", "/o", {{"X-Link", "a"}});
    CHECK(eventually([&] { return s.g.tee().held() == 1; }));
    b.request("GET", "/o", {{"X-Link", "b"}});
    CHECK(eventually([&] { return s.g.tee().held() == 2; }));
    again.request("GET", "/o", {{"X-Link", "b"}});
    CHECK(b.closed());
    CHECK(s.g.tee().held() == 2);
    c.request("GET", "/o", {{"X-Link", "c"}});
    CHECK(a.closed());
    s.origin.release();
    if (store) {
      CHECK(is_whole(again.read_reply(), s.body));
      CHECK(is_whole(c.read_reply(), s.body));
      CHECK(s.g.tee().held() == 0);
    }
    s.g.base().stop([&] { s.g.tee().close(); });
  }
}

TEST_CASE("so many requests are held on one link: for one more the longest-held of that link is closed") {
  tee_options options = quick_tee();
  options.reader.max_held = 3;
  options.reader.max_held_per_link = 2;
  options.reader.replaced_after = std::chrono::hours(1);
  site s(300'000, options);
  mishap m;
  m.silent = true;
  s.origin.script(0, m);
  http_client other(s.g.port()), a(s.g.port()), b(s.g.port()), c(s.g.port());
  std::size_t n = 0;
  auto const come = [&](http_client& who, char const* link) {
    who.request("GET", "/o", {{"X-Link", link}});
    ++n;
    CHECK(eventually([&] { return s.g.tee().held() == n; }));
  };
  come(other, "other");
  come(a, "one");
  come(b, "one");
  c.request("GET", "/o", {{"X-Link", "one"}});
  CHECK(a.closed());
  s.origin.release();
  CHECK(is_whole(other.read_reply(), s.body));
  CHECK(is_whole(b.read_reply(), s.body));
  CHECK(is_whole(c.read_reply(), s.body));
}

TEST_CASE("so many clients are served: one more takes the place of one that is held, or is closed unanswered") {
  tee_options options = quick_tee();
  options.max_clients = 2;
  site s(300'000, options);
  mishap m;
  m.stall_after = 100'000;
  s.origin.script(0, m);
  mishap silent;
  silent.silent = true;
  s.origin.script(1, silent);
  http_client begun(s.g.port()), held(s.g.port()), third(s.g.port());
  begun.request("GET", "/a");
  CHECK(begun.read_bytes(1000).size() == 1000);
  held.request("GET", "/b");
  CHECK(eventually([&] { return s.g.tee().held() == 1; }));
  third.request("GET", "/a");
  CHECK(held.closed());
  CHECK(third.read_bytes(1000).size() == 1000);
  http_client past(s.g.port());
  past.request("GET", "/a");
  CHECK(past.closed());
  CHECK(s.origin.saw(2));
}

TEST_CASE("draining closes what is held, and with its last reader the fill ends") {
  site s(300'000);
  mishap m;
  m.silent = true;
  s.origin.script(0, m);
  http_client c(s.g.port());
  c.request("GET", "/o");
  CHECK(s.origin.saw(1));
  s.g.base().server().drain();
  s.g.tee().drain();
  CHECK(c.closed());
  CHECK(s.fills_ended());
}

TEST_CASE_TEMPLATE("draining lets a begun download finish, and its fill with it", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(300'000);
  mishap m;
  m.stall_after = 150'000;
  s.origin.script(0, m);
  http_client c(s.g.port());
  c.request("GET", "/o");
  reply got;
  got.head = c.read_head();
  got.body = c.read_bytes(1000);
  CHECK(s.origin.stalled());
  s.g.base().server().drain();
  s.g.tee().drain();
  s.origin.release();
  c.read_body(got);
  CHECK(is_whole(got, s.body));
  CHECK(s.fills_ended());
  CHECK(s.g.stored("/o"));
}

TEST_CASE_TEMPLATE("many small ranges on one connection are one download", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(200'000);
  http_client c(s.g.port());
  std::string got;
  while (got.size() < s.body.size()) {
    std::size_t const last = std::min(got.size() + 2047, s.body.size() - 1);
    reply const r = c.get("/o", {{"Range", "bytes=" + std::to_string(got.size()) + "-" + std::to_string(last)}});
    REQUIRE(r.status() == 206);
    got += r.body;
  }
  CHECK((got == s.body));
  CHECK(s.origin.count() == 1);
}

}  // namespace mgw::proxy::tee_to_cache_test
