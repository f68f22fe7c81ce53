#include <mgw/net/tcp_stream.hpp>
// The header under test comes first.
#include <mgw/net/deadline.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <asio/ip/tcp.hpp>

#include <support/memory_stream.hpp>
#include <support/run_io.hpp>
#include <support/temporary_directory.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace mgw::net::tcp_stream_test {

using asio::ip::tcp;
using test::background;
using test::run_io;
using namespace std::chrono_literals;

namespace {

std::pair<tcp_stream, tcp_stream> connected(asio::any_io_executor ex) {
  tcp::endpoint const any(asio::ip::address_v4::loopback(), 0);
  tcp::acceptor acceptor(ex, any);
  tcp::socket a(ex);
  a.connect(acceptor.local_endpoint());  // the backlog answers
  tcp::socket b = acceptor.accept();
  return {tcp_stream(std::move(a)), tcp_stream(std::move(b))};
}

tcp::endpoint local(tcp_stream const& s) {
  tcp::endpoint e;
  socklen_t size = static_cast<socklen_t>(e.capacity());
  ::getsockname(s.native_handle(), e.data(), &size);
  e.resize(size);
  return e;
}

asio::awaitable<void> read_into(tcp_stream& s, io_result& r) {
  std::array<char, 8> buffer{};
  r = co_await s.read_some(asio::buffer(buffer));
}
asio::awaitable<void> write_all(tcp_stream& s, std::string const& text, std::error_code& ec) {
  for (std::size_t at = 0; at < text.size() && !ec;) {
    std::array<asio::const_buffer, 1> const rest = {asio::buffer(text.data() + at, text.size() - at)};
    io_result const r = co_await s.write_some(rest);
    at += r.n;
    ec = r.ec;
  }
}

asio::awaitable<void> talk() {
  auto const ex = co_await asio::this_coro::executor;
  auto [a, b] = connected(ex);
  CHECK((::fcntl(a.native_handle(), F_GETFL) & O_NONBLOCK) != 0);
  int no_delay = 0;
  socklen_t size = sizeof no_delay;
  ::getsockopt(a.native_handle(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
  CHECK(no_delay != 0);
  CHECK(a.remote() == local(b));

  std::array<char, 64> buffer{};
  io_result r = b.try_read(asio::buffer(buffer));
  CHECK(r.ec == asio::error::would_block);
  CHECK(r.n == 0);

  std::vector<asio::const_buffer> many(20, asio::buffer("ab", 2));  // more than one call takes
  r = co_await a.write_some(many);
  CHECK_FALSE(r.ec);
  CHECK(r.n == 32);
  r = co_await b.read_some(asio::buffer(buffer));
  CHECK_FALSE(r.ec);
  CHECK(r.n == 32);

  background waiting(ex, read_into(b, r));
  co_await test::yield();
  CHECK_FALSE(waiting.done());
  std::array<asio::const_buffer, 1> const one = {asio::buffer("later", 5)};
  io_result const sent = a.try_write(one);
  CHECK(sent.n == 5);
  co_await waiting.join();
  CHECK(r.n == 5);

  std::error_code ec = co_await a.shutdown();
  CHECK_FALSE(ec);
  r = co_await b.read_some(asio::buffer(buffer));
  CHECK(r.ec == asio::error::eof);
  CHECK(r.n == 0);
  r = b.try_read(asio::buffer(buffer));
  CHECK(r.ec == asio::error::eof);
  r = co_await b.write_some(one);  // the other direction is still open
  CHECK_FALSE(r.ec);
}

asio::awaitable<void> fill_up() {
  auto const ex = co_await asio::this_coro::executor;
  auto [a, b] = connected(ex);
  std::string const text(1 << 20, 'x');
  std::array<asio::const_buffer, 1> const all = {asio::buffer(text)};
  std::size_t sent = 0;
  io_result r;
  while (!r.ec) {
    r = a.try_write(all);
    sent += r.n;
  }
  CHECK(r.ec == asio::error::would_block);
  std::error_code ec;
  background writer(ex, write_all(a, text, ec));
  std::string buffer(100000, '\0');
  for (std::size_t got = 0; got < sent + text.size(); got += r.n) {
    r = co_await b.read_some(asio::buffer(buffer));
    REQUIRE_FALSE(r.ec);
  }
  co_await writer.join();
  CHECK_FALSE(ec);
}

/// A file with these contents.
struct some_file {
  test::temporary_directory directory;
  int fd;
  explicit some_file(std::string const& text) {
    auto const path = directory.path() / "f";
    std::ofstream(path, std::ios::binary) << text;
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  }
  some_file(some_file const&) = delete;
  some_file& operator=(some_file const&) = delete;
  ~some_file() { ::close(fd); }
};

asio::awaitable<void> send_file_all(tcp_stream& s, int fd, std::uint64_t offset, std::size_t n, io_result& all) {
  while (all.n < n && !all.ec) {
    io_result const r = co_await s.send_file(fd, offset + all.n, n - all.n, {});
    all.n += r.n;
    all.ec = r.ec;
  }
}

asio::awaitable<void> send_file_once(tcp_stream& s, int fd, io_result& r) {
  r = co_await s.send_file(fd, 0, 100, {});
}

asio::awaitable<void> send_files() {
  auto const ex = co_await asio::this_coro::executor;
  auto [a, b] = connected(ex);
  std::string text;
  for (int i = 0; text.size() < (std::size_t{12} << 20); ++i) text += std::to_string(i);  // more than lies under way
  some_file const f(text);
  REQUIRE(f.fd >= 0);
  std::int64_t const before = *a.acknowledged();
  io_result sent;
  background sender(ex, send_file_all(a, f.fd, 10, text.size() - 10, sent));
  co_await test::yield();
  CHECK_FALSE(sender.done());
  std::string got, buffer(100000, '\0');
  while (got.size() < text.size() - 10) {
    io_result const r = co_await b.read_some(asio::buffer(buffer));
    REQUIRE_FALSE(r.ec);
    got.append(buffer, 0, r.n);
  }
  co_await sender.join();
  CHECK_FALSE(sent.ec);
  CHECK((got == std::string_view(text).substr(10)));
  CHECK(*a.acknowledged() - before == static_cast<std::int64_t>(got.size()));

  // What the file does not give says nothing of the connection.
  io_result r = co_await a.send_file(f.fd, text.size(), 10, {});
  CHECK(r.ec == std::errc::io_error);
  int const directory = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  r = co_await a.send_file(directory, 0, 10, {});
  ::close(directory);
  CHECK(r.ec == std::errc::io_error);
  r = co_await a.send_file(f.fd, text.size() - 3, 10, {});
  CHECK_FALSE(r.ec);
  CHECK(r.n == 3);

  // What comes before it leaves first, and also where the file gives nothing.
  std::array<asio::const_buffer, 2> const head = {asio::buffer("he", 2), asio::buffer("ad:", 3)};
  r = co_await a.send_file(f.fd, 7, 4, head);
  CHECK_FALSE(r.ec);
  CHECK(r.n == 9);
  r = co_await a.send_file(f.fd, text.size(), 10, head);
  CHECK(r.ec == std::errc::io_error);
  CHECK(r.n == 5);
  std::array<asio::const_buffer, 1> const behind = {asio::buffer(".", 1)};
  r = co_await a.write_some(behind);  // ends what has waited for more
  std::string const all = text.substr(text.size() - 3) + "head:" + text.substr(7, 4) + "head:.";
  for (got.clear(); got.size() < all.size();) {
    r = co_await b.read_some(asio::buffer(buffer));
    REQUIRE_FALSE(r.ec);
    got.append(buffer, 0, r.n);
  }
  CHECK(got == all);

  // Who has waited for room is given nothing: what was in memory need not be there any more.
  std::array<asio::const_buffer, 1> const much = {asio::buffer(text)};
  std::size_t under_way = 0;
  for (r = {}; !r.ec; under_way += r.n) r = a.try_write(much);
  r.ec = asio::error::fault;
  background waited(ex, send_file_once(a, f.fd, r));
  co_await test::yield();
  CHECK_FALSE(waited.done());
  while (under_way != 0) {
    io_result const taken = co_await b.read_some(asio::buffer(buffer));
    REQUIRE_FALSE(taken.ec);
    under_way -= taken.n;
  }
  co_await waited.join();
  CHECK_FALSE(r.ec);
  CHECK(r.n == 0);

  // Who waits for room is told by interrupt(), cancel() and the peer's end.
  io_result interrupted;
  background waiting(ex, send_file_all(a, f.fd, 0, text.size(), interrupted));
  co_await test::yield();
  a.interrupt();
  co_await waiting.join();
  CHECK(interrupted.ec == asio::error::operation_aborted);
  io_result cut;
  background last(ex, send_file_all(a, f.fd, 0, text.size(), cut));
  co_await test::yield();
  { tcp_stream const gone = std::move(b); }  // with bytes unread: a reset
  co_await last.join();
  CHECK((cut.ec == asio::error::connection_reset || cut.ec == asio::error::broken_pipe));
  r = co_await a.send_file(f.fd, 0, 10, {});
  CHECK(r.ec == asio::error::broken_pipe);  // and no signal
  a.cancel();
  r = co_await a.send_file(f.fd, 0, 10, {});
  CHECK(r.ec == asio::error::operation_aborted);
}

/// The peer closes, and what it gets then is refused while a sendfile(2) is under way: that has sent a part by then.
asio::awaitable<void> send_file_to_nobody() {
  auto const ex = co_await asio::this_coro::executor;
  some_file const f(std::string(std::size_t{2} << 20, 'x'));
  for (int i = 0; i < 20; ++i) {
    auto pair = connected(ex);
    { tcp_stream const gone = std::move(pair.second); }
    io_result all;
    co_await send_file_all(pair.first, f.fd, 0, std::size_t{2} << 20, all);
    CHECK((all.ec == asio::error::connection_reset || all.ec == asio::error::broken_pipe));
  }
}

asio::awaitable<void> reset() {
  auto const ex = co_await asio::this_coro::executor;
  auto pair = connected(ex);
  {
    tcp_stream gone = std::move(pair.second);
    linger const at_once{1, 0};
    ::setsockopt(gone.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  io_result r;
  co_await read_into(pair.first, r);
  CHECK(r.ec == asio::error::connection_reset);
  std::error_code ec;
  co_await write_all(pair.first, "x", ec);
  CHECK(ec == asio::error::broken_pipe);  // and no signal
}

/// `s.reset()` as the peer sees it.
asio::awaitable<void> reset_by_stream() {
  auto const ex = co_await asio::this_coro::executor;
  auto pair = connected(ex);
  io_result r;
  std::error_code ec;
  co_await write_all(pair.second, "some", ec);
  {
    tcp_stream gone = std::move(pair.second);
    gone.reset();
    co_await read_into(gone, r);
    CHECK(r.ec == asio::error::operation_aborted);
  }
  do co_await read_into(pair.first, r);
  while (!r.ec);
  CHECK(r.ec == asio::error::connection_reset);
}

asio::awaitable<void> interrupt() {
  auto const ex = co_await asio::this_coro::executor;
  auto [a, b] = connected(ex);
  io_result r;
  a.interrupt();  // with nothing pending it changes nothing
  background waiting(ex, read_into(a, r));
  co_await test::yield();
  a.interrupt();
  co_await waiting.join();
  CHECK(r.ec == asio::error::operation_aborted);
  std::error_code ec;
  co_await write_all(b, "more", ec);
  co_await read_into(a, r);
  CHECK_FALSE(r.ec);
  CHECK(r.n == 4);
  co_await write_all(a, "x", ec);
  CHECK_FALSE(ec);
}

asio::awaitable<void> cancel() {
  auto const ex = co_await asio::this_coro::executor;
  auto [a, b] = connected(ex);
  io_result r;
  background waiting(ex, read_into(a, r));
  co_await test::yield();
  a.cancel();
  co_await waiting.join();
  CHECK(r.ec == asio::error::operation_aborted);
  co_await read_into(a, r);  // with nothing pending, the cancel is not lost
  CHECK(r.ec == asio::error::operation_aborted);
  std::array<char, 8> buffer{};
  r = a.try_read(asio::buffer(buffer));
  CHECK(r.ec == asio::error::operation_aborted);
  bool const ready = co_await a.readable();
  CHECK_FALSE(ready);
  std::error_code ec;
  co_await write_all(a, "x", ec);
  CHECK(ec == asio::error::operation_aborted);
  ec = co_await a.shutdown();
  CHECK(ec == asio::error::operation_aborted);
}

}  // namespace

TEST_CASE("a TCP stream reads, writes and ends") {
  run_io(talk());
}
TEST_CASE("what a file has is sent from it, and its faults are not the connection's") {
  static int raised = 0;
  raised = 0;
  auto* const before = std::signal(SIGPIPE, [](int) { ++raised; });
  run_io(send_files());
  run_io(send_file_to_nobody());
  CHECK(raised == 0);
  std::signal(SIGPIPE, SIG_IGN);
  run_io(send_files());
  run_io(send_file_to_nobody());
  std::signal(SIGPIPE, before);
}
TEST_CASE("a writer waits for room") {
  run_io(fill_up());
}
TEST_CASE("a reset is an error, not an end") {
  run_io(reset());
  run_io(reset_by_stream());
}
TEST_CASE("an interrupted TCP stream goes on") {
  run_io(interrupt());
}
TEST_CASE("a cancelled TCP stream stays cancelled") {
  run_io(cancel());
}

namespace {

struct counted {
  int cancels = 0;
  void cancel() noexcept { ++cancels; }
};

asio::awaitable<void> expire(bool memory) {
  auto const ex = co_await asio::this_coro::executor;
  deadline_queue queue(ex);
  auto const start = std::chrono::steady_clock::now();
  std::array<char, 8> buffer{};
  io_result r;
  if (memory) {
    auto [a, b] = test::memory_stream::pair(ex);
    deadline limit(queue, a);
    limit.arm(60ms);
    r = co_await a.read_some(asio::buffer(buffer));
    CHECK(limit.expired());
  } else {
    auto [a, b] = connected(ex);
    deadline limit(queue, a);
    limit.arm(60ms);
    co_await read_into(a, r);
    CHECK(limit.expired());
    CHECK(r.ec == asio::error::operation_aborted);
    co_await read_into(a, r);  // a later one, too
  }
  CHECK(r.ec == asio::error::operation_aborted);
  CHECK(std::chrono::steady_clock::now() - start >= 60ms);
  CHECK(queue.armed() == 0);
}

}  // namespace

TEST_CASE("a deadline cancels its stream, and what comes later on it") {
  run_io(expire(false));
  run_io(expire(true));
}

TEST_CASE("a deadline expires at its time, never before") {
  asio::io_context io(1);
  for (auto const after : {1ms, 49ms, 50ms, 51ms, 12799ms, 12800ms, 12801ms, 60000ms, 3600000ms}) {
    CAPTURE(after.count());
    deadline_queue q(io.get_executor());
    auto const from = deadline_queue::clock::now();
    counted s;
    deadline d(q, s);
    d.arm_at(from + after);
    for (auto t = from; t < from + after; t += 3000ms) q.advance(t);
    q.advance(from + after - 1ns);
    CHECK(s.cancels == 0);
    q.advance(from + after + deadline_queue::tick);
    CHECK(s.cancels == 1);
  }
}

TEST_CASE("a deadline is moved, disarmed and armed again") {
  asio::io_context io(1);
  deadline_queue queue(io.get_executor());
  auto const start = deadline_queue::clock::now();
  counted s;
  deadline d(queue, s);
  d.arm_at(start + 100ms);
  CHECK(queue.armed() == 1);
  d.arm_at(start + 1000ms);  // later
  CHECK(queue.armed() == 1);
  queue.advance(start + 500ms);
  CHECK(s.cancels == 0);
  d.arm_at(start + 20000ms);
  d.arm_at(start + 700ms);  // earlier
  queue.advance(start + 650ms);
  CHECK(s.cancels == 0);
  d.disarm();
  CHECK(queue.armed() == 0);
  d.disarm();
  queue.advance(start + 5000ms);
  CHECK(s.cancels == 0);
  d.arm_at(start + 6000ms);
  queue.advance(start + 6100ms);
  CHECK(s.cancels == 1);
  d.arm_at(start + 7000ms);  // it has expired for good
  CHECK(queue.armed() == 0);
  CHECK(d.expired());
}

TEST_CASE("a deadline in the past expires at the next tick") {
  asio::io_context io(1);
  deadline_queue queue(io.get_executor());
  counted s;
  deadline d(queue, s);
  d.arm(-5s);
  queue.advance(deadline_queue::clock::now() + 100ms);
  CHECK(s.cancels == 1);
}

TEST_CASE("an expiry may destroy other deadlines that are due") {
  struct destroyer {
    std::optional<deadline>* other = nullptr;
    void cancel() noexcept { other->reset(); }
  };
  asio::io_context io(1);
  deadline_queue queue(io.get_executor());
  auto const due = deadline_queue::clock::now() + 100ms;
  std::optional<deadline> first, second;
  destroyer a{&second}, b{&first};
  first.emplace(queue, a);
  second.emplace(queue, b);
  first->arm_at(due);
  second->arm_at(due);
  queue.advance(due + 100ms);
  CHECK(queue.armed() == 0);
  CHECK(first.has_value() != second.has_value());
}

TEST_CASE("deadlines may outlive their queue, and many are armed at once") {
  asio::io_context io(1);
  counted s;
  std::vector<std::unique_ptr<deadline>> all;
  {
    deadline_queue queue(io.get_executor());
    auto const start = deadline_queue::clock::now();
    for (int i = 0; i < 1000; ++i) {
      all.push_back(std::make_unique<deadline>(queue, s));
      all.back()->arm_at(start + i * 40ms);
    }
    queue.advance(start + 20s);
    CHECK(s.cancels >= 498);
    CHECK(s.cancels <= 501);
    CHECK(queue.armed() == 1000 - static_cast<std::size_t>(s.cancels));
  }
  all.clear();
  io.run_for(100ms);  // the tick that was under way finds no queue
}

}  // namespace mgw::net::tcp_stream_test
