#include <mgw/net/poller.hpp>
// The header under test comes first.

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <support/run_io.hpp>

#include <algorithm>
#include <array>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::net::poller_test {

using side = poller::side;

namespace {

/// A socket that is watched, and its peer.
struct link {
  std::unique_ptr<poller::watched> near;
  int far = -1;

  explicit link(asio::io_context& io) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    near = std::make_unique<poller::watched>(poller::of(io.get_executor()), ends[0]);
    far = ends[1];
  }
  link(link&& o) noexcept : near(std::move(o.near)), far(std::exchange(o.far, -1)) {}
  link& operator=(link&&) = delete;
  ~link() { close_far(); }
  void close_far() {
    if (far >= 0) ::close(std::exchange(far, -1));
  }
  void send(std::string_view text) const {
    REQUIRE(::send(far, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  /// As a stream reads: how many bytes; -1: none now.
  ssize_t receive(std::size_t room) const {
    std::array<char, 64> buffer;
    ssize_t const n = ::recv(near->descriptor(), buffer.data(), room, 0);
    if (n < 0) near->found_nothing(side::read);
    if (n > 0 && static_cast<std::size_t>(n) < room) near->found_last();
    return n;
  }
};

asio::awaitable<void> wait_for(poller::watched& w, std::vector<int>& told, int name) {
  bool const ready = co_await w.wait(side::read);
  told.push_back(ready ? name : -name);
}

/// Waits, then does something.
template <class F>
asio::awaitable<void> after(poller::watched& w, F then) {
  (void)co_await w.wait(side::read);
  then();
}

asio::awaitable<void> wait_and_say(poller::watched& w, bool& begun) {
  begun = true;
  (void)co_await w.wait(side::read);
}

}  // namespace

TEST_CASE("a poller wakes who waits for a socket, and keeps what it was told of the others") {
  asio::io_context io(1);
  link waits(io), parked(io), silent(io);
  for (link* l : {&waits, &parked, &silent}) CHECK(l->receive(8) == -1);
  std::vector<int> told;
  asio::co_spawn(io, wait_for(*waits.near, told, 1), asio::detached);
  asio::co_spawn(io, wait_for(*silent.near, told, 2), asio::detached);
  io.poll();
  CHECK(told.empty());
  CHECK_FALSE(parked.near->may(side::read));
  parked.send("some");
  waits.send("some");
  while (told.empty()) io.run_one();
  CHECK(told == std::vector<int>{1});
  CHECK(parked.near->may(side::read));
  CHECK_FALSE(silent.near->may(side::read));
  silent.near->interrupt();
  io.run();  // and with nobody who waits the context has nothing to do
  CHECK(told == std::vector<int>{1, -2});
  CHECK(silent.near->may(side::read));  // nobody would tell it now
}

TEST_CASE("a socket is read to its end, however its bytes and its end came") {
  for (bool const together : {false, true}) {
    asio::io_context io(1);
    link l(io);
    CHECK(l.receive(8) == -1);
    std::vector<int> told;
    asio::co_spawn(io, wait_for(*l.near, told, 1), asio::detached);
    io.poll();
    l.send("abc");
    if (together) l.close_far();
    io.run();
    CHECK(told == std::vector<int>{1});
    CHECK(l.receive(8) == 3);  // fewer than there was room for
    l.close_far();
    io.restart();
    asio::co_spawn(io, wait_for(*l.near, told, 2), asio::detached);
    io.run();
    CHECK(told == std::vector<int>{1, 2});
    CHECK(l.receive(8) == 0);
  }
}

TEST_CASE("what came while nobody waited is looked for, also right after somebody waits again") {
  asio::io_context io(1);
  link parked(io), other(io);
  for (link* l : {&parked, &other}) CHECK(l->receive(8) == -1);
  parked.send("x");
  bool begun = false;
  asio::co_spawn(io, wait_and_say(*other.near, begun), asio::detached);
  while (!begun) io.run_one();  // it waits, but nobody has looked yet
  CHECK(parked.near->may(side::read));
  other.near->interrupt();
  io.run();
}

TEST_CASE("an interruption ends the waiting of who is about to be told, and loses no byte") {
  asio::io_context io(1);
  link first(io), second(io);
  for (link* l : {&first, &second}) CHECK(l->receive(8) == -1);
  std::vector<int> told;
  auto const interrupts = [&second] { second.near->interrupt(); };
  asio::co_spawn(io, after(*first.near, interrupts), asio::detached);
  asio::co_spawn(io, wait_for(*second.near, told, 2), asio::detached);
  io.poll();
  first.send("x");
  second.send("y");
  io.run();
  CHECK(told == std::vector<int>{-2});
  CHECK(second.receive(8) == 1);
}

TEST_CASE("who doubts what is known looks") {
  asio::io_context io(1);
  link waits(io), parked(io);
  for (link* l : {&waits, &parked}) CHECK(l->receive(8) == -1);
  bool seen = true;
  auto const looks = [&] {
    parked.send("late");  // behind the look
    seen = parked.near->may(side::read);
    parked.near->doubt(side::read);
  };
  asio::co_spawn(io, after(*waits.near, looks), asio::detached);
  io.poll();
  waits.send("x");
  io.run();
  CHECK_FALSE(seen);
  CHECK(parked.near->may(side::read));
  CHECK(parked.receive(8) == 4);
}

TEST_CASE("what is known is of a moment ago for the first few who are told, and for nobody else") {
  asio::io_context io(1);
  std::vector<link> all;
  std::vector<bool> just;
  for (int i = 0; i < 40; ++i) CHECK(all.emplace_back(io).receive(1) == -1);
  auto const asks = [&] { just.push_back(all[0].near->just_told()); };
  for (link const& l : all) asio::co_spawn(io, after(*l.near, asks), asio::detached);
  io.poll();
  asks();  // not called by the poller
  CHECK(just == std::vector<bool>{false});
  for (link const& l : all) l.send("x");
  io.run();
  REQUIRE(just.size() == 41);
  CHECK(just[1]);
  CHECK_FALSE(just[40]);
  CHECK(std::is_sorted(just.begin() + 1, just.end(), std::greater<>()));
}

TEST_CASE("what is known is of a moment ago until bytes are read that nobody told of since the last look") {
  asio::io_context io(1);
  link parked(io), client(io);
  for (link* l : {&parked, &client}) CHECK(l->receive(8) == -1);
  std::vector<bool> just;
  auto const reads_bytes = [&] {
    for (int i = 0; i < 2; ++i) {
      client.near->found_some();
      just.push_back(parked.near->just_told());
    }
  };
  for (std::size_t looks = 1; looks <= 2; ++looks) {
    asio::co_spawn(io, after(*client.near, reads_bytes), asio::detached);
    io.poll();
    client.send("x");
    io.run();
    io.restart();
    REQUIRE(just.size() == 2 * looks);
    CHECK(just[2 * looks - 2]);
    CHECK_FALSE(just[2 * looks - 1]);
    CHECK(client.receive(8) == 1);
    CHECK(client.receive(8) == -1);
  }
}

TEST_CASE("many sockets that are ready at once are all told") {
  asio::io_context io(1);
  std::vector<link> all;
  std::vector<int> told;
  for (int i = 1; i <= 300; ++i) {
    CHECK(all.emplace_back(io).receive(1) == -1);
    asio::co_spawn(io, wait_for(*all.back().near, told, i), asio::detached);
  }
  io.poll();
  for (link const& l : all) l.send("x");
  io.run();
  CHECK(told.size() == 300);
}

TEST_CASE("who is told first may close what others were told of, and a failure leaves nobody out") {
  asio::io_context io(1);
  std::vector<link> all;
  for (int i = 0; i < 4; ++i) CHECK(all.emplace_back(io).receive(1) == -1);
  std::vector<int> told;
  auto const closes = [&all] { all[3].near.reset(); };
  auto const nothing = [] {};
  auto const fails = [](std::exception_ptr) { throw std::runtime_error("on purpose"); };
  asio::co_spawn(io, after(*all[0].near, closes), asio::detached);
  asio::co_spawn(io, after(*all[1].near, nothing), fails);
  asio::co_spawn(io, wait_for(*all[2].near, told, 3), asio::detached);
  io.poll();
  for (link const& l : all) l.send("x");
  CHECK_THROWS_WITH(io.run(), "on purpose");
  io.run();
  CHECK(told == std::vector<int>{3});
}

TEST_CASE("a context that ends takes along who waits") {
  std::vector<int> told;
  std::optional<link> l;
  {
    asio::io_context io(1);
    l.emplace(io);
    CHECK(l->receive(1) == -1);
    asio::co_spawn(io, wait_for(*l->near, told, 1), asio::detached);
    io.poll();
    l->near->interrupt();  // and who was about to be told
    l->near.reset();
    link waits(io);
    CHECK(waits.receive(1) == -1);
    asio::co_spawn(io, wait_for(*waits.near, told, 2), asio::detached);
    io.poll();
    waits.near.reset();
  }
  CHECK(told.empty());
}

}  // namespace mgw::net::poller_test
