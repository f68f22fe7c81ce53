#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mgw::mender {

/// The two alphabets of RFC 4648: sections 4 and 5.
inline constexpr std::string_view base64_alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
inline constexpr std::string_view base64url_alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

namespace detail {

constexpr int base64_digit(char c, std::string_view alphabet) noexcept {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == alphabet[62]) return 62;
  return c == alphabet[63] ? 63 : -1;
}

inline std::optional<std::string> decode_base64_digits(std::string_view text, std::string_view alphabet) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t bits = 0;
  unsigned have = 0;
  for (char const c : text) {
    int const digit = base64_digit(c, alphabet);
    if (digit < 0) return std::nullopt;
    bits = (bits << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFF;
    have += 6;
    if (have < 8) continue;
    have -= 8;
    out.push_back(static_cast<char>(bits >> have & 0xFF));
  }
  if ((bits & ((1U << have) - 1)) != 0) return std::nullopt;  // else several spellings would mean the same bytes
  return out;
}

}  // namespace detail

constexpr bool is_base64url_char(char c) noexcept {
  return detail::base64_digit(c, base64url_alphabet) >= 0;
}

/// base64url without padding (RFC 4648 section 5).
inline std::string encode_base64url(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  unsigned have = 0;
  for (char const c : bytes) {
    bits = (bits << 8 | static_cast<unsigned char>(c)) & 0xFFFF;
    have += 8;
    while (have >= 6) {
      have -= 6;
      out.push_back(base64url_alphabet[bits >> have & 0x3F]);
    }
  }
  if (have != 0) out.push_back(base64url_alphabet[bits << (6 - have) & 0x3F]);
  return out;
}

/// base64 with its padding (RFC 4648 section 4).
inline std::string encode_base64(std::string_view bytes) {
  std::string out = encode_base64url(bytes);
  for (char& c : out) c = c == '-' ? '+' : c == '_' ? '/' : c;
  return out.append((4 - out.size() % 4) % 4, '=');
}

/// Reads base64url without padding. Strict, so that each byte string has exactly one spelling: no other alphabet, no
/// padding, no blanks, no bits left over. Empty text is the empty string.
inline std::optional<std::string> decode_base64url(std::string_view text) {
  return detail::decode_base64_digits(text, base64url_alphabet);
}

/// Reads base64 with its padding (RFC 4648 section 4), as strictly.
inline std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  if (text.ends_with("=="))
    text.remove_suffix(2);
  else if (text.ends_with('='))
    text.remove_suffix(1);
  return detail::decode_base64_digits(text, base64_alphabet);
}

}  // namespace mgw::mender
