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

}  // namespace

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
