#include "doctor/upstream.hpp"

#include "gateway/support.hpp"

#include <support/blocking_tls.hpp>
#include <support/proxy_server.hpp>
#include <support/scripted_server.hpp>
#include <support/temporary_directory.hpp>
#include <support/test_pki.hpp>

#include <mgw/http/date.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <ctime>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace gateway::doctor::doctor_upstream_test {
namespace {

using gateway::test::has;
namespace pki = mgw::test::pki;
using mgw::test::blocking_socket;
using mgw::test::scripted_server;

constexpr milliseconds soon{20'000};  // nothing here comes near it

std::string answer(int status, std::string const& body = "{\"error\":\"unauthorized\"}",
                   std::string const& type = "application/json", std::int64_t clock = std::time(nullptr),
                   std::string const& more = {}) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nDate: " + mgw::http::format_date(clock) +
         "\r\nContent-Type: " + type + "\r\n" + more + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         body;
}

/// A server that gives one answer to everything, without TLS.
struct plain_server {
  explicit plain_server(std::string raw)
      : server([raw](blocking_socket& c) {
          std::string unread;
          while (!scripted_server::read_head(c, unread).empty() && c.send(raw)) {
          }
        }) {}
  scripted_server server;
  std::string url() const { return "http://127.0.0.1:" + std::to_string(server.port()); }
};

/// The same with TLS, with a certificate of this shape and name.
struct tls_server {
  explicit tls_server(std::string names, pki::shape shape = pki::shape("server"), std::string raw = answer(401))
      : ca(pki::make_ca("the test CA")) {
    pki::identity const one = pki::issue(&ca, shape);
    pki::extend(one.certificate.get(), NID_subject_alt_name, names.c_str());
    pki::check(X509_sign(one.certificate.get(), ca.key.get(), EVP_sha256()) != 0);
    pki::write_text(path("ca"), pki::pem_of(ca));
    pki::write_text(path("other"), pki::pem_of(pki::make_ca("another CA")));
    pki::write_text(path("cert"), pki::pem_of(one));
    pki::write_text(path("key"), pki::key_pem_of(one));
    server = std::make_unique<scripted_server>([this, raw](blocking_socket& c) {
      try {
        mgw::test::blocking_tls tls(std::move(c), path("cert"), path("key"));
        std::string in;
        while (tls.receive(in) && in.find("\r\n\r\n") != in.npos && tls.send(raw)) in.clear();
      } catch (std::runtime_error const&) {  // a client that trusts another
      }
    });
  }
  std::string path(char const* name) const { return (directory.path() / name).string(); }
  std::string url(std::string const& host = "127.0.0.1") const {
    return "https://" + host + ':' + std::to_string(server->port());
  }

  mgw::test::temporary_directory directory;
  pki::identity ca;
  std::unique_ptr<scripted_server> server;
};

findings look(std::string const& url, std::function<void(settings&)> more = {}) {
  settings s;
  s.upstream.url = url;
  if (more) more(s);
  return check_upstream(s, connecting(s, soon));
}

finding const* named(findings const& all, std::string const& check) {
  for (auto const& f : all)
    if (f.check == check) return &f;
  return nullptr;
}

}  // namespace

TEST_CASE(
    "doctor: of a good server the name, TCP, TLS with the certificate's dates, HTTP and the clock are found good") {
  tls_server const server("IP:127.0.0.1");
  auto const all = look(server.url(), [&](settings& s) { s.upstream.ca_certificate = server.path("ca"); });
  REQUIRE(all.size() == 5);
  for (auto const& f : all) CHECK_MESSAGE(f.how == level::ok, f.check, ": ", f.found);
  CHECK(all[0].check == "upstream name");
  CHECK(all[1].check == "upstream tcp");
  CHECK(has(all[2].found, "TLSv1.3"));
  CHECK(has(all[2].found, " days left"));
  CHECK(has(all[3].found, "status 401"));
  CHECK(all[4].found == "the same as the upstream server's");
}

TEST_CASE("doctor: a port where nobody listens is told from one that does not speak TLS") {
  std::uint16_t port = 0;
  {
    auto const gone = blocking_socket::listen();
    port = gone.local_port();
  }
  auto const closed = look("https://127.0.0.1:" + std::to_string(port));
  REQUIRE(closed.size() == 2);
  CHECK(closed[1].how == level::problem);
  CHECK(has(closed[1].found, "Connection refused"));
  CHECK(has(closed[1].advice, "nothing listens there"));
  scripted_server const plain([](blocking_socket& c) {
    std::string hello;
    if (c.receive(hello)) c.send(answer(400, "no"));
  });
  auto const all = look("https://127.0.0.1:" + std::to_string(plain.port()));
  REQUIRE(all.size() == 3);
  CHECK(all[2].check == "upstream tls");
  CHECK(all[2].how == level::problem);
  CHECK(has(all[2].advice, "http://"));
}

TEST_CASE("doctor: a certificate that is not trusted is shown all the same, with what is wrong with it") {
  auto const tls_of = [](tls_server const& server, char const* ca, std::string const& host = "127.0.0.1") {
    auto const all = look(server.url(host), [&](settings& s) { s.upstream.ca_certificate = server.path(ca); });
    auto const* const f = named(all, "upstream tls");
    REQUIRE(f != nullptr);
    CHECK(f->how == level::problem);
    CHECK(&all.back() == f);
    CHECK(has(f->found, "CN=server"));
    return *f;
  };
  tls_server const server("IP:127.0.0.1");
  finding const unknown = tls_of(server, "other");
  CHECK(has(unknown.advice, "UPSTREAM_SERVER_CA_CERTIFICATE"));
  CHECK(has(unknown.advice, "CN=the test CA"));
  CHECK(has(unknown.advice, server.path("other")));
  finding const wrong_name = tls_of(tls_server("DNS:mender.example"), "ca");
  CHECK(has(wrong_name.found, "DNS:mender.example"));
  CHECK(has(wrong_name.advice, "use a host that the certificate names"));
  pki::shape old("server");
  old.from_days = -20;
  old.to_days = -10;
  finding const expired = tls_of(tls_server("IP:127.0.0.1", old), "ca");
  CHECK(has(expired.found, "expired"));
  CHECK(has(expired.advice, "renewed"));
  CHECK(has(expired.advice, "clock"));
  pki::shape early("server");
  early.from_days = 2;
  CHECK(has(tls_of(tls_server("IP:127.0.0.1", early), "ca").advice, "clock is behind"));
}

TEST_CASE("doctor: a certificate that ends soon is worth a warning, and so is one that is not verified") {
  pki::shape short_one("server");
  short_one.from_days = -20;
  short_one.to_days = 3;
  tls_server const server("IP:127.0.0.1", short_one);
  auto const all = look(server.url(), [&](settings& s) { s.upstream.ca_certificate = server.path("ca"); });
  REQUIRE(named(all, "upstream tls") != nullptr);
  CHECK(named(all, "upstream tls")->how == level::warning);
  CHECK_FALSE(any_problem(all));
  auto const open = look(server.url(), [&](settings& s) { s.upstream.insecure_skip_verify = true; });
  CHECK_FALSE(any_problem(open));
  CHECK(std::any_of(open.begin(), open.end(), [](auto const& f) { return has(f.found, "not verified"); }));
}

TEST_CASE("doctor: a server that says nothing costs a step's time and no more") {
  scripted_server const silent([](blocking_socket& c) {
    std::string in;
    while (c.receive(in)) {
    }
  });
  for (std::string const scheme : {"http://", "https://"}) {
    settings s;
    s.upstream.url = scheme + "127.0.0.1:" + std::to_string(silent.port());
    auto const all = check_upstream(s, connecting(s, milliseconds(50)));
    REQUIRE(all.size() == 3);
    CHECK(all.back().check == (scheme == "http://" ? "upstream http" : "upstream tls"));
    CHECK(all.back().how == level::problem);
  }
}

TEST_CASE("doctor: each status to a poll without a token says what is there") {
  struct row {
    std::string raw;
    level how;
    std::string part;  // of what was found, or of the advice
  };
  std::vector<row> const rows = {
      {answer(401), level::ok, "as a Mender server should"},
      {answer(401, "", "text/plain", std::time(nullptr), "X-MEN-RequestID: a\r\n"), level::ok,
       "as a Mender server should"},
      {answer(200, "{}"), level::ok, "status 200"},
      {answer(401, "<html>", "text/html"), level::problem, "something in front"},
      {answer(403, "<html>", "text/html"), level::problem, "something in front"},
      {answer(200, "<html>", "text/html"), level::problem, "no Mender server"},
      {answer(404, "<html>", "text/html", std::time(nullptr), "Server: nginx\r\n"), level::problem, "nginx"},
      {answer(404), level::problem, "not its device API"},
      {answer(301, "", "text/html", std::time(nullptr), "Location: https://x.example/\r\n"), level::problem,
       "https://x.example/"},
      {answer(400, "The plain HTTP request was sent to HTTPS port", "text/html"), level::problem,
       "begin with https://"},
      {answer(429), level::warning, "quota"},
      {answer(502, "<html>", "text/html"), level::problem, "server's log"},
      {answer(503), level::problem, "server's log"},
      {"hello\r\n\r\n", level::problem, "no answer"},
      {"", level::problem, "no answer"},
  };
  for (auto const& r : rows) {
    CAPTURE(r.raw);
    plain_server const server(r.raw.empty() ? std::string("HTTP/1.1 200 cut") : r.raw);
    std::string url = server.url();
    settings s;
    s.upstream.url = url + "/";
    auto const all = check_upstream(s, connecting(s, r.raw.empty() ? milliseconds(50) : soon));
    auto const* const f = named(all, "upstream http");
    REQUIRE(f != nullptr);
    CHECK(f->how == r.how);
    CHECK(has(f->found + f->advice, r.part));
    CHECK(f->advice.empty() == (r.how == level::ok));
  }
}

TEST_CASE("doctor: the clock is compared with the server's Date, in seconds") {
  auto const at = [](std::int64_t seconds) {
    return judge_clock(mgw::http::format_date(1'800'000'000),
                       std::chrono::system_clock::time_point(std::chrono::seconds(1'800'000'000 + seconds)));
  };
  for (std::int64_t const d : {-30, -3, -2, 0, 2, 3, 30}) CHECK(at(d).how == level::ok);
  for (std::int64_t const d : {-300, -31, 31, 300}) CHECK(at(d).how == level::warning);
  for (std::int64_t const d : {-86'400, -301, 301}) CHECK(at(d).how == level::problem);
  CHECK(at(-301).found == "301 s (5 minutes) behind the upstream server's");
  CHECK(at(86'400).found == "86400 s (24 hours) ahead of the upstream server's");
  CHECK(has(at(-301).advice, "not yet valid"));
  CHECK(judge_clock("", {}).how == level::warning);
  CHECK(judge_clock("yesterday", {}).how == level::warning);
  plain_server const server(answer(401, "{\"error\":\"\"}", "application/json", std::time(nullptr) - 86'400));
  auto const all = look(server.url());
  REQUIRE(named(all, "clock") != nullptr);
  CHECK(named(all, "clock")->how == level::problem);
}

TEST_CASE("doctor: through an HTTP proxy the tunnel is looked at, and a refused one is explained") {
  tls_server const server("DNS:mender.example");
  auto const through = [&](mgw::test::proxy_server const& proxy, std::string const& user) {
    return look(server.url("mender.example"), [&](settings& s) {
      s.upstream.ca_certificate = server.path("ca");
      s.upstream.https_proxy = "http://" + user + proxy.authority();
    });
  };
  mgw::test::proxy_server const proxy("Basic dTpw");
  auto const good = through(proxy, "u:p@");
  for (auto const& f : good) CHECK_MESSAGE(f.how == level::ok, f.check, ": ", f.found);
  REQUIRE(named(good, "upstream proxy") != nullptr);
  CHECK(has(named(good, "upstream proxy")->found, "a tunnel to mender.example:"));
  REQUIRE(named(good, "upstream http") != nullptr);
  auto const refused = through(proxy, "");
  REQUIRE(named(refused, "upstream proxy") != nullptr);
  CHECK(named(refused, "upstream proxy")->how == level::problem);
  CHECK(has(named(refused, "upstream proxy")->advice, "user and password"));
  mgw::test::proxy_server closed;
  closed.says("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
  auto const no = through(closed, "");
  REQUIRE(named(no, "upstream proxy") != nullptr);
  CHECK(has(named(no, "upstream proxy")->advice, "allow CONNECT"));
}

TEST_CASE("doctor: a name that is not known, and name servers that do not answer, are told apart") {
  mgw::upstream::endpoint const to("mender.example", 443, true);
  way w;
  w.asked = "mender.example";
  w.failed_at = mgw::upstream::hop::dns;
  w.ec = asio::error::host_not_found;
  auto const unknown = judge_way(w, to, nullptr, "upstream", "", {});
  REQUIRE(unknown.size() == 1);
  CHECK(unknown[0].how == level::problem);
  CHECK(has(unknown[0].advice, "spelled"));
  w.ec = mgw::upstream::error::lookup_timeout;
  CHECK(has(judge_way(w, to, nullptr, "upstream", "", {})[0].advice, "no name server answers"));
}

}  // namespace gateway::doctor::doctor_upstream_test
