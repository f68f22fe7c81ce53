#include <mgw/proxy/router.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <string>

namespace mgw::proxy::router_test {

TEST_CASE("RFC 3986 6.2.2: rules see one spelling of a path, whatever the client writes") {
  router const routes(when(route::path("/*"), answer_status(299)), when(route::prefix("/admin"), answer_status(403)),
                      when(route::prefix("/open") && route::method("OPTIONS"), answer_status(204)),
                      when(route::any(), answer_status(200)));
  test::gateway g;
  g.start([&routes](exchange& x) { return routes(x); });
  struct {
    char const* method;
    char const* target;
    int status;
  } const cases[] = {
      {"GET", "/admin", 403},
      {"GET", "/admin/", 403},
      {"GET", "/%61dmin", 403},
      {"GET", "/%61%64%6D%69%6e/x", 403},
      {"GET", "/admin?/open", 403},
      {"GET", "http://a.test/%61dmin", 403},
      {"GET", "/administrator", 200},
      {"GET", "/Admin", 200},
      {"GET", "/admin%20", 200},
      {"GET", "/open/%61dmin", 200},
      {"GET", "/", 200},
      {"OPTIONS", "/o%70en", 204},
      {"OPTIONS", "*", 200},
      {"GET", "//admin", 400},
      {"GET", "/./admin", 400},
      {"GET", "/x/../admin", 400},
      {"GET", "/x/%2e%2e/admin", 400},
      {"GET", "/;/admin", 400},
      {"GET", "/%2fadmin", 400},
      {"GET", "/%252e%252e/admin", 400},
      {"GET", "/%00admin", 400},
      {"GET", "/%5cadmin", 400},
      {"GET", "/\\admin", 400},
      {"GET", "/%c0%aeadmin", 400},
      {"GET", "/%zz", 400},
  };
  for (auto const& k : cases) {
    CAPTURE(k.target);
    test::http_client c(g.port());
    c.send(std::string(k.method) + " " + k.target + " HTTP/1.1\r\nHost: a.test\r\n\r\n");
    CHECK(c.read_reply().status() == k.status);
  }
}

TEST_CASE("RFC 9110 9.3.6: CONNECT is not implemented by a router, and its connection ends") {
  router const routes(when(route::any(), answer_status(200)));
  test::gateway g;
  g.start([&routes](exchange& x) { return routes(x); });
  test::http_client c(g.port());
  c.send("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n");
  CHECK(c.read_reply().status() == 501);
  CHECK(c.closed());
}

}  // namespace mgw::proxy::router_test
