#include <mgw/proxy/fill_writer.hpp>

#include <mgw/cache/journal.hpp>
#include <mgw/upstream/rate_limit.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::proxy::fill_writer_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::field_list;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

constexpr std::size_t object_size = 300'000, withheld = 65'536;

/// What the verifiers of a gateway find, and what they were given.
struct findings {
  std::uint64_t head_at = 100;          // the head ends there
  std::optional<std::uint64_t> bad_at;  // found when this byte is seen
  bool bad_at_end = false;
  std::vector<std::pair<std::string, std::string>> labels;
  std::atomic<int> unable{0};  // so many of the next ones fail at their first byte
  std::atomic<int> made{0};
  std::atomic<std::uint64_t> taken{0};
};

class scripted final : public body_verifier {
public:
  explicit scripted(findings& f) : f_(f) { ++f.made; }
  asio::awaitable<body_verdict> take(std::string_view bytes) override {
    taken_ += bytes.size();
    f_.taken += bytes.size();
    if (f_.unable > 0) {
      --f_.unable;
      conclude(body_verdict::state::unable, "out of order");
    }
    if (f_.bad_at && taken_ > *f_.bad_at) conclude(body_verdict::state::bad, "rotten");
    if (!v_.is_final() && taken_ >= f_.head_at) v_.what = body_verdict::state::head_good;
    co_return v_;
  }
  asio::awaitable<body_verdict> head() override { co_return v_; }
  asio::awaitable<body_verdict> finish() override {
    v_.labels = f_.labels;
    conclude(f_.bad_at_end ? body_verdict::state::bad : body_verdict::state::good, f_.bad_at_end ? "rotten end" : "");
    co_return v_;
  }

private:
  void conclude(body_verdict::state what, std::string why) {
    if (v_.is_final()) return;
    v_.what = what;
    v_.why = std::move(why);
  }
  findings& f_;
  body_verdict v_;
  std::uint64_t taken_ = 0;
};

/// An origin, and a gateway with such verifiers that can be started anew.
struct site {
  std::string const body = pattern(object_size), other = pattern(object_size, 5);
  findings found;
  test::origin origin{body};
  test::temporary_directory directory;
  std::uint64_t judge = 0;
  std::shared_ptr<std::atomic<std::uint64_t>> rate;  // of the link; null: it has no limit
  when_abandoned abandoned = when_abandoned::finish;
  std::chrono::milliseconds checkpoint_every{0}, backoff{0};
  std::size_t checkpoint_bytes = object_size;
  std::optional<caching_gateway> g;

  site() = default;
  void start() {
    g.reset();
    caching_options o;
    o.tee.ledger.path = (directory.path() / "ledger").string();
    o.tee.ledger.judge = judge;
    o.tee.fetch.checkpoint_every = checkpoint_every;
    o.tee.fetch.checkpoint_bytes = checkpoint_bytes;
    if (backoff.count() != 0) o.tee.fetch.backoff_first = o.tee.fetch.backoff_max = backoff;
    o.tee.fetch.verifier = [this](asio::io_context&) { return std::make_unique<scripted>(found); };
    o.tee.fetch.abandoned = abandoned;
    o.tee.fetch.reconnect_grace = std::chrono::milliseconds(0);
    if (rate) {
      upstream::rate_limit::options limit;
      limit.rate = [now = rate] { return now->load(); };
      limit.look = std::chrono::milliseconds(1);
      o.tee.fetch.exchange.limit = std::make_shared<upstream::rate_limit>(std::move(limit));
      o.tee.fetch.stand_by_look = std::chrono::milliseconds(1);
    }
    g.emplace(directory.path(), origin.authority(), std::move(o));
  }
  reply get(field_list const& fields = {}) const { return test::get(g->port(), "/o", fields); }
  bool closes(field_list const& fields) const {
    http_client c(g->port());
    c.request("GET", "/o", fields);
    return c.closed();
  }
  bool arrived(std::uint64_t n) {
    return eventually([this, n] { return g->tee().counters().first_time_bytes == n; });
  }
};
mishap stall(std::size_t n) {
  mishap m;
  m.stall_after = n;
  return m;
}

/// How many bytes of the part are covered by a checkpoint.
std::uint64_t recorded(site const& s) {
  for (auto const& e : std::filesystem::recursive_directory_iterator(s.directory.path())) {
    if (e.path().extension() != ".journal") continue;
    std::ifstream in(e.path(), std::ios::binary);
    std::string const text{std::istreambuf_iterator<char>(in), {}};
    auto const journal = cache::read_journal(text);
    return journal && !journal->records.empty() ? journal->records.back().size : 0;
  }
  return 0;
}

}  // namespace

TEST_CASE("nobody sees a byte before the head was found good, nor the end before the verdict") {
  site s;
  s.found.head_at = 100'000;
  s.origin.script(0, stall(99'000));
  s.start();
  http_client c(s.g->port());
  c.request("GET", "/o");
  CHECK(s.arrived(99'000));
  CHECK(eventually([&] { return s.g->tee().held() == 1; }));
  s.origin.release();
  reply const r = c.read_reply();
  CHECK((r.whole && r.body == s.body));
  CHECK(s.found.taken == object_size);
  CHECK(eventually([&] { return s.g->stored("/o"); }));
}

TEST_CASE("a bad head is a refusal: 403 to a first GET, a resume is closed, also after a restart") {
  site s;
  s.found.bad_at = 50;
  s.start();
  for (bool const again : {false, true}) {
    CAPTURE(again);
    if (again) s.start();
    CHECK(s.get().status() == 403);
    CHECK(s.closes({{"Range", "bytes=1000-"}}));
    CHECK_FALSE(s.g->stored("/o"));
  }
  CHECK(s.found.made == 1);  // it was known, and not looked at again
  CHECK(s.g->log().count("found to be bad before") >= 1);
  s.found.bad_at.reset();
  s.origin.set_object(s.other, "\"v2\"");
  CHECK((s.get().body == s.other));  // another object under the same name is another one
}

TEST_CASE("what was condemned gets another chance under other keys, and when it is pardoned") {
  for (bool const pardoned : {false, true}) {
    for (bool const good : {false, true}) {
      CAPTURE(pardoned);
      CAPTURE(good);
      site s;
      s.found.bad_at = 50;
      s.start();
      CHECK(s.get().status() == 403);
      CHECK(s.get().status() == 403);
      CHECK(s.found.made == 1);
      CHECK(eventually([&] { return s.g->tee().fills() == 0; }));  // nobody joins one that is ending
      if (good) s.found.bad_at.reset();
      if (pardoned) {
        CHECK(s.g->tee().book().pardon(s.g->key_of("/o")));
      } else {
        s.judge = 1;
        s.start();
      }
      reply const r = s.get();
      CHECK(r.status() == (good ? 200 : 403));
      CHECK((r.body == s.body) == good);
      CHECK(s.get().status() == r.status());
      CHECK(s.found.made == 2);  // in either case it is known now
    }
  }
}

TEST_CASE("a body that turns out bad is filled up with zeros, so that the client's own check fails") {
  site s;
  bool early = false;
  SUBCASE("in the middle") {
    s.found.bad_at = 150'000;
    early = true;
  }
  SUBCASE("at its end") {
    s.found.bad_at_end = true;
  }
  s.origin.script(0, stall(100'000));
  s.start();
  http_client c(s.g->port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  CHECK(r.head.status() == 200);
  r.body = c.read_bytes(1000);
  s.origin.release();
  c.read_body(r);
  CHECK(r.whole);
  REQUIRE(r.body.size() == object_size);
  std::size_t const right = early ? 150'000 : object_size - withheld;
  std::size_t same = 0;
  while (same < object_size && r.body[same] == s.body[same]) ++same;
  CHECK(same >= 1000);
  CHECK(same <= right + 16);  // a zero may be right by chance
  CHECK(r.body.find_first_not_of('\0', same) == std::string::npos);
  CHECK(eventually([&] { return s.g->tee().fills() == 0; }));
  CHECK_FALSE(s.g->stored("/o"));
  CHECK(s.get().status() == 403);
  CHECK(s.g->log().count("condemned: rotten") == 1);
}

TEST_CASE("a small object is seen after the verdict only") {
  site s;
  s.found.bad_at_end = true;
  s.origin.set_object(s.body.substr(0, 1000), "\"v1\"");
  s.start();
  CHECK(s.get().status() == 403);
}

TEST_CASE("a verifier that fails is a passing fault: the next one is fed from the beginning") {
  site s;
  SUBCASE("at once") {
    s.found.unable = 3;
    s.start();
  }
  SUBCASE("in the middle of a begun body") {
    s.origin.script(0, stall(200'000));
    s.start();
    http_client c(s.g->port());
    c.request("GET", "/o");
    CHECK(c.read_bytes(1000).size() == 1000);
    s.found.unable = 2;
    s.origin.release();
  }
  CHECK((s.get().body == s.body));
  CHECK(s.found.made > 2);
  CHECK(s.g->log().count("out of order") >= 2);
}

TEST_CASE("what the verifier says an object is to be found by is stored with it") {
  site s;
  SUBCASE("labels") {
    s.found.labels = {{"artifact-name", "release 2"}, {"device-types", "a,b"}};
  }
  SUBCASE("labels that the store refuses cost nothing else") {
    s.found.labels = {{"not a name", "x"}};
  }
  SUBCASE("none") {}
  s.start();
  CHECK((s.get().body == s.body));
  REQUIRE(eventually([&] { return s.g->stored("/o"); }));
  auto const all = s.g->store().list();
  REQUIRE(all.size() == 1);
  bool const refused = !s.found.labels.empty() && s.found.labels[0].first == "not a name";
  CHECK((all[0].labels == (refused ? decltype(s.found.labels)() : s.found.labels)));
  CHECK(s.g->log().count("not labelled") == (refused ? 1 : 0));
}

TEST_CASE("after a restart the verifier is fed what is stored, then what comes") {
  site s;
  s.origin.script(0, stall(200'000));
  s.start();
  {
    http_client c(s.g->port());
    c.request("GET", "/o");
    CHECK(s.arrived(200'000));
    CHECK(s.g->suspend());
  }
  s.found.taken = 0;
  SUBCASE("good") {
    s.start();
    CHECK((s.get().body == s.body));
    CHECK(s.found.taken == object_size);
    CHECK(s.origin.sent() == object_size);
  }
  SUBCASE("bad in what is stored") {
    s.found.bad_at = 100'000;
    s.start();
    CHECK(s.get().status() == 403);
    CHECK(s.origin.count() == 1);
  }
}

TEST_CASE("after a restart while the link is paused, what is stored is verified and served; the rest comes with the link") {
  site s;
  SUBCASE("a fill that goes on") {}
  SUBCASE("a fill that leaves the link with its last reader") {
    s.abandoned = when_abandoned::suspend;
  }
  s.origin.script(0, stall(200'000));
  s.start();
  {
    http_client c(s.g->port());
    c.request("GET", "/o");
    CHECK(s.arrived(200'000));
    CHECK(s.g->suspend());
  }
  s.rate = std::make_shared<std::atomic<std::uint64_t>>(0);
  for (int const failures : {0, 2}) {
    CAPTURE(failures);
    CHECK(s.g->suspend());
    s.found.unable = failures;
    s.start();
    reply const part = s.get({{"Range", "bytes=1000-99999"}});
    CHECK(part.status() == 206);
    CHECK((part.body == s.body.substr(1000, 99'000)));
    CHECK(s.g->log().count("out of order") == static_cast<std::size_t>(failures));
  }
  http_client c(s.g->port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  CHECK(r.status() == 200);
  r.body = c.read_bytes(100'000);
  CHECK(s.origin.count() == 1);
  *s.rate = upstream::unlimited;
  c.read_body(r);
  CHECK((r.whole && r.body == s.body));
  CHECK(s.origin.count() == 2);
  CHECK(s.origin.sent() == object_size);
}

TEST_CASE("after a restart while the link is paused, a part that is bad is refused at once") {
  site s;
  s.origin.script(0, stall(200'000));
  s.start();
  {
    http_client c(s.g->port());
    c.request("GET", "/o");
    CHECK(s.arrived(200'000));
    CHECK(s.g->suspend());
  }
  s.rate = std::make_shared<std::atomic<std::uint64_t>>(0);
  s.found.bad_at = 100'000;
  s.start();
  CHECK(s.get().status() == 403);
  CHECK(s.origin.count() == 1);
}

TEST_CASE("much that has come at once is made durable when the link then stands still") {
  site s;
  s.checkpoint_every = std::chrono::hours(1);
  s.checkpoint_bytes = 60'000;
  mishap m;
  m.stall_after = 100'000;
  s.origin.script(0, m);
  s.start();
  http_client c(s.g->port());
  c.request("GET", "/o");
  CHECK(s.arrived(100'000));
  CHECK(eventually([&] { return recorded(s) >= 60'000; }));
  s.origin.release();
  auto const r = c.read_reply();
  CHECK((r.whole && r.body == s.body));
}

TEST_CASE("before a long pause what has arrived is made durable") {
  site s;
  s.checkpoint_every = std::chrono::hours(1);  // longer than this takes
  s.backoff = std::chrono::hours(3);
  mishap m;
  m.cut_after = 100'000;
  s.origin.script(0, m);
  s.start();
  http_client c(s.g->port());
  c.request("GET", "/o");
  CHECK(s.arrived(100'000));
  CHECK(eventually([&] { return recorded(s) == 100'000; }));
  CHECK(s.g->log().count("next try from byte 100000") == 1);
}

}  // namespace mgw::proxy::fill_writer_test
