#pragma once

#include <mgw/upstream/endpoint.hpp>

#include <asio/ip/address.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>
#include <asio/ip/tcp.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace mgw::upstream {

/// Whether the address is none of the public internet: private, loopback, link-local, shared (RFC 6598), documentation,
/// multicast, reserved and so on. Source: the IANA IPv4 Special-Purpose Address Registry (RFC 6890); anycast relays
/// that are listed there as reachable count as private, too, since nothing is served there.
constexpr bool is_private(std::uint32_t v4) noexcept {
  struct block {
    std::uint32_t first;
    int bits;
  };
  constexpr std::array<block, 17> special = {{
      {0x00000000, 8},   // this host; connecting to 0.0.0.0 leads to 127.0.0.1
      {0x0A000000, 8},   // RFC 1918
      {0x64400000, 10},  // 100.64/10, RFC 6598
      {0x7F000000, 8},   // loopback
      {0xA9FE0000, 16},  // 169.254/16: link-local, and the metadata of clouds
      {0xAC100000, 12},  // 172.16/12, RFC 1918
      {0xC0000000, 24},  // 192.0.0/24: IETF protocols
      {0xC0000200, 24},  // 192.0.2/24: documentation
      {0xC01FC400, 24},  // 192.31.196/24: AS112
      {0xC034C100, 24},  // 192.52.193/24: AMT
      {0xC0586300, 24},  // 192.88.99/24: 6to4 relays, deprecated
      {0xC0A80000, 16},  // 192.168/16, RFC 1918
      {0xC0AF3000, 24},  // 192.175.48/24: AS112
      {0xC6120000, 15},  // 198.18/15: benchmarks
      {0xC6336400, 24},  // 198.51.100/24: documentation
      {0xCB007100, 24},  // 203.0.113/24: documentation
      {0xE0000000, 3},   // 224/4 multicast, 240/4 reserved, broadcast
  }};
  for (auto const& b : special)
    if ((v4 ^ b.first) >> (32 - b.bits) == 0) return true;
  return false;
}

/// The same for IPv6: what lies outside of 2000::/3, or in a special block of it. Addresses that carry an IPv4 one
/// (mapped, NAT64, 6to4) are what that is. Source: the IANA IPv6 Special-Purpose Address Registry, RFC 4291, 6052,
/// 3056.
inline bool is_private(asio::ip::address_v6 const& v6) noexcept {
  auto const b = v6.to_bytes();
  auto const word = [&b](std::size_t i) { return static_cast<unsigned>(b[2 * i] << 8 | b[2 * i + 1]); };
  auto const v4_at = [&word](std::size_t i) { return static_cast<std::uint32_t>(word(i)) << 16 | word(i + 1); };
  auto const zero = [&b](std::size_t from, std::size_t to) {
    return std::all_of(b.begin() + static_cast<std::ptrdiff_t>(from), b.begin() + static_cast<std::ptrdiff_t>(to),
                       [](unsigned char c) { return c == 0; });
  };
  if (zero(0, 10) && word(5) == 0xFFFF) return is_private(v4_at(6));                     // ::ffff:0:0/96
  if (word(0) == 0x64 && word(1) == 0xFF9B && zero(4, 12)) return is_private(v4_at(6));  // 64:ff9b::/96
  if (word(0) == 0x2002) return is_private(v4_at(1));                                    // 6to4
  if (b[0] >> 5 != 1) return true;                                                       // not 2000::/3
  bool const protocols = word(0) == 0x2001 && word(1) < 0x200;  // 2001::/23: Teredo, benchmarks, ORCHID, …
  bool const documentation = (word(0) == 0x2001 && word(1) == 0xDB8) || (word(0) == 0x3FFF && word(1) < 0x1000);
  return protocols || documentation;
}

inline bool is_private(asio::ip::address const& a) noexcept {
  return a.is_v4() ? is_private(a.to_v4().to_uint()) : is_private(a.to_v6());
}

/// Where a pool's connections may lead. What `reach` an endpoint has is said by whoever connects.
struct address_rules {
  std::function<bool(asio::ip::address const&)> is_private = [](auto const& a) { return upstream::is_private(a); };
  /// Whether this program itself listens there. Empty: nowhere.
  std::function<bool(asio::ip::tcp::endpoint const&)> is_self;
  /// A host that may be private; where all of its addresses are, so may those of `reach::outside` be. Empty: none.
  endpoint home;
  /// Told of each endpoint that was refused, all of whose addresses are private, and the first of them. Any thread.
  std::function<void(endpoint const&, asio::ip::address const&)> refused;

  bool all_private(std::span<asio::ip::tcp::endpoint const> addresses) const {
    return std::all_of(addresses.begin(), addresses.end(), [this](auto const& a) { return is_private(a.address()); });
  }
  bool any_private(std::span<asio::ip::tcp::endpoint const> addresses) const {
    return std::any_of(addresses.begin(), addresses.end(), [this](auto const& a) { return is_private(a.address()); });
  }
  bool allows(reach within, asio::ip::tcp::endpoint const& a) const {
    if (within == reach::anywhere) return true;
    if (is_self && is_self(a)) return false;
    return within != reach::outside || !is_private(a.address());
  }
};

}  // namespace mgw::upstream
