#include <mgw/route/matcher.hpp>

#include <doctest/doctest.h>

namespace mgw::route::matcher_test {

TEST_CASE("matchers compose") {
  constexpr auto api = prefix("/api/") && !path("/api/secret");
  constexpr auto reads = method("GET") || method("HEAD");
  static_assert(RouteMatcher<decltype(api)>);
  constexpr auto at = [](char const* m, char const* p) {
    request_line r;
    r.method = m;
    r.path = p;
    return r;
  };
  CHECK(api(at("GET", "/api")));
  CHECK(api(at("GET", "/api/")));
  CHECK(api(at("PUT", "/api/x/y")));
  CHECK_FALSE(api(at("GET", "/apix")));
  CHECK_FALSE(api(at("GET", "/api/secret")));
  CHECK((reads && api)(at("HEAD", "/api/x")));
  CHECK_FALSE((reads && api)(at("POST", "/api/x")));
  CHECK(any()(at("POST", "/")));
  CHECK(prefix("/")(at("GET", "/x")));
}

}  // namespace mgw::route::matcher_test
