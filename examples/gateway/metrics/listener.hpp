#pragma once

#include "metrics/text.hpp"
#include "support/side_listener.hpp"

#include <mgw/core/log.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/exchange.hpp>

#include <asio/awaitable.hpp>

#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

/// The metrics' own listener. Where it cannot listen, that is logged and the gateway goes on, as the original does.
class metrics_listener : public side_listener<metrics_page> {
public:
  /// Before the workers run. `key`: what the address is called in messages. `sockets`: listening ones that are there, in
  /// place of the address; they are taken over.
  void listen(mgw::net::worker_pool& workers, std::string const& key, std::string const& address,
              metrics_page::writer write, mgw::log_sink const& log, std::vector<int> const& sockets = {}) {
    try {
      side_listener::listen(workers, address, few(), metrics_page(std::move(write)), log, sockets);
    } catch (std::exception const& e) {
      log(mgw::log_level::error, key + " is \"" + address + "\": there are no metrics: " + e.what());
    }
  }
};

}  // namespace gateway
