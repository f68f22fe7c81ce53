#pragma once

#include <mgw/http/chars.hpp>
#include <mgw/mender/json_scanner.hpp>
#include <mgw/mender/text.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

/// How log lines are written: as the original writes them, or as a JSON object each.
enum class log_format { text, json };

/// Appends text between quotes, so that nothing in it can end them or the line: control characters, of eight bits too,
/// and what is no UTF-8 are question marks.
inline void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    std::size_t const plain = mgw::http::span_of(text, mgw::http::chars::quoted);  // nearly always all of it
    out.append(text, 0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    std::size_t const length = mgw::mender::utf8_sequence(text);
    auto const u = static_cast<unsigned char>(text[0]);
    bool const control =
        u < 0x20 || u == 0x7f || (u == 0xc2 && length == 2 && static_cast<unsigned char>(text[1]) < 0xa0);
    if (u == '"' || u == '\\')
      (out += '\\') += text[0];
    else if (length == 0 || control)
      out += '?';
    else
      out += text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out += '"';
}
inline std::string in_quotes(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

/// Appends the fields of one line to `out`, in the format. Keys are literals of ours, of at most 28 characters; a value may be anything.
class log_fields {
public:
  log_fields(log_format format, std::string& out) : format_(format), out_(out) {}

  /// In quotes.
  log_fields& text(std::string_view key, std::string_view value) {
    begin(key);
    if (format_ == log_format::json)
      mgw::mender::append_json_string(out_, value);
    else
      append_quoted(out_, value);
    return *this;
  }
  /// A word of letters, digits and the like, which the text format leaves without quotes.
  log_fields& word(std::string_view key, std::string_view value) {
    if (format_ == log_format::json) return text(key, value);
    begin(key);
    out_ += value;
    return *this;
  }
  log_fields& number(std::string_view key, std::uint64_t value) {
    begin(key);
    append(value);
    return *this;
  }
  log_fields& number(std::string_view key, int value) {
    begin(key);
    append(value);
    return *this;
  }
  /// To the millisecond.
  log_fields& seconds(std::string_view key, double value) {
    begin(key);
    constexpr double most = 1e12;  // beyond any uptime
    auto const ms = static_cast<std::uint64_t>(std::llround(std::clamp(value, 0.0, most) * 1000));
    char const behind[] = {'.', static_cast<char>('0' + ms / 100 % 10), static_cast<char>('0' + ms / 10 % 10),
                           static_cast<char>('0' + ms % 10)};
    append(ms / 1000);
    out_.append(behind, sizeof behind);
    return *this;
  }
  log_fields& flag(std::string_view key, bool value) {
    begin(key);
    out_ += value ? "true" : "false";
    return *this;
  }

private:
  template <class Integer>
  void append(Integer n) {
    std::array<char, 20> digits;
    char const* const end = std::to_chars(digits.data(), digits.data() + digits.size(), n).ptr;
    out_.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
  }
  void begin(std::string_view key) {
    std::array<char, 32> lead;  // put together here: the line is appended to once
    key = key.substr(0, lead.size() - 4);
    char* to = lead.data();
    bool const json = format_ == log_format::json;
    if (!std::exchange(first_, false)) *to++ = json ? ',' : ' ';
    if (json) *to++ = '"';
    to = std::copy(key.begin(), key.end(), to);
    if (json) *to++ = '"';
    *to++ = json ? ':' : '=';
    out_.append(lead.data(), static_cast<std::size_t>(to - lead.data()));
  }

  log_format format_;
  std::string& out_;
  bool first_ = true;
};

}  // namespace gateway
