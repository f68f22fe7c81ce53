#include <mgw/cache/file.hpp>
#include <mgw/cache/read_at.hpp>

#include "disk_support.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <system_error>

namespace mgw::cache::file_test {

using test::temporary_directory;

namespace {

/// On a file system that cannot tell what takes no disk to read.
class untelling_file final : public file {
public:
  using file::file;
  ssize_t read(std::span<iovec const> into, std::uint64_t offset, int flags) const noexcept override {
    if ((flags & RWF_NOWAIT) == 0) {
      ++waiting;
      return file::read(into, offset, flags);
    }
    ++asked;
    errno = EOPNOTSUPP;
    return -1;
  }
  mutable std::size_t asked = 0, waiting = 0;
};

}  // namespace

TEST_CASE("a file closes its descriptor with its last owner") {
  temporary_directory const dir;
  auto f = posix_file_ops().open(dir.path() / "f", O_RDWR | O_CREAT);
  REQUIRE(f);
  int const fd = (*f)->fd();
  CHECK(::fcntl(fd, F_GETFD) == FD_CLOEXEC);
  std::shared_ptr<file const> owner = *std::move(f);
  owner.reset();
  CHECK(::fcntl(fd, F_GETFD) == -1);
}
TEST_CASE("a file written is read back, as far as it goes") {
  temporary_directory const dir;
  auto& ops = posix_file_ops();
  std::string const path = dir.path() / "f";
  CHECK_FALSE(ops.write_file(path, "hello world"));
  auto const text = ops.read_file(path, 11);
  REQUIRE(text);
  CHECK(*text == "hello world");
  CHECK(ops.read_file(path, 10).error() == std::errc::file_too_large);
  CHECK_FALSE(ops.write_file(path, "bye"));
  CHECK(*ops.read_file(path, 10) == "bye");
  CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::all) ==
        (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));

  auto const f = ops.open(path, O_RDONLY);
  REQUIRE(f);
  std::string buffer(8, '.');
  auto const n = ops.read_full((*f)->fd(), buffer, 1);
  REQUIRE(n);
  CHECK(*n == 2);
  CHECK(buffer.substr(0, 2) == "ye");
}
TEST_CASE("errors of the system come back as they are") {
  temporary_directory const dir;
  auto& ops = posix_file_ops();
  std::string const none = dir.path() / "none", link = dir.path() / "link";
  CHECK(ops.open(none, O_RDONLY).error() == std::errc::no_such_file_or_directory);
  CHECK(ops.unlink(none) == std::errc::no_such_file_or_directory);
  CHECK(ops.rename(none, link) == std::errc::no_such_file_or_directory);
  CHECK(ops.touch(none) == std::errc::no_such_file_or_directory);
  CHECK(ops.list(none).error() == std::errc::no_such_file_or_directory);
  CHECK(ops.space(none).error() == std::errc::no_such_file_or_directory);
  CHECK(ops.fsync_directory(none) == std::errc::no_such_file_or_directory);
  CHECK(ops.make_directory(none + "/below").error() == std::errc::no_such_file_or_directory);
  CHECK(ops.fdatasync(-1) == std::errc::bad_file_descriptor);
  std::filesystem::create_symlink("elsewhere", link);
  CHECK(ops.open(link, O_RDWR | O_CREAT).error() == std::errc::too_many_symbolic_link_levels);
  std::uint64_t const far = std::numeric_limits<std::uint64_t>::max();
  CHECK(ops.pread(0, {}, far).error() == std::errc::value_too_large);
  CHECK(ops.pwrite(0, "x", far).error() == std::errc::value_too_large);
  CHECK(ops.truncate(0, far) == std::errc::value_too_large);
}
TEST_CASE("a directory is made once and listed with what is in it") {
  temporary_directory const dir;
  auto& ops = posix_file_ops();
  std::string const path = dir.path() / "d";
  auto made = ops.make_directory(path);
  REQUIRE(made);
  CHECK(*made);
  made = ops.make_directory(path);
  REQUIRE(made);
  CHECK_FALSE(*made);
  CHECK_FALSE(ops.write_file(path + "/f", "abc"));
  CHECK(ops.make_directory(path + "/f").error() == std::errc::not_a_directory);
  std::filesystem::create_symlink("f", path + "/link");
  std::filesystem::create_directory(path + "/sub");
  auto entries = ops.list(path);
  REQUIRE(entries);
  REQUIRE(entries->size() == 3);
  std::sort(entries->begin(), entries->end(), [](auto const& a, auto const& b) { return a.name < b.name; });
  auto const& e = *entries;
  CHECK(e[0].name == "f");
  CHECK(e[0].is_regular);
  CHECK(e[0].size == 3);
  CHECK(e[0].modified_ns > 0);
  CHECK_FALSE(e[1].is_regular);
  CHECK_FALSE(e[1].is_directory);
  CHECK(e[2].is_directory);
}
TEST_CASE("write_all goes on after short writes and stops at the first error") {
  temporary_directory const dir;
  std::string const text = test::test_body(1, 1000);
  std::size_t operations = 1;
  for (std::size_t n = 0; n <= operations; ++n) {
    CAPTURE(n);
    test::faulty_ops ops;
    auto const f = posix_file_ops().open(dir.path() / "f", O_RDWR | O_CREAT | O_TRUNC);
    REQUIRE(f);
    ops.fail_at = n;
    ops.with = std::errc::no_space_on_device;
    auto const ec = ops.write_all((*f)->fd(), text, 0);
    operations = std::max(operations, ops.seen);
    CHECK(bool(ec) == (n < ops.seen));
    if (ec)
      CHECK(ec == std::errc::no_space_on_device);
    else
      CHECK(test::contents(**f) == text);
  }
  CHECK(operations > 5);
}
TEST_CASE("one process holds the lock") {
  temporary_directory const dir;
  auto& ops = posix_file_ops();
  auto a = ops.open(dir.path() / "lock", O_RDWR | O_CREAT);
  auto const b = ops.open(dir.path() / "lock", O_RDWR);
  REQUIRE(a);
  REQUIRE(b);
  CHECK_FALSE(ops.lock((*a)->fd()));
  CHECK(ops.lock((*b)->fd()) == std::errc::operation_would_block);
  a->reset();
  CHECK_FALSE(ops.lock((*b)->fd()));
}

TEST_CASE("what was just written is in memory, a hole is not, nor what is beyond the end") {
  temporary_directory const dir;
  auto& ops = posix_file_ops();
  auto const f = ops.open(dir.path() / "f", O_RDWR | O_CREAT);
  REQUIRE(f);
  constexpr std::size_t size = 1 << 20;
  CHECK_FALSE(ops.write_all((*f)->fd(), std::string(size, 'x'), 0));
  CHECK((*f)->resident(0, size) == size);
  CHECK((*f)->resident(5000, 1) == 1);
  CHECK((*f)->resident(4097, size - 4097) == size - 4097);
  CHECK_FALSE(ops.truncate((*f)->fd(), 2 * size));
  CHECK((*f)->resident(size, size) == 0);
  CHECK((*f)->resident(size - 1, 4097) == 1);
  CHECK((*f)->resident(1000, 2 * size) == size - 1000);
  CHECK((*f)->resident(2 * size, 4096) == 0);
  CHECK((*f)->resident(5 * size + 1, 4096) == 0);
  CHECK_FALSE(ops.write_all((*f)->fd(), std::string(4 * size, 'x'), 0));
  CHECK((*f)->resident(0, 4 * size) == 2 * size);  // more is not looked at
  CHECK((*f)->resident(4095, 2 * size) == 2 * size);
  CHECK(file(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)).resident(0, 1) == 0);
}

TEST_CASE("what was in memory less than a second ago is taken to be there still, and no other bytes") {
  constexpr std::uint64_t block = resident_blocks::block;
  struct told : file {
    using file::file;
    std::uint64_t resident(std::uint64_t at, std::uint64_t n) const noexcept override {
      ++asked;
      return std::min(n, std::max(at, until) - at);
    }
    mutable int asked = 0;
    std::uint64_t until = 3 * block;
  } f(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto const begun = file::clock::now();
  auto const after = [&](int ms) { return begun + std::chrono::milliseconds(ms); };
  CHECK(f.lately_resident(100, 100, begun));
  CHECK(f.lately_resident(200, 5000, after(500)));
  CHECK(f.asked == 1);
  CHECK(f.lately_resident(block - 1, 2, after(500)));  // of two blocks
  CHECK(f.lately_resident(2 * block + 7, 100, after(500)));
  CHECK(f.asked == 3);
  f.until = 0;
  CHECK(f.lately_resident(0, block, after(999)));
  CHECK(f.lately_resident(0, 3 * block, after(999)));
  CHECK(f.asked == 3);
  CHECK_FALSE(f.lately_resident(3 * block - 1, 2, after(999)));
  CHECK_FALSE(f.lately_resident(200, 50, after(1000)));  // as old as the first look, not as the last
  CHECK(f.lately_resident(block, 50, after(1000)));

  // Of a block that is there in part, each piece is looked at that is not in front.
  f.until = block / 2;
  CHECK(f.lately_resident(0, 100, after(2000)));
  f.asked = 0;
  CHECK(f.lately_resident(block / 2 - 100, 100, after(2000)));
  CHECK(f.asked == 0);
  CHECK_FALSE(f.lately_resident(block / 2 - 50, 100, after(2000)));
  CHECK(f.asked == 1);
  f.until = block;
  CHECK(f.lately_resident(block / 2 - 50, 100, after(2000)));
  CHECK(f.asked == 2);
}

TEST_CASE("who reads waits for nobody who writes, where that is known") {
  file const in_memory(::memfd_create("f", MFD_CLOEXEC));
  CHECK(in_memory.read_beside_writes());
  CHECK(in_memory.read_beside_writes());
  file const other(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  CHECK_FALSE(other.read_beside_writes());
}

TEST_CASE("a file system that cannot tell what takes no disk to read is asked once") {
  auto const f = posix_file_ops().open("/proc/self/status", O_RDONLY);  // one that never can
  REQUIRE(f);
  CHECK((*f)->tells_resident());
  std::array<char, 8> bytes{};
  iovec const into{bytes.data(), bytes.size()};
  CHECK(read_resident(**f, std::span(&into, 1), 0) == 0);
  CHECK_FALSE((*f)->tells_resident());
  CHECK(read_blocking(**f, std::span(&into, 1), 0) == bytes.size());
  CHECK(std::string(bytes.data(), 5) == "Name:");
}
TEST_CASE("a file whose read without waiting is not supported is asked so once: all of it is read by waiting") {
  temporary_directory const dir;
  std::string const path = dir.path() / "f", text = "what is read in pieces comes whole";
  CHECK_FALSE(posix_file_ops().write_file(path, text));
  untelling_file const f(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(f.fd() >= 0);
  std::string got;
  std::array<char, 5> piece{};
  iovec const into{piece.data(), piece.size()};
  while (got.size() < text.size()) {  // as a reader does: at once if it can be, else where it may wait
    std::size_t n = read_resident(f, std::span(&into, 1), got.size());
    CHECK(n == 0);
    n = read_blocking(f, std::span(&into, 1), got.size());
    REQUIRE(n != 0);
    got.append(piece.data(), n);
  }
  CHECK(got == text);
  CHECK(f.asked == 1);
  CHECK(f.waiting == 7);
}

}  // namespace mgw::cache::file_test
