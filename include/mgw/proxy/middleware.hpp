#pragma once

#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/handler.hpp>

#include <asio/awaitable.hpp>

#include <utility>

namespace mgw::proxy {

/// A middleware bound to what it wraps. Build it with `operator|`; it is itself a Handler, without a frame of its own.
template <class M, Handler H>
struct bound {
  M middleware;
  H next;
  bound(M m, H h) : middleware(std::move(m)), next(std::move(h)) {}  // not an aggregate: g++ 12 destroys aggregate temporaries twice
  asio::awaitable<void> operator()(exchange& x) const { return middleware(x, next); }
};

/// Marks a callable `f(exchange&, auto const& next) -> awaitable<void>` as a middleware.
template <class F>
struct middleware {
  F f;
  explicit middleware(F fn) : f(std::move(fn)) {}
  template <Handler H>
  asio::awaitable<void> operator()(exchange& x, H const& next) const {
    return f(x, next);
  }
};

/// `outer | inner | handler`: the leftmost sees the request first and the response last.
template <class F, Handler H>
auto operator|(middleware<F> m, H h) {
  return bound<middleware<F>, H>(std::move(m), std::move(h));
}

}  // namespace mgw::proxy
