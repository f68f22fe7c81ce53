#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

namespace mgw::cache {

/// What of a file was found in memory less than a second ago: that is taken to be there still. Many clients of one
/// object want the same, and to look is not free beside sendfile(2).
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
      if (!front_reaches(begin, offset, to, now, look)) return false;
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
  bool front_reaches(std::uint64_t begin, std::uint64_t offset, std::uint64_t to, clock::time_point now,
                     Look look) noexcept;
  void keep(std::uint64_t begin, known k) noexcept;

  std::mutex mutex_;
  std::vector<known> blocks_;
};

/// Of a block of which less was there, what comes behind that is looked at again: it may have grown.
template <class Look>
bool resident_blocks::front_reaches(std::uint64_t begin, std::uint64_t offset, std::uint64_t to, clock::time_point now,
                                    Look look) noexcept {
  known k;
  {
    std::size_t const i = begin / block;
    std::lock_guard const hold(mutex_);
    if (i < blocks_.size()) k = blocks_[i];
  }
  bool const old = now - k.since >= std::chrono::seconds(1);
  if (old) k = {look(begin, block), now};
  bool const longer = to > begin + k.front && offset <= begin + k.front;
  if (longer) k.front += look(begin + k.front, to - begin - k.front);
  if (old || longer) keep(begin, k);
  return to <= begin + k.front || (!longer && look(offset, to - offset) == to - offset);
}

inline void resident_blocks::keep(std::uint64_t begin, known k) noexcept try {
  std::size_t const i = begin / block;
  std::lock_guard const hold(mutex_);
  if (i >= blocks_.size()) blocks_.resize(i + 1);
  blocks_[i] = k;
} catch (std::bad_alloc const&) {  // then it is not remembered
}

}  // namespace mgw::cache
