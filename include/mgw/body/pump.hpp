#pragma once

#include <mgw/body/sink.hpp>
#include <mgw/body/source.hpp>

#include <concepts>
#include <cstdint>

namespace mgw::body {

/// How a body got from one side to the other: at most one of the errors is set.
struct pump_result {
  std::error_code source_error;  ///< the body never became whole; the sink was aborted
  std::error_code sink_error;    ///< the sink refused it; the rest of the source was not read
  std::uint64_t bytes = 0;       ///< taken by the sink
  explicit operator bool() const noexcept { return !source_error && !sink_error; }
};

/// Moves a body whole: reads as fast as the sink takes, commits at the end, aborts on an error of either side.
/// `c`: what was read of it already; it may be empty.
template <BodySource S, BodySink K>
asio::awaitable<pump_result> pump(S& from, K& to, chunk c) {
  constexpr bool ends_with_bytes = requires { to.commit(c.bytes); };
  auto const nothing = [&c] { return !c.ec && !c.end && c.bytes.empty(); };
  pump_result r;
  for (;; c = chunk()) {
    // What has been received already costs no coroutine.
    if constexpr (requires {
                    { from.received_body() } -> std::same_as<chunk>;
                  })
      if (nothing()) c = from.received_body();
    if (nothing()) c = co_await from.read_body();
    if (c.ec) {
      r.source_error = c.ec;
      break;
    }
    if (!c.bytes.empty() && !(ends_with_bytes && c.end)) {
      r.sink_error = co_await to.write(c.bytes);
      if (r.sink_error) break;
      r.bytes += c.bytes.size();
    }
    if (!c.end) continue;
    if constexpr (ends_with_bytes) {
      r.sink_error = co_await to.commit(c.bytes);
      if (!r.sink_error) r.bytes += c.bytes.size();
      if (r.sink_error && !c.bytes.empty()) break;
    } else {
      r.sink_error = co_await to.commit();
    }
    co_return r;
  }
  to.abort();
  co_return r;
}
template <BodySource S, BodySink K>
asio::awaitable<pump_result> pump(S& from, K& to) {
  return pump(from, to, chunk());
}

}  // namespace mgw::body
