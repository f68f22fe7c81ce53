#pragma once

#include <mgw/cache/crc32c.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/generation.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/core/result.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// What the cache remembers of an object besides its bytes.
struct meta {
  cache::key key;
  std::uint64_t length = 0;   ///< bytes of the whole body
  bool length_known = true;   ///< false only while an object of unknown length is being filled
  std::string etag;           ///< these four as the server sent them, at most max_meta_value bytes each
  std::string last_modified;  ///
  std::string content_type;   ///
  std::string content_disposition;
  std::int64_t stored_at = 0;  ///< when it was committed, seconds since 1970
  /// Which bytes of this key these are; readers of one link get those of one generation only. 0: nothing tells.
  std::uint64_t generation = 0;
  std::string sha256;  ///< of the whole body, 64 lower-case digits; set by commit
  /// What the store's user keeps with the object: names and values. A name may come several times.
  std::vector<std::pair<std::string, std::string>> labels;
  bool pinned = false;  ///< never evicted; set by the store

  /// The first label of this name; empty if there is none.
  std::string_view label(std::string_view name) const noexcept {
    for (auto const& [n, value] : labels)
      if (n == name) return value;
    return {};
  }

  friend bool operator==(meta const&, meta const&) = default;
};

inline constexpr std::size_t max_meta_value = 4096;
inline constexpr std::size_t max_labels = 32;
/// Bytes of all labels of an object, names and values.
inline constexpr std::size_t max_label_bytes = 4096;
/// No metadata file is longer: four values and the labels, each byte escaped, and the rest.
inline constexpr std::size_t max_meta_file = 3 * (4 * max_meta_value + max_label_bytes) + 2048;
inline constexpr unsigned meta_version = 1;

/// Whether an object can have these labels. Errors: error::malformed for a name that is empty or has other characters
/// than letters, digits, `-`, `_` and `.`; error::value_too_long for too many, or too much in all.
std::error_code check_labels(std::vector<std::pair<std::string, std::string>> const& labels);

/// The contents of a metadata file (docs/cache-format.md). Errors: error::value_too_long, error::malformed for a
/// sha256 that is neither empty nor 64 lower-case digits; those of `check_labels`.
result<std::string> write_meta(meta const& m);

/// Reads what `write_meta` writes, whole. Unknown names are skipped.
/// Errors: error::malformed, error::checksum_mismatch, error::newer_version.
result<meta> read_meta(std::string_view text);

namespace meta_detail {

inline void escape(std::string& out, std::string_view value) {
  constexpr char digits[] = "0123456789abcdef";
  for (char const c : value) {
    auto const b = static_cast<unsigned char>(c);
    if (b < 0x20 || b >= 0x7f || b == '%') {
      out += '%';
      out += digits[b >> 4];
      out += digits[b & 15];
    } else {
      out += c;
    }
  }
}

inline int digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

inline bool unescape(std::string& out, std::string_view text) {
  out.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (text.size() - i < 3) return false;
    int const high = digit(text[i + 1]), low = digit(text[i + 2]);
    if (high < 0 || low < 0) return false;
    out += static_cast<char>(static_cast<unsigned char>(high << 4 | low));
    i += 2;
  }
  return out.size() <= max_meta_value;
}

template <class N>
bool read_number(N& out, std::string_view text, int base = 10) {
  auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return ec == std::errc{} && end == text.data() + text.size();
}

inline std::string hex8(std::uint32_t n) {
  std::string out(8, '0');
  for (std::size_t i = 0; i < 8; ++i) out[7 - i] = "0123456789abcdef"[n >> (4 * i) & 15];
  return out;
}

/// Reads "NAME VERSION\n" off the front. Errors: error::malformed, error::newer_version.
inline std::error_code take_version(std::string_view& text, std::string_view name, unsigned supported) {
  std::size_t const end = text.find('\n');
  if (end == std::string_view::npos || !text.starts_with(name) || text.size() <= name.size() ||
      text[name.size()] != ' ')
    return error::malformed;
  unsigned version = 0;
  if (!read_number(version, text.substr(name.size() + 1, end - name.size() - 1)) || version == 0)
    return error::malformed;
  if (version > supported) return error::newer_version;
  text.remove_prefix(end + 1);
  return {};
}

/// NAME VALUE
inline bool read_label(meta& m, std::string_view text) {
  std::size_t const blank = text.find(' ');
  if (blank == std::string_view::npos || m.labels.size() == max_labels) return false;
  auto& l = m.labels.emplace_back(text.substr(0, blank), std::string());
  return unescape(l.second, text.substr(blank + 1));
}

/// One line into its member. Sets the line's bit in `seen`; false if it is malformed or comes twice.
inline bool read_line(meta& m, unsigned& seen, std::string_view line) {
  std::size_t const blank = line.find(' ');
  if (blank == std::string_view::npos) return false;
  std::string_view const name = line.substr(0, blank), value = line.substr(blank + 1);
  if (name == "label") return read_label(m, value);
  constexpr std::array<std::string_view, 10> names{
      "key",  "length",        "sha256",       "stored-at",           "generation",
      "etag", "last-modified", "content-type", "content-disposition", "pinned"};
  std::size_t i = 0;
  while (i < names.size() && names[i] != name) ++i;
  if (i == names.size()) return true;
  if ((seen & 1u << i) != 0) return false;
  seen |= 1u << i;
  switch (i) {
    case 0: {
      auto const k = key::from_hex(value);
      if (k) m.key = *k;
      return k.has_value();
    }
    case 1: m.length_known = value != "unknown"; return !m.length_known || read_number(m.length, value);
    case 2: m.sha256 = value; return is_sha256_hex(value);
    case 3: return read_number(m.stored_at, value);
    case 4: return read_number(m.generation, value);
    case 5: return unescape(m.etag, value);
    case 6: return unescape(m.last_modified, value);
    case 7: return unescape(m.content_type, value);
    case 8: return unescape(m.content_disposition, value);
    default: m.pinned = value == "yes"; return m.pinned;
  }
}

}  // namespace meta_detail

inline std::error_code check_labels(std::vector<std::pair<std::string, std::string>> const& labels) {
  if (labels.size() > max_labels) return error::value_too_long;
  std::size_t bytes = 0;
  for (auto const& [name, value] : labels) {
    auto const plain = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
             c == '.';
    };
    if (name.empty() || !std::all_of(name.begin(), name.end(), plain)) return error::malformed;
    bytes += name.size() + value.size();
  }
  return bytes > max_label_bytes ? make_error_code(error::value_too_long) : std::error_code{};
}

inline result<std::string> write_meta(meta const& m) {
  if (auto const ec = check_labels(m.labels)) return ec;
  if (!m.sha256.empty() && !is_sha256_hex(m.sha256)) return error::malformed;
  std::string out = "mgw-meta " + std::to_string(meta_version) + "\n";
  auto const line = [&out](std::string_view name, std::string_view value) {
    out += name;
    out += ' ';
    meta_detail::escape(out, value);
    out += '\n';
  };
  line("key", m.key.hex());
  line("length", m.length_known ? std::to_string(m.length) : "unknown");
  if (!m.sha256.empty()) line("sha256", m.sha256);
  if (m.stored_at != 0) line("stored-at", std::to_string(m.stored_at));
  if (m.generation != 0) line("generation", std::to_string(m.generation));
  std::pair<std::string_view, std::string_view> const values[] = {{"etag", m.etag},
                                                                  {"last-modified", m.last_modified},
                                                                  {"content-type", m.content_type},
                                                                  {"content-disposition", m.content_disposition}};
  for (auto const& [name, value] : values) {
    if (value.size() > max_meta_value) return error::value_too_long;
    if (!value.empty()) line(name, value);
  }
  for (auto const& [name, value] : m.labels) line("label " + name, value);
  if (m.pinned) line("pinned", "yes");
  out += "crc32c " + meta_detail::hex8(crc32c(out)) + "\n";
  return out;
}

inline result<meta> read_meta(std::string_view text) {
  std::string_view rest = text;
  if (auto const ec = meta_detail::take_version(rest, "mgw-meta", meta_version)) return ec;
  constexpr std::size_t trailer_size = 16;  // "crc32c 01234567\n"
  if (text.size() > max_meta_file || rest.size() < trailer_size) return error::malformed;
  std::string_view const body = text.substr(0, text.size() - trailer_size);
  if (text.substr(body.size()) != "crc32c " + meta_detail::hex8(crc32c(body)) + "\n") return error::checksum_mismatch;
  rest.remove_suffix(trailer_size);
  meta m;
  unsigned seen = 0;
  while (!rest.empty()) {
    std::size_t const end = rest.find('\n');
    if (end == std::string_view::npos || !meta_detail::read_line(m, seen, rest.substr(0, end))) return error::malformed;
    rest.remove_prefix(end + 1);
  }
  if ((seen & 3u) != 3u) return error::malformed;  // key and length are always there
  if (check_labels(m.labels)) return error::malformed;
  if (m.generation == 0)
    m.generation = generation_of(m.etag, m.last_modified, m.length_known ? std::optional(m.length) : std::nullopt);
  return m;
}

}  // namespace mgw::cache
