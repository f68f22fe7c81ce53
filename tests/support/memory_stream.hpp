#pragma once

#include <mgw/core/concepts.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <support/fail_at.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::test {

struct memory_options {
  std::size_t max_read = SIZE_MAX;   ///< bytes that one read delivers at most
  std::size_t max_write = SIZE_MAX;  ///< bytes that one write takes at most
  std::size_t capacity = 64 * 1024;  ///< bytes under way in one direction before a writer must wait
  fail_at* fail = nullptr;           ///< counts the reads, writes and shutdowns of both ends
};

/// One end of a connection in memory; behaves as a TCP socket does.
///
/// An operation that `fail` fails breaks the connection: this end fails with that error from then on, and the other
/// one with connection_reset. An end that is destroyed has closed: the other reads eof, and writes broken_pipe.
/// Thread rule: both ends on one thread.
class memory_stream {
public:
  using options = memory_options;

  /// `auto [a, b] = memory_stream::pair(executor);`
  static std::pair<memory_stream, memory_stream> pair(asio::any_io_executor ex, memory_options with = {}) {
    auto a = std::make_shared<end>(ex, with);
    auto b = std::make_shared<end>(ex, with);
    a->peer = b;
    b->peer = a;
    return {memory_stream(std::move(a)), memory_stream(std::move(b))};
  }

  memory_stream(memory_stream&&) noexcept = default;
  memory_stream& operator=(memory_stream&& o) noexcept {
    if (this != &o) {
      close();
      p_ = std::move(o.p_);
    }
    return *this;
  }
  ~memory_stream() { close(); }

  asio::awaitable<io_result> read_some(asio::mutable_buffer into) {
    auto const e = p_;
    io_result r = try_read(into);
    std::uint64_t const before = e->interruptions;
    while (r.ec == asio::error::would_block) {
      std::error_code ignored;
      co_await e->readable.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      r = e->read(into);
      if (r.ec == asio::error::would_block && e->interruptions != before) r.ec = asio::error::operation_aborted;
    }
    co_return r;
  }
  asio::awaitable<bool> readable() {
    auto const e = p_;
    std::uint64_t const before = e->interruptions;
    while (e->nothing_to_read() && e->interruptions == before) {
      std::error_code ignored;
      co_await e->readable.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return !e->cancelled && e->interruptions == before;
  }
  asio::awaitable<io_result> write_some(const_buffers from) {
    auto const e = p_;
    io_result r = try_write(from);
    std::uint64_t const before = e->interruptions;
    while (r.ec == asio::error::would_block) {
      std::error_code ignored;
      co_await e->writable.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      r = e->write(from);
      if (r.ec == asio::error::would_block && e->interruptions != before) r.ec = asio::error::operation_aborted;
    }
    co_return r;
  }
  io_result try_read(asio::mutable_buffer into) {
    ++p_->reads;
    if (auto const ec = p_->next_failure()) return {ec, 0};
    return p_->read(into);
  }
  io_result try_write(const_buffers from) {
    ++p_->writes;
    if (auto const ec = p_->next_failure()) return {ec, 0};
    return p_->write(from);
  }
  asio::awaitable<std::error_code> shutdown() {
    std::error_code ec = p_->next_failure();
    if (!ec) ec = p_->state();
    if (!ec) finish();
    co_return ec;
  }
  void cancel() noexcept {
    p_->cancelled = true;
    p_->wake();
  }

  void interrupt() noexcept { p_->interrupt(); }
  void reset() noexcept {
    p_->break_off(asio::error::operation_aborted, asio::error::connection_reset);
    cancel();
  }

  /// Sends FIN now.
  void finish() noexcept {
    if (auto const peer = p_->peer.lock()) {
      peer->eof = true;
      peer->wake();
    }
  }
  /// Breaks the connection now: both ends fail with `ec`.
  void break_with(std::error_code ec) noexcept { p_->break_off(ec, ec); }
  /// Read and write attempts of this end, try_ ones included.
  std::size_t reads() const noexcept { return p_->reads; }
  std::size_t writes() const noexcept { return p_->writes; }
  /// What has arrived here and has not been read.
  std::string_view unread() const noexcept { return std::string_view(p_->incoming).substr(p_->consumed); }
  /// Changes this end's options.
  memory_options& settings() noexcept { return p_->with; }

private:
  struct end {
    asio::steady_timer readable, writable;  // never expire; cancelled to wake who waits
    memory_options with;
    std::weak_ptr<end> peer;
    std::string incoming;
    std::size_t consumed = 0;  // of incoming
    std::error_code broken;
    bool eof = false;  // the peer has sent FIN
    bool cancelled = false;
    std::size_t reads = 0, writes = 0;
    std::uint64_t interruptions = 0;

    end(asio::any_io_executor ex, memory_options o)
        : readable(ex, asio::steady_timer::time_point::max()),
          writable(ex, asio::steady_timer::time_point::max()),
          with(o) {}

    std::error_code state() const noexcept {
      return cancelled ? std::error_code(asio::error::operation_aborted) : broken;
    }
    void wake() noexcept {
      readable.cancel();
      writable.cancel();
    }
    void interrupt() noexcept {
      ++interruptions;
      wake();
    }
    void break_off(std::error_code here, std::error_code there) noexcept {
      if (!broken) broken = here;
      wake();
      if (auto const p = peer.lock(); p && !p->broken) {
        p->broken = there;
        p->wake();
      }
    }
    std::error_code next_failure() noexcept {
      if (with.fail == nullptr) return {};
      std::error_code const ec = with.fail->next();
      if (ec) break_off(ec, asio::error::connection_reset);
      return ec;
    }
    bool nothing_to_read() const noexcept { return !state() && !eof && consumed == incoming.size(); }
    io_result read(asio::mutable_buffer into) {
      if (auto const ec = state()) return {ec, 0};
      std::size_t const n = std::min({into.size(), with.max_read, incoming.size() - consumed});
      if (n == 0) return {eof ? std::error_code(asio::error::eof) : asio::error::would_block, 0};
      std::copy_n(incoming.data() + consumed, n, static_cast<char*>(into.data()));
      consumed += n;
      if (consumed == incoming.size()) {
        incoming.clear();
        consumed = 0;
      }
      if (auto const p = peer.lock()) p->writable.cancel();
      return {{}, n};
    }
    io_result write(const_buffers from) {
      if (auto const ec = state()) return {ec, 0};
      auto const p = peer.lock();
      if (!p) return {asio::error::broken_pipe, 0};
      std::size_t const under_way = p->incoming.size() - p->consumed;
      std::size_t room = std::min(with.max_write, with.capacity - std::min(with.capacity, under_way));
      if (room == 0 && asio::buffer_size(from) != 0) return {asio::error::would_block, 0};
      std::size_t taken = 0;
      for (asio::const_buffer const& b : from) {
        std::size_t const n = std::min(b.size(), room);
        p->incoming.append(static_cast<char const*>(b.data()), n);
        taken += n;
        room -= n;
      }
      p->readable.cancel();
      return {{}, taken};
    }
  };

  explicit memory_stream(std::shared_ptr<end> e) : p_(std::move(e)) {}
  void close() noexcept {
    if (!p_) return;
    finish();
    if (auto const p = p_->peer.lock()) p->peer.reset();
    p_->peer.reset();
    p_->cancelled = true;
    p_->wake();
  }

  std::shared_ptr<end> p_;
};
static_assert(Stream<memory_stream>);

}  // namespace mgw::test
