#include <mgw/proxy/told_links.hpp>

#include <mgw/http/uri.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

namespace mgw::proxy::told_links_test {
namespace {

cache::key key_of(int n) {
  return *cache::make_key(*http::parse_uri("http://storage.test/" + std::to_string(n)), {});
}
fetch_source link(std::string const& url, std::int64_t issued) {
  return {url, {}, issued};
}

}  // namespace

TEST_CASE("the newest link that was told of an object counts, whatever comes last") {
  told_links all;
  CHECK_FALSE(all.newest(key_of(1)));
  all.offer(key_of(1), link("a", 10));
  all.offer(key_of(1), link("b", 20));
  all.offer(key_of(1), link("c", 15));
  all.offer(key_of(2), link("d", 5));
  CHECK(all.newest(key_of(1))->url == "b");
  CHECK(all.newest(key_of(2))->url == "d");
}

TEST_CASE("limit: links are kept of so many objects, of those that were told last") {
  told_links all(3);
  for (int n = 1; n <= 3; ++n) all.offer(key_of(n), link(std::to_string(n), n));
  all.offer(key_of(1), link("1", 0));  // told again, if only an older one
  all.offer(key_of(4), link("4", 4));
  CHECK(all.newest(key_of(1)));
  CHECK_FALSE(all.newest(key_of(2)));
  CHECK(all.newest(key_of(3)));
  CHECK(all.newest(key_of(4)));
}

}  // namespace mgw::proxy::told_links_test
