#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/core/result.hpp>

#include <sys/uio.h>

#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::test {

/// The real disk, some of whose operations hang until they are released; nothing of a file is ever found in memory, so
/// every read is an operation, too. Any thread. Outlives what uses it.
class hanging_files final : public cache::file_ops {
public:
  /// From now on the n-th operation (0: the next) hangs, or every one from the n-th on.
  void hang_at(std::size_t n, bool and_all_after = false) {
    std::lock_guard const hold(mutex_);
    seen_ = 0;
    at_ = n;
    all_after_ = and_all_after;
    armed_ = true;
  }
  /// Lets all go on that hang, and hangs no more.
  void release() {
    {
      std::lock_guard const hold(mutex_);
      armed_ = false;
      ++releases_;
    }
    changed_.notify_all();
  }
  /// Operations since hang_at, and how many of them hang now.
  std::size_t seen() const {
    std::lock_guard const hold(mutex_);
    return seen_;
  }
  std::size_t hanging() const {
    std::lock_guard const hold(mutex_);
    return hanging_;
  }

  result<std::shared_ptr<cache::file const>> open(std::string const& path, int flags) override {
    pass();
    auto opened = file_ops::open(path, flags);
    if (!opened) return opened;
    return std::shared_ptr<cache::file const>(std::make_shared<body const>(*this, *std::move(opened)));
  }
  result<std::size_t> pread(int fd, std::span<char> into, std::uint64_t offset) override {
    return pass(), file_ops::pread(fd, into, offset);
  }
  result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
    return pass(), file_ops::pwrite(fd, bytes, offset);
  }
  result<std::uint64_t> size(int fd) override { return pass(), file_ops::size(fd); }
  std::error_code truncate(int fd, std::uint64_t size) override { return pass(), file_ops::truncate(fd, size); }
  std::error_code fdatasync(int fd) override { return pass(), file_ops::fdatasync(fd); }
  std::error_code fsync_directory(std::string const& path) override { return pass(), file_ops::fsync_directory(path); }
  std::error_code rename(std::string const& from, std::string const& to) override {
    return pass(), file_ops::rename(from, to);
  }
  std::error_code unlink(std::string const& path) override { return pass(), file_ops::unlink(path); }
  result<bool> make_directory(std::string const& path) override { return pass(), file_ops::make_directory(path); }
  std::error_code touch(std::string const& path) override { return pass(), file_ops::touch(path); }
  result<cache::file_system_space> space(std::string const& path) override { return pass(), file_ops::space(path); }

private:
  class body final : public cache::file {
  public:
    body(hanging_files& disk, std::shared_ptr<cache::file const> real)
        : file(::fcntl(real->fd(), F_DUPFD_CLOEXEC, 0)), disk_(disk) {}
    std::uint64_t resident(std::uint64_t, std::uint64_t) const noexcept override { return 0; }
    ssize_t read(std::span<iovec const> into, std::uint64_t offset, int flags) const noexcept override {
      if ((flags & RWF_NOWAIT) != 0) {
        errno = EAGAIN;
        return -1;
      }
      disk_.pass();
      return file::read(into, offset, flags);
    }

  private:
    hanging_files& disk_;
  };

  void pass() {
    std::unique_lock hold(mutex_);
    if (!armed_) return;
    std::size_t const mine = seen_++;
    if (mine != at_ && !(all_after_ && mine > at_)) return;
    ++hanging_;
    std::size_t const before = releases_;
    changed_.wait(hold, [&] { return releases_ != before; });
    --hanging_;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t seen_ = 0, at_ = 0, hanging_ = 0, releases_ = 0;
  bool armed_ = false, all_after_ = false;
};

}  // namespace mgw::test
