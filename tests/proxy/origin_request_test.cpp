#include <mgw/proxy/origin_request.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>
#include <asio/awaitable.hpp>

#include <string>
#include <utility>

namespace mgw::proxy {
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
  co_await g.tee().serve(x, key, std::move(source));
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

}  // namespace mgw::proxy
