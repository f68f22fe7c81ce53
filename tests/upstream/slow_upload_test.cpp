#include <mgw/upstream/client_exchange.hpp>

#include <mgw/net/tcp_stream.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/pool.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/write.hpp>

#include <doctest/doctest.h>

#include <support/run_io.hpp>
#include <support/slow_link.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::upstream::slow_upload_test {
namespace {

constexpr std::chrono::seconds silence(60);
constexpr int all_at_once = 1 << 18, little_by_little = 4096;

/// An upload of 100 kB to the far end of a slow link.
struct upload {
  test::slow_link link;
  std::string const head = "PUT /log HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n";
  std::string const body = std::string(100'000, 'x');
  std::shared_ptr<upstream::pool> pool;
  std::optional<client_exchange> x;
  std::error_code ec;
  bool sent = false, ended = false;

  explicit upload(int near_room) : link(near_room) {
    pool_options options;
    options.dial = [this](endpoint) { return dial(link); };
    pool = std::make_shared<upstream::pool>(link.deadlines, net::tls_context::client({}), options);
    connected c = test::run_io(link.io, pool->connect(endpoint("a.test", 80, false)));
    exchange_options limits;
    limits.send_silence = limits.response_timeout = silence;
    x.emplace(link.deadlines, *std::move(c.connection), limits);
    asio::co_spawn(link.io, put(*this), asio::detached);
    link.run();
  }
  std::size_t size() const { return head.size() + body.size(); }

private:
  static asio::awaitable<dialled> dial(test::slow_link& link) {
    dialled d;
    d.stream.emplace(net::tcp_stream(std::move(link.near)));
    co_return d;
  }
  static asio::awaitable<void> put(upload& self) {
    self.ec = co_await self.x->send(self.head);
    if (!self.ec) self.ec = co_await self.x->send(self.body);
    self.sent = true;
    if (!self.ec) self.ec = co_await self.x->read_head("PUT");
    self.ended = true;
  }
};

/// Far more time passes than either limit is, as the far end takes all.
std::chrono::seconds take_slowly(upload& u) {
  std::chrono::seconds passed(0);
  while (u.link.take_a_little(u.x->stream(), u.size()) && !u.ended) {
    u.link.pass(silence * 9 / 10);
    passed += silence * 9 / 10;
  }
  return passed;
}

}  // namespace

TEST_CASE("a request that its upstream takes slowly goes through, however much of it the system has taken at once") {
  upload u(all_at_once);
  REQUIRE(u.sent);  // and none of it has got there yet
  CHECK(take_slowly(u) > 4 * silence);
  REQUIRE_FALSE(u.ended);
  asio::write(u.link.far, asio::buffer(std::string_view("HTTP/1.1 204 No Content\r\n\r\n")));
  while (!u.ended) u.link.io.run_one();
  CHECK(u.ec == std::error_code());
  CHECK(u.x->head().status == 204);
  CHECK(u.link.taken == u.head + u.body);
}

TEST_CASE("a request that the system takes slowly, too, goes through") {
  upload u(little_by_little);
  REQUIRE_FALSE(u.sent);
  CHECK(take_slowly(u) > 4 * silence);
  CHECK(u.sent);
  REQUIRE_FALSE(u.ended);
  asio::write(u.link.far, asio::buffer(std::string_view("HTTP/1.1 204 No Content\r\n\r\n")));
  while (!u.ended) u.link.io.run_one();
  CHECK(u.ec == std::error_code());
  CHECK(u.link.taken == u.head + u.body);
}

TEST_CASE("limit: a request of which nothing gets to its upstream any more is ended, but not early") {
  for (int const room : {all_at_once, little_by_little}) {
    CAPTURE(room);
    upload u(room);
    u.link.take_a_little(u.x->stream(), u.size());
    u.link.pass(silence / 8);  // sees that
    u.link.pass(silence / 8);
    std::chrono::milliseconds passed(0);
    while (!u.ended && passed <= 2 * silence) {
      u.link.pass(std::chrono::seconds(1));
      passed += std::chrono::seconds(1);
    }
    CHECK(u.ec == make_error_code(error::response_timeout));
    CHECK(passed >= silence * 3 / 4);
  }
}

TEST_CASE("limit: an upstream that has got the request and says nothing has the response timeout") {
  upload u(all_at_once);
  while (u.link.take_a_little(u.x->stream(), u.size())) {
  }
  std::chrono::milliseconds passed(0);
  while (!u.ended && passed <= 2 * silence) {
    u.link.pass(std::chrono::seconds(1));
    passed += std::chrono::seconds(1);
  }
  CHECK(u.ec == make_error_code(error::response_timeout));
  CHECK(passed >= silence);
}

}  // namespace mgw::upstream::slow_upload_test
