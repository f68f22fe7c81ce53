#pragma once

#include <support/blocking_socket.hpp>
#include <support/blocking_tls.hpp>
#include <support/test_certificates.hpp>

#include <wire/readers.hpp>
#include <wire/table.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::wire {

/// An origin on loopback that keeps every byte it gets and answers what its script says, else 200 with the body "ok".
/// Who expects a 100 (Continue) gets it.
///
/// It understands requests by a lenient_reader that puts the transfer coding first. Each connection has a thread with
/// blocking calls. Thread rule: any, except that `finish` comes last.
class recording_origin {
public:
  /// All that came on one connection.
  struct connection {
    int fd;
    test::blocking_socket socket;
    std::optional<test::blocking_tls> tls;
    std::mutex one_at_a_time;
    std::string bytes;
    std::string later;
    std::size_t seen = 0, answered = 0, continued = 0;
    explicit connection(int number) : fd(number), socket(number) {}
    // One thread may receive while another sends: OpenSSL wants them one at a time.
    bool send(std::string_view more) {
      std::lock_guard const lock(one_at_a_time);
      return tls ? tls->send(more) : socket.send(more);
    }
    bool receive() {
      if (!tls) return socket.receive(bytes);
      tls->wait();
      std::lock_guard const lock(one_at_a_time);
      return tls->receive(bytes);
    }
    void finish() {
      if (tls) tls->finish();
      ::shutdown(fd, SHUT_WR);
    }
  };

  /// `drips`: answers leave byte by byte. `secured`: it speaks TLS, with this server's certificate.
  recording_origin(std::vector<answer> script, bool drips, test::test_certificates const* secured = nullptr)
      : script_(std::move(script)), drips_(drips), secured_(secured) {
    listening_ = test::blocking_socket::listen();
    port_ = listening_.local_port();
    acceptor_ = std::thread([this] { accept(); });
  }
  recording_origin(recording_origin const&) = delete;
  recording_origin& operator=(recording_origin const&) = delete;
  ~recording_origin() { finish(); }

  std::uint16_t port() const noexcept { return port_; }
  /// Waits until all that is being sent is out, and sends what the answers so far have for later.
  void send_later() {
    std::unique_lock lock(mutex_);
    quiet_.wait(lock, [&] { return sending_ == 0; });
    for (auto const& c : connections_) c->send(std::exchange(c->later, {}));
  }
  /// Ends all connections and returns them. The bytes are stable from here on.
  std::vector<std::shared_ptr<connection>> const& finish() {
    if (!acceptor_.joinable()) return connections_;
    // Whoever has connected is accepted before this last one.
    test::blocking_socket const last(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in here = test::blocking_socket::loopback(0), there = test::blocking_socket::loopback(port_);
    socklen_t size = sizeof here;
    ::bind(last.fd(), reinterpret_cast<sockaddr*>(&here), size);
    ::getsockname(last.fd(), reinterpret_cast<sockaddr*>(&here), &size);
    last_port_.store(here.sin_port);
    if (::connect(last.fd(), reinterpret_cast<sockaddr*>(&there), size) != 0) ::shutdown(listening_.fd(), SHUT_RDWR);
    acceptor_.join();
    for (auto const& c : connections_) ::shutdown(c->fd, SHUT_RD);
    for (auto& t : threads_) t.join();
    return connections_;
  }
  /// The connections, one entry for each message in the order in which the heads came. After `finish`.
  std::vector<connection const*> const& order() const noexcept { return order_; }

private:
  void accept() {
    for (;;) {
      sockaddr_in from{};
      socklen_t size = sizeof from;
      int const fd = ::accept4(listening_.fd(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC);
      if (fd < 0) return;
      auto c = std::make_shared<connection>(fd);
      if (from.sin_port == last_port_.load()) return;
      std::lock_guard const lock(mutex_);
      connections_.push_back(c);
      threads_.emplace_back([this, c] { serve(*c); });
    }
  }
  void serve(connection& c) {
    lenient_reader const reader(belief::coding_first);
    try {
      if (secured_ != nullptr) c.tls.emplace(std::move(c.socket), secured_->server.certificate, secured_->server.key);
    } catch (std::runtime_error const&) {  // nobody spoke
      return;
    }
    while (c.receive()) {
      auto const messages = reader.read(c.bytes);
      for (; c.seen < messages.size(); ++c.seen) {
        std::lock_guard const lock(mutex_);
        order_.push_back(&c);
      }
      for (; c.answered < messages.size(); ++c.answered) {
        read_message const& m = messages[c.answered];
        std::unique_lock lock(mutex_);
        answer const a = next_ < script_.size() ? script_[next_] : standard(m);
        if (!m.whole && !a.at_once) {
          lock.unlock();
          if (c.continued == c.answered && expects(m)) {
            ++c.continued;
            send(c, "HTTP/1.1 100 Continue\r\n\r\n");
          }
          break;
        }
        c.continued = c.answered + 1;
        ++next_;
        c.later = a.later;
        ++sending_;
        lock.unlock();
        send(c, a.bytes);
        lock.lock();
        --sending_;
        lock.unlock();
        quiet_.notify_all();
        if (a.closes) {
          c.finish();
          while (c.receive()) {
          }
          return;
        }
      }
    }
  }
  static bool expects(read_message const& m) {
    return std::any_of(m.fields.begin(), m.fields.end(), [](auto const& f) {
      return lower(f.first) == "expect" && lower(f.second).find("100-continue") != std::string::npos;
    });
  }
  static answer standard(read_message const& m) {
    answer a;
    a.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    if (!m.start.starts_with("HEAD ")) a.bytes += "ok";
    return a;
  }
  void send(connection& c, std::string_view bytes) {
    if (!drips_) c.send(bytes);
    for (; drips_ && !bytes.empty(); bytes.remove_prefix(1)) c.send(bytes.substr(0, 1));
  }

  std::vector<answer> script_;
  bool drips_;
  test::test_certificates const* secured_;
  test::blocking_socket listening_;
  std::uint16_t port_ = 0;
  std::atomic<in_port_t> last_port_{0};
  std::mutex mutex_;
  std::condition_variable quiet_;
  std::size_t sending_ = 0;
  std::size_t next_ = 0;  // messages answered
  std::vector<std::shared_ptr<connection>> connections_;
  std::vector<connection const*> order_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace mgw::wire
