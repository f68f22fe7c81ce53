#include <mgw/cache/disk_room.hpp>

#include <mgw/cache/disk_store.hpp>

#include "disk_support.hpp"

#include <doctest/doctest.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace mgw::cache {
namespace {

using test::at;
using test::put;
using test::temporary_directory;
using test::test_body;
using test::test_meta;

/// A disk of 1000 bytes for bodies, on which the first deletion takes until it is let go.
class small_disk final : public file_ops {
public:
  explicit small_disk(std::filesystem::path root) : root_(std::move(root)) {}

  bool shows_late = false;        ///< what is deleted is not free at once
  bool fails = false;             ///< the deletion that takes long fails
  void hang() {
    std::lock_guard const hold(mutex_);
    armed_ = true;
    questions_ = 0;
    before_ = available();
  }
  void wait_until_it_hangs() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return hangs_; });
  }
  /// So many have asked for the space since hang().
  void wait_for_questions(std::size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return questions_ >= n; });
  }
  void let_go() {
    std::lock_guard const hold(mutex_);
    hangs_ = false;
    changed_.notify_all();
  }

  result<file_system_space> space(std::string const&) override {
    std::lock_guard const hold(mutex_);
    ++questions_;
    changed_.notify_all();
    return file_system_space{size, shows_late ? before_ : available()};
  }
  std::error_code unlink(std::string const& path) override {
    bool mine = false;
    {
      std::unique_lock lock(mutex_);
      mine = armed_ && std::filesystem::exists(path);
      if (mine) {
        armed_ = false;
        hangs_ = true;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !hangs_; });
      }
    }
    return mine && fails ? std::make_error_code(std::errc::io_error) : file_ops::unlink(path);
  }

private:
  static constexpr std::uint64_t size = 1001;  // of which one is left free

  std::uint64_t available() const {
    std::uint64_t used = 0;
    for (auto const& e : std::filesystem::recursive_directory_iterator(root_)) {
      bool const body = e.is_regular_file() && (e.path().extension() == ".body" ||
                                                e.path().parent_path().parent_path().filename() == "objects");
      if (body) used += e.file_size();
    }
    return size - used;
  }

  std::filesystem::path const root_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t before_ = size;
  std::size_t questions_ = 0;
  bool armed_ = false, hangs_ = false;
};

}  // namespace

TEST_CASE("who finds no room while something goes waits for it, and is refused only where that is not enough") {
  struct {
    char const* what;
    bool part, full, late, fails;
  } const table[] = {
      {"an object goes from a small disk", false, false, false, false},
      {"from a disk that shows it late", false, false, true, false},
      {"a part goes from a small disk", true, false, false, false},
      {"a part goes from a full cache", true, true, false, false},
      {"an object cannot be deleted", false, false, false, true},
      {"a part cannot be deleted", true, true, false, true},
  };
  for (auto const& row : table) {
    for (std::size_t const wanted : {400, 700}) {
      CAPTURE(row.what);
      CAPTURE(wanted);
      temporary_directory const dir;
      small_disk disk(dir.path());
      disk_store store(at(dir, row.full ? 1000 : 1'000'000), {}, disk);
      if (row.part) {
        auto p = store.create(test_meta(1, 900));
        REQUIRE(p);
        CHECK_FALSE(p->append(test_body(1, 800)));
        p->suspend();
      } else {
        REQUIRE_FALSE(put(store, 1, test_body(1, 800)));
      }
      disk.shows_late = row.late;
      disk.fails = row.fails;
      disk.hang();
      std::optional<result<part>> first;  // keeps what it has reserved
      std::error_code second;
      std::thread a([&] { first.emplace(store.create(test_meta(2, 400))); });
      disk.wait_until_it_hangs();
      std::thread b([&] { second = put(store, 3, test_body(3, wanted)); });
      disk.wait_for_questions(2);
      disk.let_go();
      a.join();
      b.join();
      CHECK(static_cast<bool>(*first) != row.fails);
      // Where the deletion failed, the second one tries it again for itself.
      bool const room = wanted == 400 || row.fails;
      CHECK(second == (room ? std::error_code{} : make_error_code(error::not_enough_space)));
      CHECK(store.contains(test::test_key(3)) == room);
    }
  }
}

TEST_CASE("who finds no room while a part is being dropped waits for that") {
  temporary_directory const dir;
  small_disk disk(dir.path());
  disk_store store(at(dir, 1000), {}, disk);
  auto p = store.create(test_meta(1, 900));
  REQUIRE(p);
  CHECK_FALSE(p->append(test_body(1, 800)));
  disk.hang();
  std::thread a([&] { p->drop(); });
  disk.wait_until_it_hangs();
  std::error_code ec;
  std::thread b([&] { ec = put(store, 2, test_body(2, 400)); });
  disk.wait_for_questions(1);
  disk.let_go();
  a.join();
  b.join();
  CHECK_FALSE(ec);
  CHECK(store.contains(test::test_key(2)));
}

}  // namespace mgw::cache
