#pragma once

#include "commands/health_command.hpp"
#include "config/configuration.hpp"
#include "config/settings.hpp"
#include "doctor/listening.hpp"

#include <mgw/net/error.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/upstream/error.hpp>

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <system_error>

namespace gateway {

namespace health_detail {

/// Takes a server's certificate as the sign that TLS is spoken, and goes no further: the alert is none of those by
/// which clients refuse a certificate, and the gateway need not tell of a client that has none to show.
inline mgw::net::tls_context no_further_than_the_certificate() {
  auto out = mgw::net::tls_context::client(mgw::net::client_tls(std::string(), true));
  auto const stop = [](X509_STORE_CTX* at, void*) {
    X509_STORE_CTX_set_error(at, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
  };
  SSL_CTX_set_verify(out.native(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(out.native(), stop, nullptr);
  return out;
}

/// Why the gateway does not serve at this address; empty: it does.
inline std::string trouble_at(std::string const& address, bool tls, bool clients_need_certificates,
                              doctor::milliseconds step) {
  using namespace doctor;
  auto const where = mgw::net::parse_listen_address(address);
  if (!where) return "this is no address to listen on";
  if (where->port() == 0) return "the system chooses the port, so that nobody can ask there";
  auto const at = listening_detail::from_here(*where, tls);
  auto const why = [](mgw::upstream::hop failed_at, std::error_code ec) {
    return std::string(mgw::upstream::to_string(failed_at)) + ": " + ec.message();
  };
  if (tls && clients_need_certificates) {
    // Without a certificate of a client nobody gets an answer: that TLS is spoken has to do.
    auto const tls_there = no_further_than_the_certificate();
    way const went =
        wait_for([&](mgw::net::worker_pool& w) { return walk(w.worker(0), at, nullptr, tls_there, step); });
    bool const spoken = went.ec == mgw::net::verify_error(X509_V_ERR_APPLICATION_VERIFICATION);
    return spoken ? std::string() : why(went.failed_at, went.ec);
  }
  auto const answer = listening_detail::ask(at, "/api/internal/v1/gateway/alive", step);
  if (answer.status == 0) return why(answer.failed_at, answer.ec);
  return answer.status == 204 ? std::string() : "status " + std::to_string(answer.status);
}

}  // namespace health_detail

/// Asks at each address that the settings listen on, and prints what is wrong. Returns the exit status: 1 if anything
/// is, also if nothing is listened on.
inline int run_health(configuration const& c, health_command const& asked) {
  std::signal(SIGPIPE, SIG_IGN);
  auto const step = std::chrono::seconds(asked.timeout);
  settings const& s = c.values;
  bool good = s.https.enabled || s.http.enabled;
  if (!good) std::fputs("mgw-gateway: neither HTTPS_ENABLED nor HTTP_ENABLED is set\n", stderr);
  auto const look = [&](std::string const& address, bool tls) {
    std::string const trouble = health_detail::trouble_at(address, tls, s.mtls.enabled, step);
    if (trouble.empty()) return;
    good = false;
    std::fprintf(stderr, "mgw-gateway: %s: %s\n", address.c_str(), trouble.c_str());
  };
  if (s.https.enabled) look(s.https.listen, true);
  if (s.http.enabled) look(s.http.listen, false);
  return good ? 0 : 1;
}

}  // namespace gateway
