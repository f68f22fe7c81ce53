#include <mgw/mender/device_api.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender::device_api_test {
namespace {

std::string jwt(std::string_view claims) {
  return "Bearer " + encode_base64url(R"({"alg":"RS256"})") + "." + encode_base64url(claims) + "." +
         encode_base64url("signature");
}

constexpr std::string_view next_path = "/api/devices/v1/deployments/device/deployments/next";
constexpr std::string_view next2_path = "/api/devices/v2/deployments/device/deployments/next";
constexpr std::string_view inventory_path = "/api/devices/v1/inventory/device/attributes";
constexpr std::string_view deployment = "/api/devices/v1/deployments/device/deployments/";

}  // namespace

TEST_CASE("the calls clients make are told apart") {
  std::string const id = std::string(deployment) + "w81s4fae-7dec-11d0-a765-00a0c91e6bf6";
  struct row {
    std::string_view method;
    std::string path;
    call what;
  };
  for (auto const& [method, path, what] : {
           row{"POST", "/api/devices/v1/authentication/auth_requests", call::auth_request},
           row{"POST", "/api/devices/v1/authentication/auth%5Frequests", call::auth_request},
           row{"POST", "/api/devices/v1/authentication/auth%5frequest%73", call::auth_request},
           row{"GET", "/api/devices/v1/authentication/auth_requests", call::other_device_api},
           row{"POST", "/api/devices/v1/authentication/auth_requests/", call::other_device_api},
           row{"POST", "/api/devices/v1/authentication/auth_request", call::other_device_api},
           row{"POST", "/api/devices/v1/authentication/auth_requestsx", call::other_device_api},
           row{"POST", "/api/devices/v1/authentication/auth%255Frequests", call::other_device_api},
           row{"POST", "/api/devices/v1/authentication/auth%5", call::other_device_api},
           row{"POST", "/api/devices/v1/authentication/auth%zzrequests", call::other_device_api},
           row{"POST", "/api/devices/v1/authentication/auth%+frequests", call::other_device_api},
           row{"post", "/api/devices/v1/authentication/auth_requests", call::other_device_api},
           row{"GET", std::string(next_path), call::next_v1},
           row{"POST", std::string(next_path), call::next_v1},
           row{"HEAD", std::string(next_path), call::other_device_api},
           row{"PUT", std::string(next_path), call::other_device_api},
           row{"POST", std::string(next2_path), call::next_v2},
           row{"GET", std::string(next2_path), call::other_device_api},
           row{"PUT", std::string(inventory_path), call::inventory},
           row{"PATCH", std::string(inventory_path), call::inventory},
           row{"GET", std::string(inventory_path), call::other_device_api},
           row{"POST", std::string(inventory_path), call::other_device_api},
           row{"PUT", id + "/status", call::status},
           row{"PUT", id + "/log", call::log},
           row{"PUT", std::string(deployment) + "a%2Bb/status", call::status},
           row{"PUT", id + "/statu%73", call::status},
           row{"GET", id + "/status", call::other_device_api},
           row{"POST", id + "/log", call::other_device_api},
           row{"PUT", id, call::other_device_api},
           row{"PUT", id + "/", call::other_device_api},
           row{"PUT", id + "/x/status", call::other_device_api},
           row{"PUT", std::string(deployment) + "/status", call::other_device_api},
           row{"PUT", std::string(deployment) + "status", call::other_device_api},
           row{"PUT", "/api/devices/v2/deployments/device/deployments/i/status", call::other_device_api},
           row{"GET", "/api/devices/v2/deployments/device/deployments/i/update_control_map", call::other_device_api},
           row{"GET", "/api/devices/v1/deviceconnect/connect", call::connect},
           row{"POST", "/api/devices/v1/deviceconnect/connect", call::other_device_api},
           row{"PUT", "/api/devices/v1/deviceconfig/configuration", call::other_device_api},
           row{"GET", "/api/devices/v1/deviceconfig/configuration", call::other_device_api},
           row{"POST", "/api/devices/v1/devicemonitor/alert", call::other_device_api},
           row{"GET", "/api/devices/v1/deployments/download/configuration/d/raspberry%20pi/x", call::other_device_api},
           row{"PUT", "/api/devices/v1/x", call::other_device_api},
           row{"DELETE", "/api/devices/v2/", call::other_device_api},
           row{"GET", "/api/gateway/v1/artifacts/" + std::string(64, 'a') + "/tok", call::artifact},
           row{"HEAD", "/api/gateway/v1/artifacts/" + std::string(64, 'a') + "/tok", call::artifact},
           row{"GET", "/api/gateway/v1/artifacts/x", call::artifact},
           row{"POST", "/api/gateway/v1/artifacts/x", call::none},
           row{"GET", "/api/gateway/v1/private/" + std::string(64, 'a') + "/tok", call::artifact},
           row{"HEAD", "/api/gateway/v1/private/x", call::artifact},
           row{"POST", "/api/gateway/v1/private/x", call::none},
           row{"GET", "/api/gateway/v1/private", call::none},
           row{"GET", "/api/gateway/v1/artifacts", call::none},
           row{"GET", "/api/internal/v1/gateway/alive", call::alive},
           row{"HEAD", "/api/internal/v1/gateway/alive", call::alive},
           row{"POST", "/api/internal/v1/gateway/alive", call::none},
           row{"GET", "/api/internal/v1/gateway/health", call::health},
           row{"HEAD", "/api/internal/v1/gateway/health", call::health},
           row{"GET", "/api/internal/v1/gateway/health/", call::none},
           row{"GET", "/api/internal/v1/gateway/healthx", call::none},
       }) {
    CAPTURE(method);
    CAPTURE(path);
    CHECK(match_call(method, path).what == what);
  }
}

TEST_CASE("everything else is not ours") {
  for (std::string_view const path : {"",
                                      "/",
                                      "*",
                                      "/api",
                                      "/api/",
                                      "/ui/",
                                      "/api/management/v1/useradm/auth/login",
                                      "/API/devices/v1/x",
                                      "/API/management/v1/x",
                                      "//api/management/v1/x",
                                      "/api//devices/v1/x",
                                      "/./api/devices/v1/x",
                                      "/api/internal/v1/deviceauth/x",
                                      "/api/devices",
                                      "/api/devices/",
                                      "/api/devices/v1",
                                      "/api/devices/v3/x",
                                      "/api/devices/v1.5/x",
                                      "/api/devicesX/v1/x",
                                      "/api/devices/v1x/y",
                                      "/api/%64evices/v1/x",
                                      "/api/devices/%761/x",
                                      "/api/devices/v1%2Fx",
                                      "/api/%6danagement/v1/x",
                                      "/prefix/api/devices/v1/x",
                                      "http://evil.example/api/devices/v1/x",
                                      "api/devices/v1/x",
                                      " /api/devices/v1/x",
                                      "/api/internal/v1/gateway",
                                      "/api/internal/v1/gateway/aliv%65",
                                      "/api/gateway/v2/artifacts/x"}) {
    for (std::string_view const method : {"GET", "POST", "PUT", "HEAD", "CONNECT", "TRACE", ""}) {
      CAPTURE(path);
      route_match const m = match_call(method, path);
      CHECK(m.what == call::none);
      CHECK(m.route.empty());
      CHECK_FALSE(m.retry_whole_body);
    }
  }
}

TEST_CASE("routes are a bounded set, and only named calls are repeated") {
  std::set<std::string_view> routes;
  for (int i = 0; i < 50; ++i) {
    std::string const n = std::to_string(i);
    routes.insert(match_call("PUT", std::string(deployment) + n + "/status").route);
    routes.insert(match_call("PUT", std::string(deployment) + n + "/log").route);
    routes.insert(match_call("GET", "/api/devices/v1/" + n).route);
    routes.insert(match_call("GET", "/api/devices/v2/" + n).route);
    routes.insert(match_call("GET", "/api/gateway/v1/artifacts/" + n).route);
    routes.insert(match_call("GET", "/api/gateway/v1/private/" + n).route);
    routes.insert(match_call("GET", "/" + n).route);
  }
  CHECK(routes.size() == 7);
  for (auto const method : {"GET", "POST", "PUT"})
    for (auto const path :
         {"authentication/auth_requests", "deployments/device/deployments/next", "inventory/device/attributes",
          "deployments/device/deployments/1/status", "deployments/device/deployments/1/log", "deviceconnect/connect", "x"}) {
      routes.insert(match_call(method, std::string("/api/devices/v1/") + path).route);
      routes.insert(match_call(method, std::string("/api/devices/v2/") + path).route);
    }
  routes.insert(match_call("GET", "/api/internal/v1/gateway/alive").route);
  routes.insert(match_call("GET", "/api/internal/v1/gateway/health").route);
  routes.erase("");
  CHECK(routes == std::set<std::string_view>(all_routes.begin(), all_routes.end()));
  CHECK(routes.count("/api/devices/v1/deployments/device/deployments/{id}/status") == 1);
  CHECK(match_call("POST", "/api/devices/v1/authentication/auth_requests").retry_whole_body);
  CHECK(match_call("POST", next_path).retry_whole_body);
  CHECK(match_call("POST", next2_path).retry_whole_body);
  CHECK_FALSE(match_call("POST", "/api/devices/v1/x").retry_whole_body);
  CHECK_FALSE(match_call("GET", "/api/devices/v1/deviceconnect/connect").retry_whole_body);
}

TEST_CASE("the device id is read from a bearer token") {
  CHECK(device_id_of("Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZXYtMSJ9.c2ln") == "dev-1");
  CHECK(device_id_of("bearer   eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJkZXYtMSJ9.c2ln") == "dev-1");
  CHECK(device_id_of(jwt(R"({"jti":"x","sub":"0c3a0b2e-7dec","exp":1,"mender.device":true})")) == "0c3a0b2e-7dec");
  CHECK(device_id_of(jwt("{\"sub\":\"" + std::string(128, 'd') + "\"}")) == std::string(128, 'd'));
  CHECK(device_id_of("Bearer .eyJzdWIiOiJkZXYtMSJ9.") == "dev-1");  // nothing is verified
}

TEST_CASE("other values of Authorization give no device id") {
  for (std::string const& value : {std::string(),
                                   std::string("Bearer"),
                                   std::string("Bearer "),
                                   std::string("Bearer tenant.tok"),
                                   std::string("API_KEY"),
                                   std::string("Basic dXNlcjpwdw=="),
                                   std::string("Bearer a.b.c"),
                                   std::string("Bearer .."),
                                   std::string("Bearer a.eyJzdWIiOiJkZXYtMSJ9"),
                                   std::string("Bearer a.eyJzdWIiOiJkZXYtMSJ9.c.d"),
                                   std::string("Bearer a.eyJzdWIiOiJkZXYtMSJ9==.c"),
                                   std::string("Bearer a.\xFF\xFE.c"),
                                   jwt(""),
                                   jwt("[]"),
                                   jwt("{}"),
                                   jwt("null"),
                                   jwt(R"({"sub":7})"),
                                   jwt(R"({"sub":null})"),
                                   jwt(R"({"sub":["a"]})"),
                                   jwt(R"({"sub":{"sub":"a"}})"),
                                   jwt(R"({"sub":""})"),
                                   jwt(R"({"sub":"a b"})"),
                                   jwt(R"({"sub":"a\n"})"),
                                   jwt(R"({"sub":"\u00e9"})"),
                                   jwt(R"({"sub":"a","sub":"b"})"),
                                   jwt(R"({"sub":"a"})"
                                       "x"),
                                   jwt(R"({"sub":"a")"),
                                   jwt("{\"sub\":\"" + std::string(129, 'd') + "\"}"),
                                   jwt("{\"x\":" + std::string(3000, '[')),
                                   "Bearer " + std::string(1 << 20, 'a'),
                                   jwt("{\"sub\":\"a\",\"x\":\"" + std::string(20'000, 'x') + "\"}")}) {
    CAPTURE(value.substr(0, 80));
    CHECK(device_id_of(value).empty());
  }
}

TEST_CASE("links begin with the gateway's URL or what the device called") {
  CHECK(link_base("", true, "gw-a.example:8443") == "https://gw-a.example:8443");
  CHECK(link_base("", false, "gw-b.local") == "http://gw-b.local");
  CHECK(link_base("", true, "10.0.0.1:1") == "https://10.0.0.1:1");
  CHECK(link_base("", true, "[fd00::1]:65535") == "https://[fd00::1]:65535");
  CHECK(link_base("", true, "[::ffff:10.0.0.1]") == "https://[::ffff:10.0.0.1]");
  CHECK(link_base("", true, "GW_1") == "https://GW_1");
  CHECK(link_base("https://gw.example/base/", false, "other:1") == "https://gw.example/base");
  CHECK(link_base("https://gw.example", false, "\r\n") == "https://gw.example");
  for (std::string const& bad : {std::string(),
                                 std::string(":80"),
                                 std::string("h:"),
                                 std::string("h:0"),
                                 std::string("h:65536"),
                                 std::string("h:8a"),
                                 std::string("h:-1"),
                                 std::string("h:+1"),
                                 std::string("h:000080"),
                                 std::string("h:1:2"),
                                 std::string("h/x"),
                                 std::string("u@h"),
                                 std::string("h?x"),
                                 std::string("h#x"),
                                 std::string("h\""),
                                 std::string("h h"),
                                 std::string("h\r\nX: y"),
                                 std::string("h%41"),
                                 std::string("[::1"),
                                 std::string("[]"),
                                 std::string("::1"),
                                 std::string("[::1]x"),
                                 std::string("[::1]80"),
                                 std::string("[fe80::1%25eth0]"),
                                 std::string("[1.2.3.4]"),
                                 std::string("h\xC3\xA4"),
                                 std::string("h\0", 2),
                                 std::string(256, 'h')}) {
    CAPTURE(bad);
    CHECK(link_base("", true, bad).empty());
  }
}

}  // namespace mgw::mender::device_api_test
