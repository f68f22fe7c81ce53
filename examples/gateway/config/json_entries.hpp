#pragma once

#include <mgw/mender/error.hpp>
#include <mgw/mender/json_scanner.hpp>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// A place in a text as editors count: from 1, columns in characters.
struct text_position {
  std::size_t line = 1, column = 1;
  std::string text() const { return std::to_string(line) + ':' + std::to_string(column); }
};

/// The text is no configuration file, from this place on.
class json_file_error : public std::runtime_error {
public:
  json_file_error(text_position where, std::string const& what) : std::runtime_error(what), at(where) {}
  text_position at;
};

/// One key of a JSON text and what stands there. The members of an object follow it.
struct json_entry {
  enum class type { null, boolean, number, string, list, other_list, object };
  std::string key;  ///< the names from the root on, joined by dots: `HTTP.Listen`
  text_position key_at, value_at;
  type what = type::null;
  std::string text;                ///< of a string, decoded; of a number, boolean or other list, as it is written
  std::vector<std::string> items;  ///< of a list of strings; a list of anything else is an `other_list`
};

namespace json_detail {

/// Positions of offsets that only grow.
class line_counter {
public:
  explicit line_counter(std::string_view text) noexcept : text_(text) {}
  text_position at(std::size_t offset) noexcept {
    for (; at_ < std::min(offset, text_.size()); ++at_) {
      auto const c = static_cast<unsigned char>(text_[at_]);
      if (c == '\n')
        position_ = {position_.line + 1, 1};
      else if ((c & 0xC0U) != 0x80)  // the first byte of a character
        ++position_.column;
    }
    return position_;
  }

private:
  std::string_view text_;
  std::size_t at_ = 0;
  text_position position_;
};

inline char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
inline std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), to_lower);
  return out;
}

class entry_reader {
public:
  explicit entry_reader(std::string_view text) noexcept : text_(text), json_(text), lines_(text) {}

  std::vector<json_entry> run() {
    if (json_.peek() != '{' && json_.skip()) throw json_file_error({}, "it must be an object: {…}");
    if (!members("") || !json_.at_end()) throw_error();
    return std::move(entries_);
  }

private:
  static constexpr std::size_t max_keys = 1000;
  struct name_seen {
    std::string name;  // in lower case
    text_position at;
  };

  bool members(std::string const& prefix) {
    std::vector<name_seen> seen;
    return json_.object([&](std::string const& name) { return member(prefix, name, seen); });
  }

  // After the colon.
  bool member(std::string const& prefix, std::string const& name, std::vector<name_seen>& seen) {
    json_entry e;
    e.key = prefix + plain(name);
    e.key_at = lines_.at(name_offset());
    std::string name_in_lower = lower(name);
    for (name_seen const& s : seen)
      if (s.name == name_in_lower)
        throw json_file_error(e.key_at, e.key + " is there twice; the first one is at " + s.at.text());
    seen.push_back({std::move(name_in_lower), e.key_at});
    if (entries_.size() == max_keys) throw json_file_error(e.key_at, "more than " + std::to_string(max_keys) + " keys");
    char const first = json_.peek();
    std::size_t const begin = json_.position();
    e.value_at = lines_.at(begin);
    if (first == '{') {
      e.what = json_entry::type::object;
      std::string const inner = e.key + '.';
      entries_.push_back(std::move(e));
      return members(inner);
    }
    if (!value(first, e)) return false;
    using type = json_entry::type;
    if (e.what == type::number || e.what == type::boolean || e.what == type::other_list)
      e.text = text_.substr(begin, json_.position() - begin);
    entries_.push_back(std::move(e));
    return true;
  }

  bool value(char first, json_entry& e) {
    using type = json_entry::type;
    if (first == '"') return e.what = type::string, json_.string(&e.text);
    if (first == '[') return list(e);
    e.what = first == 'n' ? type::null : first == 't' || first == 'f' ? type::boolean : type::number;
    return json_.skip();
  }

  bool list(json_entry& e) {
    e.what = json_entry::type::list;
    bool const ok = json_.array([&] {
      if (json_.peek() == '"' && e.what == json_entry::type::list) return json_.string(&e.items.emplace_back());
      e.what = json_entry::type::other_list;
      return json_.skip();
    });
    if (e.what == json_entry::type::other_list) e.items.clear();
    return ok;
  }

  /// Where the name begins, behind whose colon the scanner stands. A quote within a name has a backslash before it, the
  /// one at its beginning has none.
  std::size_t name_offset() const noexcept {
    std::size_t at = text_.rfind('"', json_.position() - 1);
    do at = text_.rfind('"', at - 1);
    while (at > 0 && text_[at - 1] == '\\');
    return at;
  }

  /// A name of the usual letters as it is, others in quotes, so that nobody takes a dot in it for a step down.
  static std::string plain(std::string const& name) {
    auto const usual = [](char c) {
      char const l = to_lower(c);
      return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    };
    if (!name.empty() && std::all_of(name.begin(), name.end(), usual)) return name;
    std::string out;
    mgw::mender::append_json_string(out, name);
    return out;
  }

  [[noreturn]] void throw_error() const {
    std::size_t const offset = json_.error_position();
    text_position const at = line_counter(text_).at(offset);
    if (json_.error() == mgw::mender::mender_error::too_deep) throw json_file_error(at, "nested too deeply");
    if (text_.starts_with("\xEF\xBB\xBF")) throw json_file_error({}, "not JSON: it begins with a byte-order mark");
    if (offset >= text_.size()) throw json_file_error(at, "not JSON: it ends too early");
    char const c = text_[offset];
    std::string what;
    if (c == '\n' || c == '\r')
      what = "the line ends inside a string";
    else if (c == '\\')
      what = "this escape is none (a backslash is written \\\\)";
    else if (c > 0x20 && c < 0x7f)
      what = std::string("unexpected ") + c;
    else
      what = "unexpected byte " + std::to_string(static_cast<unsigned char>(c));
    std::size_t const before = text_.find_last_not_of(" \t\r\n", offset == 0 ? 0 : offset - 1);
    if ((c == '}' || c == ']') && before != std::string_view::npos && text_[before] == ',') what += " after a comma";
    throw json_file_error(at, "not JSON: " + what);
  }

  std::string_view text_;
  mgw::mender::json_scanner json_;
  line_counter lines_;
  std::vector<json_entry> entries_;
};

}  // namespace json_detail

/// All keys of a JSON object, at every level, in their order. Strict RFC 8259; a key may stand once per object, in
/// whatever case. At most 1000 keys and json_scanner::max_depth levels. Throws json_file_error.
inline std::vector<json_entry> read_json_entries(std::string_view text) {
  return json_detail::entry_reader(text).run();
}

}  // namespace gateway
