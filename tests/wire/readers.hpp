#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::wire {

/// What an origin believes that a request with two framings means.
enum class belief { length_first, coding_first };

struct read_message {
  std::string start;
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
  bool whole = false;

  friend bool operator==(read_message const&, read_message const&) = default;
};

inline char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}
inline std::string lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = lower(c);
  return out;
}

/// Cuts what a client sent into requests as a careless server would: lines may end in LF alone, blanks stand anywhere,
/// lines may be folded, numbers end at their first strange byte. Shares no code with the toolkit.
/// The last message is the one that is not whole yet, if its head is there.
class lenient_reader {
public:
  explicit lenient_reader(belief b) : belief_(b) {}

  std::vector<read_message> read(std::string_view bytes) const {
    std::vector<read_message> out;
    for (;;) {
      while (bytes.starts_with("\r\n") || bytes.starts_with('\n')) bytes.remove_prefix(bytes.starts_with('\n') ? 1 : 2);
      read_message m;
      if (!head(bytes, m)) return out;
      m.whole = body(bytes, m);
      out.push_back(m);
      if (!m.whole) return out;
    }
  }

private:
  static bool line(std::string_view& bytes, std::string& into) {
    std::size_t const lf = bytes.find('\n');
    if (lf == bytes.npos) return false;
    into = bytes.substr(0, lf);
    bytes.remove_prefix(lf + 1);
    if (into.ends_with('\r')) into.pop_back();
    return true;
  }
  static std::string trimmed(std::string_view s) {
    auto const blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0'; };
    while (!s.empty() && blank(s.front())) s.remove_prefix(1);
    while (!s.empty() && blank(s.back())) s.remove_suffix(1);
    return std::string(s);
  }
  static bool head(std::string_view& bytes, read_message& m) {
    std::string one;
    if (!line(bytes, m.start)) return false;
    for (;;) {
      if (!line(bytes, one)) return false;
      if (one.empty()) return true;
      if ((one.front() == ' ' || one.front() == '\t') && !m.fields.empty()) {
        m.fields.back().second += " " + trimmed(one);
        continue;
      }
      std::size_t const colon = std::min(one.find(':'), one.size());
      m.fields.emplace_back(trimmed(one.substr(0, colon)), trimmed(one.substr(std::min(colon + 1, one.size()))));
    }
  }
  bool body(std::string_view& bytes, read_message& m) const {
    bool chunked = false, has_length = false;
    std::size_t length = 0;
    for (auto const& [name, value] : m.fields) {
      if (lower(name) == "transfer-encoding") chunked = chunked || lower(value).find("chunked") != std::string::npos;
      if (lower(name) == "content-length" && !std::exchange(has_length, true))
        length = std::strtoull(value.c_str(), nullptr, 10);
    }
    if (chunked && !(has_length && belief_ == belief::length_first)) return chunks(bytes, m);
    std::size_t const n = std::min(length, bytes.size());
    m.body = bytes.substr(0, n);
    bytes.remove_prefix(n);
    return n == length;
  }
  static bool chunks(std::string_view& bytes, read_message& m) {
    for (std::string one;;) {
      if (!line(bytes, one)) return false;
      std::size_t const size = std::strtoull(one.c_str(), nullptr, 16);
      if (size == 0) break;
      std::size_t const n = std::min(size, bytes.size());
      m.body += bytes.substr(0, n);
      bytes.remove_prefix(n);
      if (n != size || !line(bytes, one)) return false;
    }
    for (std::string one;;) {
      if (!line(bytes, one)) return false;
      if (one.empty()) return true;
    }
  }
  belief belief_;
};

/// What is wrong with a head that was forwarded or answered, by the letter of RFC 9112; empty: nothing.
/// `head` ends with its empty line.
inline std::string fault_of_head(std::string_view head) {
  std::size_t hosts = 0, lengths = 0, codings = 0;
  bool first = true;
  while (!head.empty()) {
    std::size_t const lf = head.find('\n');
    if (lf == head.npos) return "no end of line";
    std::string const line(head.substr(0, lf));
    head.remove_prefix(lf + 1);
    if (!line.ends_with('\r')) return "a line ends in LF alone";
    std::string_view const text = std::string_view(line).substr(0, line.size() - 1);
    for (char const c : text)
      if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) return "a control character in a line";
    if (std::exchange(first, false)) continue;
    if (text.empty()) break;
    std::size_t const colon = text.find(':');
    if (colon == 0 || colon == text.npos) return "a line without a name";
    std::string const name = lower(text.substr(0, colon));
    if (name.find_first_of(" \t\"(),/;<=>?@[\\]{}") != std::string::npos) return "a name that is no token";
    std::string_view value = text.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    hosts += name == "host";
    lengths += name == "content-length";
    codings += name == "transfer-encoding";
    if (name == "content-length" && (value.empty() || value.find_first_not_of("0123456789") != value.npos))
      return "a Content-Length that is not digits";
    if (name == "transfer-encoding" && value != "chunked") return "a Transfer-Encoding that is not 'chunked'";
  }
  if (hosts > 1) return "more than one Host";
  if (lengths > 1 || codings > 1) return "a repeated length field";
  if (lengths != 0 && codings != 0) return "two framings";
  return {};
}

/// The faults of all heads in what was forwarded on one connection; empty: none.
inline std::string fault_of_requests(std::string_view bytes, std::vector<read_message> const& messages) {
  for (auto const& m : messages) {
    std::size_t const begin = bytes.find(m.start + "\r\n");
    if (begin == bytes.npos) return "a request line that does not end in CRLF";
    std::size_t const end = bytes.find("\r\n\r\n", begin);
    if (end == bytes.npos) return "a head that does not end in CRLF CRLF";
    std::string_view const head = bytes.substr(begin, end + 4 - begin);
    if (auto fault = fault_of_head(head); !fault.empty()) return fault;
    if (std::count(m.start.begin(), m.start.end(), ' ') != 2 || m.start.find("  ") != std::string::npos ||
        !m.start.ends_with(" HTTP/1.1"))
      return "a malformed request line '" + m.start + "'";
    if (lower(std::string(head)).find("\r\nhost:") == std::string::npos) return "no Host";
    std::string_view rest = bytes.substr(end + 4);
    if (lower(std::string(head)).find("\r\ntransfer-encoding:") != std::string::npos)
      for (std::size_t left = m.body.size(); left != 0;) {
        std::size_t const size = std::strtoull(std::string(rest.substr(0, 17)).c_str(), nullptr, 16);
        std::size_t const lf = rest.find("\r\n");
        if (lf == rest.npos || lf == 0 || rest.substr(0, lf).find_first_not_of("0123456789abcdefABCDEF") != rest.npos)
          return "a malformed chunk line";
        rest.remove_prefix(std::min(rest.size(), lf + 2 + size));
        left -= std::min(left, size);
        if (!rest.empty() && !rest.starts_with("\r")) return "a chunk that does not end where it should";
        rest.remove_prefix(std::min<std::size_t>(rest.size(), 2));
      }
    bytes = rest;
  }
  return {};
}

struct read_response {
  int status = 0;
  std::string head;  // without the last empty line
  std::string body;
  bool whole = false;
};

/// Cuts what a client got into responses by the letter; `fault` says what a strict client stumbles over.
/// `to_head(n)` tells whether the n-th response, whose status is given, answers HEAD.
template <class ToHead>
std::vector<read_response> read_responses(std::string_view bytes, bool ended, ToHead to_head, std::string& fault) {
  std::vector<read_response> out;
  while (!bytes.empty()) {
    std::size_t const end = bytes.find("\r\n\r\n");
    if (end == bytes.npos) {
      if (ended) fault = "bytes that are no response: " + std::string(bytes.substr(0, 60));
      return out;
    }
    read_response r;
    r.head = bytes.substr(0, end + 2);
    if (fault = fault_of_head(bytes.substr(0, end + 4)); !fault.empty()) return out;
    bytes.remove_prefix(end + 4);
    if (!r.head.starts_with("HTTP/1.1 ") || r.head.size() < 15 || r.head[12] != ' ') {
      fault = "a malformed status line";
      return out;
    }
    r.status = std::atoi(r.head.c_str() + 9);
    std::string const low = lower(r.head);
    std::size_t const length_at = low.find("\r\ncontent-length:");
    bool const bodiless = r.status < 200 || r.status == 204 || r.status == 304 || to_head(out.size(), r.status);
    if (bodiless) {
      r.whole = true;
    } else if (low.find("\r\ntransfer-encoding: chunked\r\n") != low.npos) {
      for (;;) {
        std::size_t const lf = bytes.find("\r\n");
        if (lf == bytes.npos) break;
        std::size_t const size = std::strtoull(std::string(bytes.substr(0, lf)).c_str(), nullptr, 16);
        if (lf == 0 || bytes.substr(0, lf).find_first_not_of("0123456789abcdef") != bytes.npos) {
          fault = "a malformed chunk";
          return out;
        }
        if (bytes.size() < lf + 2 + size + 2) break;
        if (bytes.substr(lf + 2 + size, 2) != "\r\n") {
          fault = "a chunk that does not end where it should";
          return out;
        }
        r.body += bytes.substr(lf + 2, size);
        bytes.remove_prefix(lf + 2 + size + 2);
        r.whole = size == 0;
        if (r.whole) break;
      }
    } else if (length_at != low.npos) {
      std::size_t const length = std::strtoull(low.c_str() + length_at + 17, nullptr, 10);
      r.body = bytes.substr(0, std::min(length, bytes.size()));
      r.whole = r.body.size() == length;
      bytes.remove_prefix(r.body.size());
    } else {
      r.body = bytes;
      r.whole = ended;
      bytes = {};
    }
    bool const whole = r.whole;
    out.push_back(std::move(r));
    if (!whole) {
      if (!ended) out.pop_back();
      return out;
    }
  }
  return out;
}

}  // namespace mgw::wire
