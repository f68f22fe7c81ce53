#pragma once

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>

namespace mgw::test {

/// Runs one awaitable to its end on a context of its own, and returns its value or throws what it threw.
/// A test that hangs fails after `limit`. `io` is fresh, or has nothing to do besides.
template <class T>
T run_io(asio::io_context& io, asio::awaitable<T> main, std::chrono::seconds limit = std::chrono::seconds(60)) {
  std::exception_ptr error;
  bool done = false;
  if constexpr (std::is_void_v<T>) {
    asio::co_spawn(io, std::move(main), [&](std::exception_ptr e) {
      error = e;
      done = true;
      io.stop();
    });
    io.run_for(limit);
    if (error) std::rethrow_exception(error);
    if (!done) throw std::runtime_error("the coroutine did not come to its end");
  } else {
    std::optional<T> value;
    asio::co_spawn(io, std::move(main), [&](std::exception_ptr e, T v) {
      error = e;
      value.emplace(std::move(v));
      done = true;
      io.stop();
    });
    io.run_for(limit);
    if (error) std::rethrow_exception(error);
    if (!done) throw std::runtime_error("the coroutine did not come to its end");
    return std::move(*value);
  }
}
template <class T>
T run_io(asio::awaitable<T> main) {
  asio::io_context io(1);
  return run_io(io, std::move(main));
}

/// A coroutine that runs beside the test's own, on the same executor. join() waits for it and throws what it threw.
class background {
  struct state {
    asio::steady_timer ended;
    std::exception_ptr error;
    bool done = false;
    explicit state(asio::any_io_executor ex) : ended(ex, asio::steady_timer::time_point::max()) {}
  };
  std::shared_ptr<state> p_;

public:
  background(asio::any_io_executor ex, asio::awaitable<void> work) : p_(std::make_shared<state>(ex)) {
    asio::co_spawn(ex, std::move(work), [p = p_](std::exception_ptr e) {
      p->error = e;
      p->done = true;
      p->ended.cancel();
    });
  }
  bool done() const noexcept { return p_->done; }
  asio::awaitable<void> join() {
    auto const p = p_;
    std::error_code ignored;
    while (!p->done) co_await p->ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (p->error) std::rethrow_exception(p->error);
  }
};

/// Lets everything else that is ready run once.
inline asio::awaitable<void> yield() {
  auto const ex = co_await asio::this_coro::executor;
  asio::steady_timer now(ex, asio::steady_timer::time_point::min());
  std::error_code ignored;
  co_await now.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace mgw::test
