#include <mgw/upstream/rate_limit.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

namespace mgw::upstream::rate_limit_test {
namespace {

using namespace std::chrono_literals;
using clock = rate_limit::clock;
constexpr std::uint64_t KiB = 1024, MiB = 1024 * KiB;

/// A clock and a rate that the test sets.
struct world {
  clock::time_point now = clock::now();
  std::uint64_t rate;
  explicit world(std::uint64_t r) : rate(r) {}
  rate_limit::options options() {
    rate_limit::options o;
    o.rate = [this] { return rate; };
    o.now = [this] { return now; };
    return o;
  }
};

/// Flows on one thread over a limit with a clock of the test's own.
struct site {
  world w;
  asio::io_context io;
  rate_limit limit;
  std::string order;  // one letter for each piece, in the order in which they were given
  std::vector<std::unique_ptr<rate_limit::flow>> flows;
  explicit site(std::uint64_t rate) : w(rate), limit(w.options()) {}

  void run() {
    limit.poke();
    io.restart();
    io.poll();
  }
  void pass(std::chrono::nanoseconds time) {
    w.now += time;
    run();
  }
  /// Uses up what has been saved.
  void drain() {
    rate_limit::flow f(limit);
    while (f.ready_now()) f.use(f.allowance());
  }
  /// A flow that takes `pieces` pieces; what ends it before is '-'.
  rate_limit::flow& start(char name, int pieces) {
    flows.push_back(std::make_unique<rate_limit::flow>(limit));
    asio::co_spawn(io, take(*flows.back(), name, pieces, order), asio::detached);
    io.restart();
    io.poll();
    return *flows.back();
  }
  static asio::awaitable<void> take(rate_limit::flow& f, char name, int pieces, std::string& order) {
    for (; pieces != 0; --pieces) {
      bool const may = co_await f.ready();
      order += may ? name : '-';
      if (!may) co_return;
      f.use(f.allowance());
    }
  }
};

}  // namespace

TEST_CASE("a bucket gives what its rate brings, saves a little, and pays its debts first") {
  auto now = clock::now();
  token_bucket b(MiB, now);
  CHECK(b.piece() == 16 * KiB);
  std::uint64_t saved = 0;
  while (b.take(1024, now)) saved += 1024;
  CHECK(saved == MiB / 20 / 1024 * 1024);  // 50 ms
  now += 1h;
  std::uint64_t again = 0;
  while (b.take(1024, now)) again += 1024;
  CHECK(again == saved);
  now += 10ms;
  CHECK(b.until(16 * KiB, now) > 0ns);
  CHECK_FALSE(b.take(16 * KiB, now));
  now += b.until(16 * KiB, now);
  CHECK(b.take(16 * KiB, now));
  b.spend(MiB, now);
  now += 999ms;
  CHECK_FALSE(b.take(1024, now));
  now += 2ms;
  CHECK(b.take(1024, now));
  b.spend(1000 * MiB, now);  // debts end at ten seconds
  now += 10'001ms;
  CHECK(b.take(1024, now));
  b.give_back(1024);
  CHECK(b.take(1024, now));
}

TEST_CASE("over ten seconds a bucket gives ten seconds of its rate, whatever its rate") {
  for (std::uint64_t const rate : {KiB, std::uint64_t{5000}, 64 * KiB, 3 * MiB, 500 * MiB}) {
    CAPTURE(rate);
    auto now = clock::now();
    token_bucket b(rate, now);
    while (b.take(b.piece(), now)) {
    }
    auto const end = now + 10s;
    std::uint64_t got = 0;
    for (;;) {
      now += b.until(b.piece(), now);
      if (now > end) break;
      if (b.take(b.piece(), now)) got += b.piece();
    }
    CHECK(got <= rate * 10 + b.piece());
    CHECK(got + 2 * b.piece() >= rate * 10);
  }
}

TEST_CASE("a bucket without a limit counts nothing, one at 0 gives nothing, and rates may change") {
  auto now = clock::now();
  token_bucket b(unlimited, now);
  CHECK(b.take(1u << 30, now));
  CHECK(b.until(1u << 30, now) == 0ns);
  b.spend(1u << 30, now);
  b.set_rate(0, now);
  now += 1h;
  CHECK_FALSE(b.take(1, now));
  b.set_rate(10 * KiB, now);
  CHECK_FALSE(b.take(1024, now));
  now += 100ms;
  CHECK(b.take(1024, now));
  b.set_rate(unlimited, now);
  CHECK(b.take(1u << 30, now));
}

TEST_CASE("first come, first served, piece by piece: nobody gets a second one before all who wait have had theirs") {
  site s(64 * KiB);  // pieces of 2 KiB
  s.drain();
  s.start('a', 4);
  s.start('b', 4);
  s.start('c', 2);
  CHECK(s.order.empty());
  CHECK(s.limit.waiting_now() == 3);
  s.pass(31'249us);
  CHECK(s.order.empty());
  s.pass(2us);
  CHECK(s.order == "a");
  for (int i = 0; i < 9; ++i) s.pass(31'251us);
  CHECK(s.order == "abcabcabab");
  CHECK(s.limit.waiting_now() == 0);
}

TEST_CASE("what is saved goes to who waits, not to who comes later") {
  site s(64 * KiB);
  s.drain();
  s.start('a', 1);
  s.w.now += 1s;  // 'a' has not looked yet
  rate_limit::flow late(s.limit);
  CHECK_FALSE(late.ready_now());
  s.run();
  CHECK(s.order == "a");
  CHECK(late.ready_now());
}

TEST_CASE("API calls never wait, and what they carried is paid for by those who can") {
  site s(64 * KiB);
  s.drain();
  s.start('a', 2);
  s.limit.spend(64 * KiB);
  CHECK(s.limit.spent() == 64 * KiB);
  s.pass(1s);
  CHECK(s.order.empty());
  s.pass(32ms);
  CHECK(s.order == "a");
  s.pass(32ms);
  CHECK(s.order == "aa");
}

TEST_CASE("the rate changes while somebody waits") {
  site s(KiB);
  s.drain();
  s.start('a', 2);
  s.start('b', 3);
  s.pass(500ms);
  CHECK(s.order.empty());
  SUBCASE("to none: all go on at once") {
    s.w.rate = unlimited;
    s.pass(600ms);  // a second after the last look
    for (int i = 0; i < 4; ++i) s.run();
    CHECK(s.order.size() == 5);
    CHECK(s.limit.waiting_now() == 0);
  }
  SUBCASE("to a larger one") {
    s.w.rate = 64 * KiB;
    s.pass(600ms);
    for (int i = 0; i < 5; ++i) s.pass(32ms);
    CHECK(s.order == "ababb");
  }
  SUBCASE("to 0: nobody waits any longer, and nobody begins to") {
    s.w.rate = 0;
    s.pass(600ms);
    for (int i = 0; i < 4; ++i) s.run();
    CHECK(s.order == "--");
    CHECK(s.limit.waiting_now() == 0);
    CHECK(s.limit.paused());
    s.start('c', 1);
    CHECK(s.order == "---");
    s.w.rate = 64 * KiB;
    s.pass(1s);
    CHECK_FALSE(s.limit.paused());
    s.start('d', 1);
    s.pass(32ms);
    CHECK(s.order == "---d");
  }
}

TEST_CASE("who is cancelled, or goes while he waits, keeps nobody from his turn") {
  site s(64 * KiB);
  s.drain();
  auto& a = s.start('a', 1);
  s.start('b', 1);
  s.start('c', 1);
  a.cancel();
  s.run();
  CHECK(s.order == "-");
  s.flows[0].reset();
  CHECK(s.limit.waiting_now() == 2);
  s.pass(32ms);
  CHECK(s.order == "-b");
  s.pass(32ms);
  CHECK(s.order == "-bc");
}

TEST_CASE("a wait that is interrupted keeps its place in line, and holds up nobody meanwhile") {
  site s(32 * KiB);
  s.drain();
  auto& a = s.start('a', 1);
  s.start('b', 1);
  s.start('c', 2);
  CHECK(s.limit.waiting_now() == 3);
  a.interrupt();
  s.run();
  CHECK(s.order == "-");
  CHECK(a.interrupted());
  CHECK_FALSE(a.cancelled());
  CHECK_FALSE(a.ready_now());
  CHECK(s.limit.waiting_now() == 3);
  s.pass(32ms);
  CHECK(s.order == "-b");
  asio::co_spawn(s.io, site::take(a, 'a', 1, s.order), asio::detached);
  s.run();
  s.pass(32ms);
  CHECK(s.order == "-ba");
  s.pass(32ms);
  CHECK(s.order == "-bac");
  a.interrupt();  // nothing is under way
  asio::co_spawn(s.io, site::take(a, 'a', 1, s.order), asio::detached);
  s.run();
  s.pass(32ms);
  s.pass(32ms);
  CHECK(s.order == "-bacca");
}

TEST_CASE("what a flow was allowed and has not used comes back") {
  site s(64 * KiB);
  s.drain();
  {
    rate_limit::flow f(s.limit);
    s.w.now += 32ms;
    CHECK(f.ready_now());
    CHECK(f.allowance() == 2 * KiB);
    f.use(1000);
    CHECK(f.ready_now());  // the same allowance
    CHECK(f.allowance() == 2 * KiB - 1000);
  }
  std::uint64_t const before = s.limit.used();
  rate_limit::flow g(s.limit);
  CHECK_FALSE(g.ready_now());
  s.w.now += 16ms;  // half a piece came back, and half of one has come
  CHECK(g.ready_now());
  g.use(g.allowance());
  CHECK(s.limit.used() == before + 2 * KiB);
}

TEST_CASE("connections get a small receive buffer under a small rate only, and one that has become too large is told") {
  site s(unlimited);
  CHECK(s.limit.receive_buffer() == 0);
  rate_limit::flow f(s.limit);
  CHECK(f.ready_now());
  CHECK_FALSE(f.narrowed());
  s.w.rate = 8 * MiB;
  s.w.now += 1s;
  CHECK(f.narrowed());
  CHECK(s.limit.receive_buffer() == 0);
  s.w.rate = 200 * KiB;  // two flows with the one to come
  s.w.now += 1s;
  CHECK(s.limit.receive_buffer() == 64 * KiB);
  s.w.rate = 16 * KiB;
  s.w.now += 1s;
  CHECK(s.limit.receive_buffer() == 32 * KiB);
  rate_limit::flow g(s.limit);
  CHECK(g.ready_now());
  CHECK_FALSE(g.narrowed());
}

TEST_CASE("many threads share one rate, and everybody gets all of his") {
  rate_limit limit(rate_limit::options(64 * MiB));
  std::atomic<std::uint64_t> got{0};
  std::atomic<int> ended{0};
  auto const work = [&](asio::io_context&) -> asio::awaitable<void> {
    rate_limit::flow f(limit);
    for (int i = 0; i < 40; ++i) {
      bool const may = co_await f.ready();
      if (!may) co_return;
      got += f.allowance();
      f.use(f.allowance());
      limit.spend(100);
    }
    ++ended;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&work] {
      asio::io_context io;
      for (int i = 0; i < 5; ++i) asio::co_spawn(io, work(io), asio::detached);
      io.run();
    });
  for (auto& t : threads) t.join();
  CHECK(ended == 20);
  CHECK(limit.used() == got);
  CHECK(got == 20u * 40 * 16 * KiB);
  CHECK(limit.spent() == 20 * 40 * 100);
  CHECK(limit.waiting_now() == 0);
}

}  // namespace mgw::upstream::rate_limit_test
