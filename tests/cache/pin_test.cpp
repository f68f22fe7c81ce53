#include <mgw/cache/disk_store.hpp>

#include "disk_support.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace mgw::cache::pin_test {
namespace {

using test::at;
using test::faulty_ops;
using test::put;
using test::take;
using test::temporary_directory;
using test::test_body;
using test::test_key;
using test::test_meta;
namespace fs = std::filesystem;

/// What the store says of one object.
disk_store::entry about(disk_store const& store, unsigned char n) {
  for (auto const& e : store.entries())
    if (e.meta.key == test_key(n)) return e;
  FAIL("there is no such object");
  return {};
}

fs::path object_path(temporary_directory const& dir, disk_store const& store, unsigned char n) {
  std::string const sha256 = about(store, n).meta.sha256;
  return dir.path() / "cache" / "objects" / sha256.substr(0, 2) / sha256;
}

}  // namespace

TEST_CASE("a pinned object is not evicted, also by the next store, until it is let go") {
  temporary_directory const dir;
  faulty_ops ops;
  {
    disk_store store(at(dir, 100), {}, ops);
    CHECK(store.pin(test_key(1), true) == std::errc::no_such_file_or_directory);
    CHECK_FALSE(put(store, 1, test_body(1, 40)));
    CHECK_FALSE(put(store, 2, test_body(2, 40)));
    CHECK_FALSE(store.pin(test_key(1), true));
    auto const before = ops.seen;
    CHECK_FALSE(store.pin(test_key(1), true));  // it is already
    CHECK(ops.seen == before);
    CHECK(store.used().pinned_bytes == 40);
    CHECK_FALSE(put(store, 3, test_body(3, 60)));  // only 2 goes
    CHECK(store.contains(test_key(1)));
    CHECK_FALSE(store.contains(test_key(2)));
    CHECK(store.create(test_meta(4, 61)).error() == error::not_enough_space);
    CHECK(store.contains(test_key(3)));  // not evicted in vain
  }
  disk_store store(at(dir, 100), {}, ops);
  CHECK(about(store, 1).meta.pinned);
  CHECK_FALSE(about(store, 3).meta.pinned);
  CHECK(store.used().pinned_bytes == 40);
  CHECK_FALSE(put(store, 4, test_body(4, 60)));
  CHECK(take(store, 1) == test_body(1, 40));
  CHECK_FALSE(store.pin(test_key(1), false));
  CHECK(store.used().pinned_bytes == 0);
  CHECK_FALSE(put(store, 5, test_body(5, 100)));
  CHECK_FALSE(store.contains(test_key(1)));
}
TEST_CASE("what replaces a pinned object is pinned, and it can be removed") {
  temporary_directory const dir;
  {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, "first"));
    CHECK_FALSE(store.pin(test_key(1), true));
    CHECK_FALSE(put(store, 1, "the second"));
    CHECK(about(store, 1).meta.pinned);
    CHECK(store.used().pinned_bytes == 10);
  }
  disk_store store(at(dir));
  CHECK(about(store, 1).meta.pinned);
  CHECK_FALSE(store.remove(test_key(1)));
  CHECK(store.used().pinned_bytes == 0);
  CHECK_FALSE(put(store, 1, "third"));
  CHECK_FALSE(about(store, 1).meta.pinned);
}
TEST_CASE("a part that pins with its commit makes a pinned object, which nothing evicts, or none at all") {
  for (std::size_t n = 0;; ++n) {
    CAPTURE(n);
    temporary_directory const dir(true);
    faulty_ops ops;
    std::error_code ec;
    bool failed = false;
    {
      disk_store store(at(dir, 100), {}, ops);
      auto p = store.create(test_meta(1, 60));
      REQUIRE(p);
      p->pin_with_commit();
      CHECK_FALSE(p->append(test_body(1, 60)));
      ops.fail_at = ops.seen + n;
      ec = p->commit(60);
      failed = ops.seen > ops.fail_at;
      ops.fail_at = faulty_ops::never;
      if (store.contains(test_key(1))) {
        CHECK(about(store, 1).meta.pinned);
        CHECK(store.used().pinned_bytes == 60);
        CHECK(store.create(test_meta(2, 50)).error() == error::not_enough_space);
      }
    }
    disk_store store(at(dir, 100), {}, ops);
    if (store.contains(test_key(1))) CHECK(about(store, 1).meta.pinned);
    if (failed) continue;
    CHECK_FALSE(ec);
    CHECK(take(store, 1) == test_body(1, 60));
    CHECK(n > 3);
    break;
  }
}
TEST_CASE("a body of two keys stays while one of them is pinned") {
  temporary_directory const dir;
  disk_store store(at(dir, 100));
  std::string const bytes = test_body(1, 40);
  CHECK_FALSE(put(store, 1, bytes));
  CHECK_FALSE(put(store, 2, bytes));
  CHECK_FALSE(store.pin(test_key(2), true));
  CHECK(store.create(test_meta(3, 61)).error() == error::not_enough_space);
  CHECK(store.contains(test_key(1)));  // its going would free nothing
  CHECK_FALSE(store.remove(test_key(2)));
  CHECK(store.used().pinned_bytes == 0);
  CHECK(store.create(test_meta(3, 61)));
  CHECK_FALSE(store.contains(test_key(1)));
}
TEST_CASE("a pin that fails changes nothing, or what it says, whichever operation it is") {
  for (std::size_t n = 0;; ++n) {
    CAPTURE(n);
    temporary_directory const dir(true);
    faulty_ops ops;
    disk_store store(at(dir), {}, ops);
    auto m = test_meta(1, 5);
    m.labels = {{"artifact-name", "release 1"}};
    {
      auto p = store.create(m);
      REQUIRE(p);
      CHECK_FALSE(p->append("bytes"));
      CHECK_FALSE(p->commit(5));
    }
    ops.fail_at = ops.seen + n;
    auto const ec = store.pin(test_key(1), true);
    bool const failed = ops.seen > ops.fail_at;
    ops.fail_at = faulty_ops::never;
    bool const pinned = about(store, 1).meta.pinned;
    CHECK(bool(ec) == failed);
    CHECK((failed || pinned));
    CHECK(take(store, 1) == "bytes");
    auto const text = posix_file_ops().read_file(
        (dir.path() / "cache" / "meta" / test_key(1).hex().substr(0, 2) / test_key(1).hex()).string(), max_meta_file);
    REQUIRE(text);
    auto const on_disk = read_meta(*text);
    REQUIRE(on_disk);
    CHECK(on_disk->pinned == pinned);
    CHECK(on_disk->labels == m.labels);
    CHECK(test::count_files(dir.path() / "cache" / "meta") == 1);
    if (!failed) {
      CHECK(n > 3);
      break;
    }
  }
}
TEST_CASE("a list says what is kept with an object, when it was used and whether it is read") {
  temporary_directory const dir;
  faulty_ops ops;
  disk_store store(at(dir), {}, ops);
  auto m = test_meta(1, 3);
  m.labels = {{"artifact-name", "release 1"}, {"device-type", "board"}};
  {
    auto p = store.create(m);
    REQUIRE(p);
    CHECK_FALSE(p->append("abc"));
    auto const u = store.used();
    CHECK(u.parts == 1);
    CHECK(u.part_bytes == 3);
    CHECK(u.objects == 0);
    CHECK_FALSE(p->commit(3));
  }
  auto e = about(store, 1);
  CHECK(e.meta.labels == m.labels);
  CHECK(e.last_used == ops.time);
  CHECK_FALSE(e.in_use);
  ops.time += 1000;
  auto const s = store.open(test_key(1));
  REQUIRE(s);
  e = about(store, 1);
  CHECK(e.in_use);
  CHECK(e.last_used == ops.time);
  auto const u = store.used();
  CHECK(u.parts == 0);
  CHECK(u.part_bytes == 0);
  CHECK(u.min_free == 1);
}
TEST_CASE("verify tells a good object from a damaged one and drops that") {
  temporary_directory const dir;
  std::string const bytes = test_body(1, 600'000);
  std::size_t drops = 0;
  disk_store store(at(dir), [&drops](log_level, std::string_view text) {
    if (text.find("gone or damaged") != std::string_view::npos) ++drops;
  });
  CHECK(*store.verify(test_key(1)) == disk_store::verdict::missing);
  CHECK_FALSE(put(store, 1, bytes));
  CHECK_FALSE(put(store, 2, "abc"));
  CHECK(*store.verify(test_key(1)) == disk_store::verdict::good);
  SUBCASE("one other byte, while it is read") {
    auto const reader = store.open(test_key(1));
    std::string damaged = bytes;
    damaged[300'000] = static_cast<char>(damaged[300'000] ^ 1);
    test::overwrite(object_path(dir, store, 1), damaged);
  }
  SUBCASE("a missing end") {
    fs::resize_file(object_path(dir, store, 1), bytes.size() - 1);
  }
  SUBCASE("a missing body") {
    fs::remove(object_path(dir, store, 1));
  }
  CHECK(drops == 0);
  CHECK(*store.verify(test_key(1)) == disk_store::verdict::damaged);
  CHECK(drops == 1);
  CHECK_FALSE(store.contains(test_key(1)));
  CHECK(*store.verify(test_key(1)) == disk_store::verdict::missing);
  CHECK(*store.verify(test_key(2)) == disk_store::verdict::good);
}
TEST_CASE("verify reads from the disk what may lie in memory") {
  struct forgetting_ops final : file_ops {
    std::size_t forgotten = 0, read = 0;
    result<std::size_t> pread(int fd, std::span<char> into, std::uint64_t offset) override {
      auto const n = file_ops::pread(fd, into, offset);
      if (forgotten == 1 && n) read += *n;
      return n;
    }
    void forget_cached(int fd) override {
      ++forgotten;
      file_ops::forget_cached(fd);
    }
  };
  temporary_directory const dir;
  forgetting_ops ops;
  disk_store store(at(dir), {}, ops);
  CHECK_FALSE(put(store, 1, test_body(1, 5000)));
  CHECK(take(store, 1) == test_body(1, 5000));
  CHECK(ops.forgotten == 0);
  CHECK(*store.verify(test_key(1)) == disk_store::verdict::good);
  CHECK(ops.forgotten == 1);
  CHECK(ops.read == 5000);
}
TEST_CASE("verify after an unclean stop is the read that an object needs") {
  temporary_directory const dir;
  {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, "abc"));
  }
  fs::remove(dir.path() / "cache" / "clean");
  faulty_ops ops;
  {
    disk_store store(at(dir), {}, ops);
    ops.fail_at = ops.seen + 2;  // the first read
    auto const unknown = store.verify(test_key(1));
    CHECK(unknown.error() == std::errc::io_error);
    CHECK(store.contains(test_key(1)));
    CHECK(*store.verify(test_key(1)) == disk_store::verdict::good);
  }
  CHECK(fs::exists(dir.path() / "cache" / "clean"));
}

}  // namespace mgw::cache::pin_test
