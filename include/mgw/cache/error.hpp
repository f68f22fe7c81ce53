#pragma once

#include <string>
#include <system_error>
#include <type_traits>

namespace mgw::cache {

/// What can go wrong in the cache beyond what the operating system reports.
enum class error {
  malformed = 1,      ///< a file of the cache is not in its format
  checksum_mismatch,  ///< a file of the cache was damaged
  newer_version,      ///< written by a newer release: left alone
  value_too_long,     ///< a value is longer than a metadata file may hold
  not_enough_space,   ///< larger than the cache, or nothing can be evicted for it
  being_filled,       ///< this object is being written already
  part_lost,          ///< an earlier fsync of this part failed: it can only be dropped
  part_closed,        ///< the part was committed, suspended or dropped
  length_mismatch,    ///< more or fewer bytes than announced
  digest_unavailable, ///< the crypto library has no SHA-256
  no_checkpoint       ///< a part that never came to its first checkpoint
};

class error_category_type final : public std::error_category {
public:
  char const* name() const noexcept override { return "mgw.cache"; }
  std::string message(int code) const override {
    switch (static_cast<error>(code)) {
      case error::malformed: return "the file is not in the cache's format";
      case error::checksum_mismatch: return "the file is damaged: its checksum does not match";
      case error::newer_version: return "the file was written by a newer release of this program";
      case error::value_too_long: return "a value is too long for the cache's metadata";
      case error::not_enough_space: return "not enough space in the cache";
      case error::being_filled: return "the object is being written already";
      case error::part_lost: return "the part was lost when it could not be written to disk";
      case error::part_closed: return "the part is closed";
      case error::length_mismatch: return "the body is longer or shorter than announced";
      case error::digest_unavailable: return "the crypto library has no SHA-256";
      case error::no_checkpoint: return "the part has no checkpoint";
    }
    return "unknown cache error";
  }
  std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<error>(code)) {
      case error::malformed:
      case error::checksum_mismatch:
      case error::newer_version: return std::errc::bad_message;
      case error::value_too_long: return std::errc::value_too_large;
      case error::not_enough_space: return std::errc::no_space_on_device;
      case error::being_filled: return std::errc::device_or_resource_busy;
      case error::part_lost: return std::errc::io_error;
      case error::part_closed: return std::errc::bad_file_descriptor;
      case error::length_mismatch: return std::errc::message_size;
      case error::digest_unavailable: return std::errc::function_not_supported;
      case error::no_checkpoint: return std::errc::no_such_file_or_directory;
    }
    return {code, *this};
  }
};

inline std::error_category const& error_category() noexcept {
  static error_category_type const category;
  return category;
}

inline std::error_code make_error_code(error e) noexcept {
  return {static_cast<int>(e), error_category()};
}

}  // namespace mgw::cache

template <>
struct std::is_error_code_enum<mgw::cache::error> : std::true_type {};
