#include <mgw/net/worker_pool.hpp>

#include <doctest/doctest.h>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <utility>

namespace mgw::net::worker_pool_test {
namespace {

/// Tells another worker that it goes, and holds something of that one.
struct farewell {
  farewell(asio::any_io_executor e, std::atomic<int>& n)
      : to(std::move(e)), timer(std::make_shared<asio::steady_timer>(to)), gone(n) {}
  farewell(farewell const&) = delete;
  farewell& operator=(farewell const&) = delete;
  ~farewell() {
    asio::post(to, [held = timer] { (void)held; });
    timer.reset();
    ++gone;
  }
  asio::any_io_executor to;
  std::shared_ptr<asio::steady_timer> timer;
  std::atomic<int>& gone;
};

asio::awaitable<void> wait_for_ever(worker& own, worker& other, std::atomic<int>& begun, std::atomic<int>& gone) {
  farewell const f(other.io.get_executor(), gone);
  asio::steady_timer timer(own.io.get_executor(), std::chrono::hours(1));
  if (++begun == 6) {
    for (auto* w : {&own, &other}) w->io.stop();
  }
  co_await timer.async_wait(asio::use_awaitable);
}

}  // namespace

TEST_CASE("coroutines that are suspended when the workers go may refer to other workers, in whatever order they die") {
  std::atomic<int> begun{0}, gone{0};
  {
    worker_pool pool(2);
    for (int i = 0; i < 6; ++i) {
      worker &own = pool.worker(i % 2 == 0 ? 0 : 1), &other = pool.worker(i % 2 == 0 ? 1 : 0);
      asio::co_spawn(own.io, wait_for_ever(own, other, begun, gone), asio::detached);
    }
    pool.run();
    CHECK(begun == 6);
    CHECK(gone == 0);
    pool.clear();
    CHECK(gone == 6);
  }
}

}  // namespace mgw::net::worker_pool_test
