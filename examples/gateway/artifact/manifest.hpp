#pragma once

#include "artifact/error.hpp"
#include "artifact/unpacker.hpp"

#include <mgw/cache/sha256.hpp>
#include <mgw/core/result.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

/// A plain file name of letters, digits, `-`, `_`, `.` and `,`, as payload files have.
inline bool is_plain_name(std::string_view name) noexcept {
  constexpr std::string_view may_have = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.,";
  return !name.empty() && name != "." && name != ".." && name.find_first_not_of(may_have) == std::string_view::npos;
}

/// What follows `prefix` and a payload's number of four digits and a slash in `name`; empty if that is not its form.
inline std::string_view name_in_payload(std::string_view name, std::string_view prefix) noexcept {
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  if (name.size() < 6 || name[4] != '/' || name.substr(0, 4).find_first_not_of("0123456789") != std::string_view::npos)
    return {};
  return name.substr(5);
}

/// The lines of a manifest: the checksum of each file, and whether the file was seen.
class manifest {
public:
  enum class kind { main, augment };
  struct line {
    std::string sha256;  ///< 64 lower-case digits
    bool seen = false;
  };
  using map = std::map<std::string, line, std::less<>>;

  /// Reads lines of the form `<64 lower-case hex digits><two spaces><name><LF>`. Names are those of what the artifact
  /// has: `version` and header.tar, with its suffix, in the main one; header-augment.tar in the augment; files of
  /// payloads in either. None is there twice; header (and version) must be there.
  static mgw::result<manifest> parse(std::string_view text, kind which) {
    manifest out;
    while (!text.empty()) {
      std::size_t const end = text.find('\n');
      if (end == std::string_view::npos) return artifact_error::bad_manifest;
      std::string_view const one = text.substr(0, end);
      text.remove_prefix(end + 1);
      if (one.size() < 67 || !mgw::cache::is_sha256_hex(one.substr(0, 64)) || one.substr(64, 2) != "  ")
        return artifact_error::bad_manifest;
      std::string_view const name = one.substr(66);
      bool const is_header =
          compression_of(name, which == kind::main ? "header.tar" : "header-augment.tar").has_value();
      bool const is_version = which == kind::main && name == "version";
      if (!is_header && !is_version && !is_plain_name(name_in_payload(name, "data/")))
        return artifact_error::bad_manifest;
      if (is_header && !std::exchange(out.header_, std::string(name)).empty()) return artifact_error::bad_manifest;
      if (!out.lines_.emplace(name, line{std::string(one.substr(0, 64)), false}).second)
        return artifact_error::bad_manifest;
    }
    if (out.header_.empty() || (which == kind::main && !out.lines_.contains("version")))
      return artifact_error::incomplete_manifest;
    return out;
  }

  /// The name that the header has.
  std::string const& header() const noexcept { return header_; }
  map const& lines() const noexcept { return lines_; }
  line* find(std::string_view name) {
    auto const at = lines_.find(name);
    return at == lines_.end() ? nullptr : &at->second;
  }

private:
  map lines_;
  std::string header_;
};

}  // namespace gateway
