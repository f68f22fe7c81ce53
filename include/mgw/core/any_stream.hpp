#pragma once

#include <mgw/core/concepts.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace mgw {

/// Owns a Stream of any type and is one itself: what stands above the transport is ordinary code, compiled once.
///
/// Precondition of every operation: not moved from. Forwards to the stream without a coroutine frame of its own.
/// Thread rule: that of the stream inside.
class any_stream {
  struct base {
    virtual ~base() = default;
    virtual asio::awaitable<io_result> read_some(asio::mutable_buffer into) = 0;
    virtual asio::awaitable<io_result> write_some(const_buffers from) = 0;
    virtual asio::awaitable<bool> readable() = 0;
    virtual io_result try_read(asio::mutable_buffer into) = 0;
    virtual io_result try_write(const_buffers from) = 0;
    virtual asio::awaitable<std::error_code> shutdown() = 0;
    virtual void cancel() noexcept = 0;
    virtual void interrupt() noexcept = 0;
    virtual void look_again(look how) noexcept = 0;
    virtual void reset() noexcept = 0;
    virtual std::optional<std::int64_t> acknowledged() noexcept = 0;
    virtual std::size_t held() const noexcept = 0;
    virtual bool can_call_back() noexcept = 0;
    virtual void when_readable(wake_up w) = 0;
    virtual bool sends_files() const noexcept = 0;
    virtual asio::awaitable<io_result> send_file(int fd, std::uint64_t offset, std::size_t n, const_buffers before) = 0;
  };
  static asio::awaitable<io_result> refuse() { co_return io_result{std::make_error_code(std::errc::io_error), 0}; }
  template <Stream S>
  struct box final : base {
    S s;
    explicit box(S stream) : s(std::move(stream)) {}
    asio::awaitable<io_result> read_some(asio::mutable_buffer into) override { return s.read_some(into); }
    asio::awaitable<io_result> write_some(const_buffers from) override { return s.write_some(from); }
    asio::awaitable<bool> readable() override { return s.readable(); }
    io_result try_read(asio::mutable_buffer into) override { return s.try_read(into); }
    io_result try_write(const_buffers from) override { return s.try_write(from); }
    asio::awaitable<std::error_code> shutdown() override { return s.shutdown(); }
    void cancel() noexcept override { s.cancel(); }
    void interrupt() noexcept override { s.interrupt(); }
    void look_again(look how) noexcept override { mgw::look_again(s, how); }
    void reset() noexcept override { s.reset(); }
    std::optional<std::int64_t> acknowledged() noexcept override { return acknowledged_by(s); }
    std::size_t held() const noexcept override { return held_by(s); }
    bool can_call_back() noexcept override {
      if constexpr (CallsBack<S>)
        return s.can_call_back();
      else
        return false;
    }
    void when_readable(wake_up w) override {
      if constexpr (CallsBack<S>) s.when_readable(std::move(w));
    }
    bool sends_files() const noexcept override { return FileSender<S>; }
    asio::awaitable<io_result> send_file(int fd, std::uint64_t offset, std::size_t n, const_buffers before) override {
      if constexpr (FileSender<S>)
        return s.send_file(fd, offset, n, before);
      else
        return refuse();
    }
  };
  std::unique_ptr<base> p_;

public:
  any_stream() = default;
  template <class S>
    requires(!std::same_as<S, any_stream> && Stream<S>)
  explicit any_stream(S s) : p_(std::make_unique<box<S>>(std::move(s))) {}

  explicit operator bool() const noexcept { return p_ != nullptr; }

  asio::awaitable<io_result> read_some(asio::mutable_buffer into) { return p_->read_some(into); }
  asio::awaitable<io_result> write_some(const_buffers from) { return p_->write_some(from); }
  asio::awaitable<bool> readable() { return p_->readable(); }
  io_result try_read(asio::mutable_buffer into) { return p_->try_read(into); }
  io_result try_write(const_buffers from) { return p_->try_write(from); }
  asio::awaitable<std::error_code> shutdown() { return p_->shutdown(); }
  void cancel() noexcept { p_->cancel(); }
  void interrupt() noexcept { p_->interrupt(); }
  void look_again(look how) noexcept { p_->look_again(how); }
  void reset() noexcept { p_->reset(); }
  std::optional<std::int64_t> acknowledged() noexcept { return p_->acknowledged(); }
  std::size_t held() const noexcept { return p_->held(); }
  bool can_call_back() noexcept { return p_->can_call_back(); }
  /// Precondition: `can_call_back()`.
  void when_readable(wake_up w) { p_->when_readable(std::move(w)); }
  /// Whether `send_file` is more than io_error.
  bool sends_files() const noexcept { return p_->sends_files(); }
  asio::awaitable<io_result> send_file(int fd, std::uint64_t offset, std::size_t n, const_buffers before) {
    return p_->send_file(fd, offset, n, before);
  }
};
static_assert(Stream<any_stream>);

}  // namespace mgw
