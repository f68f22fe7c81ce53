#pragma once

#include <asio/buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <span>

namespace mgw {

/// Takes the first `n` bytes off `all`, and with them every buffer that is empty now: what is left to be written.
/// Precondition: `n` is at most the size of all of them.
inline void drop_front(std::span<asio::const_buffer>& all, std::size_t n) noexcept {
  while (!all.empty()) {
    asio::const_buffer& first = all.front();
    std::size_t const part = std::min(n, first.size());
    first += part;
    n -= part;
    if (first.size() != 0) return;
    all = all.subspan(1);
  }
}

}  // namespace mgw
