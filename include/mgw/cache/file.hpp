#pragma once

#include <mgw/cache/resident_blocks.hpp>
#include <mgw/core/progress.hpp>
#include <mgw/core/result.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// An open file; closed by the last owner. Shared as `std::shared_ptr<file const>`: any number of threads may
/// `pread` the one descriptor.
class file {
public:
  using clock = std::chrono::steady_clock;

  /// Takes over `fd`. Precondition: it is open.
  explicit file(int fd) noexcept : fd_(fd) {}
  file(file const&) = delete;
  file& operator=(file const&) = delete;
  virtual ~file() { ::close(fd_); }
  int fd() const noexcept { return fd_; }
  /// preadv2(2), for the functions of read_at.hpp; a faulty disk in tests.
  virtual ssize_t read(std::span<iovec const> into, std::uint64_t offset, int flags) const noexcept {
    return ::preadv2(fd_, into.data(), static_cast<int>(into.size()), static_cast<off_t>(offset), flags);
  }

  /// How many bytes are in memory, from `offset` on, of `n` and of 2 MiB, as far as can be told (mincore(2), which tells it
  /// of one's own files, and says yes of others). Where that cannot be asked, for what a sandbox allows, it is tried once.
  virtual std::uint64_t resident(std::uint64_t offset, std::uint64_t n) const noexcept;
  /// Whether all of these bytes are, or were less than a second before `now`.
  bool lately_resident(std::uint64_t offset, std::uint64_t n, clock::time_point now = clock::now()) const noexcept {
    return seen_.all(offset, n, now, [this](std::uint64_t at, std::uint64_t most) { return resident(at, most); });
  }

  /// Whether who reads it never waits for who writes it at the same time. XFS and network file systems have a lock for that,
  /// which a writer holds while it waits for the disk; only what is known to have none counts.
  virtual bool read_beside_writes() const noexcept;

  /// Whether its file system can tell what takes no disk to read (read_resident): remembered once it said no.
  bool tells_resident() const noexcept { return tells_resident_.load(std::memory_order_relaxed); }
  void never_tells_resident() const noexcept { tells_resident_.store(false, std::memory_order_relaxed); }

private:
  int fd_;
  mutable std::atomic<bool> tells_resident_{true}, maps_{true};
  mutable std::atomic<signed char> beside_{-1};  // not known yet
  mutable resident_blocks seen_;
};

inline std::uint64_t file::resident(std::uint64_t offset, std::uint64_t n) const noexcept {
  static std::uint64_t const page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::uint64_t const from = offset / page * page, end = offset + std::min(n, resident_blocks::block);
  std::array<unsigned char, resident_blocks::block / 4096 + 1> pages;  // none is smaller
  auto const size = static_cast<std::size_t>(end - from);
  std::size_t const count = (size + page - 1) / page;
  if (!maps_.load(std::memory_order_relaxed)) return 0;
  // Nothing of it is touched: the mapping says which pages are meant.
  void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd_, static_cast<off_t>(from));
  bool const told = mapped != MAP_FAILED && ::mincore(mapped, size, pages.data()) == 0;
  if (mapped != MAP_FAILED) ::munmap(mapped, size);
  if (!told) maps_.store(false, std::memory_order_relaxed);
  if (!told) return 0;
  auto const known = pages.begin() + static_cast<std::ptrdiff_t>(count);
  auto const first_out = std::find_if(pages.begin(), known, [](unsigned char p) { return (p & 1) == 0; });
  std::uint64_t const to = from + static_cast<std::uint64_t>(first_out - pages.begin()) * page;
  return std::min(end, std::max(to, offset)) - offset;
}

inline bool file::read_beside_writes() const noexcept {
  signed char known = beside_.load(std::memory_order_relaxed);
  if (known >= 0) return known != 0;
  struct statfs of {};
  bool const told = ::fstatfs(fd_, &of) == 0;
  auto const type = static_cast<unsigned long>(of.f_type);
  known = told && (type == EXT4_SUPER_MAGIC || type == BTRFS_SUPER_MAGIC || type == TMPFS_MAGIC) ? 1 : 0;
  beside_.store(known, std::memory_order_relaxed);
  return known != 0;
}

/// One name in a directory.
struct directory_entry {
  std::string name;
  bool is_directory = false;
  bool is_regular = false;  ///< a symbolic link is neither
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;  ///< since 1970
};

/// The size of a file system, in bytes.
struct file_system_space {
  std::uint64_t total = 0;
  std::uint64_t available = 0;  ///< to this user
};

/// Everything the disk store asks of the operating system: POSIX here, a faulty disk in tests.
/// Thread rule: any operation from any thread. All of them may block.
/// What is not virtual makes many calls, and notes progress between them.
class file_ops {
public:
  virtual ~file_ops() = default;

  /// Never follows a symbolic link, never inherited by children; files are made with mode 0600.
  virtual result<std::shared_ptr<file const>> open(std::string const& path, int flags);
  /// May read or write less than asked, like the system calls.
  virtual result<std::size_t> pread(int fd, std::span<char> into, std::uint64_t offset);
  virtual result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset);
  virtual result<std::uint64_t> size(int fd);
  /// How many names the file has; 0: it was deleted.
  virtual result<std::uint64_t> names(int fd);
  virtual std::error_code truncate(int fd, std::uint64_t size);
  virtual std::error_code fdatasync(int fd);
  /// Lets go of what the system keeps of the file in memory, so that what is read next comes from the disk. A hint.
  virtual void forget_cached(int fd);
  /// Makes the names in a directory durable.
  virtual std::error_code fsync_directory(std::string const& path);
  virtual std::error_code rename(std::string const& from, std::string const& to);
  virtual std::error_code unlink(std::string const& path);
  /// True if it was made, false if it was there. Mode 0700.
  virtual result<bool> make_directory(std::string const& path);
  virtual result<std::vector<directory_entry>> list(std::string const& path);
  /// Sets the time of modification to now.
  virtual std::error_code touch(std::string const& path);
  virtual result<file_system_space> space(std::string const& path);
  /// Takes an exclusive lock without waiting; it lasts until the file is closed.
  virtual std::error_code lock(int fd);
  /// Whether this open file is what has this name now.
  virtual result<bool> is_named(int fd, std::string const& path);
  /// Seconds since 1970.
  virtual std::int64_t now();

  /// Writes all of `bytes`, going on after a short write.
  std::error_code write_all(int fd, std::string_view bytes, std::uint64_t offset);
  /// Fills `into` as far as the file goes; less only at its end.
  result<std::size_t> read_full(int fd, std::span<char> into, std::uint64_t offset);
  /// The whole file. Errors: std::errc::file_too_large beyond `limit` bytes.
  result<std::string> read_file(std::string const& path, std::uint64_t limit);
  /// Makes a file with these contents and flushes it. What was there under this name is overwritten.
  std::error_code write_file(std::string const& path, std::string_view bytes);

protected:
  static std::error_code last_error() noexcept { return {errno, std::generic_category()}; }
};

/// The operating system itself.
inline file_ops& posix_file_ops() {
  static file_ops ops;
  return ops;
}

namespace file_detail {

/// A size or an offset the system can express.
inline bool fits_off_t(std::uint64_t n) noexcept {
  return n <= static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
}

template <class F>
auto retry_interrupted(F f) {
  for (;;) {
    auto const r = f();
    if (r != -1 || errno != EINTR) return r;
  }
}

}  // namespace file_detail

inline result<std::shared_ptr<file const>> file_ops::open(std::string const& path, int flags) {
  int const fd =
      file_detail::retry_interrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600); });
  if (fd == -1) return last_error();
  // Reading is to write nothing, on a network thread least of all. (Not with open(2): who may not ask for it would have
  // made the file, and then fail.)
  (void)::fcntl(fd, F_SETFL, flags | O_NOATIME);
  std::unique_ptr<file const> owner;
  try {
    owner = std::make_unique<file const>(fd);
  } catch (...) {
    ::close(fd);
    throw;
  }
  return std::shared_ptr<file const>(std::move(owner));
}

inline result<std::size_t> file_ops::pread(int fd, std::span<char> into, std::uint64_t offset) {
  if (!file_detail::fits_off_t(offset)) return std::make_error_code(std::errc::value_too_large);
  auto const n =
      file_detail::retry_interrupted([&] { return ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset)); });
  if (n == -1) return last_error();
  return static_cast<std::size_t>(n);
}

inline result<std::size_t> file_ops::pwrite(int fd, std::string_view bytes, std::uint64_t offset) {
  if (!file_detail::fits_off_t(offset)) return std::make_error_code(std::errc::value_too_large);
  auto const n = file_detail::retry_interrupted(
      [&] { return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
  if (n == -1) return last_error();
  return static_cast<std::size_t>(n);
}

inline result<std::uint64_t> file_ops::size(int fd) {
  struct stat s{};
  if (::fstat(fd, &s) == -1) return last_error();
  return static_cast<std::uint64_t>(s.st_size);
}

inline result<std::uint64_t> file_ops::names(int fd) {
  struct stat s{};
  if (::fstat(fd, &s) == -1) return last_error();
  return static_cast<std::uint64_t>(s.st_nlink);
}

inline std::error_code file_ops::truncate(int fd, std::uint64_t size) {
  if (!file_detail::fits_off_t(size)) return std::make_error_code(std::errc::value_too_large);
  auto const r = file_detail::retry_interrupted([&] { return ::ftruncate(fd, static_cast<off_t>(size)); });
  return r == -1 ? last_error() : std::error_code{};
}

inline std::error_code file_ops::fdatasync(int fd) {
  // Not repeated when interrupted: after a failure the kernel may have dropped what it could not write.
  return ::fdatasync(fd) == -1 ? last_error() : std::error_code{};
}

inline std::error_code file_ops::fsync_directory(std::string const& path) {
  int const fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd == -1) return last_error();
  std::error_code const ec = ::fsync(fd) == -1 ? last_error() : std::error_code{};
  ::close(fd);
  return ec;
}

inline std::error_code file_ops::rename(std::string const& from, std::string const& to) {
  return ::rename(from.c_str(), to.c_str()) == -1 ? last_error() : std::error_code{};
}

inline std::error_code file_ops::unlink(std::string const& path) {
  return ::unlink(path.c_str()) == -1 ? last_error() : std::error_code{};
}

inline result<bool> file_ops::make_directory(std::string const& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return true;
  int const why = errno;
  struct stat s{};
  if (why != ENOENT && ::stat(path.c_str(), &s) == 0) {  // "/" answers EISDIR, a read-only file system EROFS
    if (S_ISDIR(s.st_mode)) return false;
    return std::make_error_code(std::errc::not_a_directory);
  }
  return std::error_code(why, std::generic_category());
}

inline result<std::vector<directory_entry>> file_ops::list(std::string const& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> const dir(::opendir(path.c_str()), [](DIR* d) { return ::closedir(d); });
  if (!dir) return last_error();
  std::vector<directory_entry> out;
  for (;;) {
    errno = 0;
    auto const* const d = ::readdir(dir.get());
    if (d == nullptr) {
      if (errno != 0) return last_error();
      return out;
    }
    directory_entry e;
    e.name = d->d_name;
    if (e.name == "." || e.name == "..") continue;
    struct stat s{};
    if (::fstatat(::dirfd(dir.get()), d->d_name, &s, AT_SYMLINK_NOFOLLOW) == -1) {
      if (errno == ENOENT) continue;
      return last_error();
    }
    e.is_directory = S_ISDIR(s.st_mode);
    e.is_regular = S_ISREG(s.st_mode);
    e.size = static_cast<std::uint64_t>(s.st_size);
    e.modified_ns = static_cast<std::int64_t>(s.st_mtim.tv_sec) * 1'000'000'000 + s.st_mtim.tv_nsec;
    out.push_back(std::move(e));
  }
}

inline std::error_code file_ops::touch(std::string const& path) {
  return ::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == -1 ? last_error() : std::error_code{};
}

inline result<file_system_space> file_ops::space(std::string const& path) {
  struct statvfs s{};
  if (::statvfs(path.c_str(), &s) == -1) return last_error();
  file_system_space out;
  out.total = std::uint64_t{s.f_blocks} * s.f_frsize;
  out.available = std::uint64_t{s.f_bavail} * s.f_frsize;
  return out;
}

inline std::error_code file_ops::lock(int fd) {
  return ::flock(fd, LOCK_EX | LOCK_NB) == -1 ? last_error() : std::error_code{};
}

inline result<bool> file_ops::is_named(int fd, std::string const& path) {
  struct stat open{}, named{};
  if (::fstat(fd, &open) == -1 || ::lstat(path.c_str(), &named) == -1) return last_error();
  return open.st_dev == named.st_dev && open.st_ino == named.st_ino;
}

inline void file_ops::forget_cached(int fd) {
  (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

inline std::int64_t file_ops::now() {
  return static_cast<std::int64_t>(std::time(nullptr));
}

inline std::error_code file_ops::write_all(int fd, std::string_view bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    auto const n = pwrite(fd, bytes, offset);
    if (!n) return n.error();
    if (*n == 0 || *n > bytes.size()) return std::make_error_code(std::errc::io_error);
    bytes.remove_prefix(*n);
    offset += *n;
    note_progress();
  }
  return {};
}

inline result<std::size_t> file_ops::read_full(int fd, std::span<char> into, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < into.size()) {
    auto const n = pread(fd, into.subspan(done), offset + done);
    if (!n) return n.error();
    if (*n == 0) break;
    done += *n;
    note_progress();
  }
  return done;
}

inline result<std::string> file_ops::read_file(std::string const& path, std::uint64_t limit) {
  auto const f = open(path, O_RDONLY);
  if (!f) return f.error();
  auto const length = size((*f)->fd());
  if (!length) return length.error();
  if (*length > limit) return std::make_error_code(std::errc::file_too_large);
  std::string out(static_cast<std::size_t>(*length), '\0');
  auto const n = read_full((*f)->fd(), out, 0);
  if (!n) return n.error();
  out.resize(*n);
  return out;
}

inline std::error_code file_ops::write_file(std::string const& path, std::string_view bytes) {
  auto const f = open(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!f) return f.error();
  if (auto const ec = write_all((*f)->fd(), bytes, 0)) return ec;
  return fdatasync((*f)->fd());
}

}  // namespace mgw::cache
