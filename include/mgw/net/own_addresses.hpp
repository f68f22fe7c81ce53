#pragma once

#include <asio/ip/address.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace mgw::net {

/// Whether the machine has this address: nobody else's can be bound. A few system calls. Any thread.
inline bool is_local_address(asio::ip::address const& a) noexcept {
  asio::ip::udp::endpoint const where(a, 0);
  int const fd = ::socket(where.protocol().family(), SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  bool const bound = ::bind(fd, where.data(), static_cast<socklen_t>(where.size())) == 0;
  ::close(fd);
  return bound;
}

/// Where a program listens, so that it can tell itself from others: requests to itself would go round for ever.
///
/// Ports that are forwarded from elsewhere, as containers have them, cannot be seen from here.
/// Thread rule: `add` before anybody asks; then any thread.
class own_addresses {
public:
  void add(asio::ip::tcp::endpoint listening) { listening_.push_back(std::move(listening)); }

  /// Whether a connection to `where` comes back to us. System calls only where the port is one of ours.
  bool contains(asio::ip::tcp::endpoint const& where) const {
    auto const to = plain(where.address());
    return std::any_of(listening_.begin(), listening_.end(), [&](asio::ip::tcp::endpoint const& l) {
      if (l.port() != where.port()) return false;
      auto const at = plain(l.address());
      if (at == to) return true;
      if (to.is_unspecified()) return at.is_loopback() || at.is_unspecified();
      // [::] takes IPv4 as well.
      return at.is_unspecified() && (at.is_v6() || to.is_v4()) && is_local_address(to);
    });
  }

private:
  static asio::ip::address plain(asio::ip::address const& a) {
    if (a.is_v6() && a.to_v6().is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, a.to_v6());
    return a;
  }

  std::vector<asio::ip::tcp::endpoint> listening_;
};

}  // namespace mgw::net
