#include <mgw/proxy/origin_request.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/raw_listener.hpp>

#include <doctest/doctest.h>
#include <asio/awaitable.hpp>

#include <string>
#include <utility>

namespace mgw::proxy::origin_request_test {
namespace {

using test::caching_gateway;
using test::caching_options;

asio::awaitable<void> serve_with_fields(caching_gateway& g, std::string const& url, exchange& x) {
  cache::header_list fields = {
      {"X-Auth", "token 1"},     {"user-agent", "link's own"},     {"Host", "elsewhere"},     {"range", "bytes=5-9"},
      {"Content-Length", "7"},   {"Transfer-Encoding", "chunked"}, {"Connection", "X-Auth"},  {"TE", "trailers"},
      {"Accept-Encoding", "br"}, {"Expect", "100-continue"},       {"If-Match", "\"other\""}, {"If-Range", "\"other\""},
      {"X-Split", "a\r\nX-B: c"}};
  fetch_source source(url, std::move(fields), 1);
  cache::key const key = g.key_of("/o");
  co_await g.serve(x, key, std::move(source));
}

}  // namespace

TEST_CASE("fields that come with a link cannot change what is asked, where, or how it is framed") {
  for (bool const store : {true, false}) {
    CAPTURE(store);
    test::origin origin(test::pattern(1'000));
    test::temporary_directory directory;
    caching_options options;
    options.store = store;
    std::string const url = origin.url("/o");
    options.handler = [&url](caching_gateway& g) -> test::any_handler {
      return [&g, &url](exchange& x) { return serve_with_fields(g, url, x); };
    };
    caching_gateway g(directory.path(), origin.authority(), std::move(options));
    auto const r = test::get(g.port(), "/o");
    CHECK(r.status() == 200);
    CHECK(r.body == test::pattern(1'000));
    REQUIRE(origin.count() == 1);
    auto const seen = origin.requests().front();
    CHECK(seen.value("X-Auth") == "token 1");
    CHECK(seen.value("User-Agent") == "link's own");
    CHECK(seen.head.count("User-Agent") == 1);
    CHECK(seen.value("Host") == origin.authority());
    CHECK(seen.head.count("Host") == 1);
    CHECK(seen.value("Accept-Encoding") == "identity");
    CHECK(seen.head.count("Accept-Encoding") == 1);
    for (auto const* name : {"Range", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Expect", "If-Match",
                             "If-Range", "X-Split", "X-B"}) {
      CAPTURE(name);
      CHECK(seen.value(name).empty());
    }
  }
}

TEST_CASE("a redirect leads to no private address, however it is spelt, and never to ourselves") {
  for (auto const* number : {"2130706433", "0x7f000001", "127.1", "0", "017700000001"})  // no URI to begin with
    CHECK_FALSE(http::parse_uri("http://" + std::string(number) + "/"));
  for (bool const store : {true, false}) {
    test::origin origin(test::pattern(1'000));
    test::raw_listener victim;
    std::string const port = ":" + std::to_string(victim.port());
    for (auto const& host :
         {"127.0.0.1" + port, "[::1]" + port, "[::ffff:127.0.0.1]" + port, "[::ffff:7f00:1]" + port, "localhost" + port,
          "[64:ff9b::a00:1]" + port, std::string("169.254.169.254"), std::string("[fd00:ec2::254]"),
          std::string("10.0.0.1")}) {
      CAPTURE(store);
      CAPTURE(host);
      test::mishap to;
      to.status = 302;
      to.fields = {{"Location", "http://" + host + "/latest/meta-data/"}};
      to.body = "";
      origin.standing(to);
      test::temporary_directory directory;
      caching_options options;
      options.store = store;
      options.tee.fetch.reach = [&origin](http::uri const& u) {  // as of an upstream that may be private
        return u.authority == origin.authority() ? upstream::reach::elsewhere : upstream::reach::outside;
      };
      caching_gateway g(directory.path(), origin.authority(), std::move(options));
      auto const r = test::get(g.port(), "/o");
      CHECK(r.status() == 403);
      CHECK_FALSE(victim.somebody_waits());
    }
    test::temporary_directory directory;
    caching_options options;
    options.store = store;
    options.tee.fetch.reach = [](http::uri const&) { return upstream::reach::elsewhere; };
    auto const self = victim.port();
    options.pools.rules.is_self = [self](auto const& e) { return e.port() == self; };
    caching_gateway g(directory.path(), origin.authority(), std::move(options));
    test::mishap to;
    to.status = 302;
    to.fields = {{"Location", "http://127.0.0.1" + port + "/"}};
    to.body = "";
    origin.standing(to);
    CHECK(test::get(g.port(), "/o").status() == 403);
    CHECK_FALSE(victim.somebody_waits());
  }
}

}  // namespace mgw::proxy::origin_request_test
