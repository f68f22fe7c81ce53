#include <mgw/proxy/slots.hpp>

#include <support/run_io.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace mgw::proxy::slots_test {
namespace {

using clock = std::chrono::steady_clock;
constexpr auto never = clock::time_point::max();

/// Waits for a slot, notes its name, and leaves when told.
struct guest {
  slots::place place;
  guest(slots& s, asio::io_context& io) : place(s, io.get_executor()) {}
};
asio::awaitable<void> enter(guest& g, bool urgent, std::string& order, char name) {
  bool const in = co_await g.place.wait_until(never, urgent);
  order += in ? name : '-';
}

}  // namespace

TEST_CASE("who does not want to wait takes a slot only if one is free, and never before the line") {
  asio::io_context io;
  slots s(1);
  std::string order;
  guest a(s, io), b(s, io), c(s, io);
  CHECK(a.place.try_enter());
  CHECK(a.place.try_enter());  // has it already
  CHECK_FALSE(b.place.try_enter());
  CHECK(s.waiting_now() == 0);
  asio::co_spawn(io, enter(c, false, order, 'c'), asio::detached);
  io.poll();
  CHECK(s.waiting_now() == 1);
  a.place.leave();
  CHECK_FALSE(b.place.try_enter());
  io.restart();
  io.poll();
  CHECK(order == "c");
  c.place.leave();
  CHECK(b.place.try_enter());
}

TEST_CASE("so many at once; then in the order in which they came, the urgent ones first") {
  asio::io_context io;
  slots s(1);
  std::string order;
  guest a(s, io), b(s, io), c(s, io), d(s, io), e(s, io);
  auto const spawn = [&](guest& g, bool urgent, char name) {
    asio::co_spawn(io, enter(g, urgent, order, name), asio::detached);
    io.restart();
    io.poll();
  };
  auto const leave = [&](guest& g) {
    g.place.leave();
    io.restart();
    io.poll();
  };
  spawn(a, false, 'a');
  spawn(b, false, 'b');
  spawn(c, true, 'c');
  spawn(d, true, 'd');
  spawn(e, false, 'e');
  CHECK(order == "a");
  CHECK(s.waiting_now() == 4);
  leave(a);
  CHECK(order == "ac");
  leave(d);  // gives up its place in line
  leave(c);
  CHECK(order == "acb");
  leave(b);
  CHECK(order == "acbe");
  CHECK(s.waiting_now() == 0);
  leave(e);
  spawn(a, false, 'a');
  CHECK(order == "acbea");
}

TEST_CASE("the next is of the group that has the fewest slots, so that a crowd of one keeps no other out") {
  asio::io_context io;
  slots s(2);
  std::string order;
  std::vector<std::unique_ptr<slots::place>> places;
  auto const spawn = [&](char name, std::string const& group, bool urgent = false) {
    places.push_back(std::make_unique<slots::place>(s, io.get_executor(), group));
    auto const wait = [](slots::place& p, bool first, std::string& in, char as) -> asio::awaitable<void> {
      bool const has = co_await p.wait_until(never, first);
      in += has ? as : '-';
    };
    asio::co_spawn(io, wait(*places.back(), urgent, order, name), asio::detached);
    io.restart();
    io.poll();
  };
  auto const leave = [&](std::size_t i) {
    places[i]->leave();
    io.restart();
    io.poll();
  };
  for (char name : {'a', 'b', 'c', 'd', 'e'}) spawn(name, "one");
  CHECK(order == "ab");
  spawn('x', "two");
  spawn('y', "two");
  leave(0);
  CHECK(order == "abx");  // one has a slot, two has none
  leave(1);
  CHECK(order == "abxc");  // the other way round
  leave(2);
  CHECK(order == "abxcd");
  spawn('u', "one", true);
  leave(3);
  CHECK(order == "abxcdu");  // the urgent ones first, as ever
  leave(5);
  CHECK(order == "abxcduy");
  leave(6);
  CHECK(order == "abxcduye");
  CHECK(s.waiting_now() == 0);
}

TEST_CASE("who is woken keeps the place in line, and a slot that comes in between is not lost") {
  asio::io_context io;
  slots s(1);
  std::string order;
  guest a(s, io), b(s, io), c(s, io);
  auto const run = [&] {
    io.restart();
    io.poll();
  };
  asio::co_spawn(io, enter(a, false, order, 'a'), asio::detached);
  asio::co_spawn(io, enter(b, false, order, 'b'), asio::detached);
  asio::co_spawn(io, enter(c, false, order, 'c'), asio::detached);
  run();
  b.place.wake();
  run();
  CHECK(order == "a-");
  a.place.leave();  // b has it now, and waits no more
  run();
  CHECK(order == "a-");
  asio::co_spawn(io, enter(b, false, order, 'b'), asio::detached);
  run();
  CHECK(order == "a-b");
  b.place.leave();
  run();
  CHECK(order == "a-bc");
}

TEST_CASE("one that ends while it waits, or with its slot, leaves nothing behind") {
  asio::io_context io;
  slots s(1);
  std::string order;
  guest last(s, io);
  {
    auto first = std::make_unique<guest>(s, io);
    asio::co_spawn(io, enter(*first, false, order, 'a'), asio::detached);
    io.poll();
    asio::io_context other;
    auto gone = std::make_unique<guest>(s, other);
    asio::co_spawn(other, enter(*gone, false, order, 'x'), asio::detached);
    other.poll();
    asio::co_spawn(io, enter(last, false, order, 'l'), asio::detached);
    io.restart();
    io.poll();
    CHECK(s.waiting_now() == 2);
    gone.reset();
    first.reset();
  }
  io.restart();
  io.poll();
  CHECK(order == "al");
}

TEST_CASE("many threads: never more than so many at once, and everybody gets a turn") {
  slots s(3);
  std::atomic<int> now{0}, most{0}, turns{0};
  auto const work = [&](asio::io_context& io) -> asio::awaitable<void> {
    for (int i = 0; i < 200; ++i) {
      slots::place p(s, io.get_executor());
      bool const in = co_await p.wait_until(never);
      if (!in) co_return;
      int const n = ++now;
      for (int seen = most; seen < n && !most.compare_exchange_weak(seen, n);) {
      }
      ++turns;
      --now;
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&work] {
      asio::io_context io;
      for (int i = 0; i < 5; ++i) asio::co_spawn(io, work(io), asio::detached);
      io.run();
    });
  for (auto& t : threads) t.join();
  CHECK(turns == 4 * 5 * 200);
  CHECK(most <= 3);
  CHECK(s.waiting_now() == 0);
}

}  // namespace mgw::proxy::slots_test
