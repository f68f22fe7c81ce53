#pragma once

#include "config/configuration.hpp"
#include "config/text_file.hpp"
#include "config/value_forms.hpp"

#include <mgw/core/log.hpp>
#include <mgw/net/listener.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <functional>
#include <string>
#include <system_error>
#include <thread>

namespace gateway {

/// The first port that needs no privilege; 1024 where the kernel does not say. Source: ip(7).
inline unsigned first_free_port() {
  unsigned n = 1024;
  if (auto const text = read_text_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", 64))
    std::from_chars(text->data(), text->data() + text->size(), n);
  return n;
}

/// Why we cannot listen, and what to do: a sentence that names key and value. `first_free`: see first_free_port.
inline std::string listen_trouble(std::string const& key, std::string const& address, unsigned port,
                                  std::error_code why, unsigned first_free = first_free_port()) {
  std::string out = key + " is " + shown(address) + ": cannot listen there: " + why.message();
  std::string const number = std::to_string(port);
  switch (why.value()) {
    case EACCES:
      if (port >= first_free)
        return out + "; uid " + std::to_string(::geteuid()) +
               " may take this port by its number, so SELinux, AppArmor or the like forbids it: see their log";
      return out + "; uid " + std::to_string(::geteuid()) + " may take no port below " + std::to_string(first_free) +
             ": give the service the right (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE; a container: cap_add "
             "NET_BIND_SERVICE), or set sysctl net.ipv4.ip_unprivileged_port_start=" +
             number + ", or set another port, such as :8443, and map " + number + " to it";
    case EADDRINUSE: return out + "; stop the program that listens there (ss -ltnp names it), or set another address";
    case EADDRNOTAVAIL:
      return out + "; no interface of this machine has this address: set one that it has (ip addr), or :" + number +
             " for all";
    default: return out;
  }
}

/// Whether an interface has this address. No port is taken.
inline bool is_up(asio::ip::tcp::endpoint const& address) {
  asio::io_context io(1);
  asio::ip::tcp::socket probe(io);
  std::error_code ec;
  probe.open(address.protocol(), ec);
  if (!ec) probe.bind(asio::ip::tcp::endpoint(address.address(), 0), ec);
  return ec != mgw::net::system_error(EADDRNOTAVAIL);  // what else is wrong is told by who listens
}

/// Where the time of a wait comes from.
struct wait_clock {
  std::function<bool(asio::ip::tcp::endpoint const&)> up = is_up;
  std::function<void(std::chrono::milliseconds)> sleep = [](std::chrono::milliseconds d) {
    std::this_thread::sleep_for(d);
  };
};

/// Waits for an address to listen on that is not up yet, as at boot before a network is there; looks once a second, for
/// `limit`. One line in the log when it begins and one when it ends; none for an address that is up. Blocks.
inline void wait_for_address(std::string const& key, std::string const& address, std::chrono::milliseconds limit,
                             mgw::log_sink const& log, wait_clock const& clock = {}) {
  auto const where = mgw::net::parse_listen_address(address);
  if (!where || where->address().is_unspecified() || limit.count() <= 0 || clock.up(*where)) return;
  log(mgw::log_level::warn, key + " is " + shown(address) +
                                ": no interface has this address yet; it is tried again for " + show_duration(limit) +
                                " (ListenTimeout)");
  std::chrono::milliseconds waited(0);
  while (waited < limit) {
    auto const step = std::min<std::chrono::milliseconds>(limit - waited, std::chrono::seconds(1));
    clock.sleep(step);
    waited += step;
    if (!clock.up(*where)) continue;
    log(mgw::log_level::info, key + " is " + shown(address) + ": the address is there, after " + show_duration(waited));
    return;
  }
}

}  // namespace gateway
