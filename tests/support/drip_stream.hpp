#pragma once

#include <mgw/core/concepts.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>

#include <algorithm>
#include <cstddef>
#include <system_error>
#include <utility>

namespace mgw::test {

/// Hands out the bytes of another stream in pieces of at most `piece`, however many are there: what is above meets
/// every cut that a network can make. Writes pass as they are. A model of Stream if `Next` is one.
template <Stream Next>
class drip_stream {
public:
  explicit drip_stream(Next next, std::size_t piece = 1) : next_(std::move(next)), piece_(piece) {}

  asio::awaitable<io_result> read_some(asio::mutable_buffer into) { return next_.read_some(cut(into)); }
  asio::awaitable<io_result> write_some(const_buffers from) { return next_.write_some(from); }
  asio::awaitable<bool> readable() { return next_.readable(); }
  io_result try_read(asio::mutable_buffer into) { return next_.try_read(cut(into)); }
  io_result try_write(const_buffers from) { return next_.try_write(from); }
  asio::awaitable<std::error_code> shutdown() { return next_.shutdown(); }
  void cancel() noexcept { next_.cancel(); }
  void interrupt() noexcept { next_.interrupt(); }
  void reset() noexcept { next_.reset(); }

private:
  asio::mutable_buffer cut(asio::mutable_buffer into) const noexcept {
    return asio::mutable_buffer(into.data(), std::min(into.size(), piece_));
  }
  Next next_;
  std::size_t piece_;
};

}  // namespace mgw::test
