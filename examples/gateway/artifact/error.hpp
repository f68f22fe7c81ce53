#pragma once

#include <cstddef>
#include <string>
#include <system_error>
#include <type_traits>

namespace gateway {

/// Why an artifact is refused.
enum class artifact_error {
  not_an_artifact = 1,  ///< no tar archive, or its first entry is not `version`
  unsupported_version,
  bad_version,
  broken_archive,
  truncated,
  trailing_data,
  unexpected_entry,
  bad_entry_type,
  bad_entry_name,
  repeated_entry,
  extensions_too_large,
  entry_too_large,
  too_many_entries,
  bad_manifest,
  incomplete_manifest,
  not_in_manifest,
  missing_file,
  wrong_checksum,
  unsigned_manifest,
  bad_signature,
  cannot_unpack,
  unpacks_to_too_much,
  unpacking_needs_too_much_memory,
  bad_header_info,
  unable,
};

namespace detail {

class artifact_error_category final : public std::error_category {
public:
  char const* name() const noexcept override { return "gateway.artifact"; }
  std::string message(int code) const override {
    switch (static_cast<artifact_error>(code)) {
      case artifact_error::not_an_artifact: return "this is no Mender artifact";
      case artifact_error::unsupported_version: return "the artifact's format is not supported";
      case artifact_error::bad_version: return "this is not the version of an artifact";
      case artifact_error::broken_archive: return "the archive is broken";
      case artifact_error::truncated: return "the end is missing";
      case artifact_error::trailing_data: return "something follows the end of the archive";
      case artifact_error::unexpected_entry: return "this entry does not belong here";
      case artifact_error::bad_entry_type: return "this is not a plain file";
      case artifact_error::bad_entry_name: return "this is no name that a file may have here";
      case artifact_error::repeated_entry: return "this file is there twice";
      case artifact_error::extensions_too_large: return "the entry's extension headers are too large";
      case artifact_error::entry_too_large: return "this entry is too large";
      case artifact_error::too_many_entries: return "there are too many entries";
      case artifact_error::bad_manifest: return "a line of the manifest is not understood";
      case artifact_error::incomplete_manifest: return "the manifest lacks a line that it needs";
      case artifact_error::not_in_manifest: return "this file is not in the manifest";
      case artifact_error::missing_file: return "this file is in the manifest, but not in the artifact";
      case artifact_error::wrong_checksum: return "the checksum is not the one in the manifest";
      case artifact_error::unsigned_manifest: return "the artifact is not signed";
      case artifact_error::bad_signature: return "the signature is by none of the keys";
      case artifact_error::cannot_unpack: return "this cannot be unpacked";
      case artifact_error::unpacks_to_too_much: return "this unpacks to too much";
      case artifact_error::unpacking_needs_too_much_memory: return "unpacking this needs too much memory";
      case artifact_error::bad_header_info: return "the artifact's description is not understood";
      case artifact_error::unable: return "a library failed: out of memory?";
    }
    return "unknown error";
  }
};

}  // namespace detail

inline std::error_category const& artifact_category() noexcept {
  static detail::artifact_error_category const category;
  return category;
}
inline std::error_code make_error_code(artifact_error e) noexcept {
  return {static_cast<int>(e), artifact_category()};
}

}  // namespace gateway

template <>
struct std::is_error_code_enum<gateway::artifact_error> : std::true_type {};

namespace gateway {

/// What was found: good so far, or the first thing that is wrong.
struct artifact_verdict {
  std::error_code error;  ///< none: good. Of artifact_category(), or the source's own failure.
  std::string entry;      ///< in which entry; may be empty. As the archive has it: not fit for a terminal.
  std::string detail;     ///< more about it; may be empty

  explicit operator bool() const noexcept { return !error; }
  /// Nobody said that this is an artifact, as opposed to one that is broken.
  bool not_an_artifact() const noexcept { return error == artifact_error::not_an_artifact; }
  /// The source failed, so that nothing is known about what it would have given.
  bool source_failed() const noexcept { return error && error.category() != artifact_category(); }
  /// For people: a name that is very long is cut.
  std::string message() const {
    if (!error) return "good";
    constexpr std::size_t most = 256;  // of a name: the reason must not get lost behind it
    std::string const name = entry.size() > most ? entry.substr(0, most) + "..." : entry;
    std::string out = name.empty() ? error.message() : name + ": " + error.message();
    return detail.empty() ? out : out + " (" + detail + ')';
  }
};

}  // namespace gateway
