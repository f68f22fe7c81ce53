#pragma once

#include <algorithm>
#include <chrono>
#include <random>

namespace mgw::proxy {

/// Pauses between tries: each twice as long as the one before up to a most, by chance shorter by up to a half, so that
/// those who were cut together do not come back together. Thread rule: none of its own.
class backoff {
public:
  using milliseconds = std::chrono::milliseconds;

  /// Precondition: 0 < `first` <= `most`.
  backoff(milliseconds first, milliseconds most, unsigned seed = any_seed())
      : first_(first), most_(std::max(first, most)), full_(first_), random_(seed) {}

  /// How long to wait now: more than half of what is due, and a millisecond more than it at most.
  milliseconds next() {
    std::uniform_int_distribution<milliseconds::rep> chance(0, full_.count() / 2);
    auto const pause = full_ / 2 + milliseconds(chance(random_) + 1);
    full_ = full_ > most_ / 2 ? most_ : full_ * 2;
    return pause;
  }
  /// Something went well.
  void reset() noexcept { full_ = first_; }
  /// The next pause is as long as they get.
  bool at_most() const noexcept { return full_ == most_; }

private:
  /// The system is asked for chance once for each thread, not for each client.
  static unsigned any_seed() {
    thread_local std::mt19937 seeds(std::random_device{}());
    return static_cast<unsigned>(seeds());
  }

  milliseconds first_, most_, full_;
  std::minstd_rand random_;
};

}  // namespace mgw::proxy
