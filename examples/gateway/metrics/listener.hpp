#pragma once

#include "metrics/text.hpp"

#include <mgw/core/log.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/server.hpp>

#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

/// Answers `GET /metrics` with what `write` writes, on a worker's thread; everything else is 404, or 405.
class metrics_page {
public:
  using writer = std::function<void(metrics_text&)>;
  explicit metrics_page(writer write) : write_(std::move(write)) {}

  asio::awaitable<void> operator()(mgw::proxy::exchange& x) const {
    std::string_view const method = x.request().method;
    if (x.target().path != "/metrics") {
      (void)co_await x.respond(404, "text/plain; charset=utf-8", "metrics are at /metrics\n");
      co_return;
    }
    if (method != "GET" && method != "HEAD") {
      (void)co_await x.respond(405, "text/plain; charset=utf-8", "GET or HEAD\n", "Allow", "GET, HEAD");
      co_return;
    }
    metrics_text out;
    write_(out);
    (void)co_await x.respond(200, metrics_text::content_type, out.text());
  }

private:
  writer write_;
};

/// The metrics' own listener, without TLS and without a password, on the gateway's workers. Where it cannot listen,
/// that is logged and the gateway goes on, as the original does. A Part of a running gateway, also while it has no
/// listener.
class metrics_listener {
public:
  metrics_listener() = default;
  metrics_listener(metrics_listener const&) = delete;
  metrics_listener& operator=(metrics_listener const&) = delete;

  /// Before the workers run. `key`: what the address is called in messages.
  void listen(mgw::net::worker_pool& workers, std::string const& key, std::string const& address,
              metrics_page::writer write, mgw::log_sink const& log) {
    try {
      auto const where = mgw::net::parse_listen_address(address);
      if (!where) throw std::invalid_argument("accepted: [HOST]:PORT, such as :9102 or 127.0.0.1:9102");
      mgw::proxy::server_options o;
      o.max_connections = 64;  // scrapers are few
      o.head_timeout = o.idle_timeout = o.body_silence = o.send_silence = std::chrono::minutes(2);
      server_.emplace(workers, std::move(o), metrics_page(std::move(write)), log);
      bound_ = server_->listen(*where);
    } catch (std::exception const& e) {
      server_.reset();
      log(mgw::log_level::error, key + " is \"" + address + "\": there are no metrics: " + e.what());
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
  std::optional<mgw::proxy::server<metrics_page>> server_;
  std::optional<asio::ip::tcp::endpoint> bound_;
};

}  // namespace gateway
