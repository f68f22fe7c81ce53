#pragma once

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/core/result.hpp>

#include <support/temporary_directory.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace mgw::cache::test {

using mgw::test::temporary_directory;

/// A store in this directory that leaves no more free than it has to.
inline disk_store::options at(temporary_directory const& dir, std::uint64_t max_size = std::uint64_t{1} << 30) {
  disk_store::options o;
  o.path = dir.path() / "cache";
  o.max_size = max_size;
  o.min_free = 1;
  return o;
}

/// The real file system until the n-th operation: that one fails, or it and all later ones (a crash, a dead disk).
/// A failing write leaves half of its bytes. Successful writes are short.
class faulty_ops final : public file_ops {
public:
  static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

  std::size_t fail_at = never;
  std::errc with = std::errc::io_error;
  bool from_then_on = false;
  bool lose_unflushed = false;  ///< the first failure is a power cut: what was not flushed becomes zeros
  std::size_t seen = 0;
  std::size_t touches = 0;
  std::int64_t time = 1'700'000'000;
  file_system_space room{std::uint64_t{1} << 40, std::uint64_t{1} << 39};

  result<std::shared_ptr<file const>> open(std::string const& path, int flags) override {
    if (fails()) return failure();
    return file_ops::open(path, flags);
  }
  result<std::size_t> pread(int fd, std::span<char> into, std::uint64_t offset) override {
    if (fails()) return failure();
    return file_ops::pread(fd, into, offset);
  }
  result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
    bool const fail = fails();
    auto const n = file_ops::pwrite(fd, bytes.substr(0, bytes.size() / 2 + (fail ? 0 : 1)), offset);
    if (lose_unflushed && n && *n != 0)
      unflushed_.push_back({std::make_shared<file const>(::dup(fd)), inode(fd), offset, *n});
    if (fail) {
      if (lose_unflushed) cut_power();
      return failure();
    }
    return n;
  }
  result<std::uint64_t> size(int fd) override {
    if (fails()) return failure();
    return file_ops::size(fd);
  }
  std::error_code truncate(int fd, std::uint64_t size) override {
    return fails() ? failure() : file_ops::truncate(fd, size);
  }
  std::error_code fdatasync(int fd) override {
    if (fails()) return failure();
    std::erase_if(unflushed_, [i = inode(fd)](write const& w) { return w.inode == i; });
    return {};  // the disk is real enough without waiting for it
  }
  std::error_code fsync_directory(std::string const&) override { return fails() ? failure() : std::error_code{}; }
  std::error_code rename(std::string const& from, std::string const& to) override {
    return fails() ? failure() : file_ops::rename(from, to);
  }
  std::error_code unlink(std::string const& path) override { return fails() ? failure() : file_ops::unlink(path); }
  result<bool> make_directory(std::string const& path) override {
    if (fails()) return failure();
    return file_ops::make_directory(path);
  }
  result<std::vector<directory_entry>> list(std::string const& path) override {
    if (fails()) return failure();
    return file_ops::list(path);
  }
  std::error_code touch(std::string const& path) override {
    ++touches;
    return fails() ? failure() : file_ops::touch(path);
  }
  result<file_system_space> space(std::string const&) override {
    if (fails()) return failure();
    return room;
  }
  std::error_code lock(int fd) override { return fails() ? failure() : file_ops::lock(fd); }
  std::int64_t now() override { return time; }

private:
  struct write {
    std::shared_ptr<file const> handle;
    ino_t inode = 0;
    std::uint64_t offset = 0;
    std::size_t size = 0;
  };
  static ino_t inode(int fd) {
    struct stat s{};
    ::fstat(fd, &s);
    return s.st_ino;
  }
  std::error_code failure() const { return std::make_error_code(with); }
  bool fails() {
    bool const now = seen == fail_at;
    bool const fail = now || (from_then_on && seen > fail_at);
    ++seen;
    if (now && lose_unflushed) cut_power();
    return fail;
  }
  void cut_power() {
    for (auto const& w : unflushed_) (void)file_ops::pwrite(w.handle->fd(), std::string(w.size, '\0'), w.offset);
    unflushed_.clear();
  }
  std::vector<write> unflushed_;
};

inline key test_key(unsigned char n) {
  key::bytes_type b{};
  b.fill(n);
  return key(b);
}

/// Bytes that differ from place to place and from `seed` to `seed`.
inline std::string test_body(unsigned seed, std::size_t size) {
  std::string out(size, '\0');
  std::uint32_t x = seed * 2654435761u + 1;
  for (char& c : out) {
    x = x * 1664525u + 1013904223u;
    c = static_cast<char>(static_cast<unsigned char>(x >> 24));
  }
  return out;
}

inline meta test_meta(unsigned char n, std::uint64_t length) {
  meta m;
  m.key = test_key(n);
  m.length = length;
  m.etag = "\"" + std::to_string(n) + "\"";
  m.generation = 7;
  return m;
}

inline std::string contents(file const& f) {
  auto const size = posix_file_ops().size(f.fd());
  if (!size) return {};
  std::string out(static_cast<std::size_t>(*size), '\0');
  auto const n = posix_file_ops().read_full(f.fd(), out, 0);
  return n && *n == out.size() ? out : std::string();
}

inline std::string contents(std::filesystem::path const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void overwrite(std::filesystem::path const& path, std::string_view bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
}

/// Stores an object; the error of the first step that failed.
inline std::error_code put(disk_store& store, unsigned char n, std::string_view bytes) {
  auto p = store.create(test_meta(n, bytes.size()));
  if (!p) return p.error();
  if (auto const ec = p->append(bytes)) return ec;
  return p->commit(bytes.size());
}

/// The bytes of an object; empty if there is none.
inline std::string take(disk_store& store, unsigned char n) {
  auto const s = store.open(test_key(n));
  return s ? contents(*s->body) : std::string();
}

/// Regular files below `path`, how many.
inline std::size_t count_files(std::filesystem::path const& path) {
  std::size_t n = 0;
  for (auto const& e : std::filesystem::recursive_directory_iterator(path)) n += e.is_regular_file() ? 1 : 0;
  return n;
}

}  // namespace mgw::cache::test
