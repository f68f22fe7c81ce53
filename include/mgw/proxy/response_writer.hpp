#pragma once

#include <mgw/core/any_stream.hpp>
#include <mgw/core/buffers.hpp>
#include <mgw/http/chunked.hpp>
#include <mgw/http/date.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/silence_limit.hpp>
#include <mgw/proxy/options.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// The output side of a server's connection: one response after another, each framed as its request allows.
///
/// The head leaves together with the first body bytes, in one write. A response that is not finished leaves the
/// connection unfit for another. Every wait is bounded by `server_options::send_silence`. Source: RFC 9112 6 and 7,
/// RFC 9110 6.6.1. Thread rule: the stream's. Precondition: stream and options outlive it.
class response_writer {
public:
  response_writer(any_stream& stream, net::deadline_queue& deadlines, server_options const& options)
      : stream_(stream), options_(options), limit_(deadlines, stream) {}

  /// For the next request.
  void reset() noexcept {
    status_ = 0;
    head_ready_ = head_out_ = finished_ = false;
    body_out_ = bytes_ = 0;
    first_out_ = {};
  }
  /// Gives back what the last head needed. Precondition: as `reset`.
  void forget() noexcept { (void)std::exchange(head_, {}); }
  void start(int status, std::string_view reason);
  bool field(std::string_view name, std::string_view value) {
    dated_ = dated_ || http::iequals(name, "Date");
    return http::append_field(head_, name, value);
  }
  void field(std::string_view name, std::uint64_t value) { http::append_field(head_, name, value); }
  /// One that a parser let through.
  void parsed_field(http::field const& f) {
    dated_ = dated_ || http::iequals(f.name, "Date");
    http::append_known_field(head_, f.name, f.value);
  }
  /// Ends the head with the fields that frame the answer to `request`. Returns whether the connection can be kept,
  /// given that the caller would like to.
  bool end_head(http::framing framing, http::request_head const& request, bool keep_alive);

  static constexpr std::size_t max_pieces = 8;
  /// `memory.reset()` is called where the connection has to be waited for, if nobody looks at the bytes any more: a slow
  /// client of TLS has them encrypted.
  template <class Memory>
  asio::awaitable<std::error_code> write(const_buffers bytes, Memory& memory);
  asio::awaitable<std::error_code> write(const_buffers bytes) { return write(bytes, needed_); }
  asio::awaitable<std::error_code> write(std::string_view bytes) {
    one_ = asio::buffer(bytes);
    return write(const_buffers(&one_, 1));
  }
  /// Whether `write_file` may be used.
  bool sends_files() const noexcept { return framing_.kind == http::body_kind::length && stream_.sends_files(); }
  /// Sends some bytes of an open file as body bytes, none where it had to wait; see FileSender. Precondition: `sends_files()`; no more than was
  /// promised. Errors: std::errc::io_error where the file does not give them: they can be written otherwise.
  asio::awaitable<io_result> write_file(int fd, std::uint64_t offset, std::size_t n);
  /// The body is whole; `last`: its last bytes, which leave together with what ends it.
  asio::awaitable<std::error_code> finish(std::string_view last = {});
  /// The same where the connection takes all at once, as nearly always. False: `finish_rest(last)` has to go on.
  bool finish_now(std::string_view last, std::error_code& ec);
  asio::awaitable<std::error_code> finish_rest(std::string_view last);
  /// Sends complete bytes beside the response: an interim one. Precondition: its head is not out.
  asio::awaitable<std::error_code> send(std::string_view bytes);

  int status() const noexcept { return status_; }
  http::framing framing() const noexcept { return framing_; }
  bool head_ready() const noexcept { return head_ready_; }
  bool head_out() const noexcept { return head_out_; }
  bool finished() const noexcept { return finished_; }
  /// Something was not sent that had to be: nothing else may follow.
  bool broken() const noexcept { return broken_; }
  bool timed_out() const noexcept { return limit_.expired(); }
  std::uint64_t bytes() const noexcept { return bytes_; }
  /// When the first byte of the response's head was taken by the connection; the clock's epoch: none was yet.
  std::chrono::steady_clock::time_point first_out() const noexcept { return first_out_; }
  /// Of the body alone, and of that what went out for sure: a piece that did not go whole is not counted.
  std::uint64_t body_bytes() const noexcept { return body_out_; }

private:
  /// What one write sends: head, chunk size, pieces, chunk end, last chunk.
  struct gathered {
    std::uint64_t const total;  // of the pieces
    http::chunk_head const chunk;
    std::array<asio::const_buffer, max_pieces + 4> parts;
    std::size_t n = 0;
    explicit gathered(std::uint64_t size) noexcept : total(size), chunk(size) {}
    void add(asio::const_buffer b) noexcept { parts[n++] = b; }
    std::span<asio::const_buffer> all() noexcept { return std::span(parts).first(n); }
  };
  std::error_code gather(gathered& out, const_buffers bytes, bool last);
  std::error_code send_now(std::span<asio::const_buffer>& buffers);
  asio::awaitable<std::error_code> send_all(std::span<asio::const_buffer> buffers);
  std::error_code sent(io_result r, std::span<asio::const_buffer>& buffers);
  void frame(http::framing framing, http::request_head const& request);

  struct needed {
    void reset() noexcept {}
  };
  static inline needed needed_;

  any_stream& stream_;
  server_options const& options_;
  net::silence_limit<any_stream> limit_;
  std::string head_;
  asio::const_buffer one_;  // of a write of one piece, until that is done
  http::framing framing_;
  int status_ = 0;
  bool head_ready_ = false, head_out_ = false, finished_ = false, broken_ = false, dated_ = false;
  std::uint64_t body_out_ = 0, bytes_ = 0;
  std::size_t unsent_ = 0;  // between finish_now and finish_rest
  std::chrono::steady_clock::time_point first_out_{};
};

inline void response_writer::start(int status, std::string_view reason) {
  status_ = status;
  dated_ = head_ready_ = false;
  head_.clear();
  http::append_status_line(head_, status, reason);
}

/// Writes the fields that frame the body, and keeps how it will be framed.
inline void response_writer::frame(http::framing framing, http::request_head const& request) {
  bool const bodiless = status_ == 204 || status_ == 304 || status_ < 200;
  bool const head_only = request.method == "HEAD";
  if (framing.kind == http::body_kind::chunked && request.minor == 0) framing.kind = http::body_kind::until_close;
  if (framing.kind == http::body_kind::length && status_ != 204 && status_ >= 200)
    field("Content-Length", framing.length);
  if (framing.kind == http::body_kind::none && !bodiless && !head_only) field("Content-Length", std::uint64_t{0});
  if (framing.kind == http::body_kind::chunked && !bodiless) field("Transfer-Encoding", "chunked");
  framing_ = framing;
  if (bodiless || head_only) framing_ = {};
}

inline bool response_writer::end_head(http::framing framing, http::request_head const& request, bool keep_alive) {
  frame(framing, request);
  if (framing_.kind == http::body_kind::until_close) keep_alive = false;
  if (status_ != 101) {
    if (!keep_alive)
      field("Connection", "close");
    else if (request.minor == 0)
      field("Connection", "keep-alive");
  }
  if (!dated_ && status_ >= 200) {  // RFC 9110 6.6.1
    char now[29];
    http::format_date(static_cast<std::int64_t>(std::time(nullptr)), now);
    http::append_field(head_, "Date", std::string_view(now, sizeof now));
  }
  http::end_head(head_);
  head_ready_ = true;
  return keep_alive;
}

/// Counts what went out, and takes it off `buffers`.
inline std::error_code response_writer::sent(io_result r, std::span<asio::const_buffer>& buffers) {
  bytes_ += r.n;
  if (head_out_ && r.n != 0 && first_out_ == std::chrono::steady_clock::time_point{})
    first_out_ = std::chrono::steady_clock::now();
  drop_front(buffers, r.n);
  broken_ = broken_ || r.ec;
  return r.ec;
}

/// Sends what the connection takes at once: nearly always everything. The rest stays in `buffers`, for send_all.
inline std::error_code response_writer::send_now(std::span<asio::const_buffer>& buffers) {
  drop_front(buffers, 0);
  while (!buffers.empty()) {
    io_result const r = stream_.try_write(buffers);
    if (r.ec == asio::error::would_block) break;
    if (auto const ec = sent(r, buffers)) return ec;
  }
  return {};
}

inline asio::awaitable<std::error_code> response_writer::send_all(std::span<asio::const_buffer> buffers) {
  std::error_code ec;
  while (!buffers.empty() && !ec) {
    limit_.arm(options_.send_silence);
    io_result const r = co_await stream_.write_some(buffers);
    limit_.disarm();
    ec = sent(r, buffers);
  }
  co_return ec;
}

inline asio::awaitable<std::error_code> response_writer::send(std::string_view bytes) {
  asio::const_buffer one[] = {asio::buffer(bytes)};
  std::span<asio::const_buffer> rest(one);
  std::error_code ec = send_now(rest);
  if (!ec && !rest.empty()) ec = co_await send_all(rest);
  co_return ec;
}

/// Error: more than was promised, or at the end less. The next response would be misread.
inline std::error_code response_writer::gather(gathered& out, const_buffers bytes, bool last) {
  assert(bytes.size() <= max_pieces);
  if (!std::exchange(head_out_, true)) out.add(asio::buffer(head_));
  std::uint64_t const left = framing_.length - body_out_;
  if (framing_.kind == http::body_kind::length && (out.total > left || (last && out.total != left))) {
    broken_ = true;
    return std::make_error_code(std::errc::message_size);
  }
  if (framing_.kind == http::body_kind::none) return {};
  bool const chunked = framing_.kind == http::body_kind::chunked;
  if (out.total != 0) {
    if (chunked) out.add(asio::buffer(out.chunk.view()));
    for (auto const& b : bytes) out.add(b);
    if (chunked) out.add(asio::buffer(http::chunk_end));
    body_out_ += out.total;
  }
  if (last && chunked) out.add(asio::buffer(http::last_chunk));
  return {};
}

template <class Memory>
asio::awaitable<std::error_code> response_writer::write(const_buffers bytes, Memory& memory) {
  gathered out(asio::buffer_size(bytes));
  std::uint64_t const before = body_out_;
  std::error_code ec = gather(out, bytes, false);
  if (ec) co_return ec;
  std::span<asio::const_buffer> rest = out.all();
  ec = send_now(rest);
  if (!ec && !rest.empty()) {
    if (stream_.held() == asio::buffer_size(rest)) memory.reset();
    ec = co_await send_all(rest);
  }
  if (ec) body_out_ = before;
  co_return ec;
}

inline asio::awaitable<io_result> response_writer::write_file(int fd, std::uint64_t offset, std::size_t n) {
  assert(sends_files() && n <= framing_.length - body_out_);
  bool const first = !std::exchange(head_out_, true);
  asio::const_buffer head = asio::buffer(head_);
  const_buffers const before(&head, first ? 1 : 0);
  limit_.arm(options_.send_silence);
  io_result r = co_await stream_.send_file(fd, offset, n, before);
  limit_.disarm();
  bytes_ += r.n;
  if (first) {
    if (r.n != 0) first_out_ = std::chrono::steady_clock::now();
    std::size_t const of_head = std::min(r.n, head.size());
    r.n -= of_head;
    head += of_head;
    bool const sound = !r.ec || r.ec == std::errc::io_error;
    if (sound && head.size() != 0) r.ec = co_await send_all(std::span(&head, 1));
  }
  body_out_ += r.n;
  broken_ = broken_ || (r.ec && r.ec != std::errc::io_error);
  co_return r;
}

inline bool response_writer::finish_now(std::string_view last, std::error_code& ec) {
  asio::const_buffer const one = asio::buffer(last);
  gathered out(last.size());
  std::uint64_t const before = body_out_;
  ec = gather(out, const_buffers(&one, 1), true);
  if (ec) return true;
  std::span<asio::const_buffer> rest = out.all();
  ec = send_now(rest);
  if (!ec && !rest.empty()) {
    body_out_ = before;
    unsent_ = asio::buffer_size(rest);
    return false;
  }
  finished_ = !ec;
  if (ec) body_out_ = before;
  return true;
}

/// Gathers the same again, and leaves out what has gone already.
inline asio::awaitable<std::error_code> response_writer::finish_rest(std::string_view last) {
  asio::const_buffer const one = asio::buffer(last);
  gathered out(last.size());
  std::uint64_t const before = body_out_;
  head_out_ = false;
  std::error_code ec = gather(out, const_buffers(&one, 1), true);
  std::span<asio::const_buffer> rest = out.all();
  drop_front(rest, asio::buffer_size(rest) - unsent_);
  if (!ec) ec = co_await send_all(rest);
  finished_ = !ec;
  if (ec) body_out_ = before;
  co_return ec;
}

inline asio::awaitable<std::error_code> response_writer::finish(std::string_view last) {
  std::error_code ec;
  bool const done = finish_now(last, ec);
  if (!done) ec = co_await finish_rest(last);
  co_return ec;
}

}  // namespace mgw::proxy
