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

inline std::optional<std::string> decode_base64_digits(std::string_view text, base64_digits const& values) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out(text.size() / 4 * 3 + (text.size() % 4 == 0 ? 0 : text.size() % 4 - 1), '\0');
  char* to = out.data();
  std::uint32_t seen = 0;  // all digits, for no_digit
  auto const digit = [&](std::size_t i) {
    std::uint32_t const d = i < text.size() ? values[static_cast<unsigned char>(text[i])] : 0;
    seen |= d;
    return d;
  };
  for (std::size_t i = 0; i < text.size(); i += 4) {  // four make three bytes
    std::uint32_t const bits = digit(i) << 18 | digit(i + 1) << 12 | digit(i + 2) << 6 | digit(i + 3);
    std::size_t const left = static_cast<std::size_t>(out.data() + out.size() - to);
    *to++ = static_cast<char>(bits >> 16 & 0xFF);
    if (left > 1) *to++ = static_cast<char>(bits >> 8 & 0xFF);
    if (left > 2) *to++ = static_cast<char>(bits & 0xFF);
    bool const rest = left == 1 ? (bits & 0xFFFF) != 0 : left == 2 && (bits & 0xFF) != 0;
    if (rest) return std::nullopt;  // else several spellings would mean the same bytes
  }
  if ((seen & no_digit) != 0) return std::nullopt;
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
