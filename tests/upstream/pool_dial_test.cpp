#include <mgw/upstream/pool.hpp>

#include <mgw/net/deadline.hpp>
#include <mgw/net/tls_context.hpp>

#include <asio/awaitable.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>

#include <doctest/doctest.h>

#include <support/memory_stream.hpp>
#include <support/run_io.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <utility>
#include <vector>

namespace mgw::upstream {
namespace {

TEST_CASE("a pool connects by what it is given instead of TCP, and keeps what it got") {
  asio::io_context io(1);
  net::deadline_queue deadlines(io.get_executor());
  std::vector<test::memory_stream> servers;
  std::vector<endpoint> dialled_to;
  pool_options options;
  options.dial = [&](endpoint where) -> asio::awaitable<dialled> {
    dialled d;
    dialled_to.push_back(where);
    if (where.port == 1) {
      d.ec = asio::error::connection_refused;
      co_return d;
    }
    auto ends = test::memory_stream::pair(io.get_executor());
    servers.push_back(std::move(ends.first));
    d.stream.emplace(std::move(ends.second));
    co_return d;
  };
  auto const p = std::make_shared<pool>(deadlines, net::tls_context::client({}), options);
  endpoint const there("nowhere.invalid", 80, false);

  connected first = test::run_io(io, p->connect(there));
  REQUIRE(first.connection);
  CHECK_FALSE(first.connection->reused());
  CHECK_FALSE(first.ec);
  first.connection->done();
  io.restart();
  connected again = test::run_io(io, p->connect(there));
  REQUIRE(again.connection);
  CHECK(again.connection->reused());
  CHECK(dialled_to.size() == 1);
  CHECK(dialled_to[0] == there);

  endpoint const closed("nowhere.invalid", 1, false);
  io.restart();
  connected const refused = test::run_io(io, p->connect(closed));
  CHECK_FALSE(refused.connection);
  CHECK(refused.failed_at == hop::tcp);
  CHECK(refused.ec == asio::error::connection_refused);
}

TEST_CASE("limit: idle connections over all upstreams, at and past it; the oldest goes first") {
  asio::io_context io(1);
  net::deadline_queue deadlines(io.get_executor());
  std::vector<test::memory_stream> servers;
  pool_options options;
  options.max_idle_in_all = 2;
  options.dial = [&](endpoint) -> asio::awaitable<dialled> {
    dialled d;
    auto ends = test::memory_stream::pair(io.get_executor());
    servers.push_back(std::move(ends.first));
    d.stream.emplace(std::move(ends.second));
    co_return d;
  };
  auto const p = std::make_shared<pool>(deadlines, net::tls_context::client({}), options);
  auto const ask = [&](std::uint16_t port) {
    io.restart();
    connected c = test::run_io(io, p->connect(endpoint("a.test", port, false)));
    bool const reused = c.connection->reused();
    c.connection->done();
    return reused;
  };
  CHECK_FALSE(ask(1));
  CHECK_FALSE(ask(2));
  CHECK(p->idle() == 2);
  CHECK_FALSE(ask(3));  // 1 goes
  CHECK(p->idle() == 2);
  CHECK(ask(2));
  CHECK(ask(3));
  CHECK_FALSE(ask(1));  // 2 goes, which was idle for longer
  CHECK_FALSE(ask(2));
  CHECK(servers.size() == 5);
}

}  // namespace
}  // namespace mgw::upstream
