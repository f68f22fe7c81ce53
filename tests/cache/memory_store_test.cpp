#include <mgw/cache/memory_store.hpp>

#include <cache/disk_support.hpp>
#include <cache/store_conformance.hpp>
#include <support/no_descriptors.hpp>

#include <doctest/doctest.h>

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

TEST_CASE_TEMPLATE_INVOKE(cache_store_conformance, mgw::test::memory_rig);
TEST_CASE_TEMPLATE_INVOKE(evicting_store_conformance, mgw::test::memory_rig);

namespace mgw::cache::memory_store_test {
namespace {

using test::contents;
using test::test_body;
using test::test_key;
using test::test_meta;

memory_store::options of(std::uint64_t max_size, std::size_t max_objects = 256) {
  memory_store::options o;
  o.max_size = max_size;
  o.max_objects = max_objects;
  return o;
}
std::error_code put(memory_store& store, unsigned char n, std::string_view bytes) {
  auto p = store.create(test_meta(n, bytes.size()));
  if (!p) return p.error();
  if (auto const ec = p->append(bytes)) return ec;
  return p->commit(bytes.size());
}

/// No file of this process grows beyond so many bytes while it lives.
class small_files {
public:
  explicit small_files(rlim_t most) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit now = before_;
    now.rlim_cur = most;
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  small_files(small_files const&) = delete;
  small_files& operator=(small_files const&) = delete;
  ~small_files() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

private:
  void (*handler_)(int);
  rlimit before_{};
};

}  // namespace

TEST_CASE("a store in memory needs its limits") {
  CHECK_THROWS_AS(memory_store(of(0)), std::invalid_argument);
  CHECK_THROWS_AS(memory_store(of(1, 0)), std::invalid_argument);
  CHECK(memory_store(of(1)).used().max_size == 1);
}

TEST_CASE("in memory, no body is larger than one may be, whether its length is known or not") {
  auto o = of(1000);
  o.max_object = 50;
  memory_store store(o);
  CHECK_FALSE(put(store, 1, test_body(1, 50)));
  CHECK(store.create(test_meta(2, 51)).error() == error::not_enough_space);
  auto m = test_meta(3, 0);
  m.length_known = false;
  auto p = store.create(m);
  REQUIRE(p);
  CHECK_FALSE(p->append(test_body(3, 30)));
  CHECK(p->append(test_body(3, 21)) == make_error_code(error::not_enough_space));
  CHECK(p->size() == 30);
  CHECK_FALSE(p->append(test_body(3, 20)));
  CHECK_FALSE(p->commit(50));
  CHECK(store.used().bytes == 100);
}

TEST_CASE("in memory, a suspended part counts and makes room, but not while it is read") {
  memory_store store(of(100));
  auto p = store.create(test_meta(1, 50));
  REQUIRE(p);
  CHECK(store.used().bytes == 50);
  CHECK_FALSE(p->append(test_body(1, 40)));
  auto body = p->body();
  p->suspend();
  p = store.create(test_meta(3, 0));
  CHECK(store.used().bytes == 40);
  CHECK(put(store, 2, test_body(2, 90)) == error::not_enough_space);
  CHECK((contents(*body) == test_body(1, 40)));
  body.reset();
  CHECK_FALSE(put(store, 2, test_body(2, 90)));
  CHECK(store.resume(test_key(1)).error() == std::errc::no_such_file_or_directory);
  CHECK(store.used().bytes == 90);
}

TEST_CASE("what was removed from memory counts for as long as it is read") {
  memory_store store(of(100));
  CHECK_FALSE(put(store, 1, test_body(1, 60)));
  auto s = store.open(test_key(1));
  REQUIRE(s);
  CHECK_FALSE(store.remove(test_key(1)));
  CHECK(store.remove(test_key(1)) == std::errc::no_such_file_or_directory);
  CHECK_FALSE(store.contains(test_key(1)));
  CHECK((contents(*s->body) == test_body(1, 60)));
  CHECK(store.used().bytes == 60);
  CHECK(store.used().objects == 0);
  CHECK(put(store, 2, test_body(2, 41)) == error::not_enough_space);
  s->body.reset();
  CHECK(store.used().bytes == 0);
  CHECK_FALSE(put(store, 2, test_body(2, 41)));

  auto p = store.create(test_meta(3, 10));
  REQUIRE(p);
  CHECK_FALSE(p->append("abc"));
  p->suspend();
  CHECK_FALSE(store.remove(test_key(3)));
  CHECK(store.resume(test_key(3)).error() == std::errc::no_such_file_or_directory);
}

TEST_CASE("a dropped part counts with what is still read of it") {
  memory_store store(of(100));
  auto p = store.create(test_meta(1, 50));
  REQUIRE(p);
  CHECK_FALSE(p->append("abc"));
  auto body = p->body();
  p->drop();
  CHECK(store.used().bytes == 3);
  p = store.create(test_meta(2, 0));
  body.reset();
  CHECK(store.used().bytes == 0);
}

TEST_CASE("in memory, an unknown length takes room as it grows") {
  memory_store store(of(3u << 20));
  CHECK_FALSE(put(store, 1, "abc"));
  meta m = test_meta(2, 77);
  m.length_known = false;
  auto p = store.create(m);
  REQUIRE(p);
  CHECK_FALSE(p->append("abc"));
  CHECK(store.used().bytes == (1u << 20) + 3);
  std::string const big((3u << 20) - 4, 'x');
  CHECK_FALSE(p->append(big));
  CHECK_FALSE(store.contains(test_key(1)));  // evicted for the last bytes
  CHECK_FALSE(p->append("x"));
  CHECK(p->append("x") == error::not_enough_space);
  CHECK_FALSE(p->commit(3u << 20));
  CHECK(store.open(test_key(2))->meta.length == 3u << 20);
}

TEST_CASE("in memory, the number of objects is bounded, too") {
  memory_store store(of(1000, 3));
  for (unsigned char n = 1; n <= 3; ++n) CHECK_FALSE(put(store, n, ""));
  CHECK(store.open(test_key(1)));
  CHECK_FALSE(put(store, 4, ""));
  CHECK(store.contains(test_key(1)));
  CHECK_FALSE(store.contains(test_key(2)));
  auto const a = store.create(test_meta(5, 1)), b = store.create(test_meta(6, 1)), c = store.create(test_meta(7, 1));
  REQUIRE(c);
  CHECK(store.used().objects == 0);
  CHECK(store.create(test_meta(8, 1)).error() == error::not_enough_space);
  CHECK(store.create(test_meta(7, 1)).error() == error::being_filled);
}

TEST_CASE("a complete body in memory cannot be changed by anybody") {
  memory_store store(of(1000));
  CHECK_FALSE(put(store, 1, "abc"));
  auto const s = store.open(test_key(1));
  REQUIRE(s);
  CHECK(s->meta.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4, B.1
  CHECK(s->meta.stored_at != 0);
  CHECK(::pwrite(s->body->fd(), "x", 1, 0) == -1);
  CHECK(::ftruncate(s->body->fd(), 1) == -1);
  CHECK(contents(*s->body) == "abc");
}

TEST_CASE("a body that was suspended in memory has the digest of all its bytes") {
  memory_store store(of(1000));
  auto p = store.create(test_meta(1, 3));
  REQUIRE(p);
  CHECK_FALSE(p->append("a"));
  p->suspend();
  p = store.resume(test_key(1));
  REQUIRE(p);
  CHECK_FALSE(p->append("bc"));
  CHECK_FALSE(p->commit(3));
  CHECK(p->meta().sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("an append that fails in memory leaves nothing behind the end") {
  memory_store store(of(1u << 20));
  meta m = test_meta(1, 0);
  m.length_known = false;
  auto p = store.create(m);
  REQUIRE(p);
  CHECK_FALSE(p->append("abc"));
  {
    small_files const limit(4096);
    CHECK(p->append(std::string(5000, 'x')) == std::errc::file_too_large);
  }
  CHECK(p->size() == 3);
  CHECK(contents(*p->body()).size() == 4096);
  bool again = false;
  SUBCASE("when it ends there") {}
  SUBCASE("when it is tried again") {
    again = true;
  }
  if (again) CHECK_FALSE(p->append("def"));
  CHECK_FALSE(p->commit(again ? 6 : 3));
  CHECK(contents(*store.open(test_key(1))->body) == (again ? "abcdef" : "abc"));
}

TEST_CASE("a store in memory without descriptors says so, and goes on") {
  memory_store store(of(1000));
  {
    mgw::test::no_descriptors const none;
    CHECK(put(store, 1, "abc") == std::errc::too_many_files_open);
  }
  CHECK(store.used().bytes == 0);
  CHECK_FALSE(put(store, 1, "abc"));
}

TEST_CASE("a value too long for metadata is too long for a store in memory") {
  memory_store store(of(1000));
  meta m = test_meta(1, 10);
  m.etag = std::string(max_meta_value, 'e');
  CHECK(store.create(m));
  m.etag += 'e';
  CHECK(store.create(m).error() == error::value_too_long);
}

TEST_CASE("parts and bodies outlive their store in memory") {
  std::optional<memory_store> store(of(1000));
  auto p = store->create(test_meta(1, 6));
  REQUIRE(p);
  CHECK_FALSE(put(*store, 2, "object"));
  auto const s = store->open(test_key(2));
  store.reset();
  CHECK_FALSE(p->append("abc"));
  CHECK_FALSE(p->append("def"));
  CHECK_FALSE(p->commit(6));
  CHECK(contents(*p->body()) == "abcdef");
  CHECK(contents(*s->body) == "object");
}

TEST_CASE("many threads crowd a small store in memory") {
  memory_store store(of(4000, 6));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&store, &wrong, t] {
      for (unsigned i = 0; i < 200; ++i) {
        auto const n = static_cast<unsigned char>((t * 3 + i) % 8);
        if (auto const s = store.open(test_key(n)); s && contents(*s->body) != test_body(n, 900)) ++wrong;
        if (i % 2 == 0) (void)put(store, n, test_body(n, 900));
        if (auto p = store.create(test_meta(n, 700)); p && !p->append("abc")) p->suspend();
        if (i % 7 == 0) (void)store.remove(test_key(n));
        if (store.used().bytes > 4000) ++wrong;
      }
    });
  }
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
  for (auto const& m : store.list()) CHECK(store.open(m.key));
  for (unsigned char n = 0; n < 8; ++n) (void)store.remove(test_key(n));
  CHECK(store.used().bytes == 0);
}

}  // namespace mgw::cache::memory_store_test
