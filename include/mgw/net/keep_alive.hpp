#pragma once

#include <mgw/net/error.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <system_error>

namespace mgw::net {

/// A peer that is silent, also to the kernel's probes, for so long is gone: reads and writes fail then. Connections
/// accepted from a listening socket inherit it. 0: nothing is set. Source: tcp(7) (SO_KEEPALIVE, TCP_USER_TIMEOUT).
inline std::error_code probe_peer(int fd, std::chrono::seconds timeout) noexcept {
  if (timeout.count() <= 0) return {};
  auto const seconds = static_cast<int>(std::min<std::int64_t>(timeout.count(), 32'767));
  struct {
    int level, name, value;
  } const wanted[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                      {IPPROTO_TCP, TCP_KEEPIDLE, std::max(1, seconds / 2)},
                      {IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, seconds / 10)},
                      {IPPROTO_TCP, TCP_USER_TIMEOUT, seconds * 1000}};
  for (auto const& o : wanted)
    if (::setsockopt(fd, o.level, o.name, &o.value, sizeof o.value) != 0) return system_error(errno);
  return {};
}

}  // namespace mgw::net
