#pragma once

#include <mgw/core/log.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/handler.hpp>
#include <mgw/proxy/options.hpp>
#include <mgw/proxy/server.hpp>

#include <asio/ip/tcp.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace gateway {

/// A listener for few and for people, beside those of devices: without TLS and without a password, on the gateway's
/// workers. A Part of a running gateway, also while it does not listen.
template <mgw::proxy::Handler H>
class side_listener {
public:
  side_listener() = default;
  side_listener(side_listener const&) = delete;
  side_listener& operator=(side_listener const&) = delete;

  /// What such a listener bears.
  static mgw::proxy::server_options few() {
    mgw::proxy::server_options o;
    o.max_connections = 64;
    o.head_timeout = o.idle_timeout = o.body_silence = o.send_silence = std::chrono::minutes(2);
    return o;
  }
  /// Before the workers run. `sockets`: listening ones that are there, in place of the address; they are taken over. Throws std::invalid_argument, std::system_error; then there is no listener.
  void listen(mgw::net::worker_pool& workers, std::string const& address, mgw::proxy::server_options o, H handler,
              mgw::log_sink const& log, std::vector<int> const& sockets = {}) {
    auto const where = mgw::net::parse_listen_address(address);
    if (!where) throw std::invalid_argument("accepted: [HOST]:PORT, such as :9102 or 127.0.0.1:9102");
    server_.emplace(workers, std::move(o), std::move(handler), log);
    try {
      for (int const one : sockets) bound_ = server_->listen(one);
      if (sockets.empty()) bound_ = server_->listen(*where);
    } catch (...) {
      server_.reset();
      throw;
    }
  }
  /// Where it really listens; nothing: it does not.
  std::optional<asio::ip::tcp::endpoint> const& bound() const noexcept { return bound_; }

  void drain() {
    if (server_) server_->drain();
  }
  void stop() noexcept {}
  bool idle() const noexcept { return !server_ || server_->idle(); }
  void close() noexcept {
    if (server_) server_->close();
  }

private:
  std::optional<mgw::proxy::server<H>> server_;
  std::optional<asio::ip::tcp::endpoint> bound_;
};

/// `http://127.0.0.1:9102/metrics`
inline std::string url_of(asio::ip::tcp::endpoint const& at, std::string const& path) {
  std::string const host = at.address().is_v6() ? '[' + at.address().to_string() + ']' : at.address().to_string();
  return "http://" + host + ':' + std::to_string(at.port()) + path;
}

}  // namespace gateway
