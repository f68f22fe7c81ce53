#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

namespace mgw::cache {

/// What of a file was found in memory less than a second ago: that is taken to be there still. To look costs a quarter of
/// sending it, and many clients of one object want the same.
///
/// Thread rule: any thread.
class resident_blocks {
public:
  using clock = std::chrono::steady_clock;
  static constexpr std::uint64_t block = std::uint64_t{2} << 20;  ///< bytes that are looked at together

  /// Whether all of these bytes are in memory, or were. `look(offset, n)` says how many are, from there on.
  template <class Look>
  bool all(std::uint64_t offset, std::uint64_t n, clock::time_point now, Look look) noexcept {
    for (std::uint64_t const end = offset + n; offset < end;) {
      std::uint64_t const begin = offset / block * block, to = std::min(end, begin + block);
      // Of a block of which less is there, the piece itself is looked at each time.
      if (to > begin + front(begin, now, look) && look(offset, to - offset) < to - offset) return false;
      offset = to;
    }
    return true;
  }

private:
  struct known {
    std::uint64_t front = 0;  // so many bytes of it, from its beginning on
    clock::time_point since{};
  };

  template <class Look>
  std::uint64_t front(std::uint64_t begin, clock::time_point now, Look look) noexcept;

  std::mutex mutex_;
  std::vector<known> blocks_;
};

template <class Look>
std::uint64_t resident_blocks::front(std::uint64_t begin, clock::time_point now, Look look) noexcept {
  std::size_t const i = begin / block;
  {
    std::lock_guard const hold(mutex_);
    if (i < blocks_.size() && now - blocks_[i].since < std::chrono::seconds(1)) return blocks_[i].front;
  }
  std::uint64_t const found = look(begin, block);
  try {
    std::lock_guard const hold(mutex_);
    if (i >= blocks_.size()) blocks_.resize(i + 1);
    blocks_[i] = {found, now};
  } catch (std::bad_alloc const&) {  // then it is not remembered
  }
  return found;
}

}  // namespace mgw::cache
