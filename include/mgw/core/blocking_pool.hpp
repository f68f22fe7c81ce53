#pragma once

#include <mgw/core/hang_watch.hpp>
#include <mgw/core/progress.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace mgw {

/// A few threads for work that may block (disk, mostly), so that a slow eMMC never stalls a network thread.
///
/// A job is late when for so long neither it (note_progress) nor, while it waits in line, its pool has got on: a queue
/// before a slow disk is not late. The watch counts late jobs until they come back.
/// Thread rule: `run` and `run_for` from any coroutine whose executor runs one handler at a time; they resume there.
/// Lifetime: `join()` after the network threads have ended and before their contexts are destroyed, since a running job
/// may refer to a coroutine's frame.
class blocking_pool {
public:
  using duration = std::chrono::milliseconds;

  explicit blocking_pool(std::size_t threads = 2, hang_watch* watch = nullptr) : watch_(watch), pool_(threads) {}

  /// Calls `f()` on the pool and returns what it returned, or rethrows. Precondition: `f` refers only to things that
  /// live as long as the awaiting coroutine or the pool.
  template <class F>
  asio::awaitable<std::invoke_result_t<F&>> run(F f) {
    auto const j = std::make_shared<job_of<F>>(std::move(f), false);
    auto const executor = co_await asio::this_coro::executor;
    submit(j, executor);
    (void)co_await wait(*j, forever);
    co_return j->take();
  }
  /// The same. Past the deadline `late()` is called once, here, and then it waits on.
  template <class F, class Late>
  asio::awaitable<std::invoke_result_t<F&>> run(duration deadline, F f, Late late) {
    auto const j = std::make_shared<job_of<F>>(std::move(f), false);
    auto const executor = co_await asio::this_coro::executor;
    submit(j, executor);
    bool const in_time = co_await wait(*j, deadline);
    if (!in_time) {
      late();
      (void)co_await wait(*j, forever);
    }
    co_return j->take();
  }
  /// Calls `f()` on the pool, but does not wait for it past the deadline: then nothing, and what `f` returns later is
  /// destroyed on the pool. One that has not begun by then is never called. Precondition: `f` owns what it uses, or
  /// that lives as long as the pool.
  template <class F>
  asio::awaitable<std::optional<std::invoke_result_t<F&>>> run_for(duration deadline, F f) {
    auto const j = std::make_shared<job_of<F>>(std::move(f), true);
    auto const executor = co_await asio::this_coro::executor;
    submit(j, executor);
    bool const in_time = co_await wait(*j, deadline);
    if (!in_time) co_return std::nullopt;
    co_return j->take();
  }
  /// Calls `f()` on the pool some time. Any thread.
  template <class F>
  void post(F f) {
    start([f = std::move(f)]() mutable {
      try {
        f();
      } catch (...) {  // nobody waits for it
      }
    });
  }

  /// From now on `pool_ends()` is true for all that runs here: what can be done another time gives up. Any thread.
  void end_soon() noexcept { ends_ = true; }
  /// Waits for what was started and ends the threads. Nothing may be started afterwards.
  void join() {
    end_soon();
    pool_.join();
  }
  /// The same, for so long at most. False: something still runs; then neither the pool nor what its jobs refer to may
  /// be destroyed before a `join_for` has returned true: a program that wants to end does it by _exit(2).
  bool join_for(duration limit) {
    end_soon();
    {
      std::unique_lock hold(mutex_);
      if (!idle_.wait_for(hold, limit, [this] { return pending_ == 0; })) return false;
    }
    pool_.join();
    return true;
  }

private:
  using clock = std::chrono::steady_clock;
  static constexpr duration forever = duration::max();

  struct job {
    explicit job(bool l) : may_be_left(l) { mark.set(); }
    job(job const&) = delete;
    job& operator=(job const&) = delete;
    virtual ~job() = default;
    virtual void call() = 0;

    bool const may_be_left;
    hang_watch::job watched;
    progress_mark mark;
    std::atomic<bool> begun{false};
    bool done = false;  // these two: the waiting coroutine's thread
    asio::steady_timer* waiter = nullptr;
  };
  template <class F>
  struct job_of final : job {
    job_of(F work, bool left) : job(left), f(std::move(work)) {}
    void call() override {
      try {
        value.emplace(f());
      } catch (...) {  // carried to the awaiting coroutine
        failure = std::current_exception();
      }
    }
    std::invoke_result_t<F&> take() {
      if (failure) std::rethrow_exception(failure);
      return std::move(*value);
    }
    F f;
    std::optional<std::invoke_result_t<F&>> value;
    std::exception_ptr failure;
  };

  template <class Work>
  void start(Work work) {
    {
      std::lock_guard const hold(mutex_);
      ++pending_;
    }
    asio::post(pool_, [this, work = std::move(work)]() mutable {
      std::optional<Work> mine(std::move(work));
      (*mine)();
      mine.reset();  // gone before it counts as done
      std::lock_guard const hold(mutex_);
      if (--pending_ == 0) idle_.notify_all();
    });
  }
  void submit(std::shared_ptr<job> j, asio::any_io_executor back);
  asio::awaitable<bool> wait(job& j, duration deadline);
  hang_watch& watch() noexcept { return watch_ != nullptr ? *watch_ : own_watch_; }

  hang_watch own_watch_;
  hang_watch* const watch_;
  progress_mark mark_;
  std::atomic<bool> ends_{false};
  std::mutex mutex_;
  std::condition_variable idle_;
  std::size_t pending_ = 0;
  asio::thread_pool pool_;
};

inline void blocking_pool::submit(std::shared_ptr<job> j, asio::any_io_executor back) {
  start([this, j = std::move(j), back = std::move(back)]() mutable {
    bool const wanted = !(j->may_be_left && j->watched.late());
    mark_.set();
    j->mark.set();
    j->begun = true;
    progress_detail::current = {&j->mark, &mark_, &ends_};
    if (wanted) j->call();
    progress_detail::current = {};
    mark_.set();
    bool const late = watch().returned(j->watched);
    if (late && j->may_be_left) return;
    asio::post(back, [j = std::move(j)] {
      j->done = true;
      if (j->waiter != nullptr) j->waiter->cancel();
    });
  });
}

/// False: past the deadline, and it has not come back. The timer keeps the caller's context running meanwhile.
inline asio::awaitable<bool> blocking_pool::wait(job& j, duration deadline) {
  auto const executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor);
  j.waiter = &timer;
  bool in_time = true, watching = deadline != forever;
  while (!j.done) {
    auto until = clock::time_point::max();
    if (watching) {
      until = (j.begun ? j.mark.get() : std::max(j.mark.get(), mark_.get())) + deadline;
      if (clock::now() >= until) {
        in_time = !watch().late(j.watched);
        if (!in_time) break;
        watching = false;  // it has just come back: the news is on its way
        continue;
      }
    }
    std::error_code ignored;  // cancelled: done
    timer.expires_at(until);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  j.waiter = nullptr;
  co_return in_time;
}

}  // namespace mgw
