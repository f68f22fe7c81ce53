#pragma once

#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace mgw {

/// A few threads for work that may block (disk, mostly), so that a slow eMMC never stalls a network thread.
///
/// Thread rule: `run` from any coroutine; it resumes on that coroutine's executor. Lifetime: `join()` after the network
/// threads have ended and before their contexts are destroyed, since a running job refers to a coroutine's frame.
class blocking_pool {
public:
  explicit blocking_pool(std::size_t threads = 2) : pool_(threads) {}

  /// Calls `f()` on the pool and returns what it returned, or rethrows. Precondition: `f` refers only to things that
  /// live as long as the awaiting coroutine or the pool.
  template <class F>
  asio::awaitable<std::invoke_result_t<F&>> run(F f) {
    std::optional<std::invoke_result_t<F&>> value;
    std::exception_ptr failure;
    auto const executor = co_await asio::this_coro::executor;
    auto work = [&] {
      try {
        value.emplace(f());
      } catch (...) {  // carried to the awaiting coroutine
        failure = std::current_exception();
      }
    };
    auto initiate = [this, &work, &executor](auto handler) {
      // The guard keeps the caller's context running while nothing else on it is pending.
      asio::post(pool_, [&work, h = std::move(handler), guard = asio::make_work_guard(executor)]() mutable {
        work();
        auto const back = guard.get_executor();
        asio::post(back, std::move(h));
      });
    };
    co_await asio::async_initiate<asio::use_awaitable_t<> const, void()>(initiate, asio::use_awaitable);
    if (failure) std::rethrow_exception(failure);
    co_return std::move(*value);
  }

  /// Waits for what was started and ends the threads. Nothing may be started afterwards.
  void join() { pool_.join(); }

private:
  asio::thread_pool pool_;
};

}  // namespace mgw
