#pragma once

#include "artifact/info.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// What the cache keeps with an artifact, so that it can be listed, and found again without its link.
namespace label {
inline constexpr std::string_view artifact_name = "artifact-name";  ///< any characters may be in it
inline constexpr std::string_view device_types = "device-types";    ///< separated by commas
inline constexpr std::string_view artifact_head = "artifact-head";  ///< see head_digest
inline constexpr std::string_view imported = "imported";            ///< when, seconds since 1970
}  // namespace label

/// Names and values. What is longer than a label should be is left out: an artifact without a name is never found by
/// it.
using label_list = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::size_t max_name_label = 1024;   ///< bytes
inline constexpr std::size_t max_types_label = 2048;  ///< bytes, of all types

/// The labels of an artifact whose header was read.
inline label_list labels_of(artifact_info const& info) {
  label_list out;
  std::string types;
  for (std::string const& t : info.header.device_types)
    if (!t.empty() && t.find(',') == std::string::npos) types += (types.empty() ? "" : ",") + t;
  auto const add = [&out](std::string_view name, std::string const& value, std::size_t most) {
    if (!value.empty() && value.size() <= most) out.emplace_back(name, value);
  };
  add(label::artifact_name, info.header.artifact_name, max_name_label);
  add(label::device_types, types, max_types_label);
  add(label::artifact_head, info.head_digest, 64);
  return out;
}

/// Whether this is a label as labels_of() makes it.
inline bool is_artifact_label(std::string_view name, std::string_view value) noexcept {
  if (value.empty()) return false;
  if (name == label::artifact_name) return value.size() <= max_name_label;
  if (name == label::device_types) return value.size() <= max_types_label;
  return name == label::artifact_head && value.size() == 64 &&
         value.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// The first value of the label `name`; empty if there is none.
inline std::string_view label_value(label_list const& labels, std::string_view name) noexcept {
  for (auto const& [n, value] : labels)
    if (n == name) return value;
  return {};
}

/// A label's value as one word of a line: two lower-case digits for each byte.
inline std::string write_label_value(std::string_view value) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (char const c : value) {
    auto const b = static_cast<unsigned char>(c);
    (out += digits[b >> 4U]) += digits[b & 15U];
  }
  return out;
}
inline std::optional<std::string> read_label_value(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  if (text.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i != text.size(); i += 2) {
    auto const high = digits.find(text[i]), low = digits.find(text[i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    out += static_cast<char>(high << 4U | low);
  }
  return out;
}

}  // namespace gateway
