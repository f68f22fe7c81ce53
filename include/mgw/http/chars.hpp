#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mgw::http {

/// Sets of bytes that HTTP's grammar speaks of, and the one table they are looked up in.
enum class chars : std::uint8_t {
  token = 1,   ///< tchar, RFC 9110 5.6.2
  value = 2,   ///< field values and reason phrases: HTAB, SP, VCHAR, obs-text (0x80 to 0xff), RFC 9110 5.5
  target = 4,  ///< request targets: VCHAR except `#`: no fragment is ever sent, and readers differ about what it hides
  host = 8,    ///< registered names: letters, digits and -._~ (RFC 3986 3.2.2 without escapes and sub-delims)
  hex = 16,
  digit = 32,
  path = 64,  ///< what can stand in a path and is no structure of it, nor an escape: VCHAR without / % \\ ? #
  quoted = 128,  ///< what stands for itself between quotes: SP and VCHAR without the quote and the backslash
};

namespace detail {
constexpr bool is_alnum(unsigned c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
constexpr std::array<std::uint8_t, 256> make_char_table() {
  constexpr std::string_view token_marks = "!#$%&'*+-.^_`|~";
  constexpr std::string_view host_marks = "-._~";
  constexpr std::string_view path_marks = "/%\\?#";
  std::array<std::uint8_t, 256> t{};
  for (unsigned c = 0; c < 256; ++c) {
    unsigned bits = 0;
    char const ch = static_cast<char>(c);
    if (is_alnum(c) || token_marks.find(ch) != std::string_view::npos) bits |= unsigned(chars::token);
    if (c == '\t' || (c >= 0x20 && c != 0x7f)) bits |= unsigned(chars::value);
    if (c > 0x20 && c < 0x7f && c != '#') bits |= unsigned(chars::target);
    if (c > 0x20 && c < 0x7f && path_marks.find(ch) == std::string_view::npos) bits |= unsigned(chars::path);
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') bits |= unsigned(chars::quoted);
    if (is_alnum(c) || host_marks.find(ch) != std::string_view::npos) bits |= unsigned(chars::host);
    if (is_alnum(c) && (c <= '9' || (c | 0x20) <= 'f')) bits |= unsigned(chars::hex);
    if (c >= '0' && c <= '9') bits |= unsigned(chars::digit);
    t[c] = static_cast<std::uint8_t>(bits);
  }
  return t;
}
inline constexpr std::array<std::uint8_t, 256> char_table = make_char_table();

inline constexpr std::size_t block = 32;
/// Whether these bytes can all stand in a field value; HTAB, which is rare there, is left to the table. Compilers make
/// a few vector instructions of it.
constexpr bool is_value_block(char const* text) noexcept {
  std::uint8_t odd = 0;
  for (std::size_t i = 0; i < block; ++i) {
    auto const c = static_cast<std::uint8_t>(text[i]);
    odd |= static_cast<std::uint8_t>((c < 0x20) | (c == 0x7f));
  }
  return odd == 0;
}
}  // namespace detail

/// Whether `c` belongs to `set`.
constexpr bool is(char c, chars set) noexcept {
  return (detail::char_table[static_cast<unsigned char>(c)] & static_cast<unsigned>(set)) != 0;
}

/// The number of leading bytes of `text` that belong to `set`.
constexpr std::size_t span_of(std::string_view text, chars set) noexcept {
  auto const bits = [text](std::size_t at) {
    return unsigned{detail::char_table[static_cast<unsigned char>(text[at])]};
  };
  std::size_t n = 0;
  if (set == chars::value)
    while (text.size() - n >= detail::block && detail::is_value_block(text.data() + n)) n += detail::block;
  // Four at a time with one branch: most of a head's bytes are looked at here and nowhere else.
  while (text.size() - n >= 4 && (bits(n) & bits(n + 1) & bits(n + 2) & bits(n + 3) & static_cast<unsigned>(set)) != 0)
    n += 4;
  while (n < text.size() && is(text[n], set)) ++n;
  return n;
}

/// Whether every byte of `text` belongs to `set`; true for an empty one.
constexpr bool all_of(std::string_view text, chars set) noexcept {
  return span_of(text, set) == text.size();
}

/// `text` without leading and trailing SP and HTAB (OWS, RFC 9110 5.6.3).
constexpr std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace mgw::http
