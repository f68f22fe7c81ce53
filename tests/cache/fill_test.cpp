#include <mgw/cache/fill.hpp>

#include <doctest/doctest.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace mgw::cache::fill_test {
namespace {

meta some_meta(std::uint64_t length) {
  meta m;
  m.length = length;
  m.etag = "\"v\"";
  return m;
}
auto const far = std::chrono::hours(1);

/// Follows a fill until it is complete or cut; notes each amount it saw.
asio::awaitable<void> follow(std::shared_ptr<fill> f, std::vector<std::uint64_t>* seen, int* ended) {
  auto const executor = co_await asio::this_coro::executor;
  growth_ticket ticket(executor);
  for (;;) {
    fill_view const v = f->view();
    seen->push_back(v.stored);
    if (v.phase == fill_phase::complete || v.phase == fill_phase::cut) break;
    bool const waits = f->wait_for_news(ticket, v);
    if (waits) co_await ticket.wait_until(std::chrono::steady_clock::now() + far);
  }
  ++*ended;
}

}  // namespace

TEST_CASE("a fill goes from pending to complete, and its readers see every step") {
  fill f;
  CHECK(f.view().phase == fill_phase::pending);
  CHECK_FALSE(f.view().length);
  f.begin(some_meta(10), nullptr, 0);
  CHECK(f.view().phase == fill_phase::growing);
  CHECK(*f.view().length == 10);
  f.grew(10);
  f.completed();
  fill_view const v = f.view();
  CHECK(v.phase == fill_phase::complete);
  CHECK(v.stored == 10);
  CHECK(v.about->etag == "\"v\"");
}

TEST_CASE("an unknown length becomes known at the end") {
  fill f;
  meta m = some_meta(0);
  m.length_known = false;
  f.begin(m, nullptr, 0);
  CHECK_FALSE(f.view().length);
  f.grew(7);
  f.completed();
  CHECK(*f.view().length == 7);
}

TEST_CASE("waiting is refused where there is news already") {
  asio::io_context io;
  fill f;
  growth_ticket t(io.get_executor());
  fill_view const old = f.view();
  f.begin(some_meta(4), nullptr, 0);
  CHECK_FALSE(f.wait_for_news(t, old));
  CHECK(f.wait_for_news(t, f.view()));
}

TEST_CASE("every reader on every thread wakes for what it waits for") {
  constexpr std::size_t workers = 3, readers = 40;
  constexpr std::uint64_t steps = 500;
  auto const f = std::make_shared<fill>();
  f->begin(some_meta(steps), nullptr, 0);
  std::vector<std::unique_ptr<asio::io_context>> contexts;
  std::vector<std::vector<std::uint64_t>> seen(workers * readers);
  std::vector<int> ended(workers, 0);
  for (std::size_t w = 0; w < workers; ++w) {
    contexts.push_back(std::make_unique<asio::io_context>(1));
    for (std::size_t r = 0; r < readers; ++r)
      asio::co_spawn(*contexts[w], follow(f, &seen[w * readers + r], &ended[w]), asio::detached);
  }
  std::vector<std::thread> threads;
  for (auto& c : contexts) threads.emplace_back([&c] { c->run(); });
  for (std::uint64_t n = 1; n <= steps; ++n) f->grew(n);
  f->completed();
  for (auto& t : threads) t.join();  // a lost wake-up would hang here
  for (int const n : ended) CHECK(n == readers);
  for (auto const& s : seen) CHECK(s.back() == steps);
}

TEST_CASE("a reader that dies while it waits leaves nothing behind") {
  auto const f = std::make_shared<fill>();
  f->begin(some_meta(2), nullptr, 0);
  std::vector<std::uint64_t> seen;
  int ended = 0;
  {
    asio::io_context io;
    asio::co_spawn(io, follow(f, &seen, &ended), asio::detached);
    io.poll();
    f->grew(1);  // posts to a context that is destroyed before it runs
  }
  f->grew(2);
  CHECK(ended == 0);
  CHECK(f->view().stored == 2);
}

TEST_CASE("a ticket wakes when its time is over") {
  asio::io_context io;
  auto const f = std::make_shared<fill>();
  auto waits = [](std::shared_ptr<fill> object, bool* woke) -> asio::awaitable<void> {
    auto const executor = co_await asio::this_coro::executor;
    growth_ticket ticket(executor);
    fill_view const v = object->view();
    bool const enlisted = object->wait_for_news(ticket, v);
    if (enlisted) co_await ticket.wait_until(std::chrono::steady_clock::now());
    *woke = true;
  };
  bool woke = false;
  asio::co_spawn(io, waits(f, &woke), asio::detached);
  io.run();
  CHECK(woke);
}

}  // namespace mgw::cache::fill_test
