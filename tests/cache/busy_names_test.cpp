#include <mgw/cache/busy_names.hpp>

#include <mgw/cache/disk_store.hpp>

#include "disk_support.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::cache::busy_names_test {
namespace {

using test::at;
using test::count_files;
using test::put;
using test::take;
using test::temporary_directory;
using test::test_body;
using test::test_key;
using test::test_meta;

/// A disk on which one operation hangs until it is let go.
class hanging_ops final : public file_ops {
public:
  enum class what { open, rename_to, unlink, flush_names };

  /// The next operation of this kind whose path ends so hangs.
  void hang(what w, std::string suffix) {
    std::lock_guard const hold(mutex_);
    what_ = w;
    suffix_ = std::move(suffix);
    armed_ = true;
    hangs_ = false;
  }
  void wait_until_it_hangs() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return hangs_; });
  }
  void let_go() {
    std::lock_guard const hold(mutex_);
    hangs_ = false;
    changed_.notify_all();
  }
  /// Waits until some file has been flushed that often.
  void wait_for_flushes(std::size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return flushes_ >= n; });
  }
  std::size_t flushes() {
    std::lock_guard const hold(mutex_);
    return flushes_;
  }
  bool hangs() {
    std::lock_guard const hold(mutex_);
    return hangs_;
  }

  result<std::shared_ptr<file const>> open(std::string const& path, int flags) override {
    pass(what::open, path);
    return file_ops::open(path, flags);
  }
  std::error_code rename(std::string const& from, std::string const& to) override {
    pass(what::rename_to, to);
    return file_ops::rename(from, to);
  }
  std::error_code unlink(std::string const& path) override {
    pass(what::unlink, path);
    return file_ops::unlink(path);
  }
  std::error_code fsync_directory(std::string const& path) override {
    pass(what::flush_names, path);
    return {};
  }
  std::error_code fdatasync(int) override {
    std::lock_guard const hold(mutex_);
    ++flushes_;
    changed_.notify_all();
    return {};
  }

private:
  void pass(what w, std::string const& path) {
    std::unique_lock lock(mutex_);
    if (!armed_ || w != what_ || !path.ends_with(suffix_)) return;
    armed_ = false;
    hangs_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !hangs_; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  what what_ = what::unlink;
  std::string suffix_;
  std::size_t flushes_ = 0;
  bool armed_ = false, hangs_ = false;
};

std::string sha256_of(std::string const& bytes) {
  sha256 s;
  sha256_digest d{};
  REQUIRE_FALSE(s.update(bytes));
  REQUIRE_FALSE(s.digest(d));
  return to_hex(d);
}

void suspend(disk_store& store, unsigned char n, std::string const& bytes) {
  auto p = store.create(test_meta(n, bytes.size() + 1));
  REQUIRE(p);
  CHECK_FALSE(p->append(bytes));
  p->suspend();
}

void replace_one(disk_store& store) {
  (void)put(store, 1, test_body(11, 200));
}

}  // namespace

TEST_CASE("a busy name is refused to others, any other name is not") {
  busy_names<int> names;
  auto first = names.take({1, 2});
  CHECK(first);
  CHECK_FALSE(names.try_take({2}));
  CHECK_FALSE(names.try_take({3, 1}));
  auto third = names.try_take({3, 3});
  CHECK(third);
  auto moved = std::move(first);
  CHECK_FALSE(first);
  CHECK_FALSE(names.try_take({1}));
  moved = std::move(third);
  CHECK(names.try_take({1, 2}));
  CHECK_FALSE(names.try_take({3}));
  moved = {};
  auto all = names.take_all();
  CHECK_FALSE(names.try_take({4}));
  all = {};
  CHECK(names.try_take({4}));
}
TEST_CASE("who waits for a busy name gets it") {
  busy_names<int> names;
  int counter = 0;  // guarded by the name
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&names, &counter, t] {
      for (int i = 0; i < 200; ++i) {
        if (i % 50 == t) {
          auto const all = names.take_all();
          ++counter;
        } else {
          auto const held = names.take({7, 10 + t});
          ++counter;
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  CHECK(counter == 800);
}
TEST_CASE("while the disk hangs on one object, others are stored, read, pinned, replaced, evicted and removed") {
  using what = hanging_ops::what;
  std::string const one = test_body(1, 200), fresh = test_body(11, 200), piece = test_body(12, 100);
  std::string const key = test_key(1).hex();
  struct {
    char const* at;
    what operation;
    std::string path;
    void (*work)(disk_store& store);
    bool evicts, of_a_part;
  } const table[] = {
      {"first rename of a commit", what::rename_to, sha256_of(fresh), replace_one, false, false},
      {"flush of a body's name", what::flush_names, "/objects/" + sha256_of(fresh).substr(0, 2), replace_one, false,
       false},
      {"second rename of a commit", what::rename_to, "/" + key, replace_one, false, false},
      {"deletion of the replaced body", what::unlink, sha256_of(one), replace_one, false, false},
      {"pin", what::rename_to, "/" + key, [](disk_store& s) { (void)s.pin(test_key(1), true); }, false, false},
      {"removal", what::unlink, "/" + key, [](disk_store& s) { (void)s.remove(test_key(1)); }, false, false},
      {"eviction", what::unlink, "/" + key, [](disk_store& s) { (void)put(s, 9, test_body(9, 600)); }, true, false},
      {"eviction of a part", what::unlink, key + ".journal", [](disk_store& s) { (void)put(s, 9, test_body(9, 600)); },
       true, true},
  };
  for (auto const& row : table) {
    CAPTURE(row.at);
    temporary_directory const dir;
    hanging_ops ops;
    disk_store store(at(dir, 1000), {}, ops);
    CHECK_FALSE(put(store, 1, one));
    CHECK_FALSE(put(store, 3, test_body(3, 300)));
    if (row.of_a_part) {
      suspend(store, 1, piece);
      (void)take(store, 1);
      (void)take(store, 3);  // the part is the oldest
    }
    ops.hang(row.operation, row.path);
    std::thread worker([&] { row.work(store); });
    ops.wait_until_it_hangs();

    CHECK_FALSE(put(store, 2, test_body(2, 100)));
    CHECK(take(store, 2) == test_body(2, 100));
    CHECK_FALSE(store.pin(test_key(2), true));
    CHECK_FALSE(put(store, 2, test_body(22, 100)));
    CHECK(take(store, 2) == test_body(22, 100));
    suspend(store, 4, piece);
    CHECK(store.resume(test_key(4)));
    if (!row.evicts) {
      CHECK_FALSE(put(store, 5, test_body(5, 450)));  // 3 goes where there is no room, since 1 is busy
      CHECK(take(store, 5) == test_body(5, 450));
    }
    CHECK(*store.verify(test_key(2)) == disk_store::verdict::good);
    CHECK_FALSE(store.remove(test_key(2)));
    CHECK(ops.hangs());

    // What is about the same object waits until it is over.
    std::atomic<bool> early = false;
    std::error_code created;
    std::thread same([&] {
      if (row.of_a_part) {
        auto const p = store.create(test_meta(1, 10));
        created = p.error();
      } else {
        (void)store.pin(test_key(1), false);
      }
      early = ops.hangs();
    });
    ops.let_go();
    worker.join();
    same.join();
    CHECK_FALSE(early);
    CHECK_FALSE(created);
    for (unsigned char n = 1; n <= 9; ++n) (void)store.remove(test_key(n));
    CHECK(store.used().bytes == 0);
    CHECK(count_files(dir.path() / "cache" / "objects") == 0);
    CHECK(count_files(dir.path() / "cache" / "meta") == 0);
    CHECK(count_files(dir.path() / "cache" / "parts") == 0);
  }
}
TEST_CASE("a body that is deleted for one object is there for the next with the same bytes") {
  temporary_directory const dir;
  hanging_ops ops;
  disk_store store(at(dir), {}, ops);
  std::string const bytes = test_body(1, 500);
  CHECK_FALSE(put(store, 1, bytes));
  ops.hang(hanging_ops::what::unlink, sha256_of(bytes));
  std::thread removes([&] { (void)store.remove(test_key(1)); });
  ops.wait_until_it_hangs();
  std::size_t const before = ops.flushes();
  std::atomic<bool> stored = false, early = false;
  std::thread stores([&] {
    stored = !put(store, 2, bytes);
    early = ops.hangs();
  });
  ops.wait_for_flushes(before + 1);  // all of it is written, and the commit has begun or is about to
  ops.let_go();
  removes.join();
  stores.join();
  CHECK(stored);
  CHECK_FALSE(early);
  CHECK(take(store, 2) == bytes);
  CHECK_FALSE(store.contains(test_key(1)));
}
TEST_CASE("an object that is replaced while it is opened or verified is the new one") {
  temporary_directory const dir;
  hanging_ops ops;
  disk_store store(at(dir), {}, ops);
  for (bool const verifies : {false, true}) {
    CAPTURE(verifies);
    std::string const before = test_body(1, 500), after = test_body(2, 500);
    CHECK_FALSE(put(store, 1, before));
    ops.hang(hanging_ops::what::open, sha256_of(before));
    std::string got;
    std::thread reads([&] {
      if (verifies) {
        auto const v = store.verify(test_key(1));
        got = v && *v == disk_store::verdict::good ? after : "";
      } else {
        got = take(store, 1);
      }
    });
    ops.wait_until_it_hangs();
    CHECK_FALSE(put(store, 1, after));
    ops.let_go();
    reads.join();
    CHECK((got == after));
  }
}
TEST_CASE("room is made by waiting for a busy object where nothing else can go") {
  temporary_directory const dir;
  hanging_ops ops;
  disk_store store(at(dir, 1000), {}, ops);
  CHECK_FALSE(put(store, 1, test_body(1, 600)));
  ops.hang(hanging_ops::what::rename_to, "/" + test_key(1).hex());
  std::thread pins([&] { (void)store.pin(test_key(1), true); });
  ops.wait_until_it_hangs();
  std::error_code got;
  bool early = false;
  std::thread stores([&] {
    got = put(store, 2, test_body(2, 600));
    early = ops.hangs();
  });
  ops.let_go();
  pins.join();
  stores.join();
  CHECK_FALSE(early);
  // Which of the two came first is open: pinned, or not there for a pin any more.
  CHECK((got == error::not_enough_space) == store.contains(test_key(1)));
  CHECK(store.contains(test_key(2)) == !got);
}

}  // namespace mgw::cache::busy_names_test
