#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>
#include <sys/uio.h>

#include <cerrno>
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

/// The real disk, some of whose operations fail, without effect; nothing of a file is ever found in memory, so every
/// read is an operation, too. Any thread. Outlives what uses it.
class failing_files final : public cache::file_ops {
public:
  /// From now on the n-th operation (0: the next) fails with this errno, or every one from the n-th on.
  void fail_at(std::size_t n, int error, bool and_all_after) {
    std::lock_guard const hold(mutex_);
    seen_ = 0;
    at_ = n;
    error_ = error;
    all_after_ = and_all_after;
  }
  void heal() { fail_at(0, 0, false); }
  /// Operations since fail_at.
  std::size_t seen() const {
    std::lock_guard const hold(mutex_);
    return seen_;
  }

  result<std::shared_ptr<cache::file const>> open(std::string const& path, int flags) override {
    if (auto const ec = pass()) return ec;
    auto opened = file_ops::open(path, flags);
    if (!opened) return opened;
    return std::shared_ptr<cache::file const>(std::make_shared<body const>(*this, *std::move(opened)));
  }
  result<std::size_t> pread(int fd, std::span<char> into, std::uint64_t offset) override {
    if (auto const ec = pass()) return ec;
    return file_ops::pread(fd, into, offset);
  }
  result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
    if (auto const ec = pass()) return ec;
    return file_ops::pwrite(fd, bytes, offset);
  }
  result<std::uint64_t> size(int fd) override {
    if (auto const ec = pass()) return ec;
    return file_ops::size(fd);
  }
  result<std::uint64_t> names(int fd) override {
    if (auto const ec = pass()) return ec;
    return file_ops::names(fd);
  }
  std::error_code truncate(int fd, std::uint64_t size) override {
    if (auto const ec = pass()) return ec;
    return file_ops::truncate(fd, size);
  }
  std::error_code fdatasync(int fd) override {
    if (auto const ec = pass()) return ec;
    return file_ops::fdatasync(fd);
  }
  std::error_code fsync_directory(std::string const& path) override {
    if (auto const ec = pass()) return ec;
    return file_ops::fsync_directory(path);
  }
  std::error_code rename(std::string const& from, std::string const& to) override {
    if (auto const ec = pass()) return ec;
    return file_ops::rename(from, to);
  }
  std::error_code unlink(std::string const& path) override {
    if (auto const ec = pass()) return ec;
    return file_ops::unlink(path);
  }
  result<bool> make_directory(std::string const& path) override {
    if (auto const ec = pass()) return ec;
    return file_ops::make_directory(path);
  }
  result<std::vector<cache::directory_entry>> list(std::string const& path) override {
    if (auto const ec = pass()) return ec;
    return file_ops::list(path);
  }
  std::error_code touch(std::string const& path) override {
    if (auto const ec = pass()) return ec;
    return file_ops::touch(path);
  }
  result<cache::file_system_space> space(std::string const& path) override {
    if (auto const ec = pass()) return ec;
    return file_ops::space(path);
  }
  result<bool> is_named(int fd, std::string const& path) override {
    if (auto const ec = pass()) return ec;
    return file_ops::is_named(fd, path);
  }

private:
  class body final : public cache::file {
  public:
    body(failing_files& disk, std::shared_ptr<cache::file const> real)
        : file(::fcntl(real->fd(), F_DUPFD_CLOEXEC, 0)), disk_(disk) {}
    std::uint64_t resident(std::uint64_t, std::uint64_t) const noexcept override { return 0; }
    ssize_t read(std::span<iovec const> into, std::uint64_t offset, int flags) const noexcept override {
      auto const ec = (flags & RWF_NOWAIT) != 0 ? std::error_code(EAGAIN, std::generic_category()) : disk_.pass();
      if (!ec) return file::read(into, offset, flags);
      errno = ec.value();
      return -1;
    }

  private:
    failing_files& disk_;
  };

  std::error_code pass() {
    std::lock_guard const hold(mutex_);
    std::size_t const mine = seen_++;
    bool const fails = error_ != 0 && (mine == at_ || (all_after_ && mine > at_));
    return fails ? std::error_code(error_, std::generic_category()) : std::error_code();
  }

  mutable std::mutex mutex_;
  std::size_t seen_ = 0, at_ = 0;
  int error_ = 0;
  bool all_after_ = false;
};

}  // namespace mgw::test
