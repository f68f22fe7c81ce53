#include <mgw/cache/disk_objects.hpp>

#include <mgw/cache/disk_store.hpp>
#include <mgw/core/blocking_pool.hpp>
#include <mgw/core/result.hpp>

#include <cache/disk_support.hpp>
#include <support/blocking_socket.hpp>
#include <support/gated_files.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <ostream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace mgw::cache::one_reading_test {
namespace {

using mgw::test::eventually;
using mgw::test::gated_files;
using test::at;
using test::put;
using test::take;
using test::temporary_directory;
using test::test_body;
using test::test_key;

/// Two objects with the same bytes, as after a power cut.
struct site {
  temporary_directory dir;
  std::string const bytes = test_body(1, 700'000);
  gated_files ops;
  site() {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, bytes));
    CHECK_FALSE(put(store, 2, bytes));
  }
  disk_store start() {
    std::filesystem::remove(dir.path() / "cache" / "clean");
    return disk_store(at(dir), {}, ops);
  }
};

bool is_good(result<disk_store::verdict> const& v) {
  return v && *v == disk_store::verdict::good;
}
asio::awaitable<void> open_on(blocking_pool& pool, disk_store& store, std::error_code& ec) {
  auto open = [&] { return store.open(test_key(1)).error(); };
  ec = co_await pool.run(open);
}

}  // namespace

TEST_CASE("a body is read once, however many threads want it first, and under whatever key") {
  site s;
  auto store = s.start();
  CHECK(store.opens_slowly(test_key(1)));
  CHECK(store.opens_slowly(test_key(2)));
  CHECK_FALSE(store.opens_slowly(test_key(3)));
  s.ops.close();
  std::atomic<int> whole{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] { whole += take(store, static_cast<unsigned char>(1 + i % 2)) == s.bytes; });
  CHECK(eventually([&] { return s.ops.waiting() == 1; }));
  s.ops.open_gate();
  for (auto& t : threads) t.join();
  CHECK(whole == 8);
  CHECK(s.ops.readings() == 1);
  CHECK_FALSE(store.opens_slowly(test_key(1)));
  CHECK_FALSE(store.opens_slowly(test_key(2)));
}

TEST_CASE("who opens an object while it is verified waits for that, and reads nothing himself") {
  site s;
  auto store = s.start();
  s.ops.close();
  bool good = false;
  std::thread verifier([&] { good = is_good(store.verify(test_key(1))); });
  CHECK(eventually([&] { return s.ops.waiting() == 1; }));
  std::string got;
  std::thread reader([&] { got = take(store, 2); });
  s.ops.open_gate();
  verifier.join();
  reader.join();
  CHECK(good);
  CHECK(got == s.bytes);
  CHECK(s.ops.readings() == 1);
}

TEST_CASE("a verified object is opened while somebody verifies it again") {
  site s;
  auto store = s.start();
  CHECK(take(store, 1) == s.bytes);
  s.ops.close();
  bool good = false;
  std::thread verifier([&] { good = is_good(store.verify(test_key(1))); });
  CHECK(eventually([&] { return s.ops.waiting() == 1; }));
  CHECK(take(store, 2) == s.bytes);
  s.ops.open_gate();
  verifier.join();
  CHECK(good);
}

TEST_CASE("one that could not be read is read by the next who wants it") {
  site s;
  auto store = s.start();
  s.ops.fail(true);
  CHECK(store.open(test_key(1)).error() == std::errc::io_error);
  CHECK(store.opens_slowly(test_key(1)));
  s.ops.fail(false);
  CHECK(take(store, 2) == s.bytes);
  CHECK_FALSE(store.opens_slowly(test_key(1)));
}

TEST_CASE("on a pool that ends the reading of an object ends, and it counts as not read") {
  site s;
  auto store = s.start();
  s.ops.close();
  blocking_pool pool(1);
  asio::io_context io;
  std::error_code ec;
  asio::co_spawn(io, open_on(pool, store, ec), asio::detached);
  std::thread thread([&] { io.run(); });
  CHECK(eventually([&] { return s.ops.waiting() == 1; }));
  pool.end_soon();
  s.ops.open_gate();
  thread.join();
  pool.join();
  CHECK(ec == std::errc::operation_canceled);
  CHECK(store.opens_slowly(test_key(1)));
  CHECK(take(store, 1) == s.bytes);
}

}  // namespace mgw::cache::one_reading_test
