#pragma once

#include <mgw/core/result.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::http {

/// An absolute http or https URI, as views into the text it was read from; every part is kept byte for byte.
///
/// Signed links break when anything in them is encoded, decoded or cleaned up, so nothing is. Valid as long as the
/// text. Source: RFC 9110 4.2, RFC 3986 3.
struct uri {
  std::string_view scheme;     ///< as written: `http`, `HTTPS`
  std::string_view authority;  ///< `host[:port]` as written: the value of the Host field
  std::string_view host;       ///< without port; IPv6 with its brackets
  std::string_view path;       ///< raw; "/" if there is none
  std::string_view query;      ///< raw, without `?`
  std::string_view
      target;  ///< path and query as written; "/" if there is neither; begins with `?` if only a path is missing
  std::uint16_t port = 0;  ///< explicit, or the scheme's default
  bool explicit_port = false;
  bool has_query = false;  ///< tells `/x?` from `/x`
  bool tls = false;        ///< the scheme is https

  /// What goes on the request line: `target`, with the `/` it needs where the path is empty (RFC 9112 3.2.1).
  std::string request_target() const {
    std::string out;
    out.reserve(target.size() + 1);
    if (!target.starts_with('/')) out += '/';
    out += target;
    return out;
  }
};

/// Reads an absolute http or https URI.
///
/// A fragment is cut: it is never sent, and a Location may carry one (RFC 9110 10.2.2). No userinfo (RFC 9110 4.2.4),
/// nothing but visible ASCII; hosts as in `parse_host_and_port`. Malformed percent escapes in path and query are kept.
/// Errors: std::errc::protocol_not_supported (another scheme), std::errc::invalid_argument.
result<uri> parse_uri(std::string_view text) noexcept;

/// The value of a Host field or the authority of a URI.
struct host_and_port {
  std::string_view host;              ///< IPv6 with its brackets
  std::optional<std::uint16_t> port;  ///< 1 to 65535; absent also for `host:` (RFC 3986 3.2.3)
};

/// Reads `host[:port]`. A host is a name (letters, digits, `-`, `_`; labels of 1 to 63 bytes, a final dot is fine), an
/// IPv4 address in dotted decimal, or an IPv6 address in brackets, without zone.
///
/// A name whose last label is a number is refused: resolvers read `0x7f.1` and `2130706433` as addresses that no
/// list of hosts names. Errors: std::errc::invalid_argument.
result<host_and_port> parse_host_and_port(std::string_view text) noexcept;

/// Whether `authority` (host[:port]) names the host and port of `u`; a port that is not told is the default of `u`'s
/// scheme. Source: RFC 9110 4.2.3.
bool is_authority_of(uri const& u, std::string_view authority) noexcept;

/// Resolves a reference (the value of Location) against the URI it came from; the result is one that `parse_uri` takes.
///
/// A reference with a scheme or an authority of its own stands as it is, dot segments included: it may be a signed
/// link. Otherwise RFC 3986 5.2 (strict: `http:x` is refused). The fragment is cut.
/// Errors: those of `parse_uri`.
result<std::string> resolve_reference(uri const& base, std::string_view reference);

/// Removes `.` and `..` segments, and nothing else. Precondition: `path` begins with `/`. Source: RFC 3986 5.2.4.
std::string remove_dot_segments(std::string_view path);

namespace uri_detail {

constexpr bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
constexpr bool is_alpha(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
/// 0 to 15, or -1.
constexpr int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  char const l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}
constexpr bool is_visible(std::string_view text) noexcept {
  for (char const c : text)
    if (c <= 0x20 || c >= 0x7f) return false;  // bytes from 0x80 on are negative where char is signed, and too big else
  return true;
}
constexpr bool equals_ignoring_case(std::string_view text, std::string_view lower_case) noexcept {
  if (text.size() != lower_case.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (lower(text[i]) != lower_case[i]) return false;
  return true;
}

constexpr bool is_ipv4(std::string_view s) noexcept {
  for (int octet = 0; octet < 4; ++octet) {
    std::size_t n = 0;
    int value = 0;
    for (; n < s.size() && n < 3 && is_digit(s[n]); ++n) value = value * 10 + (s[n] - '0');
    if (n == 0 || value > 255 || (n > 1 && s[0] == '0')) return false;
    s.remove_prefix(n);
    if (octet == 3) return s.empty();
    if (!s.starts_with('.')) return false;
    s.remove_prefix(1);
  }
  return false;
}

constexpr bool is_ipv6(std::string_view s) noexcept {
  int groups = 0;
  bool compressed = false;
  if (s.starts_with("::")) {
    compressed = true;
    s.remove_prefix(2);
  }
  while (!s.empty()) {
    std::size_t n = 0;
    while (n < s.size() && hex_value(s[n]) >= 0) ++n;
    if (n == 0 || n > 4) return false;
    if (n < s.size() && s[n] == '.') {
      if (!is_ipv4(s)) return false;
      groups += 2;
      break;
    }
    if (++groups > 8) return false;
    s.remove_prefix(n);
    if (s.empty()) break;
    if (s[0] != ':' || s.size() == 1) return false;
    s.remove_prefix(1);
    if (s[0] == ':') {
      if (compressed) return false;
      compressed = true;
      s.remove_prefix(1);
    }
  }
  return compressed ? groups < 8 : groups == 8;
}

/// True for a label that resolvers take for (the end of) a number.
constexpr bool is_number(std::string_view label) noexcept {
  bool const hex = label.size() >= 2 && label[0] == '0' && lower(label[1]) == 'x';
  if (hex) label.remove_prefix(2);
  for (char const c : label)
    if (hex ? hex_value(c) < 0 : !is_digit(c)) return false;
  return true;
}

constexpr bool is_host(std::string_view host) noexcept {
  if (host.starts_with('[')) return host.ends_with(']') && is_ipv6(host.substr(1, host.size() - 2)) && host.size() > 2;
  if (host.empty() || host.size() > 254) return false;  // RFC 1035 2.3.4, with the final dot
  std::string_view rest = host;
  if (rest.ends_with('.')) rest.remove_suffix(1);
  for (;;) {
    std::size_t const dot = rest.find('.');
    std::string_view const label = rest.substr(0, dot);
    if (label.empty() || label.size() > 63) return false;
    for (char const c : label)
      if (!is_alpha(c) && !is_digit(c) && c != '-' && c != '_') return false;
    if (dot == std::string_view::npos) return !is_number(label) || is_ipv4(host);
    rest.remove_prefix(dot + 1);
  }
}

}  // namespace uri_detail

inline result<host_and_port> parse_host_and_port(std::string_view text) noexcept {
  auto const invalid = std::make_error_code(std::errc::invalid_argument);
  host_and_port out;
  std::size_t const bracket = text.starts_with('[') ? text.find(']') : 0;
  if (bracket == std::string_view::npos) return invalid;
  std::size_t const colon = text.find(':', bracket);
  out.host = text.substr(0, colon);
  if (!uri_detail::is_host(out.host)) return invalid;
  if (colon == std::string_view::npos) return out;
  std::string_view const digits = text.substr(colon + 1);
  if (digits.empty()) return out;
  if (digits.size() > 5) return invalid;
  unsigned port = 0;
  for (char const c : digits) {
    if (!uri_detail::is_digit(c)) return invalid;
    port = port * 10 + static_cast<unsigned>(c - '0');
  }
  if (port == 0 || port > 65535) return invalid;
  out.port = static_cast<std::uint16_t>(port);
  return out;
}

inline bool is_authority_of(uri const& u, std::string_view authority) noexcept {
  auto const named = parse_host_and_port(authority);
  if (!named || named->host.size() != u.host.size()) return false;
  for (std::size_t i = 0; i < u.host.size(); ++i)
    if (uri_detail::lower(u.host[i]) != uri_detail::lower(named->host[i])) return false;
  return named->port.value_or(u.tls ? 443 : 80) == u.port;
}

inline result<uri> parse_uri(std::string_view text) noexcept {
  auto const invalid = std::make_error_code(std::errc::invalid_argument);
  if (!uri_detail::is_visible(text)) return invalid;
  text = text.substr(0, text.find('#'));
  std::size_t const colon = text.find(':');
  if (colon == std::string_view::npos) return invalid;
  uri u;
  u.scheme = text.substr(0, colon);
  u.tls = uri_detail::equals_ignoring_case(u.scheme, "https");
  if (!u.tls && !uri_detail::equals_ignoring_case(u.scheme, "http"))
    return std::make_error_code(std::errc::protocol_not_supported);
  text.remove_prefix(colon + 1);
  if (!text.starts_with("//")) return invalid;
  text.remove_prefix(2);

  std::size_t const end = text.find_first_of("/?");
  u.authority = text.substr(0, end);
  auto const where = parse_host_and_port(u.authority);
  if (!where) return where.error();
  u.host = where->host;
  u.explicit_port = where->port.has_value();
  u.port = where->port.value_or(u.tls ? 443 : 80);

  u.target = end == std::string_view::npos ? std::string_view("/") : text.substr(end);
  std::size_t const mark = u.target.find('?');
  u.path = mark == 0 ? std::string_view("/") : u.target.substr(0, mark);
  u.has_query = mark != std::string_view::npos;
  if (u.has_query) u.query = u.target.substr(mark + 1);
  return u;
}

inline std::string remove_dot_segments(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  while (!path.empty()) {
    std::size_t const next = path.find('/', 1);
    bool const last = next == std::string_view::npos;
    std::string_view const segment = path.substr(0, next);  // with its leading '/'
    if (segment == "/..") {
      std::size_t const parent = out.rfind('/');
      out.resize(parent == std::string::npos ? 0 : parent);
    } else if (segment != "/.") {
      out += segment;
      if (last) break;
    }
    if (last) {
      out += '/';
      break;
    }
    path.remove_prefix(next);
  }
  return out;
}

inline result<std::string> resolve_reference(uri const& base, std::string_view reference) {
  reference = reference.substr(0, reference.find('#'));
  std::string out;
  out.reserve(base.scheme.size() + base.authority.size() + base.target.size() + reference.size() + 8);
  std::size_t const stop = reference.find_first_of(":/?");
  if (stop != std::string_view::npos && reference[stop] == ':') {
    out += reference;
  } else {
    out += base.scheme;
    out += ':';
    std::size_t const mark = reference.find('?');
    std::string_view const path = reference.substr(0, mark);
    std::string_view const query = mark == std::string_view::npos ? std::string_view() : reference.substr(mark);
    if (path.starts_with("//")) {
      out += reference;
    } else {
      out += "//";
      out += base.authority;
      if (reference.empty()) {
        out += base.request_target();
      } else if (path.empty()) {
        out += base.path;
      } else if (path.starts_with('/')) {
        out += remove_dot_segments(path);
      } else {
        std::string merged(base.path.substr(0, base.path.rfind('/') + 1));  // RFC 3986 5.2.3
        merged += path;
        out += remove_dot_segments(merged);
      }
      out += query;
    }
  }
  auto const checked = parse_uri(out);
  if (!checked) return checked.error();
  return out;
}

}  // namespace mgw::http
