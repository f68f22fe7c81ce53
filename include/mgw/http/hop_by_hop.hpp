#pragma once

#include <mgw/http/fields.hpp>

#include <array>
#include <string_view>

namespace mgw::http {

/// Fields that Connection cannot take away although it names them. RFC 9110 7.6.1 forbids to list a field meant for all
/// recipients; who does it anyway wants the next server to see another message than the one that was judged here.
inline constexpr std::array<std::string_view, 21> never_hop_by_hop = {
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "authorization",
    "cookie",
    "set-cookie",
    "cache-control",
    "date",
    "etag",
    "last-modified",
    "location",
    "expect",
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
};

/// The fields of RFC 9110 7.6.1 and of proxy authentication: whatever a message says, they concern one connection only.
inline bool is_hop_by_hop(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 10> always = {
      "connection",
      "keep-alive",
      "proxy-connection",
      "te",
      "trailer",
      "transfer-encoding",
      "upgrade",
      "proxy-authenticate",
      "proxy-authorization",
      "proxy-authentication-info",
  };
  for (auto const& h : always)
    if (iequals(h, name)) return true;
  return false;
}

/// Whether a field must not be forwarded: the ones above, plus those that `all`, the same message's fields, names in
/// Connection, except `never_hop_by_hop`. Framing is the forwarder's own: Transfer-Encoding is dropped here,
/// Content-Length is not.
inline bool is_hop_by_hop(std::string_view name, fields const& all) noexcept {
  if (is_hop_by_hop(name)) return true;
  if (!all.list_contains("connection", name)) return false;
  for (auto const& n : never_hop_by_hop)
    if (iequals(n, name)) return false;
  return true;
}

}  // namespace mgw::http
