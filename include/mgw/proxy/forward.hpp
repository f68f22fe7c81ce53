#pragma once

#include <mgw/proxy/answer_failure.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/proxy/forwarding.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <memory>
#include <string>
#include <utility>

namespace mgw::proxy {

/// Relays every request to one upstream: a reverse proxy in a line. But not CONNECT, which is 501 (RFC 9110 9.3.6), and
/// not what forward_options::any_path is about.
class forward {
public:
  forward(upstream::pool_set const& upstreams, forward_options options)
      : upstreams_(&upstreams), options_(std::make_shared<forward_options const>(std::move(options))) {}

  asio::awaitable<void> operator()(exchange& x) const {
    auto f = std::make_unique<forwarding>(x, *upstreams_, *options_);
    forward_outcome const sent = co_await f->send();
    if (!sent.ec) {
      co_await f->relay();
      co_return;
    }
    co_await answer_failure(x, *options_, sent);
  }

private:
  upstream::pool_set const* upstreams_;
  std::shared_ptr<forward_options const> options_;
};

}  // namespace mgw::proxy
