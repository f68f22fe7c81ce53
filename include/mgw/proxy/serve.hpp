#pragma once

#include <mgw/core/log.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/handler.hpp>

#include <asio/awaitable.hpp>

#include <exception>
#include <optional>
#include <string>

namespace mgw::proxy {

/// Serves one connection: request after request, until either side has had enough. An exception that leaves the handler
/// closes the connection and is logged. Ends with `x.parked()` where the exchange was allowed to.
/// Thread rule: the exchange's worker; `x` and `handler` outlive the coroutine.
template <Handler H>
asio::awaitable<void> serve(exchange& x, H const& handler, log_sink const& log) {
  for (;;) {
    bool const asked = co_await x.next_request();
    if (!asked) break;
    std::string failure;
    try {
      co_await handler(x);
    } catch (std::exception const& e) {
      failure = e.what();
    }
    if (!failure.empty()) {
      x.notes().failure = failure;
      x.abort();
      if (log) log(log_level::error, "a handler failed: " + failure);
    }
    std::optional<bool> again = x.end_now();
    if (!again) again = co_await x.end_exchange();
    if (!*again) break;
  }
  if (x.parked()) co_return;
  co_await x.linger();
}

}  // namespace mgw::proxy
