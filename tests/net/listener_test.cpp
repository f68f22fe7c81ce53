#include <mgw/net/listener.hpp>
// The header under test comes first.
#include <mgw/net/worker_pool.hpp>

#include <doctest/doctest.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <support/no_descriptors.hpp>
#include <support/run_io.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::net::listener_test {

using asio::ip::tcp;
using test::background;
using test::run_io;

namespace {
tcp::endpoint loopback(unsigned short port = 0) {
  return {asio::ip::address_v4::loopback(), port};
}
std::string text(tcp::endpoint const& e) {
  std::ostringstream out;
  out << e;
  return out.str();
}
}  // namespace

TEST_CASE("listen addresses are read as operators write them") {
  struct {
    char const* written;
    char const* read;
  } const good[] = {
      {":443", "[::]:443"},         {"127.0.0.1:8443", "127.0.0.1:8443"}, {"[::]:443", "[::]:443"},
      {"[::1]:0", "[::1]:0"},       {"0.0.0.0:65535", "0.0.0.0:65535"},   {"localhost:80", "127.0.0.1:80"},
      {"10.0.0.1:0", "10.0.0.1:0"},
  };
  for (auto const& t : good) {
    CAPTURE(t.written);
    auto const address = parse_listen_address(t.written);
    REQUIRE(address);
    CHECK(text(*address) == t.read);
  }
  for (char const* const bad : {"",
                                ":",
                                "443",
                                "127.0.0.1",
                                "127.0.0.1:",
                                ":65536",
                                ":-1",
                                ":+1",
                                ": 443",
                                ":443 ",
                                ":0x1",
                                "::1:443",
                                "[::1]",
                                "[::1]443",
                                "[127.0.0.1]:443",
                                "[]:443",
                                "example.com:443",
                                "127.0.0.1:99999999999999999999",
                                "1.2.3:80",
                                "[::1:443"}) {
    CAPTURE(bad);
    CHECK(parse_listen_address(bad).error() == std::errc::invalid_argument);
  }
}

TEST_CASE("an address that cannot be had is named") {
  asio::io_context io(1);
  listener_options alone;
  alone.reuse_port = false;
  listener first(io, loopback(), alone);
  auto const message = [&](tcp::endpoint const& address) -> std::string {
    try {
      listener second(io, address, alone);
    } catch (std::system_error const& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message(first.local()) == "cannot listen on " + text(first.local()) + ": Address already in use");
  CHECK(message(tcp::endpoint(asio::ip::make_address("192.0.2.1"), 1)).find("192.0.2.1:1") != std::string::npos);
  CHECK_THROWS_AS(listener(io, ::open("/dev/null", O_RDONLY | O_CLOEXEC)), std::system_error);
}

namespace {

int option_of(tcp_stream& s, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  ::getsockopt(s.native_handle(), level, name, &value, &size);
  return value;
}

asio::awaitable<void> accept_some(asio::io_context& io) {
  listener l(io, tcp::endpoint(asio::ip::address_v6::any(), 0));  // IPv4 too
  std::vector<tcp_stream> accepted;
  auto const keep = [&](tcp_stream s) {
    accepted.push_back(std::move(s));
    if (accepted.size() == 40) l.stop();
  };
  background running(io.get_executor(), l.run(keep));
  std::vector<tcp::socket> clients;
  for (std::size_t i = 0; i < 40; ++i) {
    if (i == 20)
      while (accepted.size() < 20) co_await test::yield();  // the backlog runs empty once
    clients.emplace_back(io);
    clients.back().connect(loopback(l.local().port()));
  }
  co_await running.join();
  REQUIRE(accepted.size() == 40);
  CHECK(l.pauses() == 0);
  CHECK(option_of(accepted[0], IPPROTO_TCP, TCP_USER_TIMEOUT) == 300'000);
  CHECK(accepted[0].remote() == clients[0].local_endpoint());  // not ::ffff:127.0.0.1
  std::error_code ec;
  tcp::socket late(io);
  late.connect(loopback(l.local().port()), ec);
  CHECK(ec == asio::error::connection_refused);
}

asio::awaitable<void> adopt(asio::io_context& io) {
  tcp::acceptor inherited(io, loopback());
  int const fd = inherited.release();
  listener_options chosen;
  chosen.peer_timeout = std::chrono::seconds(40);
  listener l(io, fd, chosen);
  int count = 0;
  auto const once = [&](tcp_stream s) {
    ++count;
    CHECK(option_of(s, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option_of(s, IPPROTO_TCP, TCP_KEEPIDLE) == 20);
    CHECK(option_of(s, IPPROTO_TCP, TCP_KEEPINTVL) == 4);
    CHECK(option_of(s, IPPROTO_TCP, TCP_USER_TIMEOUT) == 40'000);
    l.stop();
  };
  background running(io.get_executor(), l.run(once));
  tcp::socket client(io);
  client.connect(l.local());
  co_await running.join();
  CHECK(count == 1);
}

asio::awaitable<void> stop_while_waiting(asio::io_context& io) {
  listener l(io, loopback());
  auto const drop = [](tcp_stream) {};
  background running(io.get_executor(), l.run(drop));
  co_await test::yield();
  CHECK_FALSE(running.done());
  l.stop();
  co_await running.join();
}

asio::awaitable<void> out_of_descriptors(asio::io_context& io) {
  listener l(io, loopback());
  std::size_t accepted = 0;
  auto const count = [&](tcp_stream) {
    if (++accepted == 3) l.stop();
  };
  std::vector<tcp::socket> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(io);
    clients.back().connect(l.local());
  }
  auto none = std::make_unique<test::no_descriptors>();
  background running(io.get_executor(), l.run(count));
  auto const start = std::chrono::steady_clock::now();
  while (l.pauses() < 2) co_await test::yield();
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(100));
  CHECK(accepted == 0);
  none.reset();
  co_await running.join();  // they were not lost
  CHECK(accepted == 3);
}

template <asio::awaitable<void> (*Body)(asio::io_context&)>
void run_with_io() {
  asio::io_context io(1);
  run_io(io, Body(io));
}

}  // namespace

TEST_CASE("a listener accepts until it is stopped") {
  run_with_io<accept_some>();
  run_with_io<adopt>();
  run_with_io<stop_while_waiting>();
}

TEST_CASE("without descriptors a listener pauses, and goes on when there are some") {
  run_with_io<out_of_descriptors>();
}

namespace {
asio::awaitable<void> serve_one(tcp_stream s) {
  std::array<char, 1> buffer{};
  io_result r = co_await s.read_some(asio::buffer(buffer));
  buffer[0] = static_cast<char>('0' + worker::current()->index);
  std::array<asio::const_buffer, 1> const answer = {asio::buffer(buffer)};
  if (!r.ec) r = co_await s.write_some(answer);
}
}  // namespace

TEST_CASE("workers share an address, and each serves what it accepts") {
  worker_pool pool(2);
  CHECK(pool.size() == 2);
  CHECK(worker::current() == nullptr);
  auto listeners = pool.listen(loopback());
  REQUIRE(listeners.size() == 2);
  CHECK(listeners[0]->local() == listeners[1]->local());
  for (std::size_t i = 0; i < pool.size(); ++i) {
    asio::io_context& io = pool.worker(i).io;
    auto const serve = [&io](tcp_stream s) { asio::co_spawn(io, serve_one(std::move(s)), asio::detached); };
    asio::co_spawn(io, listeners[i]->run(serve), asio::detached);
  }
  tcp::endpoint const address = listeners[0]->local();
  worker_pool second(1);
  CHECK_THROWS_AS(second.listen(address), std::system_error);  // although SO_REUSEPORT would allow it

  std::array<int, 2> answers{};
  std::jthread const client([&] {
    asio::io_context io(1);
    for (int i = 0; i < 1000 && (answers[0] == 0 || answers[1] == 0); ++i) {
      tcp::socket s(io);
      s.connect(address);
      char c = '?';
      asio::write(s, asio::buffer(&c, 1));
      asio::read(s, asio::buffer(&c, 1));
      ++answers[static_cast<std::size_t>(c - '0')];
    }
    pool.stop();
  });
  pool.run();
  CHECK(worker::current() == nullptr);
  CHECK(answers[0] > 0);
  CHECK(answers[1] > 0);
}

TEST_CASE("workers accept from one socket that somebody else has opened, and what is left in its queue stays there") {
  asio::io_context io(1);
  tcp::acceptor keeper(io, loopback());  // as a service manager keeps it
  tcp::endpoint const address = keeper.local_endpoint();
  std::array<int, 2> answers{};
  auto const connect_for = [&](worker_pool& pool) {
    auto listeners = pool.listen(::fcntl(keeper.native_handle(), F_DUPFD_CLOEXEC, 3));
    REQUIRE(listeners.size() == 2);
    CHECK(listeners[0]->local() == address);
    CHECK(listeners[1]->local() == address);
    for (std::size_t i = 0; i < pool.size(); ++i) {
      asio::io_context& own = pool.worker(i).io;
      auto const serve = [&own](tcp_stream s) { asio::co_spawn(own, serve_one(std::move(s)), asio::detached); };
      asio::co_spawn(own, listeners[i]->run(serve), asio::detached);
    }
    return listeners;
  };
  auto const ask = [&](tcp::socket& s) {
    char c = '?';
    asio::write(s, asio::buffer(&c, 1));
    asio::read(s, asio::buffer(&c, 1));
    ++answers[static_cast<std::size_t>(c - '0')];
  };
  {
    worker_pool first(2);
    auto const listeners = connect_for(first);
    std::jthread const client([&] {
      asio::io_context own(1);
      for (int i = 0; i < 10'000 && (answers[0] == 0 || answers[1] == 0); ++i) {
        tcp::socket s(own);
        s.connect(address);
        ask(s);
      }
      first.stop();
    });
    first.run();
  }
  CHECK(answers[0] > 0);
  CHECK(answers[1] > 0);
  tcp::socket between(io);
  between.connect(address);  // nobody accepts
  worker_pool second(2);
  auto const listeners = connect_for(second);
  int const before = answers[0] + answers[1];
  std::jthread const client([&] {
    ask(between);
    second.stop();
  });
  second.run();
  CHECK(answers[0] + answers[1] == before + 1);
}

TEST_CASE("what is no listening socket is refused, and closed") {
  worker_pool pool(2);
  int const file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK_THROWS_AS(pool.listen(file), std::system_error);
  CHECK(::fcntl(file, F_GETFD) == -1);
}

TEST_CASE("a job is posted to every worker") {
  worker_pool pool(3);
  std::array<std::atomic<int>, 3> ran{};
  std::atomic<int> total = 0;
  pool.post([&](worker& w) {
    if (worker::current() == &w) ++ran[w.index];
    if (++total == 3) pool.stop();
  });
  pool.run();
  for (auto const& r : ran) CHECK(r == 1);
}

TEST_CASE("an exception in one worker stops all and comes out of run") {
  worker_pool pool(3);
  asio::post(pool.worker(2).io, [] { throw std::runtime_error("handler"); });
  CHECK_THROWS_WITH_AS(pool.run(), "handler", std::runtime_error);
}

namespace {
asio::awaitable<void> wait_for_ever(worker& w, std::atomic<int>& waiting) {
  tcp::acceptor acceptor(w.io, loopback());
  tcp::socket client(w.io);
  client.connect(acceptor.local_endpoint());
  tcp_stream s(acceptor.accept());
  deadline limit(w.deadlines, s);
  limit.arm(std::chrono::hours(1));
  ++waiting;
  std::array<char, 1> buffer{};
  io_result const r = co_await s.read_some(asio::buffer(buffer));
  (void)r;
}
}  // namespace

TEST_CASE("coroutines that wait when the pool stops are destroyed with it, deadlines and all") {
  worker_pool pool(2);
  std::atomic<int> waiting = 0;
  for (std::size_t i = 0; i < pool.size(); ++i)
    asio::co_spawn(pool.worker(i).io, wait_for_ever(pool.worker(i), waiting), asio::detached);
  std::jthread const stopper([&] {
    while (waiting < 2) std::this_thread::yield();
    pool.stop();
  });
  pool.run();
  CHECK(pool.worker(0).deadlines.armed() == 1);
}

}  // namespace mgw::net::listener_test
