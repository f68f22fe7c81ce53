#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <functional>

namespace mgw::cache {

/// Which link a client came with: 16 bytes, evenly spread, that no two links have in common.
struct link_id {
  std::array<unsigned char, 16> bytes{};
  friend bool operator==(link_id const&, link_id const&) noexcept = default;
};

}  // namespace mgw::cache

template <>
struct std::hash<mgw::cache::link_id> {
  std::size_t operator()(mgw::cache::link_id const& l) const noexcept {
    std::size_t h = 0;
    std::memcpy(&h, l.bytes.data(), sizeof h);
    return h;
  }
};
