#pragma once

#include <mgw/body/source.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/http/body_decoder.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/limits.hpp>
#include <mgw/http/response_parser.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/upstream/pool.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>

namespace mgw::upstream {

struct exchange_options {
  std::chrono::milliseconds send_silence{60'000};       ///< the upstream takes no byte of the request for so long
  std::chrono::milliseconds response_timeout{60'000};   ///< from the request's last byte to the response head
  std::chrono::milliseconds body_silence{120'000};      ///< between two pieces of a body; never a minimum rate
  http::limits limits;
  exchange_options() = default;
};

/// One request and its response on a leased connection: the client's side of HTTP/1.1.
///
/// Send the head and body with `send`, then `read_head`, then `read_body` to the end. The connection goes back to its
/// pool by itself when the response has ended cleanly, and is closed otherwise. A model of BodySource.
/// Thread rule: the lease's thread. Not movable: a deadline watches it.
class client_exchange {
public:
  client_exchange(net::deadline_queue& deadlines, lease connection, exchange_options options = {})
      : lease_(std::move(connection)), options_(options), limit_(deadlines, lease_.stream()), block_(lent_buffer::take()) {}
  client_exchange(client_exchange const&) = delete;
  client_exchange& operator=(client_exchange const&) = delete;

  bool reused() const noexcept { return lease_.reused(); }
  /// Bytes of a response were seen: the request must not be repeated on another connection without thought.
  bool response_begun() const noexcept { return seen_ != 0; }

  /// Writes all of `bytes`. On an error the response may still be readable (an early refusal).
  asio::awaitable<std::error_code> send(std::string_view bytes);

  /// Reads the final response head; interim ones (1xx) are skipped, 101 is final.
  asio::awaitable<std::error_code> read_head(std::string_view method);
  /// Precondition: `read_head` succeeded. Views stay valid until the first `read_body`... and beyond: the head's bytes
  /// keep their place as long as the exchange lives.
  http::response_head const& head() const noexcept { return head_; }
  http::framing framing() const noexcept { return decoder_.what(); }

  asio::awaitable<body::chunk> read_body();
  /// True if `read_body` would give bytes without waiting: lets a caller gather pieces before it acts on them.
  bool ready();

  /// True if a final response is there already, or the connection's end: whoever is still sending should stop and read.
  /// Interim ones (1xx) are no reason to. Never waits.
  /// Precondition: `read_head` was not called yet.
  bool answered_early();

  /// What was sent is not a whole request: the connection must not be used again.
  void request_cut() noexcept { request_whole_ = false; }
  /// Ends whatever is under way with an error.
  void cancel() noexcept {
    request_whole_ = false;
    if (lease_.held()) lease_.stream().cancel();
  }

private:
  asio::awaitable<std::error_code> fill();  // at least one more byte behind end_
  void end_cleanly();

  lease lease_;
  exchange_options options_;
  net::deadline limit_;
  lent_buffer block_;
  std::size_t begin_ = 0;       // unread bytes: [begin_, end_)
  std::size_t end_ = 0;
  std::uint64_t seen_ = 0;
  http::response_head head_;
  http::body_decoder decoder_;
  lent_buffer body_block_;      // body bytes, where the head leaves too little room
  bool in_body_block_ = false;
  bool request_whole_ = true;
};

inline asio::awaitable<std::error_code> client_exchange::send(std::string_view bytes) {
  while (!bytes.empty()) {
    asio::const_buffer const one(bytes.data(), bytes.size());
    const_buffers const out(&one, 1);
    limit_.arm(options_.send_silence);
    io_result const r = co_await lease_.stream().write_some(out);
    limit_.disarm();
    bytes.remove_prefix(r.n);
    if (r.ec) {
      request_whole_ = false;
      co_return limit_.expired() ? make_error_code(error::response_timeout) : r.ec;
    }
  }
  co_return std::error_code{};
}

inline bool client_exchange::answered_early() {
  constexpr std::size_t status_at = 9, enough = 12;  // "HTTP/1.1 401"
  if (end_ < enough) {
    io_result const r = lease_.stream().try_read(asio::buffer(block_.data() + end_, lent_buffer::capacity - end_));
    end_ += r.n;
    seen_ += r.n;
    if (r.n == 0 && r.ec != asio::error::would_block) return true;
  }
  return end_ >= enough && block_.data()[status_at] != '1';
}

inline asio::awaitable<std::error_code> client_exchange::fill() {
  char* const base = in_body_block_ ? body_block_.data() : block_.data();
  asio::mutable_buffer const room(base + end_, lent_buffer::capacity - end_);
  io_result const r = co_await lease_.stream().read_some(room);
  end_ += r.n;
  seen_ += r.n;
  co_return r.n != 0 ? std::error_code{} : r.ec;
}

inline asio::awaitable<std::error_code> client_exchange::read_head(std::string_view method) {
  http::response_parser parser(options_.limits);
  limit_.arm(options_.response_timeout);
  for (int interim = 0; interim < 16;) {
    std::string_view const have(block_.data() + begin_, end_ - begin_);
    auto const size = parser.parse(have, head_);
    if (!size) co_return size.error();
    if (*size == 0) {
      if (end_ == lent_buffer::capacity) {
        if (begin_ == 0) co_return make_error_code(http::parse_error::head_too_large);
        std::memmove(block_.data(), block_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
        parser.reset();
      }
      std::error_code const ec = co_await fill();
      if (ec) {
        if (limit_.expired()) co_return make_error_code(error::response_timeout);
        if (ec == asio::error::eof) co_return make_error_code(seen_ == 0 ? error::closed_before_head : error::truncated_head);
        co_return ec;
      }
      continue;
    }
    begin_ += *size;
    if (head_.status < 200 && head_.status != 101) {
      ++interim;
      parser.reset();
      continue;
    }
    auto const f = http::response_framing(head_, method);
    if (!f) co_return f.error();
    decoder_ = http::body_decoder(*f, options_.limits);
    limit_.disarm();
    if (f->kind == http::body_kind::none || decoder_.done()) end_cleanly();
    co_return std::error_code{};
  }
  co_return make_error_code(error::too_many_interim_responses);
}

inline asio::awaitable<body::chunk> client_exchange::read_body() {
  body::chunk out;
  if (decoder_.done()) {
    out.end = true;
    co_return out;
  }
  for (;;) {
    char* const base = in_body_block_ ? body_block_.data() : block_.data();
    std::string_view const have(base + begin_, end_ - begin_);
    auto const step = decoder_.next(have);
    if (!step) {
      out.ec = step.error();
      co_return out;
    }
    begin_ += step->consumed;
    out.bytes = step->body;
    out.end = step->done;
    if (out.end) end_cleanly();
    if (out.end || !out.bytes.empty()) co_return out;
    if (step->consumed != 0) continue;
    // More is needed. Undecoded rest (a torn chunk header) moves to the front; the head keeps its place in its block.
    if (!in_body_block_) {
      body_block_ = lent_buffer::take();
      std::memcpy(body_block_.data(), have.data(), have.size());
      in_body_block_ = true;
    } else {
      std::memmove(base, have.data(), have.size());
    }
    begin_ = 0;
    end_ = have.size();
    limit_.arm(options_.body_silence);
    std::error_code const ec = co_await fill();
    limit_.disarm();
    if (ec == asio::error::eof) {
      out.ec = decoder_.finish();
      out.end = !out.ec;
      co_return out;
    }
    if (ec) {
      out.ec = limit_.expired() ? make_error_code(error::body_timeout) : ec;
      co_return out;
    }
  }
}

inline bool client_exchange::ready() {
  if (decoder_.done() || begin_ != end_) return true;
  if (!in_body_block_) {
    body_block_ = lent_buffer::take();
    in_body_block_ = true;
  }
  begin_ = end_ = 0;
  io_result const r = lease_.stream().try_read(asio::buffer(body_block_.data(), lent_buffer::capacity));
  end_ = r.n;
  seen_ += r.n;
  return r.n != 0;
}

inline void client_exchange::end_cleanly() {
  if (begin_ == end_ && request_whole_ && head_.status != 101 && http::keeps_alive(head_, decoder_.what())) lease_.done();
}

}  // namespace mgw::upstream
