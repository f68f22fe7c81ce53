#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace mgw::proxy::forward_path_test {
namespace {

struct relay {
  test::origin o{"ok"};
  test::gateway g;
  explicit relay(forward_options f = {}) {
    f.upstream = upstream::endpoint("127.0.0.1", o.port(), false);
    f.host = "upstream.test";
    g.start(test::forwarder(g.upstreams, std::move(f)));
  }
  int ask(std::string const& line) {
    test::http_client c(g.port());
    c.send(line + " HTTP/1.1\r\nHost: a.test\r\n\r\n");
    return c.read_reply().status();
  }
};

// Each is well-formed, and read in more than one way by those who decode, merge or resolve it.
constexpr char const* ambiguous[] = {
    "/a/../b", "/../b", "/./b",  "/a/..",  "//b",     "/a//b",    "/a%2fb",        "/a%2Fb", "/a%5cb",
    "/a\\b",   "/%2e",  "/a%00", "/..;/b", "/a/;x/b", "/%252e/b", "/%c0%ae%c0%ae", "/%",     "/%zz",
};

}  // namespace

TEST_CASE("a path that an upstream could read as another one is not forwarded") {
  relay r;
  for (std::string const path : ambiguous) {
    CAPTURE(path);
    CHECK(r.ask("GET " + path) == 400);
    CHECK(r.ask("GET http://a.test" + path) == 400);
  }
  CHECK(r.o.count() == 0);
  CHECK(r.ask("GET /a/b%20c;d=e/?../..//%2f") == 200);  // in a query there is no structure to be lost
  CHECK(r.o.requests().at(0).target() == "/a/b%20c;d=e/?../..//%2f");
}

TEST_CASE("with any_path every path is forwarded byte for byte") {
  forward_options f;
  f.any_path = true;
  relay r(f);
  for (std::string const path : ambiguous) {
    CAPTURE(path);
    CHECK(r.ask("GET " + path) == 200);
    CHECK(r.o.requests().back().target() == path);
  }
}

TEST_CASE("RFC 9110 9.3.6: CONNECT is not implemented, and its connection ends") {
  for (bool const any_path : {false, true}) {
    forward_options f;
    f.any_path = any_path;
    relay r(f);
    test::http_client c(r.g.port());
    c.send("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n");
    CHECK(c.read_reply().status() == 501);
    CHECK(c.closed());
    CHECK(r.o.connections() == 0);
  }
}

TEST_CASE("RFC 9112 3.2.4: OPTIONS of no resource is forwarded as it is") {
  relay r;
  CHECK(r.ask("OPTIONS *") == 200);
  CHECK(r.o.requests().at(0).target() == "*");
}

}  // namespace mgw::proxy::forward_path_test
