#pragma once

#include <mgw/proxy/exchange.hpp>

#include <asio/awaitable.hpp>

#include <concepts>

namespace mgw::proxy {

/// Answers an exchange. `h(x)` -> awaitable<void>; called once per request, concurrently on all workers; `h` lives as
/// long as the server. An exception that leaves it closes the connection and is logged. Page: docs/concepts/handler.md
template <class H>
concept Handler = requires(H const& h, exchange& x) {
  { h(x) } -> std::same_as<asio::awaitable<void>>;
};

}  // namespace mgw::proxy
