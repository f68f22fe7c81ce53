#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace mgw::mender {

constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

constexpr bool is_letter_or_digit(char c) noexcept {
  return (c >= '0' && c <= '9') || (to_lower(c) >= 'a' && to_lower(c) <= 'z');
}

/// Equal but for the case of ASCII letters.
constexpr bool is_same_text(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return to_lower(x) == to_lower(y); });
}

/// Whether these are the characters of a host name or IPv4 address, 1 to 255 of them; underscores occur in practice.
constexpr bool is_host_name_text(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 255 && std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
  });
}

/// Whether these are the characters of an IPv6 address without brackets and zone.
constexpr bool is_ipv6_text(std::string_view address) noexcept {
  return address.size() <= 45 && std::count(address.begin(), address.end(), ':') >= 2 &&
         std::all_of(address.begin(), address.end(), [](char c) {
           return (c >= '0' && c <= '9') || (to_lower(c) >= 'a' && to_lower(c) <= 'f') || c == ':' || c == '.';
         });
}

}  // namespace mgw::mender
