#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/chars.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/head_lines.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/response_parser.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

namespace mgw::http {

enum class body_kind : std::uint8_t {
  none,         ///< no body at all, not even an empty one
  length,       ///< exactly `framing::length` bytes, which may be 0
  chunked,      ///< chunked transfer coding
  until_close,  ///< all bytes until the connection ends (responses only)
};

/// How the end of a message's body is found.
struct framing {
  body_kind kind = body_kind::none;
  std::uint64_t length = 0;  ///< bytes; 0 unless `kind` is `length`

  friend bool operator==(framing const&, framing const&) = default;
};

/// The framing of a request's body. Source: RFC 9112 6.3. Whatever two implementations could read in two ways is
/// refused: Content-Length is one field line of digits only, below 2^63; Transfer-Encoding is one field line that says
/// `chunked` and nothing else, not in HTTP/1.0, and never beside Content-Length.
/// Errors: bad_content_length, conflicting_lengths, bad_transfer_encoding, unknown_transfer_coding,
/// transfer_encoding_in_http_1_0.
result<framing> request_framing(request_head const& head);

/// The framing of the body of a response to a request with this method. The same rules and errors.
/// `none` for HEAD, 1xx, 204 and 304, whose length fields are still checked since they are passed on, and for a 2xx
/// to CONNECT, where they must be ignored. `until_close` if there is neither length nor coding.
result<framing> response_framing(response_head const& head, std::string_view request_method);

/// Whether the client lets the connection stay open: by default in HTTP/1.1, if asked for in 1.0. RFC 9112 9.3.
bool keeps_alive(request_head const& head) noexcept;

/// Whether the connection can carry another response after this one, whose framing is `f`.
/// False also for a 204 that announces a body: some servers send one, and it would be read as the next response; and for
/// a 408, with which a server says that it is closing (RFC 9110 15.5.9), whether it says so in Connection or not.
bool keeps_alive(response_head const& head, framing f) noexcept;

/// Whether the client waits for a 100 (Continue) before it sends the body. Ignored in HTTP/1.0: RFC 9110 10.1.1.
bool expects_continue(request_head const& head) noexcept;

namespace detail {

/// Reads a Content-Length value; no_error or bad_content_length.
constexpr parse_error read_length(std::string_view text, std::uint64_t& n) noexcept {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  n = 0;
  if (text.empty()) return parse_error::bad_content_length;
  for (char const c : text) {
    if (!is(c, chars::digit)) return parse_error::bad_content_length;
    auto const d = static_cast<std::uint64_t>(c - '0');
    if (n > (most - d) / 10) return parse_error::bad_content_length;
    n = n * 10 + d;
  }
  return no_error;
}

/// Whether a Transfer-Encoding is well-formed and ends in `chunked`, but names other codings before it.
constexpr bool codes_before_chunked(std::string_view text) noexcept {
  constexpr std::string_view last = "chunked";
  if (text.size() <= last.size() || !iequals(text.substr(text.size() - last.size()), last)) return false;
  text = trim(text.substr(0, text.size() - last.size()));
  if (text.empty() || text.back() != ',') return false;
  text.remove_suffix(1);
  for (;;) {
    std::size_t const comma = text.find(',');
    std::string_view const one = trim(text.substr(0, comma));
    if (one.empty() || !all_of(one, chars::token) || iequals(one, last)) return false;
    if (comma == text.npos) return true;
    text.remove_prefix(comma + 1);
  }
}

/// What the length fields say; `none` if there are none.
inline result<framing> length_fields(fields const& all, int minor) {
  field const* length = nullptr;
  field const* coding = nullptr;
  std::size_t lengths = 0;
  std::size_t codings = 0;
  for (field const& f : all) {
    if (iequals(f.name, "content-length")) {
      length = &f;
      ++lengths;
    } else if (iequals(f.name, "transfer-encoding")) {
      coding = &f;
      ++codings;
    }
  }
  if (coding != nullptr) {
    if (minor == 0) return parse_error::transfer_encoding_in_http_1_0;
    if (length != nullptr) return parse_error::conflicting_lengths;
    if (codings == 1 && codes_before_chunked(coding->value)) return parse_error::unknown_transfer_coding;
    if (codings != 1 || !iequals(coding->value, "chunked")) return parse_error::bad_transfer_encoding;
    return framing{body_kind::chunked, 0};
  }
  if (length == nullptr) return framing{};
  std::uint64_t n = 0;
  if (lengths != 1 || read_length(length->value, n) != no_error) return parse_error::bad_content_length;
  return framing{body_kind::length, n};
}

inline bool persists(fields const& all, int minor) noexcept {
  if (all.list_contains("connection", "close")) return false;
  return minor != 0 || all.list_contains("connection", "keep-alive");
}

}  // namespace detail

inline result<framing> request_framing(request_head const& head) {
  return detail::length_fields(head.fields, head.minor);
}

inline result<framing> response_framing(response_head const& head, std::string_view request_method) {
  if (request_method == "CONNECT" && head.status / 100 == 2) return framing{};
  auto const said = detail::length_fields(head.fields, head.minor);
  if (!said) return said;
  if (request_method == "HEAD" || head.status / 100 == 1 || head.status == 204 || head.status == 304) return framing{};
  if (said->kind == body_kind::none) return framing{body_kind::until_close, 0};
  return said;
}

inline bool keeps_alive(request_head const& head) noexcept {
  return detail::persists(head.fields, head.minor);
}

inline bool keeps_alive(response_head const& head, framing f) noexcept {
  if (f.kind == body_kind::until_close || head.status == 408) return false;
  if (head.status == 204) {
    if (head.fields.contains("transfer-encoding")) return false;
    field const* const length = head.fields.find("content-length");
    if (length != nullptr && length->value != "0") return false;
  }
  return detail::persists(head.fields, head.minor);
}

inline bool expects_continue(request_head const& head) noexcept {
  return head.minor != 0 && head.fields.list_contains("expect", "100-continue");
}

}  // namespace mgw::http
