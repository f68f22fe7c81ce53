#pragma once

#include <algorithm>
#include <cstdint>

namespace gateway {

/// What the cache may keep on a file system, in bytes, by the rules of mgw::cache::disk_store.
struct cache_room {
  std::uint64_t most = 0;   ///< MaxSize
  std::uint64_t spare = 0;  ///< MinFree
  std::uint64_t reach = 0;  ///< what there is room for, whatever MaxSize says
  std::uint64_t room = 0;   ///< what can be kept

  /// `total`, `available`: of the file system, the latter for whom the gateway runs as; `used`: what the cache has
  /// taken; limits of 0 are the defaults.
  cache_room(std::uint64_t total, std::uint64_t available, std::uint64_t used, std::uint64_t max_size,
             std::uint64_t min_free)
      : most(max_size != 0 ? max_size : total / 10 * 9), spare(min_free != 0 ? min_free : total / 20) {
    reach = available + used - std::min(available + used, spare);
    room = std::min(most, reach);
  }
};

}  // namespace gateway
