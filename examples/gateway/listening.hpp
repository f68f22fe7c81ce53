#pragma once

#include "config/configuration.hpp"
#include "config/value_forms.hpp"
#include "support/listen_advice.hpp"

#include <mgw/core/log.hpp>
#include <mgw/net/listener.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <functional>
#include <string>
#include <system_error>

namespace gateway {

/// Why we cannot listen, and what to do: a sentence that names key and value. `first_free`: see first_free_port.
inline std::string listen_trouble(std::string const& key, std::string const& address, unsigned port,
                                  std::error_code why, unsigned first_free = first_free_port()) {
  std::string const advice = listen_advice(port, why, first_free);
  return key + " is " + shown(address) + ": cannot listen there: " + why.message() + (advice.empty() ? "" : "; ") + advice;
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

/// Holds SIGTERM and SIGINT back from this thread, for stop_within. Without, the first process of a container would not
/// get them before it has a handler. Source: pid_namespaces(7).
class stop_held_back {
public:
  stop_held_back() {
    sigset_t const both = signals();
    ::pthread_sigmask(SIG_BLOCK, &both, &before_);
  }
  stop_held_back(stop_held_back const&) = delete;
  stop_held_back& operator=(stop_held_back const&) = delete;
  ~stop_held_back() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  static sigset_t signals() {
    sigset_t out;
    ::sigemptyset(&out);
    ::sigaddset(&out, SIGTERM);
    ::sigaddset(&out, SIGINT);
    return out;
  }

private:
  sigset_t before_{};
};

/// Sleeps, at most so long; true if the process is told to stop meanwhile. Precondition: there is a stop_held_back.
inline bool stop_within(std::chrono::milliseconds d) {
  sigset_t const both = stop_held_back::signals();
  timespec limit{};
  limit.tv_sec = static_cast<std::time_t>(d.count() / 1000);
  limit.tv_nsec = static_cast<long>(d.count() % 1000) * 1'000'000;
  return ::sigtimedwait(&both, nullptr, &limit) > 0;
}

/// Where the time of a wait comes from.
struct wait_clock {
  std::function<bool(asio::ip::tcp::endpoint const&)> up = is_up;
  std::function<bool(std::chrono::milliseconds)> sleep = stop_within;  ///< true: to stop
};

/// Waits for an address to listen on that is not up yet, as at boot before a network is there; looks once a second, for
/// `limit`. One line in the log when it begins and one when it ends; none for an address that is up. Blocks. False if
/// the process is told to stop meanwhile.
inline bool wait_for_address(std::string const& key, std::string const& address, std::chrono::milliseconds limit,
                             mgw::log_sink const& log, wait_clock const& clock = {}) {
  auto const where = mgw::net::parse_listen_address(address);
  if (!where || where->address().is_unspecified() || limit.count() <= 0 || clock.up(*where)) return true;
  stop_held_back const held;
  log(mgw::log_level::warn, key + " is " + shown(address) +
                                ": no interface has this address yet; it is tried again for " + show_duration(limit) +
                                " (ListenTimeout)");
  std::chrono::milliseconds waited(0);
  while (waited < limit) {
    auto const step = std::min<std::chrono::milliseconds>(limit - waited, std::chrono::seconds(1));
    if (clock.sleep(step)) {
      log(mgw::log_level::info, "told to stop before there was an address to listen on");
      return false;
    }
    waited += step;
    if (!clock.up(*where)) continue;
    log(mgw::log_level::info, key + " is " + shown(address) + ": the address is there, after " + show_duration(waited));
    return true;
  }
  return true;
}

}  // namespace gateway
