#pragma once

#include <support/blocking_socket.hpp>
#include <support/http_client.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::test {

/// What an origin does to one request instead of what is right.
struct mishap {
  enum class framing_kind { length, chunked, until_close };

  int status = 0;                   // 0: what is right
  std::string interim;              // sent as soon as the request's head is there
  std::string raw;                  // sent in place of everything, then the connection is closed
  field_list fields;                // added to the head
  std::optional<std::string> body;  // in place of the object (or its range)
  framing_kind framing = framing_kind::length;
  std::optional<std::size_t> cut_after;            // closes after so many body bytes
  std::optional<std::size_t> stall_after;          // sends so many body bytes, then waits for release()
  bool reset = false;                              // a cut is RST, not FIN
  bool drop = false;                               // closes without an answer
  bool silent = false;                             // waits for release() before the head
  bool close_after = false;                        // closes when the answer is out
  bool ignore_range = false;                       // whole object, 200
  bool ignore_conditions = false;                  // no 412
  bool skip_request_body = false;                  // answers without reading the request's body
  std::optional<std::string> content_range;        // in place of the right one; empty: none
  std::optional<std::string> etag, last_modified;  // in place of the object's; empty: none

  mishap() = default;
};

/// A server of one object on loopback, whose every fault the test decides. Each connection has a thread with blocking
/// calls. Understands Range (one range), If-Match, If-Unmodified-Since and If-Range.
///
/// Requests count from 0. `script[n]` is what happens to the n-th, `standing` to all others. Any thread.
class origin {
public:
  struct seen_request {
    message_head head;
    std::string body;
    std::size_t connection = 0;  // which one it came on, from 0
    std::size_t sent = 0;        // body bytes of its answer
    std::string method() const { return head.word(0); }
    std::string target() const { return head.word(1); }
    std::string value(std::string_view name) const { return head.value(name); }
  };

  explicit origin(std::string body = {}, std::string etag = "\"v1\"", std::string last_modified = {})
      : body_(std::move(body)), etag_(std::move(etag)), last_modified_(std::move(last_modified)) {
    listen();
  }
  origin(origin const&) = delete;
  origin& operator=(origin const&) = delete;
  ~origin() {
    {
      std::lock_guard const lock(mutex_);
      ending_ = true;
      for (auto const& c : open_) ::shutdown(c->fd(), SHUT_RDWR);
    }
    changed_.notify_all();
    refuse();
    for (auto& t : threads_) t.join();
  }

  std::uint16_t port() const noexcept { return port_; }
  std::string url(std::string_view path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + std::string(path);
  }
  std::string authority() const { return "127.0.0.1:" + std::to_string(port_); }

  void set_object(std::string body, std::string etag, std::string last_modified = {}) {
    std::lock_guard const lock(mutex_);
    body_ = std::move(body);
    etag_ = std::move(etag);
    last_modified_ = std::move(last_modified);
  }
  void script(std::size_t n, mishap m) {
    std::lock_guard const lock(mutex_);
    script_[n] = std::move(m);
  }
  /// What happens to all requests without a line in the script; what it returns counts, nothing: what is right.
  void standing(std::function<mishap(seen_request const&)> f) {
    std::lock_guard const lock(mutex_);
    standing_ = std::move(f);
  }
  void standing(mishap m) {
    standing([m](seen_request const&) { return m; });
  }
  void heal() {
    std::lock_guard const lock(mutex_);
    standing_ = {};
    script_.clear();
  }
  /// Waits until something stalls, and lets it go on; what stalls later waits for the next call.
  void release() {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, std::chrono::seconds(30), [&] { return stalls_ > released_; });
      released_ = stalls_;
    }
    changed_.notify_all();
  }
  /// Connections are refused until accept_again(); those that are open stay.
  void refuse() {
    if (!acceptor_.joinable()) return;
    ::shutdown(listening_.fd(), SHUT_RDWR);
    acceptor_.join();
    listening_.close();
  }
  void accept_again() { listen(); }
  /// Closes all connections, also idle ones.
  void cut_all() {
    std::lock_guard const lock(mutex_);
    for (auto const& c : open_) ::shutdown(c->fd(), SHUT_RDWR);
  }
  /// Sends bytes nobody asked for on all open connections.
  void babble(std::string_view bytes) {
    std::lock_guard const lock(mutex_);
    for (auto const& c : open_) c->send(bytes);
  }

  std::vector<seen_request> requests() const {
    std::lock_guard const lock(mutex_);
    return {seen_.begin(), seen_.end()};
  }
  std::size_t count() const {
    std::lock_guard const lock(mutex_);
    return seen_.size();
  }
  std::size_t connections() const {
    std::lock_guard const lock(mutex_);
    return connections_;
  }
  /// Body bytes of all answers.
  std::size_t sent() const {
    std::lock_guard const lock(mutex_);
    std::size_t n = 0;
    for (auto const& r : seen_) n += r.sent;
    return n;
  }
  /// Waits until `n` requests have come. False: not within half a minute.
  bool saw(std::size_t n) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return seen_.size() >= n; });
  }
  /// Waits until `n` answers in all have come to a stall.
  bool stalled(std::size_t n = 1) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return stalls_ >= n; });
  }

private:
  void listen() {
    listening_ = blocking_socket::listen(port_);
    port_ = listening_.local_port();
    acceptor_ = std::thread([this] {
      for (;;) {
        int const fd = ::accept4(listening_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        auto c = std::make_shared<blocking_socket>(fd);
        std::lock_guard const lock(mutex_);
        if (ending_) return;
        open_.push_back(c);
        threads_.emplace_back([this, c, which = connections_++] { serve(c, which); });
      }
    });
  }

  void serve(std::shared_ptr<blocking_socket> const& c, std::size_t which) {
    std::string unread;
    while (exchange(*c, which, unread)) {
    }
    std::lock_guard const lock(mutex_);
    open_.remove(c);
    c->close();
  }

  /// False: the connection is over.
  bool exchange(blocking_socket& c, std::size_t which, std::string& unread) {
    std::size_t end = unread.find("\r\n\r\n");
    for (; end == std::string::npos; end = unread.find("\r\n\r\n"))
      if (!receive(c, unread)) return false;
    seen_request r;
    r.head = message_head::parse(unread.substr(0, end + 4));
    r.connection = which;
    unread.erase(0, end + 4);
    mishap m;
    std::size_t number = 0;
    {
      std::lock_guard const lock(mutex_);
      number = seen_.size();
      seen_.push_back(r);
      if (auto const it = script_.find(number); it != script_.end())
        m = it->second;
      else if (standing_)
        m = standing_(r);
    }
    if (!m.interim.empty()) c.send(m.interim);
    changed_.notify_all();
    if (!m.skip_request_body && !read_body(c, unread, r)) return false;
    {
      std::lock_guard const lock(mutex_);
      seen_[number].body = r.body;
    }
    changed_.notify_all();
    if (m.silent && !stall()) return false;
    if (m.drop) return close(c, m);
    if (!m.raw.empty()) {
      c.send(m.raw);
      return close(c, m);
    }
    return answer(c, r, m, number);
  }

  bool answer(blocking_socket& c, seen_request const& r, mishap const& m, std::size_t number) {
    std::string body, etag, modified;
    {
      std::lock_guard const lock(mutex_);
      body = body_;
      etag = etag_;
      modified = last_modified_;
    }
    std::size_t const total = body.size();
    std::string const if_match = r.value("If-Match"), if_range = r.value("If-Range"),
                      unmodified = r.value("If-Unmodified-Since");
    std::string const range = r.value("Range");
    int status = 200;
    std::string content_range;
    bool const failed = (!if_match.empty() && if_match != etag) || (!unmodified.empty() && unmodified != modified);
    bool const ranged = range.starts_with("bytes=") && !m.ignore_range &&
                        (if_range.empty() || if_range == etag || (!modified.empty() && if_range == modified));
    if (failed && !m.ignore_conditions) {
      status = 412;
      body.clear();
    } else if (ranged) {
      std::size_t const first = std::strtoull(range.c_str() + 6, nullptr, 10);
      std::string const rest = range.substr(range.find('-') + 1);
      std::size_t const last =
          rest.empty() ? total - 1 : std::min<std::size_t>(std::strtoull(rest.c_str(), nullptr, 10), total - 1);
      if (first >= total) {
        status = 416;
        content_range = "bytes */" + std::to_string(total);
        body.clear();
      } else {
        status = 206;
        content_range = "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" + std::to_string(total);
        body = body.substr(first, last - first + 1);
      }
    }
    if (m.status != 0) {
      status = m.status;
      if (status >= 300) body = "no";
      if (status == 204 || status == 304) body.clear();
    }
    if (m.body) body = *m.body;
    std::string out = "HTTP/1.1 " + std::to_string(status) + " Whatever\r\n";
    auto const field = [&out](std::string_view name, std::string const& value) {
      if (!value.empty()) out.append(name).append(": ").append(value).append("\r\n");
    };
    field("ETag", m.etag.value_or(etag));
    field("Last-Modified", m.last_modified.value_or(modified));
    field("Content-Range", m.content_range.value_or(content_range));
    for (auto const& [name, value] : m.fields) field(name, value);
    bool const bodiless = status == 204 || status == 304;
    if (m.framing == mishap::framing_kind::chunked)
      field("Transfer-Encoding", "chunked");
    else if (m.framing == mishap::framing_kind::length && !bodiless)
      field("Content-Length", std::to_string(body.size()));
    else if (m.framing == mishap::framing_kind::until_close)
      field("Connection", "close");
    out += "\r\n";
    if (!c.send(out)) return false;
    if (r.method() == "HEAD" || bodiless) return true;
    bool const sent = send_body(c, m, body, number);
    if (!sent || m.cut_after || m.close_after || m.framing == mishap::framing_kind::until_close) return close(c, m);
    return true;
  }

  bool send_body(blocking_socket& c, mishap const& m, std::string_view body, std::size_t number) {
    std::size_t const until = std::min(m.cut_after.value_or(body.size()), body.size());
    for (std::size_t at = 0; at <= until;) {
      if (m.stall_after && at == std::min(*m.stall_after, until) && !stall()) return false;
      if (at == until) break;
      std::size_t piece = std::min<std::size_t>(until - at, 64 * 1024);
      if (m.stall_after && at < *m.stall_after) piece = std::min(piece, *m.stall_after - at);
      std::string out;
      bool const chunked = m.framing == mishap::framing_kind::chunked;
      if (chunked) {
        char size[20];
        std::snprintf(size, sizeof size, "%zx\r\n", piece);
        out = size;
      }
      out.append(body.substr(at, piece));
      if (chunked) out += "\r\n";
      {  // first: whoever has the bytes finds them counted
        std::lock_guard const lock(mutex_);
        seen_[number].sent += piece;
      }
      if (!c.send(out)) return false;
      at += piece;
    }
    if (m.framing == mishap::framing_kind::chunked && !m.cut_after) return c.send("0\r\n\r\n");
    return true;
  }

  bool close(blocking_socket& c, mishap const& m) {
    if (m.reset) {
      c.flush();
      linger const now{1, 0};
      ::setsockopt(c.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    return false;
  }
  /// False: the origin ends.
  bool stall() {
    std::unique_lock lock(mutex_);
    std::size_t const mine = ++stalls_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return ending_ || released_ >= mine; });
    return !ending_;
  }
  /// As blocking_socket::receive, without a time limit: connections idle for long.
  bool receive(blocking_socket& c, std::string& into) {
    bool more = c.receive(into);
    while (!more && c.timed_out()) more = c.receive(into);
    return more;
  }
  bool read_body(blocking_socket& c, std::string& unread, seen_request& r) {
    if (r.head.count("Content-Length") != 0) {
      std::size_t const n = std::stoull(r.value("Content-Length"));
      while (unread.size() < n)
        if (!receive(c, unread)) return false;
      r.body = unread.substr(0, n);
      unread.erase(0, n);
    } else if (r.head.count("Transfer-Encoding") != 0) {
      for (;;) {
        std::size_t end = unread.find("\r\n");
        for (; end == std::string::npos; end = unread.find("\r\n"))
          if (!receive(c, unread)) return false;
        std::size_t const n = std::strtoull(unread.c_str(), nullptr, 16);
        while (unread.size() < end + 2 + n + 2)
          if (!receive(c, unread)) return false;
        r.body += unread.substr(end + 2, n);
        unread.erase(0, end + 2 + n + 2);
        if (n == 0) return true;
      }
    }
    return true;
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string body_, etag_, last_modified_;
  std::map<std::size_t, mishap> script_;
  std::function<mishap(seen_request const&)> standing_;
  std::vector<seen_request> seen_;
  std::list<std::shared_ptr<blocking_socket>> open_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
  blocking_socket listening_;
  std::uint16_t port_ = 0;
  std::size_t connections_ = 0, stalls_ = 0, released_ = 0;
  bool ending_ = false;
};

/// Bytes in which every offset is recognizable.
inline std::string pattern(std::size_t n, unsigned seed = 1) {
  std::string out(n, '\0');
  std::uint32_t x = seed * 2654435761u + 12345u;
  for (char& c : out) {
    x = x * 1664525u + 1013904223u;
    c = static_cast<char>(x >> 24);
  }
  return out;
}

}  // namespace mgw::test
