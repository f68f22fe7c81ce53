#pragma once

#include <mgw/http/uri.hpp>

#include <asio/ip/address.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace gateway {

/// What a certificate can be for, and what devices can reach: a DNS name in lower case, or an IP address without
/// brackets.
struct certificate_host {
  static constexpr char const* accepted =
      "a DNS name such as gateway.example, without port, final dot and wildcard, or an IP address of one host";

  std::string text;
  bool is_address = false;

  /// As it stands in a URL.
  std::string in_url() const { return text.find(':') == text.npos ? text : '[' + text + ']'; }
  bool operator==(certificate_host const&) const = default;
};

/// Nothing if it is not what `certificate_host::accepted` says. IPv6 addresses may have brackets. Names whose last
/// label is a number are refused: resolvers take them for addresses.
inline std::optional<certificate_host> read_certificate_host(std::string_view text) {
  bool const brackets = text.size() > 2 && text.front() == '[' && text.back() == ']';
  std::string const inner(brackets ? text.substr(1, text.size() - 2) : text);
  asio::error_code ec;
  auto const address = asio::ip::make_address(inner, ec);
  if (!ec) {
    bool const zone = inner.find('%') != inner.npos;
    if (zone || (brackets && address.is_v4()) || address.is_unspecified() || address.is_multicast()) return {};
    return certificate_host{address.to_string(), true};
  }
  auto const name = mgw::http::parse_host_and_port(text);
  if (!name || name->host != text || text.front() == '[' || text.size() > 253) return {};
  certificate_host out{std::string(text)};
  char before = '.';
  for (char& c : out.text) {
    if ((c == '-' && before == '.') || (c == '.' && before == '-')) return {};
    before = c;
    c = mgw::http::uri_detail::lower(c);
  }
  if (before == '.' || before == '-') return {};
  return out;
}

}  // namespace gateway
