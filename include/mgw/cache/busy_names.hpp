#pragma once

#include <algorithm>
#include <cassert>
#include <concepts>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

namespace mgw::cache {

/// Names that are being worked on: whoever needs one of them waits for that one alone, not for the rest.
///
/// Thread rule: any thread. Who holds some may not wait for more of the same kind, except for what it took at once:
/// that could be forever. A hold is released by any thread.
template <std::equality_comparable Name>
class busy_names {
public:
  /// The names are busy until it goes.
  class hold {
  public:
    hold() = default;
    hold(hold&& other) noexcept : of_(std::exchange(other.of_, nullptr)), names_(std::move(other.names_)) {}
    hold& operator=(hold other) noexcept {
      std::swap(of_, other.of_);
      names_.swap(other.names_);
      return *this;
    }
    ~hold() {
      if (of_ != nullptr) of_->release(names_);
    }
    explicit operator bool() const noexcept { return of_ != nullptr; }

  private:
    friend class busy_names;
    hold(busy_names* of, std::vector<Name> names) : of_(of), names_(std::move(names)) {}
    busy_names* of_ = nullptr;
    std::vector<Name> names_;  // empty: all
  };

  /// Waits until none of these is busy, then takes them all. Precondition of this and `try_take`: there is one at
  /// least.
  hold take(std::vector<Name> names) {
    std::unique_lock lock(mutex_);
    released_.wait(lock, [&] { return free(names); });
    return mark(std::move(names));
  }
  /// The same without waiting; empty if one of them is busy.
  hold try_take(std::vector<Name> names) {
    std::lock_guard const lock(mutex_);
    return free(names) ? mark(std::move(names)) : hold();
  }
  /// Waits until nothing is busy, then takes everything. Others may go first.
  hold take_all() {
    std::unique_lock lock(mutex_);
    released_.wait(lock, [&] { return !all_ && busy_.empty(); });
    all_ = true;
    return hold(this, {});
  }

private:
  bool free(std::vector<Name> const& names) const {
    return !all_ && std::none_of(names.begin(), names.end(), [this](Name const& n) {
      return std::find(busy_.begin(), busy_.end(), n) != busy_.end();
    });
  }
  hold mark(std::vector<Name> names) {
    assert(!names.empty());
    busy_.insert(busy_.end(), names.begin(), names.end());
    return hold(this, std::move(names));
  }
  void release(std::vector<Name> const& names) noexcept {
    {
      std::lock_guard const lock(mutex_);
      if (names.empty()) all_ = false;
      for (auto const& n : names) std::erase(busy_, n);
    }
    released_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable released_;
  std::vector<Name> busy_;  // a few: one or two for each thread of the pool
  bool all_ = false;
};

}  // namespace mgw::cache
