#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/chars.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/head_lines.hpp>
#include <mgw/http/limits.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mgw::http {

/// A response without its body. All views point into the buffer that was parsed.
struct response_head {
  int status = 0;           ///< 100 to 599
  int minor = 1;            ///< HTTP/1.minor: 0 or 1
  std::string_view reason;  ///< may be empty
  http::fields fields;

  void clear() noexcept {
    status = 0;
    minor = 1;
    reason = {};
    fields.clear();
  }
};

/// Parses response heads, one after another, without I/O or copying. Interim (1xx) responses are heads like others.
///
/// Source: RFC 9112 4 and 5, RFC 9110 15 (a status outside 100 to 599 is invalid). As strict as `request_parser`, with
/// one exception: the SP before an absent reason phrase may be missing, as many servers leave it out.
/// The status line counts as a line for `limits::max_line`.
/// Thread rule: one thread at a time.
class response_parser {
public:
  explicit response_parser(limits const& l = {}) noexcept : limits_(l) {}

  /// Returns the head's length in bytes once it is whole, 0 to ask for more. The same rules as request_parser::parse.
  result<std::size_t> parse(std::string_view in, response_head& out);

  /// Forgets a head that was begun, and an error.
  void reset() noexcept {
    lines_.reset();
    stage_ = stage::start_line;
    count_ = 0;
  }

private:
  enum class stage : std::uint8_t { start_line, fields, failed };

  parse_error run(std::string_view in, response_head& out, bool keep);
  parse_error start_line(std::string_view in, response_head& out) noexcept;

  limits limits_;
  detail::head_lines lines_;
  stage stage_ = stage::start_line;
  parse_error error_ = detail::no_error;
  std::size_t count_ = 0;  // field lines so far
};

inline result<std::size_t> response_parser::parse(std::string_view in, response_head& out) {
  if (stage_ == stage::failed) return error_;
  bool const resumed = stage_ == stage::fields;  // lines of earlier calls: their views may be stale
  parse_error e = run(in, out, !resumed);
  if (e == parse_error::need_more) return std::size_t{0};
  std::size_t const length = lines_.position();
  if (e == detail::no_error && resumed) {  // known to be good: read it again in one go, for the views
    reset();
    e = run(in.substr(0, length), out, true);
  }
  if (e != detail::no_error) {
    stage_ = stage::failed;
    error_ = e;
    return e;
  }
  reset();
  return length;
}

inline parse_error response_parser::run(std::string_view in, response_head& out, bool keep) {
  if (stage_ == stage::start_line) {
    out.clear();
    if (auto const e = start_line(in, out); e != detail::no_error) return e;
    stage_ = stage::fields;
  }
  for (;;) {
    std::string_view line;
    if (auto const e = lines_.next(in, limits_.max_head, limits_.max_line, parse_error::line_too_long, line);
        e != detail::no_error)
      return e;
    if (line.empty()) return detail::no_error;
    if (count_ == limits_.max_fields) return parse_error::too_many_fields;
    ++count_;
    field f;
    if (auto const e = detail::read_field(line, f); e != detail::no_error) return e;
    if (keep) out.fields.add(f.name, f.value);
  }
}

inline parse_error response_parser::start_line(std::string_view in, response_head& out) noexcept {
  constexpr std::string_view name = "HTTP/";
  std::string_view const begin = in.substr(0, name.size());
  if (begin != name.substr(0, begin.size())) {  // another protocol answers: say so before a line end comes
    return begin.front() == '\n' ? parse_error::bare_line_feed : parse_error::bad_version;
  }
  std::string_view line;
  if (auto const e = lines_.next(in, limits_.max_head, limits_.max_line, parse_error::line_too_long, line);
      e != detail::no_error)
    return e;
  std::size_t const sp = line.find(' ');
  if (auto const e = detail::read_version(line.substr(0, sp), out.minor); e != detail::no_error) return e;
  if (sp == std::string_view::npos) return parse_error::bad_status_line;
  std::string_view const code = line.substr(sp + 1, 3);
  if (code.size() != 3 || !all_of(code, chars::digit))
    return detail::error_at(code, span_of(code, chars::digit), parse_error::bad_status_line);
  out.status = (code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0');
  if (out.status < 100 || out.status > 599) return parse_error::bad_status_line;
  std::string_view const reason = line.substr(sp + 4);
  if (reason.empty()) return detail::no_error;
  std::size_t const good = span_of(reason, chars::value);
  if (reason.front() != ' ' || good != reason.size())
    return detail::error_at(reason, good, parse_error::bad_status_line);
  out.reason = reason.substr(1);
  return detail::no_error;
}

}  // namespace mgw::http
