#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::fuzz {

/// An HTTP/1 message as an independent reader sees it: none of the toolkit's code, whole messages only, slow and plain.
struct message {
  enum class framed { none, length, chunked, until_close };
  std::string method, target;  ///< of a request
  int status = 0;              ///< of a response
  int minor = 1;
  std::vector<std::pair<std::string, std::string>> fields;
  framed how = framed::none;
  bool head_whole = false;
  std::string body;      ///< what is there of it, decoded
  std::size_t size = 0;  ///< of a whole message, in bytes on the wire

  std::size_t count(std::string_view name) const;
  std::string_view value(std::string_view name) const;
};

enum class ending { whole, cut, malformed };

/// What kind of message is read, and how.
struct reading {
  bool request = true;
  bool ours = false;             ///< written by the toolkit: nothing is forgiven
  std::string_view method = {};  ///< of the request that a response answers
  bool closed = false;           ///< no more bytes come
};

/// Reads the message that `in` begins with. Source: RFC 9112 2 to 7. After `malformed` with `head_whole` the fault is
/// in the body.
ending read_message(std::string_view in, reading const& how, message& out);

namespace message_detail {

inline bool same(std::string_view a, std::string_view b) {
  auto const low = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [low](char x, char y) { return low(x) == low(y); });
}
inline bool is_token(std::string_view text) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [marks](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || marks.find(c) != marks.npos;
  });
}
inline bool is_text(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; });
}
inline bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Lines that end in CRLF and hold no other control character than HTAB.
struct lines {
  std::string_view in;
  std::size_t at = 0;
  ending next(std::string_view& line) {
    std::size_t const end = in.find('\n', at);
    if (end == in.npos) return ending::cut;
    if (end == at || in[end - 1] != '\r') return ending::malformed;
    line = in.substr(at, end - 1 - at);
    at = end + 1;
    return is_text(line) ? ending::whole : ending::malformed;
  }
};

inline bool read_field(std::string_view line, message& out) {
  std::size_t const colon = line.find(':');
  if (colon == line.npos || !is_token(line.substr(0, colon))) return false;
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  out.fields.emplace_back(line.substr(0, colon), value);
  return true;
}

inline bool read_start_line(std::string_view line, reading const& how, message& out) {
  std::string_view version;
  if (how.request) {
    std::size_t const first = line.find(' '), last = line.rfind(' ');
    if (first == line.npos || first == last) return false;
    out.method = line.substr(0, first);
    out.target = line.substr(first + 1, last - first - 1);
    version = line.substr(last + 1);
    bool const visible = std::all_of(out.target.begin(), out.target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
    if (!is_token(out.method) || out.target.empty() || !visible) return false;
  } else {
    version = line.substr(0, 8);
    if (line.size() < 12 || line[8] != ' ' || !is_digits(line.substr(9, 3))) return false;
    if (line.size() > 12 ? line[12] != ' ' : how.ours) return false;
    out.status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    if (out.status < 100) return false;
  }
  if (version.size() != 8 || !version.starts_with("HTTP/1.") || !is_digits(version.substr(7))) return false;
  out.minor = version[7] == '0' ? 0 : 1;
  return !how.ours || version[7] == '1';
}

inline bool frame(reading const& how, message& out, std::uint64_t& length) {
  bool const interim = !how.request && out.status < 200;
  if (interim && !how.ours) return true;  // no body, whatever its fields say (RFC 9112 6.3)
  std::size_t const lengths = out.count("Content-Length"), codings = out.count("Transfer-Encoding");
  if (lengths > 1 || codings > 1 || (lengths != 0 && codings != 0)) return false;
  if (codings != 0 && (out.minor == 0 || !same(out.value("Transfer-Encoding"), "chunked"))) return false;
  if (lengths != 0) {
    std::string_view digits = out.value("Content-Length");
    if (!is_digits(digits)) return false;
    while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
    if (digits.size() > 19) return false;
    for (char const c : digits) length = length * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (!how.request && how.ours && (interim || out.status == 204) && lengths + codings != 0) return false;
  if (!how.request && (interim || out.status == 204 || out.status == 304 || how.method == "HEAD")) return true;
  if (codings != 0)
    out.how = message::framed::chunked;
  else if (lengths != 0)
    out.how = message::framed::length;
  else if (!how.request)
    out.how = message::framed::until_close;
  return true;
}

inline ending read_chunks(lines& l, reading const& how, message& out) {
  for (;;) {
    std::string_view line;
    if (ending const e = l.next(line); e != ending::whole) return e;
    std::size_t const end = line.find_first_not_of("0123456789abcdefABCDEF");
    std::string_view digits = line.substr(0, end);
    if (digits.empty() || (end != line.npos && (how.ours || line[end] != ';'))) return ending::malformed;
    while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
    if (digits.size() > 16) return ending::malformed;
    std::uint64_t size = 0;
    for (char const c : digits)
      size = size * 16 + static_cast<std::uint64_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    if (size == 0) break;
    std::string_view const data =
        l.in.substr(l.at, static_cast<std::size_t>(std::min<std::uint64_t>(size, l.in.size())));
    out.body += data;
    l.at += data.size();
    if (data.size() < size) return ending::cut;
    if (l.in.substr(l.at, 2) != std::string_view("\r\n").substr(0, l.in.size() - l.at)) return ending::malformed;
    if (l.in.size() - l.at < 2) return ending::cut;
    l.at += 2;
  }
  for (;;) {  // trailer section
    std::string_view line;
    message trailer;
    if (ending const e = l.next(line); e != ending::whole) return e;
    if (line.empty()) return ending::whole;
    if (!read_field(line, trailer)) return ending::malformed;
  }
}

}  // namespace message_detail

inline std::size_t message::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(fields.begin(), fields.end(),
                                                [name](auto const& f) { return message_detail::same(f.first, name); }));
}
inline std::string_view message::value(std::string_view name) const {
  for (auto const& f : fields)
    if (message_detail::same(f.first, name)) return f.second;
  return {};
}

inline ending read_message(std::string_view in, reading const& how, message& out) {
  out = message();
  message_detail::lines l{in};
  if (how.request && !how.ours && in.starts_with("\r\n")) l.at = 2;
  std::string_view line;
  if (ending const e = l.next(line); e != ending::whole) return e;
  if (!message_detail::read_start_line(line, how, out)) return ending::malformed;
  for (;;) {
    if (ending const e = l.next(line); e != ending::whole) return e;
    if (line.empty()) break;
    if (!message_detail::read_field(line, out)) return ending::malformed;
  }
  if (how.request && how.ours && out.count("Host") != 1) return ending::malformed;
  std::uint64_t length = 0;
  if (!message_detail::frame(how, out, length)) return ending::malformed;
  out.head_whole = true;
  ending e = ending::whole;
  switch (out.how) {
    case message::framed::none: break;
    case message::framed::length:
      out.body = in.substr(l.at, static_cast<std::size_t>(std::min<std::uint64_t>(length, in.size())));
      l.at += out.body.size();
      if (out.body.size() < length) e = ending::cut;
      break;
    case message::framed::chunked: e = message_detail::read_chunks(l, how, out); break;
    case message::framed::until_close:
      out.body = in.substr(l.at);
      l.at = in.size();
      if (!how.closed) e = ending::cut;
      break;
  }
  out.size = l.at;
  return e;
}

}  // namespace mgw::fuzz
