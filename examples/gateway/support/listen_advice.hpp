#pragma once

#include "config/text_file.hpp"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string>
#include <system_error>

namespace gateway {

/// The first port that needs no privilege; 1024 where the kernel does not say. Source: ip(7).
inline unsigned first_free_port() {
  unsigned n = 1024;
  if (auto const text = read_text_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", 64))
    std::from_chars(text->data(), text->data() + text->size(), n);
  return n;
}

/// Why we cannot listen on an address with this port, and what to do; empty: the reason says it all. `first_free`: see
/// first_free_port.
inline std::string listen_advice(unsigned port, std::error_code why, unsigned first_free = first_free_port()) {
  std::string const number = std::to_string(port), uid = "uid " + std::to_string(::geteuid());
  switch (why.value()) {
    case EACCES:
      if (port >= first_free)
        return uid + " may take this port by its number, so SELinux, AppArmor or the like forbids it: see their log";
      return uid + " may take no port below " + std::to_string(first_free) +
             ": give the service the right (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE; a container: cap_add "
             "NET_BIND_SERVICE), or set sysctl net.ipv4.ip_unprivileged_port_start=" +
             number + ", or set another port, such as :8443, and map " + number + " to it";
    case EADDRINUSE: return "stop the program that listens there (ss -ltnp names it), or set another address";
    case EADDRNOTAVAIL:
      return "no interface of this machine has this address: set one that it has (ip addr), or :" + number + " for all";
    default: return {};
  }
}

}  // namespace gateway
