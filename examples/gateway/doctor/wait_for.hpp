#pragma once

#include <mgw/net/worker_pool.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>

#include <exception>
#include <optional>
#include <utility>

namespace gateway::doctor {

/// Runs what `start(worker_pool&)` returns, an awaitable, on one worker, and gives what comes of it. Whatever `start`
/// refers to lives until then. Errors: what the awaitable throws.
template <class Start>
auto wait_for(Start start) {
  using result = typename decltype(start(std::declval<mgw::net::worker_pool&>()))::value_type;
  mgw::net::worker_pool workers(1);
  std::optional<result> out;
  std::exception_ptr failed;
  asio::co_spawn(workers.worker(0).io, start(workers), [&](std::exception_ptr e, result r) {
    failed = std::move(e);
    out = std::move(r);
    workers.stop();
  });
  workers.run();
  if (failed) std::rethrow_exception(failed);
  return *std::move(out);
}

}  // namespace gateway::doctor
