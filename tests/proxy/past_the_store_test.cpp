#include <mgw/proxy/tee_to_cache.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <list>
#include <ostream>
#include <string>
#include <utility>

namespace mgw::proxy::past_the_store_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;

struct site {
  std::string body;
  test::origin origin;
  test::temporary_directory directory;
  caching_gateway g;
  explicit site(caching_options options)
      : body(test::pattern(300'000)), origin(body), g(directory.path(), origin.authority(), std::move(options)) {
    mishap m;
    m.stall_after = 100'000;
    origin.standing(m);
  }
  bool logged(std::string const& why) {
    return eventually([&] {
      auto const all = g.base().records();
      return std::any_of(all.begin(), all.end(), [&](auto const& r) { return r.failure == why; });
    });
  }
};
/// A store that has no room for the object, past which one client goes at once.
caching_options too_small() {
  caching_options o;
  o.max_size = 100'000;
  o.tee.fetch.max_pass_through = 1;
  return o;
}

}  // namespace

TEST_CASE("without a store as many fetch for themselves as there may be clients") {
  caching_options options;
  options.store = false;
  options.tee.fetch.max_pass_through = 1;
  options.tee.max_clients = 12;
  site s(options);
  std::list<http_client> all;
  for (std::size_t i = 0; i < options.tee.max_clients; ++i) {
    all.emplace_back(s.g.port());
    all.back().request("GET", "/o");
    CHECK(all.back().read_bytes(1000).size() == 1000);
  }
  CHECK(s.origin.count() == options.tee.max_clients);
  CHECK(s.g.tee().held() == 0);
}

TEST_CASE("so many clients at once go past a store that fails, the others wait in line; the log names it") {
  caching_options options = too_small();
  options.tee.reader.hold = std::chrono::seconds(3);
  site s(options);
  http_client a(s.g.port()), b(s.g.port());
  a.request("GET", "/o");
  CHECK(a.read_bytes(1000).size() == 1000);
  b.request("GET", "/o");
  CHECK(b.closed());
  CHECK(s.logged("held too long in line: others fetch past the cache (MaxPassThrough)"));
}

TEST_CASE("who waits in line goes on when there is a turn") {
  site s(too_small());
  http_client a(s.g.port()), b(s.g.port());
  a.request("GET", "/o");
  CHECK(a.read_bytes(1000).size() == 1000);
  b.request("GET", "/o");
  CHECK(eventually([&] { return s.g.tee().held() == 1; }));
  s.origin.standing(mishap());
  s.origin.release();
  test::reply const r = b.read_reply();
  CHECK(r.status() == 200);
  CHECK((r.whole && r.body == s.body));
}

TEST_CASE("what is closed while it waits in line says why: others came, or the gateway ends") {
  caching_options options = too_small();
  options.tee.reader.max_held = 1;
  site s(options);
  http_client a(s.g.port()), b(s.g.port()), c(s.g.port());
  a.request("GET", "/o");
  CHECK(a.read_bytes(1000).size() == 1000);
  b.request("GET", "/o");
  CHECK(eventually([&] { return s.g.tee().held() == 1; }));
  c.request("GET", "/o");
  CHECK(b.closed());
  CHECK(s.logged("held while others came"));
  s.g.base().server().drain();
  CHECK(c.closed());
  CHECK(s.logged("draining"));
}

}  // namespace mgw::proxy::past_the_store_test
