#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/chars.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/head_lines.hpp>
#include <mgw/http/head_reader.hpp>
#include <mgw/http/limits.hpp>

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace mgw::http {

/// A request without its body. All views point into the buffer that was parsed.
struct request_head {
  std::string_view method;     ///< a token, as sent: methods are case-sensitive
  std::string_view target;     ///< as sent, in whatever form; no control character, space, `#` or byte above 0x7e
  int minor = 1;               ///< HTTP/1.minor: 0 or 1
  http::fields fields;         ///< at most one Host
  bool host_repeated = false;  ///< equal Host lines were folded into the first (`limits::fold_equal_hosts`)

  void clear() noexcept {
    method = target = {};
    minor = 1;
    fields.clear();
    host_repeated = false;
  }
};

/// Parses request heads, one after another, without I/O or copying.
///
/// Source: RFC 9112 2 to 5. Strict: no bare LF or CR, no folding, no white space before a colon, one SP between the
/// parts of the request line, exactly one Host in HTTP/1.1. One empty line before the request line is skipped (RFC 9112
/// 2.2). A bad line is refused when it is complete, a limit as soon as it is exceeded, and a first byte that begins no
/// method (TLS on a plain port) at once. Every byte is looked at no more than twice, however the head is cut.
/// Body framing is judged apart, by `request_framing`.
/// Thread rule: one thread at a time.
class request_parser {
public:
  explicit request_parser(limits const& l = {}) noexcept : limits_(l) {}

  /// Returns the head's length in bytes once it is whole, 0 to ask for more.
  ///
  /// `in` starts at the head's first byte and only grows between calls; it may move. Views in `out` point into the
  /// `in` of the call that succeeded; before that `out` is undefined. After success the parser is ready for the next
  /// head, which begins right behind this one; after an error it stays failed until `reset`.
  result<std::size_t> parse(std::string_view in, request_head& out) { return reader_.parse(*this, limits_, in, out); }

  /// Forgets a head that was begun, and an error.
  void reset() noexcept { reader_.reset(*this); }

private:
  friend class detail::head_reader;  // calls what follows
  void begin() noexcept {
    minor_ = 1;
    has_host_ = host_repeated_ = false;
    host_at_ = host_size_ = 0;
  }
  parse_error start_line(detail::head_lines& lines, std::string_view in, request_head& out) noexcept;
  parse_error field(std::string_view in, http::field const& f, bool keep, request_head& out) {
    if (f.name.size() == 4 && iequals(f.name, "host")) {
      bool const folded = has_host_;  // into the first one, or refused
      if (auto const e = host(in, f); e != detail::no_error) return e;
      keep = keep && !folded;
    }
    if (keep) out.fields.add(f.name, f.value);
    return detail::no_error;
  }
  parse_error end(request_head& out) const noexcept;

  parse_error host(std::string_view in, http::field const& f) noexcept;
  static parse_error skip_empty_line(detail::head_lines& lines, std::string_view in) noexcept;

  limits limits_;
  detail::head_reader reader_;
  int minor_ = 1;
  bool has_host_ = false;
  bool host_repeated_ = false;
  std::size_t host_at_ = 0, host_size_ = 0;  // the first Host's value, as a place in the head
};

/// Whether `text` can be a Host value: empty, or `host[:port]` with a host of letters, digits and `-._~`, or a
/// bracketed IPv6 address, and a port of up to 65535. Source: RFC 9110 7.2; escapes and sub-delims are not taken.
constexpr bool is_host(std::string_view text) noexcept {
  if (text.empty()) return true;
  std::size_t end = 0;
  if (text.front() == '[') {
    end = text.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    for (char const c : text.substr(1, end - 1))
      if (!is(c, chars::hex) && c != ':' && c != '.') return false;
    ++end;
  } else {
    end = span_of(text, chars::host);
    if (end == 0) return false;
  }
  std::string_view port = text.substr(end);
  if (port.empty()) return true;
  if (port.front() != ':') return false;
  port.remove_prefix(1);
  unsigned n = 0;
  for (char const c : port) {
    if (!is(c, chars::digit)) return false;
    n = n * 10 + static_cast<unsigned>(c - '0');
    if (n > 65535) return false;
  }
  return true;
}

inline parse_error request_parser::skip_empty_line(detail::head_lines& lines, std::string_view in) noexcept {
  if (in.empty()) return parse_error::need_more;
  if (in.front() != '\r') return detail::no_error;
  if (in.size() == 1) return parse_error::need_more;
  if (in[1] != '\n') return parse_error::bare_carriage_return;
  lines.skip(2);
  return detail::no_error;
}

inline parse_error request_parser::start_line(detail::head_lines& lines, std::string_view in,
                                              request_head& out) noexcept {
  if (lines.position() == 0) {
    if (auto const e = skip_empty_line(lines, in); e != detail::no_error) return e;
  }
  std::string_view const rest = in.substr(lines.position());
  if (rest.empty()) return parse_error::need_more;
  if (rest.front() == '\n') return parse_error::bare_line_feed;
  if (!is(rest.front(), chars::token)) return parse_error::bad_method;

  // The target's limit counts from where the method ends; that much is looked at again while it drips in.
  std::string_view const first = rest.substr(0, max_method + 1);
  std::size_t const method_end = first.find_first_of(" \n");
  if (method_end == std::string_view::npos)
    return first.size() > max_method ? parse_error::method_too_long : parse_error::need_more;
  std::size_t const max_rest = std::min(limits_.max_target, std::string_view{}.max_size() / 2) + 10;  // two SP, version

  std::string_view line;
  if (auto const e = lines.next(in, limits_.max_head, method_end + max_rest, parse_error::target_too_long, line);
      e != detail::no_error)
    return e;
  std::size_t const sp = line.find(' ');
  out.method = line.substr(0, sp);
  std::size_t const good = span_of(out.method, chars::token);
  if (good != out.method.size()) return detail::error_at(out.method, good, parse_error::bad_method);
  if (sp == std::string_view::npos) return parse_error::bad_target;
  std::size_t const last = line.rfind(' ');
  if (last == sp) return parse_error::bad_version;  // HTTP/0.9
  out.target = line.substr(sp + 1, last - sp - 1);
  std::size_t const fine = span_of(out.target, chars::target);
  if (out.target.empty() || fine != out.target.size())
    return detail::error_at(out.target, fine, parse_error::bad_target);
  if (out.target.size() > limits_.max_target) return parse_error::target_too_long;
  return detail::read_version(line.substr(last + 1), minor_);
}

inline parse_error request_parser::host(std::string_view in, http::field const& f) noexcept {
  if (has_host_) {
    if (!limits_.fold_equal_hosts || f.value != in.substr(host_at_, host_size_)) return parse_error::repeated_host;
    host_repeated_ = true;
    return detail::no_error;
  }
  if (!is_host(f.value)) return parse_error::bad_host;
  has_host_ = true;
  host_size_ = f.value.size();
  host_at_ = static_cast<std::size_t>(f.value.data() - in.data());
  return detail::no_error;
}

inline parse_error request_parser::end(request_head& out) const noexcept {
  if (minor_ == 1 && !has_host_) return parse_error::missing_host;
  out.minor = minor_;
  out.host_repeated = host_repeated_;
  return detail::no_error;
}

}  // namespace mgw::http
