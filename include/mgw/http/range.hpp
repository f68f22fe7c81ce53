#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace mgw::http {

/// Bytes `first` to `last` of an object, both included. Never empty.
struct byte_range {
  std::uint64_t first = 0, last = 0;

  /// Precondition: first <= last < 2^64 - 1, which holds for every range this header makes.
  std::uint64_t size() const noexcept { return last - first + 1; }
  friend bool operator==(byte_range const&, byte_range const&) noexcept = default;
};

/// One range as a client asks for it, before the length is known.
struct range_spec {
  std::optional<std::uint64_t> first;  ///< absent: the final `last` bytes
  std::optional<std::uint64_t> last;   ///< absent: to the end
};

/// Reads the value of a Range field.
///
/// nullopt: malformed, another unit, or several ranges; the answer is the whole object, as if there had been no Range
/// (RFC 9110 14.2 leaves both to the server). The unit has no case; blanks and empty elements around the one range
/// are allowed, as in every list (RFC 9110 5.6.1.2). Numbers that do not fit count as 2^64 - 1, beyond any length.
std::optional<range_spec> parse_range(std::string_view field_value) noexcept;

enum class range_outcome : std::uint8_t {
  whole,          ///< 200
  partial,        ///< 206 with `range`
  unsatisfiable,  ///< 416 with `bytes */length`
};
struct resolved_range {
  range_outcome outcome = range_outcome::whole;
  byte_range range;  ///< meaningful if partial
};

/// What a range means for an object of `length` bytes. Source: RFC 9110 14.1.2.
///
/// A suffix of an empty object is satisfiable, but no Content-Range could describe it: the answer is whole.
resolved_range resolve(std::optional<range_spec> const& spec, std::uint64_t length) noexcept;

/// The value of a Content-Range field.
struct content_range {
  std::optional<byte_range> range;      ///< absent: `bytes */N`, in a 416
  std::optional<std::uint64_t> length;  ///< absent: `*`
};

/// Reads the value of a Content-Range field, strictly (RFC 9110 14.4): unit bytes, first <= last < length, no blanks
/// but the one after the unit, nothing that does not fit. nullopt: anything else.
std::optional<content_range> parse_content_range(std::string_view field_value) noexcept;

/// Appends `bytes 0-99/1000`. Precondition: range.first <= range.last < length.
void append_content_range(std::string& out, byte_range range, std::uint64_t length);
/// Appends `bytes */1000`, for a 416.
void append_unsatisfied_range(std::string& out, std::uint64_t length);
/// Appends `bytes=0-99` or, without `last`, `bytes=100-`: the value of a Range field.
void append_range(std::string& out, std::uint64_t first, std::optional<std::uint64_t> last = std::nullopt);

namespace range_detail {

constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();

constexpr bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// Takes the digits `text` begins with; leading zeros are dropped.
constexpr std::string_view take_digits(std::string_view& text) noexcept {
  std::size_t n = 0;
  while (n < text.size() && is_digit(text[n])) ++n;
  std::string_view digits = text.substr(0, n);
  text.remove_prefix(n);
  while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
  return digits;
}

/// nullopt: more than 2^64 - 1. Precondition: digits, at least one.
constexpr std::optional<std::uint64_t> value_of(std::string_view digits) noexcept {
  std::uint64_t n = 0;
  for (char const c : digits) {
    auto const d = static_cast<std::uint64_t>(c - '0');
    if (n > (max - d) / 10) return std::nullopt;
    n = n * 10 + d;
  }
  return n;
}

/// Compares numbers of any size. Precondition: no leading zeros.
constexpr bool less(std::string_view a, std::string_view b) noexcept {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

/// Takes `bytes` in any case.
constexpr bool take_unit(std::string_view& text) noexcept {
  constexpr std::string_view unit = "bytes";
  if (text.size() < unit.size()) return false;
  for (std::size_t i = 0; i < unit.size(); ++i)
    if ((text[i] | 0x20) != unit[i]) return false;
  text.remove_prefix(unit.size());
  return true;
}

constexpr std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

constexpr std::optional<range_spec> parse_one(std::string_view text) noexcept {
  std::string_view const first = take_digits(text);
  if (!text.starts_with('-')) return std::nullopt;
  text.remove_prefix(1);
  std::string_view const last = take_digits(text);
  if (!text.empty() || (first.empty() && last.empty())) return std::nullopt;
  if (!first.empty() && !last.empty() && less(last, first)) return std::nullopt;
  range_spec spec;
  if (!first.empty()) spec.first = value_of(first).value_or(max);
  if (!last.empty()) spec.last = value_of(last).value_or(max);
  return spec;
}

}  // namespace range_detail

inline std::optional<range_spec> parse_range(std::string_view field_value) noexcept {
  std::string_view text = range_detail::trim(field_value);
  if (!range_detail::take_unit(text) || !text.starts_with('=')) return std::nullopt;
  text.remove_prefix(1);
  std::optional<range_spec> found;
  for (;;) {
    std::size_t const comma = text.find(',');
    std::string_view const element = range_detail::trim(text.substr(0, comma));
    if (!element.empty()) {
      if (found) return std::nullopt;
      found = range_detail::parse_one(element);
      if (!found) return std::nullopt;
    }
    if (comma == std::string_view::npos) return found;
    text.remove_prefix(comma + 1);
  }
}

inline resolved_range resolve(std::optional<range_spec> const& spec, std::uint64_t length) noexcept {
  resolved_range r;
  if (!spec || (!spec->first && !spec->last)) return r;
  if (!spec->first) {
    std::uint64_t const suffix = *spec->last;
    if (suffix == 0) {
      r.outcome = range_outcome::unsatisfiable;
    } else if (length != 0) {
      r.outcome = range_outcome::partial;
      r.range.first = suffix < length ? length - suffix : 0;
      r.range.last = length - 1;
    }
    return r;
  }
  if (*spec->first >= length || (spec->last && *spec->last < *spec->first)) {
    r.outcome = range_outcome::unsatisfiable;
    return r;
  }
  r.outcome = range_outcome::partial;
  r.range.first = *spec->first;
  r.range.last = spec->last && *spec->last < length ? *spec->last : length - 1;
  return r;
}

inline std::optional<content_range> parse_content_range(std::string_view field_value) noexcept {
  std::string_view text = field_value;
  if (!range_detail::take_unit(text) || !text.starts_with(' ')) return std::nullopt;
  text.remove_prefix(1);
  content_range out;
  if (text.starts_with('*')) {
    text.remove_prefix(1);
  } else {
    auto const first = range_detail::take_digits(text);
    if (first.empty() || !text.starts_with('-')) return std::nullopt;
    text.remove_prefix(1);
    auto const last = range_detail::take_digits(text);
    if (last.empty()) return std::nullopt;
    auto const a = range_detail::value_of(first), b = range_detail::value_of(last);
    if (!a || !b || *a > *b || *b == range_detail::max) return std::nullopt;  // no length exceeds 2^64 - 1
    out.range.emplace();
    out.range->first = *a;
    out.range->last = *b;
  }
  if (!text.starts_with('/')) return std::nullopt;
  text.remove_prefix(1);
  if (text == "*") {
    if (!out.range) return std::nullopt;
    return out;
  }
  auto const length = range_detail::take_digits(text);
  if (length.empty() || !text.empty()) return std::nullopt;
  out.length = range_detail::value_of(length);
  if (!out.length || (out.range && out.range->last >= *out.length)) return std::nullopt;
  return out;
}

inline void append_content_range(std::string& out, byte_range range, std::uint64_t length) {
  out += "bytes ";
  out += std::to_string(range.first);
  out += '-';
  out += std::to_string(range.last);
  out += '/';
  out += std::to_string(length);
}

inline void append_unsatisfied_range(std::string& out, std::uint64_t length) {
  out += "bytes */";
  out += std::to_string(length);
}

inline void append_range(std::string& out, std::uint64_t first, std::optional<std::uint64_t> last) {
  out += "bytes=";
  out += std::to_string(first);
  out += '-';
  if (last) out += std::to_string(*last);
}

}  // namespace mgw::http
