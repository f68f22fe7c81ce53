#pragma once

#include <atomic>
#include <chrono>

namespace mgw {

/// Lets one through in so much time: a burst is one log line, a lasting state is seen again. Any thread.
class seldom {
public:
  explicit seldom(std::chrono::seconds pause) noexcept : pause_(pause) {}

  bool due() noexcept {
    auto const now = clock::now().time_since_epoch();
    auto last = last_.load();
    return now - last >= pause_ && last_.compare_exchange_strong(last, now);
  }

private:
  using clock = std::chrono::steady_clock;
  std::chrono::seconds const pause_;
  std::atomic<clock::duration> last_{clock::duration::min() / 2};
};

}  // namespace mgw
