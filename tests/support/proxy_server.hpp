#pragma once

#include <support/blocking_socket.hpp>

#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::test {

/// An HTTP proxy on loopback that takes every name for loopback: the port alone says where to. Each connection has a
/// thread; its first request says what becomes of it, CONNECT or one in absolute-form, and then bytes pass both ways.
/// Any thread.
class proxy_server {
public:
  /// `authorization`: what Proxy-Authorization must say, else 407. Empty: anything.
  explicit proxy_server(std::string authorization = {})
      : authorization_(std::move(authorization)), listening_(blocking_socket::listen()) {
    acceptor_ = std::thread([this] {
      for (;;) {
        int const fd = ::accept4(listening_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        std::lock_guard const lock(mutex_);
        auto c = open_.emplace_back(std::make_shared<blocking_socket>(fd));
        threads_.emplace_back([this, c] { serve(*c); });
      }
    });
  }
  proxy_server(proxy_server const&) = delete;
  proxy_server& operator=(proxy_server const&) = delete;
  ~proxy_server() {
    ::shutdown(listening_.fd(), SHUT_RDWR);
    acceptor_.join();
    cut_all();
    for (auto& t : threads_) t.join();
  }

  std::uint16_t port() const noexcept { return listening_.local_port(); }
  std::string authority() const { return "127.0.0.1:" + std::to_string(port()); }
  /// The first head of each connection.
  std::vector<std::string> heads() const {
    std::lock_guard const lock(mutex_);
    return heads_;
  }
  /// What it says to each new connection in place of what is right, before it closes it; empty: what is right.
  void says(std::string raw) {
    std::lock_guard const lock(mutex_);
    raw_ = std::move(raw);
  }
  /// Ends all connections, as a proxy that dies.
  void cut_all() {
    std::lock_guard const lock(mutex_);
    for (auto const& c : open_) ::shutdown(c->fd(), SHUT_RDWR);
  }

private:
  void serve(blocking_socket& client) {
    std::string in;
    while (in.find("\r\n\r\n") == std::string::npos)
      if (!client.receive(in)) return client.finish();
    std::string raw;
    {
      std::lock_guard const lock(mutex_);
      heads_.push_back(in.substr(0, in.find("\r\n\r\n") + 4));
      raw = raw_;
    }
    bool const known =
        authorization_.empty() || in.find("\r\nProxy-Authorization: " + authorization_ + "\r\n") != std::string::npos;
    if (raw.empty() && !known)
      raw = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\n\r\n";
    if (!raw.empty()) {
      client.send(raw);
      return client.finish();
    }
    bool const tunnel = in.starts_with("CONNECT ");
    std::string_view target = std::string_view(in).substr(in.find(' ') + 1);
    if (!tunnel) target.remove_prefix(sizeof "http://" - 1);
    target = target.substr(0, target.find_first_of(" /"));
    auto const port = static_cast<std::uint16_t>(std::atoi(std::string(target.substr(target.rfind(':') + 1)).c_str()));
    try {
      blocking_socket server = blocking_socket::connect(port);
      if (tunnel ? client.send("HTTP/1.1 200 Go on\r\n\r\n") : server.send(in)) pump(client, server);
    } catch (std::runtime_error const&) {
      client.send("HTTP/1.1 502 Not there\r\nContent-Length: 0\r\n\r\n");
    }
    client.finish();
  }
  static void pump(blocking_socket& a, blocking_socket& b) {
    pollfd both[] = {{a.fd(), POLLIN, 0}, {b.fd(), POLLIN, 0}};
    while (::poll(both, 2, 30'000) > 0) {
      std::string bytes;
      if (both[0].revents != 0 && (!a.receive(bytes) || !b.send(bytes))) return;
      bytes.clear();
      if (both[1].revents != 0 && (!b.receive(bytes) || !a.send(bytes))) return;
    }
  }

  std::string const authorization_;
  blocking_socket listening_;
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<blocking_socket>> open_;
  std::list<std::thread> threads_;
  std::vector<std::string> heads_;
  std::string raw_;
  std::thread acceptor_;
};

}  // namespace mgw::test
