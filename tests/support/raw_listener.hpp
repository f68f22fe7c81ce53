#pragma once

#include <support/blocking_socket.hpp>

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mgw::test {

/// A listening socket on loopback whose connections the test serves by hand, byte for byte and in its own order.
class raw_listener {
public:
  explicit raw_listener(int backlog = 64) : socket_(blocking_socket::listen(0, backlog)) {}
  std::uint16_t port() const noexcept { return socket_.local_port(); }
  /// Waits for the next connection. Throws after half a minute.
  blocking_socket accept() {
    pollfd p{socket_.fd(), POLLIN, 0};
    if (::poll(&p, 1, 30'000) != 1) throw std::runtime_error("nobody connects");
    int const fd = ::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) throw std::runtime_error("nobody connects");
    return blocking_socket(fd);
  }
  /// True if a connection waits to be accepted.
  bool somebody_waits() {
    pollfd p{socket_.fd(), POLLIN, 0};
    return ::poll(&p, 1, 0) == 1;
  }

private:
  blocking_socket socket_;
};

/// Reads one head, and nothing behind it if the peer waits for an answer. Empty: none came.
inline std::string read_head(blocking_socket& s) {
  std::string text;
  while (text.find("\r\n\r\n") == std::string::npos)
    if (!s.receive(text)) return {};
  return text;
}

/// Sends byte after byte, `pause` after each, until something comes back or the peer ends it. True: all were sent.
inline bool drip(blocking_socket& s, std::string_view bytes, std::chrono::milliseconds pause) {
  for (char const& c : bytes) {
    if (!s.send(std::string_view(&c, 1))) return false;
    pollfd p{s.fd(), POLLIN, 0};
    if (::poll(&p, 1, static_cast<int>(pause.count())) != 0) return false;
  }
  return true;
}

}  // namespace mgw::test
