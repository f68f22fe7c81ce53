#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <linux/sockios.h>

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace mgw::test {

/// Polls until `condition()` holds, for what is only visible from outside. False: it did not within half a minute.
template <class F>
bool eventually(F condition) {
  auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

/// A TCP socket on loopback with blocking calls; what waits longer than 30 s fails.
class blocking_socket {
public:
  explicit blocking_socket(int fd = -1) noexcept : fd_(fd) { set_up(); }
  blocking_socket(blocking_socket&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  blocking_socket& operator=(blocking_socket&& o) noexcept {
    if (this != &o) {
      close();
      fd_ = std::exchange(o.fd_, -1);
    }
    return *this;
  }
  ~blocking_socket() { close(); }

  static blocking_socket connect(std::uint16_t port) {
    blocking_socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in const a = loopback(port);
    if (::connect(s.fd_, reinterpret_cast<sockaddr const*>(&a), sizeof a) != 0)
      throw std::runtime_error("connect failed");
    return s;
  }
  /// Listens on `port`, or one that the kernel chooses; accepting waits for ever. Throws if it cannot.
  static blocking_socket listen(std::uint16_t port = 0, int backlog = 512) {
    blocking_socket s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval const never{0, 0};
    int const on = 1;
    ::setsockopt(s.fd_, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof never);
    ::setsockopt(s.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in const a = loopback(port);
    if (::bind(s.fd_, reinterpret_cast<sockaddr const*>(&a), sizeof a) != 0 || ::listen(s.fd_, backlog) != 0)
      throw std::runtime_error("cannot listen on port " + std::to_string(port));
    return s;
  }
  std::uint16_t local_port() const noexcept {
    sockaddr_in a{};
    socklen_t size = sizeof a;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &size);
    return ntohs(a.sin_port);
  }
  static sockaddr_in loopback(std::uint16_t port) noexcept {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
  }

  int fd() const noexcept { return fd_; }
  /// False: the peer is gone.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t const n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  /// Adds what has come to `into`, waiting for at least a byte; false at the end, after a reset or a timeout.
  bool receive(std::string& into, std::size_t at_most = 64 * 1024) {
    std::size_t const had = into.size();
    into.resize(had + at_most);
    ssize_t n = 0;
    do n = ::recv(fd_, into.data() + had, at_most, 0);
    while (n < 0 && errno == EINTR);
    was_reset_ = n < 0 && errno == ECONNRESET;
    timed_out_ = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    into.resize(had + static_cast<std::size_t>(n > 0 ? n : 0));
    return n > 0;
  }
  bool was_reset() const noexcept { return was_reset_; }
  bool timed_out() const noexcept { return timed_out_; }
  /// Sends FIN.
  void finish() noexcept { ::shutdown(fd_, SHUT_WR); }
  /// Waits until the peer's kernel has everything, so that a reset loses none of it.
  void flush() {
    (void)eventually([this] {
      int queued = 0;
      return ::ioctl(fd_, SIOCOUTQ, &queued) != 0 || queued == 0;
    });
  }
  /// Closes with RST.
  void reset() noexcept {
    linger const now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

private:
  void set_up() noexcept {
    if (fd_ < 0) return;
    timeval const limit{30, 0};
    int const on = 1;
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  int fd_;
  bool was_reset_ = false;
  bool timed_out_ = false;
};

/// A listener on loopback whose queue is full: it answers no SYN, as a link that has gone does.
class full_listener {
public:
  full_listener() {
    sockaddr_in a = blocking_socket::loopback(0);
    socklen_t size = sizeof a;
    auto* const address = reinterpret_cast<sockaddr*>(&a);
    bool const listens = ::bind(socket_.fd(), address, size) == 0 && ::listen(socket_.fd(), 0) == 0 &&
                         ::getsockname(socket_.fd(), address, &size) == 0 && ::connect(first_.fd(), address, size) == 0;
    if (!listens) throw std::runtime_error("no listener");
    port_ = ntohs(a.sin_port);
  }
  std::uint16_t port() const noexcept { return port_; }

private:
  blocking_socket socket_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  blocking_socket first_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};  // its queue has room for this one
  std::uint16_t port_ = 0;
};

}  // namespace mgw::test
