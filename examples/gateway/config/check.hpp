#pragma once

#include "config/configuration.hpp"
#include "config/text_file.hpp"

#include <mgw/net/tls_context.hpp>

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace gateway {

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
  if (!s.upstream.ca_certificate.empty() && readable("UpstreamServer.CACertificate", s.upstream.ca_certificate)) {
    try {
      (void)mgw::net::tls_context::client(mgw::net::client_tls(s.upstream.ca_certificate));
    } catch (mgw::net::tls_context_error const& e) {
      refuse(c.name("UpstreamServer.CACertificate") + ": " + e.what());
    }
  }
}

}  // namespace gateway
