#pragma once

#include <mgw/mender/json_scanner.hpp>
#include <mgw/mender/text.hpp>

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace mgw::mender {

/// The body of an error answer as Mender's services write it: `{"error":"…","request_id":"…"}`, to be sent as
/// `application/json; charset=utf-8`. `request_id` is left out if it is empty.
inline std::string error_body(std::string_view text, std::string_view request_id) {
  std::string out = "{\"error\":";
  append_json_string(out, text);
  if (!request_id.empty()) {
    out += ",\"request_id\":";
    append_json_string(out, request_id);
  }
  out += '}';
  return out;
}

/// Whether an `X-MEN-RequestID` from outside may be taken over into logs and answers: 1 to 64 letters, digits, `-`, `_`
/// and `.`.
inline bool is_valid_request_id(std::string_view id) noexcept {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
  });
}

namespace detail {

/// Sixteen random bytes. A thread draws many at a time, since each draw costs more than all else of a request id.
inline bool draw_uuid_bytes(std::array<unsigned char, 16>& out) {
  thread_local std::array<unsigned char, 1024> drawn;
  thread_local std::size_t left = 0;
  if (left == 0) {
    if (RAND_bytes(drawn.data(), static_cast<int>(drawn.size())) != 1) return false;
    left = drawn.size();
  }
  left -= out.size();
  std::copy_n(drawn.begin() + static_cast<std::ptrdiff_t>(left), out.size(), out.begin());
  return true;
}

}  // namespace detail

/// A new request id: a random UUID (RFC 9562 section 5.4), no secret. Empty if the system has no randomness to give.
inline void make_request_id(std::string& out) {
  constexpr std::string_view hex = "0123456789abcdef";
  out.clear();
  std::array<unsigned char, 16> b{};
  if (!detail::draw_uuid_bytes(b)) return;
  b[6] = static_cast<unsigned char>((b[6] & 0x0FU) | 0x40U);
  b[8] = static_cast<unsigned char>((b[8] & 0x3FU) | 0x80U);
  std::array<char, 36> text;
  char* to = text.data();
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *to++ = '-';
    *to++ = hex[b[i] >> 4U];
    *to++ = hex[b[i] & 15U];
  }
  out.assign(text.data(), text.size());
}
inline std::string make_request_id() {
  std::string out;
  make_request_id(out);
  return out;
}

/// The id of a request that came with this `X-MEN-RequestID`, or with none: a new one where it may not be taken over.
/// Into a string that keeps its room from request to request.
inline void read_request_id(std::string_view given, std::string& out) {
  if (is_valid_request_id(given))
    out.assign(given);
  else
    make_request_id(out);
}

}  // namespace mgw::mender
