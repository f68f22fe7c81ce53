#pragma once

#include <mgw/http/uri.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

namespace mgw::upstream {

/// To which addresses of a host a connection may lead (address_rules).
enum class reach : std::uint8_t {
  anywhere,
  elsewhere,  ///< not to this program itself
  outside,    ///< nor into private networks
};

/// Where to connect: what a pool of connections is keyed by.
struct endpoint {
  std::string host;  ///< name or address, IPv6 without brackets
  std::uint16_t port = 0;
  bool tls = false;
  std::size_t receive_buffer = 0;  ///< bytes that the kernel may receive ahead; 0: as it thinks fit
  reach within = reach::anywhere;  ///< one that was not held against it is not used where it is asked for

  endpoint() = default;
  endpoint(std::string h, std::uint16_t p, bool t) : host(std::move(h)), port(p), tls(t) {}
  explicit endpoint(http::uri const& u) : port(u.port), tls(u.tls) {
    auto h = u.host;
    if (h.size() > 2 && h.front() == '[') h = h.substr(1, h.size() - 2);
    host.assign(h);
  }
  auto operator<=>(endpoint const&) const = default;

  /// For logs: `https://host:port`.
  std::string text() const { return (tls ? "https://" : "http://") + authority(); }
  /// `host:port`, with the brackets of IPv6.
  std::string authority() const {
    std::string const name = host.find(':') == std::string::npos ? host : '[' + host + ']';
    return name + ':' + std::to_string(port);
  }
};

}  // namespace mgw::upstream
