#pragma once

#include <mgw/proxy/exchange.hpp>

#include <atomic>

namespace gateway {

/// Whether the upstream answered when a device's request was passed on last. Any thread.
class upstream_seen {
public:
  enum class state { not_asked, reachable, away };

  /// A request has ended.
  void count(mgw::proxy::exchange const& x) noexcept {
    auto const& n = x.notes();
    if (n.upstream.count() == 0) return;
    auto const now = n.upstream_error.empty() ? state::reachable : state::away;
    if (state_.load(std::memory_order_relaxed) != now) state_.store(now, std::memory_order_relaxed);
  }
  state now() const noexcept { return state_.load(std::memory_order_relaxed); }

private:
  std::atomic<state> state_{state::not_asked};
};

}  // namespace gateway
