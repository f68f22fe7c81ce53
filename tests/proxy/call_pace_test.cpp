#include <mgw/proxy/call_pace.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <list>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

namespace mgw::proxy::call_pace_test {
namespace {

using clock = call_pace::clock;
using std::chrono::milliseconds;
constexpr auto never = clock::time_point::max();

/// A pace whose clock the test moves.
struct bench {
  asio::io_context io;
  clock::time_point now = clock::now();
  call_pace pace;
  std::string order;  // of those that were let in; '-': refused
  std::list<call_pace::ticket> tickets;

  static call_pace_options with(call_pace_options o, bench& b) {
    o.now = [&b] { return b.now; };
    return o;
  }
  explicit bench(call_pace_options const& o) : pace(with(o, *this)) {}

  static asio::awaitable<void> enter(bench& b, call_pace::ticket& t, char name, clock::time_point until, bool brief) {
    bool const in = co_await t.enter(until, brief);
    b.order += in ? name : '-';
  }
  call_pace::ticket& call(char name, bool urgent = false, clock::time_point until = never, bool brief = false) {
    auto& t = tickets.emplace_back(pace, io.get_executor(), urgent);
    asio::co_spawn(io, enter(*this, t, name, until, brief), asio::detached);
    poll();
    return t;
  }
  void poll() {
    io.restart();
    io.poll();
  }
  void pass(milliseconds time) {
    now += time;
    for (int i = 0; i < 50; ++i) {  // each that is let in wakes the next
      pace.poke();
      poll();
    }
  }
};
call_pace_options patient(std::size_t per_second, std::size_t at_once) {
  call_pace_options o;
  o.per_second = per_second;
  o.at_once = at_once;
  o.max_wait = std::chrono::hours(1);
  return o;
}

}  // namespace

TEST_CASE("so many at once; the others in line, first come first served, urgent ones first") {
  bench b(patient(0, 2));
  auto& a = b.call('a');
  auto& c = b.call('b');
  b.call('c');
  b.call('d');
  b.call('e', true);
  b.call('f', true);
  CHECK(b.order == "ab");
  CHECK(b.pace.running_now() == 2);
  CHECK(b.pace.waiting_now() == 4);
  a.leave();
  b.poll();
  CHECK(b.order == "abe");
  c.leave();
  b.poll();
  CHECK(b.order == "abef");
  for (std::ptrdiff_t const i : {4, 5, 2, 3}) {
    std::next(b.tickets.begin(), i)->leave();
    b.poll();
  }
  CHECK(b.order == "abefcd");
  CHECK(b.pace.running_now() == 0);
}

TEST_CASE("so many in a second, a quarter of that in one go") {
  bench b(patient(8, 100));
  for (char n = 'a'; n <= 'p'; ++n) b.call(n);
  CHECK(b.order == "ab");
  b.pass(milliseconds(124));
  CHECK(b.order == "ab");
  b.pass(milliseconds(2));
  CHECK(b.order == "abc");
  for (int i = 0; i < 10; ++i) b.pass(milliseconds(100));
  CHECK(b.order == "abcdefghijk");
  b.pass(milliseconds(60'000));
  CHECK(b.order == "abcdefghijklm");  // nothing more is saved
  b.pace.spend();
  b.pass(milliseconds(126));
  CHECK(b.order == "abcdefghijklm");  // it was taken already
  b.pass(milliseconds(126));
  CHECK(b.order == "abcdefghijklmn");
}

TEST_CASE("one whose client may take any time takes no place from the others") {
  bench b(patient(0, 1));
  b.call('a', false, never, true);
  b.call('b', false, never, true);
  b.call('c');
  b.call('d');
  CHECK(b.order == "abc");
  CHECK(b.pace.running_now() == 1);
}

TEST_CASE("when upstream has had enough nobody begins, and who would wait too long is refused at once") {
  call_pace_options o = patient(0, 10);
  o.max_wait = milliseconds(10'000);
  bench b(o);
  b.pace.hold_off(milliseconds(9'000));
  b.call('a');
  CHECK(b.order.empty());
  b.pace.hold_off(milliseconds(30'000));
  b.pace.hold_off(milliseconds(1'000));  // the longest counts
  b.call('b');
  CHECK(b.order == "-");
  CHECK(b.pace.advice() == std::chrono::seconds(30));
  b.call('u', true);
  CHECK(b.order == "-");
  b.pass(milliseconds(29'999));
  CHECK(b.order == "-");
  b.pass(milliseconds(2));
  CHECK(b.order == "-ua");
  b.pace.hold_off(std::chrono::hours(48));
  CHECK(b.pace.advice() == std::chrono::seconds(300));
}

TEST_CASE("limit: how many wait, urgent ones not counted, and how long the line may take") {
  SUBCASE("how many") {
    call_pace_options o = patient(0, 1);
    o.max_waiting = 2;
    bench b(o);
    b.call('a');
    b.call('u', true);
    auto& first = b.call('b');
    b.call('c');
    b.call('d');
    CHECK(b.order == "a-");
    CHECK(b.pace.waiting_now() == 3);
    first.leave();  // gives up: a place is free
    b.call('e');
    CHECK(b.order == "a-");
    CHECK(b.pace.waiting_now() == 3);
  }
  SUBCASE("how long") {
    call_pace_options o = patient(4, 10);
    o.max_wait = milliseconds(1'000);
    bench b(o);
    for (int i = 0; i < 20; ++i) b.call('x');
    CHECK(std::count(b.order.begin(), b.order.end(), 'x') == 1);
    CHECK(std::count(b.order.begin(), b.order.end(), '-') == 7);  // 12 in line are three seconds of it
  }
}

TEST_CASE("a wait ends in time, or when it is cancelled, and the next in line moves up") {
  bench b(patient(0, 1));
  auto& a = b.call('a');
  auto& cancelled = b.call('b');
  b.call('c', false, clock::now() - milliseconds(1));
  CHECK(b.order == "a-");  // its time is over
  b.call('d');
  cancelled.cancel();
  b.poll();
  CHECK(b.order == "a--");
  a.leave();
  b.poll();
  CHECK(b.order == "a--d");
  b.tickets.clear();
  CHECK(b.pace.waiting_now() == 0);
  CHECK(b.pace.running_now() == 0);
}

namespace {
asio::awaitable<void> come_and_go(call_pace& pace, std::atomic<int>& inside, std::atomic<int>& most,
                                  std::atomic<int>& done, asio::io_context& io) {
  for (int i = 0; i < 20; ++i) {
    call_pace::ticket t(pace, io.get_executor(), i % 5 == 0);
    bool const in = co_await t.enter(never);
    if (!in) continue;
    int const now = ++inside;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    co_await asio::post(io, asio::use_awaitable);
    --inside;
    ++done;
  }
}
}  // namespace

TEST_CASE("over several threads no more are inside than may be, and all get in") {
  call_pace pace(patient(0, 3));
  std::atomic<int> inside{0}, most{0}, done{0};
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n)
    threads.emplace_back([&] {
      asio::io_context io(1);
      for (int i = 0; i < 25; ++i) asio::co_spawn(io, come_and_go(pace, inside, most, done, io), asio::detached);
      io.run();
    });
  for (auto& t : threads) t.join();
  CHECK(done == 4 * 25 * 20);
  CHECK(most <= 3);
  CHECK(pace.running_now() == 0);
  CHECK(pace.waiting_now() == 0);
}

}  // namespace mgw::proxy::call_pace_test
