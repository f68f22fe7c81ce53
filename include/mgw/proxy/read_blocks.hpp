#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/cache/read_at.hpp>
#include <mgw/core/concepts.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/proxy/disk_threads.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace mgw::proxy {

/// What one reader has read of an object and not sent yet: up to four lent blocks.
///
/// Thread rule: the reader's worker. While the pool reads, the blocks are the pool's: it may write into them after the
/// reader has given up a disk that hangs, and is gone.
class read_blocks {
public:
  static constexpr std::size_t most = 4;
  static constexpr std::size_t block_bytes = 16 * 1024;

  /// Reads at `at`, at most `limit` bytes, if they are in memory; else 0. Precondition: bytes up to `at` + `limit` are
  /// stored.
  std::size_t load_resident(cache::file const& body, std::uint64_t at, std::uint64_t limit) {
    std::size_t const n = take(limit);
    return size_ = with_pieces(lent_, n, [&](auto into) { return cache::read_resident(body, into, at); });
  }
  /// The same on the pool, which waits for the disk. 0: they cannot be read, or not now.
  asio::awaitable<std::size_t> load(disk_threads& disk, std::shared_ptr<cache::file const> body, std::uint64_t at,
                                    std::uint64_t limit) {
    std::size_t const n = take(limit);
    size_ = 0;
    auto read = [body = std::move(body), at, n, lent = std::move(lent_)]() mutable {
      answer a;
      a.size = with_pieces(lent, n, [&](auto into) { return cache::read_blocking(*body, into, at); });
      a.lent = std::move(lent);
      return a;
    };
    auto got = co_await disk.ask(disk.io, std::move(read));
    if (!got) co_return 0;
    lent_ = std::move(got->lent);
    co_return size_ = got->size;
  }
  /// What was loaded.
  const_buffers buffers() {
    std::size_t used = 0;
    for (std::size_t rest = size_; rest != 0; ++used) {
      std::size_t const part = std::min(rest, block_bytes);
      out_[used] = asio::const_buffer(lent_[used].data(), part);
      rest -= part;
    }
    return const_buffers(out_.data(), used);
  }
  /// Gives the blocks back.
  void reset() noexcept {
    for (auto& b : lent_) b.reset();
    size_ = 0;
  }

private:
  using block_list = std::array<lent_buffer, most>;
  struct answer {
    std::size_t size = 0;
    block_list lent;
    answer() = default;
  };
  /// Has blocks for at most `limit` bytes; for how many.
  std::size_t take(std::uint64_t limit) {
    auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(limit, most * block_bytes));
    for (std::size_t i = 0; i * block_bytes < n; ++i)
      if (!lent_[i]) lent_[i] = lent_buffer::take();
    return n;
  }
  /// `f` of the first `n` bytes of the blocks.
  template <class F>
  static std::size_t with_pieces(block_list& lent, std::size_t n, F f) {
    std::array<iovec, most> pieces{};
    std::size_t used = 0;
    for (; n != 0; ++used) {
      pieces[used].iov_base = lent[used].data();
      pieces[used].iov_len = std::min(n, block_bytes);
      n -= pieces[used].iov_len;
    }
    return f(std::span<iovec const>(pieces.data(), used));
  }

  block_list lent_;
  std::size_t size_ = 0;
  std::array<asio::const_buffer, most> out_;
};

}  // namespace mgw::proxy
