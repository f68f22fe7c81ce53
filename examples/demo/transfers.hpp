#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>

namespace demo {

/// What happens to the artifact store's transfers, and what is counted of them. Thread rule: any thread.
class transfers {
public:
  using clock = std::chrono::steady_clock;
  enum class mode { open, held, refusing };

  /// Bytes per second of all transfers together; 0: no limit.
  void limit_rate(std::uint64_t bytes_per_s) {
    std::lock_guard const lock(mutex_);
    rate_ = bytes_per_s;
    free_at_ = clock::now();
  }
  /// The connection that brings the `n`-th byte from now on breaks behind it.
  void cut_after(std::uint64_t n) {
    std::lock_guard const lock(mutex_);
    cut_in_ = n;
  }
  void set(mode m) {
    std::lock_guard const lock(mutex_);
    mode_ = m;
  }
  mode what() const {
    std::lock_guard const lock(mutex_);
    return mode_;
  }

  /// The next piece of a transfer: how much, when, and whether the connection breaks after it.
  struct piece {
    std::size_t size = 0;
    clock::time_point when;
    bool cut = false;
  };
  piece next(std::uint64_t left, std::size_t room) {
    std::lock_guard const lock(mutex_);
    piece p;
    std::uint64_t n = std::min<std::uint64_t>(left, room);
    if (rate_ != 0) n = std::min(n, std::max<std::uint64_t>(rate_ / 20, 512));  // smooth: twenty pieces a second
    if (cut_in_ && *cut_in_ <= n) {
      n = *cut_in_;
      cut_in_.reset();
      p.cut = true;
    } else if (cut_in_) {
      *cut_in_ -= n;
    }
    p.size = static_cast<std::size_t>(n);
    p.when = clock::now();
    if (rate_ != 0) {
      p.when = std::max(p.when, free_at_);
      free_at_ = p.when + std::chrono::nanoseconds(n * 1'000'000'000 / rate_);
    }
    return p;
  }

  void request() {
    std::lock_guard const lock(mutex_);
    ++requests_;
  }
  /// Bytes [first, first + n) of the artifact have left.
  void sent(std::uint64_t first, std::uint64_t n) {
    std::lock_guard const lock(mutex_);
    bytes_ += n;
    std::uint64_t last = first + n;
    auto it = seen_.upper_bound(first);
    if (it != seen_.begin() && std::prev(it)->second >= first) --it;  // joins the one before
    while (it != seen_.end() && it->first <= last) {
      first = std::min(first, it->first);
      last = std::max(last, it->second);
      distinct_ -= it->second - it->first;
      it = seen_.erase(it);
    }
    seen_.emplace(first, last);
    distinct_ += last - first;
  }
  struct counts {
    std::uint64_t requests = 0, bytes = 0, distinct = 0;
  };
  counts counted() const {
    std::lock_guard const lock(mutex_);
    counts c;
    c.requests = requests_;
    c.bytes = bytes_;
    c.distinct = distinct_;
    return c;
  }

private:
  mutable std::mutex mutex_;
  mode mode_ = mode::open;
  std::uint64_t rate_ = 0;
  clock::time_point free_at_{};
  std::optional<std::uint64_t> cut_in_;
  std::uint64_t requests_ = 0, bytes_ = 0, distinct_ = 0;
  std::map<std::uint64_t, std::uint64_t> seen_;  // disjoint [first, end) that were sent at least once
};

}  // namespace demo
