#pragma once

#include <mgw/http/chars.hpp>

#include <cstddef>
#include <string_view>
#include <vector>

namespace mgw::http {

/// ASCII case-insensitive comparison; other bytes compare as they are.
constexpr bool iequals(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    auto const x = static_cast<unsigned char>(a[i]);
    auto const y = static_cast<unsigned char>(b[i]);
    auto const lower = static_cast<unsigned>(x | 0x20u);
    if ((x ^ y) != 0x20u || lower < 'a' || lower > 'z') return false;
  }
  return true;
}

/// Whether `text` is a token: one or more tchar. Source: RFC 9110 5.6.2.
constexpr bool is_token(std::string_view text) noexcept {
  return !text.empty() && all_of(text, chars::token);
}

/// Whether `text` can stand as a field value: no control character but HTAB. Empty is fine. Source: RFC 9110 5.5.
constexpr bool is_field_value(std::string_view text) noexcept {
  return all_of(text, chars::value);
}

/// One field line. Both views belong to the buffer that the head was parsed from.
struct field {
  std::string_view name;   ///< as sent; compare with `iequals`
  std::string_view value;  ///< without surrounding white space; may be empty
};

/// The field lines of a message in the order sent, as views. Names compare without regard to case.
///
/// Nothing is owned: the buffer must outlive the views. `clear` keeps the capacity, so a reused object allocates no
/// more once it has seen its largest message. Names with `_` are kept as they are and are *not* the same as those with
/// `-`; a gateway to CGI-like servers, which confuse them, must drop them itself.
class fields {
public:
  void clear() noexcept { all_.clear(); }
  void reserve(std::size_t n) { all_.reserve(n); }
  void add(std::string_view name, std::string_view value) { all_.push_back({name, value}); }

  std::size_t size() const noexcept { return all_.size(); }
  bool empty() const noexcept { return all_.empty(); }
  field const* begin() const noexcept { return all_.data(); }
  field const* end() const noexcept { return all_.data() + all_.size(); }

  /// The first line of that name, or null. Valid until the next `add` or `clear`.
  field const* find(std::string_view name) const noexcept {
    for (field const& f : *this)
      if (iequals(f.name, name)) return &f;
    return nullptr;
  }
  /// The value of the first line of that name; empty if there is none.
  std::string_view value(std::string_view name) const noexcept {
    field const* const f = find(name);
    return f != nullptr ? f->value : std::string_view{};
  }
  std::size_t count(std::string_view name) const noexcept {
    std::size_t n = 0;
    for (field const& f : *this) n += iequals(f.name, name) ? 1 : 0;
    return n;
  }
  bool contains(std::string_view name) const noexcept { return find(name) != nullptr; }

  /// Whether any comma-separated element of any line of that name is `token`, without regard to case.
  /// For lists of tokens (Connection, Upgrade, TE): a comma inside a quoted string is not understood.
  bool list_contains(std::string_view name, std::string_view token) const noexcept;

private:
  std::vector<field> all_;
};

inline bool fields::list_contains(std::string_view name, std::string_view token) const noexcept {
  for (field const& f : *this) {
    if (!iequals(f.name, name)) continue;
    std::string_view rest = f.value;
    while (!rest.empty()) {
      std::size_t const comma = rest.find(',');
      std::string_view const element = trim(rest.substr(0, comma));
      if (!element.empty() && iequals(element, token)) return true;
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return false;
}

}  // namespace mgw::http
