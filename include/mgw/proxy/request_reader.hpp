#pragma once

#include <mgw/body/source.hpp>
#include <mgw/core/any_stream.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/http/body_decoder.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/target.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/proxy/options.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// The input side of a server's connection: request heads and their bodies, one request after another.
///
/// Between requests it holds no buffer; a busy one holds a block for the head and, if the body needs more room, one for
/// the body. That bounds what a pipelining client can make us keep. A model of BodySource.
/// Every wait is bounded by `server_options`; an expired one cancels the stream. Source: RFC 9112 2 to 7.
/// Thread rule: the stream's. Precondition: stream and options outlive it.
class request_reader {
public:
  enum class outcome { request, closed, refused, parked };

  request_reader(any_stream& stream, net::deadline_queue& deadlines, server_options const& options)
      : stream_(stream), options_(options), limit_(deadlines, *this), parser_(options.limits) {}

  /// Waits for the next request, `patience` for its first byte. `closed`: there is none, and nobody to answer.
  /// `refused`: see `error`; what follows on the connection cannot be understood.
  /// `parked`: none has come for `park_after`, and who allowed that waits for the stream to call; the next call goes on.
  /// Precondition: the body before was read to its end.
  asio::awaitable<outcome> next(std::chrono::milliseconds patience);
  /// Views live until the next call of `next`.
  http::request_head const& head() const noexcept { return head_; }
  http::request_target const& target() const noexcept { return target_; }
  http::framing framing() const noexcept { return decoder_.what(); }
  http::parse_error error() const noexcept { return error_; }

  /// The next piece of the body. An interrupted read (operation_aborted) may be repeated.
  asio::awaitable<body::chunk> read_body();
  bool body_done() const noexcept { return decoder_.done(); }
  /// Bytes of the body, or of what follows, are here already.
  bool has_unread() const noexcept { return !unread().empty(); }
  /// The client waits for a 100 (Continue) before it sends its body.
  bool awaits_continue() const noexcept { return continue_due_; }
  void continued() noexcept { continue_due_ = false; }

  /// When the request's first byte was there.
  std::chrono::steady_clock::time_point begun() const noexcept { return begun_; }
  /// Bytes that came for this request.
  std::uint64_t bytes() const noexcept { return bytes_; }
  /// The body broke off or was garbled: where the next request would begin is unknown.
  bool broken() const noexcept { return broken_; }
  /// It waits for the first byte of a request.
  bool idle() const noexcept { return idle_; }
  /// `next` may end with `parked`, where the stream can call.
  void allow_parking() noexcept { may_park_ = true; }
  bool timed_out() const noexcept { return limit_.expired(); }
  /// True once the peer has closed or reset; looks without waiting (what it finds is kept).
  bool gone();
  /// Takes what was read beyond the request: the first bytes of a tunnel. Valid until the reader is used again.
  std::string_view take_unread() noexcept;
  /// Reads and forgets, at most `max` bytes within `patience`: so that a peer still sending is not answered with a RST.
  asio::awaitable<void> skip(std::size_t max);
  void arm(std::chrono::milliseconds limit) {
    idle_until_ = {};
    limit_.arm(limit);
  }

  // For its deadline.
  void cancel() noexcept { stream_.cancel(); }
  std::optional<std::chrono::steady_clock::time_point> put_off(std::chrono::steady_clock::time_point now) noexcept;

private:
  struct window {  // of the block in use
    char* base;
    std::size_t& begin;
    std::size_t& end;
  };
  window in_use() noexcept {
    if (body_block_) return {body_block_.data(), body_begin_, body_end_};
    return {block_.data(), begin_, end_};
  }
  std::string_view unread() const noexcept {
    if (body_block_) return {body_block_.data() + body_begin_, body_end_ - body_begin_};
    if (!block_) return {};
    return {block_.data() + begin_, end_ - begin_};
  }
  void forget();
  io_result try_first();
  void begin_waiting(std::chrono::milliseconds patience);
  void settle_body_block() noexcept;
  http::parse_error judge();
  asio::awaitable<std::error_code> fill();

  any_stream& stream_;
  server_options const& options_;
  net::deadline limit_;
  // The head's bytes stay at the front of `block_`; its unread bytes are [begin_, end_).
  lent_buffer block_, body_block_;
  std::size_t begin_ = 0, end_ = 0;
  std::size_t body_begin_ = 0, body_end_ = 0;
  http::request_parser parser_;
  http::request_head head_;
  http::request_target target_{};
  http::body_decoder decoder_;
  http::parse_error error_{};
  std::uint64_t bytes_ = 0;
  std::chrono::steady_clock::time_point begun_, idle_until_;  // idle_until_: of a wait that can be parked
  bool continue_due_ = false, broken_ = false, idle_ = false, may_park_ = false, parked_ = false;
};

inline asio::awaitable<std::error_code> request_reader::fill() {
  window const w = in_use();
  io_result const r = co_await stream_.read_some(asio::buffer(w.base + w.end, lent_buffer::capacity - w.end));
  w.end += r.n;
  bytes_ += r.n;
  co_return r.n != 0 ? std::error_code{} : r.ec;
}

/// What followed the body becomes the first of the next request.
inline void request_reader::settle_body_block() noexcept {
  if (!body_block_) return;
  std::size_t const rest = body_end_ - body_begin_;
  std::memcpy(block_.data(), body_block_.data() + body_begin_, rest);
  begin_ = 0;
  end_ = rest;
  body_begin_ = body_end_ = 0;
  body_block_.reset();
}

inline void request_reader::forget() {
  settle_body_block();
  head_.fields.clear();
  head_.method = head_.target = {};  // no view into a block that was given back
  target_ = {};
  parser_.reset();
  decoder_ = http::body_decoder();
  error_ = {};
  continue_due_ = false;
  bytes_ = end_ - begin_;
}

/// Looks for the first bytes of a request; a block is held only if there are some.
inline io_result request_reader::try_first() {
  if (!block_) block_ = lent_buffer::take();
  io_result const r = stream_.try_read(asio::buffer(block_.data(), lent_buffer::capacity));
  end_ = r.n;
  if (r.n == 0) block_.reset();
  return r;
}

/// One that was parked has waited before, and goes on with that.
inline void request_reader::begin_waiting(std::chrono::milliseconds patience) {
  idle_ = false;
  if (std::exchange(parked_, false)) {
    if (idle_until_ != std::chrono::steady_clock::time_point{})
      limit_.arm_at(std::min(idle_until_, std::chrono::steady_clock::now() + options_.park_after));
    return;
  }
  arm(patience);
  if (!may_park_ || patience <= options_.park_after) return;
  auto const now = std::chrono::steady_clock::now();
  idle_until_ = now + std::min<std::chrono::milliseconds>(patience, std::chrono::hours(24 * 365));
  limit_.arm_at(now + options_.park_after);
}

/// Whoever has waited for a while is parked, and waits on for the rest of its time.
inline std::optional<std::chrono::steady_clock::time_point> request_reader::put_off(
    std::chrono::steady_clock::time_point now) noexcept {
  if (!idle_ || now >= idle_until_) return std::nullopt;
  if (parked_) return idle_until_;
  if (!stream_.can_call_back()) return std::min(idle_until_, now + options_.park_after);
  parked_ = true;
  stream_.interrupt();
  return idle_until_;
}

inline asio::awaitable<request_reader::outcome> request_reader::next(std::chrono::milliseconds patience) {
  forget();
  if (begin_ == end_) {
    begin_ = 0;
    begin_waiting(patience);
    io_result r = try_first();
    while (r.ec == asio::error::would_block) {
      idle_ = true;
      bool const ready = co_await stream_.readable();
      if (parked_) co_return outcome::parked;
      idle_ = false;
      r.ec = asio::error::operation_aborted;
      if (ready) r = try_first();
    }
    if (r.n == 0) co_return outcome::closed;
    bytes_ = end_;
  } else if (begin_ != 0) {  // a pipelined request moves to the front
    std::memmove(block_.data(), block_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  begun_ = std::chrono::steady_clock::now();
  limit_.arm(options_.head_timeout);
  for (;;) {
    auto const size = parser_.parse(unread(), head_);
    if (!size) {
      error_ = static_cast<http::parse_error>(size.error().value());
      co_return outcome::refused;
    }
    begin_ += *size;
    if (*size != 0) break;
    if (end_ == lent_buffer::capacity) {
      error_ = http::parse_error::head_too_large;
      co_return outcome::refused;
    }
    std::error_code const ec = co_await fill();
    if (ec) co_return outcome::closed;
  }
  limit_.disarm();
  error_ = judge();
  co_return error_ == http::parse_error{} ? outcome::request : outcome::refused;
}

/// What the head means; parse_error{} if it is one to answer.
inline http::parse_error request_reader::judge() {
  auto const framing = http::request_framing(head_);
  if (!framing) return static_cast<http::parse_error>(framing.error().value());
  auto const target = http::parse_target(head_.target, head_.method);
  if (!target) return http::parse_error::bad_target;
  target_ = *target;
  decoder_ = http::body_decoder(*framing, options_.limits);
  continue_due_ = !decoder_.done() && http::expects_continue(head_);
  return {};
}

inline asio::awaitable<body::chunk> request_reader::read_body() {
  body::chunk out;
  while (!decoder_.done()) {
    window const w = in_use();
    std::string_view const have = unread();
    auto const step = decoder_.next(have);
    if (!step) {
      out.ec = step.error();
      broken_ = true;
      co_return out;
    }
    w.begin += step->consumed;
    out.bytes = step->body;
    if (step->done || !out.bytes.empty()) break;
    if (step->consumed != 0) continue;
    if (!body_block_) {
      body_block_ = lent_buffer::take();
      std::memcpy(body_block_.data(), have.data(), have.size());
      begin_ = end_;  // those bytes live in the body's block now
    } else {
      std::memmove(w.base, have.data(), have.size());
    }
    body_begin_ = 0;
    body_end_ = have.size();
    limit_.arm(options_.body_silence);
    out.ec = co_await fill();
    limit_.disarm();
    if (out.ec) {
      broken_ = out.ec != asio::error::operation_aborted || limit_.expired();
      co_return out;
    }
  }
  out.end = decoder_.done();
  co_return out;
}

inline bool request_reader::gone() {
  if (!block_) return false;
  window const w = in_use();
  if (w.end == lent_buffer::capacity) return false;
  stream_.look_again(look::lately);
  io_result const r = stream_.try_read(asio::buffer(w.base + w.end, lent_buffer::capacity - w.end));
  w.end += r.n;
  if (r.n != 0 || r.ec == asio::error::would_block) return false;
  broken_ = true;
  return true;
}

inline std::string_view request_reader::take_unread() noexcept {
  std::string_view const all = unread();
  window const w = in_use();
  w.begin = w.end;
  return all;
}

inline asio::awaitable<void> request_reader::skip(std::size_t max) {
  if (!block_) block_ = lent_buffer::take();
  for (std::size_t n = 0; n < max;) {
    io_result const r = co_await stream_.read_some(asio::buffer(block_.data(), lent_buffer::capacity));
    if (r.n == 0) break;
    n += r.n;
  }
}

}  // namespace mgw::proxy
