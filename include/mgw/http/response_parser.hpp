#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/chars.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/head_lines.hpp>
#include <mgw/http/head_reader.hpp>
#include <mgw/http/limits.hpp>

#include <cstddef>
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
  result<std::size_t> parse(std::string_view in, response_head& out) { return reader_.parse(*this, limits_, in, out); }

  /// Forgets a head that was begun, and an error.
  void reset() noexcept { reader_.reset(*this); }

private:
  friend class detail::head_reader;  // calls what follows
  void begin() noexcept {}
  parse_error start_line(detail::head_lines& lines, std::string_view in, response_head& out) noexcept;
  parse_error field(std::string_view, http::field const& f, bool keep, response_head& out) {
    if (keep) out.fields.add(f.name, f.value);
    return detail::no_error;
  }
  parse_error end(response_head&) const noexcept { return detail::no_error; }

  limits limits_;
  detail::head_reader reader_;
};

inline parse_error response_parser::start_line(detail::head_lines& lines, std::string_view in,
                                               response_head& out) noexcept {
  constexpr std::string_view name = "HTTP/";
  std::string_view const begin = in.substr(0, name.size());
  if (begin != name.substr(0, begin.size())) {  // another protocol answers: say so before a line end comes
    return begin.front() == '\n' ? parse_error::bare_line_feed : parse_error::bad_version;
  }
  std::string_view line;
  if (auto const e = lines.next(in, limits_.max_head, limits_.max_line, parse_error::line_too_long, line);
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
