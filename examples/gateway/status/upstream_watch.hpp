#pragma once

#include "status/report.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::status {

/// Whether the upstream can be reached, as relayed calls, fetches and probes find it. Any thread; that it can still be
/// reached costs two loads and, once a second, a store.
class upstream_watch {
public:
  enum class state : std::uint8_t { unknown, reachable, unreachable };

  void reached(std::int64_t now) {
    if (told_.load(std::memory_order_relaxed) != now) told_.store(now, std::memory_order_relaxed);
    if (state_.load(std::memory_order_relaxed) == state::reachable) return;
    std::lock_guard const hold(mutex_);
    turn(state::reachable, now);
    reason_.clear();
  }
  void failed(std::string_view reason, std::int64_t now) {
    told_.store(now, std::memory_order_relaxed);
    std::lock_guard const hold(mutex_);
    turn(state::unreachable, now);
    reason_ = reason.substr(0, max_reason);
  }
  /// When something was last found out; 0: never.
  std::int64_t told() const noexcept { return told_.load(std::memory_order_relaxed); }

  struct finding {
    state what = state::unknown;
    std::optional<std::int64_t> since;
    std::string reason;
  };
  finding now() const {
    std::lock_guard const hold(mutex_);
    finding f;
    f.what = state_.load(std::memory_order_relaxed);
    f.reason = reason_;
    if (f.what != state::unknown) f.since = since_;
    return f;
  }
  static constexpr std::string_view name(state s) noexcept {
    return s == state::reachable ? "reachable" : s == state::unreachable ? "unreachable" : "unknown";
  }

private:
  static constexpr std::size_t max_reason = 300;  // bytes
  void turn(state to, std::int64_t now) {
    if (state_.load(std::memory_order_relaxed) != to) since_ = now;
    state_.store(to, std::memory_order_relaxed);
  }
  std::atomic<state> state_{state::unknown};
  std::atomic<std::int64_t> told_{0};
  mutable std::mutex mutex_;
  std::int64_t since_ = 0;
  std::string reason_;
};

/// How long relayed calls waited for the upstream's answer, over the last five minutes. Each worker counts for itself;
/// any thread reads, and may see a call twice or not at all while a minute begins.
class latency_window {
public:
  explicit latency_window(std::size_t workers) {
    for (std::size_t i = 0; i != workers; ++i) workers_.push_back(std::make_unique<of_worker>());
  }

  /// On this worker's thread.
  void count(std::size_t worker, std::chrono::steady_clock::duration took, std::int64_t now) noexcept {
    std::int64_t const minute = now / 60;
    slot& s = workers_[worker]->slots[static_cast<std::size_t>(minute) % minutes];
    if (s.minute.load(std::memory_order_relaxed) != minute) {
      for (auto& n : s.in) n.store(0, std::memory_order_relaxed);
      s.minute.store(minute, std::memory_order_relaxed);
    }
    auto& n = s.in[bucket(std::chrono::duration<double, std::milli>(took).count())];
    n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  /// Nothing: there were no calls.
  std::optional<report::latency> sum(std::int64_t now) const {
    std::array<std::uint64_t, buckets> in{};
    report::latency out;
    for (auto const& w : workers_)
      for (slot const& s : w->slots) {
        auto const age = now / 60 - s.minute.load(std::memory_order_relaxed);
        if (age < 0 || age >= static_cast<std::int64_t>(minutes)) continue;
        for (std::size_t b = 0; b != buckets; ++b) in[b] += s.in[b].load(std::memory_order_relaxed);
      }
    for (auto const n : in) out.requests += n;
    if (out.requests == 0) return std::nullopt;
    out.median = quantile(in, out.requests, 0.5);
    out.p95 = quantile(in, out.requests, 0.95);
    return out;
  }

private:
  // Buckets whose ends grow by an eighth: from a tenth of a millisecond to ten minutes.
  static constexpr std::size_t minutes = 5, buckets = 136;
  static constexpr double least = 0.1, step = 1.125;

  static std::size_t bucket(double ms) noexcept {
    if (!(ms > least)) return 0;
    auto const n = std::ceil(std::log(ms / least) / std::log(step));
    return static_cast<std::size_t>(std::min(n, static_cast<double>(buckets - 1)));
  }
  /// The middle of the bucket in which so many of them are below.
  static double quantile(std::array<std::uint64_t, buckets> const& in, std::uint64_t all, double part) noexcept {
    auto const wanted = static_cast<std::uint64_t>(std::ceil(static_cast<double>(all) * part));
    std::uint64_t sum = 0;
    std::size_t b = 0;
    while (b + 1 < buckets && (sum += in[b]) < wanted) ++b;
    return least * std::pow(step, static_cast<double>(b) - 0.5);
  }

  struct slot {
    std::atomic<std::int64_t> minute{-1};
    std::array<std::atomic<std::uint32_t>, buckets> in{};
  };
  struct alignas(64) of_worker {
    std::array<slot, minutes> slots;
  };
  std::vector<std::unique_ptr<of_worker>> workers_;
};

}  // namespace gateway::status
