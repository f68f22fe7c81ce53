#pragma once

#include <asio/awaitable.hpp>

#include <concepts>
#include <string_view>
#include <system_error>

namespace mgw::body {

/// Takes a body once, in order. A sink that is destroyed without a successful commit behaves as if `abort()` had been
/// called: nothing of a body that was not committed is ever taken for a whole one.
///
/// | expression | semantics |
/// |---|---|
/// | `k.write(bytes)` | awaitable<std::error_code>; pre: neither committed nor aborted; whole or error |
/// | `k.commit()` | awaitable<std::error_code>; once; on error the sink is aborted |
/// | `k.abort()` | noexcept, idempotent, no effect after a commit |
///
/// Not required: `k.commit(last)`, the same with the last bytes, which may then leave together with what ends the body.
///
/// Model: proxy::response_body.
template <class K>
concept BodySink = requires(K& k, std::string_view bytes) {
  { k.write(bytes) } -> std::same_as<asio::awaitable<std::error_code>>;
  { k.commit() } -> std::same_as<asio::awaitable<std::error_code>>;
  { k.abort() } noexcept;
};

}  // namespace mgw::body
