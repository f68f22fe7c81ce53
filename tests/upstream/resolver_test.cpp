#include <mgw/upstream/resolver.hpp>

#include <mgw/upstream/name_lookup.hpp>

#include <support/gateway_fixture.hpp>
#include <support/run_io.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace mgw::upstream::resolver_test {
namespace {

using test::eventually;

/// A name server of the test's: names that hang do so until `answer()`. Shared with look-ups that outlive the test.
class name_server {
public:
  void hang(std::string const& name) {
    std::lock_guard const hold(p_->mutex);
    p_->hanging[name] = true;
  }
  void answer() {
    std::lock_guard const hold(p_->mutex);
    p_->hanging.clear();
    p_->changed.notify_all();
  }
  std::size_t asked() const {
    std::lock_guard const hold(p_->mutex);
    return p_->asked;
  }
  lookup_function function() const {
    return [p = p_](std::string const& host) {
      std::unique_lock hold(p->mutex);
      ++p->asked;
      p->changed.wait(hold, [&] { return !p->hanging.contains(host); });
      looked_up out;
      if (host == "nobody")
        out.ec = asio::error::host_not_found;
      else if (host == "many")
        out.addresses.resize(100, asio::ip::make_address("192.0.2.2"));
      else if (host == "two")
        out.addresses = {asio::ip::make_address("2001:db8::1"), asio::ip::make_address("192.0.2.1")};
      else if (host != "empty")
        out.addresses.push_back(asio::ip::make_address("192.0.2.1"));
      return out;
    };
  }

private:
  struct state {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, bool> hanging;
    std::size_t asked = 0;
  };
  std::shared_ptr<state> p_ = std::make_shared<state>();
};

struct rig {
  name_server names;
  resolver_options options;
  std::shared_ptr<lookup_threads> threads;
  explicit rig(std::size_t most = 4, std::size_t waiting = 4)
      : threads(std::make_shared<lookup_threads>(most, waiting)) {
    options.threads = threads;
    options.lookup = names.function();
  }
  ~rig() {
    names.answer();
    CHECK(eventually([&] { return threads->running() == 0; }));
  }
};

}  // namespace

TEST_CASE("a look-up that hangs outlasts no deadline, and another name does not wait for it") {
  rig g;
  g.names.hang("slow");
  g.options.deadline = std::chrono::milliseconds(20);
  resolver r(g.options);
  asio::io_context io(1);
  auto const look = [](resolver* at, rig* of) -> asio::awaitable<void> {
    resolver::answer const slow = co_await at->resolve("slow", 80);
    CHECK(slow.ec == error::lookup_timeout);
    resolver::answer const still = co_await at->resolve("slow", 80);
    CHECK(still.ec == error::lookup_timeout);
    CHECK(of->names.asked() == 1);  // once at a time
  };
  test::run_io(io, look(&r, &g));
  g.options.deadline = std::chrono::seconds(30);
  resolver patient(g.options);
  auto const other = [](resolver* at) -> asio::awaitable<void> {
    resolver::answer const fast = co_await at->resolve("fast", 80);
    CHECK_FALSE(fast.ec);
  };
  io.restart();
  test::run_io(io, other(&patient));
}

TEST_CASE("an answer that comes after the deadline is there for the next one") {
  rig g;
  g.names.hang("slow");
  g.options.deadline = std::chrono::milliseconds(1);
  resolver r(g.options);
  asio::io_context io(1);
  auto const late = [](resolver* at) -> asio::awaitable<void> {
    resolver::answer const slow = co_await at->resolve("slow", 80);
    CHECK(slow.ec == error::lookup_timeout);
  };
  test::run_io(io, late(&r));
  g.names.answer();
  REQUIRE(eventually([&] { return g.threads->running() == 0; }));
  auto const again = [](resolver* at) -> asio::awaitable<void> {
    co_await test::yield();  // what was posted is taken
    resolver::answer const known = co_await at->resolve("slow", 80);
    REQUIRE_FALSE(known.ec);
    CHECK(known.addresses->front().address().to_string() == "192.0.2.1");
  };
  io.restart();
  test::run_io(io, again(&r));
  CHECK(g.names.asked() == 1);
}

TEST_CASE("a look-up that hangs delays neither the end of the resolver nor that of its context") {
  rig g;
  g.names.hang("slow");
  {
    asio::io_context io(1);
    resolver r(g.options);
    auto const look = [](resolver* at) -> asio::awaitable<void> {
      resolver::answer const a = co_await at->resolve("slow", 80);
      CHECK(a.ec);  // never: it is destroyed while it waits
    };
    asio::co_spawn(io, look(&r), asio::detached);
    io.poll();
    CHECK(g.threads->running() == 1);
  }
  CHECK(g.threads->running() == 1);
}

TEST_CASE("those who ask for a name at the same time share one look-up") {
  rig g;
  g.names.hang("a");
  resolver r(g.options);
  asio::io_context io(1);
  std::size_t answered = 0;
  auto const look = [](resolver* at, std::size_t* count) -> asio::awaitable<void> {
    resolver::answer const a = co_await at->resolve("a", 80);
    CHECK_FALSE(a.ec);
    ++*count;
  };
  for (int i = 0; i < 10; ++i) asio::co_spawn(io, look(&r, &answered), asio::detached);
  io.poll();
  CHECK(answered == 0);
  g.names.answer();
  io.restart();
  io.run();
  CHECK(answered == 10);
  CHECK(g.names.asked() == 1);
}

TEST_CASE("limit: look-ups at once, and those that wait in line; at and past it") {
  rig g(1, 1);
  g.names.hang("a");
  g.names.hang("b");
  g.names.hang("c");
  resolver r(g.options);
  asio::io_context io(1);
  std::map<std::string, std::error_code> ended;
  auto const look = [](resolver* at, std::string host,
                       std::map<std::string, std::error_code>* into) -> asio::awaitable<void> {
    resolver::answer const a = co_await at->resolve(host, 80);
    into->emplace(host, a.ec);
  };
  for (auto const* host : {"a", "b", "c"}) asio::co_spawn(io, look(&r, host, &ended), asio::detached);
  io.poll();
  CHECK(g.threads->running() == 1);
  CHECK(ended.size() == 1);
  CHECK(ended["c"] == std::errc::resource_unavailable_try_again);
  g.names.answer();
  io.restart();
  io.run();
  CHECK(ended.size() == 3);
  CHECK_FALSE(ended["a"]);
  CHECK_FALSE(ended["b"]);
}

TEST_CASE("limit: addresses of one name, at and past it; a name without any is not found") {
  rig g;
  g.options.max_addresses = 16;
  resolver r(g.options);
  asio::io_context io(1);
  auto const look = [](resolver* at) -> asio::awaitable<void> {
    resolver::answer const many = co_await at->resolve("many", 80);
    REQUIRE_FALSE(many.ec);
    CHECK(many.addresses->size() == 16);
    resolver::answer const empty = co_await at->resolve("empty", 80);
    CHECK(empty.ec == asio::error::host_not_found);
    resolver::answer const none = co_await at->resolve("nobody", 80);
    CHECK(none.ec == asio::error::host_not_found);
  };
  test::run_io(io, look(&r));
}

TEST_CASE("the address that worked comes first, also after the name was looked up again, until it works no more") {
  rig g;
  g.options.life = std::chrono::seconds(0);
  resolver r(g.options);
  asio::io_context io(1);
  auto const look = [](resolver* at, rig* of) -> asio::awaitable<void> {
    resolver::answer const first = co_await at->resolve("two", 80);
    REQUIRE(first.addresses->size() == 2);
    auto const good = first.addresses->back();
    at->prefer("two", 80, good);
    resolver::answer const second = co_await at->resolve("two", 80);
    CHECK(of->names.asked() == 2);
    CHECK(second.addresses->front() == good);
    CHECK(second.addresses->size() == 2);
    at->forget("two", 80);
    resolver::answer const third = co_await at->resolve("two", 80);
    CHECK(third.addresses->front() == first.addresses->front());
  };
  test::run_io(io, look(&r, &g));
}

}  // namespace mgw::upstream::resolver_test
