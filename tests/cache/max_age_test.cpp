#include <mgw/cache/disk_store.hpp>

#include "disk_support.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>

namespace mgw::cache::max_age_test {
namespace {

using test::count_files;
using test::faulty_ops;
using test::put;
using test::take;
using test::temporary_directory;
using test::test_key;
using test::test_meta;

disk_store::options at(temporary_directory const& dir, std::chrono::seconds max_age) {
  auto o = test::at(dir);
  o.max_age = max_age;
  return o;
}

void suspend(disk_store& store, unsigned char n) {
  auto p = store.create(test_meta(n, 10));
  REQUIRE(p);
  CHECK_FALSE(p->append("abc"));
  p->suspend();
}

}  // namespace

TEST_CASE("what nobody used for MaxAge goes; what is pinned, read, filled or was used stays") {
  temporary_directory const dir;
  faulty_ops ops;
  disk_store store(at(dir, std::chrono::hours(1)), {}, ops);
  for (unsigned char n = 1; n <= 4; ++n) CHECK_FALSE(put(store, n, "body " + std::to_string(n)));
  suspend(store, 5);
  suspend(store, 6);
  CHECK_FALSE(store.pin(test_key(2), true));
  ops.time += 1800;
  CHECK(take(store, 3) == "body 3");
  {
    auto again = store.resume(test_key(6));
    REQUIRE(again);
    again->suspend();
  }
  ops.time += 1800;
  CHECK(store.expire() == 0);  // exactly so old
  ops.time += 1;
  auto const reader = store.open(test_key(4));
  REQUIRE(reader);
  auto filled = store.create(test_meta(7, 10));
  REQUIRE(filled);
  CHECK(store.expire() == 2);  // 1 and 5
  CHECK_FALSE(store.contains(test_key(1)));
  CHECK(store.contains(test_key(2)));
  CHECK(store.contains(test_key(3)));
  CHECK(store.contains(test_key(4)));
  CHECK(store.resume(test_key(5)).error() == std::errc::no_such_file_or_directory);
  CHECK(count_files(dir.path() / "cache" / "objects") == 3);
  CHECK(store.expire() == 0);
  ops.time += 3601;
  CHECK(store.expire() == 2);  // 3 and 6
  CHECK(store.contains(test_key(4)));
  CHECK_FALSE(filled->append("0123456789"));
  CHECK_FALSE(filled->commit(10));
  filled = std::make_error_code(std::errc::io_error);
  CHECK_FALSE(store.pin(test_key(2), false));
  CHECK(store.expire() == 0);  // letting go was a use
  ops.time += 3601;
  CHECK(store.expire() == 2);  // 2 and 7
  CHECK(take(store, 4) == "body 4");
}
TEST_CASE("one of two keys of a body can be too old by itself") {
  temporary_directory const dir;
  faulty_ops ops;
  disk_store store(at(dir, std::chrono::hours(1)), {}, ops);
  CHECK_FALSE(put(store, 1, "the same"));
  CHECK_FALSE(put(store, 2, "the same"));
  CHECK_FALSE(store.pin(test_key(2), true));
  ops.time += 3601;
  CHECK(store.expire() == 1);
  CHECK_FALSE(store.contains(test_key(1)));
  CHECK(take(store, 2) == "the same");
}
TEST_CASE("without a MaxAge nothing is too old") {
  temporary_directory const dir;
  faulty_ops ops;
  disk_store store(at(dir, std::chrono::seconds(0)), {}, ops);
  CHECK_FALSE(put(store, 1, "abc"));
  suspend(store, 2);
  ops.time += 1'000'000'000;
  CHECK(store.expire() == 0);
  CHECK(take(store, 1) == "abc");
  CHECK(store.resume(test_key(2)));
}
TEST_CASE("the age counts on over a restart, and what is too old then goes at start") {
  temporary_directory const dir;
  faulty_ops ops;
  {
    disk_store store(at(dir, std::chrono::hours(1)), {}, ops);
    CHECK_FALSE(put(store, 1, "abc"));
    suspend(store, 2);
  }
  std::string const hex = test_key(1).hex();
  struct stat s{};
  REQUIRE(::stat((dir.path() / "cache" / "meta" / hex.substr(0, 2) / hex).c_str(), &s) == 0);
  ops.time = s.st_mtime + 3500;
  {
    disk_store store(at(dir, std::chrono::hours(1)), {}, ops);
    CHECK(store.contains(test_key(1)));
    CHECK(store.used().parts == 1);
  }
  ops.time = s.st_mtime + 3700;
  disk_store const store(at(dir, std::chrono::hours(1)), {}, ops);
  CHECK_FALSE(store.contains(test_key(1)));
  CHECK(store.used().parts == 0);
  CHECK(count_files(dir.path() / "cache" / "parts") == 0);
}
TEST_CASE("a clock that was not set yet makes nothing old") {
  temporary_directory const dir;
  faulty_ops ops;
  ops.time = 1000;  // the 1st of January 1970
  disk_store store(at(dir, std::chrono::hours(1)), {}, ops);
  CHECK_FALSE(put(store, 1, "abc"));
  suspend(store, 2);
  ops.time += 7200;
  CHECK(store.expire() == 0);
  ops.time = 1'700'000'000;  // now it is
  CHECK(store.expire() == 0);
  ops.time += 3600;
  CHECK(store.expire() == 0);
  ops.time += 1;
  CHECK(store.expire() == 2);
}
TEST_CASE("what is too old and cannot be deleted stays whole and goes the next time") {
  for (std::size_t n = 0;; ++n) {
    CAPTURE(n);
    temporary_directory const dir(true);
    faulty_ops ops;
    std::size_t warnings = 0;
    disk_store store(
        at(dir, std::chrono::hours(1)),
        [&](log_level l, std::string_view) { warnings += l == log_level::warn ? 1 : 0; }, ops);
    CHECK_FALSE(put(store, 1, "abc"));
    suspend(store, 2);
    ops.time += 3601;
    ops.fail_at = ops.seen + n;
    std::size_t const gone = store.expire();
    bool const failed = ops.seen > ops.fail_at;
    ops.fail_at = faulty_ops::never;
    CHECK(warnings == (failed ? 1 : 0));
    if (!failed) {
      CHECK(gone == 2);
      CHECK(n == 4);
      break;
    }
    CHECK(gone <= 1);
    if (store.contains(test_key(1))) {
      CHECK(take(store, 1) == "abc");
      ops.time += 3601;
    }
    (void)store.expire();
    CHECK_FALSE(store.contains(test_key(1)));
    CHECK(store.used().parts == 0);
    CHECK(count_files(dir.path() / "cache" / "meta") == 0);
    CHECK(count_files(dir.path() / "cache" / "parts") == 0);
  }
}

}  // namespace mgw::cache::max_age_test
