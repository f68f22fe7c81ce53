#include <mgw/proxy/ahead_reader.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::proxy::ahead_reader_test {
namespace {

using std::chrono::milliseconds;
using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;
using test::pattern;
using test::quick_tee;
using test::reply;

constexpr std::size_t size = 1'000'000, filled = 50'000, far = 100'000, wanted = 800'000;

tee_options options() {
  tee_options o = quick_tee();
  o.reader.far_ahead = far;
  o.reader.look = milliseconds(20);
  return o;
}

/// A gateway with an empty cache before an origin whose first answer, the fill's, stops at `filled`.
struct site {
  std::string body;
  test::origin origin;
  test::temporary_directory directory;
  caching_gateway g;

  explicit site(tee_options o = options(), std::size_t n = size, std::string const& etag = "\"v1\"")
      : body(pattern(n)), origin(body, etag), g(directory.path(), origin.authority(), with(std::move(o))) {
    mishap m;
    m.stall_after = filled;
    origin.script(0, m);
  }
  static caching_options with(tee_options o) {
    caching_options c;
    c.tee = std::move(o);
    c.threads = 2;
    return c;
  }
  /// Asks for the range, which begins the fill.
  std::unique_ptr<http_client> ask(std::string const& range) const {
    auto c = std::make_unique<http_client>(g.port());
    c->request("GET", "/o", {{"Range", "bytes=" + range}});
    return c;
  }
  fetch_counters const& counted() { return g.tee().counters(); }
  bool stopped() {
    return origin.stalled() && eventually([this] { return counted().first_time_bytes == filled; });
  }
  /// The fill is as it always was: one request, every byte once, all of it in the store.
  void check_fill() {
    CHECK(eventually([this] { return g.tee().fills() == 0; }));
    CHECK(g.stored("/o"));
    auto const first = origin.requests().at(0);
    CHECK(first.head.count("Range") == 0);
    CHECK(first.sent == body.size());
    CHECK(counted().first_time_bytes == body.size());
    CHECK(counted().again_bytes == counted().ahead_bytes);
    CHECK(test::get(g.port(), "/o").body == body);
  }
};
bool is_part(reply const& r, std::string const& body, std::size_t first, std::size_t last) {
  return r.status() == 206 && r.whole && r.body == body.substr(first, last - first + 1) &&
         r.value("Content-Range") ==
             "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" + std::to_string(body.size());
}

/// Says what the test tells it to.
struct findings {
  std::size_t head_at = 1;
  bool bad_at_end = false;
};
class scripted final : public body_verifier {
public:
  explicit scripted(findings const& f) : f_(f) {}
  asio::awaitable<body_verdict> take(std::string_view bytes) override {
    taken_ += bytes.size();
    if (taken_ >= f_.head_at) v_.what = body_verdict::state::head_good;
    co_return v_;
  }
  asio::awaitable<body_verdict> head() override { co_return v_; }
  asio::awaitable<body_verdict> finish() override {
    v_.what = f_.bad_at_end ? body_verdict::state::bad : body_verdict::state::good;
    co_return v_;
  }

private:
  findings f_;
  body_verdict v_;
  std::size_t taken_ = 0;
};
tee_options verified(findings const& f) {
  tee_options o = options();
  o.fetch.withheld = 65'536;
  o.fetch.verifier = [f](asio::io_context&) { return std::make_unique<scripted>(f); };
  return o;
}

}  // namespace

TEST_CASE("the cache was wiped: a resume far ahead of the fill is fetched beside it, and the fill goes its way") {
  site s;
  auto const c = s.ask("800000-");
  CHECK(is_part(c->read_reply(), s.body, wanted, size - 1));  // while the fill stands still
  CHECK(s.stopped());
  CHECK(s.counted().ahead_bytes == size - wanted);
  auto const asked = s.origin.requests().at(1);
  CHECK(asked.value("Range") == "bytes=800000-999999");
  CHECK(asked.value("If-Match") == "\"v1\"");
  CHECK(asked.value("If-Range") == "\"v1\"");
  CHECK(asked.value("Accept-Encoding") == "identity");
  CHECK(c->get("/o", {{"Range", "bytes=700000-700099"}}).body == s.body.substr(700'000, 100));  // a closed one, too
  CHECK(c->get("/o", {{"Range", "bytes=-10"}}).body == s.body.substr(size - 10));
  CHECK(s.origin.requests().at(2).value("Range") == "bytes=700000-700099");
  s.origin.release();
  s.check_fill();
  CHECK(s.origin.count() == 4);
}

TEST_CASE("what is near waits for the fill") {
  site s;
  auto const first = s.ask("0-");
  CHECK(first->read_bytes(1000).size() == 1000);
  REQUIRE(s.stopped());
  auto const near = s.ask(std::to_string(filled + far) + "-");
  CHECK(eventually([&] { return s.g.tee().held() == 1; }));
  auto const beyond = s.ask(std::to_string(filled + far + 1) + "-");
  CHECK(is_part(beyond->read_reply(), s.body, filled + far + 1, size - 1));
  CHECK(s.g.tee().held() == 1);
  CHECK(s.origin.count() == 2);
  s.origin.release();
  CHECK(is_part(near->read_reply(), s.body, filled + far, size - 1));
  CHECK(s.origin.count() == 2);
  s.check_fill();
}

TEST_CASE("what is not exactly what was asked for is not used: the client waits for the fill") {
  mishap m;
  m.ignore_conditions = true;
  std::size_t asked = 2;
  SUBCASE("no ranges") {
    m.ignore_range = true;
  }
  SUBCASE("another ETag") {
    m.etag = "\"v2\"";
  }
  SUBCASE("no ETag") {
    m.etag = "";
  }
  SUBCASE("412") {
    m.status = 412;
  }
  SUBCASE("403") {
    m.status = 403;
  }
  SUBCASE("another place") {
    m.content_range = "bytes 799999-999999/1000000";
  }
  SUBCASE("less than was asked for") {
    m.content_range = "bytes 800000-899999/1000000";
    m.body = std::string(100'000, 'x');
  }
  SUBCASE("another total") {
    m.content_range = "bytes 800000-999999/1000001";
  }
  SUBCASE("no Content-Range") {
    m.content_range = "";
  }
  SUBCASE("another length") {
    m.body = std::string(1000, 'x');
  }
  site s;
  s.origin.script(1, m);
  auto const c = s.ask("800000-");
  CHECK(s.origin.saw(asked));
  CHECK(eventually([&] { return s.g.tee().held() == 1; }));
  s.origin.release();
  CHECK(is_part(c->read_reply(), s.body, wanted, size - 1));
  CHECK(s.origin.count() == asked);  // it does not ask again
  CHECK(s.counted().ahead_bytes == 0);
  s.check_fill();
}

TEST_CASE("where no strong ETag names the generation, the client waits for the fill") {
  for (std::string const etag : {"", "W/\"v1\""}) {
    CAPTURE(etag);
    site s(options(), size, etag);
    auto const c = s.ask("800000-");
    REQUIRE(s.stopped());
    CHECK(eventually([&] { return s.g.tee().held() == 1; }));
    CHECK(s.origin.count() == 1);
    s.origin.release();
    CHECK(is_part(c->read_reply(), s.body, wanted, size - 1));
    CHECK(s.origin.count() == 1);
  }
}

TEST_CASE("a passing fault is tried again, and a link that breaks in the middle goes on by range") {
  for (bool const reset : {false, true}) {
    site s;
    mishap m;
    m.status = 503;
    s.origin.script(1, m);
    m = mishap();
    m.drop = true;
    s.origin.script(2, m);
    m = mishap();
    m.cut_after = 70'000;
    m.reset = reset;
    s.origin.script(3, m);
    m.cut_after = 0;
    s.origin.script(4, m);
    auto const c = s.ask("800000-");
    CHECK(is_part(c->read_reply(), s.body, wanted, size - 1));
    auto const asked = s.origin.requests();
    REQUIRE(asked.size() == 6);
    CHECK(asked[3].value("Range") == "bytes=800000-999999");
    CHECK(asked[4].value("Range") == "bytes=870000-999999");
    CHECK(asked[5].value("Range") == "bytes=870000-999999");
    CHECK(asked[5].value("If-Match") == "\"v1\"");
    CHECK(s.counted().ahead_bytes == size - wanted);  // no byte twice
    s.origin.release();
    s.check_fill();
  }
}

TEST_CASE("the link to both breaks: far ahead it is asked for again, near the fill has it") {
  site s;
  mishap m;
  m.cut_after = 20'000;
  s.origin.script(1, m);
  m = mishap();
  m.drop = true;
  s.origin.standing(m);
  auto const c = s.ask("800000-");
  reply r;
  r.head = c->read_head();
  CHECK(s.origin.saw(4));  // it tries again in vain
  s.origin.release();      // the fill gets through
  c->read_body(r);
  CHECK(is_part(r, s.body, wanted, size - 1));
  CHECK(s.counted().ahead_bytes == 20'000);
  s.origin.heal();
  s.check_fill();
}

TEST_CASE("in an outage the last bytes that came ahead are given out one by one") {
  tee_options o = options();
  o.reader.trickle = milliseconds(1);
  o.reader.reserve = 64;
  site s(o);
  mishap m;
  m.cut_after = 20'000;
  s.origin.script(1, m);
  m = mishap();
  m.drop = true;
  s.origin.standing(m);
  auto const c = s.ask("800000-");
  reply r;
  r.head = c->read_head();
  r.body = c->read_bytes(20'000);
  CHECK((r.body == s.body.substr(wanted, 20'000)));
  s.origin.release();
  c->read_body(r);
  CHECK(is_part(r, s.body, wanted, size - 1));
}

TEST_CASE("no head goes out before more than the reserve has come ahead, and what is held too long is closed") {
  for (std::size_t const came : {std::size_t{4096}, std::size_t{4097}}) {
    CAPTURE(came);
    tee_options o = options();
    if (came == 4096) o.reader.hold = milliseconds(150);
    site s(o);
    mishap m;
    m.stall_after = came;
    s.origin.script(1, m);
    auto const c = s.ask("800000-");
    if (came == 4096) {
      CHECK(c->closed());
    } else {
      CHECK(c->read_head().status() == 206);
      CHECK(c->read_bytes(1) == s.body.substr(wanted, 1));
    }
  }
}

TEST_CASE("an answer that does not come is not waited for longer than a request is held") {
  tee_options o = options();
  o.reader.hold = milliseconds(150);
  site s(o);
  mishap m;
  m.silent = true;
  s.origin.standing(m);
  CHECK(eventually([&] { return s.ask("800000-")->closed() && s.origin.count() >= 2; }));
}

TEST_CASE("the last bytes come from the fill, after the verdict") {
  findings f;
  f.bad_at_end = [] {
    bool bad = false;
    SUBCASE("good") {}
    SUBCASE("bad") {
      bad = true;
    }
    return bad;
  }();
  constexpr std::size_t open = size - 65'536;
  site s(verified(f));
  auto const c = s.ask("800000-");
  reply r;
  r.head = c->read_head();
  r.body = c->read_bytes(open - 4096 - wanted);  // the reserve is kept back, too
  CHECK((r.body == s.body.substr(wanted, r.body.size())));
  auto const at_the_end = s.ask("950000-"), all_but = s.ask(std::to_string(open - 4096) + "-");
  CHECK(s.origin.requests().at(1).value("Range") == "bytes=800000-" + std::to_string(open - 1));
  CHECK(eventually([&] { return s.g.tee().held() == 2; }));
  CHECK(s.counted().ahead_bytes == open - wanted);
  CHECK(s.origin.count() == 2);
  s.origin.release();
  c->read_body(r);
  CHECK(r.whole);
  if (f.bad_at_end) {
    CHECK((r.body.substr(0, open - wanted) == s.body.substr(wanted, open - wanted)));
    CHECK((r.body.substr(open - wanted) == std::string(size - open, '\0')));
    CHECK(at_the_end->closed());
    CHECK_FALSE(s.g.stored("/o"));
  } else {
    CHECK(is_part(r, s.body, wanted, size - 1));
    CHECK(is_part(at_the_end->read_reply(), s.body, 950'000, size - 1));
    CHECK(is_part(all_but->read_reply(), s.body, open - 4096, size - 1));
    s.check_fill();
  }
  CHECK(s.origin.count() == 2);
}

TEST_CASE("nothing is fetched ahead before the head was found good") {
  findings f;
  f.head_at = filled + 1;
  site s(verified(f));
  auto const c = s.ask("800000-");
  REQUIRE(s.stopped());
  CHECK(eventually([&] { return s.g.tee().held() == 1; }));
  CHECK(s.origin.count() == 1);
  s.origin.release();
  CHECK(is_part(c->read_reply(), s.body, wanted, size - 1));
  s.check_fill();
}

TEST_CASE("when the fill has come to where the client is, the rest comes from the store") {
  constexpr std::size_t large = 24'000'000, at = 4'000'000;
  site s(options(), large);
  auto const c = s.ask("4000000-");
  reply r;
  r.head = c->read_head();
  r.body = c->read_bytes(1000);  // and no more for now
  s.origin.release();
  CHECK(eventually([&] { return s.g.stored("/o"); }));
  c->read_body(r);
  CHECK(is_part(r, s.body, at, large - 1));
  CHECK(s.counted().ahead_bytes < large - at);
  CHECK(s.origin.count() == 2);
  s.check_fill();
}

TEST_CASE("so many at once fetch ahead; the others wait for the fill or for a turn") {
  tee_options o = options();
  o.fetch.max_pass_through = 1;
  site s(o);
  mishap m;
  m.stall_after = 50'000;
  s.origin.script(1, m);
  auto const one = s.ask("800000-");
  CHECK(one->read_bytes(1000).size() == 1000);
  auto const other = s.ask("700000-");
  CHECK(eventually([&] { return s.g.tee().held() == 1; }));
  CHECK(s.origin.stalled(2));
  CHECK(s.origin.count() == 2);
  SUBCASE("a turn") {
    one->socket().reset();
    s.origin.cut_all();  // the fill begins again where it was
    CHECK(is_part(other->read_reply(), s.body, 700'000, size - 1));
  }
  SUBCASE("the fill") {
    s.origin.release();
    CHECK(is_part(other->read_reply(), s.body, 700'000, size - 1));
  }
}

TEST_CASE("many far ahead: each gets its bytes, a few at once, and the fill is one request") {
  tee_options o = options();
  o.fetch.max_pass_through = 4;
  site s(o);
  for (std::size_t n = 1; n <= 4; ++n) {
    mishap m;
    m.stall_after = 10'000;
    s.origin.script(n, m);
  }
  constexpr std::size_t clients = 20;
  std::vector<std::unique_ptr<http_client>> all;
  for (std::size_t i = 0; i < clients; ++i) all.push_back(s.ask(std::to_string(wanted + 1000 * i) + "-"));
  CHECK(s.origin.stalled(5));
  CHECK(eventually([&] { return s.g.tee().held() == clients - 4; }));
  CHECK(s.origin.count() == 5);
  s.origin.release();
  std::vector<std::thread> readers;
  std::atomic<std::size_t> right{0};
  for (std::size_t i = 0; i < clients; ++i)
    readers.emplace_back([&, i] { right += is_part(all[i]->read_reply(), s.body, wanted + 1000 * i, size - 1); });
  for (auto& t : readers) t.join();
  CHECK(right == clients);
  s.check_fill();
}

TEST_CASE("draining ends one that waits for its bytes, not one that has begun") {
  site s;
  mishap m;
  m.stall_after = 50'000;
  s.origin.script(1, m);
  mishap silent;
  silent.silent = true;
  s.origin.script(2, silent);
  auto const begun = s.ask("800000-");
  reply r;
  r.head = begun->read_head();
  auto const held = s.ask("700000-");
  CHECK(s.origin.stalled(3));
  s.g.base().server().drain();
  s.g.tee().drain();
  CHECK(held->closed());
  s.origin.release();
  begun->read_body(r);
  CHECK(is_part(r, s.body, wanted, size - 1));
  CHECK(s.origin.count() == 3);  // looked at again and again meanwhile, it is still one answer
  CHECK(eventually([&] { return s.g.base().server().idle() && s.g.tee().idle(); }));
}

TEST_CASE("a link that was begun with another generation gets nothing from ahead either") {
  site s;
  http_client first(s.g.port());
  first.request("GET", "/o", {{"X-Link", "a"}});
  CHECK(first.read_bytes(1000).size() == 1000);
  first.socket().reset();
  REQUIRE(s.origin.stalled());
  s.origin.set_object(pattern(size, 2), "\"v2\"");
  mishap m;
  m.stall_after = filled;
  s.origin.script(2, m);
  s.origin.cut_all();  // the fill asks for the rest, finds out, and begins anew
  CHECK(s.origin.stalled(2));
  http_client again(s.g.port());
  again.request("GET", "/o", {{"X-Link", "a"}, {"Range", "bytes=800000-"}});
  CHECK(again.closed());
  auto const other = s.ask("800000-");  // an unbegun link, made after the replacement
  s.origin.release();
  CHECK(is_part(other->read_reply(), pattern(size, 2), wanted, size - 1));
}

TEST_CASE("what is far ahead, and may be fetched there") {
  test::gateway g;  // its workers never run
  net::worker& worker = g.workers.worker(0);
  fetch_options fetch;
  fetch.withheld = 100;
  fetch_counters counters;
  slots turns(1);
  ahead_options o;
  o.far_ahead = 1000;
  o.reserve = 10;
  origin_request const ask(*g.upstreams.of(worker), worker.deadlines, fetch, counters);
  auto const job = std::make_shared<fetch_job>(cache::key(), worker.io.get_executor());
  cache::meta about;
  about.etag = "\"v1\"";
  about.generation = cache::generation_of(about.etag, "", 5000);
  cache::fill_view v;
  v.phase = cache::fill_phase::growing;
  v.stored = 500;
  v.length = 5000;
  v.about = std::make_shared<cache::meta const>(about);
  auto const may = [&](cache::fill_view const& view, std::uint64_t at, std::uint64_t end) {
    ahead_reader a(job, ask, fetch, counters, turns, worker, o);
    return a.may_fetch(view, at, end);
  };
  CHECK(may(v, 1501, 5000));
  CHECK_FALSE(may(v, 1500, 5000));
  CHECK_FALSE(may(v, 0, 5000));
  CHECK(may(v, 4999, 5000));
  fetch.verifier = [](asio::io_context&) { return std::make_unique<scripted>(findings()); };
  CHECK(may(v, 4889, 5000));
  CHECK_FALSE(may(v, 4890, 5000));  // no more than the reserve before what is withheld
  CHECK(may(v, 4890, 4900));
  CHECK_FALSE(may(v, 4900, 4901));
  fetch.verifier = nullptr;
  for (auto const phase : {cache::fill_phase::pending, cache::fill_phase::complete, cache::fill_phase::refused,
                           cache::fill_phase::condemned, cache::fill_phase::cut, cache::fill_phase::bypassed}) {
    cache::fill_view other = v;
    other.phase = phase;
    CHECK_FALSE(may(other, 4000, 5000));
  }
  cache::fill_view other = v;
  other.stored = 0;
  CHECK_FALSE(may(other, 4000, 5000));
  other = v;
  other.length.reset();
  CHECK_FALSE(may(other, 4000, 5000));
  about.generation = 7;  // other bytes were found under this name
  other = v;
  other.about = std::make_shared<cache::meta const>(about);
  CHECK_FALSE(may(other, 4000, 5000));
  slots::place taken(turns, worker.io.get_executor());
  CHECK(taken.try_enter());
  CHECK_FALSE(may(v, 4000, 5000));
  taken.leave();
  CHECK(may(v, 4000, 5000));
}

}  // namespace mgw::proxy::ahead_reader_test
