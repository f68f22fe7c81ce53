#include "doctor/artifact_hosts.hpp"

#include "doctor/management.hpp"
#include "doctor/report.hpp"
#include "gateway/support.hpp"

#include <support/scripted_server.hpp>

#include <boost/json/parse.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace gateway::doctor::doctor_hosts_test {
namespace {

using gateway::test::has;
using mgw::test::blocking_socket;
using mgw::test::scripted_server;

constexpr milliseconds soon{20'000};  // nothing here comes near it

std::string http(int status, std::string const& body = "{\"error\":\"x\"}") {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

/// A server without TLS that answers what `says` makes of a request's head.
struct server {
  explicit server(std::function<std::string(std::string const&)> says)
      : s([says](blocking_socket& c) {
          std::string unread;
          for (;;) {
            std::string const head = scripted_server::read_head(c, unread);
            if (head.empty() || !c.send(says(head))) return;
          }
        }) {}
  scripted_server s;
  std::string url() const { return "http://127.0.0.1:" + std::to_string(s.port()); }
};

finding manage(std::function<std::string(std::string const&)> says, std::string const& token = {}) {
  server const there(std::move(says));
  settings s;
  s.upstream.url = there.url();
  s.mtls.enabled = true;
  s.mtls.access_token = token;
  if (token.empty()) {
    s.mtls.username = "gw@example.com";
    s.mtls.password = "secret";
  }
  auto const all = check_management(s, connecting(s, soon));
  REQUIRE(all.size() == 1);
  CHECK_FALSE(has(all[0].found + all[0].advice, "secret"));
  return all[0];
}

settings of(std::string const& url, std::vector<std::string> listed) {
  settings s;
  s.upstream.url = url;
  s.proxy.whitelist = std::move(listed);
  return s;
}

findings artifact(settings const& s, std::string const& link) {
  return check_artifact_host(s, connecting(s, soon), link);
}

}  // namespace

TEST_CASE("doctor: the management account logs in as the gateway does, and each refusal is explained") {
  auto const login_then = [](int login, int call) {
    return [login, call](std::string const& head) {
      if (has(head, "/useradm/auth/login")) {
        bool const right = has(head, "Authorization: Basic Z3dAZXhhbXBsZS5jb206c2VjcmV0\r\n");
        return right ? http(login, login == 200 ? "token" : "{}") : http(400);
      }
      return has(head, "Bearer token\r\n") && has(head, "/devauth/devices?") ? http(call, "[]") : http(400);
    };
  };
  CHECK(manage(login_then(200, 200)).how == level::ok);
  finding const refused = manage(login_then(401, 0));
  CHECK(refused.how == level::problem);
  CHECK(has(refused.found, "gw@example.com"));
  CHECK(has(refused.advice, "MTLS_MENDER_PASSWORD"));
  finding const role = manage(login_then(200, 403));
  CHECK(role.how == level::warning);
  CHECK(has(role.advice, "role"));
  CHECK(manage(login_then(429, 0)).how == level::warning);
  CHECK(has(manage(login_then(404, 0)).advice, "UpstreamServer.URL"));
  CHECK(has(manage(login_then(503, 0)).advice, "log"));
  CHECK(has(manage([](auto const&) { return std::string("garbage\r\n\r\n"); }).found, "no answer"));
}

TEST_CASE("doctor: an access token that has expired is explained") {
  auto const says = [](std::string const& head) { return has(head, "Bearer good\r\n") ? http(200, "[]") : http(401); };
  CHECK(manage(says, "good").how == level::ok);
  finding const f = manage(says, "secret-token");
  CHECK(f.how == level::problem);
  CHECK(has(f.advice, "MTLS_ACCESS_TOKEN"));
}

TEST_CASE("doctor: without client certificates no account is needed, and a server that hangs costs its time limit") {
  settings s;
  s.upstream.url = "http://127.0.0.1:1";
  CHECK(check_management(s, connecting(s, soon)).empty());
  scripted_server const silent([](blocking_socket& c) {
    std::string in;
    while (c.receive(in)) {
    }
  });
  s.upstream.url = "http://127.0.0.1:" + std::to_string(silent.port());
  s.mtls.enabled = true;
  s.mtls.access_token = "t";
  auto const all = check_management(s, connecting(s, milliseconds(20)));
  REQUIRE(all.size() == 1);
  CHECK(all[0].how == level::problem);
}

TEST_CASE("doctor: the storage's host is held against the whitelist, and asked for a byte") {
  server const storage([](std::string const& head) {
    if (has(head, "GET /old?")) return http(403);
    if (has(head, "GET /whole?")) return http(200);
    if (has(head, "GET /gone?")) return http(404);
    return has(head, "Range: bytes=0-0\r\n") ? http(206, "x") : http(400);
  });
  std::string const upstream = "http://127.0.0.1:1";  // nobody is asked there
  auto const ask = [&](char const* path) {
    auto const all = artifact(of(upstream, {"127.0.0.1"}), storage.url() + path);
    CHECK(all.front().how == level::ok);
    REQUIRE(all.back().check == "artifact");
    return all.back();
  };
  CHECK(ask("/object?X-Amz-Signature=a").how == level::ok);
  CHECK(has(ask("/whole?x").advice, "ranges"));
  CHECK(ask("/old?x").how == level::warning);
  CHECK(ask("/gone?x").how == level::problem);
  auto const unlisted = artifact(of(upstream, {"s3.example"}), "http://other.example/x");
  REQUIRE(unlisted.size() == 1);
  CHECK(unlisted[0].how == level::problem);
  CHECK(has(unlisted[0].advice, "add other.example to ARTIFACTS_PROXY_DOMAIN_WHITELIST"));
  CHECK(artifact(of(upstream, {}), "ftp://x").front().how == level::problem);
}

TEST_CASE("doctor: a storage with private addresses is refused as the gateway refuses it, unless that is allowed") {
  server const storage([](std::string const&) { return http(206, "x"); });
  settings s = of("https://192.0.2.1", {});
  s.upstream.url = "http://1.1.1.1:1";  // public, and never asked
  auto const refused = artifact(s, storage.url() + "/x");
  CHECK(refused.back().how == level::problem);
  CHECK(has(refused.back().advice, "AllowPrivateAddresses"));
  s.upstream.allow_private_addresses = true;
  CHECK(artifact(s, storage.url() + "/x").back().how == level::ok);
}

TEST_CASE("doctor: without a link, what is known of hosted Mender's storage is held against the whitelist") {
  auto const without = [](std::string const& url, std::vector<std::string> listed) {
    auto const all = artifact(of(url, std::move(listed)), "");
    REQUIRE(all.size() == 1);
    return all[0];
  };
  CHECK(without("https://mender.example", {}).how == level::ok);
  CHECK(without("https://mender.example", {"s3.example"}).how == level::ok);
  finding const old = without("https://hosted.mender.io", {"s3.amazonaws.com"});
  CHECK(old.how == level::warning);
  CHECK(has(old.found, "r2.cloudflarestorage.com"));
  CHECK(without("https://hosted.mender.io", {".amazonaws.com", "s3.amazonaws.com", ".r2.cloudflarestorage.com"}).how ==
        level::ok);
  CHECK(
      has(without("https://eu.hosted.mender.io", {".r2.cloudflarestorage.com"}).found, "mender.blob.core.windows.net"));
  settings off = of("https://hosted.mender.io", {"s3.amazonaws.com"});
  off.proxy.enabled = false;
  CHECK(artifact(off, "").empty());
}

TEST_CASE("doctor: on hosted Mender tenants should be listed") {
  settings s = of("https://eu.hosted.mender.io", {});
  auto const open = check_tenants(s);
  REQUIRE(open.size() == 1);
  CHECK(open[0].how == level::warning);
  CHECK(has(open[0].advice, "AllowedTenants (ALLOWED_TENANTS)"));
  s.allowed_tenants = {"some"};
  CHECK(check_tenants(s).front().how == level::ok);
  CHECK(check_tenants(of("https://mender.example", {})).empty());
}

TEST_CASE("doctor: the table has a line for each finding and what to do below, and nothing that a terminal obeys") {
  findings const all = {{level::ok, "clock", "the same"},
                        {level::problem, "upstream tls", "bad \x1b[2J one", "do that"}};
  std::string const text = report_text(all, 0);
  CHECK(text ==
        "LEVEL    CHECK         FOUND\n"
        "ok       clock         the same\n"
        "problem  upstream tls  bad ?[2J one\n"
        "                       -> do that\n"
        "\n1 problem, no warnings\n");
  findings const long_one = {
      {level::warning, "c", std::string(30, 'a') + ' ' + std::string(30, 'b') + ' ' + std::string(90, 'c')}};
  CHECK(report_text(long_one, 60) ==
        "LEVEL    CHECK  FOUND\n"
        "warning  c      " +
            std::string(30, 'a') +
            "\n"
            "                " +
            std::string(30, 'b') +
            "\n"
            "                " +
            std::string(90, 'c') +
            "\n"
            "\nno problems, 1 warning\n");
}

TEST_CASE("doctor: the JSON has counts and all findings, whatever bytes are in them") {
  findings const all = {
      {level::ok, "clock", "the \"same\""}, {level::warning, "c", "\xff", "do"}, {level::problem, "d", "e", "f"}};
  std::string const text = report_json(all);
  CHECK(text.back() == '\n');
  auto const parsed = boost::json::parse(text).as_object();
  CHECK(parsed.at("problems").as_int64() == 1);
  CHECK(parsed.at("warnings").as_int64() == 1);
  auto const& list = parsed.at("findings").as_array();
  REQUIRE(list.size() == 3);
  CHECK(list[0].at("level").as_string() == "ok");
  CHECK(list[0].at("found").as_string() == "the \"same\"");
  CHECK(list[0].at("advice").as_string().empty());
  CHECK(list[2].at("check").as_string() == "d");
  CHECK(any_problem(all));
}

}  // namespace gateway::doctor::doctor_hosts_test
