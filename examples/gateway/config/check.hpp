#pragma once

#include "config/configuration.hpp"
#include "config/text_file.hpp"

#include <mgw/net/client_trust.hpp>
#include <mgw/net/tls_context.hpp>

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

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
  bool usable = !s.mtls.ca_certificate.empty();
  if (!usable) needs("Features.mTLS.CACertificate", "a PEM file");
  for (auto const& [key, path] : {std::pair<char const*, std::string>("Features.mTLS.CACertificate", s.mtls.ca_certificate),
                                  {"Features.mTLS.CRLPath", s.mtls.crl},
                                  {"Features.mTLS.BlacklistPath", s.mtls.blacklist}}) {
    if (path.empty() || ::access(path.c_str(), R_OK) == 0) continue;
    std::error_code const why(errno, std::system_category());
    c.errors.push_back(c.name(key) + " is " + shown(path) + ": " + file_trouble(path, why));
    usable = false;
  }
  if (usable) try {
      mgw::net::client_trust_files files;
      files.ca = s.mtls.ca_certificate;
      files.crl = s.mtls.crl;
      files.blacklist = s.mtls.blacklist;
      mgw::net::client_trust const trust(files);
    } catch (mgw::net::client_trust_error const& e) {
      c.errors.push_back("Features.mTLS: " + std::string(e.what()));
    }
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

/// Notes in `c` what cannot work although each value alone is good; nothing if some value was not. Opens certificates
/// and keys, changes nothing.
inline void check(configuration& c) {
  if (!c.errors.empty()) return;
  settings const& s = c.values;
  auto const refuse = [&c](std::string text) { c.errors.push_back(std::move(text)); };
  auto const readable = [&](char const* key, std::string const& path) {
    if (::access(path.c_str(), R_OK) == 0) return true;
    std::error_code const why(errno, std::system_category());
    refuse(c.name(key) + " is " + shown(path) + ": " + file_trouble(path, why));
    return false;
  };
  if (!s.http.enabled && !s.https.enabled)
    refuse(
        "nothing to listen on: set HTTPS_ENABLED=true (with HTTPS_SERVER_CERTIFICATE and HTTPS_SERVER_KEY) or "
        "HTTP_ENABLED=true");
  if (s.upstream.url.empty())
    refuse(c.name("UpstreamServer.URL") + " is not set; accepted: an http:// or https:// URL");
  if (s.https.enabled) {
    bool usable = true;
    auto const needed = [&](char const* key, std::string const& path) {
      if (path.empty()) refuse(c.name(key) + " is not set, and HTTPS.Enabled is true; accepted: a PEM file");
      if (path.empty() || !readable(key, path)) usable = false;
    };
    needed("HTTPS.ServerCertificate", s.https.certificate);
    needed("HTTPS.ServerKey", s.https.key);
    try {
      if (usable) (void)mgw::net::tls_context::server({s.https.certificate, s.https.key, s.https.minimum_tls});
    } catch (mgw::net::tls_context_error const& e) {
      refuse(c.name("HTTPS.ServerCertificate") + ", " + c.name("HTTPS.ServerKey") + ": " + e.what());
    }
  }
  if (s.mtls.enabled) check_client_certificates(c);
  if (!s.upstream.ca_certificate.empty() && readable("UpstreamServer.CACertificate", s.upstream.ca_certificate)) {
    try {
      (void)mgw::net::tls_context::client(mgw::net::client_tls(s.upstream.ca_certificate));
    } catch (mgw::net::tls_context_error const& e) {
      refuse(c.name("UpstreamServer.CACertificate") + ": " + e.what());
    }
  }
}

}  // namespace gateway
