#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mgw::cache {

namespace crc_detail {

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
  return table;
}

inline constexpr std::array<std::uint32_t, 256> table = make_table();

}  // namespace crc_detail

/// CRC-32C (Castagnoli) of `bytes`, going on from `before`, the checksum of what came earlier. For small records.
/// Source: RFC 3720 B.4.
constexpr std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0) noexcept {
  std::uint32_t c = ~before;
  for (char const b : bytes) c = crc_detail::table[(c ^ static_cast<unsigned char>(b)) & 0xff] ^ (c >> 8);
  return ~c;
}

}  // namespace mgw::cache
