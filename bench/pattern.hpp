#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace bench {

/// Artifacts are this text, repeated: its length is a prime, so that a piece in the wrong place never looks right, and
/// it does not compress.
inline constexpr std::size_t pattern_size = 65521;

/// The pattern four times over: any `3 * pattern_size` bytes of an artifact lie in one piece, from `offset %
/// pattern_size` on.
inline std::string const& pattern() {
  static std::string const text = [] {
    std::string out(4 * pattern_size, '\0');
    std::uint32_t state = 2463534242u;
    for (std::size_t i = 0; i < pattern_size; ++i) {
      state ^= state << 13, state ^= state >> 17, state ^= state << 5;
      out[i] = static_cast<char>(state >> 24);
    }
    for (std::size_t i = pattern_size; i < out.size(); ++i) out[i] = out[i - pattern_size];
    return out;
  }();
  return text;
}

}  // namespace bench
