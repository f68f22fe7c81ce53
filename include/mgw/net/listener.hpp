#pragma once

#include <mgw/core/result.hpp>
#include <mgw/net/error.hpp>
#include <mgw/net/keep_alive.hpp>
#include <mgw/net/tcp_stream.hpp>

#include <asio/awaitable.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/v6_only.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <functional>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::net {

struct listener_options {
  bool reuse_port = true;  ///< several listeners share the address, and the kernel spreads connections over them
  int backlog = 1024;      ///< connections waiting to be accepted; the kernel caps it at net.core.somaxconn
  /// Of an accepted connection: a peer that is silent, also to the kernel's probes, for so long is gone (SO_KEEPALIVE,
  /// TCP_USER_TIMEOUT). Zero: no probes.
  std::chrono::seconds peer_timeout{300};
  /// Called before each pause, with what was wanting. On the listener's thread; must not throw.
  std::function<void(std::error_code why)> on_pause;
};

/// Accepts TCP connections on one io_context.
///
/// Where the process or the system is out of descriptors or memory it pauses for 100 ms instead of spinning: the
/// connection stays in the backlog, and accept(2) would say the same again at once.
/// Errors: std::system_error naming the address, from the constructors. Thread rule: the io_context's thread.
class listener {
public:
  using options = listener_options;

  /// `[::]` takes IPv4 as well; on a host without IPv6 it means 0.0.0.0.
  listener(asio::io_context& io, asio::ip::tcp::endpoint address, listener_options chosen = {});
  /// Takes over a listening socket (socket activation), and closes it if that fails. Precondition: it is one, of IPv4 or
  /// IPv6.
  listener(asio::io_context& io, int listening, listener_options chosen = {});

  /// Calls `on_connection(tcp_stream)` for each, until stop(). What it throws for want of memory costs that
  /// connection only; any other exception ends the run. Precondition: the listener outlives it.
  template <class F>
  asio::awaitable<void> run(F on_connection);
  /// Closes the socket: no more connections are taken, and run() ends.
  void stop() noexcept {
    stopped_ = true;
    std::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }
  asio::ip::tcp::endpoint local() const noexcept { return local_; }
  /// How often it has paused. Any thread.
  std::uint64_t pauses() const noexcept { return pauses_.load(std::memory_order_relaxed); }

private:
  // Between two bursts the connections that are there get their turn.
  static constexpr int burst = 16;

  std::error_code open(asio::ip::tcp::endpoint const& address, listener_options const& chosen);
  std::error_code probe_peers(std::chrono::seconds timeout);

  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  asio::ip::tcp::endpoint local_;
  std::function<void(std::error_code)> on_pause_;
  std::atomic<std::uint64_t> pauses_{0};
  bool stopped_ = false;
};

/// Reads `:443` (every address, IPv4 and IPv6), `127.0.0.1:8443`, `[::1]:443`, `localhost:8080`; port 0 lets the
/// system choose. Other host names are not resolved. Errors: std::errc::invalid_argument.
inline result<asio::ip::tcp::endpoint> parse_listen_address(std::string_view text) {
  auto const bad = std::make_error_code(std::errc::invalid_argument);
  std::size_t const colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad;
  std::string_view const port_text = text.substr(colon + 1);
  std::string_view host = text.substr(0, colon);
  std::uint16_t port = 0;
  auto const [end, failure] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (failure != std::errc() || end != port_text.data() + port_text.size()) return bad;
  if (host.empty()) return asio::ip::tcp::endpoint(asio::ip::address_v6::any(), port);
  if (host == "localhost") return asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), port);
  bool const bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  std::error_code ec;
  auto const address = asio::ip::make_address(std::string(host), ec);
  if (ec || address.is_v6() != bracketed) return bad;
  return asio::ip::tcp::endpoint(address, port);
}

inline listener::listener(asio::io_context& io, asio::ip::tcp::endpoint address, listener_options chosen)
    : acceptor_(io), pause_(io), on_pause_(chosen.on_pause) {
  poller::of(io.get_executor());  // now rather than with the first connection
  std::error_code ec = open(address, chosen);
  bool const no_ipv6 = ec == asio::error::address_family_not_supported || ec == system_error(EADDRNOTAVAIL);
  if (no_ipv6 && address.address() == asio::ip::address_v6::any())
    ec = open(asio::ip::tcp::endpoint(asio::ip::address_v4::any(), address.port()), chosen);
  if (!ec) local_ = acceptor_.local_endpoint(ec);
  if (!ec) acceptor_.non_blocking(true, ec);
  if (ec) {
    std::ostringstream what;
    what << "cannot listen on " << address;
    throw std::system_error(ec, what.str());
  }
}

inline listener::listener(asio::io_context& io, int listening, listener_options chosen)
    : acceptor_(io), pause_(io), on_pause_(chosen.on_pause) {
  poller::of(io.get_executor());  // now rather than with the first connection
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  std::error_code ec;
  if (::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    ec = system_error(errno);
  else
    acceptor_.assign(address.ss_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), listening, ec);
  if (!acceptor_.is_open()) ::close(listening);
  if (!ec) local_ = acceptor_.local_endpoint(ec);
  if (!ec) ec = probe_peers(chosen.peer_timeout);
  if (!ec) acceptor_.non_blocking(true, ec);
  if (ec) throw std::system_error(ec, "cannot listen on descriptor " + std::to_string(listening));
}

inline std::error_code listener::open(asio::ip::tcp::endpoint const& address, listener_options const& chosen) {
  std::error_code ec;
  if (acceptor_.is_open()) acceptor_.close(ec);
  acceptor_.open(address.protocol(), ec);
  if (ec) return ec;
  acceptor_.set_option(asio::ip::tcp::acceptor::reuse_address(true), ec);
  int const on = 1;
  if (chosen.reuse_port && ::setsockopt(acceptor_.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
    return system_error(errno);
  if (address.address() == asio::ip::address_v6::any()) acceptor_.set_option(asio::ip::v6_only(false), ec);
  acceptor_.bind(address, ec);
  if (!ec) ec = probe_peers(chosen.peer_timeout);
  if (!ec) acceptor_.listen(chosen.backlog, ec);
  return ec;
}

/// Accepted sockets inherit these from the listening one. Source: tcp(7).
inline std::error_code listener::probe_peers(std::chrono::seconds timeout) {
  return probe_peer(acceptor_.native_handle(), timeout);
}

template <class F>
asio::awaitable<void> listener::run(F on_connection) {
  while (!stopped_) {
    std::error_code ec;
    co_await acceptor_.async_wait(asio::ip::tcp::acceptor::wait_read, asio::redirect_error(asio::use_awaitable, ec));
    for (int i = 0; i < burst && !stopped_ && !ec; ++i) {
      int const fd = ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        ec = system_error(errno);
        break;
      }
      try {
        on_connection(tcp_stream(acceptor_.get_executor(), fd));
      } catch (std::bad_alloc const&) {
        ec = asio::error::no_memory;
      }
    }
    // What concerns one connection that is gone already, or nothing, is no reason to pause: see accept(2).
    if (stopped_ || !ec || ec == asio::error::would_block || ec == asio::error::interrupted ||
        ec == asio::error::connection_aborted || ec == system_error(EPROTO))
      continue;
    pauses_.fetch_add(1, std::memory_order_relaxed);
    if (on_pause_) on_pause_(ec);
    pause_.expires_after(std::chrono::milliseconds(100));
    co_await pause_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
}

}  // namespace mgw::net
