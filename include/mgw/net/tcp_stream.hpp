#pragma once

#include <mgw/core/concepts.hpp>
#include <mgw/net/error.hpp>
#include <mgw/net/poller.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>
#include <asio/ip/tcp.hpp>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace mgw::net {

namespace detail {

/// sendfile(2) without SIGPIPE, which it raises where the peer is gone, also behind a part that it has sent, and which no
/// flag of it keeps back. A program that ignores the signal saves two system calls.
inline ssize_t send_file_quietly(int to, int from, off_t at, std::size_t n) noexcept {
  struct sigaction now {};
  if (::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) return ::sendfile(to, from, &at, n);
  sigset_t pipe, before;
  ::sigemptyset(&pipe);
  ::sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
  ssize_t const sent = ::sendfile(to, from, &at, n);
  int const why = errno;
  timespec const at_once{};
  bool const whole = sent == static_cast<ssize_t>(n);
  if (!whole && ::sigismember(&before, SIGPIPE) == 0) ::sigtimedwait(&pipe, nullptr, &at_once);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = why;
  return sent;
}

}  // namespace detail

/// A connected TCP socket as a Stream. What is ready is moved without suspending; only then the poller is waited for.
///
/// TCP_NODELAY is set: the answers of a proxy are whole when they are written.
/// Errors: those of recv(2), send(2) and sendmsg(2); end of stream is asio::error::eof.
/// Thread rule: the thread of the executor's io_context. Not moved while an operation is pending.
class tcp_stream {
public:
  /// Precondition: `s` is open. A socket that its peer has reset already is accepted; its first operation tells.
  /// Errors: std::bad_alloc; std::system_error where the context's first stream finds no descriptor for a poller.
  explicit tcp_stream(asio::ip::tcp::socket s) : tcp_stream(s.get_executor(), s.release()) {
    int on = 1;
    ::ioctl(native_handle(), FIONBIO, &on);
  }
  /// The same for a connected, non-blocking socket, which it takes over, also if this throws.
  tcp_stream(asio::any_io_executor const& executor, int descriptor);

  asio::awaitable<io_result> read_some(asio::mutable_buffer into) { return read_when_ready(*this, into); }
  /// One send(2) or sendmsg(2) for up to 16 buffers; what is over is for the next call.
  asio::awaitable<io_result> write_some(const_buffers from) {
    io_result r = try_write(from);
    while (r.ec == asio::error::would_block) {
      bool const ready = co_await socket_->wait(poller::side::write);
      r.ec = asio::error::operation_aborted;
      if (ready) r = try_write(from);
    }
    co_return r;
  }
  /// One sendfile(2), behind what `before` has. It waits for the disk where the bytes are not in memory, so who has to wait
  /// for the peer gets 0 bytes, and looks again at where they are. Precondition: they do not change as long as they are on
  /// their way: the system keeps no copy.
  asio::awaitable<io_result> send_file(int fd, std::uint64_t offset, std::size_t n, const_buffers before) {
    io_result r = try_send_file(fd, offset, n, before);
    if (r.ec == asio::error::would_block) {
      bool const ready = co_await socket_->wait(poller::side::write);
      r.ec = asio::error::operation_aborted;
      if (ready) r.ec.clear();
    }
    co_return r;
  }
  asio::awaitable<bool> readable() { return cancelled_ ? refuse() : socket_->wait(poller::side::read); }
  bool can_call_back() const noexcept { return true; }
  /// Precondition: `try_read` has just said would_block, and nobody waits to read.
  void when_readable(wake_up w) {
    socket_->call(poller::side::read, std::move(w));
    if (cancelled_) socket_->interrupt();
  }
  io_result try_read(asio::mutable_buffer into);
  io_result try_write(const_buffers from) { return send_some(from, MSG_NOSIGNAL); }
  void look_again(look how) noexcept {
    if (how == look::now || !socket_->just_told()) socket_->doubt(poller::side::read);
  }
  /// Sends FIN.
  asio::awaitable<std::error_code> shutdown() {
    std::error_code ec;
    if (cancelled_)
      ec = asio::error::operation_aborted;
    else if (::shutdown(native_handle(), SHUT_WR) != 0)
      ec = system_error(errno);
    co_return ec;
  }
  void cancel() noexcept {
    cancelled_ = true;
    socket_->interrupt();
  }
  void interrupt() noexcept { socket_->interrupt(); }
  /// The RST leaves when the stream is destroyed.
  void reset() noexcept {
    cancel();
    linger const at_once{1, 0};
    ::setsockopt(native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }

  /// Grows whenever the peer's system acknowledges something of what was written; a FIN takes one off.
  std::optional<std::int64_t> acknowledged() noexcept {
    int waiting = 0;
    if (::ioctl(native_handle(), SIOCOUTQ, &waiting) != 0) return std::nullopt;
    return written_ - waiting;
  }

  int native_handle() const noexcept { return socket_->descriptor(); }
  /// The peer as it was when the stream was made; known also after the connection broke. IPv4 is never shown mapped.
  asio::ip::tcp::endpoint remote() const noexcept { return remote_; }

private:
  static constexpr std::size_t max_buffers = 16;

  io_result send_some(const_buffers from, int flags);
  io_result try_send_file(int fd, std::uint64_t offset, std::size_t n, const_buffers before);
  static asio::awaitable<bool> refuse() { co_return false; }
  static std::unique_ptr<poller::watched> watch(asio::any_io_executor const& executor, int descriptor) try {
    return std::make_unique<poller::watched>(poller::of(executor), descriptor);
  } catch (...) {
    ::close(descriptor);
    throw;
  }

  std::unique_ptr<poller::watched> socket_;
  asio::ip::tcp::endpoint remote_;
  std::int64_t written_ = 0;
  bool cancelled_ = false;
};
static_assert(Stream<tcp_stream> && FileSender<tcp_stream> && CallsBack<tcp_stream>);

inline tcp_stream::tcp_stream(asio::any_io_executor const& executor, int descriptor)
    : socket_(watch(executor, descriptor)) {
  int const on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  socklen_t size = static_cast<socklen_t>(remote_.capacity());
  if (::getpeername(descriptor, remote_.data(), &size) != 0) return;
  remote_.resize(size);
  if (auto const a = remote_.address(); a.is_v6() && a.to_v6().is_v4_mapped())
    remote_.address(asio::ip::make_address_v4(asio::ip::v4_mapped, a.to_v6()));
}

inline io_result tcp_stream::try_read(asio::mutable_buffer into) {
  if (cancelled_) return {asio::error::operation_aborted, 0};
  if (!socket_->may(poller::side::read)) return {asio::error::would_block, 0};
  for (;;) {
    ssize_t const n = ::recv(native_handle(), into.data(), into.size(), 0);
    if (n > 0) {
      socket_->found_some();
      if (static_cast<std::size_t>(n) < into.size()) socket_->found_last();
      return {{}, static_cast<std::size_t>(n)};
    }
    if (n == 0) return {asio::error::eof, 0};
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      socket_->found_nothing(poller::side::read);
      return {asio::error::would_block, 0};
    }
    if (errno != EINTR) return {system_error(errno), 0};
  }
}

inline io_result tcp_stream::send_some(const_buffers from, int flags) {
  if (cancelled_) return {asio::error::operation_aborted, 0};
  if (!socket_->may(poller::side::write)) return {asio::error::would_block, 0};
  iovec parts[max_buffers];
  std::size_t count = 0;
  for (asio::const_buffer const& b : from.first(std::min(from.size(), max_buffers)))
    parts[count++] = iovec{const_cast<void*>(b.data()), b.size()};  // sendmsg does not write into them
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  for (;;) {
    // One buffer is the common case, and send(2) has less to copy in and to check.
    ssize_t const n = count == 1 ? ::send(native_handle(), parts[0].iov_base, parts[0].iov_len, flags)
                                 : ::sendmsg(native_handle(), &message, flags);
    if (n >= 0) {
      written_ += n;
      return {{}, static_cast<std::size_t>(n)};
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      socket_->found_nothing(poller::side::write);
      return {asio::error::would_block, 0};
    }
    if (errno != EINTR) return {system_error(errno), 0};
  }
}

inline io_result tcp_stream::try_send_file(int fd, std::uint64_t offset, std::size_t n, const_buffers before) {
  if (cancelled_) return {asio::error::operation_aborted, 0};
  if (!socket_->may(poller::side::write)) return {asio::error::would_block, 0};
  io_result done;
  if (!before.empty()) done = send_some(before, MSG_NOSIGNAL | MSG_MORE);
  if (done.ec || done.n < asio::buffer_size(before)) return done;
  for (;;) {
    ssize_t const sent = detail::send_file_quietly(native_handle(), fd, static_cast<off_t>(offset), n);
    if (sent > 0) {
      written_ += sent;
      return {{}, done.n + static_cast<std::size_t>(sent)};
    }
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      socket_->found_nothing(poller::side::write);
      if (done.n == 0) done.ec = asio::error::would_block;
      return done;
    }
    // Its end, a disk's fault, a file system that cannot: all else is the socket's.
    if (sent == 0 || errno == EIO || errno == EINVAL || errno == ENOSYS || errno == EUCLEAN || errno == EBADMSG ||
        errno == ESTALE || errno == EOVERFLOW)
      return {std::make_error_code(std::errc::io_error), done.n};
    if (errno != EINTR) return {system_error(errno), done.n};
  }
}

}  // namespace mgw::net
