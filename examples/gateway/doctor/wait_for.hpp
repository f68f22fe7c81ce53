#pragma once

#include <mgw/net/worker_pool.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <system_error>
#include <utility>

namespace gateway::doctor {

/// Runs what `start(worker_pool&)` returns, an awaitable, on one worker, and gives what comes of it; nothing if that
/// takes longer than `limit`. Whatever `start` refers to lives until then. Errors: what the awaitable throws.
template <class Start>
auto wait_at_most(std::chrono::milliseconds limit, Start start) {
  using result = typename decltype(start(std::declval<mgw::net::worker_pool&>()))::value_type;
  std::optional<result> out;
  std::exception_ptr failed;
  mgw::net::worker_pool workers(1);
  asio::steady_timer timer(workers.worker(0).io, limit);
  timer.async_wait([&](std::error_code ec) {
    if (!ec) workers.stop();
  });
  asio::co_spawn(workers.worker(0).io, start(workers), [&](std::exception_ptr e, result r) {
    failed = std::move(e);
    out = std::move(r);
    workers.stop();
  });
  workers.run();
  if (failed) std::rethrow_exception(failed);
  return out;
}

/// The same for what ends by itself.
template <class Start>
auto wait_for(Start start) {
  return *wait_at_most(std::chrono::hours(1), std::move(start));
}

}  // namespace gateway::doctor
