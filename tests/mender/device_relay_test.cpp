#include <mgw/mender/device_relay.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>
#include <support/scripted_server.hpp>

#include <doctest/doctest.h>

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::mender::device_relay_test {
namespace {

using test::eventually;
using test::http_client;
using test::mishap;
using test::reply;

constexpr auto* next_v1 = "/api/devices/v1/deployments/device/deployments/next?device_type=a";
constexpr auto* next_v2 = "/api/devices/v2/deployments/device/deployments/next";
constexpr auto* status_path = "/api/devices/v1/deployments/device/deployments/7f3a/status";

std::string deployment(std::string_view url) {
  return R"({"id":"d1","artifact":{"artifact_name":"r1","source":{"uri":")" + std::string(url) +
         R"(","expire":"2030-01-01T00:00:00Z"},"device_types_compatible":["a"]} , "x":1})";
}
/// A relay before one upstream; what is no device API is 404.
struct site {
  test::origin origin{"{}"};
  link_sealer links{{std::string(32, 's')}};
  test::gateway g;
  test::log_lines warnings;

  explicit site(std::function<void(relay_options&)> const& change = {}) {
    relay_options o;
    o.forward.upstream = upstream::endpoint("127.0.0.1", origin.port(), false);
    o.forward.host = origin.authority();
    o.status_pause = std::chrono::milliseconds(2);
    o.log = warnings.sink();
    if (change) change(o);
    auto const relay = std::make_shared<device_relay>(g.upstreams, links, std::move(o));
    g.start([relay](proxy::exchange& x) { return (*relay)(x, match_call(x.request().method, x.target().path)); });
  }
  /// What the upstream answers to everything.
  void answers(std::string body, test::field_list fields = {{"Content-Type", "application/json"}}, int status = 200) {
    mishap m;
    m.body = std::move(body);
    m.fields = std::move(fields);
    m.status = status;
    origin.standing(m);
  }
  reply ask(std::string_view method, std::string_view target, test::field_list const& fields = {},
            std::string_view body = {}) const {
    http_client c(g.port());
    return c.ask(method, target, fields, body);
  }
};
/// The URI in a deployment.
std::string uri_in(std::string const& json) {
  auto const found = find_artifact_source(json);
  return found && *found ? (*found)->uri : std::string();
}

}  // namespace

TEST_CASE("the link in an answer to a poll becomes one of ours, and nothing else changes") {
  site s;
  std::string const url = "https://s3.example/bucket/a.mender?X-Amz-Signature=1";
  s.answers(deployment(url));
  auto const bearer = std::string("Bearer e30.eyJzdWIiOiJkZXZpY2UtMSJ9.x");  // {"sub":"device-1"}
  for (bool const v2 : {false, true}) {
    reply const r = v2 ? s.ask("POST", next_v2, {{"Authorization", bearer}}, "{}")
                       : s.ask("GET", next_v1, {{"Authorization", bearer}});
    CHECK(r.status() == 200);
    CHECK(r.whole);
    CHECK(r.value("Content-Type") == "application/json");
    std::string const uri = uri_in(r.body);
    CHECK(r.body == deployment(uri));
    constexpr std::string_view base = "http://gateway.test";
    REQUIRE(uri.starts_with(base));
    auto const parts = match_artifact_path(std::string_view(uri).substr(base.size()));
    REQUIRE(parts);
    auto const claims = s.links.open(parts->key, parts->token);
    REQUIRE(claims);
    CHECK(claims->url == url);
    CHECK(claims->device_id == "device-1");
    CHECK(claims->expires == claims->issued + 24 * 3600);
    CHECK(std::abs(claims->issued - static_cast<std::int64_t>(std::time(nullptr))) < 60);
    auto const seen = s.origin.requests().back();
    CHECK(seen.value("Accept-Encoding") == "identity");
    CHECK(seen.value("Authorization") == bearer);
    CHECK(seen.head.count("X-MEN-RequestID") == 1);
  }
}

namespace {
asio::awaitable<void> note_body(std::string& into, std::size_t upstream_requests, std::string_view body) {
  into = std::string(body) + '|' + std::to_string(upstream_requests);
  co_return;
}
}  // namespace

TEST_CASE("an auth request is authorized before it goes upstream, byte for byte; a 401 of the server is told") {
  std::string authorized, refused;
  test::origin const* upstream = nullptr;
  site s([&](relay_options& o) {
    o.authorize = [&](proxy::exchange&, std::string_view body) {
      return note_body(authorized, upstream->count(), body);
    };
    o.refused = [&](proxy::exchange const&, std::string_view body) { refused = body; };
  });
  upstream = &s.origin;
  constexpr auto* path = "/api/devices/v1/authentication/auth_requests";
  std::string const body = "{\"id_data\":\"{}\" ,\"x\":1}\n";
  s.answers("token", {}, 200);
  CHECK(s.ask("POST", path, {{"X-MEN-Signature", "c2ln"}}, body).body == "token");
  CHECK(authorized == body + "|0");
  CHECK(refused.empty());
  CHECK(s.origin.requests().back().body == body);
  CHECK(s.origin.requests().back().value("X-MEN-Signature") == "c2ln");
  s.answers("no", {}, 401);
  CHECK(s.ask("POST", path, {}, body).status() == 401);
  CHECK(refused == body);
  authorized.clear();
  refused.clear();
  CHECK(s.ask("POST", next_v2, {}, body).status() == 401);
  CHECK(authorized.empty());
  CHECK(refused.empty());
}

TEST_CASE("the server's word on an auth request is told with the body and the device's id, and arrives as it came") {
  std::vector<std::string> told;
  std::string const body = R"({"id_data":"{\"mac\":\"a\"}"})";
  site s([&](relay_options& o) {
    o.answered = [&](proxy::exchange const&, auth_answer const& said) {
      told.push_back(std::to_string(said.status) + '|' + said.device + '|' + std::to_string(said.request == body));
    };
  });
  constexpr auto* path = "/api/devices/v1/authentication/auth_requests";
  std::string const token = "e30.eyJzdWIiOiJkZXZpY2UtMSJ9.x";  // {"sub":"device-1"}
  std::string const long_one(std::size_t{100} << 10, 'x');
  struct {
    int status;
    std::string answer, told;
  } const rows[] = {{200, token, "200|device-1|1"},
                    {200, token + "\n", "200|device-1|1"},
                    {200, "no token", "200||1"},
                    {200, "", "200||1"},
                    {200, long_one, "200||1"},
                    {401, R"({"error":"x"})", "401||1"},
                    {403, token, ""},
                    {500, R"({"error":"x"})", ""}};
  for (auto const& row : rows) {
    CAPTURE(row.status);
    CAPTURE(row.answer.substr(0, 40));
    told.clear();
    s.answers(row.answer, {{"Content-Type", "application/jwt"}}, row.status);
    reply const r = s.ask("POST", path, {}, body);
    CHECK(r.status() == row.status);
    CHECK(r.value("Content-Type") == "application/jwt");
    CHECK((r.whole && r.body == row.answer));
    CHECK(s.origin.requests().back().body == body);
    CHECK(told == (row.told.empty() ? std::vector<std::string>{} : std::vector{row.told}));
  }
  told.clear();
  s.answers(token);
  CHECK(s.ask("POST", path, {{"Expect", "100-continue"}}, body).body == token);
  CHECK(told == std::vector<std::string>{"200|device-1|1"});
  CHECK(s.ask("POST", next_v2, {}, body).status() == 200);
  CHECK(told.size() == 1);

  mishap broken;
  broken.status = 200;
  broken.body = token;
  broken.cut_after = 10;
  s.origin.standing(broken);
  CHECK(s.ask("POST", path, {}, body).status() == 502);
  CHECK(told.size() == 1);
}

namespace {
asio::awaitable<std::optional<cache::key>> name_it(proxy::exchange&, artifact_source const& s) {
  if (s.artifact_name != "r1" || s.uri != "https://s3.example/a") co_return std::nullopt;
  co_return cache::key::from_hex(std::string(64, '7'));
}
}  // namespace

TEST_CASE("an auth request that is not admitted is answered 401 as by the server, and nothing of it goes upstream") {
  tenant_gate gate({"one"}, {});
  std::size_t authorized = 0;
  site s([&](relay_options& o) {
    o.admits = [&](proxy::exchange const&, std::optional<std::string_view> body) { return gate.admits(body, "a"); };
    o.authorize = [&](proxy::exchange&, std::string_view) -> asio::awaitable<void> {
      ++authorized;
      co_return;
    };
  });
  constexpr auto* path = "/api/devices/v1/authentication/auth_requests";
  std::string const good = R"({"id_data":"{}", "tenant_token":"one"})";
  std::string const large = R"({"tenant_token":"one","x":")" + std::string(max_tenant_request, 'x') + "\"}";
  s.answers("token");
  for (std::string_view const body : {std::string_view(R"({"tenant_token":"two"})"), std::string_view("{}"),
                                      std::string_view("no JSON"), std::string_view(large)}) {
    CAPTURE(body.substr(0, 40));
    reply const r = s.ask("POST", path, {{"X-MEN-RequestID", "r1"}}, body);
    CHECK(r.status() == 401);
    CHECK(r.value("Content-Type") == "application/json; charset=utf-8");
    CHECK(r.body == R"({"error":"dev auth: unauthorized","request_id":"r1"})");
  }
  CHECK(s.ask("POST", "/api/devices/v1/authentication/auth%5Frequests", {}, "{}").status() == 401);
  CHECK(s.origin.count() == 0);
  CHECK(authorized == 0);
  CHECK(s.ask("POST", path, {}, good).body == "token");
  CHECK(s.ask("POST", path, {{"Expect", "100-continue"}}, good).body == "token");
  REQUIRE(s.origin.count() == 2);
  CHECK(s.origin.requests().back().body == good);
  CHECK(authorized == 2);
  CHECK(s.ask("GET", next_v1).status() == 200);  // calls with a token of the server's are not asked for their tenant
}

TEST_CASE("an object that stands for the artifact is named in the link, under its own key") {
  site s([](relay_options& o) { o.stand_in = name_it; });
  constexpr std::string_view base = "http://gateway.test";
  for (bool const known : {true, false}) {
    CAPTURE(known);
    std::string const url = known ? "https://s3.example/a" : "https://s3.example/b";
    s.answers(deployment(url));
    std::string const uri = uri_in(s.ask("GET", next_v1).body);
    REQUIRE(uri.starts_with(base));
    auto const parts = match_artifact_path(std::string_view(uri).substr(base.size()));
    REQUIRE(parts);
    auto const claims = s.links.open(parts->key, parts->token);
    REQUIRE(claims);
    CHECK(claims->url == url);
    CHECK(claims->import == known);
    auto const parsed = http::parse_uri(claims->url);
    auto const own = cache::make_key(*parsed, {});
    CHECK(parts->key.hex() == (known ? std::string(64, '7') : own->hex()));
  }
}

TEST_CASE("a link into a private network, where the gateway will not go, is left as it is") {
  site s([](relay_options& o) {
    o.reach = [](http::uri const& u) { return u.host == "10.0.0.1" ? upstream::reach::elsewhere : upstream::reach::outside; };
  });
  struct {
    char const* url;
    bool ours;
  } const cases[] = {
      {"http://93.184.216.34/a", true}, {"http://10.0.0.1/a", true},   {"http://10.0.0.2/a", false},
      {"http://[::1]:8080/a", false},   {"http://localhost/a", false},
  };
  for (auto const& c : cases) {
    CAPTURE(c.url);
    s.answers(deployment(c.url));
    std::string const uri = uri_in(s.ask("GET", next_v1).body);
    CHECK(uri.starts_with("http://gateway.test/") == c.ours);
    CHECK((uri == c.url) == !c.ours);
  }
}

TEST_CASE("each link that becomes one of ours is told, so that a download under way may go on with it") {
  std::vector<std::pair<std::string, std::string>> seen;
  site s([&seen](relay_options& o) {
    o.allowed_hosts = domain_list({"s3.example"});
    o.seen_link = [&seen](cache::key const& k, proxy::fetch_source const& link) { seen.emplace_back(k.hex(), link.url); };
  });
  std::string const url = "https://s3.example/a?X-Amz-Signature=1";
  s.answers(deployment(url));
  std::string const uri = uri_in(s.ask("GET", next_v1).body);
  REQUIRE(seen.size() == 1);
  CHECK(uri.find(seen[0].first) != std::string::npos);
  CHECK(seen[0].second == url);
  s.answers(deployment("https://evil.example/a"));
  (void)s.ask("GET", next_v1);
  CHECK(seen.size() == 1);
}

TEST_CASE("the link of a configuration becomes a private one, also behind another gateway") {
  site s;
  for (std::string const url :
       {"https://server.example/api/devices/v1/deployments/download/configuration/d/type/dev?x-men-signature=s",
        "https://gw.example/api/gateway/v1/private/0123/token"}) {
    CAPTURE(url);
    s.answers(deployment(url));
    constexpr std::string_view base = "http://gateway.test";
    std::string const one = uri_in(s.ask("GET", next_v1).body), other = uri_in(s.ask("GET", next_v1).body);
    CHECK(one != other);  // each poll makes a link of its own
    REQUIRE(one.starts_with(base));
    auto const parts = match_artifact_path(std::string_view(one).substr(base.size()));
    REQUIRE(parts);
    CHECK(parts->kind == link_kind::own);
    auto const claims = s.links.open(parts->key, parts->token, link_kind::own);
    REQUIRE(claims);
    CHECK(claims->url == url);
    CHECK_FALSE(s.links.open(parts->key, parts->token));
  }
}

TEST_CASE("a gateway URL of its own stands before the links") {
  site s([](relay_options& o) { o.gateway_url = "https://gw.example:8443/prefix/"; });
  s.answers(deployment("https://s3.example/a"));
  CHECK(uri_in(s.ask("GET", next_v1).body).starts_with("https://gw.example:8443/prefix/api/gateway/v1/artifacts/"));
}

TEST_CASE("what is not a deployment as expected passes untouched") {
  site s;
  std::string const twice = R"({"artifact":{"source":{"uri":"https://a.example/1","uri":"https://a.example/2"}}})";
  std::string const bodies[] = {"not json",
                                "",
                                "[]",
                                "{}",
                                twice,
                                deployment("ftp://a.example/x"),
                                deployment("https://a b/"),
                                deployment("nowhere"),
                                R"({"artifact":{"source":{"uri":7}}})",
                                std::string("{\"\0", 3)};
  for (std::string const& body : bodies) {
    CAPTURE(body);
    s.answers(body);
    reply const r = s.ask("GET", next_v1);
    CHECK(r.status() == 200);
    CHECK((r.whole && r.body == body));
  }
  s.answers(deployment("https://s3.example/a"), {}, 201);
  CHECK(s.ask("GET", next_v1).body == deployment("https://s3.example/a"));
  s.answers("", {}, 204);
  CHECK(s.ask("GET", next_v1).status() == 204);
  s.answers("{\"error\":\"x\"}", {{"WWW-Authenticate", "Bearer"}}, 401);
  reply const unauthorized = s.ask("GET", next_v1);
  CHECK(unauthorized.status() == 401);
  CHECK(unauthorized.body == "{\"error\":\"x\"}");
  CHECK(unauthorized.value("WWW-Authenticate") == "Bearer");
  s.answers(deployment("https://s3.example/a"));
  CHECK(s.ask("GET", "/api/devices/v1/deployments/device/other").body == deployment("https://s3.example/a"));
}

TEST_CASE("an answer to a poll that is too large to be looked into passes as it is, with a warning") {
  site s;
  std::string const link = deployment("https://s3.example/a");
  std::string const most = link + std::string(max_deployment_size - link.size(), ' ');
  for (std::string const& body : {most + ' ', most + std::string(300'000, ' ')}) {
    CAPTURE(body.size());
    std::size_t const before = s.warnings.count("more than 1 MiB");
    s.answers(body);
    reply const r = s.ask("GET", next_v1);
    CHECK(r.status() == 200);
    CHECK(r.whole);
    bool const same = r.body == body;
    CHECK(same);
    CHECK(s.warnings.count("more than 1 MiB") == before + 1);
  }
  s.answers(most);
  CHECK(s.ask("GET", next_v1).body.find("\"http://gateway.test/") != std::string::npos);
  CHECK(s.warnings.count("more than 1 MiB") == 2);
}

TEST_CASE("the request id that goes upstream is the one in our log: the device's, or ours in place of an unusable one") {
  site s;
  s.answers("{}");
  s.ask("GET", "/api/devices/v1/x", {{"X-MEN-RequestID", "id-1"}});
  CHECK(s.origin.requests().back().value("X-MEN-RequestID") == "id-1");
  for (std::string const& bad : {std::string("no\"id"), std::string(1000, 'a'), std::string()}) {
    CAPTURE(bad.size());
    s.ask("GET", "/api/devices/v1/x", {{"x-men-requestid", bad}});
    auto const seen = s.origin.requests().back();
    CHECK(seen.head.count("X-MEN-RequestID") == 1);
    CHECK(is_valid_request_id(seen.value("X-MEN-RequestID")));
    CHECK(seen.value("X-MEN-RequestID") != bad);
  }
}

TEST_CASE("the upstream's own host is known with its port and without, if it is the default one") {
  for (bool const told : {true, false}) {
    CAPTURE(told);
    site s([told](relay_options& o) {
      o.allowed_hosts = domain_list({"s3.example"});
      o.forward.host = told ? "hosted.example:443" : "Hosted.example";
    });
    struct {
      char const* url;
      bool ours;
    } const cases[] = {
        {"https://hosted.example/a", true},       {"https://hosted.example:443/a", true},
        {"https://hosted.example:444/a", false},  {"http://hosted.example:444/a", false},
        {"https://hosted.example.evil/a", false},
    };
    for (auto const& c : cases) {
      CAPTURE(c.url);
      s.answers(deployment(c.url));
      CHECK(uri_in(s.ask("GET", next_v1).body).starts_with("http://gateway.test/") == c.ours);
    }
  }
}

TEST_CASE("without rewriting every answer passes as it is") {
  site s([](relay_options& o) { o.rewrite_links = false; });
  s.answers(deployment("https://s3.example/a"));
  CHECK(s.ask("GET", next_v1).body == deployment("https://s3.example/a"));
}

TEST_CASE("a coded answer is decoded if it can be") {
  bool const can = [] {
    bool c = false;
    SUBCASE("it can") {
      c = true;
    }
    SUBCASE("it cannot") {}
    return c;
  }();
  std::string const plain = deployment("https://s3.example/a");
  site s([&](relay_options& o) {
    if (can)
      o.decode = [&](std::string_view coding, std::string_view body, std::size_t max) -> std::optional<std::string> {
        if (coding != "gzip" || body != "zipped" || max != max_deployment_size) return std::nullopt;
        return plain;
      };
  });
  s.answers("zipped", {{"Content-Encoding", "gzip"}});
  reply const r = s.ask("GET", next_v1);
  if (can) {
    CHECK(r.head.count("Content-Encoding") == 0);
    CHECK(r.body == deployment(uri_in(r.body)));
    CHECK(uri_in(r.body).starts_with("http://gateway.test/"));
  } else {
    CHECK(r.value("Content-Encoding") == "gzip");
    CHECK(r.body == "zipped");
    CHECK(s.warnings.count("coding") == 1);
  }
  s.answers("other", {{"Content-Encoding", "gzip"}});
  CHECK(s.ask("GET", next_v1).body == "other");
  s.answers("other", {{"Content-Encoding", "br"}});
  CHECK(s.ask("GET", next_v1).value("Content-Encoding") == "br");
}

TEST_CASE("hosts that are not listed keep their links, and are named once") {
  site s([](relay_options& o) { o.allowed_hosts = domain_list({"s3.example", ".cdn.example"}); });
  for (auto const& [url, ours] : std::vector<std::pair<std::string, bool>>{{"https://s3.example/a", true},
                                                                           {"https://x.cdn.example/a", true},
                                                                           {s.origin.url("/own"), true},
                                                                           {"https://evil.example/a", false},
                                                                           {"https://evil.example/b", false},
                                                                           {"https://worse.example/b", false}}) {
    CAPTURE(url);
    s.answers(deployment(url));
    std::string const uri = uri_in(s.ask("GET", next_v1).body);
    CHECK((uri != url) == ours);
  }
  CHECK(s.warnings.count("evil.example") == 1);
  CHECK(s.warnings.count("worse.example") == 1);
  CHECK(s.warnings.count("DomainWhitelist") == 2);
}

TEST_CASE("a Host without a port where we listen on another than the scheme's own is told once, with the key to set") {
  auto const polls = [](site& s, std::initializer_list<char const*> hosts) {
    s.answers(deployment("https://s3.example/a"));
    std::string links;
    for (char const* const host : hosts) {
      http_client c(s.g.port());
      c.send("GET " + std::string(next_v1) + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n");
      std::string const uri = uri_in(c.read_reply().body);
      links += uri.substr(0, uri.find("/api")) + ' ';
    }
    return links;
  };
  constexpr auto* key = "set ARTIFACTS_PROXY_GATEWAY_URL (Features.ArtifactsProxy.GatewayURL) to http://";
  site s([](relay_options& o) { o.plain_port = 8080; });
  CHECK(polls(s, {"gw:8080", "gw:9000", "[::1]:8080"}) == "http://gw:8080 http://gw:9000 http://[::1]:8080 ");
  CHECK(s.warnings.count("without a port") == 0);
  // Behind a port mapping this is the right link.
  CHECK(polls(s, {"gw", "[fd00::1]", "other"}) == "http://gw http://[fd00::1] http://other ");
  CHECK(s.warnings.count("without a port") == 1);
  CHECK(s.warnings.count(std::string(key) + "gw:8080") == 1);
  site six([](relay_options& o) { o.plain_port = 8080; });
  (void)polls(six, {"[fd00::1]"});
  CHECK(six.warnings.count(std::string(key) + "[fd00::1]:8080") == 1);
  site usual([](relay_options& o) { o.plain_port = 80; });
  CHECK(polls(usual, {"gw"}) == "http://gw ");
  CHECK(usual.warnings.count("without a port") == 0);
  site set([](relay_options& o) {
    o.plain_port = 8080;
    o.gateway_url = "http://gw.example:8080";
  });
  CHECK(polls(set, {"gw"}) == "http://gw.example:8080 ");
  CHECK(set.warnings.count("without a port") == 0);
}

TEST_CASE("a Host no link can be made of leaves the link") {
  site s;
  s.answers(deployment("https://s3.example/a"));
  http_client c(s.g.port());
  c.send("GET " + std::string(next_v1) + " HTTP/1.1\r\nHost: a'b\r\n\r\n");
  reply const r = c.read_reply();
  bool const untouched_or_refused = r.status() == 400 || r.body == deployment("https://s3.example/a");
  CHECK(untouched_or_refused);
}

TEST_CASE("what a client sends to be authorized arrives as it is") {
  site s;
  s.answers("token", {{"Content-Type", "application/jwt"}});
  constexpr auto* path = "/api/devices/v1/authentication/auth_requests";
  // Members in no order, JSON within JSON, a line end at the end: one byte changed, and the signature is wrong.
  std::string const body = R"({"id_data":"{\"mac\":\"02:00\"}","tenant_token":"","pubkey":"-----BEGIN\nQ==\n"})"
                           "\n";
  struct {
    char const *signature, *authorization;
  } const rows[] = {{"X-MEN-Signature", "Bearer tenant.token"},
                    {"X-Men-Signature", "Bearer"},
                    {"X-Men-Signature", "Bearer "},
                    {"x-men-signature", "API_KEY"},
                    {"X-MEN-Signature", nullptr}};
  for (auto const& row : rows) {
    CAPTURE(row.signature);
    test::field_list fields = {{row.signature, "MEUCIQ+/=="}, {"Content-Type", "application/json"}};
    if (row.authorization != nullptr) fields.emplace_back("Authorization", row.authorization);
    reply const r = s.ask("POST", path, fields, body);
    CHECK(r.status() == 200);
    CHECK(r.body == "token");
    CHECK(r.value("Content-Type") == "application/jwt");
    auto const seen = s.origin.requests().back();
    CHECK(seen.target() == path);
    CHECK(seen.body == body);
    CHECK(seen.head.values("X-MEN-Signature") == std::vector<std::string>{"MEUCIQ+/=="});
    CHECK(seen.value("Content-Type") == "application/json");
    CHECK(seen.head.count("Authorization") == (row.authorization != nullptr));
    std::string const sent = row.authorization != nullptr ? row.authorization : "";
    CHECK(seen.value("Authorization") == (sent == "Bearer " ? "Bearer" : sent));
  }
}

TEST_CASE("answers that mean something to clients pass as they are") {
  site s;
  constexpr auto* inventory = "/api/devices/v1/inventory/device/attributes";
  constexpr auto* log = "/api/devices/v1/deployments/device/deployments/7f3a/log";
  struct {
    char const *method, *path;
  } const calls[] = {{"POST", next_v2},    {"POST", next_v1},
                     {"GET", next_v1},     {"PUT", inventory},
                     {"PATCH", inventory}, {"PUT", status_path},
                     {"PUT", log},         {"POST", "/api/devices/v1/authentication/auth_requests"}};
  for (auto const& call : calls) {
    CAPTURE(call.method);
    CAPTURE(call.path);
    for (int const status : {200, 204, 400, 401, 403, 404, 405, 409, 413, 415, 429, 500}) {
      if (status == 429 && std::string_view(call.path) == status_path) continue;  // such a report is held
      CAPTURE(status);
      bool const with_body = status != 204;
      std::string const body = with_body ? R"({"error":"x","request_id":"1"})" : "";
      // With a request id they come from a service and are about this device, not about all (a 429, say).
      s.answers(body, {{"Content-Type", "application/json; charset=utf-8"}, {"Retry-After", "17"}, {"X-MEN-RequestID", "1"}}, status);
      std::size_t const before = s.origin.count();
      reply const r = s.ask(call.method, call.path, {{"Content-Type", "application/json"}},
                            std::string_view(call.method) == "GET" ? "" : "{}");
      CHECK(r.status() == status);
      CHECK((r.whole && r.body == body));
      CHECK(r.value("Retry-After") == "17");
      CHECK(r.value("Content-Type") == "application/json; charset=utf-8");
      CHECK(s.origin.count() == before + 1);
    }
  }
}

TEST_CASE("a status report is retried while the upstream is down, and answered after") {
  site s;
  s.answers("", {}, 204);
  CHECK(s.ask("PUT", status_path, {}, R"({"status":"installing"})").status() == 204);
  SUBCASE("refused") {
    s.origin.refuse();
    s.origin.cut_all();
    http_client c(s.g.port());
    c.request("PUT", status_path, {}, R"({"status":"success"})");
    http_client other(s.g.port());
    CHECK(other.ask("PUT", "/api/devices/v1/inventory/device/attributes", {}, "[]").status() == 502);
    s.origin.accept_again();
    CHECK(c.read_reply().status() == 204);
    CHECK(s.origin.requests().back().body == R"({"status":"success"})");
  }
  SUBCASE("502, 503, 504, a cut") {
    mishap m;
    for (std::size_t i = 0; i < 3; ++i) {
      m.status = 502 + static_cast<int>(i);
      s.origin.script(1 + i, m);
    }
    m.drop = true;
    s.origin.script(4, m);
    s.origin.script(5, m);
    CHECK(s.ask("PUT", status_path, {}, R"({"status":"success"})").status() == 204);
    CHECK(s.origin.requests().back().body == R"({"status":"success"})");
  }
  SUBCASE("409 and others are the answer") {
    for (int const status : {400, 401, 404, 409, 500}) {
      s.answers("{}", {}, status);
      std::size_t const before = s.origin.count();
      CHECK(s.ask("PUT", status_path, {}, "{}").status() == status);
      CHECK(s.origin.count() == before + 1);
    }
  }
}

TEST_CASE("the retries of a status report end: in time, with the client, when draining") {
  SUBCASE("in time") {
    bool again = false;
    for (std::chrono::milliseconds hold(50); !again && hold < std::chrono::minutes(1); hold *= 4) {
      site s([hold](relay_options& o) { o.status_hold = hold; });
      s.answers("{}", {}, 503);
      CHECK(s.ask("PUT", status_path, {}, "{}").status() == 503);
      again = s.origin.count() > 1;  // one try may take long where much else runs
      s.origin.refuse();
      s.origin.cut_all();
      CHECK(s.ask("PUT", status_path, {}, "{}").status() == 502);
    }
    CHECK(again);
  }
  SUBCASE("with the client") {
    site s;
    s.answers("{}", {}, 503);
    {
      http_client c(s.g.port());
      c.request("PUT", status_path, {}, "{}");
      CHECK(s.origin.saw(2));
    }
    CHECK(eventually([&] { return s.g.server().connections() == 0; }));
  }
  SUBCASE("draining") {
    site s([](relay_options& o) { o.status_pause = std::chrono::hours(1), o.status_hold = std::chrono::hours(9); });
    s.answers("{}", {}, 503);
    http_client c(s.g.port());
    c.request("PUT", status_path, {}, "{}");
    CHECK(s.origin.saw(1));
    CHECK(eventually([&] { return s.g.server().connections() == 1; }));
    s.g.server().drain();
    CHECK(c.read_reply().status() == 503);
  }
}

TEST_CASE("limit: status reports held at once; for one more the longest-held gets the answer of its last try") {
  site s([](relay_options& o) {
    o.status_pause = std::chrono::milliseconds(20);
    o.max_held_reports = 2;
  });
  s.answers("{}", {}, 503);
  http_client first(s.g.port()), second(s.g.port()), third(s.g.port());
  auto const tries_of = [&](std::string_view id) {
    auto const all = s.origin.requests();
    return std::count_if(all.begin(), all.end(), [&](auto const& r) { return r.value("X-MEN-RequestID") == id; });
  };
  // One that is tried again has been held since its first try.
  first.request("PUT", status_path, {{"X-MEN-RequestID", "first"}}, "{}");
  CHECK(eventually([&] { return tries_of("first") >= 2; }));
  second.request("PUT", status_path, {{"X-MEN-RequestID", "second"}}, "{}");
  CHECK(eventually([&] { return tries_of("second") >= 2; }));
  CHECK(s.g.records().empty());
  CHECK(s.warnings.count("status reports") == 0);
  third.request("PUT", status_path, {{"X-MEN-RequestID", "third"}}, "{}");
  CHECK(first.read_reply().status() == 503);
  CHECK(s.warnings.count("more than 2 status reports") == 1);
  s.answers("", {}, 204);
  CHECK(second.read_reply().status() == 204);
  CHECK(third.read_reply().status() == 204);
}

namespace {
constexpr auto* inventory_path = "/api/devices/v1/inventory/device/attributes";
void with_system(relay_options& o) { o.attributes = {inventory_attribute::of_text("mender_gateway_system_id", "site-7")}; }
constexpr std::string_view own = R"([{"name":"a","value":"b"}])";
constexpr std::string_view both = R"([{"name":"a","value":"b"},{"name":"mender_gateway_system_id","value":"site-7"}])";
}  // namespace

TEST_CASE("attributes of ours are put into an inventory, chunked or not, and it goes on with a length") {
  site s(with_system);
  s.answers("");
  for (std::string const method : {"PUT", "PATCH"}) {
    CHECK(s.ask(method, inventory_path, {}, own).status() == 200);
    auto seen = s.origin.requests().back();
    CHECK(seen.method() == method);
    CHECK(seen.body == both);
    CHECK(seen.value("Content-Length") == std::to_string(both.size()));
    for (std::size_t const piece : {std::size_t{1}, std::size_t{7}, own.size()}) {
      http_client c(s.g.port());
      c.send(method + ' ' + inventory_path + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
             test::chunked(own, piece));
      CHECK(c.read_reply().status() == 200);
      seen = s.origin.requests().back();
      CHECK(seen.body == both);
      CHECK(seen.value("Content-Length") == std::to_string(both.size()));
      CHECK(seen.head.count("Transfer-Encoding") == 0);
    }
  }
  http_client waits(s.g.port());
  waits.send("PUT " + std::string(inventory_path) + " HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " +
             std::to_string(own.size()) + "\r\n\r\n");
  CHECK(waits.read_head().status() == 100);
  waits.send(own);
  CHECK(waits.read_reply().status() == 200);
  CHECK(s.origin.requests().back().body == both);
  // Other calls, and the same path read, stay as they are.
  s.ask("PUT", status_path, {}, own);
  CHECK(s.origin.requests().back().body == own);
  s.ask("POST", inventory_path, {}, own);
  CHECK(s.origin.requests().back().body == own);
  CHECK(s.warnings.count("inventory") == 0);
}

TEST_CASE("an inventory that cannot be added to passes untouched, with a warning") {
  site s(with_system);
  s.answers("");
  std::string const big = '[' + std::string(max_inventory_size, ' ') + ']';
  for (std::string const& body : {std::string("{}"), std::string("[1,"), std::string("7"), std::string(), big}) {
    CAPTURE(body.size());
    std::size_t const before = s.warnings.count("inventory of device");
    CHECK(s.ask("PUT", inventory_path, {}, body).status() == 200);
    bool const same = s.origin.requests().back().body == body;
    CHECK(same);
    CHECK(s.warnings.count("inventory of device") == before + 1);
  }
  std::string const has_it = R"([{"value":1,"name":"mender_gateway_system_id"}])";
  CHECK(s.ask("PUT", inventory_path, {}, has_it).status() == 200);
  CHECK(s.origin.requests().back().body == has_it);
  std::string const large = '[' + std::string(300'000, ' ') + ']';
  CHECK(s.ask("PUT", inventory_path, {}, large).status() == 200);
  CHECK(s.origin.requests().back().body.size() > large.size());
}

TEST_CASE("a coded inventory is undone for what is added, if it can be") {
  site s([](relay_options& o) {
    with_system(o);
    o.decode = [](std::string_view coding, std::string_view body, std::size_t) -> std::optional<std::string> {
      if (coding != "gzip" || body != "zipped") return std::nullopt;
      return std::string(own);
    };
  });
  s.answers("");
  s.ask("PUT", inventory_path, {{"Content-Encoding", "gzip"}}, "zipped");
  CHECK(s.origin.requests().back().body == both);
  CHECK(s.origin.requests().back().head.count("Content-Encoding") == 0);
  s.ask("PUT", inventory_path, {{"Content-Encoding", "gzip"}}, "other");
  CHECK(s.origin.requests().back().body == "other");
  CHECK(s.origin.requests().back().value("Content-Encoding") == "gzip");
  CHECK(s.warnings.count("coding") == 1);
}

TEST_CASE("where the server refuses an inventory with what was added, it goes once more as the device sent it") {
  site s(with_system);
  s.origin.standing([](test::origin::seen_request const&) { return mishap(); });
  mishap full;
  full.status = 400;
  SUBCASE("and is taken") {
    s.origin.script(0, full);
    CHECK(s.ask("PUT", inventory_path, {}, own).status() == 200);
    CHECK(s.warnings.count("only without the gateway's attributes") == 1);
  }
  SUBCASE("and is refused again") {
    full.body = "{\"error\":\"why\"}";
    s.origin.script(0, full);
    s.origin.script(1, full);
    reply const r = s.ask("PUT", inventory_path, {}, own);
    CHECK(r.status() == 400);
    CHECK(r.body == "{\"error\":\"why\"}");
    CHECK(s.warnings.count("without") == 0);
  }
  auto const seen = s.origin.requests();
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].body == both);
  CHECK(seen[1].body == own);
  full.status = 405;  // the client's cue to PATCH
  s.origin.script(2, full);
  CHECK(s.ask("PUT", inventory_path, {}, own).status() == 405);
  CHECK(s.origin.count() == 3);
}

TEST_CASE("limit: large inventories held at once; one more is sent away for a while") {
  site s([](relay_options& o) {
    with_system(o);
    o.max_large_inventories = 1;
  });
  s.answers("");
  std::string const large = '[' + std::string(100'000, ' ') + ']';
  std::string const head = "PUT " + std::string(inventory_path) + " HTTP/1.1\r\nHost: a\r\nContent-Length: " +
                           std::to_string(large.size()) + "\r\n\r\n";
  mishap silent;
  silent.silent = true;
  s.origin.script(0, silent);
  http_client first(s.g.port());
  first.send(head + large);
  CHECK(s.origin.saw(1));
  reply const r = s.ask("PUT", inventory_path, {}, large);
  CHECK(r.status() == 429);
  CHECK(std::stoi(r.value("Retry-After")) >= 1);
  CHECK(r.body.starts_with("{\"error\":"));
  CHECK(s.ask("PUT", inventory_path, {}, own).status() == 200);  // small ones pass
  s.origin.release();
  CHECK(first.read_reply().status() == 200);
  CHECK(s.ask("PUT", inventory_path, {}, large).status() == 200);
}

namespace {
std::shared_ptr<proxy::call_pace> paced(std::size_t per_second, std::size_t at_once, std::size_t max_waiting = 1'000) {
  proxy::call_pace_options o;
  o.per_second = per_second;
  o.at_once = at_once;
  o.max_waiting = max_waiting;
  o.max_wait = std::chrono::hours(1);
  return std::make_shared<proxy::call_pace>(std::move(o));
}
/// Room for so many more connections, if the system gives it.
bool can_open(std::size_t descriptors) {
  rlimit now{};
  ::getrlimit(RLIMIT_NOFILE, &now);
  if (now.rlim_cur < descriptors + 256) now.rlim_cur = std::min<rlim_t>(now.rlim_max, descriptors + 256);
  return ::setrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur >= descriptors + 256;
}
}  // namespace

TEST_CASE("a thousand devices that come back at once reach upstream a few at a time; the rest are told when to come again") {
  constexpr std::size_t devices = 1'000, at_once = 8, in_line = 400;
  REQUIRE(can_open(2 * devices));
  auto const pace = paced(0, at_once, in_line);
  site s([&](relay_options& o) { o.pace = pace; });
  s.origin.refuse();  // the outage
  CHECK(s.ask("GET", next_v1).status() == 502);
  s.origin.accept_again();
  mishap held;
  held.silent = true;
  held.status = 204;
  s.origin.standing(held);
  std::vector<http_client> all;
  all.reserve(devices);
  for (std::size_t i = 0; i < devices; ++i) {
    all.emplace_back(s.g.port());
    CHECK(all.back().request("GET", next_v1));
  }
  // Nothing is answered yet: exactly so many are upstream, and the line is full, before anybody is sent away.
  CHECK(s.origin.stalled(at_once));
  CHECK(eventually([&] { return pace->waiting_now() == in_line; }));
  std::size_t const admitted = at_once + in_line;
  CHECK(eventually([&] { return s.g.records().size() == 1 + devices - admitted; }));
  bool never_more = true;
  for (std::size_t seen = at_once; seen <= admitted; seen += at_once) {
    CHECK(s.origin.stalled(seen));
    never_more = never_more && s.origin.count() == seen && pace->running_now() <= at_once;
    s.origin.release();
  }
  CHECK(never_more);
  std::size_t polled = 0, away = 0, others = 0;
  std::set<std::string> when;
  for (auto& c : all) {
    reply const r = c.read_reply();
    polled += r.status() == 204;
    away += r.status() == 429;
    others += r.status() != 204 && r.status() != 429;
    if (r.status() == 429) when.insert(r.value("Retry-After"));
  }
  CHECK(polled == admitted);
  CHECK(away == devices - admitted);
  CHECK(others == 0);
  CHECK(s.origin.count() == admitted);
  CHECK(when.size() > 5);  // not all at the same time
  CHECK(when.count("0") == 0);
}

TEST_CASE("calls begin at the pace, also those that were in line") {
  std::atomic<std::int64_t> passed{0};
  auto const begun = std::chrono::steady_clock::now();
  proxy::call_pace_options o;
  o.per_second = 40;
  o.max_wait = std::chrono::hours(1);
  o.now = [&] { return begun + std::chrono::milliseconds(passed); };
  auto const pace = std::make_shared<proxy::call_pace>(std::move(o));
  site s([&](relay_options& r) { r.pace = pace; });
  mishap nothing;
  nothing.status = 204;
  s.origin.standing(nothing);
  std::vector<http_client> all;
  for (int i = 0; i < 60; ++i) {
    all.emplace_back(s.g.port());
    all.back().request("GET", next_v1);
  }
  CHECK(eventually([&] { return pace->waiting_now() == 50; }));
  CHECK(s.origin.saw(10));
  CHECK(s.origin.count() == 10);
  for (std::size_t expected = 14; expected <= 58; expected += 4) {
    passed += 100;
    CHECK(eventually([&] { return pace->waiting_now() == 60 - expected; }));
    CHECK(s.origin.saw(expected));
    CHECK(s.origin.count() == expected);
  }
  passed += 100;
  for (auto& c : all) CHECK(c.read_reply().status() == 204);
}

TEST_CASE("what is too much is 429 for calls that honour it, 503 for others, and a status report waits") {
  auto const pace = paced(0, 1, 0);
  site s([&](relay_options& o) { o.pace = pace; });
  mishap held;
  held.silent = true;
  held.status = 204;
  s.origin.script(0, held);
  s.answers("", {}, 204);
  s.origin.script(0, held);
  http_client first(s.g.port());
  first.request("GET", next_v1);
  CHECK(s.origin.saw(1));
  struct row {
    char const* method;
    char const* target;
    int status;
  };
  for (auto const& [method, target, status] :
       std::vector<row>{{"GET", next_v1, 429},
                        {"POST", "/api/devices/v1/deployments/device/deployments/next", 429},
                        {"POST", next_v2, 429},
                        {"PUT", inventory_path, 429},
                        {"PATCH", inventory_path, 429},
                        {"PUT", "/api/devices/v1/deployments/device/deployments/7f3a/log", 429},
                        {"POST", "/api/devices/v1/authentication/auth_requests", 503},
                        {"GET", "/api/devices/v1/deviceconnect/connect", 503},
                        {"GET", "/api/devices/v1/deviceconfig/configuration", 503}}) {
    CAPTURE(method);
    CAPTURE(target);
    reply const r = s.ask(method, target, {}, std::string_view(method) == "GET" ? "" : "[]");
    CHECK(r.status() == status);
    CHECK(std::stoi(r.value("Retry-After")) >= 5);
    CHECK(r.body.starts_with("{\"error\":"));
  }
  http_client report(s.g.port());
  report.request("PUT", status_path, {}, R"({"status":"success"})");
  CHECK(eventually([&] { return pace->waiting_now() == 1; }));
  CHECK(s.origin.count() == 1);
  s.origin.release();
  CHECK(first.read_reply().status() == 204);
  CHECK(report.read_reply().status() == 204);
  CHECK(s.origin.requests().back().body == R"({"status":"success"})");
}

TEST_CASE("a body that its device sends slowly takes no turn from the others") {
  auto const pace = paced(0, 1);
  site s([&](relay_options& o) { o.pace = pace; });
  s.answers("", {}, 204);
  std::string const log = "PUT /api/devices/v1/deployments/device/deployments/7f3a/log HTTP/1.1\r\nHost: a\r\nContent-Length: ";
  http_client small(s.g.port()), large(s.g.port());
  small.send(log + "4\r\n\r\n12");
  large.send(log + "1000000\r\n\r\n12");
  CHECK(s.origin.saw(1));  // the large one has begun
  for (int i = 0; i < 3; ++i) CHECK(s.ask("GET", next_v1).status() == 204);
  small.send("34");
  CHECK(small.read_reply().status() == 204);
  large.send(std::string(999'998, 'x'));
  CHECK(large.read_reply().status() == 204);
}

TEST_CASE("a 429 of upstream's front end reaches the device, and nobody else asks until it is over") {
  auto const pace = std::make_shared<proxy::call_pace>();
  site s([&](relay_options& o) { o.pace = pace; });
  s.answers("", {}, 204);
  mishap enough;
  enough.status = 429;
  enough.body = "Too Many Requests";
  enough.fields = {{"Retry-After", "77"}, {"Content-Type", "text/plain"}};
  SUBCASE("of the front end") {
    s.origin.script(0, enough);
    reply const r = s.ask("GET", next_v1);
    CHECK(r.status() == 429);
    CHECK(r.value("Retry-After") == "77");
    CHECK(r.body == "Too Many Requests");
    reply const other = s.ask("PUT", inventory_path, {}, "[]");
    CHECK(other.status() == 429);
    CHECK(std::stoi(other.value("Retry-After")) > 60);
    CHECK(s.origin.count() == 1);
  }
  SUBCASE("of a service, about one device") {
    enough.fields.emplace_back("X-MEN-RequestID", "id");
    s.origin.script(0, enough);
    CHECK(s.ask("GET", next_v1).value("Retry-After") == "77");
    CHECK(s.ask("GET", next_v1).status() == 204);
  }
  SUBCASE("to a status report, which is sent again") {
    enough.fields = {{"Retry-After", "0"}};
    s.origin.script(0, enough);
    CHECK(s.ask("PUT", status_path, {}, "{}").status() == 204);
    CHECK(s.origin.count() == 2);
  }
}

TEST_CASE("limit: what Retry-After may say") {
  CHECK(retry_after("0") == std::chrono::seconds(0));
  CHECK(retry_after("120") == std::chrono::seconds(120));
  CHECK(retry_after("99999999999") == std::chrono::hours(24));
  CHECK(retry_after("Sun, 06 Nov 1994 08:49:37 GMT") == std::chrono::seconds(0));
  CHECK(retry_after("Fri, 31 Dec 2100 00:00:00 GMT") == std::chrono::hours(24));
  for (auto const* const text : {"", "-1", "1.5", "soon", "1 ", "99999999999999999999999"}) CHECK_FALSE(retry_after(text));
}

TEST_CASE("upstream hears of the device by our fields alone, and its own name as Host") {
  site s;
  s.answers("{}");
  test::field_list fields = {{"X-MEN-Signature", "sig"}, {"X-MEN-RequestID", "id-1"}, {"Authorization", "Bearer"},
                             {"User-Agent", "Mender/6.0"}, {"X-Custom", "kept"}};
  test::field_list const dropped = {{"X-Forwarded-Host", "gateway.example"},
                                    {"X-Forwarded-Proto", "https"},
                                    {"X-Forwarded-Client-Cert", "By=x"},
                                    {"X-Forwarded-For", "1.2.3.4"},
                                    {"Forwarded", "for=1.2.3.4;host=evil"},
                                    {"X-MEN-RBAC-Inventory-Groups", "all"},
                                    {"X-MEN-RBAC-Releases-Tags", "all"},
                                    {"X-SSL-Client-Verify", "SUCCESS"},
                                    {"Ssl-Client-Cert", "x"},
                                    {"X-Real-IP", "1.2.3.4"},
                                    {"X-Original-URL", "/api/management/v1"},
                                    {"X-HTTP-Method-Override", "DELETE"}};
  fields.insert(fields.end(), dropped.begin(), dropped.end());
  for (std::string const& path : {std::string(next_v1), std::string("/api/devices/v1/authentication/auth_requests")}) {
    CAPTURE(path);
    s.ask(path == next_v1 ? "GET" : "POST", path, fields, path == next_v1 ? "" : "{}");
    auto const seen = s.origin.requests().back();
    CHECK(seen.head.values("Host") == std::vector<std::string>{s.origin.authority()});
    CHECK(seen.head.values("X-Forwarded-For") == std::vector<std::string>{"127.0.0.1"});
    CHECK(seen.head.values("X-Forwarded-Proto") == std::vector<std::string>{"http"});
    for (auto const& [name, value] : dropped) {
      CAPTURE(name);
      bool const ours = name == "X-Forwarded-For" || name == "X-Forwarded-Proto";
      CHECK(seen.head.count(name) == (ours ? 1 : 0));
    }
    CHECK(seen.value("X-MEN-Signature") == "sig");
    CHECK(seen.value("X-MEN-RequestID") == "id-1");
    CHECK(seen.head.count("Authorization") == 1);
    CHECK(seen.value("User-Agent") == "Mender/6.0");
    CHECK(seen.value("X-Custom") == "kept");
  }
}

TEST_CASE("an upstream failure is 502 or 504, the log names the hop, and the answer does not") {
  struct row {
    char const* hop;
    std::function<void(relay_options&)> change;
    std::function<void(test::origin&)> fault;
    int status;
  };
  auto const scripted = [](auto set) {
    return [set](test::origin& o) {
      mishap m;
      set(m);
      o.standing(m);
    };
  };
  test::scripted_server plain([](test::blocking_socket& c) { c.send("HTTP/1.1 400 Bad Request\r\n\r\n"); });
  std::vector<row> const rows = {
      {"dns: ", [](relay_options& o) { o.forward.upstream = upstream::endpoint("nowhere.invalid", 443, false); }, {}, 502},
      {"tcp: ", {}, [](test::origin& o) { o.refuse(); }, 502},
      {"tls: ", [&](relay_options& o) { o.forward.upstream = upstream::endpoint("127.0.0.1", plain.port(), true); }, {}, 502},
      {"response: ", {}, scripted([](mishap& m) { m.drop = true; }), 502},
      {"response: ", {}, scripted([](mishap& m) { m.raw = "no HTTP\r\n\r\n"; }), 502},
      {"response: ", [](relay_options& o) { o.forward.exchange.response_timeout = std::chrono::milliseconds(50); },
       scripted([](mishap& m) { m.silent = true; }), 504}};
  for (auto const& [hop, change, fault, status] : rows) {
    CAPTURE(hop);
    site s(change);
    if (fault) fault(s.origin);
    reply const r = s.ask("GET", next_v1, {{"X-MEN-RequestID", "id-7"}});
    CHECK(r.status() == status);
    CHECK(r.body.find("nowhere") == std::string::npos);  // devices are not told where upstream is
    CHECK(eventually([&] { return !s.g.records().empty(); }));
    CHECK(s.g.records().at(0).failure.starts_with(hop));
  }
}

TEST_CASE("what a device says about itself in transport fields stays here") {
  site s;
  s.answers("{}");
  s.ask("GET", "/api/devices/v1/x",
        {{"X-Forwarded-For", "1.2.3.4"},
         {"X-MEN-RBAC-Inventory", "x"},
         {"X_Real_IP", "1"},
         {"X-MEN-Signature", "s"},
         {"X-MEN-RequestID", "id-1"}});
  auto const seen = s.origin.requests().at(0);
  CHECK(seen.value("X-Forwarded-For") == "127.0.0.1");
  CHECK(seen.head.count("X-MEN-RBAC-Inventory") == 0);
  CHECK(seen.head.count("X_Real_IP") == 0);
  CHECK(seen.value("X-MEN-Signature") == "s");
  CHECK(seen.value("X-MEN-RequestID") == "id-1");
}

}  // namespace mgw::mender::device_relay_test
