#pragma once

#include <mgw/cache/file.hpp>

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

namespace mgw::cache {

/// Reads at `offset` into several buffers, if that takes no disk: 0 if it would have to wait (or at the end).
/// Always 0 on a file system that cannot tell (tmpfs on some kernels). Source: preadv2(2), RWF_NOWAIT. May be called on
/// a network thread.
inline std::size_t read_resident(file const& f, std::span<iovec const> into, std::uint64_t offset) noexcept {
  if (!f.tells_resident()) return 0;
  ssize_t const n = f.read(into, offset, RWF_NOWAIT);
  if (n < 0 && errno == EOPNOTSUPP) f.never_tells_resident();
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

/// The same, waiting for the disk: 0 at the end or on an error. Blocks.
inline std::size_t read_blocking(file const& f, std::span<iovec const> into, std::uint64_t offset) noexcept {
  for (;;) {
    ssize_t const n = f.read(into, offset, 0);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return 0;
  }
}

/// Fills `into` whole or fails. Blocks. Errors: what pread says; std::errc::io_error at an early end.
inline std::error_code read_exactly(file const& f, std::span<char> into, std::uint64_t offset) noexcept {
  while (!into.empty()) {
    iovec const one{into.data(), into.size()};
    std::size_t const n = read_blocking(f, std::span(&one, 1), offset);
    if (n == 0) return std::make_error_code(std::errc::io_error);
    into = into.subspan(n);
    offset += n;
  }
  return {};
}

}  // namespace mgw::cache
