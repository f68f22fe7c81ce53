#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/proxy/fetch_job.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mgw::proxy {

/// Objects that were opened a moment ago: who comes within `keep` shares them, and nothing asks the disk for them
/// again. Whether the store still has them is asked by the finder each time; what was done to the directory behind the
/// store's back shows when they are opened anew.
///
/// Thread rule: any thread. Lives longer than the contexts of the executors that it is given.
class recent_hits {
  using clock = std::chrono::steady_clock;

public:
  /// `keep` 0 or `most` 0: nothing is kept.
  recent_hits(std::chrono::milliseconds keep, std::size_t most) : keep_(keep), most_(keep.count() > 0 ? most : 0) {}

  /// What was opened under this key within `keep`; null: nothing.
  std::shared_ptr<fetch_job> find(cache::key const& k) const {
    if (most_ == 0) return nullptr;
    std::lock_guard const lock(mutex_);
    auto const it = opened_.find(k);
    return it != opened_.end() && clock::now() < it->second.until ? it->second.job : nullptr;
  }
  /// Keeps what has just been opened, unless there are `most` already; `executor` is where it is let go.
  void keep(cache::key const& k, std::shared_ptr<fetch_job> job, asio::any_io_executor const& executor) {
    std::shared_ptr<fetch_job> old;  // destroyed without the lock
    if (most_ == 0) return;
    std::lock_guard const lock(mutex_);
    auto const it = opened_.find(k);
    if (it == opened_.end() && opened_.size() >= most_) return;
    auto& mine = it != opened_.end() ? it->second : opened_[k];
    old = std::exchange(mine.job, std::move(job));
    mine.until = clock::now() + keep_;
    if (!swept_) sweep_later(executor);
  }
  /// Lets go of one, or of all.
  void drop(cache::key const& k) {
    std::shared_ptr<fetch_job> old;
    std::lock_guard const lock(mutex_);
    auto const it = opened_.find(k);
    if (it == opened_.end()) return;
    old = std::move(it->second.job);
    opened_.erase(it);
  }
  void clear() {
    std::unordered_map<cache::key, entry> old;
    std::lock_guard const lock(mutex_);
    old.swap(opened_);
  }

private:
  struct entry {
    std::shared_ptr<fetch_job> job;
    clock::time_point until;
  };

  void sweep_later(asio::any_io_executor const& executor) {
    auto const timer = std::make_shared<asio::steady_timer>(executor, keep_);
    timer->async_wait([this, timer](std::error_code) { sweep(timer->get_executor()); });
    swept_ = true;
  }
  void sweep(asio::any_io_executor const& executor) {
    std::vector<std::shared_ptr<fetch_job>> old;
    std::lock_guard const lock(mutex_);
    auto const now = clock::now();
    swept_ = false;
    for (auto it = opened_.begin(); it != opened_.end();) {
      if (now < it->second.until) {
        ++it;
        continue;
      }
      old.push_back(std::move(it->second.job));
      it = opened_.erase(it);
    }
    if (!opened_.empty()) sweep_later(executor);
  }

  std::chrono::milliseconds const keep_;
  std::size_t const most_;
  mutable std::mutex mutex_;
  std::unordered_map<cache::key, entry> opened_;
  bool swept_ = false;  // a sweep is on its way
};

}  // namespace mgw::proxy
