#include <mgw/proxy/first_bytes.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>
#include <asio/awaitable.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::proxy::first_bytes_test {
namespace {

using test::mishap;
using test::pattern;

/// Reads the start of an origin's object, as told by the request: `X-Enough` bytes are enough, `X-Most` are the most.
struct site {
  test::origin origin{pattern(300'000)};
  fetch_options options;
  fetch_counters counters;
  test::gateway g;

  site() {
    g.start([this](exchange& x) { return answer(*this, x); });
  }
  static asio::awaitable<void> answer(site& s, exchange& x) {
    auto const number = [&x](std::string_view name) { return std::stoul(std::string(x.request().fields.value(name))); };
    std::size_t const wanted = number("X-Enough");
    first_bytes start(*s.g.upstreams.of(x.worker()), x.worker().deadlines, s.options, s.counters);
    first_bytes::sizes sizes;
    sizes.first = 1'000;
    sizes.most = number("X-Most");
    fetch_source const from(s.origin.url("/o"), {}, 1);
    auto const enough = [wanted](std::string_view bytes) { return bytes.size() >= wanted; };
    bool const ok = co_await start.read(from, sizes, enough);
    int const status = ok ? 200 : 404;
    (void)co_await x.respond(status, "application/octet-stream", start.bytes());
  }
  test::reply ask(std::size_t enough, std::size_t most) const {
    return test::get(g.port(), "/", {{"X-Enough", std::to_string(enough)}, {"X-Most", std::to_string(most)}});
  }
};

}  // namespace

TEST_CASE("the first bytes are asked for in pieces, as many as needed, on one connection") {
  site s;
  auto const r = s.ask(4'000, 100'000);
  CHECK(r.status() == 200);
  CHECK(r.body == pattern(5'000));
  auto const asked = s.origin.requests();
  REQUIRE(asked.size() == 2);
  CHECK(asked[0].value("Range") == "bytes=0-999");
  CHECK(asked[1].value("Range") == "bytes=1000-4999");
  CHECK_FALSE(asked[1].value("If-Match").empty());
  CHECK(s.origin.connections() == 1);
  CHECK(s.counters.first_time_bytes.load() == 5'000);
  CHECK(s.ask(500, 100'000).body == pattern(1'000));
  CHECK(s.origin.connections() == 1);
}

TEST_CASE("who does not wait for the link's limit reads also while it is paused, and what it reads is owed") {
  upstream::rate_limit::options paused(0);
  auto const limit = std::make_shared<upstream::rate_limit>(std::move(paused));
  site s;
  s.options.exchange.limit = limit;
  CHECK(s.ask(500, 100'000).status() == 404);
  CHECK(s.origin.count() == 0);
  s.options.can_wait = false;
  CHECK(s.ask(500, 100'000).body == pattern(1'000));
  CHECK(limit->spent() >= 1'000);
}

TEST_CASE("no more than the most is read, and what ends before it is enough is not enough") {
  site s;
  CHECK(s.ask(50'000, 10'000).status() == 404);
  CHECK(s.counters.first_time_bytes.load() == 10'000);
  CHECK(s.ask(300'000, 1'000'000).status() == 200);
  CHECK(s.ask(300'001, 1'000'000).status() == 404);
}

TEST_CASE("of an upstream without ranges no more is read than needed") {
  site s;
  mishap m;
  m.ignore_range = true;
  s.origin.standing(m);
  auto const r = s.ask(2'000, 100'000);
  CHECK(r.status() == 200);
  CHECK(r.body == pattern(300'000).substr(0, r.body.size()));
  CHECK(r.body.size() <= 100'000);
  CHECK(s.ask(200'000, 100'000).status() == 404);
  CHECK(s.origin.count() == 2);
}

TEST_CASE("pieces that are not of one generation, or not what was asked for, are no start") {
  site s;
  mishap m;
  SUBCASE("another ETag") {
    m.etag = "\"another\"";
  }
  SUBCASE("an error") {
    m.status = 503;
  }
  SUBCASE("cut") {
    m.cut_after = 100;
  }
  s.origin.script(1, m);
  CHECK(s.ask(4'000, 100'000).status() == 404);
}

}  // namespace mgw::proxy::first_bytes_test
