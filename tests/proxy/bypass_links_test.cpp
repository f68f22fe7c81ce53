#include <mgw/proxy/bypass_links.hpp>

#include <mgw/proxy/pass_through.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <asio/io_context.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

namespace mgw::proxy::bypass_links_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::reply;

using ms = std::chrono::milliseconds;

std::string const expired = "/1?X-Amz-Date=20130524T000000Z&X-Amz-Expires=60&X-Amz-Signature=a";
std::string const newer = "/2?X-Amz-Date=20990101T000000Z&X-Amz-Expires=60&X-Amz-Signature=b";

/// A gateway without a store before an origin that refuses some links.
struct site {
  std::string body = pattern(300'000);
  test::origin origin{body};
  test::temporary_directory directory;
  std::optional<caching_gateway> g;

  /// `store`: its size; 0: none.
  explicit site(std::string const& refused, int status = 403, ms backoff = ms(2), ms hold = ms(60'000),
                std::uint64_t store = 0) {
    caching_options o;
    o.store = store != 0;
    o.max_size = store;
    o.tee.reader.hold = hold;
    o.tee.fetch.backoff_first = o.tee.fetch.backoff_max = backoff;
    g.emplace(directory.path(), origin.authority(), std::move(o));
    origin.standing([refused, status](origin::seen_request const& r) {
      mishap m;
      if (r.target() == refused) m.status = status;
      return m;
    });
  }
  void offer(std::string const& target, std::int64_t issued) {
    g->tee().offer(g->key_of("/o"), fetch_source(origin.url(target), {}, issued));
  }
  bool is_whole(reply const& r) const { return r.status() == 200 && r.whole && r.body == body; }
};
test::field_list by(std::string const& source, int issued) {
  return {{"X-Source", source}, {"X-Issued", std::to_string(issued)}};
}

}  // namespace

TEST_CASE("of the links that polls have told the newest is used, also before anybody asked for the object") {
  for (std::uint64_t const store : {std::uint64_t{0}, std::uint64_t{1} << 30}) {
    CAPTURE(store);
    site s("/old", 403, ms(2), ms(60'000), store);
    s.offer("/newest", 3'000);
    s.offer("/new", 2'000);
    CHECK(s.is_whole(test::get(s.g->port(), "/o", by("/old", 1'000))));
    REQUIRE(s.origin.count() == 1);
    CHECK(s.origin.requests().front().target() == "/newest");
  }
  site s("/old", 403, ms(2), ms(60'000), std::uint64_t{1} << 30);
  s.offer("/older", 500);  // of no use where the client's own is newer
  CHECK(test::get(s.g->port(), "/o", by("/old", 1'000)).status() == 403);
}

TEST_CASE("past the store, too, a newer link is tried after 403, and only then it is definite") {
  site s("/old");
  mishap no;
  no.status = 403;
  mishap first = no;
  first.silent = true;  // until the newer link is known
  s.origin.script(0, first);
  http_client c(s.g->port());
  c.request("GET", "/o", by("/old", 1000));
  CHECK(s.origin.saw(1));
  SUBCASE("there is none") {
    s.origin.release();
    CHECK(c.read_reply().status() == 403);
    CHECK(s.origin.count() == 1);
  }
  SUBCASE("it works") {
    s.offer("/new", 2000);
    s.origin.release();
    CHECK(s.is_whole(c.read_reply()));
    CHECK(s.origin.count() == 2);
    CHECK(s.origin.requests().back().target() == "/new");
  }
  SUBCASE("it is refused, too") {
    s.origin.standing(no);
    s.offer("/new", 2000);
    s.offer("/older", 500);
    s.origin.release();
    CHECK(c.read_reply().status() == 403);
    CHECK(s.origin.count() == 2);
    CHECK(s.origin.requests().back().target() == "/new");
  }
}

TEST_CASE("past the store, too, a link whose signature has expired is held until there is a newer one") {
  int status = 403;
  bool begun = false, polled = true;
  SUBCASE("403") {}
  SUBCASE("400") {
    status = 400;
  }
  SUBCASE("another client brings it") {
    polled = false;
  }
  SUBCASE("in the middle") {
    begun = true;
  }
  site s(expired, status, begun ? ms(2) : ms(3'600'000));
  if (begun) {
    mishap cut;
    cut.cut_after = 100'000;
    s.origin.script(0, cut);
  }
  http_client c(s.g->port()), other(s.g->port());
  c.request("GET", "/o", by(expired, 1000));
  CHECK(s.origin.saw(begun ? 3 : 1));
  if (!begun) CHECK(s.g->tee().held() == 1);
  if (polled)
    s.offer(newer, 2000);
  else
    other.request("GET", "/o", by(newer, 2000));
  CHECK(s.is_whole(c.read_reply()));
  if (!polled) CHECK(s.is_whole(other.read_reply()));
  CHECK(s.origin.requests().back().target() == newer);
  CHECK(s.origin.requests().back().value("Range") == (begun ? "bytes=100000-299999" : ""));
  if (!begun && polled) CHECK(s.origin.count() == 2);
}

TEST_CASE("past the store, an expired link without a newer one ends as what is held too long") {
  site s(expired, 403, ms(2), ms(150));
  http_client c(s.g->port());
  c.request("GET", "/o", by(expired, 1000));
  CHECK(c.closed());
  CHECK(s.origin.count() > 1);
}

TEST_CASE("who goes past the store takes the newest link of the fill along") {
  site s("/none", 403, ms(2), ms(60'000), 1);
  mishap silent;
  silent.silent = true;
  s.origin.script(0, silent);
  http_client c(s.g->port());
  c.request("GET", "/o", by("/old", 1000));
  CHECK(s.origin.saw(1));
  s.offer("/new", 2000);
  s.origin.release();
  CHECK(s.is_whole(c.read_reply()));
  CHECK(s.origin.count() == 2);
  CHECK(s.origin.requests().back().target() == "/new");
}

TEST_CASE("of links past the store those hear who are on their way to the object, of each new one once") {
  asio::io_context io;
  bypass_links all;
  cache::key const k, other(cache::key::bytes_type{1});
  int news = 0;
  auto const count = [](void* n) noexcept { ++*static_cast<int*>(n); };
  auto const run = [&io] {
    io.restart();
    io.run();
  };
  std::optional<bypass_links::place> place;
  place.emplace(all, k, fetch_source("http://a/1", {}, 1), io.get_executor(), count, &news);
  all.offer(k, fetch_source("http://a/1", {}, 1));
  all.offer(other, fetch_source("http://a/2", {}, 2));
  all.offer(k, fetch_source());
  run();
  CHECK(news == 0);
  CHECK_FALSE(place->has_newer_than("http://a/1"));
  all.offer(k, fetch_source("http://a/2", {}, 2));
  run();
  CHECK(news == 1);
  CHECK(place->has_newer_than("http://a/1"));
  CHECK(place->newest().url == "http://a/2");
  all.offer(k, fetch_source("http://a/3", {}, 3));
  place.reset();
  run();
  CHECK(news == 1);
  place.emplace(all, k, fetch_source("http://a/1", {}, 1), io.get_executor(), count, &news);
  CHECK(place->newest().url == "http://a/1");  // nothing is kept of what was before
}

}  // namespace mgw::proxy::bypass_links_test
