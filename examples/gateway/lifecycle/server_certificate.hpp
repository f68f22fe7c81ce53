#pragma once

#include "config/check_certificates.hpp"
#include "config/configuration.hpp"
#include "config/settings.hpp"
#include "lifecycle/reloads.hpp"
#include "lifecycle/watched_files.hpp"

#include <mgw/core/log.hpp>
#include <mgw/net/client_trust.hpp>
#include <mgw/net/tls_context.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

/// The certificate and key that devices see, read anew by reloads. A pair that cannot be used is told, and the one that
/// was read before stays in force.
///
/// Errors: net::tls_context_error from `context`. Thread rule: read anew on the thread of reloads.
class server_certificate {
public:
  /// What was tried: `trouble` says why it was not done, `what` describes the certificate.
  using told = std::function<void(std::string_view trouble, std::string_view what)>;

  /// `gate`: who judges clients; null: they need no certificate.
  server_certificate(settings const& s, std::shared_ptr<mgw::net::client_gate> gate, mgw::log_sink log)
      : https_(s.https), gate_(std::move(gate)), log_(std::move(log)), files_({https_.certificate, https_.key}) {}
  server_certificate(server_certificate const&) = delete;
  server_certificate& operator=(server_certificate const&) = delete;

  mgw::net::tls_context context() const {
    auto made = mgw::net::tls_context::server({https_.certificate, https_.key, https_.minimum_tls});
    if (gate_) made.require_clients(gate_);
    return made;
  }

  /// `show` gets each later pair; `said`, if set, is called after it, or when there was none.
  void watch(reloads& by, std::function<void(mgw::net::tls_context const&)> show, told said = {}) {
    show_ = std::move(show);
    said_ = std::move(said);
    by.add(std::move(files_), [this] { read_anew(); });
  }

private:
  void read_anew() {
    configuration c;  // for its words
    c.values.https = https_;
    certificate_check(c, std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now())).server_pair();
    std::string trouble;
    for (std::string const& e : c.errors) (trouble += trouble.empty() ? "" : "; ") += e;
    if (trouble.empty()) {
      try {
        show_(context());
      } catch (std::exception const& e) {  // it was changed meanwhile
        trouble = e.what();
      }
    }
    std::string const what = c.notes.empty() || !trouble.empty() ? std::string() : c.notes.front();
    if (!trouble.empty())
      log_(mgw::log_level::error, "the server certificate stays the one of before: " + trouble);
    else
      log_(mgw::log_level::info, "the server certificate was read anew: " + what);
    for (std::string const& w : c.warnings) log_(mgw::log_level::warn, w);
    if (said_) said_(trouble, what);
  }

  decltype(settings::https) const https_;
  std::shared_ptr<mgw::net::client_gate> const gate_;
  mgw::log_sink log_;
  watched_files files_;
  std::function<void(mgw::net::tls_context const&)> show_;
  told said_;
};

}  // namespace gateway
