#pragma once

#include <mgw/core/concepts.hpp>
#include <mgw/net/error.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

namespace mgw::net {

/// A connected TCP socket as a Stream. What is ready is moved without suspending; only then the reactor waits.
///
/// The socket is set non-blocking and TCP_NODELAY at once: Asio would leave it blocking until its first asynchronous
/// operation, and the answers of a proxy are whole when they are written.
/// Errors: those of recv(2), send(2) and sendmsg(2); end of stream is asio::error::eof.
/// Thread rule: the thread of the socket's executor. Not moved while an operation is pending.
class tcp_stream {
public:
  /// Precondition: `s` is open. A socket that its peer has reset already is accepted; its first operation tells.
  explicit tcp_stream(asio::ip::tcp::socket s) : socket_(std::move(s)) {
    std::error_code ignored;
    socket_.non_blocking(true, ignored);
    socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
    remote_ = socket_.remote_endpoint(ignored);
    if (auto const a = remote_.address(); a.is_v6() && a.to_v6().is_v4_mapped())
      remote_.address(asio::ip::make_address_v4(asio::ip::v4_mapped, a.to_v6()));
  }

  asio::awaitable<io_result> read_some(asio::mutable_buffer into) {
    io_result r{asio::error::would_block, 0};
    // Right after a write the peer's answer will hardly be here: Asio looks for it anyway.
    if (!std::exchange(asked_, false) || cancelled_) r = try_read(into);
    if (r.ec != asio::error::would_block) co_return r;
    r.ec.clear();
    r.n = co_await socket_.async_read_some(into, asio::redirect_error(asio::use_awaitable, r.ec));
    co_return r;
  }
  /// The same for a caller whose try_read has just said would_block: one recv(2) less, and no coroutine frame of ours.
  /// `ec` lives until it completes.
  asio::awaitable<std::size_t> await_read(asio::mutable_buffer into, std::error_code& ec) {
    if (cancelled_) return refuse(ec);
    return socket_.async_read_some(into, asio::redirect_error(asio::use_awaitable, ec));
  }
  /// One send(2) or sendmsg(2) for up to 16 buffers; what is over is for the next call.
  asio::awaitable<io_result> write_some(const_buffers from) {
    io_result r = try_write(from);
    if (r.ec != asio::error::would_block) co_return r;
    r.ec.clear();
    const_buffers const some = from.first(std::min(from.size(), max_buffers));
    r.n = co_await socket_.async_write_some(some, asio::redirect_error(asio::use_awaitable, r.ec));
    written_ += static_cast<std::int64_t>(r.n);
    co_return r;
  }
  io_result try_read(asio::mutable_buffer into);
  io_result try_write(const_buffers from);
  /// Sends FIN.
  asio::awaitable<std::error_code> shutdown() {
    std::error_code ec;
    if (cancelled_)
      ec = asio::error::operation_aborted;
    else
      socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ec);
    co_return ec;
  }
  void cancel() noexcept {
    cancelled_ = true;  // first: with nothing pending, the socket's own cancel would be lost
    std::error_code ignored;
    socket_.cancel(ignored);
  }
  void interrupt() noexcept {
    std::error_code ignored;
    socket_.cancel(ignored);
  }
  /// The RST leaves when the stream is destroyed.
  void reset() noexcept {
    cancel();
    linger const at_once{1, 0};  // not through Asio, whose destructor would undo it
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }

  /// Grows whenever the peer's system acknowledges something of what was written; a FIN takes one off.
  std::optional<std::int64_t> acknowledged() noexcept {
    int waiting = 0;
    if (::ioctl(socket_.native_handle(), SIOCOUTQ, &waiting) != 0) return std::nullopt;
    return written_ - waiting;
  }

  asio::ip::tcp::socket& socket() noexcept { return socket_; }
  /// The peer as it was when the stream was made; known also after the connection broke. IPv4 is never shown mapped.
  asio::ip::tcp::endpoint remote() const noexcept { return remote_; }

private:
  static constexpr std::size_t max_buffers = 16;

  static asio::awaitable<std::size_t> refuse(std::error_code& ec) {
    ec = asio::error::operation_aborted;
    co_return std::size_t{0};
  }

  asio::ip::tcp::socket socket_;
  asio::ip::tcp::endpoint remote_;
  std::int64_t written_ = 0;
  bool cancelled_ = false;
  bool asked_ = false;  // we wrote last
};
static_assert(Stream<tcp_stream>);

inline io_result tcp_stream::try_read(asio::mutable_buffer into) {
  if (cancelled_) return {asio::error::operation_aborted, 0};
  for (;;) {
    ssize_t const n = ::recv(socket_.native_handle(), into.data(), into.size(), 0);
    if (n > 0) return {{}, static_cast<std::size_t>(n)};
    if (n == 0) return {asio::error::eof, 0};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {asio::error::would_block, 0};
    if (errno != EINTR) return {system_error(errno), 0};
  }
}

inline io_result tcp_stream::try_write(const_buffers from) {
  if (cancelled_) return {asio::error::operation_aborted, 0};
  iovec parts[max_buffers];
  std::size_t count = 0;
  for (asio::const_buffer const& b : from.first(std::min(from.size(), max_buffers)))
    parts[count++] = iovec{const_cast<void*>(b.data()), b.size()};  // sendmsg does not write into them
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  for (;;) {
    // One buffer is the common case, and send(2) has less to copy in and to check.
    ssize_t const n = count == 1 ? ::send(socket_.native_handle(), parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL)
                                 : ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL);
    if (n >= 0) {
      written_ += n;
      asked_ = true;
      return {{}, static_cast<std::size_t>(n)};
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {asio::error::would_block, 0};
    if (errno != EINTR) return {system_error(errno), 0};
  }
}

}  // namespace mgw::net
