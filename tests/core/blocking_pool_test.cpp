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
#include <optional>
#include <ostream>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace mgw {
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
  /// Whether hangs began and ended in turn, the last one too or not.
  bool told_all(bool ended) const {
    std::lock_guard const hold(mutex_);
    for (std::size_t i = 0; i < all_.size(); ++i)
      if (all_[i] != (i % 2 == 0)) return false;
    return !all_.empty() && (all_.size() % 2 == 0) == ended;
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
/// Waits for the promise's future on the pool, and holds `owned` meanwhile. A job that has not begun in time is given up
/// and never called: that is tried again.
asio::awaitable<bool> wait_in_vain(blocking_pool& pool, std::shared_future<void> release, std::shared_ptr<int> owned) {
  auto const begun = std::make_shared<std::atomic<bool>>(false);
  for (;;) {
    auto f = [release, owned, begun] {
      *begun = true;
      release.wait();
      return owned;
    };
    auto const got = co_await pool.run_for(ms(5), std::move(f));
    if (got || *begun) co_return got.has_value();
  }
}
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
  std::promise<void> release;
  auto owned = std::make_shared<int>(1);
  std::weak_ptr<int> const left = owned;
  CHECK_FALSE(run_io(wait_in_vain(pool, release.get_future().share(), std::move(owned))));  // its context is gone, too
  CHECK(watch.hung());
  CHECK_FALSE(left.expired());
  CHECK_FALSE(pool.join_for(ms(1)));
  release.set_value();
  CHECK(pool.join_for(std::chrono::hours(1)));
  CHECK_FALSE(watch.hung());
  CHECK(left.expired());
  CHECK(told.told_all(true));
}

TEST_CASE("a job that waited behind a hung one until its deadline is never called") {
  hang_watch watch;
  blocking_pool pool(1, &watch);
  std::promise<void> release;
  auto const released = release.get_future().share();
  auto first = std::make_shared<int>(1);
  CHECK_FALSE(run_io(wait_in_vain(pool, released, std::move(first))));
  std::atomic<bool> called{false};
  auto const second = [](blocking_pool& p, std::atomic<bool>& flag) -> asio::awaitable<bool> {
    auto f = [&flag] { return flag = true; };
    auto const got = co_await p.run_for(ms(1), f);
    co_return got.has_value();
  };
  CHECK_FALSE(run_io(second(pool, called)));
  release.set_value();
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
  CHECK(seen.told_all(true));
  pool.join();
}

TEST_CASE("several that are late are one hang: it is over when the last has come back") {
  changes told;
  hang_watch watch(told.listener());
  blocking_pool a(1, &watch), b(1, &watch);
  std::promise<void> one, other;
  auto x = std::make_shared<int>(1), y = std::make_shared<int>(1);
  CHECK_FALSE(run_io(wait_in_vain(a, one.get_future().share(), std::move(x))));
  CHECK_FALSE(run_io(wait_in_vain(b, other.get_future().share(), std::move(y))));
  one.set_value();
  CHECK(a.join_for(std::chrono::hours(1)));
  CHECK(watch.hung());
  CHECK(told.told_all(false));
  other.set_value();
  CHECK(b.join_for(std::chrono::hours(1)));
  CHECK(told.told_all(true));
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

}  // namespace mgw
