#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_set>

namespace mgw::net {

/// Serial numbers of certificates that are refused, read from a text: one hexadecimal number a line.
///
/// Case, leading zeros, `0x`, colons between bytes, and the `serial=` that `openssl x509 -serial` prints make no
/// difference; empty lines and what follows a `#` do not count. Thread rule: immutable once read.
class serial_list {
public:
  static constexpr std::size_t max_digits = 128;  // RFC 5280 4.1.2.2 allows 40

  serial_list() = default;
  /// Throws std::invalid_argument naming the line that is no serial number: one that is passed over would let in whom
  /// it was to keep out.
  explicit serial_list(std::string_view text);

  /// `serial` as peer_certificate has it.
  bool contains(std::string const& serial) const { return serials_.contains(serial); }
  std::size_t size() const noexcept { return serials_.size(); }

  /// The one spelling of a number: lower case, no leading zeros; empty if it is none.
  static std::string normalized(std::string_view digits);

private:
  static std::string_view trimmed(std::string_view s) noexcept {
    auto const blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; };
    while (!s.empty() && blank(s.front())) s.remove_prefix(1);
    while (!s.empty() && blank(s.back())) s.remove_suffix(1);
    return s;
  }

  std::unordered_set<std::string> serials_;
};

inline serial_list::serial_list(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // editors put it there
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::size_t const end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    if (line.starts_with("serial=")) line.remove_prefix(7);
    std::string serial = normalized(line);
    if (serial.empty())
      throw std::invalid_argument("line " + std::to_string(number) +
                                  " is no serial number; accepted: hexadecimal digits, one number a line");
    serials_.insert(std::move(serial));
  }
}

inline std::string serial_list::normalized(std::string_view digits) {
  if (digits.starts_with("0x") || digits.starts_with("0X")) digits.remove_prefix(2);
  std::string out;
  std::size_t seen = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    char c = digits[i];
    if (c == ':' && i != 0 && i + 1 != digits.size() && digits[i - 1] != ':') continue;
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) || ++seen > max_digits) return {};
    if (c != '0' || !out.empty()) out.push_back(c);
  }
  if (seen == 0) return {};
  return out.empty() ? "0" : out;
}

}  // namespace mgw::net
