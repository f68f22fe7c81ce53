#pragma once

#include <mgw/cache/sha256.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mgw::mender {

/// Decisions that need not be taken again for a while: which device with which key and certificate needs nothing more.
/// Bounded; those that end first are forgotten first. Thread rule: any thread.
class decisions {
public:
  using clock = std::chrono::steady_clock;
  using key = cache::sha256_digest;

  explicit decisions(std::size_t max = 65'536) : max_(std::max<std::size_t>(max, 1)) {}

  bool has(key const& k) const {
    std::lock_guard const hold(mutex_);
    auto const it = until_.find(k);
    return it != until_.end() && clock::now() < it->second;
  }
  void remember(key const& k, clock::duration life) {
    auto const now = clock::now();
    std::lock_guard const hold(mutex_);
    if (until_.size() >= max_ && !until_.contains(k)) make_room(now);
    until_.insert_or_assign(k, now + life);
  }
  void forget(key const& k) {
    std::lock_guard const hold(mutex_);
    until_.erase(k);
  }
  std::size_t size() const {
    std::lock_guard const hold(mutex_);
    return until_.size();
  }

private:
  struct hash {
    std::size_t operator()(key const& k) const noexcept {
      std::size_t n = 0;
      std::memcpy(&n, k.data(), sizeof n);
      return n;
    }
  };
  /// Forgets what is over, and at least a quarter.
  void make_room(clock::time_point now) {
    std::vector<clock::time_point> ends;
    ends.reserve(until_.size());
    for (auto const& [k, end] : until_) ends.push_back(end);
    auto const nth = ends.begin() + static_cast<std::ptrdiff_t>(ends.size() / 4);
    std::nth_element(ends.begin(), nth, ends.end());
    auto const bound = std::max(*nth, now);
    std::erase_if(until_, [bound](auto const& e) { return e.second <= bound; });
  }

  std::size_t const max_;
  mutable std::mutex mutex_;
  std::unordered_map<key, clock::time_point, hash> until_;
};

}  // namespace mgw::mender
