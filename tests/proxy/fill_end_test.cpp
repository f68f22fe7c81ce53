#include <mgw/proxy/tee_to_cache.hpp>

#include <support/gateway_fixture.hpp>
#include <support/hanging_files.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

// How fills end and pause, and what those see of it who come at that moment.
namespace mgw::proxy::fill_end_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::hanging_files;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

using ms = std::chrono::milliseconds;
constexpr std::size_t object_size = 300'000;

mishap cut(std::size_t n) {
  mishap m;
  m.cut_after = n;
  return m;
}
mishap silent(int status) {
  mishap m;
  m.status = status;
  m.silent = true;
  return m;
}

/// Takes everything; `take` and `finish` wait while the gates are closed.
struct gates {
  std::atomic<bool> take{true}, finish{true};
  std::atomic<bool> able{true};
  std::atomic<std::size_t> waiting{0}, taken{0};
};
class gated final : public body_verifier {
public:
  gated(gates& g, asio::io_context& io) : g_(g), timer_(io) {}
  asio::awaitable<body_verdict> take(std::string_view bytes) override {
    co_await pass(g_.take);
    taken_ += bytes.size();
    g_.taken = taken_;
    co_return v_;
  }
  asio::awaitable<body_verdict> head() override {
    v_.what = body_verdict::state::head_good;
    co_return v_;
  }
  asio::awaitable<body_verdict> finish() override {
    co_await pass(g_.finish);
    bool const whole = taken_ == object_size;
    v_.what = !g_.able ? body_verdict::state::unable : whole ? body_verdict::state::good : body_verdict::state::bad;
    co_return v_;
  }

private:
  asio::awaitable<void> pass(std::atomic<bool> const& gate) {
    ++g_.waiting;
    while (!gate) {
      std::error_code ignored;
      timer_.expires_after(ms(1));
      co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    --g_.waiting;
  }
  gates& g_;
  asio::steady_timer timer_;
  body_verdict v_;
  std::size_t taken_ = 0;
};

struct site {
  std::string const body = pattern(object_size);
  test::origin origin{body};
  test::temporary_directory directory;
  bool is_whole(reply const& r) const { return r.status() == 200 && r.whole && r.body == body; }
};

}  // namespace

TEST_CASE("who comes with a newer link while a refused part is put away is not told the older one's no") {
  site s;
  hanging_files disk;
  caching_options o;
  o.ops = &disk;
  caching_gateway g(s.directory.path(), s.origin.authority(), std::move(o));
  s.origin.script(0, cut(100'000));
  s.origin.script(1, silent(404));
  http_client first(g.port()), second(g.port());
  first.request("GET", "/o", {{"X-Source", "/old"}, {"X-Issued", "1000"}});
  CHECK(s.origin.saw(2));
  disk.hang_at(0);  // the part's being put away
  s.origin.release();
  CHECK(eventually([&] { return disk.hanging() == 1; }));
  second.request("GET", "/o", {{"X-Source", "/new"}, {"X-Issued", "2000"}});
  CHECK(s.is_whole(test::get(g.port(), "/other")));  // the worker has come by
  disk.release();
  CHECK(s.is_whole(second.read_reply()));
  CHECK_FALSE(first.read_reply().whole);
  CHECK(s.origin.requests().back().target() == "/new");
  CHECK(s.origin.requests().back().value("Range") == "bytes=100000-");
}

TEST_CASE("a newer link that comes while the older one is refused is tried") {
  site s;
  caching_gateway g(s.directory.path(), s.origin.authority());
  s.origin.script(0, silent(404));
  http_client first(g.port()), second(g.port());
  first.request("GET", "/o", {{"X-Source", "/old"}, {"X-Issued", "1000"}});
  CHECK(s.origin.saw(1));
  second.request("GET", "/o", {{"X-Source", "/new"}, {"X-Issued", "2000"}});
  CHECK(eventually([&] { return g.tee().held() == 2; }));
  s.origin.release();
  CHECK(s.is_whole(second.read_reply()));
  CHECK(s.is_whole(first.read_reply()));
}

TEST_CASE("an end is not held up by an upstream that cannot be reached") {
  bool store = true;
  SUBCASE("a fill") {}
  SUBCASE("past the store") {
    store = false;
  }
  site s;
  test::full_listener const gone;
  caching_options o;
  o.store = store;
  o.pools.connect_timeout = std::chrono::hours(1);
  caching_gateway g(s.directory.path(), "127.0.0.1:" + std::to_string(gone.port()), std::move(o));
  http_client held(g.port());
  held.request("GET", "/o");
  CHECK(eventually([&] { return g.tee().held() == 1; }));
  g.base().server().drain();
  g.tee().drain();
  CHECK(held.closed());
  CHECK(eventually([&] { return g.tee().idle() && g.base().server().idle(); }));
}

TEST_CASE("a fill that has waited long in line is not given up at its first fault") {
  site s;
  caching_options o;
  o.tee.fetch.max_fills = 1;
  o.tee.fetch.abandon_after = ms(50);
  caching_gateway g(s.directory.path(), s.origin.authority(), std::move(o));
  mishap stall;
  stall.stall_after = 100'000;
  s.origin.script(0, stall);
  mishap drop;
  drop.drop = true;
  s.origin.script(1, drop);
  http_client first(g.port());
  first.request("GET", "/a");
  CHECK(s.origin.stalled());
  {
    http_client leaves(g.port());
    leaves.request("GET", "/b");
    CHECK(eventually([&] { return g.tee().waiting_fills() == 1; }));
  }
  auto const long_enough = std::chrono::steady_clock::now() + ms(60);
  CHECK(eventually([&] { return std::chrono::steady_clock::now() > long_enough; }));
  s.origin.release();
  CHECK(s.is_whole(first.read_reply()));
  CHECK(eventually([&] { return g.stored("/b"); }));
}

TEST_CASE("a stop while a whole part is fed to the verifier again does not condemn it") {
  site s;
  gates gate;
  std::optional<caching_gateway> g;
  auto const start = [&] {
    g.reset();
    caching_options o;
    o.tee.ledger.path = (s.directory.path() / "ledger").string();
    o.tee.fetch.verifier = [&gate](asio::io_context& io) { return std::make_unique<gated>(gate, io); };
    g.emplace(s.directory.path(), s.origin.authority(), std::move(o));
  };
  start();
  gate.able = false;  // so all of it is there, without a verdict
  {
    http_client c(g->port());
    c.request("GET", "/o");
    CHECK(eventually([&] { return g->tee().counters().faults >= 1; }));
    CHECK(g->suspend());
  }
  gate.able = true;
  gate.take = false;
  start();
  http_client c(g->port());
  c.request("GET", "/o");
  CHECK(eventually([&] { return gate.waiting == 1; }));
  g->tee().stop();
  gate.take = true;
  CHECK(eventually([&] { return g->tee().idle(); }));
  CHECK(gate.taken < object_size);
  start();
  std::size_t const before = s.origin.count();
  CHECK(s.is_whole(test::get(g->port(), "/o")));
  CHECK(s.origin.count() == before);
}

TEST_CASE("nobody sees the end of an object before the verdict, by whatever range") {
  site s;
  gates gate;
  gate.finish = false;
  caching_options o;
  o.tee.fetch.withheld = 65'536;
  o.tee.fetch.verifier = [&gate](asio::io_context& io) { return std::make_unique<gated>(gate, io); };
  caching_gateway g(s.directory.path(), s.origin.authority(), std::move(o));
  http_client whole(g.port()), suffix(g.port()), middle(g.port());
  whole.request("GET", "/o");
  reply r;
  r.head = whole.read_head();
  r.body = whole.read_bytes(object_size - 65'536 - 4096);  // the reserve is withheld, too
  CHECK(eventually([&] { return gate.waiting == 1; }));
  suffix.request("GET", "/o", {{"Range", "bytes=-10"}});
  middle.request("GET", "/o", {{"Range", "bytes=240000-250000"}});
  CHECK(eventually([&] { return g.tee().held() == 2; }));
  CHECK(test::get(g.port(), "/o", {{"Range", "bytes=0-99"}}).body == s.body.substr(0, 100));
  CHECK(g.tee().held() == 2);
  gate.finish = true;
  CHECK(suffix.read_reply().body == s.body.substr(object_size - 10));
  CHECK(middle.read_reply().body == s.body.substr(240'000, 10'001));
  whole.read_body(r);
  CHECK(s.is_whole(r));
}

}  // namespace mgw::proxy::fill_end_test
