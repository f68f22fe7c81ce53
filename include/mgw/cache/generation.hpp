#pragma once

#include <mgw/cache/key.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace mgw::cache {

/// Names the generation of an object that a response belongs to: equal numbers, equal bytes. 0: nothing tells.
///
/// A strong ETag names it alone; else the date and the length do. Not for defence: whoever chooses the validators
/// chooses the bytes, too. Source: RFC 9110 8.8.
inline std::uint64_t generation_of(std::string_view etag, std::string_view last_modified,
                                   std::optional<std::uint64_t> length) noexcept {
  constexpr std::uint64_t basis = 0xcbf29ce484222325, prime = 0x100000001b3;  // FNV-1a
  bool const strong = etag.starts_with('"');
  if (!strong && last_modified.empty()) return 0;
  std::uint64_t hash = basis;
  auto const add = [&hash](unsigned char byte) { hash = (hash ^ byte) * prime; };
  for (char const c : strong ? etag : last_modified) add(static_cast<unsigned char>(c));
  if (!strong && length)
    for (int i = 0; i < 8; ++i) add(static_cast<unsigned char>(*length >> (8 * i)));
  return hash == 0 ? 1 : hash;
}

/// The generation of an imported object: its key (import_key) says which bytes it has.
inline std::uint64_t import_generation(key const& k) noexcept {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < 8; ++i) n = n << 8 | k.bytes()[i];
  return n == 0 ? 1 : n;
}

}  // namespace mgw::cache
