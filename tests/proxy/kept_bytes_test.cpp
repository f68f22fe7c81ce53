#include <mgw/proxy/kept_bytes.hpp>

#include <mgw/proxy/pass_through.hpp>
#include <mgw/upstream/rate_limit.hpp>

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
#include <utility>

namespace mgw::proxy::kept_bytes_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

using ms = std::chrono::milliseconds;

caching_options options() {
  caching_options o;
  o.store = false;
  o.tee.reader.look = ms(20);
  return o;
}
/// Every byte that has come is given out soon.
caching_options trickling() {
  caching_options o = options();
  o.tee.reader.trickle = ms(1);
  o.tee.reader.reserve = 16;
  return o;
}
/// With a store that has no room for the object, past which one client goes at once.
caching_options one_turn(caching_options o) {
  o.store = true;
  o.max_size = 100'000;
  o.tee.fetch.max_pass_through = 1;
  return o;
}

/// A gateway without a store, unless it is asked for.
struct site {
  std::string body = pattern(300'000);
  test::origin origin{body};
  test::temporary_directory directory;
  caching_gateway g;

  explicit site(caching_options o = options()) : g(directory.path(), origin.authority(), std::move(o)) {}
  bool is_whole(reply const& r) const { return r.status() == 200 && r.whole && r.body == body; }
};
mishap stall(std::size_t n) {
  mishap m;
  m.stall_after = n;
  return m;
}
mishap cut(std::size_t n) {
  mishap m;
  m.cut_after = n;
  return m;
}
reply read_first(http_client& c, std::size_t n) {
  reply r;
  r.head = c.read_head();
  r.body = c.read_bytes(n);
  CHECK(r.body.size() == n);
  return r;
}

}  // namespace

TEST_CASE("of what has come the last bytes are kept back, unless it is all that is wanted") {
  kept_bytes k(3);
  CHECK_FALSE(k.enough(0, 0));
  k.add("abc");
  CHECK_FALSE(k.enough(0, 10));
  CHECK(k.ready(0, 10).empty());
  CHECK(k.enough(0, 3));
  CHECK(k.ready(0, 3) == "abc");
  k.add("de");
  CHECK(k.enough(0, 10));
  CHECK(k.ready(0, 10) == "ab");
  k.took(2);
  CHECK(k.all() == "cde");
  CHECK(k.ready(7, 10) == "cde");
  k.clear();
  CHECK(k.size() == 0);
  CHECK(k.ready(7, 10).empty());
}

TEST_CASE("past the store, too, a begun body is given its last bytes one by one while nothing comes") {
  caching_options o = trickling();
  bool silent = false;
  mishap first = cut(100'000);
  SUBCASE("the link is down") {}
  SUBCASE("it falls silent in the middle") {
    first = stall(100'000);
  }
  SUBCASE("the answer to the next request does not come") {
    silent = true;
    o.tee.fetch.exchange.response_timeout = ms(500);  // one may be on its way when the others are let go
  }
  site s(std::move(o));
  s.origin.script(0, first);
  mishap m;
  m.drop = !silent;
  m.silent = silent;
  s.origin.standing(m);
  http_client c(s.g.port());
  c.request("GET", "/o");
  reply r = read_first(c, 100'000);
  CHECK(r.body == s.body.substr(0, 100'000));
  s.origin.heal();
  if (first.stall_after || silent) s.origin.release();
  c.read_body(r);
  CHECK(s.is_whole(r));
}

TEST_CASE("past the store, too, a begun body is given its last bytes one by one while others have their turns") {
  site s(one_turn(trickling()));
  mishap m = cut(100'000);
  m.stall_after = 100'000;
  s.origin.standing(m);
  http_client c(s.g.port()), other(s.g.port());
  c.request("GET", "/o");
  reply r = read_first(c, 50'000);
  other.request("GET", "/o");
  CHECK(eventually([&] { return s.g.tee().waiting_clients() == 1; }));
  s.origin.standing(stall(100'000));
  std::size_t const before = s.origin.count();
  s.origin.release();
  r.body += c.read_bytes(50'000);  // the other one has the turn
  CHECK((r.body == s.body.substr(0, 100'000)));
  CHECK(eventually([&] { return s.origin.count() > before; }));
  CHECK(s.origin.requests().back().value("Range").empty());
  s.origin.heal();
  s.origin.release();
  CHECK(s.is_whole(other.read_reply()));  // first: who does not read keeps his turn
  c.read_body(r);
  CHECK(s.is_whole(r));
  CHECK(s.origin.requests().back().value("Range") == "bytes=100000-299999");
}

TEST_CASE("past the store, too, a begun body is given its last bytes one by one while it waits for the limit") {
  auto const rate = std::make_shared<std::atomic<std::uint64_t>>(1);
  upstream::rate_limit::options limit;
  limit.rate = [rate] { return rate->load(); };
  limit.look = ms(1);
  caching_options o = trickling();
  auto const link = o.tee.fetch.exchange.limit = std::make_shared<upstream::rate_limit>(std::move(limit));
  site s(std::move(o));
  mishap m;  // in one piece, so that it comes with the head, and is owed
  m.raw = "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 300000\r\n\r\n" + s.body.substr(0, 10'000);
  s.origin.script(0, m);
  http_client c(s.g.port());
  c.request("GET", "/o");
  reply r = read_first(c, 10'000);
  CHECK(link->used() == 0);  // it is still in line
  *rate = upstream::unlimited;
  c.read_body(r);
  CHECK(s.is_whole(r));
  CHECK(s.origin.requests().back().value("Range") == "bytes=10000-299999");
}

TEST_CASE("past the store, too, a body that is not silent is not given up, however long nothing comes") {
  caching_options o = options();
  o.tee.reader.trickle = ms(30);
  o.tee.reader.reserve = 64;
  o.tee.reader.hold = ms(1000);
  site s(std::move(o));
  s.origin.script(0, cut(100'000));
  mishap down;
  down.drop = true;
  s.origin.standing(down);
  http_client c(s.g.port());
  c.request("GET", "/o");
  reply r = read_first(c, 100'000 - 64 + 40);  // 40 times 30 ms are longer than the hold
  s.origin.heal();
  c.read_body(r);
  CHECK(s.is_whole(r));
}

TEST_CASE("past the store, too, no head goes out before more than the reserve has come, unless the range has") {
  for (std::size_t const came : {std::size_t{4096}, std::size_t{4097}}) {
    CAPTURE(came);
    caching_options o = options();
    if (came == 4096) o.tee.reader.hold = ms(150);
    site s(std::move(o));
    s.origin.script(0, stall(came));
    s.origin.script(1, stall(came));
    http_client c(s.g.port());
    c.request("GET", "/o");
    if (came == 4096) {
      CHECK(c.closed());
    } else {
      CHECK(c.read_head().status() == 200);
      CHECK(c.read_bytes(1) == s.body.substr(0, 1));
    }
    CHECK(test::get(s.g.port(), "/o", {{"Range", "bytes=0-1"}}).body == s.body.substr(0, 2));
  }
}

TEST_CASE("past the store, what came before the head is gone on with, and forgotten if it was replaced") {
  site s;
  mishap first = cut(1000);
  first.stall_after = 1000;
  s.origin.script(0, first);
  std::string etag;
  SUBCASE("gone on with") {}
  SUBCASE("replaced") {
    etag = "\"v2\"";
  }
  SUBCASE("nothing names it") {
    s.origin.set_object(s.body, "");
  }
  http_client c(s.g.port());
  c.request("GET", "/o", {{"X-Link", "a"}});
  CHECK(s.origin.stalled());
  std::string const other = pattern(300'000, 7);
  if (!etag.empty()) s.origin.set_object(other, etag);
  s.origin.release();
  reply const r = c.read_reply();
  CHECK(r.whole);
  if (!etag.empty()) CHECK(r.value("ETag") == etag);
  CHECK((r.body == (etag.empty() ? s.body : other)));
}

TEST_CASE("past the store, a client that has left while nothing comes gives its turn away") {
  site s(one_turn(options()));
  s.origin.standing(stall(100'000));
  http_client c(s.g.port()), other(s.g.port());
  c.request("GET", "/o");
  CHECK(read_first(c, 90'000).status() == 200);
  other.request("GET", "/o");
  CHECK(eventually([&] { return s.g.tee().waiting_clients() == 1; }));
  s.origin.heal();
  c.socket().reset();
  CHECK(s.is_whole(other.read_reply()));
}

}  // namespace mgw::proxy::kept_bytes_test
