#pragma once

#include <mgw/http/date.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/mender/error_body.hpp>
#include <mgw/proxy/exchange.hpp>

#include <asio/awaitable.hpp>

#include <openssl/rand.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::mender {

/// Whole seconds for Retry-After: at least `wait`, and up to half of it or 30 s longer, whichever is more, at random,
/// so that those who are sent away together do not come back together.
inline std::int64_t jittered_seconds(std::chrono::seconds wait) {
  std::uint32_t random = 0;
  (void)RAND_bytes(reinterpret_cast<unsigned char*>(&random), sizeof random);  // without: no jitter
  std::int64_t const least = std::max<std::int64_t>(wait.count(), 1);
  return least + static_cast<std::int64_t>(random % static_cast<std::uint64_t>(std::max<std::int64_t>(least / 2, 30)));
}

/// How long a server asks to wait; nothing if it does not say, or nothing that is understood. Source: RFC 9110 10.2.3.
inline std::optional<std::chrono::seconds> retry_after(std::string_view field) {
  std::int64_t seconds = 0;
  auto const [end, ec] = std::from_chars(field.data(), field.data() + field.size(), seconds);
  if (ec == std::errc{} && end == field.data() + field.size() && seconds >= 0)
    return std::chrono::seconds(std::min<std::int64_t>(seconds, 24 * 3600));
  auto const date = http::parse_date(field);
  if (!date) return std::nullopt;
  auto const wait = *date - static_cast<std::int64_t>(std::time(nullptr));
  return std::chrono::seconds(std::clamp<std::int64_t>(wait, 0, 24 * 3600));
}

/// Sends a device away for a while: 429 with Retry-After, which newer clients honour on polls, inventories and logs, or
/// 503. Never 404, 405 or 409, which mean something to clients.
inline asio::awaitable<void> answer_overload(proxy::exchange& x, int status, std::chrono::seconds wait) {
  x.notes().failure = "the gateway has too much to do";
  std::string const text = error_body(http::reason_phrase(status), x.notes().request_id);
  std::string const after = std::to_string(jittered_seconds(wait));
  (void)co_await x.respond(status, "application/json; charset=utf-8", text, "Retry-After", after);
}

}  // namespace mgw::mender
