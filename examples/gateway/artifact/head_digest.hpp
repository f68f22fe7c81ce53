#pragma once

#include <mgw/cache/sha256.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <string>
#include <string_view>

namespace gateway {

/// A digest of what a Mender artifact says of itself at its beginning: equal for two files that install the same, even
/// if one was compressed anew. (A manifest has the checksum of every file that is installed.)
///
/// SHA-256 over the entries `version`, `manifest`, `manifest.sig` and `manifest-augment`, those that are there, in the
/// order of the file; of each its name, a NUL, its size as a decimal number, a NUL, and its bytes as they are stored.
class head_digest {
public:
  /// Whether the entry of this name counts. What follows the last of these is not needed for the digest.
  static bool counts(std::string_view entry) noexcept {
    constexpr std::array<std::string_view, 4> names{"version", "manifest", "manifest.sig", "manifest-augment"};
    return std::find(names.begin(), names.end(), entry) != names.end();
  }

  /// Adds the next entry, whole. Precondition: it counts.
  void add(std::string_view entry, std::string_view content) noexcept {
    char size[24] = {};
    auto const end = std::to_chars(size, size + sizeof size, content.size()).ptr;
    for (std::string_view const part : {entry, nul, std::string_view(size, end), nul, content})
      if (hash_.update(part)) failed_ = true;
  }

  /// 64 lower-case digits; empty if the crypto library failed.
  std::string hex() const {
    mgw::cache::sha256_digest out{};
    return failed_ || hash_.digest(out) ? std::string() : mgw::cache::to_hex(out);
  }

private:
  static constexpr std::string_view nul{"\0", 1};

  mgw::cache::sha256 hash_;
  bool failed_ = false;
};

}  // namespace gateway
