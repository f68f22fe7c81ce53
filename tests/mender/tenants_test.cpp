#include <mgw/mender/tenants.hpp>
// The header under test comes first.
#include <mgw/core/seldom_each.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::mender::tenants_test {
namespace {

std::string claimed(std::string_view body) {
  return read_tenant(body).token.value_or("unreadable");
}

struct gated {
  std::vector<std::string> lines;
  tenant_gate gate{{"one.tok", "two\"tok"}, [this](log_level, std::string_view line) { lines.emplace_back(line); }};
  bool admits(std::optional<std::string_view> body, std::string_view client = "192.0.2.1") {
    return gate.admits(body, client);
  }
};

}  // namespace

TEST_CASE("the tenant of an auth request is told in every spelling of JSON; null and empty stand for none") {
  CHECK(claimed(R"({"id_data":"{}","tenant_token":"one.tok","pubkey":"p"})") == "one.tok");
  CHECK(claimed(R"({"tenant\u005ftoken":"\u006fne.tok" , "x":[{"tenant_token":"two"}]})"
                "\n") == "one.tok");
  CHECK(claimed(R"({"tenant_token":""})").empty());
  CHECK(claimed(R"({"tenant_token":null})").empty());
  CHECK(claimed(R"({"id_data":"{\"tenant_token\":\"one.tok\"}"})").empty());
  CHECK(read_tenant(R"({"id_data":"{\"mac\":1}"})").identity == R"({"mac":1})");
}

TEST_CASE("an auth request in which two parsers could read two tenants cannot be read") {
  for (std::string_view const body :
       {R"({"tenant_token":"a","tenant_token":"a"})", R"({"tenant_token":"a","tenant_token":null})",
        R"({"tenant_token":"a","tenant\u005ftoken":"b"})", R"({"Tenant_Token":"a"})",
        R"({"tenant_token":"a","TENANT_TOKEN":"b"})",
        "{\"tenant_to\xE2\x84\xAA"
        "en\":\"a\"}",
        R"({"tenant_to\u212Aen":"a"})", R"({"tenant_token":["a"]})", R"({"tenant_token":1})", R"(["a"])", "", "a=b",
        R"({"tenant_token":"a"} {"tenant_token":"b"})", R"({"tenant_token":"a")", "{\"tenant_token\":\"a\xFF\"}"}) {
    CAPTURE(body);
    CHECK_FALSE(read_tenant(body).token.has_value());
  }
}

TEST_CASE("limit: the longest auth request of which the tenant is read") {
  std::string body = R"({"tenant_token":"a","x":"")";
  body.insert(body.size() - 1, max_tenant_request - body.size() - 1, 'x');
  body += '}';
  REQUIRE(body.size() == max_tenant_request);
  CHECK(claimed(body) == "a");
  CHECK(claimed(body + ' ') == "unreadable");
}

TEST_CASE("only auth requests of listed tenants go upstream, and what cannot be read does not") {
  gated g;
  CHECK(g.admits(R"({"tenant_token":"one.tok"})"));
  CHECK(g.admits(R"({"tenant_token":"two\u0022tok"})"));
  CHECK(g.lines.empty());
  for (std::string_view const body : {R"({"tenant_token":"one.to"})", R"({"tenant_token":"ONE.TOK"})",
                                      R"({"tenant_token":"one.tok "})", R"({"tenant_token":""})", R"({})", "one.tok"}) {
    CAPTURE(body);
    CHECK_FALSE(g.admits(body));
  }
  CHECK_FALSE(g.admits(std::nullopt));
}

TEST_CASE("a refused tenant is told once for each address, by a fingerprint and never by its token") {
  gated g;
  constexpr auto* body = R"({"id_data":"{\"mac\":\"02\"}","tenant_token":"abc"})";
  for (int i = 0; i < 3; ++i) CHECK_FALSE(g.admits(body));
  REQUIRE(g.lines.size() == 1);
  CHECK(g.lines[0] ==
        "an auth request from 192.0.2.1, identity {\"mac\":\"02\"}, is refused: its tenant token (SHA-256 "
        "ba7816bf...) is none of AllowedTenants");
  CHECK_FALSE(g.admits("{}", "192.0.2.2"));
  CHECK_FALSE(g.admits("no JSON", "192.0.2.3"));
  REQUIRE(g.lines.size() == 3);
  CHECK(g.lines[1] == "an auth request from 192.0.2.2 is refused: it has no tenant token");
  CHECK(g.lines[2] == "an auth request from 192.0.2.3 is refused: its tenant token cannot be read");
}

TEST_CASE("an identity is cut for the log, not within a character") {
  std::string const long_one(199, 'a');
  CHECK(read_tenant("{\"id_data\":\"" + long_one + "\xC3\xA9\"}").identity == long_one);
  CHECK(read_tenant("{\"id_data\":\"" + long_one + "bc\"}").identity == long_one + 'b');
}

}  // namespace mgw::mender::tenants_test
