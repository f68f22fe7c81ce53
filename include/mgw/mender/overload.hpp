#pragma once

#include <mgw/mender/error_body.hpp>
#include <mgw/proxy/exchange.hpp>

#include <asio/awaitable.hpp>

#include <openssl/rand.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>

namespace mgw::mender {

/// Whole seconds for Retry-After: at least `wait`, and up to half of it or 30 s longer, whichever is more, at random,
/// so that those who are sent away together do not come back together.
inline std::int64_t jittered_seconds(std::chrono::seconds wait) {
  std::uint32_t random = 0;
  (void)RAND_bytes(reinterpret_cast<unsigned char*>(&random), sizeof random);  // without: no jitter
  std::int64_t const least = std::max<std::int64_t>(wait.count(), 1);
  return least + static_cast<std::int64_t>(random % static_cast<std::uint64_t>(std::max<std::int64_t>(least / 2, 30)));
}

/// Sends a device away for a while: 429 with Retry-After, which newer clients honour on polls, inventories and logs.
/// Never 404, 405 or 409, which mean something to clients.
inline asio::awaitable<void> answer_overload(proxy::exchange& x, std::chrono::seconds wait = std::chrono::seconds(5)) {
  x.notes().failure = "the gateway has too much to do";
  std::string const text = error_body("too many requests", x.notes().request_id);
  std::string const after = std::to_string(jittered_seconds(wait));
  (void)co_await x.respond(429, "application/json; charset=utf-8", text, "Retry-After", after);
}

}  // namespace mgw::mender
