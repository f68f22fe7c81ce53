#pragma once

#include <mgw/net/deadline.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace mgw::net {

/// Ends a stream to which nothing gets through any more: no write ends, and the peer acknowledges nothing, for so long.
///
/// A write has ended when the system has taken the bytes, which may be a megabyte at once; a thin link carries that for
/// minutes. So what was written is looked at from time to time (Stream: `acknowledged`), and while it gets on, that is
/// no silence, at whatever rate. Never early; late by the eighth of the time between two looks, and a tick. A stream
/// that cannot say what is acknowledged has the plain time. `Watched`: any_stream, or what stands for several streams,
/// with `cancel` and `acknowledged`. Thread rule and lifetime: as deadline.
template <class Watched>
class silence_limit {
public:
  using clock = deadline_queue::clock;

  silence_limit(deadline_queue& queue, Watched& s) noexcept : stream_(s), limit_(queue, *this) {}
  silence_limit(silence_limit const&) = delete;
  silence_limit& operator=(silence_limit const&) = delete;

  /// From now on something must get through: within `silence`, and so again and again. Replaces what it was armed for.
  void arm(std::chrono::milliseconds silence) {
    constexpr std::chrono::milliseconds year = std::chrono::hours(24 * 365);
    silence_ = std::clamp(silence, std::chrono::milliseconds::zero(), year);
    since_ = clock::now();
    acknowledged_.reset();
    limit_.arm_at(since_ + between_looks());
  }
  /// The same for a time that what was written has no part in: that of reading.
  void arm_plain(std::chrono::milliseconds time) {
    silence_ = std::chrono::milliseconds::zero();
    limit_.arm(time);
  }
  void disarm() noexcept { limit_.disarm(); }
  bool expired() const noexcept { return limit_.expired(); }

  // For the deadline.
  void cancel() noexcept { stream_.cancel(); }
  std::optional<clock::time_point> put_off(clock::time_point now) noexcept {
    if (silence_ == std::chrono::milliseconds::zero()) return std::nullopt;
    clock::time_point const end = since_ + silence_;
    std::optional<std::int64_t> const got = stream_.acknowledged();
    if (!got) return now < end ? std::optional(end) : std::nullopt;
    if (!acknowledged_ || *got > *acknowledged_) {
      acknowledged_ = got;
      since_ = now;
      return now + between_looks();
    }
    return now < end ? std::optional(std::min(end, now + between_looks())) : std::nullopt;
  }

private:
  clock::duration between_looks() const noexcept { return clock::duration(silence_) / 8; }

  Watched& stream_;
  deadline limit_;
  std::chrono::milliseconds silence_{0};
  clock::time_point since_;                   // when something was seen to get through
  std::optional<std::int64_t> acknowledged_;  // at the last look
};

}  // namespace mgw::net
