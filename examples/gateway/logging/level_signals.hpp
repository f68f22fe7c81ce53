#pragma once

#include "logging/logging.hpp"

#include <mgw/net/worker_pool.hpp>

#include <asio/signal_set.hpp>

#include <csignal>
#include <functional>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway {

/// SIGUSR1: lines that are one level less important are logged, too, down to debug; SIGUSR2: those of the configuration
/// again. A Part of a running gateway.
class level_signals {
public:
  /// What a signal has changed; `by`: its name.
  using told = std::function<void(spdlog::level::level_enum from, spdlog::level::level_enum to, std::string_view by)>;

  /// Before the workers run.
  explicit level_signals(mgw::net::worker_pool& workers, told tell = {}) : tell_(std::move(tell)) {
    signals_.emplace(workers.worker(0).io, SIGUSR1, SIGUSR2);
    wait();
  }
  level_signals(level_signals const&) = delete;
  level_signals& operator=(level_signals const&) = delete;

  void drain() noexcept {}
  void stop() noexcept {}
  bool idle() const noexcept { return true; }
  void close() { signals_.reset(); }

  /// What SIGUSR1 makes of a level.
  static spdlog::level::level_enum below(spdlog::level::level_enum level) noexcept {
    return level <= spdlog::level::debug ? level : static_cast<spdlog::level::level_enum>(static_cast<int>(level) - 1);
  }

private:
  void wait() {
    signals_->async_wait([this](std::error_code ec, int which) {
      if (ec) return;
      auto const from = spdlog::get_level();
      auto const to = which == SIGUSR1 ? below(from) : logging::configured.load();
      change_log_level(to);
      if (tell_ && to != from) tell_(from, to, which == SIGUSR1 ? "SIGUSR1" : "SIGUSR2");
      wait();
    });
  }

  told const tell_;
  std::optional<asio::signal_set> signals_;
};

}  // namespace gateway
