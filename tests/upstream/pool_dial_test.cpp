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

namespace mgw::upstream::pool_dial_test {
namespace {

/// Connects to ends in memory; port 1 is refused.
struct switchboard {
  asio::io_context io{1};
  net::deadline_queue deadlines{io.get_executor()};
  std::vector<test::memory_stream> servers;
  std::vector<endpoint> dialled_to;
  std::shared_ptr<upstream::pool> pool;

  explicit switchboard(pool_options options = {}) {
    options.dial = [this](endpoint where) { return dial(*this, where); };
    pool = std::make_shared<upstream::pool>(deadlines, net::tls_context::client({}), options);
  }
  connected connect(endpoint const& where) {
    io.restart();
    return test::run_io(io, pool->connect(where));
  }

private:
  static asio::awaitable<dialled> dial(switchboard& self, endpoint where) {
    dialled d;
    self.dialled_to.push_back(where);
    if (where.port == 1) {
      d.ec = asio::error::connection_refused;
      co_return d;
    }
    auto ends = test::memory_stream::pair(self.io.get_executor());
    self.servers.push_back(std::move(ends.first));
    d.stream.emplace(std::move(ends.second));
    co_return d;
  }
};

TEST_CASE("a pool connects by what it is given instead of TCP, and keeps what it got") {
  switchboard s;
  endpoint const there("nowhere.invalid", 80, false);
  connected first = s.connect(there);
  REQUIRE(first.connection);
  CHECK_FALSE(first.connection->reused());
  CHECK_FALSE(first.ec);
  first.connection->done();
  connected again = s.connect(there);
  REQUIRE(again.connection);
  CHECK(again.connection->reused());
  CHECK(s.dialled_to.size() == 1);
  CHECK(s.dialled_to[0] == there);

  connected const refused = s.connect(endpoint("nowhere.invalid", 1, false));
  CHECK_FALSE(refused.connection);
  CHECK(refused.failed_at == hop::tcp);
  CHECK(refused.ec == asio::error::connection_refused);
}

TEST_CASE("limit: idle connections over all upstreams, at and past it; the oldest goes first") {
  pool_options options;
  options.max_idle_in_all = 2;
  switchboard s(options);
  auto const ask = [&s](std::uint16_t port) {
    connected c = s.connect(endpoint("a.test", port, false));
    bool const reused = c.connection->reused();
    c.connection->done();
    return reused;
  };
  CHECK_FALSE(ask(81));
  CHECK_FALSE(ask(82));
  CHECK(s.pool->idle() == 2);
  CHECK_FALSE(ask(83));  // 81 goes
  CHECK(s.pool->idle() == 2);
  CHECK(ask(82));
  CHECK(ask(83));
  CHECK_FALSE(ask(81));  // 82 goes, which was idle for longer
  CHECK_FALSE(ask(82));
  CHECK(s.servers.size() == 5);
}

}  // namespace
}  // namespace mgw::upstream::pool_dial_test
