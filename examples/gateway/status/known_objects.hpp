#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/http/uri.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace gateway::status {

/// What is known of objects beside what the cache keeps: the name and the host under which the server offered them, and
/// how often they were served from the cache. Of so many; for one more, some other one is forgotten. Any thread.
class known_objects {
public:
  struct object {
    std::string name, host;  ///< empty: not known
    std::uint64_t hits = 0;
  };

  explicit known_objects(std::size_t most = 4096) : most_(most) {}

  void offered(mgw::cache::key const& k, std::string_view name, std::string_view url) {
    std::lock_guard const hold(mutex_);
    object& o = of(k);
    name = name.substr(0, max_name);
    if (o.name != name) o.name = name;
    if (!o.host.empty()) return;  // it is a part of what the key is made of
    if (auto const uri = mgw::http::parse_uri(url)) o.host = uri->authority.substr(0, max_name);
  }
  void hit(mgw::cache::key const& k) {
    std::lock_guard const hold(mutex_);
    ++of(k).hits;
  }
  object find(mgw::cache::key const& k) const {
    std::lock_guard const hold(mutex_);
    auto const at = all_.find(k);
    return at == all_.end() ? object() : at->second;
  }
  /// Calls `f(key, name)` for each that has a name. Precondition: `f` calls nothing here.
  template <class F>
  void each_name(F f) const {
    std::lock_guard const hold(mutex_);
    for (auto const& [k, o] : all_)
      if (!o.name.empty()) f(k, o.name);
  }

private:
  static constexpr std::size_t max_name = 300;  // bytes
  object& of(mgw::cache::key const& k) {
    auto const at = all_.find(k);
    if (at != all_.end()) return at->second;
    if (all_.size() >= most_) all_.erase(all_.begin());
    return all_[k];
  }

  std::size_t const most_;
  mutable std::mutex mutex_;
  std::unordered_map<mgw::cache::key, object> all_;
};

}  // namespace gateway::status
