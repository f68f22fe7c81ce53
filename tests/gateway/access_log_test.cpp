#include "access_log.hpp"

#include "inflate.hpp"

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>

namespace gateway::access_log_test {

static std::string told_path(std::string_view route, std::string_view path) {
  std::string room;
  return std::string(loggable_path(route, path, room));
}

TEST_CASE("no line of the log has the token of a link, whatever its method and spelling") {
  std::string const token = "c2VhbGVk";
  std::string const rest = "/v1/artifacts/0123/" + token;
  for (std::string const start :
       {"/api/gateway", "/API/Gateway", "//api//gateway", "/api/./gateway", "/api/x/../gateway", "/api%2Fgateway",
        "/%61pi/%67ateway", "/api/%2567ateway", "/api/%25%36%37ateway", "/api/g%6%31teway", "/prefix/api/gateway",
        "\\api\\gateway"}) {
    CAPTURE(start);
    std::string const told = told_path("", start + rest);
    CHECK(told.find(token) == std::string::npos);
    CHECK(told.ends_with("gateway/*"));
  }
  auto const route = mgw::mender::match_call("GET", "/api/gateway" + rest).route;
  CHECK(told_path(route, "/api/gateway" + rest) == "/api/gateway/v1/artifacts/{key}/{token}");
}

TEST_CASE("paths that are no links are logged as they came") {
  CHECK(told_path("", "/favicon%20.ico") == "/favicon%20.ico");
  CHECK(told_path("", "/%") == "/%");
  CHECK(told_path("", "/%zz%2") == "/%zz%2");
  CHECK(told_path("", "") == "");
  constexpr std::string_view alive = "/api/internal/v1/gateway/alive";
  CHECK(told_path(mgw::mender::match_call("GET", alive).route, alive) == alive);
  CHECK(told_path("", alive) == "/api/internal/v1/gateway/*");
}

TEST_CASE("that a server knows no second version of a poll is no news; other refusals are") {
  constexpr std::string_view next = "/api/devices/v2/deployments/device/deployments/next";
  auto const v2 = mgw::mender::match_call("POST", next).route;
  CHECK(is_usual(v2, 404));
  CHECK(!is_usual(v2, 401));
  CHECK(!is_usual(v2, 502));
  auto const v1 = mgw::mender::match_call("GET", "/api/devices/v1/deployments/device/deployments/next").route;
  CHECK(!is_usual(v1, 404));
  CHECK(!is_usual("", 404));
}

TEST_CASE("RFC 9110 8.4.1: names of content codings have no case") {
  constexpr std::string_view zipped("\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0", 20);  // of nothing
  for (std::string_view const coding : {"gzip", "GZIP", "x-gzip", "X-GZip"}) {
    CAPTURE(coding);
    auto const text = inflate(coding, zipped, 10);
    REQUIRE(text);
    CHECK(text->empty());
  }
  CHECK(!inflate("gzi", zipped, 10));
  CHECK(!inflate("br", zipped, 10));
}

}  // namespace gateway::access_log_test
