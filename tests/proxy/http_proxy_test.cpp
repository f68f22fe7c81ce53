#include <mgw/upstream/proxy_rules.hpp>

#include <mgw/proxy/forward.hpp>
#include <mgw/upstream/pool_options.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/proxy_server.hpp>
#include <support/relay.hpp>
#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <future>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

namespace mgw::proxy::http_proxy_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::pattern;

constexpr auto* credentials = "Basic dTpw";  // u:p

upstream::pool_options through(test::proxy_server const& p) {
  upstream::pool_options o;
  o.proxies = std::make_shared<upstream::proxy_rules const>(*upstream::http_proxy::parse("u:p@" + p.authority()),
                                                            std::nullopt, "");
  return o;
}

/// A relay to an upstream whose name only the proxy knows.
struct site {
  test::origin origin{"hello"};
  test::proxy_server proxy;
  test::gateway g;
  std::string authority;
  explicit site(std::string wants = credentials) : proxy(std::move(wants)), g(1, through(proxy)) {
    forward_options o;
    o.upstream = upstream::endpoint("upstream.test", origin.port(), false);
    o.host = authority = "upstream.test:" + std::to_string(origin.port());
    g.start(test::forwarder(g.upstreams, std::move(o)));
  }
};

}  // namespace

TEST_CASE("RFC 9112 3.2.2: to an HTTP proxy a request names the whole URI, and our credentials, never the client's") {
  site s;
  test::http_client c(s.g.port());
  for (auto const* target : {"/a?b=%20c", "/"}) {
    auto const r = c.ask("GET", target, {{"Proxy-Authorization", "Basic ZXZpbA=="}});
    CHECK(r.status() == 200);
    CHECK(r.body == "hello");
    auto const seen = s.origin.requests().back();
    CHECK(seen.target() == "http://" + s.authority + target);
    CHECK(seen.value("Host") == s.authority);
    CHECK(seen.head.count("Proxy-Authorization") == 1);
    CHECK(seen.value("Proxy-Authorization") == credentials);
  }
  CHECK(s.proxy.heads().size() == 1);  // the connection to the proxy is kept
  (void)c.ask("OPTIONS", "*");
  CHECK(s.origin.requests().back().target() == "http://" + s.authority);
}

TEST_CASE("a proxy's 407 is our own trouble: the client gets 502, the log the hop") {
  site s("Basic eDp5");
  auto const r = test::get(s.g.port(), "/");
  CHECK(r.status() == 502);
  CHECK(r.value("Proxy-Authenticate").empty());
  s.g.stop();
  REQUIRE(s.g.records().size() == 1);
  CHECK(s.g.records().front().failure == "proxy: the proxy wants other credentials (407)");
}

TEST_CASE("artifacts come through a proxy, resumed where it dies; 407 is a passing fault") {
  for (bool const store : {true, false}) {
    CAPTURE(store);
    std::string const object = pattern(300'000);
    test::origin origin(object);
    test::proxy_server proxy(credentials);
    test::temporary_directory directory;
    caching_options options;
    options.store = store;
    options.pools = through(proxy);
    options.tee.fetch.reach = [](http::uri const&) { return upstream::reach::outside; };
    std::string const authority = "storage.test:" + std::to_string(origin.port());
    proxy.says("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n");
    test::mishap stall;
    stall.stall_after = 100'000;
    origin.script(0, stall);
    caching_gateway g(directory.path(), authority, std::move(options));
    auto got = std::async(std::launch::async, [&] { return test::get(g.port(), "/o?q=1"); });
    CHECK(test::eventually([&] { return proxy.heads().size() >= 2; }));
    proxy.says("");
    CHECK(origin.stalled());
    proxy.cut_all();
    origin.release();
    auto const r = got.get();
    CHECK(r.status() == 200);
    CHECK((r.body == object));
    auto const seen = origin.requests().front();
    CHECK(seen.target() == "http://" + authority + "/o?q=1");
    CHECK(seen.value("Host") == authority);
    CHECK(seen.value("Proxy-Authorization") == credentials);
    CHECK(origin.count() == 2);
  }
}

}  // namespace mgw::proxy::http_proxy_test
