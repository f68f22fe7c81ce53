#pragma once

#include <mgw/core/wake_up.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

namespace mgw {

/// The result of one read or write: bytes moved, and why it stopped.
struct io_result {
  std::error_code ec;
  std::size_t n = 0;
};

/// What a write takes: several buffers that leave together where the transport can do so.
using const_buffers = std::span<asio::const_buffer const>;

/// A connected byte stream. One reader and one writer at a time, all on the stream's own executor.
///
/// | expression | semantics |
/// |---|---|
/// | `s.read_some(b)` | awaitable<io_result>; pre: `b` is not empty; post: n > 0 or ec; end of stream is asio::error::eof, a truncated one any other code |
/// | `s.write_some(bs)` | awaitable<io_result>; may write less than asked; the buffers live until it completes |
/// | `s.readable()` | awaitable<bool>; pre: `try_read` has just said would_block; true when it may have something to say (now and then it still has nothing), false if interrupted or cancelled; unlike `read_some`, it holds no room while it waits |
/// | `s.try_read(b)`, `s.try_write(bs)` | the same without waiting; ec is asio::error::would_block where they would have to |
/// | `s.shutdown()` | awaitable<std::error_code>; tells the peer that no more will be written (TLS: close_notify), never waits for the peer |
/// | `s.cancel()` | noexcept, sticky: pending and all later operations end with operation_aborted |
/// | `s.interrupt()` | noexcept: what is pending now ends with operation_aborted, losing no byte; later operations are as ever |
/// | `s.reset()` | noexcept: `cancel`, and the peer is to see a broken connection (RST; TLS: no close_notify), never an end |
///
/// Not required: `s.acknowledged()`, noexcept, optional<int64_t>: a number that grows as the peer gets what was written,
/// however much of that still lies between them. With it, a deadline of a writer sees what gets on inside of a write, and
/// behind its end; without it, the ends of writes alone. `s.look_again(how)`, noexcept: the next `try_read` finds what is
/// there then, where the stream otherwise believes what it was told (`look`). `s.held()`, noexcept, size_t: so many bytes at
/// the front of what a `try_write` has refused are copied already: they have to be offered again, but are not looked at.
/// And what FileSender and CallsBack say.
///
/// Models: net::tcp_stream, net::tls_stream, any_stream, test::memory_stream. Page: docs/concepts/stream.md
template <class S>
concept Stream = std::movable<S> && requires(S& s, asio::mutable_buffer in, const_buffers out) {
  { s.read_some(in) } -> std::same_as<asio::awaitable<io_result>>;
  { s.write_some(out) } -> std::same_as<asio::awaitable<io_result>>;
  { s.readable() } -> std::same_as<asio::awaitable<bool>>;
  { s.try_read(in) } -> std::same_as<io_result>;
  { s.try_write(out) } -> std::same_as<io_result>;
  { s.shutdown() } -> std::same_as<asio::awaitable<std::error_code>>;
  { s.cancel() } noexcept;
  { s.interrupt() } noexcept;
  { s.reset() } noexcept;
};

/// `read_some` of a stream that has the other two: looks, and waits as long as there is nothing.
template <class S>
asio::awaitable<io_result> read_when_ready(S& s, asio::mutable_buffer into) {
  io_result r = s.try_read(into);
  while (r.ec == asio::error::would_block) {
    bool const ready = co_await s.readable();
    r.ec = asio::error::operation_aborted;
    if (ready) r = s.try_read(into);
  }
  co_return r;
}

/// How new what a stream knows has to be: of `now`, or of a moment ago, since when only a few others were served.
enum class look { now, lately };

/// Lets the next `try_read` find what is there then.
template <class S>
void look_again(S& s, look how) noexcept {
  if constexpr (requires { s.look_again(how); }) s.look_again(how);
}

/// Streams that can write what a file has without bringing it here: `s.send_file(fd, offset, n, before)` writes as
/// `write_some(before)`, and behind that some of `n` bytes of an open file; none, and no error, when it has waited for the
/// peer: the file's bytes may be elsewhere by then. std::errc::io_error: the file does not give them, and the connection
/// is as good as it was.
template <class S>
concept FileSender = requires(S& s, int fd, std::uint64_t offset, std::size_t n, const_buffers before) {
  { s.send_file(fd, offset, n, before) } -> std::same_as<asio::awaitable<io_result>>;
};

/// Streams that can call instead of being waited for: `s.when_readable(w)` calls `w` where `readable()` would end.
/// Precondition: that of `readable()`, and `s.can_call_back()`.
template <class S>
concept CallsBack = requires(S& s, wake_up w) {
  { s.can_call_back() } noexcept -> std::same_as<bool>;
  s.when_readable(std::move(w));
};

/// What a stream says of the bytes its peer has got; nothing if it cannot say it.
template <Stream S>
std::optional<std::int64_t> acknowledged_by(S& s) noexcept {
  if constexpr (requires {
                  { s.acknowledged() } noexcept -> std::same_as<std::optional<std::int64_t>>;
                })
    return s.acknowledged();
  else
    return std::nullopt;
}

/// How much of what it has refused a stream does not look at again.
template <Stream S>
std::size_t held_by(S const& s) noexcept {
  if constexpr (requires { s.held(); })
    return s.held();
  else
    return 0;
}

}  // namespace mgw
