#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/core/result.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway {

using owned_descriptor = std::unique_ptr<mgw::cache::file const>;

/// One end of a connection over a Unix socket: lines, and descriptors that come beside them.
///
/// Blocking, with time limits; for a thread of its own. Errors are errno's, std::errc::timed_out,
/// std::errc::message_size for a line that is too long, std::errc::connection_reset at the end of what the peer sends.
class control_channel {
public:
  using milliseconds = std::chrono::milliseconds;
  static constexpr milliseconds forever{-1};

  explicit control_channel(owned_descriptor socket) : socket_(std::move(socket)) {}

  int fd() const noexcept { return socket_->fd(); }

  /// Sends all of `text`, and with its first byte a copy of the descriptor `beside`, unless that is -1.
  std::error_code send(std::string_view text, int beside, milliseconds limit);
  /// The next line, without its end. A descriptor that came goes into `beside`, if it is given; others are closed.
  mgw::result<std::string> read_line(std::size_t max_size, milliseconds limit, owned_descriptor* beside = nullptr);
  /// Whether the peer has closed, or said something when it was not its turn.
  bool peer_gone() const noexcept {
    pollfd p{fd(), POLLIN | POLLRDHUP, 0};
    return ::poll(&p, 1, 0) > 0;
  }
  /// Who connected, or is listening. Source: unix(7), SO_PEERCRED.
  std::optional<ucred> peer() const noexcept {
    ucred out{};
    socklen_t size = sizeof out;
    if (::getsockopt(fd(), SOL_SOCKET, SO_PEERCRED, &out, &size) != 0) return std::nullopt;
    return out;
  }

private:
  using clock = std::chrono::steady_clock;

  static std::error_code last_error() noexcept { return {errno, std::generic_category()}; }
  std::error_code wait(short what, milliseconds limit, clock::time_point begun) const;
  std::error_code receive(owned_descriptor* beside);

  owned_descriptor socket_;
  std::string heard_;  // beyond the last line
};

inline std::error_code control_channel::wait(short what, milliseconds limit, clock::time_point begun) const {
  for (;;) {
    auto const gone = std::chrono::duration_cast<milliseconds>(clock::now() - begun);
    if (limit != forever && gone >= limit) return std::make_error_code(std::errc::timed_out);
    pollfd p{fd(), what, 0};
    int const n = ::poll(&p, 1, limit == forever ? -1 : static_cast<int>((limit - gone).count()) + 1);
    if (n > 0) return {};
    if (n < 0) return last_error();  // EINTR too: whoever is interrupted wants to know
  }
}

inline std::error_code control_channel::send(std::string_view text, int beside, milliseconds limit) {
  auto const begun = clock::now();
  while (!text.empty()) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> room{};
    iovec part{const_cast<char*>(text.data()), text.size()};  // read only, whatever its type says
    msghdr m{};
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    if (beside >= 0) {
      m.msg_control = room.data();
      m.msg_controllen = room.size();
      cmsghdr* const c = CMSG_FIRSTHDR(&m);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(c), &beside, sizeof beside);
    }
    ssize_t const n = ::sendmsg(fd(), &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      text.remove_prefix(static_cast<std::size_t>(n));
      beside = -1;
    } else if (errno == EAGAIN) {
      if (auto const ec = wait(POLLOUT, limit, begun)) return ec;
    } else if (errno != EINTR) {
      return last_error();
    }
  }
  return {};
}

/// Takes what is there.
inline std::error_code control_channel::receive(owned_descriptor* beside) {
  std::array<char, 16384> bytes;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> room{};
  iovec part{bytes.data(), bytes.size()};
  msghdr m{};
  m.msg_iov = &part;
  m.msg_iovlen = 1;
  m.msg_control = room.data();
  m.msg_controllen = room.size();
  ssize_t const n = ::recvmsg(fd(), &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return errno == EAGAIN || errno == EINTR ? std::error_code() : last_error();
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    std::size_t const count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i != count; ++i) {
      int came = -1;
      std::memcpy(&came, CMSG_DATA(c) + i * sizeof came, sizeof came);
      auto one = std::make_unique<mgw::cache::file const>(came);
      if (beside != nullptr && !*beside) *beside = std::move(one);
    }
  }
  if (n == 0) return std::make_error_code(std::errc::connection_reset);
  heard_.append(bytes.data(), static_cast<std::size_t>(n));
  return {};
}

inline mgw::result<std::string> control_channel::read_line(std::size_t max_size, milliseconds limit,
                                                           owned_descriptor* beside) {
  auto const begun = clock::now();
  std::size_t looked_at = 0;
  for (;;) {
    std::size_t const end = heard_.find('\n', looked_at);
    if (end < max_size) {
      std::string line = heard_.substr(0, end);
      heard_.erase(0, end + 1);
      return line;
    }
    if (end != std::string::npos || heard_.size() >= max_size) return std::make_error_code(std::errc::message_size);
    looked_at = heard_.size();
    if (auto const ec = wait(POLLIN, limit, begun)) return ec;
    if (auto const ec = receive(beside)) return ec;
  }
}

}  // namespace gateway
