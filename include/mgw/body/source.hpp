#pragma once

#include <asio/awaitable.hpp>

#include <concepts>
#include <string_view>
#include <system_error>

namespace mgw::body {

/// One piece of a body. `bytes` stays valid until the next call on the source it came from.
struct chunk {
  std::error_code ec;      ///< set: the body is broken, nothing more comes
  std::string_view bytes;  ///< may be empty at the end
  bool end = false;        ///< the body is whole
};

/// Gives a body once, in order.
///
/// `s.read_body()` -> awaitable<chunk>; pre: neither `end` nor `ec` was given yet; post: bytes, or end, or ec.
/// A truncated body is an error, never an end. Models: proxy::exchange, upstream::client_exchange.
template <class S>
concept BodySource = requires(S& s) {
  { s.read_body() } -> std::same_as<asio::awaitable<chunk>>;
};

}  // namespace mgw::body
