#pragma once

#include <mgw/body/source.hpp>
#include <mgw/core/buffers.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/http/body_decoder.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/limits.hpp>
#include <mgw/http/response_parser.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/silence_limit.hpp>
#include <mgw/upstream/pool.hpp>
#include <mgw/upstream/rate_limit.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::upstream {

struct exchange_options {
  std::chrono::milliseconds send_silence{60'000};       ///< nothing of the request gets to the upstream for so long
  std::chrono::milliseconds response_timeout{60'000};   ///< from when it has got there to the response head
  std::chrono::milliseconds body_silence{120'000};      ///< between two pieces of a body; never a minimum rate
  http::limits limits;
  std::shared_ptr<rate_limit> limit;  ///< what passes counts there, both ways; null: nowhere
  bool can_wait = false;  ///< the body waits for the limit; else nothing does, and all that passes is owed
  exchange_options() = default;
};

/// One request and its response on a leased connection: the client's side of HTTP/1.1.
///
/// Send the head and body with `send`, then `read_head`, then `read_body` to the end. The connection goes back to its
/// pool by itself when the response has ended cleanly, and is closed otherwise. A request may still be on its way while
/// its response is read (`request_open`): one sends, another reads. A model of BodySource.
/// Thread rule: the lease's thread. Not movable: deadlines watch it.
class client_exchange {
public:
  client_exchange(net::deadline_queue& deadlines, lease connection, exchange_options options = {})
      : lease_(std::move(connection)), options_(options), deadlines_(deadlines), send_limit_(deadlines, lease_.stream()),
        read_limit_(deadlines, lease_.stream()), block_(lent_buffer::take()), parser_(options_.limits) {
    head_.fields.reserve(16);  // at once, for most heads
    if (options_.limit && options_.can_wait) flow_ = std::make_unique<rate_limit::flow>(*options_.limit);
  }
  client_exchange(client_exchange const&) = delete;
  client_exchange& operator=(client_exchange const&) = delete;

  bool reused() const noexcept { return lease_.reused(); }
  /// The HTTP proxy that is spoken to, in absolute-form; null: none.
  http_proxy const* proxy() const noexcept { return lease_.proxy(); }
  /// Bytes of a response were seen: the request must not be repeated on another connection without thought.
  bool response_begun() const noexcept { return seen_ != 0; }

  /// Writes all of `bytes`. On an error the response may still be readable (an early refusal).
  asio::awaitable<std::error_code> send(std::string_view bytes);
  /// The same for several buffers, which leave together. `bytes` is used up.
  asio::awaitable<std::error_code> send(std::span<asio::const_buffer> bytes);
  /// The same without waiting: takes off `bytes` what went out. The rest is for `send`.
  std::error_code send_now(std::string_view& bytes);
  /// The request goes on while the response is awaited: no response timeout until `request_ended` or `request_cut`.
  void request_open() noexcept { request_ = request_state::open; }
  void request_ended() { end_request(request_state::whole); }
  /// What was sent is not a whole request and will not become one: the connection must not be used again.
  void request_cut() { end_request(request_state::cut); }

  /// Reads the final response head; interim ones (1xx) are skipped, 101 is final.
  asio::awaitable<std::error_code> read_head(std::string_view method);
  /// Reads one response head, interim or final. After an interim one call it again.
  /// Error: too_many_interim_responses beyond 15.
  asio::awaitable<std::error_code> next_head(std::string_view method);
  /// The same for so long at most: then std::errc::timed_out, and it may be called again.
  asio::awaitable<std::error_code> next_head_within(std::string_view method, std::chrono::milliseconds patience);
  bool interim() const noexcept { return head_.status < 200 && head_.status != 101; }
  /// Precondition: a head was read. Its bytes keep their place until the next head is asked for, a final one's as long
  /// as the exchange lives.
  http::response_head const& head() const noexcept { return head_; }
  http::framing framing() const noexcept { return decoder_.what(); }

  /// Time in which it waits for the limit is no silence; what is interrupted is silent until bytes come, however often
  /// it is called again. Error link_paused: the limit's rate is 0.
  asio::awaitable<body::chunk> read_body();
  /// The next piece if it has been received already; else an empty chunk, and `read_body` waits.
  body::chunk received_body();
  /// True if `read_body` would give bytes without waiting: lets a caller gather pieces before it acts on them.
  bool ready() { return !would_wait() && (decoder_.done() || begin_ != end_); }
  /// True if `read_body` would have to wait for bytes.
  bool would_wait();
  /// The limit's rate has fallen so far that a new connection would carry the rest with fewer bytes under way.
  bool narrowed() { return flow_ && flow_->narrowed(); }

  /// Ends whatever is under way with an error.
  void cancel() noexcept {
    request_ = request_state::cut;
    if (flow_) flow_->cancel();
    if (lease_.held()) lease_.stream().cancel();
  }
  /// Ends what is pending now with operation_aborted, without harm to the connection.
  void interrupt() noexcept {
    if (flow_) flow_->interrupt();
    if (lease_.held()) lease_.stream().interrupt();
  }

  // For a tunnel, after a 101: the raw stream and what came behind the head.
  any_stream& stream() noexcept { return lease_.stream(); }
  std::string_view take_unread() noexcept {
    std::string_view const all(block_.data() + begin_, end_ - begin_);
    begin_ = end_;
    return all;
  }

private:
  enum class request_state : std::uint8_t { whole, open, cut };
  static constexpr int max_interim = 15;

  // Reading: into `free_space()`, and then `received`.
  asio::mutable_buffer free_space() noexcept;
  std::error_code received(io_result r);
  std::size_t room() const noexcept;
  void passed(std::size_t n, bool waited);
  void end_request(request_state s) {
    request_ = s;
    if (awaiting_head_) read_limit_.arm(options_.response_timeout);
  }
  void make_room();
  std::error_code failure_of_head(std::error_code ec) const noexcept;
  void end_cleanly();

  lease lease_;
  exchange_options options_;
  net::deadline_queue& deadlines_;
  net::silence_limit<any_stream> send_limit_, read_limit_;
  lent_buffer block_;
  std::size_t begin_ = 0;       // unread bytes: [begin_, end_)
  std::size_t end_ = 0;
  std::uint64_t seen_ = 0;
  http::response_parser parser_;
  http::response_head head_;
  http::body_decoder decoder_;
  lent_buffer body_block_;      // body bytes, where the head leaves too little room
  bool in_body_block_ = false, awaiting_head_ = false;
  request_state request_ = request_state::whole;
  int interim_heads_ = 0;
  std::unique_ptr<rate_limit::flow> flow_;  // of a body that can wait
  net::deadline_queue::clock::duration silent_{0};  // how long it has given nothing while it was read
};

inline asio::awaitable<std::error_code> client_exchange::send(std::string_view bytes) {
  asio::const_buffer one[] = {asio::buffer(bytes)};
  std::error_code const ec = co_await send(std::span<asio::const_buffer>(one));
  co_return ec;
}

inline asio::awaitable<std::error_code> client_exchange::send(std::span<asio::const_buffer> bytes) {
  drop_front(bytes, 0);
  while (!bytes.empty()) {
    send_limit_.arm(options_.send_silence);
    io_result const r = co_await lease_.stream().write_some(bytes);
    send_limit_.disarm();
    passed(r.n, false);
    drop_front(bytes, r.n);
    if (r.ec) {
      request_ = request_state::cut;
      co_return send_limit_.expired() ? make_error_code(error::response_timeout) : r.ec;
    }
  }
  co_return std::error_code{};
}

inline std::error_code client_exchange::send_now(std::string_view& bytes) {
  asio::const_buffer const all = asio::buffer(bytes);
  io_result const r = lease_.stream().try_write(const_buffers(&all, 1));
  passed(r.n, false);
  bytes.remove_prefix(r.n);
  if (!r.ec || r.ec == asio::error::would_block) return {};
  request_ = request_state::cut;
  return r.ec;
}

/// What may be read: of a body that can wait, what it was allowed.
inline std::size_t client_exchange::room() const noexcept {
  std::size_t const all = lent_buffer::capacity - end_;
  return flow_ && in_body_block_ ? std::min(all, flow_->allowance()) : all;
}

inline void client_exchange::passed(std::size_t n, bool waited) {
  if (n == 0 || !options_.limit) return;
  if (flow_ && waited)
    flow_->use(n);
  else
    options_.limit->spend(n);
}

inline asio::mutable_buffer client_exchange::free_space() noexcept {
  char* const base = in_body_block_ ? body_block_.data() : block_.data();
  return {base + end_, room()};
}

inline std::error_code client_exchange::received(io_result r) {
  end_ += r.n;
  passed(r.n, in_body_block_);
  seen_ += r.n;
  return r.n != 0 ? std::error_code{} : r.ec;
}

/// Interim heads that were read leave the block when it is full.
inline void client_exchange::make_room() {
  std::memmove(block_.data(), block_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  parser_.reset();
}

inline std::error_code client_exchange::failure_of_head(std::error_code ec) const noexcept {
  if (read_limit_.expired() || send_limit_.expired()) return error::response_timeout;
  if (ec == asio::error::eof) return seen_ == 0 ? error::closed_before_head : error::truncated_head;
  return ec;
}

inline asio::awaitable<std::error_code> client_exchange::next_head(std::string_view method) {
  awaiting_head_ = true;
  if (request_ == request_state::open)
    read_limit_.disarm();  // of a wait that was given up
  else
    read_limit_.arm(options_.response_timeout);
  for (;;) {
    std::string_view const have(block_.data() + begin_, end_ - begin_);
    auto const size = parser_.parse(have, head_);
    if (!size) co_return size.error();
    if (*size != 0) {
      begin_ += *size;
      break;
    }
    if (end_ == lent_buffer::capacity) {
      if (begin_ == 0) co_return make_error_code(http::parse_error::head_too_large);
      make_room();
    }
    asio::mutable_buffer const into = free_space();
    io_result const r = co_await lease_.stream().read_some(into);
    std::error_code const ec = received(r);
    if (ec) co_return failure_of_head(ec);
  }
  awaiting_head_ = false;
  read_limit_.disarm();
  if (interim()) co_return ++interim_heads_ > max_interim ? make_error_code(error::too_many_interim_responses) : std::error_code();
  if (head_.status == 408 && lease_.reused() && request_ == request_state::whole) {
    // Sent because the connection had been idle, and crossed by the request (RFC 9110 15.5.9).
    seen_ = 0;
    co_return make_error_code(error::closed_before_head);
  }
  auto const f = http::response_framing(head_, method);
  if (!f) co_return f.error();
  decoder_ = http::body_decoder(*f, options_.limits);
  if (f->kind == http::body_kind::none || decoder_.done()) end_cleanly();
  co_return std::error_code{};
}

inline asio::awaitable<std::error_code> client_exchange::read_head(std::string_view method) {
  for (;;) {
    std::error_code const ec = co_await next_head(method);
    if (ec || !interim()) co_return ec;
  }
}

inline asio::awaitable<std::error_code> client_exchange::next_head_within(std::string_view method,
                                                                          std::chrono::milliseconds patience) {
  struct interrupter {
    any_stream& stream;
    void cancel() noexcept { stream.interrupt(); }
  } ends_wait{lease_.stream()};
  net::deadline soft(deadlines_, ends_wait);
  soft.arm(patience);
  std::error_code ec = co_await next_head(method);
  if (ec == asio::error::operation_aborted && soft.expired()) ec = std::make_error_code(std::errc::timed_out);
  co_return ec;
}

inline body::chunk client_exchange::received_body() {
  body::chunk out;
  out.end = decoder_.done();
  while (!out.end) {
    char* const base = in_body_block_ ? body_block_.data() : block_.data();
    auto const step = decoder_.next(std::string_view(base + begin_, end_ - begin_));
    if (!step) {
      out.ec = step.error();
      break;
    }
    begin_ += step->consumed;
    out.bytes = step->body;
    out.end = step->done;
    if (out.end) end_cleanly();
    if (!out.bytes.empty() || step->consumed == 0) break;
  }
  return out;
}

inline asio::awaitable<body::chunk> client_exchange::read_body() {
  for (;;) {
    body::chunk out = received_body();
    if (out.ec || out.end || !out.bytes.empty()) co_return out;
    // More is needed. Undecoded rest (a torn chunk header) moves to the front; the head keeps its place in its block.
    char* const base = in_body_block_ ? body_block_.data() : block_.data();
    std::string_view const have(base + begin_, end_ - begin_);
    if (!in_body_block_) {
      body_block_ = lent_buffer::take();
      std::memcpy(body_block_.data(), have.data(), have.size());
      in_body_block_ = true;
    } else {
      std::memmove(base, have.data(), have.size());
    }
    begin_ = 0;
    end_ = have.size();
    bool may = !flow_ || flow_->ready_now();
    if (!may) {
      silent_ = {};
      may = co_await flow_->ready();
    }
    if (!may) {
      bool const ended = flow_->cancelled() || flow_->interrupted();
      out.ec = ended ? std::error_code(asio::error::operation_aborted) : make_error_code(error::link_paused);
      co_return out;
    }
    auto const began = net::deadline_queue::clock::now();
    read_limit_.arm_plain(std::chrono::duration_cast<std::chrono::milliseconds>(options_.body_silence - silent_));
    asio::mutable_buffer const into = free_space();
    io_result const r = co_await lease_.stream().read_some(into);
    read_limit_.disarm();
    std::error_code const ec = received(r);
    silent_ = ec ? silent_ + (net::deadline_queue::clock::now() - began) : net::deadline_queue::clock::duration(0);
    if (ec == asio::error::eof) {
      out.ec = decoder_.finish();
      out.end = !out.ec;
      co_return out;
    }
    if (ec) {
      out.ec = read_limit_.expired() ? make_error_code(error::body_timeout) : ec;
      co_return out;
    }
  }
}

inline bool client_exchange::would_wait() {
  if (decoder_.done() || begin_ != end_) return false;
  if (!in_body_block_) {
    body_block_ = lent_buffer::take();
    in_body_block_ = true;
  }
  begin_ = end_ = 0;
  if (flow_ && !flow_->ready_now()) return true;
  lease_.stream().look_again(look::now);  // what is gathered, or leaves with its head, may have come since
  io_result const r = lease_.stream().try_read(asio::buffer(body_block_.data(), room()));
  end_ = r.n;
  passed(r.n, true);
  seen_ += r.n;
  return r.ec == asio::error::would_block;
}

inline void client_exchange::end_cleanly() {
  bool const whole = request_ == request_state::whole;
  if (begin_ == end_ && whole && head_.status != 101 && http::keeps_alive(head_, decoder_.what())) lease_.done();
}

}  // namespace mgw::upstream
