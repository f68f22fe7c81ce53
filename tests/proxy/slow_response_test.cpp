#include <mgw/proxy/response_writer.hpp>

#include <mgw/core/any_stream.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/net/tcp_stream.hpp>
#include <mgw/proxy/options.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>

#include <doctest/doctest.h>

#include <support/run_io.hpp>
#include <support/slow_link.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>

namespace mgw::proxy::slow_response_test {
namespace {

constexpr std::chrono::seconds silence(300);

/// A response of 100 kB in one write, to a client at the far end of a slow link.
struct download {
  static constexpr std::size_t size = 100'000;
  test::slow_link link{4096};
  any_stream stream{net::tcp_stream(std::move(link.near))};
  server_options options;
  response_writer out{stream, link.deadlines, options};
  std::string const body = std::string(size, 'x');
  std::error_code ec;
  bool ended = false;

  download() {
    options.send_silence = silence;
    asio::co_spawn(link.io, answer(*this), asio::detached);
    link.run();
  }

private:
  static asio::awaitable<void> answer(download& self) {
    http::request_head request;
    request.method = "GET";
    request.minor = 1;
    http::framing whole;
    whole.kind = http::body_kind::length;
    whole.length = size;
    self.out.start(200, "OK");
    self.out.end_head(whole, request, true);
    asio::const_buffer const one = asio::buffer(self.body);
    const_buffers const bytes(&one, 1);
    self.ec = co_await self.out.write(bytes);
    if (!self.ec) self.ec = co_await self.out.finish();
    self.ended = true;
  }
};

/// Takes nothing at once, and says that it holds some of it.
struct full_stream {
  std::size_t* holds;
  asio::awaitable<io_result> read_some(asio::mutable_buffer) { co_return io_result{asio::error::eof, 0}; }
  asio::awaitable<io_result> write_some(const_buffers from) {
    co_return io_result{std::error_code(), asio::buffer_size(from)};
  }
  asio::awaitable<bool> readable() { co_return false; }
  io_result try_read(asio::mutable_buffer) { return {asio::error::would_block, 0}; }
  io_result try_write(const_buffers) { return {asio::error::would_block, 0}; }
  asio::awaitable<std::error_code> shutdown() { co_return std::error_code(); }
  void cancel() noexcept {}
  void interrupt() noexcept {}
  void reset() noexcept {}
  std::size_t held() const noexcept { return *holds; }
};

struct given_back {
  int times = 0;
  void reset() noexcept { ++times; }
};

asio::awaitable<void> write_while(std::size_t holds, std::size_t size, int& times) {
  auto const executor = co_await asio::this_coro::executor;
  net::deadline_queue deadlines(executor);
  any_stream stream(full_stream{&holds});
  server_options const options;
  response_writer out(stream, deadlines, options);
  http::request_head request;
  request.method = "GET";
  request.minor = 1;
  http::framing framing;
  framing.kind = http::body_kind::length;
  framing.length = 2 * size;
  out.start(200, "OK");
  out.end_head(framing, request, true);
  std::string const body(size, 'x');
  asio::const_buffer const one = asio::buffer(body);
  const_buffers const bytes(&one, 1);
  std::error_code ec = co_await out.write(bytes);  // with the head
  CHECK_FALSE(ec);
  given_back memory;
  ec = co_await out.write(bytes, memory);
  CHECK_FALSE(ec);
  times = memory.times;
}

}  // namespace

TEST_CASE("the memory of what is written is given back before a wait if the stream holds all of it") {
  for (auto const& [holds, expected] : {std::pair<std::size_t, int>{1000, 1}, {999, 0}, {0, 0}}) {
    int times = -1;
    test::run_io(write_while(holds, 1000, times));
    CHECK(times == expected);
  }
}

TEST_CASE("a client that takes a response slowly gets it") {
  download d;
  REQUIRE_FALSE(d.ended);
  std::chrono::seconds passed(0);
  while (!d.ended && d.link.take_a_little(d.stream, d.size)) {
    d.link.pass(silence * 9 / 10);
    passed += silence * 9 / 10;
  }
  CHECK(passed > 4 * silence);
  CHECK(d.ec == std::error_code());
  CHECK(d.out.finished());
  CHECK_FALSE(d.out.timed_out());
}

TEST_CASE("limit: a client that takes nothing of a response for the silence limit is ended, and not before") {
  download d;
  std::chrono::seconds passed(0);
  while (!d.ended && passed <= 2 * silence) {
    d.link.pass(std::chrono::seconds(5));
    passed += std::chrono::seconds(5);
  }
  CHECK(d.out.timed_out());
  CHECK(d.out.broken());
  CHECK(passed >= silence);
}

}  // namespace mgw::proxy::slow_response_test
