#pragma once

#include "config/check_certificates.hpp"
#include "config/configuration.hpp"
#include "config/trust_store.hpp"

#include <mgw/net/listener.hpp>

#include <asio/ip/address.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace gateway {

/// The part of `check` for mTLS that is on.
inline void check_client_certificates(configuration& c) {
  settings const& s = c.values;
  auto const needs = [&c](std::string const& key, char const* what) {
    c.errors.push_back(c.name(key) + " is not set, and Features.mTLS.Enabled is true; accepted: " + what);
  };
  if (!s.https.enabled)
    c.errors.push_back(c.name("Features.mTLS.Enabled") +
                       " is true, but HTTPS.Enabled is not: there are no client certificates without TLS; accepted: "
                       "both, or false");
  bool const user = !s.mtls.username.empty() && !s.mtls.password.empty();
  if (!user && s.mtls.access_token.empty())
    needs(s.mtls.username.empty() ? "Features.mTLS.MenderUsername" : "Features.mTLS.MenderPassword",
          "a management user's name and password, or its token as Features.mTLS.AccessToken");
  if (s.mtls.ca_certificate.empty()) needs("Features.mTLS.CACertificate", "a PEM file");
  if (s.http.enabled && s.mtls.plain_serves_devices)
    c.warnings.push_back(c.name("Features.mTLS.PlainServesDevices") +
                         " is true: devices on the listener without TLS are served without a certificate");
  else if (s.http.enabled)
    c.warnings.push_back(
        "Features.mTLS is on: the listener without TLS serves health checks only" +
        std::string(s.proxy.gateway_url.starts_with("http://") ? ", and artifacts on links that the gateway has made" : ""));
  if (s.mtls.accept_expired)
    c.warnings.push_back(c.name("Features.mTLS.InsecureSkipClientExpireAfter") +
                         " is true: client certificates are accepted past their end");
}

/// Whether two addresses, as they are set, cannot be listened on at once. `:443` and `[::]:443` are IPv4's, too.
inline bool listen_clash(std::string const& one, std::string const& other) {
  auto const a = mgw::net::parse_listen_address(one), b = mgw::net::parse_listen_address(other);
  if (!a || !b || a->port() != b->port() || a->port() == 0) return false;
  auto const covers = [](asio::ip::address const& wide, asio::ip::address const& narrow) {
    return wide.is_unspecified() && (wide.is_v6() || narrow.is_v4());
  };
  return a->address() == b->address() || covers(a->address(), b->address()) || covers(b->address(), a->address());
}

/// The part of `check` for addresses to listen on: no two of them are one. The status page's, where nobody has set it,
/// gives way.
inline void check_listeners(configuration& c) {
  settings const& s = c.values;
  struct listener {
    char const* key;
    std::string const& address;
  };
  std::vector<listener> all;
  if (s.http.enabled) all.push_back({"HTTP.Listen", s.http.listen});
  if (s.https.enabled) all.push_back({"HTTPS.Listen", s.https.listen});
  if (s.metrics.enabled) all.push_back({"Metrics.Listen", s.metrics.listen});
  if (s.admin.enabled && !s.admin.listen_is_default) all.push_back({"Admin.Listen", s.admin.listen});
  for (std::size_t i = 0; i != all.size(); ++i)
    for (std::size_t j = i + 1; j != all.size(); ++j)
      if (listen_clash(all[i].address, all[j].address))
        c.errors.push_back(c.name(all[i].key) + " is " + shown(all[i].address) + ", and " + c.name(all[j].key) + " is " +
                           shown(all[j].address) + ": both want one port; set another one for one of them");
}

/// Notes in `c` what cannot work although each value alone is good; nothing if some value was not. Opens certificates
/// and keys, changes nothing. `roots`: the machine's CA certificates.
inline void check(configuration& c, trust_store const& roots = trust_store::of_machine()) {
  if (!c.errors.empty()) return;
  settings const& s = c.values;
  auto const refuse = [&c](std::string text) { c.errors.push_back(std::move(text)); };
  if (!s.http.enabled && !s.https.enabled)
    refuse(
        "nothing to listen on: set HTTPS_ENABLED=true (with HTTPS_SERVER_CERTIFICATE and HTTPS_SERVER_KEY) or "
        "HTTP_ENABLED=true");
  check_listeners(c);
  if (s.upstream.url.empty())
    refuse(c.name("UpstreamServer.URL") + " is not set; accepted: an http:// or https:// URL");
  certificate_check files(c, std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()));
  if (s.https.enabled) files.server_pair();
  if (s.mtls.enabled) {
    check_client_certificates(c);
    files.client_trust();
  }
  if (!s.upstream.ca_certificate.empty()) files.upstream_trust();
  if (s.upstream.ca_certificate.empty() && !s.upstream.insecure_skip_verify && s.upstream.url.starts_with("https://") &&
      !roots.has_any())
    refuse(c.name("UpstreamServer.URL") + " is " + shown(s.upstream.url) +
           ", and there are no CA certificates to verify it with: none in the file " + roots.file +
           " (SSL_CERT_FILE) and none in " + roots.directories +
           " (SSL_CERT_DIR); install the package ca-certificates, or set " + c.name("UpstreamServer.CACertificate") +
           " to a PEM file");
}

}  // namespace gateway
