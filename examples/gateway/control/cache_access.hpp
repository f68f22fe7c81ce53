#pragma once

#include "audit/appender.hpp"
#include "audit/command_record.hpp"
#include "audit/record.hpp"
#include "config/settings.hpp"
#include "control/cache_service.hpp"
#include "control/client.hpp"
#include "control/directory_owner.hpp"
#include "control/protocol.hpp"
#include "control/socket_path.hpp"
#include "verifier/configured.hpp"

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/ledger.hpp>
#include <mgw/core/log.hpp>

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <deque>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway {

/// The path of the cache as both sides of the control socket write it.
inline std::string cache_path(settings const& s) {
  return std::filesystem::absolute(s.cache.path).lexically_normal().string();
}

/// Where the gateway remembers what it gave out and found to be bad.
inline mgw::cache::ledger_options ledger_of(settings const& s) {
  mgw::cache::ledger_options o;
  o.path = s.cache.path + "/ledger";
  return o;
}

/// The cache of these settings, for commands: the running gateway's if one answers, else opened here, which keeps a
/// gateway from starting until this is gone.
class cache_access {
public:
  /// Precondition: `s` outlives it.
  explicit cache_access(settings const& s) : settings_(s) {}
  cache_access(cache_access const&) = delete;
  cache_access& operator=(cache_access const&) = delete;
  ~cache_access() {
    if (!local_) return;
    try {
      as_other_user const owner(owner_);
      local_.reset();
    } catch (std::exception const& e) {
      std::fprintf(stderr, "mgw-gateway: %s\n", e.what());
    }
  }

  /// Does it, or has it done. Throws config_error.
  boost::json::object run(cache_request request, int file, step_function const& step) {
    if (local_) return run_here(request, file, step);
    std::string const path = control_socket_path(settings_.state_directory);
    auto gateway = control_client::connect(path);
    if (gateway) {
      request.cache = json_text(cache_path(settings_));
      return gateway->ask(request, file, step);
    }
    auto const why = gateway.error();
    if (why != std::errc::no_such_file_or_directory && why != std::errc::connection_refused &&
        why != std::errc::not_a_directory)
      return failure(
          "the gateway cannot be reached at " + path + ": " + why.message() +
          (why == std::errc::permission_denied ? "; it takes commands from its own user and from root" : ""));
    std::error_code ec;
    if (!std::filesystem::is_directory(settings_.cache.path, ec))
      return failure("there is no cache at " + cache_path(settings_) + (ec ? ": " + ec.message() : std::string()));
    try {
      auto const how = configured_verifier(settings_);
      take_part_of_owner();
      as_other_user const owner(owner_);
      local_ = std::make_unique<local>(settings_, how);
    } catch (std::system_error const& e) {
      return failure(e.what());
    } catch (config_error const&) {
      throw;
    } catch (std::runtime_error const& e) {
      return failure(std::string(e.what()) + ", and no gateway answers at " + path);
    }
    return run_here(request, file, step);
  }

private:
  /// Root takes the part of the directory's owner: files of root's would be of no use to the gateway. He is looked up
  /// once, so that it stays the same one. Throws std::system_error.
  void take_part_of_owner() {
    if (::geteuid() != 0) return;
    auto const owner = owner_of_directory(settings_.cache.path);
    if (!owner) throw std::system_error(owner.error(), "cannot tell whose directory " + cache_path(settings_) + " is");
    if (owner->user != 0) owner_ = *owner;
  }
  class as_other_user {
  public:
    explicit as_other_user(std::optional<directory_owner> const& who) {
      if (!who) return;
      group_ = ::getegid();
      if (::setegid(who->group) != 0 || ::seteuid(who->user) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot become the owner of the cache");
      changed_ = true;
    }
    as_other_user(as_other_user const&) = delete;
    as_other_user& operator=(as_other_user const&) = delete;
    ~as_other_user() {
      if (changed_ && (::seteuid(0) != 0 || ::setegid(group_) != 0))
        std::fputs("mgw-gateway: cannot become root again\n", stderr);
    }

  private:
    bool changed_ = false;
    gid_t group_ = 0;
  };
  struct local {
    local(settings const& s, verifier_options const& how)
        : objects(options(s), tell), book(ledger_of(s), tell), service(objects, book, cache_path(s), how) {}
    static mgw::cache::disk_store::options options(settings const& s) {
      mgw::cache::disk_store::options out;
      out.path = s.cache.path;
      out.max_size = s.cache.max_size;
      out.min_free = s.cache.min_free;
      return out;
    }
    static void tell(mgw::log_level level, std::string_view text) {
      if (level >= mgw::log_level::warn) std::fprintf(stderr, "mgw-gateway: %s\n", std::string(text).c_str());
    }
    mgw::cache::disk_store objects;
    mgw::cache::ledger book;  // the store's lock is this one's, too
    cache_service service;
  };

  boost::json::object run_here(cache_request const& request, int file, step_function const& step) {
    as_other_user const owner(owner_);
    std::optional<audit::appender> log;
    std::deque<audit::record> records;
    if (!settings_.audit.path.empty()) {
      audit::appender_options where;
      where.path = settings_.audit.path;
      where.state_directory = settings_.state_directory;
      where.max_file_size = settings_.audit.max_file_size;
      log.emplace(std::move(where));
      auto const ec = log->append(records);
      if (ec && settings_.audit.on_failure == "refuse")
        return failure("nothing can be recorded in " + json_text(settings_.audit.path) + ": " + ec.message());
    }
    auto answer = local_->service.run(request, file, step);
    auto r = audit::command_record(request, answer);
    if (!log || !r) return answer;
    records.push_back(*std::move(r));
    auto ec = log->append(records);
    if (!ec) ec = log->sync_and_note();
    if (ec) std::fprintf(stderr, "mgw-gateway: not recorded in %s: %s\n", settings_.audit.path.c_str(), ec.message().c_str());
    return answer;
  }

  settings const& settings_;
  std::optional<directory_owner> owner_;  // whose part is taken while something is done; none: our own
  std::unique_ptr<local> local_;
};

}  // namespace gateway
