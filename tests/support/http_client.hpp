#pragma once

#include <support/blocking_socket.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::test {

using field_list = std::vector<std::pair<std::string, std::string>>;

inline bool same_name(std::string_view a, std::string_view b) noexcept {
  auto const low = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return low(x) == low(y); });
}

/// A message's head, taken apart without any judgement.
struct message_head {
  std::string text;   // with the empty line; empty: none came
  std::string start;  // the first line
  field_list fields;

  bool there() const noexcept { return !text.empty(); }
  /// The first of that name, or "".
  std::string value(std::string_view name) const {
    for (auto const& [n, v] : fields)
      if (same_name(n, name)) return v;
    return {};
  }
  /// All of that name, in order.
  std::vector<std::string> values(std::string_view name) const {
    std::vector<std::string> all;
    for (auto const& [n, v] : fields)
      if (same_name(n, name)) all.push_back(v);
    return all;
  }
  std::size_t count(std::string_view name) const {
    std::size_t n = 0;
    for (auto const& f : fields) n += same_name(f.first, name);
    return n;
  }
  int status() const { return start.size() > 12 ? std::stoi(start.substr(9, 3)) : 0; }
  /// The word with that number on the first line.
  std::string word(std::size_t which) const {
    std::string_view rest = start;
    for (; which != 0; --which) rest.remove_prefix(std::min(rest.size(), rest.find(' ') + 1));
    return std::string(rest.substr(0, rest.find(' ')));
  }
  static message_head parse(std::string text) {
    message_head h;
    h.start = text.substr(0, text.find("\r\n"));
    for (std::size_t at = h.start.size() + 2; at < text.size();) {
      std::size_t const end = text.find("\r\n", at);
      std::string_view const line = std::string_view(text).substr(at, end - at);
      at = end + 2;
      std::size_t const colon = line.find(':');
      if (colon == std::string_view::npos) continue;
      std::string_view v = line.substr(colon + 1);
      while (v.starts_with(' ')) v.remove_prefix(1);
      h.fields.emplace_back(line.substr(0, colon), v);
    }
    h.text = std::move(text);
    return h;
  }
};

/// What a client got. `whole`: the body ended as its framing said.
struct reply {
  message_head head;
  std::string body;
  bool whole = false;

  int status() const { return head.status(); }
  std::string value(std::string_view name) const { return head.value(name); }
};

/// A small HTTP client whose every byte the test decides; reads responses with their framing and nothing more.
class http_client {
public:
  explicit http_client(std::uint16_t port) : socket_(blocking_socket::connect(port)) {}
  explicit http_client(blocking_socket connected) : socket_(std::move(connected)) {}

  blocking_socket& socket() noexcept { return socket_; }
  bool send(std::string_view bytes) { return socket_.send(bytes); }
  bool request(std::string_view method, std::string_view target, field_list const& fields = {},
               std::string_view body = {}) {
    std::string out;
    out.append(method).append(" ").append(target).append(" HTTP/1.1\r\nHost: gateway.test\r\n");
    for (auto const& [n, v] : fields) out.append(n).append(": ").append(v).append("\r\n");
    if (!body.empty()) out.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
    out.append("\r\n").append(body);
    return send(out);
  }
  message_head read_head() {
    for (;;) {
      std::size_t const end = unread_.find("\r\n\r\n");
      if (end != std::string::npos) {
        std::string text = unread_.substr(0, end + 4);
        unread_.erase(0, end + 4);
        return message_head::parse(std::move(text));
      }
      if (!socket_.receive(unread_)) return {};
    }
  }
  /// Exactly `n` bytes, fewer if the connection ended.
  std::string read_bytes(std::size_t n) {
    while (unread_.size() < n && socket_.receive(unread_, std::min<std::size_t>(n - unread_.size(), 256 * 1024))) {
    }
    std::string out = unread_.substr(0, n);
    unread_.erase(0, out.size());
    return out;
  }
  /// The next bytes that are there, waiting for at least one. False at the end.
  bool read_some(std::string& out) {
    if (unread_.empty() && !socket_.receive(unread_)) return false;
    out = std::exchange(unread_, {});
    return true;
  }
  /// The rest of a body whose first bytes were read into `r` already.
  void read_body(reply& r, std::string_view method = "GET") {
    int const s = r.status();
    if (method == "HEAD" || s == 204 || s == 304 || (s >= 100 && s < 200)) {
      r.whole = true;
    } else if (same_name(r.value("Transfer-Encoding"), "chunked")) {
      read_chunks(r);
    } else if (r.head.count("Content-Length") == 1) {
      auto const length = static_cast<std::size_t>(std::stoull(r.value("Content-Length")));
      r.body += read_bytes(length - r.body.size());
      r.whole = r.body.size() == length;
    } else {
      while (socket_.receive(unread_)) {
      }
      r.whole = !socket_.was_reset() && !socket_.timed_out();
      r.body += std::exchange(unread_, {});
    }
  }
  /// The final response; interim ones are skipped.
  reply read_reply(std::string_view method = "GET") {
    reply r;
    r.head = read_head();
    while (r.head.there() && r.status() < 200 && r.status() != 101) r.head = read_head();
    if (r.head.there()) read_body(r, method);
    return r;
  }
  reply ask(std::string_view method, std::string_view target, field_list const& fields = {},
            std::string_view body = {}) {
    request(method, target, fields, body);
    return read_reply(method);
  }
  reply get(std::string_view target, field_list const& fields = {}) { return ask("GET", target, fields); }
  /// True if the peer ends the connection without another byte.
  bool closed() { return unread_.empty() && !socket_.receive(unread_) && !socket_.timed_out(); }

private:
  void read_chunks(reply& r) {
    for (;;) {
      std::size_t end = unread_.find("\r\n");
      while (end == std::string::npos) {
        if (!socket_.receive(unread_)) return;
        end = unread_.find("\r\n");
      }
      std::size_t n = 0;
      auto const parsed = std::from_chars(unread_.data(), unread_.data() + end, n, 16);
      unread_.erase(0, end + 2);
      if (parsed.ec != std::errc{}) return;
      std::string const piece = read_bytes(n + 2);
      r.body += piece.substr(0, std::min(n, piece.size()));
      if (piece.size() != n + 2 || !piece.ends_with("\r\n")) return;
      if (n == 0) {
        r.whole = true;
        return;
      }
    }
  }
  blocking_socket socket_;
  std::string unread_;
};

/// One request on a connection of its own.
inline reply get(std::uint16_t port, std::string_view target, field_list const& fields = {}) {
  http_client c(port);
  return c.get(target, fields);
}

}  // namespace mgw::test
