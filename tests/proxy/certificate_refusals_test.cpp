#include <mgw/proxy/certificate_refusals.hpp>
// The header under test comes first.
#include <mgw/net/tls_context.hpp>
#include <mgw/proxy/server.hpp>

#include <support/blocking_socket.hpp>
#include <support/gateway_fixture.hpp>
#include <support/test_certificates.hpp>

#include <doctest/doctest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <asio/awaitable.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::proxy::certificate_refusals_test {
namespace {

asio::awaitable<void> empty_answer(exchange& x) {
  (void)co_await x.respond(204, {}, {});
}

struct free_tls {
  void operator()(SSL_CTX* c) const noexcept { SSL_CTX_free(c); }
  void operator()(SSL* s) const noexcept { SSL_free(s); }
};

/// Shakes hands as a device that trusts this CA (empty: none), and whose clock says `now` (0: the right time).
bool connects(std::uint16_t port, int version, std::string const& ca, std::time_t now) {
  std::signal(SIGPIPE, SIG_IGN);
  std::unique_ptr<SSL_CTX, free_tls> const c(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(c.get(), version);
  SSL_CTX_set_max_proto_version(c.get(), version);
  SSL_CTX_set_verify(c.get(), SSL_VERIFY_PEER, nullptr);
  if (!ca.empty()) REQUIRE(SSL_CTX_load_verify_locations(c.get(), ca.c_str(), nullptr) == 1);
  if (now != 0) X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(c.get()), now);
  test::blocking_socket const socket = test::blocking_socket::connect(port);
  std::unique_ptr<SSL, free_tls> const ssl(SSL_new(c.get()));
  SSL_set_fd(ssl.get(), socket.fd());
  return SSL_connect(ssl.get()) == 1;
}

}  // namespace

TEST_CASE("a device that does not trust us, or whose clock is wrong, is named with the reason that it gives") {
  test::test_certificates const own;
  struct row {
    bool trusts;
    std::time_t now;
    char const* said;
  };
  row const rows[] = {{false, 0, "\"unknown CA\" (alert 48)"},
                      {true, 86'400, "\"bad certificate\" (alert 42); look at the device's clock"},  // 1970
                      {true, 4'000'000'000, "\"certificate expired\" (alert 45)"}};
  for (int const version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    test::gateway g;
    auto context = net::tls_context::server(net::server_tls(own.server.certificate, own.server.key));
    g.start(empty_answer, {}, std::move(context));
    CHECK(connects(g.port(), version, own.ca_file, 0));
    for (row const& r : rows) {
      CAPTURE(version);
      CAPTURE(r.said);
      CHECK(!connects(g.port(), version, r.trusts ? own.ca_file : std::string(), r.now));
      CHECK(test::eventually(
          [&] { return g.log.count("127.0.0.1 refuses our certificate: " + std::string(r.said)) == 1; }));
    }
  }
}

TEST_CASE("refusals of our certificate are a line in ten seconds for each reason, with the number of the others") {
  std::vector<std::string> lines;
  certificate_refusals r([&](log_level level, std::string_view text) {
    CHECK(level == log_level::warn);
    lines.emplace_back(text);
  });
  using std::chrono::milliseconds;
  certificate_refusals::clock::time_point const start{};
  auto const expired = net::ssl_error(SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED), unknown = net::ssl_error(SSL_R_TLSV1_ALERT_UNKNOWN_CA);
  CHECK(r.tell(expired, "a", start));
  for (int i = 1; i < 4; ++i) CHECK(!r.tell(expired, "b", start + milliseconds(9'999)));
  CHECK(r.tell(unknown, "c", start + milliseconds(1)));
  CHECK(r.tell(expired, "d", start + milliseconds(10'000)));
  CHECK(r.tell(expired, "e", start + milliseconds(20'000)));
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].starts_with("a refuses our certificate: \"certificate expired\" (alert 45)"));
  CHECK(lines[1].starts_with("c refuses our certificate: \"unknown CA\" (alert 48)"));
  CHECK(lines[2].starts_with("d refuses "));
  CHECK(lines[2].ends_with("; 3 more since the last such line"));
  CHECK(lines[3].find("more since") == std::string::npos);
}

TEST_CASE("other failures of a handshake are not about our certificate") {
  certificate_refusals r([](log_level, std::string_view) { CHECK(false); });
  for (auto const ec : {net::ssl_error(SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE), net::ssl_error(SSL_R_HTTP_REQUEST),
                        net::make_error_code(net::tls_error::truncated), net::verify_error(X509_V_ERR_CERT_HAS_EXPIRED),
                        net::system_error(ECONNRESET)})
    CHECK(!r.tell(ec, "a"));
}

}  // namespace mgw::proxy::certificate_refusals_test
