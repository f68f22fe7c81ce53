#pragma once

#include <mgw/cache/key.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace gateway::status {

/// How a download stands.
enum class download_state : std::uint8_t {
  none,  ///< nothing was downloaded
  part,  ///< a range of it was served: others follow
  held,  ///< it waits: only of those that are running
  done,  ///< the device has got the artifact's last byte
  cut,   ///< the connection ended before
};

/// What is known of a device.
struct device_entry {
  std::int64_t seen = 0;                  ///< seconds since 1970
  std::string_view route;                 ///< of its last request: a literal
  std::optional<mgw::cache::key> object;  ///< what it downloaded last
  std::uint64_t bytes = 0, size = 0;      ///< of it: up to which byte it has come; size 0: not known
  download_state state = download_state::none;
  std::string why;
};

/// The devices that were seen, so many at most: those that were not seen for the longest time are forgotten. A device
/// has about 200 bytes here. Any thread; a device that is known, or takes the place of another, costs no allocation.
class device_table {
public:
  /// What a request that has ended tells.
  struct request {
    std::string_view device, route;
    std::int64_t now = 0;
    std::optional<mgw::cache::key> object;  ///< nothing: it was no download
    std::uint64_t bytes = 0, size = 0;
    download_state state = download_state::none;
    std::string_view why;
  };

  /// `shards`: how many locks share the work.
  explicit device_table(std::size_t most = 10'000, std::size_t shards = 16) : most_(most) {
    for (std::size_t i = 0; i != std::max<std::size_t>(1, shards); ++i) shards_.push_back(std::make_unique<shard>());
  }
  device_table(device_table const&) = delete;
  device_table& operator=(device_table const&) = delete;

  void note(request const& r) {
    if (r.device.empty()) return;
    std::string_view const name = r.device.substr(0, max_name);
    shard& s = *shards_[std::hash<std::string_view>()(name) % shards_.size()];
    std::lock_guard const hold(s.mutex);
    auto found = s.by_name.find(name);
    if (found == s.by_name.end()) {
      if (size_.load(std::memory_order_relaxed) < most_) {
        order one;  // in the list once it can be found
        one.emplace_front(std::string(name), device_entry());
        found = s.by_name.emplace(one.front().first, one.begin()).first;
        s.all.splice(s.all.begin(), one);
        size_.fetch_add(1, std::memory_order_relaxed);
      } else if (!s.all.empty()) {
        found = replace_oldest(s, name);
      } else {
        return;
      }
    } else {
      s.all.splice(s.all.begin(), s.all, found->second);
    }
    device_entry& e = found->second->second;
    e.seen = r.now;
    e.route = r.route;
    if (!r.object) return;
    e.object = r.object;
    e.bytes = r.bytes;
    e.size = r.size;
    e.state = r.state;
    e.why = r.why.substr(0, max_why);
  }
  std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  /// A copy of all, in no order.
  std::vector<std::pair<std::string, device_entry>> all() const {
    std::vector<std::pair<std::string, device_entry>> out;
    out.reserve(size());
    for (auto const& s : shards_) {
      std::lock_guard const hold(s->mutex);
      out.insert(out.end(), s->all.begin(), s->all.end());
    }
    return out;
  }

private:
  static constexpr std::size_t max_name = 100, max_why = 200;  // bytes
  using order = std::list<std::pair<std::string, device_entry>>;
  using names = std::unordered_map<std::string_view, order::iterator>;
  struct shard {
    std::mutex mutex;
    order all;      // the last seen first
    names by_name;  // the texts are those of `all`
    std::string spare;
  };
  /// Of this shard's, which stand for all: names are spread evenly. Without an allocation as a rule: where there are more
  /// devices than places, that is what many requests come to. Precondition: it is locked, and has one.
  static names::iterator replace_oldest(shard& s, std::string_view name) {
    s.spare = name;  // what can fail comes first
    auto place = s.by_name.extract(s.all.back().first);
    s.all.splice(s.all.begin(), s.all, std::prev(s.all.end()));
    s.all.front().first.swap(s.spare);
    s.all.front().second = device_entry();
    place.key() = s.all.front().first;
    place.mapped() = s.all.begin();
    return s.by_name.insert(std::move(place)).position;
  }

  std::size_t const most_;
  std::atomic<std::size_t> size_{0};
  std::vector<std::unique_ptr<shard>> shards_;
};

}  // namespace gateway::status
