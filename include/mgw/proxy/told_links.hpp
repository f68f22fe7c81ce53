#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/proxy/fetch_options.hpp>

#include <cstddef>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

namespace mgw::proxy {

/// The newest link of each object that polls have told, of the `most` objects that were told last: a client may come
/// with an older one, which the upstream takes no more. Thread rule: any thread.
class told_links {
public:
  explicit told_links(std::size_t most = 256) : most_(most) {}

  void offer(cache::key const& k, fetch_source source) {
    std::lock_guard const hold(mutex_);
    if (auto const it = places_.find(k); it != places_.end()) {
      all_.splice(all_.begin(), all_, it->second);
      if (all_.front().second.issued <= source.issued) all_.front().second = std::move(source);
      return;
    }
    all_.emplace_front(k, std::move(source));
    places_[k] = all_.begin();
    if (all_.size() <= most_) return;
    places_.erase(all_.back().first);
    all_.pop_back();
  }
  std::optional<fetch_source> newest(cache::key const& k) const {
    std::lock_guard const hold(mutex_);
    auto const it = places_.find(k);
    return it == places_.end() ? std::nullopt : std::optional(it->second->second);
  }

private:
  using entry = std::pair<cache::key, fetch_source>;

  std::size_t const most_;
  mutable std::mutex mutex_;
  std::list<entry> all_;  // the one that was told last is first
  std::unordered_map<cache::key, std::list<entry>::iterator> places_;
};

}  // namespace mgw::proxy
