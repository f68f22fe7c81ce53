#include <mgw/mender/authorizer.hpp>
// The header under test comes first.
#include <mgw/mender/auth_sets.hpp>
#include <mgw/mender/decisions.hpp>
#include <mgw/mender/management_client.hpp>
#include <mgw/proxy/exchange.hpp>

#include <support/blocking_socket.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/proxy_server.hpp>
#include <support/temporary_directory.hpp>
#include <support/test_pki.hpp>

#include <doctest/doctest.h>
#include <openssl/evp.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::mender::authorizer_test {
namespace {

using test::mishap;
using test::origin;
using test::pki::key_kind;
using test::pki::make_key;
using test::pki::public_pem_of;

constexpr std::string_view devices_path = "/api/management/v2/devauth/devices";
constexpr std::string_view login_path = "/api/management/v1/useradm/auth/login";

/// A device: an identity, a key, and a certificate of its own.
struct device {
  test::pki::identity certificate;
  net::openssl_ptr<EVP_PKEY> key = make_key(key_kind::p256);
  std::string id_data;
  device(std::string const& name, std::string data)
      : certificate(test::pki::issue(nullptr, test::pki::shape(name))), id_data(std::move(data)) {}

  std::shared_ptr<net::peer_certificate const> shown() const {
    X509_up_ref(certificate.certificate.get());
    return std::make_shared<net::peer_certificate const>(net::openssl_ptr<X509>(certificate.certificate.get()),
                                                         nullptr);
  }
  std::string body() const {
    std::string out = "{\"id_data\":";
    append_json_string(out, id_data);
    out += ",\"pubkey\":";
    append_json_string(out, public_pem_of(key.get()));
    return out + ",\"tenant_token\":\"\"}\n";
  }
  std::string signature(std::string const& text) const {
    net::openssl_ptr<EVP_MD_CTX> const c(EVP_MD_CTX_new());
    std::string out(256, '\0');
    std::size_t n = out.size();
    REQUIRE(EVP_DigestSignInit(c.get(), nullptr, EVP_sha256(), nullptr, key.get()) == 1);
    REQUIRE(EVP_DigestSign(c.get(), reinterpret_cast<unsigned char*>(out.data()), &n,
                           reinterpret_cast<unsigned char const*>(text.data()), text.size()) == 1);
    return encode_base64(std::string_view(out).substr(0, n));
  }
};

/// How the management API answers; what is not said is right.
struct server_script {
  int login = 200, post = 201, post_forced = 201, get = 200, put = 204;
  std::string login_text = "t.o.k";
  std::string device;  // of a GET
  std::string retry_after;
  bool drop = false, silent = false;
  std::optional<std::size_t> stall_after;
  server_script() = default;
};

std::string set_of(device const& d, std::string_view status, std::string_view decommissioning = "false") {
  std::string out = R"({"id":"d-1","decommissioning":)";
  out.append(decommissioning)
      .append(R"(,"auth_sets":[{"id":"other","status":"accepted","pubkey":"x"},{"id":"a-1","status":")");
  out.append(status).append(R"(","pubkey":)");
  append_json_string(out, public_pem_of(d.key.get()));
  return out + "}]}";
}

/// Without what a request through an HTTP proxy has before it.
std::string path_of(origin::seen_request const& r) {
  std::string const target(r.target());
  return target.starts_with('/') ? target : target.substr(target.find('/', sizeof "http://" - 1));
}

/// An authorizer on a worker, and a management API that follows a script.
struct rig {
  origin server;
  test::temporary_directory directory;
  authorizer_options options;
  test::gateway g;
  std::unique_ptr<authorizer> subject;
  std::mutex mutex;
  server_script script;
  device const* whose_certificate = nullptr;

  explicit rig(upstream::pool_options const& pools = {}) : g(1, pools) {
    options.management.upstream = upstream::endpoint("127.0.0.1", server.port(), false);
    options.management.host = "mender.test";
    options.management.username = "gw@example.com";
    options.management.password = "pass:word";
    options.bound.path = (directory.path() / "bindings").string();
    options.log = options.management.log = g.log.sink();
    server.standing([this](origin::seen_request const& r) { return answer(r); });
  }
  ~rig() {
    if (script.silent || script.stall_after) server.release();
    g.stop([this] {
      if (subject) subject->close();
    });
  }
  void set(server_script const& s) {
    std::lock_guard const hold(mutex);
    script = s;
  }
  void start() {
    subject = std::make_unique<authorizer>(g.upstreams, options);
    g.start([this](proxy::exchange& x) { return authorize(*this, x); });
  }
  mishap answer(origin::seen_request const& r) {
    std::lock_guard const hold(mutex);
    mishap m;
    m.drop = script.drop;
    m.silent = script.silent;
    m.stall_after = script.stall_after;
    if (path_of(r) == login_path) {
      m.status = script.login;
      m.body = script.login_text;
    } else if (r.method() == "POST") {
      bool const forced = posts_++ != 0 && script.post == 409;
      m.status = forced ? script.post_forced : script.post;
      if (m.status == 409) m.body = R"({"id":"d-1","status":"accepted"})";
    } else {
      m.status = r.method() == "GET" ? script.get : script.put;
      m.body = script.device;
      if (m.status == 204) m.body.reset();
    }
    if (!script.retry_after.empty() && path_of(r) != login_path) m.fields = {{"Retry-After", script.retry_after}};
    return m;
  }
  /// Lets the device ask, with its own certificate or another one's. True: the request went on.
  bool ask(device const& d, device const* certificate = nullptr, std::string const& signed_text = {}) {
    {
      std::lock_guard const hold(mutex);
      posts_ = 0;
    }
    whose_certificate = certificate != nullptr ? certificate : &d;
    std::string const body = d.body();
    test::http_client c(g.port());
    c.send("POST / HTTP/1.1\r\nHost: a\r\nX-MEN-Signature: " + d.signature(signed_text.empty() ? body : signed_text) +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return c.read_reply().status() == 204;
  }
  /// The calls since the last time: "POST devices", "POST devices force", "GET d-1", …
  std::vector<std::string> calls() {
    std::vector<std::string> out;
    auto const all = server.requests();
    for (; told_ < all.size(); ++told_) {
      auto const& r = all[told_];
      std::string line = r.method() + ' ';
      if (path_of(r) == login_path)
        line += "login";
      else
        line += path_of(r).substr(devices_path.size() + (path_of(r).size() > devices_path.size() ? 1 : 0));
      if (r.body.find("\"force\":true") != std::string::npos) line += "force";
      out.push_back(line);
    }
    return out;
  }

  static asio::awaitable<void> authorize(rig& self, proxy::exchange& x) {
    std::string body;
    while (!x.request_body_done()) {
      body::chunk const c = co_await x.read_body();
      if (c.ec) co_return;
      body += c.bytes;
      if (c.end) break;
    }
    auto const peer = self.whose_certificate->shown();
    std::string_view const signature = x.request().fields.value("X-MEN-Signature");
    std::string_view const client = "10.0.0.9";
    co_await self.subject->authorize(x.worker(), peer, body, signature, client);
    (void)co_await x.respond(204, {}, {});
  }

private:
  std::size_t told_ = 0, posts_ = 0;
};

using lines = std::vector<std::string>;

}  // namespace

TEST_CASE("a new device is preauthorized without force, after one login for all") {
  rig r;
  r.start();
  device const a("a", R"({"mac": "aa","n":1.50})"), b("b", R"({"mac":"bb"})");
  CHECK(r.ask(a));
  CHECK(r.ask(b));
  CHECK(r.calls() == lines{"POST login", "POST ", "POST "});
  auto const seen = r.server.requests();
  CHECK(seen[0].value("Authorization") == "Basic " + encode_base64("gw@example.com:pass:word"));
  CHECK(seen[0].value("Content-Length") == "0");
  CHECK(seen[0].value("Host") == "mender.test");
  CHECK(seen[1].value("Authorization") == "Bearer t.o.k");
  CHECK(seen[1].value("Content-Type") == "application/json");
  std::string wanted = R"({"identity_data":{"mac": "aa","n":1.50},"pubkey":)";
  append_json_string(wanted, public_pem_of(a.key.get()));
  CHECK(seen[1].body == wanted + ",\"force\":false}");
}

TEST_CASE("RFC 9112 3.2.2: through an HTTP proxy the management API is named whole, with our credentials there") {
  test::proxy_server proxy("Basic dTpw");
  for (bool const known : {true, false}) {
    CAPTURE(known);
    upstream::pool_options pools;
    std::string const credentials = known ? "u:p@" : "";
    pools.proxies = std::make_shared<upstream::proxy_rules const>(
        *upstream::http_proxy::parse(credentials + proxy.authority()), std::nullopt, "");
    rig r(pools);
    std::string const server = "mender.test:" + std::to_string(r.server.port());
    r.options.management.upstream = upstream::endpoint("mender.test", r.server.port(), false);
    r.options.management.host = server;
    r.start();
    device const a("a", R"({"mac":"aa"})");
    CHECK(r.ask(a));
    if (!known) {
      CHECK(r.calls().empty());
      CHECK(r.g.log.count("management API: the proxy wants other credentials") == 1);
      continue;
    }
    CHECK(r.calls() == lines{"POST login", "POST "});
    CHECK(proxy.heads().front().starts_with("POST http://" + server + std::string(login_path) + " HTTP/1.1\r\n"));
    CHECK(proxy.heads().front().find("\r\nProxy-Authorization: Basic dTpw\r\n") != std::string::npos);
    CHECK(r.server.requests().front().value("Host") == server);
  }
}

TEST_CASE("a decision is remembered until the server refuses the device after all, or not at all without the cache") {
  device const a("a", R"({"mac":"aa"})");
  for (bool const remember : {true, false}) {
    CAPTURE(remember);
    rig r;
    r.options.remember = remember;
    r.start();
    CHECK(r.ask(a));
    CHECK(r.calls() == lines{"POST login", "POST "});
    CHECK(r.ask(a));
    CHECK(r.calls() == (remember ? lines{} : lines{"POST "}));
    r.subject->refused(*a.shown(), a.body());
    CHECK(r.ask(a));
    CHECK(r.calls() == lines{"POST "});
  }
}

TEST_CASE("of a device that exists, only what its own key lacks is done") {
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"bb"})");
  struct row {
    std::string device;
    std::string then;  // the call that follows the GET, if any
  };
  std::vector<row> const table = {{set_of(a, "accepted"), ""},
                                  {set_of(a, "preauthorized"), ""},
                                  {set_of(a, "pending"), "PUT d-1/auth/a-1/status"},
                                  {set_of(a, "rejected"), ""},
                                  {set_of(a, "noauth"), ""},
                                  {set_of(a, "pending", "true"), ""},
                                  {set_of(b, "accepted", "true"), ""},
                                  {set_of(b, "accepted"), "POST force"},
                                  {set_of(b, "rejected"), "POST force"},
                                  {R"({"id":"d-1"})", "POST force"},
                                  {R"({"id":"d-1","auth_sets":null})", "POST force"},
                                  {R"({"id":"d-1","auth_sets":{}})", ""},
                                  {R"({"id":"d-1","auth_sets":[7]})", ""},
                                  {R"({"id":"d-1","auth_sets":[{"id":"a-1","status":"rejected","pubkey":7}]})", ""},
                                  {R"({"id":"../x"})", ""},
                                  {"not JSON", ""}};
  for (auto const& [told, then] : table) {
    CAPTURE(told);
    rig r;
    server_script s;
    s.post = 409;
    s.device = told;
    r.set(s);
    r.start();
    CHECK(r.ask(a));
    lines wanted = {"POST login", "POST ", "GET d-1"};
    if (!then.empty()) wanted.push_back(then);
    CHECK(r.calls() == wanted);
    if (then.starts_with("PUT")) CHECK(r.server.requests().back().body == R"({"status":"accepted"})");
    CHECK(r.ask(a));
    CHECK(r.calls().empty());
  }
}

TEST_CASE("a role that allows only to preauthorize forces a key once, and never one that was authorized before") {
  rig r;
  server_script s;
  s.post = 409;
  s.get = 403;
  r.set(s);
  r.start();
  device const a("a", R"({"mac":"aa"})");
  CHECK(r.ask(a));
  CHECK(r.calls() == lines{"POST login", "POST ", "GET d-1", "POST force"});
  r.subject->refused(*a.shown(), a.body());
  CHECK(r.ask(a));
  CHECK(r.calls() == lines{"POST ", "GET d-1"});
}

TEST_CASE("two gateways with one device in flight: whoever is second finds nothing left to do, or looks again later") {
  rig r;
  server_script s;
  device const a("a", R"({"mac":"aa"})");
  s.post = 409;  // the other one has preauthorized it between
  s.device = set_of(a, "preauthorized");
  r.set(s);
  r.start();
  CHECK(r.ask(a));
  CHECK(r.calls() == lines{"POST login", "POST ", "GET d-1"});
  r.subject->refused(*a.shown(), a.body());
  s.device = set_of(a, "pending");
  for (int const status : {400, 404}) {  // the other one has accepted it between; an operator has deleted it
    s.put = status;
    r.set(s);
    CHECK(r.ask(a));
    CHECK(r.calls() == lines{"POST ", "GET d-1", "PUT d-1/auth/a-1/status"});
  }
  s.get = 404;
  r.set(s);
  CHECK(r.ask(a));
  CHECK(r.calls() == lines{"POST ", "GET d-1"});
}

TEST_CASE("a refusal by the server is told once and not asked for again soon") {
  device const a("a", R"({"mac":"aa"})");
  for (int const status : {400, 403, 422}) {
    CAPTURE(status);
    rig r;
    server_script s;
    s.post = status;
    r.set(s);
    r.start();
    CHECK(r.ask(a));
    CHECK(r.ask(a));
    CHECK(r.calls() == lines{"POST login", "POST "});
    CHECK(r.g.log.count("audit: ") == 1);
    CHECK(r.g.log.count("status " + std::to_string(status)) == 1);
  }
  rig r;
  server_script s;
  s.post = 409;
  s.put = 422;
  s.device = set_of(a, "pending");
  r.set(s);
  r.start();
  CHECK(r.ask(a));
  CHECK(r.g.log.count("the device limit is reached") == 1);
}

TEST_CASE("a session that has ended is renewed once; one that is refused anew leaves the server alone") {
  rig r;
  r.start();
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"bb"})"), c("c", R"({"mac":"cc"})");
  CHECK(r.ask(a));
  CHECK(r.calls() == lines{"POST login", "POST "});
  mishap ended;
  ended.status = 401;
  r.server.script(2, ended);
  CHECK(r.ask(b));
  CHECK(r.calls() == lines{"POST ", "POST login", "POST "});
  CHECK(r.g.log.count("not asked for") == 0);
  server_script s;
  s.post = 401;
  r.set(s);
  CHECK(r.ask(c));
  CHECK(r.calls() == lines{"POST ", "POST login", "POST "});
  CHECK(r.ask(c));
  CHECK(r.calls().empty());
  CHECK(r.g.log.count("a new session is refused") == 1);
}

TEST_CASE("a refused login is not tried again for each device") {
  rig r;
  server_script s;
  s.login = 401;
  r.set(s);
  r.start();
  for (char const* name : {"a", "b", "c"}) CHECK(r.ask(device(name, std::string("{\"mac\":\"") + name + "\"}")));
  CHECK(r.calls() == lines{"POST login"});
  CHECK(r.g.log.count("the login of gw@example.com was refused, status 401") == 1);
  CHECK(r.g.log.count("pass:word") == 0);
}

TEST_CASE("what a login is answered is never taken for the answer to a call") {
  for (int const status : {200, 201, 409}) {
    CAPTURE(status);
    rig r;
    server_script s;
    s.login = status;
    s.login_text = "<html>please log in</html>";
    r.set(s);
    r.start();
    CHECK(r.ask(device("a", R"({"mac":"aa"})")));
    CHECK(r.calls() == lines{"POST login"});
    CHECK(r.g.log.count("management API: the login of gw@example.com was ") == 1);
    CHECK(r.g.log.count("audit: ") == 0);
  }
}

TEST_CASE("an access token is used as it is, without a login") {
  rig r;
  r.options.management.access_token = "personal";
  r.start();
  CHECK(r.ask(device("a", R"({"mac":"aa"})")));
  CHECK(r.calls() == lines{"POST "});
  CHECK(r.server.requests()[0].value("Authorization") == "Bearer personal");
  server_script s;
  s.post = 401;
  r.set(s);
  CHECK(r.ask(device("b", R"({"mac":"bb"})")));
  CHECK(r.ask(device("c", R"({"mac":"cc"})")));
  CHECK(r.calls() == lines{"POST "});
  CHECK(r.g.log.count("the access token is refused") == 1);
}

TEST_CASE("a management API in trouble is left alone for a while, and holds no device up") {
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"bb"})");
  for (std::string const how : {"500", "503", "429", "drop", "silent"}) {
    CAPTURE(how);
    rig r;
    r.options.management.exchange.response_timeout = std::chrono::milliseconds(50);
    r.options.management.trouble_pause = r.options.management.quota_pause = std::chrono::hours(1);
    r.start();
    CHECK(r.ask(a));
    (void)r.calls();
    server_script s;
    if (how == "drop")
      s.drop = true;
    else if (how == "silent")
      s.silent = true;
    else
      s.post = std::stoi(how);
    r.set(s);
    CHECK(r.ask(b));
    CHECK_FALSE(r.calls().empty());
    CHECK(r.ask(b));
    CHECK(r.calls().empty());
    CHECK(r.g.log.count("not asked for 3600 s") == 1);
  }
}

TEST_CASE("a device waits for a silent management API no longer than the wait, and is authorized when that answers") {
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"bb"})");
  rig r;
  r.options.wait = std::chrono::milliseconds(20);
  r.options.max_late = 1;
  server_script s;
  s.silent = true;
  r.set(s);
  r.start();
  CHECK(r.ask(a));  // the login is in hand
  CHECK(r.g.log.count("management API: no answer within 20 ms") == 1);
  CHECK(r.ask(a));  // no second attempt for it
  CHECK(r.ask(b));  // too many are late
  CHECK(r.g.log.count("no answer for 1 devices yet") == 1);
  REQUIRE(r.server.stalled());
  r.set(server_script());
  r.server.release();
  CHECK(test::eventually([&r] { return r.g.log.count("is preauthorized") == 1; }));
  CHECK(r.calls() == lines{"POST login", "POST "});
  CHECK(r.ask(a));
  CHECK(r.calls().empty());
  CHECK(test::eventually([&r, &b] { return r.ask(b) && r.g.log.count("is preauthorized") == 2; }));
}

TEST_CASE("a key is forced only before its request goes upstream: it may be accepted afterwards") {
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"bb"})");
  rig r;
  r.options.wait = std::chrono::milliseconds(20);
  server_script s;
  s.silent = true;
  r.set(s);
  r.start();
  CHECK(r.ask(a));
  REQUIRE(r.server.stalled());
  s.silent = false;
  s.post = 409;
  s.device = set_of(b, "accepted");
  r.set(s);
  r.server.release();
  CHECK(r.server.saw(3));
  s.device = set_of(a, "pending");
  r.set(s);
  CHECK(test::eventually([&r, &a] { return r.ask(a) && r.g.log.count("is accepted") == 1; }));
  for (std::string const& call : r.calls()) CHECK(call.find("force") == std::string::npos);
}

TEST_CASE("a gateway ends while a device is being authorized") {
  rig r;
  r.options.wait = std::chrono::milliseconds(20);
  server_script s;
  s.silent = true;
  r.set(s);
  r.start();
  CHECK(r.ask(device("a", R"({"mac":"aa"})")));
  CHECK(r.server.stalled());
  r.set(server_script());
}

TEST_CASE("silence on a connection that was used before is not asked for twice") {
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"bb"})");
  rig r;
  r.options.management.exchange.response_timeout = std::chrono::milliseconds(50);
  r.options.management.trouble_pause = std::chrono::hours(1);
  r.start();
  CHECK(r.ask(a));
  (void)r.calls();
  server_script s;
  s.silent = true;
  r.set(s);
  CHECK(r.ask(b));
  CHECK(r.calls() == lines{"POST "});
}

TEST_CASE("an answer of the management API that never ends is given up") {
  rig r;
  r.options.management.call_limit = std::chrono::milliseconds(100);
  r.options.management.trouble_pause = std::chrono::hours(1);
  server_script s;
  s.stall_after = 2;
  r.set(s);
  r.start();
  CHECK(r.ask(device("a", R"({"mac":"aa"})")));
  CHECK(r.g.log.count("management API: no response in time; not asked for 3600 s") == 1);
}

TEST_CASE("credentials that are refused are known as that until a call goes through") {
  rig r;
  r.options.management.login_pause = std::chrono::milliseconds(0);
  r.start();
  CHECK_FALSE(r.subject->is_refused());
  server_script s;
  for (int const status : {401, 403}) {
    s.login = status;
    r.set(s);
    CHECK(r.ask(device("a", R"({"mac":"aa"})")));
    CHECK(r.subject->is_refused());
  }
  s.login = 200;
  s.post = 500;
  s.drop = true;
  r.set(s);
  CHECK(r.ask(device("a", R"({"mac":"aa"})")));
  CHECK(r.subject->is_refused());  // nothing was found out
  rig good;
  good.options.management.login_pause = std::chrono::milliseconds(0);
  good.start();
  s = {};
  s.login = 401;
  good.set(s);
  CHECK(good.ask(device("a", R"({"mac":"aa"})")));
  CHECK(good.subject->is_refused());
  s.login = 200;
  good.set(s);
  CHECK(good.ask(device("a", R"({"mac":"aa"})")));
  CHECK_FALSE(good.subject->is_refused());
}

TEST_CASE("limit: an answer of the management API") {
  for (std::size_t const over : {std::size_t{0}, std::size_t{1}}) {
    CAPTURE(over);
    rig r;
    server_script s;
    s.post = 409;
    s.device = std::string(management_client::max_body + over, ' ');
    r.set(s);
    r.start();
    CHECK(r.ask(device("a", R"({"mac":"aa"})")));
    CHECK(r.g.log.count("the answer to GET /api/management/v2/devauth/devices") == over);
    CHECK(r.g.log.count("has more than 1048576 bytes, the most that is taken of one (no key sets that)") == over);
    CHECK(r.g.log.count("Message too long") == 0);
  }
}

TEST_CASE("what a 429 says to wait is waited, within an hour") {
  for (auto const& [said, waited] :
       std::map<std::string, std::string>{{"7", "7 s"}, {"0", "1 s"}, {"999999", "3600 s"}, {"soon", "60 s"}}) {
    CAPTURE(said);
    rig r;
    server_script s;
    s.post = 429;
    s.retry_after = said;
    r.set(s);
    r.start();
    CHECK(r.ask(device("a", R"({"mac":"aa"})")));
    CHECK(r.g.log.count("status 429; not asked for " + waited) == 1);
  }
}

TEST_CASE("the certificate of one device does not authorize another, whichever came first") {
  rig r;
  r.start();
  device const a("a", R"({"mac":"aa"})"), thief("thief", R"({"mac":"tt"})");
  CHECK(r.ask(a));
  CHECK(r.ask(thief));
  (void)r.calls();
  // The thief's certificate, its own key and signature, and the identity of a; in another spelling, too.
  for (char const* spelling : {R"({"mac":"aa"})", R"({ "m\u0061c":"\u0061a" })"}) {
    CHECK(r.ask(device("unused", spelling), &thief));
    CHECK(r.calls().empty());
  }
  CHECK(r.g.log.count("its subject is bound to another identity") == 2);
  // A certificate that has authorized nothing yet.
  device const fresh("fresh", R"({"mac":"ff"})");
  CHECK(r.ask(device("unused", R"({"mac":"aa"})"), &fresh));
  CHECK(r.calls().empty());
  CHECK(r.g.log.count("the identity is bound to another subject") == 1);
  // Another key of the device itself is good.
  CHECK(r.ask(device("unused", R"({"mac":"aa"})"), &a));
  CHECK(r.calls() == lines{"POST "});
}

TEST_CASE("with allow_rebind the last pair counts") {
  rig r;
  r.options.bound.allow_rebind = true;
  r.start();
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"bb"})");
  CHECK(r.ask(a));
  CHECK(r.ask(a, &b));
  CHECK(r.calls() == lines{"POST login", "POST ", "POST "});
}

TEST_CASE("a request that is not signed by its own key authorizes nobody and binds nothing") {
  rig r;
  r.start();
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"aa"})");
  CHECK(r.ask(a, nullptr, "another text"));
  CHECK(r.calls().empty());
  CHECK(r.g.log.count("its signature is not good") == 1);
  CHECK(r.ask(b));
  CHECK(r.calls() == lines{"POST login", "POST "});
}

TEST_CASE("the certificate's key may be another one than the auth request's, unless it must not") {
  device a("a", R"({"mac":"aa"})");
  for (bool const strict : {false, true}) {
    CAPTURE(strict);
    rig r;
    r.options.require_matching_key = strict;
    r.start();
    CHECK(r.ask(a));
    CHECK(r.calls().empty() == strict);
    CHECK(r.g.log.count("its key is not the auth request's") == (strict ? 1 : 0));
  }
  rig r;
  r.options.require_matching_key = true;
  r.start();
  a.key.swap(a.certificate.key);
  CHECK(r.ask(a));
  CHECK(r.calls() == lines{"POST login", "POST "});
}

TEST_CASE("who keeps a record is told of each decision, also where the log has no line, but not of one remembered") {
  struct told {
    std::string subject, identity, client, why;
    bool granted;
  };
  std::mutex mutex;
  std::vector<told> all;
  rig r;
  r.options.decided = [&](authorization const& d) {
    std::lock_guard const hold(mutex);
    all.push_back(
        {d.certificate.subject, std::string(d.identity), std::string(d.client), std::string(d.why), d.granted});
  };
  r.start();
  device const a("a", R"({"mac":"aa"})"), b("b", R"({"mac":"bb"})"), c("c", R"({"mac":"cc"})");
  CHECK(r.ask(a));
  CHECK(r.ask(a));  // remembered
  CHECK(r.ask(b, nullptr, "another text"));
  CHECK(r.ask(b, &a));
  server_script known;
  known.post = 409;
  known.device = set_of(c, "accepted");
  r.set(known);
  CHECK(r.ask(c));
  std::lock_guard const hold(mutex);
  REQUIRE(all.size() == 4);
  CHECK(all[0].granted);
  CHECK(all[0].subject == "CN=a");
  CHECK(all[0].identity == R"({"mac":"aa"})");
  CHECK(all[0].client == "10.0.0.9");
  CHECK(all[0].why == "is preauthorized");
  CHECK_FALSE(all[1].granted);
  CHECK(all[1].why == "its signature is not good");
  CHECK_FALSE(all[2].granted);
  CHECK(all[2].why == "its subject is bound to another identity");
  CHECK(all[3].granted);
  CHECK(all[3].why == "is accepted already");
  CHECK(r.g.log.count("accepted already") == 0);
}

TEST_CASE("decisions end, and the full memory forgets those that end first") {
  decisions d(8);
  auto const key = [](unsigned char n) {
    decisions::key k{};
    k[0] = n;
    return k;
  };
  d.remember(key(1), std::chrono::seconds(-1));
  CHECK_FALSE(d.has(key(1)));
  for (unsigned char n = 2; n < 40; ++n) {
    d.remember(key(n), std::chrono::hours(n));
    CHECK(d.has(key(n)));
    CHECK(d.size() <= 8);
  }
  CHECK_FALSE(d.has(key(2)));
  d.forget(key(39));
  CHECK_FALSE(d.has(key(39)));
}

}  // namespace mgw::mender::authorizer_test
