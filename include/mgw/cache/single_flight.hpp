#pragma once

#include <mgw/cache/key.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mgw::cache {

/// One piece of work per key, whoever asks first starts it and everybody else joins.
///
/// Thread rule: any thread. The lock is held for a look-up only, `make` runs under it and must be quick.
template <class Work>
class single_flight {
public:
  struct ticket {
    std::shared_ptr<Work> work;
    bool started = false;  ///< this call made it: the caller runs it
  };

  /// The work for `k`, made by `make()` if there is none.
  template <class Make>
  ticket join(key const& k, Make const& make) {
    std::lock_guard const lock(mutex_);
    auto const it = running_.find(k);
    if (it != running_.end()) return {it->second, false};
    std::shared_ptr<Work> made = make();
    running_.emplace(k, made);
    return {std::move(made), true};
  }
  /// The work for `k` if there is any.
  std::shared_ptr<Work> find(key const& k) const {
    std::lock_guard const lock(mutex_);
    auto const it = running_.find(k);
    return it == running_.end() ? nullptr : it->second;
  }
  /// Ends the work for `k`; who joined keeps his share. No effect if another one has taken its place.
  void leave(key const& k, Work const* work) {
    std::lock_guard const lock(mutex_);
    auto const it = running_.find(k);
    if (it != running_.end() && it->second.get() == work) running_.erase(it);
  }
  void clear() {
    std::lock_guard const lock(mutex_);
    running_.clear();
  }
  std::vector<std::shared_ptr<Work>> all() const {
    std::lock_guard const lock(mutex_);
    std::vector<std::shared_ptr<Work>> v;
    v.reserve(running_.size());
    for (auto const& [k, work] : running_) v.push_back(work);
    return v;
  }
  std::size_t size() const {
    std::lock_guard const lock(mutex_);
    return running_.size();
  }

private:
  mutable std::mutex mutex_;
  std::unordered_map<key, std::shared_ptr<Work>> running_;
};

}  // namespace mgw::cache
