#include <mgw/core/blocking_pool.hpp>

#include <support/run_io.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <mutex>
#include <ostream>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::blocking_pool_test {
namespace {

using test::run_io;
using ms = std::chrono::milliseconds;

/// What the watch tells, in order.
class changes {
public:
  hang_watch::listener listener() {
    return [this](bool hung) {
      std::lock_guard const hold(mutex_);
      all_.push_back(hung);
    };
  }
  std::vector<bool> all() const {
    std::lock_guard const hold(mutex_);
    return all_;
  }

private:
  mutable std::mutex mutex_;
  std::vector<bool> all_;
};

asio::awaitable<int> answer_of(blocking_pool& pool) {
  auto f = [] { return 42; };
  auto const got = co_await pool.run_for(std::chrono::hours(1), f);
  co_return got.value_or(0);
}
/// One job that hangs until it is released, and what it owns.
struct hang {
  std::promise<void> release;
  std::weak_ptr<int> owned;

  /// Returns when the job has begun, was late and left.
  explicit hang(blocking_pool& pool) {
    auto const released = release.get_future().share();
    std::atomic<bool> begun{false};
    while (!begun) {  // on a slow machine a job may be left before it has begun
      auto mine = std::make_shared<int>(1);
      owned = mine;
      auto f = [released, mine = std::move(mine), &begun] {
        begun = true;
        released.wait();
        return mine;
      };
      CHECK_FALSE(run_io(answers(pool, std::move(f))));
    }
  }
  template <class F>
  static asio::awaitable<bool> answers(blocking_pool& pool, F f) {
    auto const got = co_await pool.run_for(ms(1), std::move(f));
    co_return got.has_value();
  }
};
asio::awaitable<int> wait_for_it(blocking_pool& pool, std::promise<void>& release, int& told) {
  auto f = [released = release.get_future().share()] {
    released.wait();
    return 42;
  };
  auto late = [&] {
    ++told;
    release.set_value();
  };
  int const got = co_await pool.run(ms(1), std::move(f), late);
  co_return got;
}

}  // namespace

TEST_CASE("a job's value and its exception come back, with and without a deadline") {
  blocking_pool pool(2);
  CHECK(run_io(answer_of(pool)) == 42);
  auto const fail = [](blocking_pool& p, bool deadline) -> asio::awaitable<void> {
    auto f = []() -> int { throw std::runtime_error("no"); };
    if (deadline)
      (void)co_await p.run_for(std::chrono::hours(1), f);
    else
      (void)co_await p.run(f);
  };
  CHECK_THROWS_AS(run_io(fail(pool, false)), std::runtime_error);
  CHECK_THROWS_AS(run_io(fail(pool, true)), std::runtime_error);
  pool.join();
}

TEST_CASE("nobody waits for a job past its deadline; it keeps what it uses until it has come back") {
  changes told;
  hang_watch watch(told.listener());
  blocking_pool pool(1, &watch);
  hang h(pool);  // the context of its coroutine is gone
  CHECK(watch.hung());
  CHECK(told.all().back());
  CHECK_FALSE(h.owned.expired());
  CHECK_FALSE(pool.join_for(ms(1)));
  h.release.set_value();
  CHECK(pool.join_for(std::chrono::hours(1)));
  CHECK_FALSE(watch.hung());
  CHECK_FALSE(told.all().back());
  CHECK(h.owned.expired());
}

TEST_CASE("a job that waited behind a hung one until its deadline is never called") {
  hang_watch watch;
  blocking_pool pool(1, &watch);
  hang h(pool);
  std::atomic<bool> called{false};
  auto f = [&called] { return called = true; };
  CHECK_FALSE(run_io(hang::answers(pool, f)));
  h.release.set_value();
  CHECK(pool.join_for(std::chrono::hours(1)));
  CHECK_FALSE(called);
  CHECK_FALSE(watch.hung());
}

TEST_CASE("who has to wait is told once that it is late, and gets the value all the same") {
  changes seen;
  hang_watch watch(seen.listener());
  blocking_pool pool(1, &watch);
  std::promise<void> release;
  int told = 0;
  CHECK(run_io(wait_for_it(pool, release, told)) == 42);
  CHECK(told == 1);
  CHECK_FALSE(watch.hung());
  CHECK(seen.all() == std::vector<bool>{true, false});  // this one is always called
  pool.join();
}

TEST_CASE("several that are late are one hang: it is over when the last has come back") {
  changes told;
  hang_watch watch(told.listener());
  blocking_pool a(1, &watch), b(1, &watch);
  hang one(a);
  std::size_t const before = told.all().size();
  hang other(b);
  one.release.set_value();
  CHECK(a.join_for(std::chrono::hours(1)));
  CHECK(watch.hung());
  CHECK(told.all().size() == before);
  other.release.set_value();
  CHECK(b.join_for(std::chrono::hours(1)));
  CHECK_FALSE(watch.hung());
  CHECK(told.all().size() == before + 1);
}

TEST_CASE("a job that gets on is not late, however long it takes, nor is what waits behind it") {
  using clock = std::chrono::steady_clock;
  static constexpr ms deadline(300);
  hang_watch watch;
  blocking_pool pool(1, &watch);
  auto const both = [](blocking_pool& p, std::atomic<bool>& stalled) -> asio::awaitable<bool> {
    auto const slow = [](blocking_pool& q, std::atomic<bool>& gap) -> asio::awaitable<void> {
      auto f = [&gap] {
        auto const end = clock::now() + 3 * deadline;
        for (auto last = clock::now(); last < end;) {
          std::this_thread::yield();
          note_progress();
          auto const now = clock::now();
          if (now - last >= deadline / 2) gap = true;  // the machine's fault: the test says nothing
          last = now;
        }
        return 0;
      };
      (void)co_await q.run_for(deadline, f);
    };
    auto const ex = co_await asio::this_coro::executor;
    test::background first(ex, slow(p, stalled));
    auto f = [] { return 0; };
    auto const got = co_await p.run_for(deadline, f);
    co_await first.join();
    co_return got.has_value();
  };
  std::atomic<bool> stalled{false};
  bool const in_time = run_io(both(pool, stalled));
  CHECK((in_time || stalled));
  pool.join();
}

}  // namespace mgw::blocking_pool_test
