#pragma once

#include <mgw/cache/key.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace gateway::audit {

/// One answer with bytes of an object.
struct piece {
  std::string device;  ///< and from where, for those without a name
  mgw::cache::key object;
  std::uint64_t from = 0, sent = 0;
  std::uint64_t length = 0;  ///< of the object; 0: not known
  bool cut = false;          ///< not all went out that was promised, or it was not what was asked for
};

/// What a device has of an object by now.
struct delivery {
  std::uint64_t from = 0, to = 0, length = 0;
  std::uint64_t pieces = 0;  ///< answers that it came in
  bool whole() const noexcept { return length != 0 && from == 0 && to == length; }
};

/// Puts the pieces of a download together: thousands of small ranges are one delivery, and so is a download that broke
/// off and went on. Nothing is to be recorded of a piece after which others are expected.
/// Memory: a bounded number of downloads under way; the least recent ones are given up. Thread rule: any thread.
class deliveries {
public:
  using clock = std::chrono::steady_clock;
  explicit deliveries(std::size_t most = 4096, std::chrono::seconds idle = std::chrono::hours(1))
      : most_(most), idle_(idle) {}

  struct ended {
    std::string device;
    mgw::cache::key object;
    delivery what;
  };

  /// What is to be recorded of this piece, if anything is.
  std::optional<delivery> take(piece const& p, clock::time_point now = clock::now()) {
    std::lock_guard const hold(mutex_);
    std::pair const id(p.device, p.object);
    auto it = open_.find(id);
    bool const goes_on = it != open_.end() && it->second.what.length == p.length && p.from >= it->second.what.from &&
                         p.from <= it->second.what.to;
    if (it == open_.end()) it = open_.emplace(id, entry()).first;
    entry& e = it->second;
    if (!goes_on) e.what = delivery{p.from, p.from, p.length, 0};
    e.what.to = std::max(e.what.to, p.from + p.sent);
    ++e.what.pieces;
    e.used = now;
    e.news = true;
    bool const at_end = p.length == 0 || e.what.to == p.length;
    if (!p.cut && !at_end) return std::nullopt;
    e.news = false;
    delivery const out = e.what;
    if (!p.cut) open_.erase(it);
    return out;
  }
  /// Those that will not be heard of again, and of which something is not recorded yet. `all`: it is the end.
  std::vector<ended> give_up(bool all, clock::time_point now = clock::now()) {
    std::lock_guard const hold(mutex_);
    std::vector<ended> out;
    auto const leave = [&](auto it) {
      if (it->second.news) out.push_back({it->first.first, it->first.second, it->second.what});
      return open_.erase(it);
    };
    for (auto it = open_.begin(); it != open_.end();)
      it = all || now - it->second.used >= idle_ ? leave(it) : std::next(it);
    if (open_.size() > most_) {  // some at once, so that this is not for each
      std::vector<decltype(open_.begin())> all_open;
      for (auto it = open_.begin(); it != open_.end(); ++it) all_open.push_back(it);
      auto const end = all_open.begin() + static_cast<std::ptrdiff_t>(open_.size() - most_ * 7 / 8);
      std::nth_element(all_open.begin(), end - 1, all_open.end(),
                       [](auto const& a, auto const& b) { return a->second.used < b->second.used; });
      for (auto it = all_open.begin(); it != end; ++it) leave(*it);
    }
    return out;
  }
  bool crowded() const {
    std::lock_guard const hold(mutex_);
    return open_.size() > most_;
  }

private:
  struct entry {
    delivery what;
    clock::time_point used;
    bool news = false;
  };
  std::size_t const most_;
  std::chrono::seconds const idle_;
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, mgw::cache::key>, entry> open_;
};

}  // namespace gateway::audit
