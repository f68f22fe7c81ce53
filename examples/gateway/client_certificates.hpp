#pragma once

#include "audit/trail.hpp"
#include "config/settings.hpp"
#include "lifecycle/reloads.hpp"
#include "lifecycle/watched_files.hpp"

#include <mgw/core/log.hpp>
#include <mgw/mender/authorizer.hpp>
#include <mgw/net/client_trust.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway {

inline mgw::net::client_trust_files client_trust_files(settings const& s) {
  mgw::net::client_trust_files f;
  f.ca = s.mtls.ca_certificate;
  f.crl = s.mtls.crl;
  f.blacklist = s.mtls.blacklist;
  f.accept_expired = s.mtls.accept_expired;
  return f;
}

/// What the gateway does with client certificates: whom it trusts, read anew by reloads, and whom it authorizes. A file that cannot be used then is told, and what was read before stays in force.
///
/// Errors: config_error, and net's. Thread rule: any worker.
class client_certificates {
public:
  /// `api`: with the management API's place and credentials. `trail`: keeps a record of what is decided; null: nobody.
  client_certificates(settings const& s, mgw::upstream::pool_set const& upstreams, mgw::mender::management_options api,
                      mgw::log_sink log, audit::trail* trail = nullptr)
      : files_(client_trust_files(s)), seen_({files_.ca, files_.crl, files_.blacklist}), log_(std::move(log)), trail_(trail) {
    gate_ = std::make_shared<mgw::net::client_gate>(std::make_shared<mgw::net::client_trust const>(files_));
    mgw::mender::authorizer_options o;
    o.management = std::move(api);
    o.bound.path = bindings_file(s);
    forgets_ = o.bound.path.empty();
    o.bound.allow_rebind = s.mtls.allow_rebind;
    o.require_matching_key = s.mtls.require_matching_key;
    o.remember = s.mtls.enable_cache;
    o.log = log_;
    if (trail_ != nullptr) o.decided = [trail](mgw::mender::authorization const& a) { trail->authorized(a); };
    try {
      authorizer_ = std::make_unique<mgw::mender::authorizer>(upstreams, std::move(o));
    } catch (std::runtime_error const& e) {
      throw config_error("STATE_DIRECTORY (StateDirectory) is \"" + s.state_directory + "\": " + e.what() +
                         "; needed with Features.mTLS: a directory that uid " + std::to_string(::geteuid()) +
                         " may write to and that outlives this process: it has which certificate is which device's");
    }
  }
  client_certificates(client_certificates const&) = delete;
  client_certificates& operator=(client_certificates const&) = delete;

  std::shared_ptr<mgw::net::client_gate> const& gate() const noexcept { return gate_; }

  /// Before an auth request goes upstream. Never an error: the request goes on in any case.
  asio::awaitable<void> authorize(mgw::proxy::exchange& x, std::string_view body) {
    auto const shown = x.peer().certificate;
    if (!shown) co_return;
    std::string failure;
    try {
      std::string_view const signature = x.request().fields.value("X-MEN-Signature");
      std::string const client = x.peer().address.address().to_string();
      co_await authorizer_->authorize(x.worker(), shown, body, signature, client);
    } catch (std::exception const& e) {
      failure = e.what();
    }
    if (!failure.empty()) log_(mgw::log_level::error, "a device could not be authorized: " + failure);
  }
  /// The server has answered 401 after all.
  void refused(mgw::proxy::exchange const& x, std::string_view body) {
    if (x.peer().certificate) authorizer_->refused(*x.peer().certificate, body);
  }

  /// Why no device is authorized at the moment; empty: nothing is known. Any thread.
  std::string trouble() const {
    return authorizer_->is_refused() ? "it refuses our credentials: devices are relayed without being authorized" : "";
  }
  /// Which certificate is which device's is forgotten with this process.
  bool forgets() const noexcept { return forgets_; }

  /// From here on changes of the files count; `judge` is called after each, and every hour: open connections are to be
  /// judged again. Before the workers run.
  void watch(reloads& by, std::function<void()> judge) {
    judge_ = std::move(judge);
    by.add(std::move(seen_), [this] { read_anew(); });
    by.at_each_look([this] {
      if (clock::now() >= again_at_) judge_all();  // certificates end, too
    });
  }

  /// After the workers' threads have ended, before their contexts go, and after reloads. False: the disk does not answer
  /// for so long, and nothing may be destroyed.
  bool close_for(std::chrono::milliseconds limit) { return authorizer_->close_for(limit); }

private:
  using clock = std::chrono::steady_clock;

  /// Empty, after a line in the log, where nobody set the directory and nothing can be kept in the default one: the
  /// original's containers have no place, and must start.
  std::string bindings_file(settings const& s) const {
    std::error_code why;
    std::filesystem::create_directories(s.state_directory, why);
    std::string const file = s.state_directory + "/bindings";
    if (!s.state_is_default || ::access(file.c_str(), F_OK) == 0) return file;  // opening it says what is wrong
    if (!why && ::access(s.state_directory.c_str(), W_OK | X_OK) != 0)
      why = std::error_code(errno, std::generic_category());
    if (!why) return file;
    std::string const uid = "uid " + std::to_string(::geteuid());
    log_(mgw::log_level::error,
         "which certificate is which device's is forgotten with this process, and after it whoever comes first is "
         "believed: STATE_DIRECTORY (StateDirectory) is not set, and " +
             uid + " can keep nothing in its default " + s.state_directory + ": " + why.message() +
             "; mount a directory there that " + uid + " may write to, or set the key to one");
    return {};
  }

  void read_anew() {
    try {
      gate_->replace(std::make_shared<mgw::net::client_trust const>(files_));
    } catch (std::exception const& e) {
      log_(mgw::log_level::error, std::string("client certificates are judged as before: ") + e.what());
      if (trail_ != nullptr) trail_->trust_read(e.what());
      return;
    }
    log_(mgw::log_level::info, "what client certificates are trusted was read anew; all connections are judged by it");
    if (trail_ != nullptr) trail_->trust_read({});
    judge_all();
  }
  void judge_all() {
    again_at_ = clock::now() + std::chrono::hours(1);
    judge_();
  }

  mgw::net::client_trust_files const files_;
  watched_files seen_;
  mgw::log_sink log_;
  audit::trail* const trail_;
  std::shared_ptr<mgw::net::client_gate> gate_;
  std::unique_ptr<mgw::mender::authorizer> authorizer_;
  bool forgets_ = false;
  clock::time_point again_at_ = clock::now() + std::chrono::hours(1);  // of the thread of reloads
  std::function<void()> judge_;
};

}  // namespace gateway
