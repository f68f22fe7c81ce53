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

namespace mgw::cache::disk_room_test {
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

  bool shows_late = false;  ///< what is deleted is not free at once
  bool fails = false;       ///< the deletion that takes long fails
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
    for (int i = 0; i < 4; ++i) {
      std::size_t const wanted = i % 2 == 0 ? 400 : 700;
      bool const waits = row.late || i < 2;  // it has found no room before the deletion is over
      CAPTURE(row.what);
      CAPTURE(wanted);
      CAPTURE(waits);
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
      std::optional<result<part>> first, second;  // they keep what they have reserved
      std::thread a([&] { first.emplace(store.create(test_meta(2, 400))); });
      disk.wait_until_it_hangs();
      std::thread b([&] { second.emplace(store.create(test_meta(3, wanted))); });
      disk.wait_for_questions(2);
      if (waits) CHECK_FALSE(put(store, 4, "x"));  // one at a time finds room: its own turn comes after that
      disk.let_go();
      a.join();
      b.join();
      auto const one = first->error(), other = second->error();
      if (row.fails) {  // the second one deletes it for itself
        CHECK(one == std::errc::io_error);
        CHECK_FALSE(other);
      } else if (wanted == 400) {
        CHECK_FALSE(one);
        CHECK_FALSE(other);
      } else {  // there is room for one of them
        CHECK(static_cast<bool>(one) != static_cast<bool>(other));
        CHECK((one ? one : other) == make_error_code(error::not_enough_space));
      }
    }
  }
}

}  // namespace mgw::cache::disk_room_test
