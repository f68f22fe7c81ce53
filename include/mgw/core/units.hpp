#pragma once

#include <mgw/core/result.hpp>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>
#include <string_view>
#include <system_error>

namespace mgw {

/// Reads a size: a whole number of bytes, or one with `KiB`, `MiB`, `GiB` or `TiB` (a blank before it is allowed).
/// Errors: std::errc::invalid_argument, std::errc::result_out_of_range.
inline result<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t n = 0;
  auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{}) return std::make_error_code(ec);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  unsigned shift = 0;
  if (text == "KiB")
    shift = 10;
  else if (text == "MiB")
    shift = 20;
  else if (text == "GiB")
    shift = 30;
  else if (text == "TiB")
    shift = 40;
  else if (!text.empty())
    return std::make_error_code(std::errc::invalid_argument);
  if (n > (std::numeric_limits<std::uint64_t>::max() >> shift))
    return std::make_error_code(std::errc::result_out_of_range);
  return n << shift;
}

/// Reads a duration in Go's form: `30m`, `1h15m`, `1.5s`, `250ms`, `0`. At most 100 years, never negative.
/// Errors: std::errc::invalid_argument, std::errc::result_out_of_range. Source: Go's time.ParseDuration.
inline result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  auto const invalid = std::make_error_code(std::errc::invalid_argument);
  if (text == "0") return std::chrono::milliseconds(0);
  if (text.empty()) return invalid;
  double total_ms = 0;
  while (!text.empty()) {
    double n = 0;
    if ((text[0] < '0' || text[0] > '9') && text[0] != '.') return invalid;  // no sign, no "inf"
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n, std::chars_format::fixed);
    if (ec != std::errc{}) return std::make_error_code(ec);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    auto const unit = text.substr(0, text.find_first_of("0123456789."));
    double ms = 0;
    if (unit == "ms")
      ms = 1;
    else if (unit == "s")
      ms = 1000;
    else if (unit == "m")
      ms = 60'000;
    else if (unit == "h")
      ms = 3'600'000;
    else
      return invalid;
    total_ms += n * ms;
    if (total_ms > 100.0 * 365 * 24 * 3'600'000) return std::make_error_code(std::errc::result_out_of_range);
    text.remove_prefix(unit.size());
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(total_ms));
}

}  // namespace mgw
