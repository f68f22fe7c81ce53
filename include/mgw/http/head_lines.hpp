#pragma once

#include <mgw/http/chars.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/fields.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string_view>

namespace mgw::http::detail {

/// "No error": the parsers' inner steps return a parse_error, and this one for success.
inline constexpr parse_error no_error{};

/// What to report for a byte that is in none of HTTP's sets: a CR has its own name, wherever it stands.
constexpr parse_error error_at(std::string_view text, std::size_t at, parse_error otherwise) noexcept {
  return at < text.size() && text[at] == '\r' ? parse_error::bare_carriage_return : otherwise;
}

/// Cuts a head into lines while it arrives; shared by the request and the response parser.
///
/// Keeps positions, not pointers, so the buffer may move and grow between calls. Every byte is searched once, however
/// it arrives. A limit is reported as soon as so many bytes are there without an end of line.
class head_lines {
public:
  /// The next line of `in`, without CRLF, in `line`. Returns no_error, need_more, bare_line_feed, head_too_large
  /// (`max_head` counts from the first byte of the head) or `too_long` (`max_line`, without CRLF).
  parse_error next(std::string_view in, std::size_t max_head, std::size_t max_line, parse_error too_long,
                   std::string_view& line) noexcept;

  /// Where the next line begins; after the empty line: the length of the head.
  std::size_t position() const noexcept { return start_; }
  void skip(std::size_t n) noexcept { scanned_ = start_ += n; }
  void reset() noexcept { scanned_ = start_ = 0; }

private:
  std::size_t start_ = 0;    // of the current line
  std::size_t scanned_ = 0;  // no LF in [start_, scanned_)
};

inline parse_error head_lines::next(std::string_view in, std::size_t max_head, std::size_t max_line,
                                    parse_error too_long, std::string_view& line) noexcept {
  constexpr std::size_t most = std::numeric_limits<std::size_t>::max() - 2;
  std::size_t const room = std::min(max_line, most - start_) + 2;  // line with CRLF; cannot overflow
  std::size_t const bound = std::min(max_head, start_ + room);     // the LF must stand before it
  std::string_view const seen = in.substr(0, bound);
  std::size_t const lf = seen.find('\n', scanned_);
  if (lf == std::string_view::npos) {
    scanned_ = std::max(scanned_, seen.size());
    if (in.size() < bound) return parse_error::need_more;
    return max_head < start_ + room ? parse_error::head_too_large : too_long;
  }
  if (lf == start_ || in[lf - 1] != '\r') return parse_error::bare_line_feed;
  line = in.substr(start_, lf - 1 - start_);
  scanned_ = start_ = lf + 1;
  return no_error;
}

/// Takes a field line apart. Source: RFC 9112 5. Strict: no folding, no white space before the colon, no empty name.
constexpr parse_error read_field(std::string_view line, field& out) noexcept {
  if (!line.empty() && (line.front() == ' ' || line.front() == '\t')) return parse_error::obsolete_folding;
  std::size_t const colon = span_of(line, chars::token);
  if (colon == 0 || colon == line.size() || line[colon] != ':')
    return error_at(line, colon, parse_error::bad_field_name);
  std::string_view const value = line.substr(colon + 1);
  std::size_t const good = span_of(value, chars::value);
  if (good != value.size()) return error_at(value, good, parse_error::bad_field_value);
  out.name = line.substr(0, colon);
  out.value = trim(value);
  return no_error;
}

/// Reads `HTTP/1.x` into `minor`. A minor version above 1 is handled as 1.1 (RFC 9110 2.5).
constexpr parse_error read_version(std::string_view text, int& minor) noexcept {
  std::size_t const cr = text.find('\r');
  if (cr != std::string_view::npos) return parse_error::bare_carriage_return;
  if (text.size() != 8 || !text.starts_with("HTTP/") || !is(text[5], chars::digit) || text[6] != '.' ||
      !is(text[7], chars::digit))
    return parse_error::bad_version;
  if (text[5] != '1') return parse_error::unsupported_version;
  minor = text[7] == '0' ? 0 : 1;
  return no_error;
}

}  // namespace mgw::http::detail
