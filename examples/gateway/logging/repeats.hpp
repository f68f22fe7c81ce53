#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

/// Lets a line through that is the same as one before only once in so much time, and says then how many were left out.
/// Of so many different lines at once; those beyond pass. Any thread.
class repeats {
public:
  using clock = std::chrono::steady_clock;
  explicit repeats(std::chrono::seconds pause = std::chrono::seconds(10), std::size_t most = 256)
      : pause_(pause), most_(most) {}

  /// Nothing: the line is not to be written. Else how many of it were not, since it was the last time.
  std::optional<std::uint64_t> due(std::string_view line, clock::time_point now = clock::now()) {
    std::lock_guard const lock(mutex_);
    if (auto const known = last_.find(line); known != last_.end()) {
      if (now - known->second.when < pause_) {
        ++known->second.left_out;
        return std::nullopt;
      }
      known->second.when = now;
      return std::exchange(known->second.left_out, 0);
    }
    if (last_.size() >= most_) std::erase_if(last_, [&](auto const& e) { return now - e.second.when >= pause_; });
    if (last_.size() < most_) last_.emplace(line, seen{now, 0});
    return 0;
  }

private:
  struct seen {
    clock::time_point when;
    std::uint64_t left_out;
  };
  std::chrono::seconds const pause_;
  std::size_t const most_;
  std::mutex mutex_;
  std::map<std::string, seen, std::less<>> last_;
};

}  // namespace gateway
