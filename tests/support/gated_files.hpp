#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/core/progress.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>
#include <sys/uio.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>

namespace mgw::test {

/// The real disk, on which the store's own reads (of what it checks) wait at a gate, as if they were very slow: they
/// note progress meanwhile. What readers of bodies read never waits there, but is never found in memory, either. Any
/// thread.
class gated_files final : public cache::file_ops {
public:
  void close() {
    std::lock_guard const hold(mutex_);
    closed_ = true;
  }
  void open_gate() {
    {
      std::lock_guard const hold(mutex_);
      closed_ = false;
    }
    changed_.notify_all();
  }
  /// From now on the store's own reads fail, or do not.
  void fail(bool on) {
    std::lock_guard const hold(mutex_);
    fails_ = on;
  }
  /// How many reads wait at the gate.
  std::size_t waiting() const {
    std::lock_guard const hold(mutex_);
    return waiting_;
  }
  /// How many times somebody began to read a body from the disk.
  std::size_t readings() const {
    std::lock_guard const hold(mutex_);
    return readings_;
  }

  result<std::shared_ptr<cache::file const>> open(std::string const& path, int flags) override {
    auto opened = file_ops::open(path, flags);
    if (!opened) return opened;
    return std::shared_ptr<cache::file const>(std::make_shared<cold_body const>(*opened));
  }
  result<std::size_t> pread(int fd, std::span<char> into, std::uint64_t offset) override {
    {
      std::unique_lock hold(mutex_);
      ++waiting_;
      while (closed_) {
        changed_.wait_for(hold, std::chrono::milliseconds(1));
        note_progress();
      }
      --waiting_;
      if (fails_) return std::make_error_code(std::errc::io_error);
    }
    return file_ops::pread(fd, into, offset);
  }
  void forget_cached(int fd) override {
    {
      std::lock_guard const hold(mutex_);
      ++readings_;
    }
    file_ops::forget_cached(fd);
  }

private:
  struct cold_body final : cache::file {
    explicit cold_body(std::shared_ptr<cache::file const> const& real)
        : file(::fcntl(real->fd(), F_DUPFD_CLOEXEC, 0)) {}
    std::uint64_t resident(std::uint64_t, std::uint64_t) const noexcept override { return 0; }
    ssize_t read(std::span<iovec const> into, std::uint64_t offset, int flags) const noexcept override {
      if ((flags & RWF_NOWAIT) == 0) return file::read(into, offset, flags);
      errno = EAGAIN;
      return -1;
    }
  };

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t waiting_ = 0, readings_ = 0;
  bool closed_ = false, fails_ = false;
};

}  // namespace mgw::test
