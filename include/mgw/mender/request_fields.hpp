#pragma once

#include <mgw/mender/text.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

namespace mgw::mender {

/// Whether a request field from a device is dropped before the request goes upstream: those by which front ends tell
/// services who called, under which name, with which certificate or method. A service that believes them would believe
/// the device. `X-MEN-Signature` and `X-MEN-RequestID` are kept. An underscore counts as a hyphen, since CGI-like
/// servers make no difference; case does not count.
constexpr bool is_dropped_request_field(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 15> prefixes = {
      "x-men-rbac-",  "x-ssl-",          "ssl-client-",   "x-client-cert",     "client-cert",
      "x-forwarded-", "x-original-",     "x-rewrite-",    "x-amzn-mtls-",      "x-envoy-",
      "x-tls-",       "x-auth-request-", "x-http-method", "x-method-override", "x-arr-"};
  constexpr std::array<std::string_view, 13> names = {
      "forwarded",      "x-forwarded",      "x-real-ip",     "x-host",        "x-http-host-override",
      "x-client-ip",    "x-client-dn",      "x-remote-addr", "x-remote-user", "x-cluster-client-ip",
      "true-client-ip", "cf-connecting-ip", "remote-user"};
  // Most fields are told from them by their first letter.
  constexpr std::uint32_t first = [&] {
    std::uint32_t letters = 0;
    for (std::string_view const n : prefixes) letters |= std::uint32_t{1} << (n[0] - 'a');
    for (std::string_view const n : names) letters |= std::uint32_t{1} << (n[0] - 'a');
    return letters;
  }();
  char const begin = name.empty() ? '\0' : to_lower(name[0]);
  if (begin < 'a' || begin > 'z' || (first >> (begin - 'a') & 1U) == 0) return false;
  auto const same = [](char a, char b) { return (a == '_' ? '-' : to_lower(a)) == b; };
  auto const begins = [&](std::string_view prefix) {
    return name.size() >= prefix.size() &&
           std::equal(prefix.begin(), prefix.end(), name.begin(), [&](char p, char n) { return same(n, p); });
  };
  return std::any_of(prefixes.begin(), prefixes.end(), begins) ||
         std::any_of(names.begin(), names.end(),
                     [&](std::string_view n) { return n.size() == name.size() && begins(n); });
}

}  // namespace mgw::mender
