#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/chars.hpp>
#include <mgw/http/uri.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::http {

/// The four forms of a request target. Source: RFC 9112 3.2.
enum class target_form : std::uint8_t { origin, absolute, authority, asterisk };

/// A request target taken apart: views into the text it was read from, or to constants.
struct request_target {
  target_form form = target_form::origin;
  std::string_view scheme;     ///< absolute-form only, as written
  std::string_view authority;  ///< absolute-form and authority-form, as written
  /// Raw; "/" for an absolute-form without one, empty for CONNECT. "*" stands for the server as a whole: OPTIONS with
  /// asterisk-form, or with an absolute-form that has neither path nor query (RFC 9112 3.2.4).
  std::string_view path;
  std::string_view query;  ///< raw, without `?`
  bool has_query = false;
};

/// Reads the target of a request.
///
/// CONNECT takes `host:port` and nothing else; `*` goes with OPTIONS only; an absolute-form is an http or https URI.
/// Only visible ASCII, and no fragment in any form. Errors: std::errc::invalid_argument, and those of `parse_uri`.
result<request_target> parse_target(std::string_view target, std::string_view method) noexcept;

/// True when no upstream could read another path than the one that was matched, so that the bytes may be forwarded.
///
/// True means all of: begins with `/`; no `.` or `..` segment, plain or followed by `;` or by an escape (servers with
/// path parameters drop what follows `;`, others drop final blanks); no empty segment but one after a final slash,
/// and none that begins with `;`; no backslash; visible ASCII, without `?` and `#`; well-formed escapes, none of which
/// stands for `/`, `\`, `.`, a control character, or an overlong UTF-8 form of these; and no escaped `%` that with what
/// follows makes such an escape, or another `%`, when decoded once more.
/// Source: RFC 3986 6.2.2, and the differences between decoders that path-confusion attacks live on.
bool is_normal_path(std::string_view path) noexcept;

/// The path that rules look at, in the one spelling it has (`normalize_path`), so that no other spelling of it passes
/// by a rule; the bytes as they came are what is forwarded. The one way from a request to its route.
///
/// Returns `path` itself if there is no escape in it, else a view of `room`, which the text is written to.
/// Errors: std::errc::invalid_argument if not `is_normal_path(path)`.
result<std::string_view> path_to_match(std::string_view path, std::string& room);

/// The one spelling by which a path is matched; never what is forwarded.
///
/// Decodes escaped unreserved characters, writes the other escapes in upper case, merges empty segments, then
/// resolves dot segments: idempotent. Query and fragment are not part of a path.
/// Errors: std::errc::invalid_argument (does not begin with `/`, malformed escape).
result<std::string> normalize_path(std::string_view path);

namespace target_detail {

/// The byte that two hex digits at `at` stand for; -1 if they are not there. Precondition: at <= text.size().
constexpr int byte_at(std::string_view text, std::size_t at) noexcept {
  if (text.size() - at < 2) return -1;
  int const high = uri_detail::hex_value(text[at]), low = uri_detail::hex_value(text[at + 1]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/// Steps over one character, escaped or not, and returns it; -1 at the end or at a malformed escape.
constexpr int take_decoded(std::string_view text, std::size_t& at) noexcept {
  if (at >= text.size()) return -1;
  if (text[at] != '%') return static_cast<unsigned char>(text[at++]);
  int const value = byte_at(text, at + 1);
  at += 3;
  return value;
}

/// What is_simple_path tells characters by: 0: goes anywhere; 1: a slash; 2: not behind a slash; 4: nowhere.
inline constexpr std::array<std::uint8_t, 256> path_kinds = [] {
  std::array<std::uint8_t, 256> kinds{};
  for (unsigned c = 0; c < kinds.size(); ++c) kinds[c] = is(static_cast<char>(c), chars::path) ? 0 : 4;
  kinds['/'] = 1;
  kinds['.'] = kinds[';'] = 2;
  return kinds;
}();

/// Whether a path that begins with `/` has no escape, no odd character, and no segment but the last that is empty or
/// begins in an odd way. Nearly all are so, and normal.
constexpr bool is_simple_path(std::string_view path) noexcept {
  unsigned refused = 4;
  for (char const c : path) {
    unsigned const kind = path_kinds[static_cast<unsigned char>(c)];
    if ((kind & refused) != 0) return false;
    refused = 4 | (kind & 1) * 3;
  }
  return true;
}

/// A character that must not stand escaped in a path.
constexpr bool is_structural(int c) noexcept {
  return c < 0x20 || c == 0x7f || c == '/' || c == '\\' || c == '.' || c == 0xc0 || c == 0xc1;
}

/// True if the escaped `%` just before `at` forms an escape worth hiding with the two characters that follow it.
constexpr bool hides_structure(std::string_view text, std::size_t at) noexcept {
  char pair[2] = {};
  for (char& c : pair) {
    int const next = take_decoded(text, at);
    if (next < 0 || next > 0x7f) return false;
    c = static_cast<char>(next);
  }
  int const value = byte_at(std::string_view(pair, 2), 0);
  return value == '%' || value == ';' || (value >= 0 && is_structural(value));
}

constexpr bool is_unreserved(int c) noexcept {
  if (c > 0x7f) return false;
  char const k = static_cast<char>(c);
  return uri_detail::is_alpha(k) || uri_detail::is_digit(k) || k == '-' || k == '.' || k == '_' || k == '~';
}

}  // namespace target_detail

inline result<request_target> parse_target(std::string_view target, std::string_view method) noexcept {
  auto const invalid = std::make_error_code(std::errc::invalid_argument);
  if (target.empty() || !all_of(target, chars::target)) return invalid;
  request_target out;
  if (method == "CONNECT") {
    auto const where = parse_host_and_port(target);
    if (!where || !where->port) return invalid;
    out.form = target_form::authority;
    out.authority = target;
    return out;
  }
  if (target == "*") {
    if (method != "OPTIONS") return invalid;
    out.form = target_form::asterisk;
    out.path = target;
    return out;
  }
  if (target.starts_with('/')) {
    std::size_t const mark = target.find('?');
    out.path = target.substr(0, mark);
    out.has_query = mark != std::string_view::npos;
    if (out.has_query) out.query = target.substr(mark + 1);
    return out;
  }
  auto const u = parse_uri(target);
  if (!u) return u.error();
  out.form = target_form::absolute;
  out.scheme = u->scheme;
  out.authority = u->authority;
  std::string_view const behind = target.substr(static_cast<std::size_t>(u->authority.data() - target.data()));
  bool const whole_server = method == "OPTIONS" && behind.size() == u->authority.size();
  out.path = whole_server ? "*" : u->path;
  out.query = u->query;
  out.has_query = u->has_query;
  return out;
}

inline bool is_normal_path(std::string_view path) noexcept {
  using namespace target_detail;
  if (!path.starts_with('/')) return false;
  if (is_simple_path(path)) return true;
  int before = -1;  // the byte of the escape just before, for overlong UTF-8
  for (std::size_t i = 0; i < path.size();) {
    if (std::size_t const plain = span_of(path.substr(i), chars::path); plain != 0) {
      before = -1;
      i += plain;
      continue;
    }
    char const c = path[i];
    if (c != '/' && c != '%') return false;
    if (c == '%') {
      int const value = byte_at(path, i + 1);
      if (value < 0 || is_structural(value)) return false;
      if ((before == 0xe0 && value >= 0x80 && value < 0xa0) || (before == 0xf0 && value >= 0x80 && value < 0x90))
        return false;
      i += 3;
      if (value == '%' && hides_structure(path, i)) return false;
      before = value;
      continue;
    }
    before = -1;
    ++i;
    bool const plain = i < path.size() && is(path[i], chars::path) && path[i] != '.' && path[i] != ';';
    if (plain) continue;
    std::string_view segment = path.substr(i, path.find('/', i) - i);
    bool const last = i + segment.size() == path.size();
    if (segment.empty() && !last) return false;
    std::size_t const dots = segment.starts_with("..") ? 2 : segment.starts_with('.') ? 1 : 0;
    segment.remove_prefix(dots);
    if (dots != 0 && (segment.empty() || segment[0] == ';' || segment[0] == '%')) return false;
    if (segment.starts_with(';') || segment.starts_with("%3b") || segment.starts_with("%3B")) return false;
  }
  return true;
}

inline result<std::string_view> path_to_match(std::string_view path, std::string& room) {
  if (!is_normal_path(path)) return std::make_error_code(std::errc::invalid_argument);
  if (path.find('%') == std::string_view::npos) return path;  // nothing in it has two spellings
  auto one = normalize_path(path);
  if (!one) return one.error();
  room = std::move(*one);
  return std::string_view(room);
}

inline result<std::string> normalize_path(std::string_view path) {
  using namespace target_detail;
  auto const invalid = std::make_error_code(std::errc::invalid_argument);
  if (!path.starts_with('/')) return invalid;
  std::string plain;
  plain.reserve(path.size());
  for (std::size_t i = 0; i < path.size();) {
    if (path[i] != '%') {
      if (path[i] != '/' || !plain.ends_with('/')) plain += path[i];
      ++i;
      continue;
    }
    int const value = byte_at(path, i + 1);
    if (value < 0) return invalid;
    i += 3;
    if (is_unreserved(value)) {
      plain += static_cast<char>(value);
    } else {
      constexpr char digits[] = "0123456789ABCDEF";
      plain += '%';
      plain += digits[value / 16];
      plain += digits[value % 16];
    }
  }
  return remove_dot_segments(plain);
}

}  // namespace mgw::http
