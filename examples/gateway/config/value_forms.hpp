#pragma once

#include <mgw/core/units.hpp>
#include <mgw/http/fields.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

/// The written forms of values: `read_…` stores what it understands and returns whether it does; `show_…` writes what
/// the reader takes.
namespace gateway {

/// Yes or no, in any case: all that Go's strconv.ParseBool takes, and more.
inline bool read_bool(std::string_view text, bool& into) {
  auto const is_one_of = [text](std::initializer_list<std::string_view> words) {
    return std::any_of(words.begin(), words.end(), [text](auto word) { return mgw::http::iequals(text, word); });
  };
  bool const yes = is_one_of({"true", "t", "1", "yes", "on"});
  if (yes || is_one_of({"false", "f", "0", "no", "off"})) return into = yes, true;
  return false;
}

/// A list, separated by commas or blanks.
inline std::vector<std::string> read_list(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto const end = std::min(text.find_first_of(", \t"), text.size());
    if (end != 0) out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}
inline std::string show_list(std::vector<std::string> const& items) {
  std::string out;
  for (std::string const& item : items) (out += out.empty() ? "" : ",") += item;
  return out;
}

/// A whole number from `least` to `most`.
template <class N>
bool read_number(std::string_view text, N least, N most, N& into) {
  N n = 0;
  auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{} || end != text.data() + text.size() || n < least || n > most) return false;
  into = n;
  return true;
}

/// A size from `least` to `most` bytes.
inline bool read_size(std::string_view text, std::uint64_t least, std::uint64_t most, std::uint64_t& into) {
  auto const n = mgw::parse_size(text);
  if (!n || *n < least || *n > most) return false;
  into = *n;
  return true;
}
inline std::string show_size(std::uint64_t bytes) {
  static constexpr char const* units[] = {"", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes != 0 && bytes % 1024 == 0 && unit < 4; ++unit) bytes /= 1024;
  return std::to_string(bytes) + units[unit];
}

/// A duration of at least `least`.
inline bool read_duration(std::string_view text, std::chrono::milliseconds least, std::chrono::milliseconds& into) {
  auto const d = mgw::parse_duration(text);
  if (!d || *d < least) return false;
  into = *d;
  return true;
}
inline std::string show_duration(std::chrono::milliseconds d) {
  std::string out;
  auto left = d.count();
  for (auto const& [ms, unit] : {std::pair{3'600'000, "h"}, {60'000, "m"}, {1000, "s"}, {1, "ms"}}) {
    if (left >= ms) out += std::to_string(left / ms) + unit;
    left %= ms;
  }
  return out.empty() ? "0s" : out;
}

}  // namespace gateway
