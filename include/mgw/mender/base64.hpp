#pragma once

#include <array>
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

using base64_digits = std::array<std::uint8_t, 256>;
inline constexpr std::uint8_t no_digit = 0x80;

constexpr base64_digits digits_of(std::string_view alphabet) noexcept {
  base64_digits t{};
  for (unsigned c = 0; c < t.size(); ++c) {
    int const digit = base64_digit(static_cast<char>(c), alphabet);
    t[c] = digit < 0 ? no_digit : static_cast<std::uint8_t>(digit);
  }
  return t;
}
inline constexpr base64_digits base64_values = digits_of(base64_alphabet);
inline constexpr base64_digits base64url_values = digits_of(base64url_alphabet);

/// Into `out`, whose bytes mean nothing if it returns false.
inline bool decode_base64_digits(std::string_view text, base64_digits const& values, std::string& out) {
  std::size_t const over = text.size() % 4;
  if (over == 1) return false;
  out.resize(text.size() / 4 * 3 + (over == 0 ? 0 : over - 1));
  char* to = out.data();
  std::uint32_t seen = 0;  // all digits, for no_digit
  auto const digit = [&](std::size_t i) {
    std::uint32_t const d = values[static_cast<unsigned char>(text[i])];
    seen |= d;
    return d;
  };
  std::size_t i = 0;
  for (; i + 4 <= text.size(); i += 4, to += 3) {  // four make three bytes
    std::uint32_t const bits = digit(i) << 18 | digit(i + 1) << 12 | digit(i + 2) << 6 | digit(i + 3);
    to[0] = static_cast<char>(bits >> 16 & 0xFF);
    to[1] = static_cast<char>(bits >> 8 & 0xFF);
    to[2] = static_cast<char>(bits & 0xFF);
  }
  if (over != 0) {
    std::uint32_t const bits = digit(i) << 18 | digit(i + 1) << 12 | (over == 3 ? digit(i + 2) << 6 : 0);
    to[0] = static_cast<char>(bits >> 16 & 0xFF);
    if (over == 3) to[1] = static_cast<char>(bits >> 8 & 0xFF);
    if ((bits & (over == 3 ? 0xFFU : 0xFFFFU)) != 0) return false;  // else several spellings would mean the same bytes
  }
  return (seen & no_digit) == 0;
}
inline std::optional<std::string> decode_base64_digits(std::string_view text, base64_digits const& values) {
  std::string out;
  if (!decode_base64_digits(text, values, out)) return std::nullopt;
  return out;
}

}  // namespace detail

constexpr bool is_base64url_char(char c) noexcept {
  return detail::base64url_values[static_cast<unsigned char>(c)] != detail::no_digit;
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
  return detail::decode_base64_digits(text, detail::base64url_values);
}

/// The same into a string that is there; its bytes mean nothing if it returns false.
inline bool decode_base64url(std::string_view text, std::string& out) {
  return detail::decode_base64_digits(text, detail::base64url_values, out);
}

/// Reads base64 with its padding (RFC 4648 section 4), as strictly.
inline std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  if (text.ends_with("=="))
    text.remove_suffix(2);
  else if (text.ends_with('='))
    text.remove_suffix(1);
  return detail::decode_base64_digits(text, detail::base64_values);
}

}  // namespace mgw::mender
