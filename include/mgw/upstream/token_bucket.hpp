#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace mgw::upstream {

/// A rate that is none. Rates are bytes per second; 0: not a byte.
inline constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// The bytes that may pass at a rate: so many come in each second, what is not used is saved for 50 ms, and what had to
/// pass all the same is owed.
///
/// It has no clock: times are given, and do not go back. At `unlimited` everything passes and nothing is counted.
/// Debt ends at ten seconds of the rate: what cannot be throttled must not starve the rest for ever.
/// Thread rule: none of its own.
class token_bucket {
public:
  using time_point = std::chrono::steady_clock::time_point;

  token_bucket(std::uint64_t rate, time_point now) : last_(now) {
    set_rate(rate, now);
    tokens_ = burst();
  }

  std::uint64_t rate() const noexcept { return rate_; }
  void set_rate(std::uint64_t rate, time_point now) {
    settle(now);
    if (rate_ == unlimited) tokens_ = 0;
    rate_ = rate;
    clamp();
  }
  /// The most that is taken at once: 1 to 16 KiB, a thirty-second of a second where that lies between.
  std::size_t piece() const noexcept {
    return static_cast<std::size_t>(std::clamp<std::uint64_t>(rate_ / 32, 1024, 16 * 1024));
  }

  /// False: they are not there yet. Precondition: `n` is at most `piece()`, or the rate is `unlimited`.
  bool take(std::size_t n, time_point now) {
    if (rate_ == unlimited) return true;
    settle(now);
    if (rate_ == 0 || tokens_ < static_cast<double>(n)) return false;
    tokens_ -= static_cast<double>(n);
    return true;
  }
  /// They have passed already.
  void spend(std::uint64_t n, time_point now) {
    if (rate_ == unlimited || rate_ == 0) return;
    settle(now);
    tokens_ -= static_cast<double>(n);
    clamp();
  }
  /// They were taken, and did not pass.
  void give_back(std::uint64_t n) {
    if (rate_ == unlimited) return;
    tokens_ += static_cast<double>(n);
    clamp();
  }
  /// How long until `n` can be taken, if nobody else takes or spends any. Precondition: the rate is not 0.
  std::chrono::nanoseconds until(std::size_t n, time_point now) {
    settle(now);
    double const missing = rate_ == unlimited ? 0 : static_cast<double>(n) - tokens_;
    if (missing <= 0) return std::chrono::nanoseconds(0);
    return std::chrono::nanoseconds(static_cast<std::int64_t>(missing * 1e9 / static_cast<double>(rate_)) + 1);
  }

private:
  static constexpr double longest_debt = 10;  // seconds

  double burst() const noexcept {
    return std::max(2.0 * static_cast<double>(piece()), static_cast<double>(rate_) / 20);
  }
  void clamp() noexcept {
    if (rate_ != unlimited) tokens_ = std::clamp(tokens_, -longest_debt * static_cast<double>(rate_), burst());
  }
  void settle(time_point now) noexcept {
    if (now <= last_) return;
    double const seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    if (rate_ == unlimited) return;
    tokens_ += seconds * static_cast<double>(rate_);
    clamp();
  }

  std::uint64_t rate_ = 0;
  double tokens_ = 0;  // bytes; less than 0: owed
  time_point last_;
};

}  // namespace mgw::upstream
