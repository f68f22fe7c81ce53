#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/chars.hpp>
#include <mgw/mender/error.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::mender {

/// Walks one JSON text in memory, strictly, and tells where things stand in it.
///
/// For bodies of which one value is read or replaced while all other bytes stay. Nothing is converted: numbers keep
/// any size and spelling. Strict RFC 8259: no BOM, no comments, no trailing commas, one value. Strings must be
/// well-formed UTF-8 and surrogates paired, because parsers disagree about anything else.
/// Every member returns false on the first violation; the scanner then stays failed and `error()` tells which.
/// Bounds: `max_depth` levels; memory no more than the strings asked for. The text must outlive the scanner.
class json_scanner {
public:
  static constexpr unsigned max_depth = 64;

  explicit json_scanner(std::string_view text) noexcept : text_(text) {}

  /// The first character of the next token, NUL at the end. Blanks before it are skipped.
  char peek() noexcept;
  /// Offset in the text: after `peek()`, of the next token; after a value, its end.
  std::size_t position() const noexcept { return at_; }
  /// Whether nothing but blanks is left.
  bool at_end() noexcept;
  /// Valid after a member returned false.
  std::error_code error() const noexcept { return error_; }
  /// Valid after a member returned false: the offset of what the text could not go on with.
  std::size_t error_position() const noexcept { return failed_at_; }

  /// Reads a string; `out`, if any, becomes its decoded value.
  bool string(std::string* out = nullptr);
  /// Passes over one value of any kind.
  bool skip();
  /// Reads an object; `on_member(std::string const& name)` must consume the value and return what that returned.
  template <class OnMember>
  bool object(OnMember on_member);
  /// Reads an array; `on_element()` must consume one value and return what that returned.
  template <class OnElement>
  bool array(OnElement on_element);

private:
  bool fail(mender_error e = mender_error::not_json) noexcept;
  bool take(char c) noexcept;
  bool open(char bracket) noexcept;
  bool more(char bracket, bool& first) noexcept;
  bool number() noexcept;
  bool digits() noexcept;
  bool word(std::string_view expected) noexcept;
  bool escape(std::string* out);
  bool hex4(std::uint32_t& unit) noexcept;

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned depth_ = 0;
  std::error_code error_;
  std::size_t failed_at_ = 0;
};

/// The length of the well-formed UTF-8 sequence at the start of `text` (RFC 3629), 0 if there is none.
inline std::size_t utf8_sequence(std::string_view text) noexcept {
  auto const byte = [text](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  auto const in = [&byte](std::size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
  unsigned const lead = byte(0);
  if (text.empty()) return 0;
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return in(1, 0x80, 0xBF) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    unsigned const low = lead == 0xE0 ? 0xA0 : 0x80;   // no overlong form
    unsigned const high = lead == 0xED ? 0x9F : 0xBF;  // no surrogate
    return in(1, low, high) && in(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (lead < 0xF0 || lead > 0xF4) return 0;
  unsigned const low = lead == 0xF0 ? 0x90 : 0x80;
  unsigned const high = lead == 0xF4 ? 0x8F : 0xBF;
  return in(1, low, high) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF) ? 4 : 0;
}

/// Appends `code_point` as UTF-8. Precondition: it is a Unicode scalar value.
inline void append_utf8(std::string& out, std::uint32_t code_point) {
  auto const put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) return put(code_point);
  if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
  }
  put(0x80 | (code_point & 0x3F));
}

/// Appends `text` as a JSON string, quotes included. Bytes that are no UTF-8 become U+FFFD.
inline void append_json_string(std::string& out, std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  out.push_back('"');
  while (!text.empty()) {
    std::size_t const plain = http::span_of(text, http::chars::quoted);  // nearly always all of it
    out.append(text, 0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    auto const c = static_cast<unsigned char>(text[0]);
    std::size_t const length = utf8_sequence(text);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(text[0]);
    } else if (c < 0x20 || c == 0x7F) {
      out += "\\u00";
      out.push_back(hex[c >> 4U]);
      out.push_back(hex[c & 15U]);
    } else if (length == 0) {
      out += "\xEF\xBF\xBD";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out.push_back('"');
}

inline bool json_scanner::fail(mender_error e) noexcept {
  if (!error_) {
    error_ = make_error_code(e);
    failed_at_ = at_;
  }
  at_ = text_.size();
  return false;
}

inline char json_scanner::peek() noexcept {
  while (at_ < text_.size()) {
    char const c = text_[at_];
    if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return c;
    ++at_;
  }
  return '\0';
}

inline bool json_scanner::at_end() noexcept {
  peek();
  if (at_ != text_.size()) return fail();
  return !error_;
}

inline bool json_scanner::take(char c) noexcept {
  if (peek() != c || at_ == text_.size()) return false;
  ++at_;
  return true;
}

inline bool json_scanner::open(char bracket) noexcept {
  if (peek() != bracket || at_ == text_.size()) return fail();
  if (depth_ == max_depth) return fail(mender_error::too_deep);
  ++at_;
  ++depth_;
  return true;
}

/// Whether another member or element follows; the closing bracket is consumed. A violation shows in `error_`.
inline bool json_scanner::more(char bracket, bool& first) noexcept {
  if (take(bracket)) {
    --depth_;
    return false;
  }
  if (!first && !take(',')) return fail();
  first = false;
  return true;
}

template <class OnMember>
bool json_scanner::object(OnMember on_member) {
  if (!open('{')) return false;
  std::string name;
  for (bool first = true; more('}', first);) {
    if (!string(&name)) return false;
    if (!take(':')) return fail();
    if (!on_member(static_cast<std::string const&>(name))) return fail();
  }
  return !error_;
}

template <class OnElement>
bool json_scanner::array(OnElement on_element) {
  if (!open('[')) return false;
  for (bool first = true; more(']', first);)
    if (!on_element()) return fail();
  return !error_;
}

inline bool json_scanner::skip() {
  switch (peek()) {
    case '{':
      if (!open('{')) return false;
      for (bool first = true; more('}', first);) {
        if (!string()) return false;
        if (!take(':')) return fail();
        if (!skip()) return false;
      }
      return !error_;
    case '[': return array([this] { return skip(); });
    case '"': return string();
    case 't': return word("true");
    case 'f': return word("false");
    case 'n': return word("null");
    default: return number();
  }
}

inline bool json_scanner::word(std::string_view expected) noexcept {
  if (!text_.substr(at_).starts_with(expected)) return fail();
  at_ += expected.size();
  return true;
}

inline bool json_scanner::digits() noexcept {
  std::size_t const begin = at_;
  while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
  return at_ > begin;
}

inline bool json_scanner::number() noexcept {
  auto const at = [this](char c) { return at_ < text_.size() && text_[at_] == c; };
  if (at('-')) ++at_;
  if (at('0'))
    ++at_;  // no digit may follow: the caller finds one where it expects a separator
  else if (!digits())
    return fail();
  if (at('.')) {
    ++at_;
    if (!digits()) return fail();
  }
  if (at('e') || at('E')) {
    ++at_;
    if (at('+') || at('-')) ++at_;
    if (!digits()) return fail();
  }
  return true;
}

inline bool json_scanner::string(std::string* out) {
  if (out != nullptr) out->clear();
  if (!take('"')) return fail();
  while (at_ < text_.size()) {
    std::size_t const begin = at_;  // of what means itself: most of it
    at_ += http::span_of(text_.substr(at_), http::chars::quoted);
    if (out != nullptr) out->append(text_, begin, at_ - begin);
    if (at_ == text_.size()) break;
    auto const c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      ++at_;
      return true;
    }
    if (c == '\\') {
      std::size_t const backslash = at_++;
      if (!escape(out)) {
        at_ = backslash;
        return fail();
      }
      continue;
    }
    std::size_t const length = c < 0x20 ? 0 : utf8_sequence(text_.substr(at_));
    if (length == 0) return fail();
    if (out != nullptr) out->append(text_, at_, length);
    at_ += length;
  }
  return fail();
}

inline bool json_scanner::hex4(std::uint32_t& unit) noexcept {
  unit = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    if (at_ == text_.size()) return false;
    char const c = text_[at_];
    if (c >= '0' && c <= '9')
      unit = unit << 4 | static_cast<std::uint32_t>(c - '0');
    else if (c >= 'a' && c <= 'f')
      unit = unit << 4 | static_cast<std::uint32_t>(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F')
      unit = unit << 4 | static_cast<std::uint32_t>(c - 'A' + 10);
    else
      return false;
  }
  return true;
}

/// Reads what follows a backslash.
inline bool json_scanner::escape(std::string* out) {
  constexpr std::string_view names = "\"\\/bfnrt";
  constexpr std::string_view values = "\"\\/\b\f\n\r\t";
  if (at_ == text_.size()) return false;
  char const c = text_[at_++];
  if (c != 'u') {
    std::size_t const i = names.find(c);
    if (i == std::string_view::npos) return false;
    if (out != nullptr) out->push_back(values[i]);
    return true;
  }
  std::uint32_t unit = 0;
  if (!hex4(unit) || (unit >= 0xDC00 && unit <= 0xDFFF)) return false;
  if (unit >= 0xD800 && unit <= 0xDBFF) {
    std::uint32_t low = 0;
    if (!text_.substr(at_).starts_with("\\u")) return false;
    at_ += 2;
    if (!hex4(low) || low < 0xDC00 || low > 0xDFFF) return false;
    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  }
  if (out != nullptr) append_utf8(*out, unit);
  return true;
}

}  // namespace mgw::mender
