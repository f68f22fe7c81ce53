#pragma once

#include <support/blocking_socket.hpp>

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace mgw::test {

/// A server on loopback that runs `script` with blocking calls for each connection, on a thread of its own; the
/// connection is closed when the script returns. Any thread.
class scripted_server {
public:
  using script = std::function<void(blocking_socket&)>;

  explicit scripted_server(script s) : script_(std::move(s)), listening_(blocking_socket::listen()) {
    acceptor_ = std::thread([this] { accept(); });
  }
  scripted_server(scripted_server const&) = delete;
  scripted_server& operator=(scripted_server const&) = delete;
  ~scripted_server() {
    ::shutdown(listening_.fd(), SHUT_RDWR);
    acceptor_.join();
    {
      std::lock_guard const lock(mutex_);
      for (auto const& c : open_) ::shutdown(c->fd(), SHUT_RDWR);
    }
    for (auto& t : threads_) t.join();
  }
  std::uint16_t port() const noexcept { return listening_.local_port(); }

  /// Reads up to and with the first empty line; what came behind it stays in `unread`.
  static std::string read_head(blocking_socket& c, std::string& unread) {
    std::size_t end = unread.find("\r\n\r\n");
    for (; end == std::string::npos; end = unread.find("\r\n\r\n"))
      if (!c.receive(unread)) return {};
    std::string head = unread.substr(0, end + 4);
    unread.erase(0, end + 4);
    return head;
  }

private:
  void accept() {
    for (;;) {
      int const fd = ::accept4(listening_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      auto c = std::make_shared<blocking_socket>(fd);
      std::lock_guard const lock(mutex_);
      open_.push_back(c);
      threads_.emplace_back([this, c] {
        script_(*c);
        std::lock_guard const done(mutex_);
        open_.remove(c);
        c->close();
      });
    }
  }

  script script_;
  blocking_socket listening_;
  std::mutex mutex_;
  std::list<std::shared_ptr<blocking_socket>> open_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace mgw::test
