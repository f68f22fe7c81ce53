#pragma once

#include <mgw/body/source.hpp>
#include <mgw/core/any_stream.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/http/body_decoder.hpp>
#include <mgw/http/chunked.hpp>
#include <mgw/http/date.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/http/target.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/options.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/ip/tcp.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// Who is on the other end of a connection.
struct peer_info {
  asio::ip::tcp::endpoint address;
  bool tls = false;
};

/// One request and its response, as a handler sees them; reused for the next request of the same connection.
///
/// Reading: `request()`, then the body through `read_body` or `read_whole_body`. Answering: either `respond` with
/// everything, or `start`, `field`…, `send_head`, `write`…, `finish`. The head leaves together with the first body
/// bytes, in one write. What a handler leaves undone is done or cut for it: an unread request body is drained within
/// bounds or the connection closed, an unfinished response closes the connection, so that it never looks whole.
///
/// A model of BodySource (the request's body). Thread rule: the connection's own thread. Every wait on the client is
/// bounded by `server_options` (silence, never duration); an expired one shows as operation_aborted.
class exchange {
public:
  exchange(any_stream stream, peer_info peer, server_options const& options, net::worker& worker)
      : options_(options), worker_(worker), peer_(std::move(peer)), stream_(std::move(stream)),
        limit_(worker.deadlines, stream_), parser_(options.limits) {}
  exchange(exchange const&) = delete;
  exchange& operator=(exchange const&) = delete;

  // The request. Views live until the exchange ends.
  http::request_head const& request() const noexcept { return request_; }
  http::request_target const& target() const noexcept { return target_; }
  http::framing request_framing() const noexcept { return decoder_.what(); }
  peer_info const& peer() const noexcept { return peer_; }
  server_options const& options() const noexcept { return options_; }
  net::worker& worker() const noexcept { return worker_; }

  /// The next piece of the request's body; answers `Expect: 100-continue` before the first wait.
  asio::awaitable<body::chunk> read_body();
  bool request_body_done() const noexcept { return decoder_.done(); }
  std::uint64_t bytes_in() const noexcept { return bytes_in_; }

  // The response.
  void start(int status, std::string_view reason = {});
  /// Adds a field. A value that would split the response is left out (false).
  bool field(std::string_view name, std::string_view value) {
    dated_ = dated_ || http::iequals(name, "Date");
    return http::append_field(head_, name, value);
  }
  void field(std::string_view name, std::uint64_t value) { http::append_field(head_, name, value); }
  /// Ends the head and fixes the framing. `chunked` turns into close-delimited for an HTTP/1.0 client.
  /// Nothing is sent before the first `write`, `flush` or `finish`.
  void end_head(http::framing framing);
  /// Sends body bytes (all of them, framed); none for HEAD, 204 and 304. Pre: `end_head` was called; at most
  /// `max_pieces` buffers. Error: std::errc::message_size for more bytes than the framing promised.
  static constexpr std::size_t max_pieces = 8;
  asio::awaitable<std::error_code> write(std::string_view bytes);
  asio::awaitable<std::error_code> write(const_buffers bytes);
  asio::awaitable<std::error_code> flush() { return write(std::string_view{}); }
  /// The body is whole. Error: fewer bytes were written than the framing promised.
  asio::awaitable<std::error_code> finish();
  /// A whole small response.
  asio::awaitable<std::error_code> respond(int status, std::string_view content_type, std::string_view body);
  /// No (further) response: the connection is closed as it stands.
  void abort() noexcept { aborted_ = true; }
  /// The connection ends after this response.
  void close_after() noexcept { keep_alive_ = false; }

  int status() const noexcept { return status_; }
  /// `end_head` was called: what follows is the body.
  bool responding() const noexcept { return head_ready_; }
  bool head_sent() const noexcept { return head_out_; }
  bool finished() const noexcept { return finished_; }
  bool aborted() const noexcept { return aborted_; }
  std::uint64_t bytes_out() const noexcept { return bytes_out_; }
  std::chrono::steady_clock::time_point begun() const noexcept { return begun_; }

  /// True once the peer has closed or reset; looks without waiting (pipelined bytes are kept).
  bool client_gone();
  /// The server is draining: what has no head out yet should end now.
  bool draining() const noexcept { return draining_; }
  /// `wake(arg)` is called when draining begins while a handler waits for something else than the client.
  void on_drain(void (*wake)(void*) noexcept, void* arg) noexcept { wake_ = wake, wake_arg_ = arg; }

  /// Free notes of the handler for the access log: the route's template, the device, the cache's verdict, the failure.
  struct notes_t {
    std::string_view route;
    std::string device, request_id, cache, failure;
    void clear() { route = {}, device.clear(), request_id.clear(), cache.clear(), failure.clear(); }
  };
  notes_t& notes() noexcept { return notes_; }
  notes_t const& notes() const noexcept { return notes_; }

  /// A string that keeps its capacity from request to request, for whoever builds an upstream head. One user at a time.
  std::string& scratch() noexcept { return scratch_; }

  // For proxy/connection.hpp and tunnels.
  any_stream& stream() noexcept { return stream_; }
  /// Reads and judges the next request head. False: the connection is over (or an error was answered).
  asio::awaitable<bool> next_request();
  /// Ends the exchange; true if the connection can serve another request.
  asio::awaitable<bool> end_exchange();
  /// Shuts down so that the peer can still read what was sent (RFC 9112 9.6).
  asio::awaitable<void> linger();
  void drain() noexcept;

private:
  asio::awaitable<std::error_code> fill();
  asio::awaitable<std::error_code> send_all(std::span<asio::const_buffer> buffers);
  asio::awaitable<bool> refuse(http::parse_error why);
  std::string_view unread() const noexcept { return {block_.data() + begin_, end_ - begin_}; }

  server_options const& options_;
  net::worker& worker_;
  peer_info peer_;
  any_stream stream_;
  net::deadline limit_;

  // Input: the head's bytes stay at [0, begin_of_body) of `block_`; a body that needs more room gets a block of its own.
  lent_buffer block_, body_block_;
  std::size_t begin_ = 0, end_ = 0;
  std::size_t body_begin_ = 0, body_end_ = 0;
  http::request_parser parser_;
  http::request_head request_;
  http::request_target target_{};
  http::body_decoder decoder_;
  std::uint64_t bytes_in_ = 0;
  bool continue_due_ = false;

  // Output.
  std::string head_, scratch_;
  http::framing framing_;
  int status_ = 0;
  bool head_ready_ = false, head_out_ = false, finished_ = false, aborted_ = false, keep_alive_ = true, broken_ = false;
  bool dated_ = false, waiting_for_request_ = false, draining_ = false, lingers_ = false;
  std::uint64_t body_out_ = 0, bytes_out_ = 0, served_ = 0;
  std::chrono::steady_clock::time_point begun_;
  notes_t notes_;
  void (*wake_)(void*) noexcept = nullptr;
  void* wake_arg_ = nullptr;
};

inline asio::awaitable<std::error_code> exchange::fill() {
  bool const in_body = static_cast<bool>(body_block_);
  std::size_t& end = in_body ? body_end_ : end_;
  char* const base = in_body ? body_block_.data() : block_.data();
  io_result const r = co_await stream_.read_some(asio::buffer(base + end, lent_buffer::capacity - end));
  end += r.n;
  bytes_in_ += r.n;
  co_return r.n != 0 ? std::error_code{} : r.ec;
}

inline asio::awaitable<bool> exchange::next_request() {
  request_.fields.clear();
  request_.method = request_.target = {};  // no view into a block that was given back
  target_ = {};
  parser_.reset();
  notes_.clear();
  status_ = 0;
  head_ready_ = head_out_ = finished_ = aborted_ = continue_due_ = false;
  body_out_ = bytes_out_ = 0;
  bytes_in_ = end_ - begin_;
  wake_ = nullptr;
  if (begin_ == end_) {
    // Idle: no block is held until the first bytes are there.
    begin_ = end_ = 0;
    block_.reset();
    if (draining_) co_return false;
    std::array<char, 256> first;  // small enough for a recycled coroutine frame
    waiting_for_request_ = true;
    limit_.arm(served_ == 0 ? options_.head_timeout : options_.idle_timeout);
    io_result const r = co_await stream_.read_some(asio::buffer(first));
    waiting_for_request_ = false;
    if (r.n == 0) co_return false;
    block_ = lent_buffer::take();
    std::memcpy(block_.data(), first.data(), r.n);
    end_ = bytes_in_ = r.n;
  } else if (begin_ != 0) {  // a pipelined request moves to the front
    std::memmove(block_.data(), block_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  begun_ = std::chrono::steady_clock::now();
  limit_.arm(options_.head_timeout);
  for (;;) {
    auto const size = parser_.parse(unread(), request_);
    if (!size) {
      bool const ended = co_await refuse(static_cast<http::parse_error>(size.error().value()));
      co_return ended;
    }
    if (*size != 0) {
      begin_ += *size;
      break;
    }
    if (end_ == lent_buffer::capacity) {
      bool const ended = co_await refuse(http::parse_error::head_too_large);
      co_return ended;
    }
    std::error_code const ec = co_await fill();
    if (ec) {
      if (limit_.expired()) notes_.failure = "the request head took too long";
      co_return false;
    }
  }
  limit_.disarm();
  keep_alive_ = http::keeps_alive(request_) && !draining_ && ++served_ < options_.max_requests;
  auto const framing = http::request_framing(request_);
  if (!framing) {
    bool const ended = co_await refuse(static_cast<http::parse_error>(framing.error().value()));
    co_return ended;
  }
  auto const target = http::parse_target(request_.target, request_.method);
  if (!target) {
    bool const ended = co_await refuse(http::parse_error::bad_target);
    co_return ended;
  }
  target_ = *target;
  decoder_ = http::body_decoder(*framing, options_.limits);
  continue_due_ = !decoder_.done() && http::expects_continue(request_);
  co_return true;
}

inline asio::awaitable<bool> exchange::refuse(http::parse_error why) {
  notes_.failure = http::make_error_code(why).message();
  keep_alive_ = false;
  lingers_ = true;
  decoder_ = http::body_decoder();
  int const status = http::status_of(why);
  std::string const body = options_.error_body ? options_.error_body(status, *this) : std::string();
  (void)co_await respond(status, options_.error_type, body);
  if (options_.observer) options_.observer(*this);
  co_return false;
}

inline asio::awaitable<body::chunk> exchange::read_body() {
  body::chunk out;
  while (!decoder_.done()) {
    bool const in_body = static_cast<bool>(body_block_);
    char* const base = in_body ? body_block_.data() : block_.data();
    std::size_t& begin = in_body ? body_begin_ : begin_;
    std::size_t& end = in_body ? body_end_ : end_;
    std::string_view const have(base + begin, end - begin);
    auto const step = decoder_.next(have);
    if (!step) {
      out.ec = step.error();
      broken_ = true;
      co_return out;
    }
    begin += step->consumed;
    out.bytes = step->body;
    if (step->done || !out.bytes.empty()) break;
    if (step->consumed != 0) continue;
    if (continue_due_) {
      continue_due_ = false;
      asio::const_buffer interim[] = {asio::buffer(std::string_view("HTTP/1.1 100 Continue\r\n\r\n"))};
      out.ec = co_await send_all(interim);
      if (out.ec) co_return out;
    }
    if (!in_body) {
      body_block_ = lent_buffer::take();
      std::memcpy(body_block_.data(), have.data(), have.size());
      begin_ = end_;  // those bytes live in the body's block now
    } else {
      std::memmove(base, have.data(), have.size());
    }
    body_begin_ = 0;
    body_end_ = have.size();
    limit_.arm(options_.body_silence);
    out.ec = co_await fill();
    limit_.disarm();
    if (out.ec) {
      broken_ = true;
      if (limit_.expired()) notes_.failure = "the request body fell silent";
      co_return out;
    }
  }
  out.end = decoder_.done();
  co_return out;
}

inline void exchange::start(int status, std::string_view reason) {
  status_ = status;
  dated_ = false;
  head_.clear();
  http::append_status_line(head_, status, reason);
}

inline void exchange::end_head(http::framing framing) {
  framing_ = framing;
  bool const bodiless = status_ == 204 || status_ == 304 || status_ < 200;
  if (framing.kind == http::body_kind::chunked && request_.minor == 0) framing_.kind = http::body_kind::until_close;
  if (framing_.kind == http::body_kind::until_close && request_.method != "HEAD" && !bodiless) keep_alive_ = false;
  if (framing_.kind == http::body_kind::length && status_ != 204 && status_ >= 200) field("Content-Length", framing_.length);
  if (framing_.kind == http::body_kind::none && !bodiless && request_.method != "HEAD") field("Content-Length", std::uint64_t{0});
  if (framing_.kind == http::body_kind::chunked && !bodiless) field("Transfer-Encoding", "chunked");
  if (bodiless || request_.method == "HEAD") framing_ = {};
  if (status_ != 101) {
    // An unread rest of the request's body would be taken for the next request.
    if (draining_ || broken_) keep_alive_ = false;
    if (!keep_alive_)
      field("Connection", "close");
    else if (request_.minor == 0)
      field("Connection", "keep-alive");
  }
  if (!dated_ && status_ >= 200) {  // RFC 9110 6.6.1
    char now[29];
    http::format_date(static_cast<std::int64_t>(std::time(nullptr)), now);
    http::append_field(head_, "Date", std::string_view(now, sizeof now));
  }
  http::end_head(head_);
  head_ready_ = true;
}

inline asio::awaitable<std::error_code> exchange::send_all(std::span<asio::const_buffer> buffers) {
  while (!buffers.empty()) {
    if (buffers.front().size() == 0) {
      buffers = buffers.subspan(1);
      continue;
    }
    limit_.arm(options_.send_silence);
    io_result const r = co_await stream_.write_some(buffers);
    limit_.disarm();
    std::size_t n = r.n;
    bytes_out_ += n;
    while (n != 0) {
      std::size_t const part = std::min(n, buffers.front().size());
      buffers.front() += part;
      n -= part;
      if (buffers.front().size() == 0) buffers = buffers.subspan(1);
    }
    if (r.ec) {
      broken_ = true;
      if (limit_.expired()) notes_.failure = "the client took no byte for too long";
      co_return r.ec;
    }
  }
  co_return std::error_code{};
}

inline asio::awaitable<std::error_code> exchange::write(std::string_view bytes) {
  asio::const_buffer const one = asio::buffer(bytes);
  std::error_code const ec = co_await write(const_buffers(&one, 1));
  co_return ec;
}

inline asio::awaitable<std::error_code> exchange::write(const_buffers bytes) {
  std::array<asio::const_buffer, max_pieces + 3> out;  // head, chunk size, pieces, chunk end
  std::size_t n = 0;
  if (!head_out_) {
    out[n++] = asio::buffer(head_);
    head_out_ = true;
  }
  assert(bytes.size() <= max_pieces);
  std::uint64_t total = 0;
  for (auto const& b : bytes) total += b.size();
  bool const carries = framing_.kind != http::body_kind::none && total != 0;
  if (framing_.kind == http::body_kind::length && total > framing_.length - body_out_) {
    broken_ = true;  // more than was promised: the next response would be misread
    co_return std::make_error_code(std::errc::message_size);
  }
  http::chunk_head const chunk(total);
  if (carries) {
    if (framing_.kind == http::body_kind::chunked) out[n++] = asio::buffer(chunk.view());
    for (auto const& b : bytes) out[n++] = b;
    if (framing_.kind == http::body_kind::chunked) out[n++] = asio::buffer(http::chunk_end);
    body_out_ += total;
  }
  std::error_code const ec = co_await send_all(std::span(out).first(n));
  co_return ec;
}

inline asio::awaitable<std::error_code> exchange::finish() {
  std::array<asio::const_buffer, 2> out;
  std::size_t n = 0;
  if (!head_out_) {
    out[n++] = asio::buffer(head_);
    head_out_ = true;
  }
  if (framing_.kind == http::body_kind::length && body_out_ != framing_.length) {
    broken_ = true;
    co_return std::make_error_code(std::errc::message_size);
  }
  if (framing_.kind == http::body_kind::chunked) out[n++] = asio::buffer(http::last_chunk);
  std::error_code const ec = co_await send_all(std::span(out).first(n));
  finished_ = !ec;
  co_return ec;
}

inline asio::awaitable<std::error_code> exchange::respond(int status, std::string_view content_type, std::string_view body) {
  start(status);
  if (!body.empty() && !content_type.empty()) field("Content-Type", content_type);
  http::framing f;
  f.kind = http::body_kind::length;
  f.length = body.size();
  end_head(f);
  std::error_code ec;
  if (request_.method != "HEAD" && !body.empty()) ec = co_await write(body);
  if (!ec) ec = co_await finish();
  co_return ec;
}

inline bool exchange::client_gone() {
  bool const in_body = static_cast<bool>(body_block_);
  char* const base = in_body ? body_block_.data() : block_.data();
  std::size_t& end = in_body ? body_end_ : end_;
  if (end == lent_buffer::capacity) return false;
  io_result const r = stream_.try_read(asio::buffer(base + end, lent_buffer::capacity - end));
  end += r.n;
  if (r.n != 0 || r.ec == asio::error::would_block) return false;
  broken_ = true;
  return true;
}

inline asio::awaitable<bool> exchange::end_exchange() {
  wake_ = nullptr;
  if (options_.observer) options_.observer(*this);
  if (aborted_ || broken_ || !finished_) co_return false;
  // A request body that nobody read: a small rest is drained, so that the connection lives on.
  for (std::uint64_t drained = 0; !decoder_.done();) {
    if (!keep_alive_ || continue_due_ || drained > options_.max_drain) {
      lingers_ = true;
      co_return false;
    }
    body::chunk const c = co_await read_body();
    if (c.ec) co_return false;
    drained += c.bytes.size();
  }
  if (body_block_) {  // what followed the body is the next request
    std::size_t const rest = body_end_ - body_begin_;
    std::memcpy(block_.data(), body_block_.data() + body_begin_, rest);
    begin_ = 0;
    end_ = rest;
    body_begin_ = body_end_ = 0;
    body_block_.reset();
  }
  co_return keep_alive_;
}

inline asio::awaitable<void> exchange::linger() {
  if (aborted_ || limit_.expired()) co_return;
  limit_.arm(options_.linger);
  std::error_code const ec = co_await stream_.shutdown();
  if (ec || !lingers_) co_return;
  if (!block_) block_ = lent_buffer::take();
  for (std::size_t n = 0; n < options_.max_drain;) {
    io_result const r = co_await stream_.read_some(asio::buffer(block_.data(), lent_buffer::capacity));
    if (r.n == 0) break;
    n += r.n;
  }
}

inline void exchange::drain() noexcept {
  draining_ = true;
  keep_alive_ = false;
  if (waiting_for_request_) stream_.cancel();
  if (wake_) wake_(wake_arg_);
}

}  // namespace mgw::proxy
