#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace mgw {

/// Lets one through in so much time for each name, of up to `most` names at once; the names beyond share one. So what
/// one peer does makes no flood of log lines, and hides nothing of others. Any thread. See seldom for a single one.
class seldom_each {
public:
  using clock = std::chrono::steady_clock;
  seldom_each(std::chrono::seconds pause, std::size_t most) : pause_(pause), most_(most) {}

  bool due(std::string_view name, clock::time_point now = clock::now()) {
    std::lock_guard const lock(mutex_);
    if (auto const known = last_.find(name); known != last_.end()) return passes(known->second, now);
    if (last_.size() >= most_ && now - cleaned_ >= pause_ / 8) {  // a look at all of them, but not for each name
      cleaned_ = now;
      std::erase_if(last_, [&](auto const& e) { return now - e.second >= pause_; });
    }
    if (last_.size() >= most_) return passes(others_, now);
    last_.emplace(name, now);
    return true;
  }

private:
  bool passes(clock::time_point& last, clock::time_point now) const {
    if (now - last < pause_) return false;
    last = now;
    return true;
  }

  static constexpr clock::time_point never = clock::time_point(clock::duration::min() / 2);
  std::chrono::seconds const pause_;
  std::size_t const most_;
  std::mutex mutex_;
  std::map<std::string, clock::time_point, std::less<>> last_;
  clock::time_point cleaned_ = never, others_ = never;
};

}  // namespace mgw
