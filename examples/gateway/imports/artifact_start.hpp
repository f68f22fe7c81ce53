#pragma once

#include "artifact/head_digest.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gateway {

/// What the first bytes of a file say of the artifact that it is.
struct artifact_start {
  enum class state {
    more,   ///< more bytes are needed to tell
    whole,  ///< the entries that head_digest counts are all there
    other,  ///< no artifact, or one whose start is written in another way than mender-artifact does
  };
  state what = state::more;
  std::string digest;  ///< see head_digest; only of a `whole` one
};

namespace detail {

constexpr std::size_t tar_block = 512;

/// The number in a header's field: octal digits, ended by a NUL or a blank (POSIX.1, pax, "ustar Interchange Format").
inline std::optional<std::uint64_t> tar_number(std::string_view field) {
  std::uint64_t n = 0;
  std::size_t i = 0;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) n = n * 8 + static_cast<unsigned>(field[i] - '0');
  if (i == 0 || i == field.size() || (field[i] != '\0' && field[i] != ' ')) return std::nullopt;
  return n;
}

inline std::uint64_t tar_sum(std::string_view header) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < tar_block; ++i)
    sum += i >= 148 && i < 156 ? static_cast<unsigned char>(' ') : static_cast<unsigned char>(header[i]);
  return sum;
}

/// Whether an extended header (POSIX.1, "pax Extended Header") says nothing but times: then what it stands before is as
/// plain as without it.
inline bool has_times_only(std::string_view records) {
  while (!records.empty()) {
    std::size_t length = 0, i = 0;
    for (; i < records.size() && i < 6 && records[i] >= '0' && records[i] <= '9'; ++i)
      length = length * 10 + static_cast<unsigned>(records[i] - '0');
    if (i == 0 || length <= i + 1 || length > records.size() || records[i] != ' ' || records[length - 1] != '\n')
      return false;
    std::string_view const record = records.substr(i + 1, length - i - 2);
    std::string_view const keyword = record.substr(0, record.find('='));
    if (keyword.size() == record.size() || (keyword != "mtime" && keyword != "atime" && keyword != "ctime"))
      return false;
    records.remove_prefix(length);
  }
  return true;
}

}  // namespace detail

/// Reads the entries before `header.tar` and no others. Nothing of it is believed: who compares the digest with that of
/// a file that was verified learns whether both begin with the same entries, and nothing else.
///
/// Only the plain form that mender-artifact writes is read (ustar, with extended headers for times alone), so that it
/// is a few lines and needs no sandbox; anything else is `other`. Memory: none. Any bytes may be given.
inline artifact_start read_artifact_start(std::string_view bytes) {
  using state = artifact_start::state;
  head_digest digest;
  for (std::size_t entries = 0;;) {
    if (bytes.size() < detail::tar_block) return {};
    std::string_view const header = bytes.substr(0, detail::tar_block);
    std::string_view const name = header.substr(0, std::min<std::size_t>(header.find('\0'), 100));
    auto const size = detail::tar_number(header.substr(124, 12)), sum = detail::tar_number(header.substr(148, 8));
    bool const plain =
        header.substr(257, 5) == "ustar" && header[345] == '\0' && size && sum && *sum == detail::tar_sum(header);
    bool const file = header[156] == '0' || header[156] == '\0', times = header[156] == 'x';
    if (!plain || (!file && !times)) return {state::other, {}};
    if (file) {
      if (entries < 2 && name != (entries == 0 ? "version" : "manifest")) return {state::other, {}};
      if (!head_digest::counts(name)) return {state::whole, digest.hex()};
      ++entries;
    }
    bytes.remove_prefix(detail::tar_block);
    if (*size > bytes.size()) return {};
    std::string_view const content = bytes.substr(0, static_cast<std::size_t>(*size));
    if (file) digest.add(name, content);
    if (times && !detail::has_times_only(content)) return {state::other, {}};
    std::size_t const padded =
        (static_cast<std::size_t>(*size) + detail::tar_block - 1) / detail::tar_block * detail::tar_block;
    if (padded > bytes.size()) return {};
    bytes.remove_prefix(padded);
  }
}

}  // namespace gateway
