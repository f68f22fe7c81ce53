#pragma once

#include "config/configuration.hpp"
#include "config/json_entries.hpp"
#include "config/nearest.hpp"
#include "config/options.hpp"
#include "config/text_file.hpp"

#include <mgw/http/fields.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace gateway {

/// Where the configuration file is looked for.
inline constexpr char const* default_config_file = "/etc/mender/mender-gateway.conf";
/// The largest file that is read, in bytes.
inline constexpr std::size_t max_config_file = std::size_t{1} << 20;

namespace file_detail {

/// Whether keys stand below this one.
inline bool is_section(std::string_view key) {
  auto const below = [key](std::string_view known) {
    return known.size() > key.size() && known[key.size()] == '.' &&
           mgw::http::iequals(known.substr(0, key.size()), key);
  };
  return std::any_of(options().begin(), options().end(), [&](option const& o) { return below(o.key); });
}

inline bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// The value as the table takes it; nullopt if the option takes no such type. A string may stand for any value.
inline std::optional<std::string> text_for(value_kind kind, json_entry const& e) {
  using type = json_entry::type;
  switch (e.what) {
    case type::null: return std::string();
    case type::string: return has_control(e.text) ? std::nullopt : std::optional(e.text);
    case type::boolean: return kind == value_kind::flag ? std::optional(e.text) : std::nullopt;
    case type::number:
      if (kind == value_kind::duration && e.text == "0") return e.text;  // it needs no unit
      return kind == value_kind::number || kind == value_kind::size ? std::optional(e.text) : std::nullopt;
    case type::list: {
      if (kind == value_kind::attributes) return e.items.empty() ? std::optional<std::string>("") : std::nullopt;
      auto const whole = [](std::string const& item) {  // one that would be taken for two, or for none
        return !item.empty() && !has_control(item) && item.find_first_of(", ") == std::string::npos;
      };
      if (!is_list(kind) || !std::all_of(e.items.begin(), e.items.end(), whole)) return std::nullopt;
      return show_list(e.items);
    }
    case type::other_list: return kind == value_kind::attributes ? std::optional(e.text) : std::nullopt;
    case type::object: break;
  }
  return std::nullopt;
}

/// What stands there, for messages.
inline std::string shown(json_entry const& e) {
  switch (e.what) {
    case json_entry::type::null: return "null";
    case json_entry::type::boolean:
    case json_entry::type::number: return e.text.substr(0, 100);
    case json_entry::type::string: return gateway::shown(e.text);
    case json_entry::type::list: return gateway::shown('[' + show_list(e.items) + ']');
    case json_entry::type::other_list: return "a list of other things than strings";
    case json_entry::type::object: break;
  }
  return "an object";
}

inline void take(configuration& c, option const& o, json_entry const& e, origin const& from) {
  if (auto const text = text_for(o.value.kind, e))
    c.set(o, *text, from);
  else
    c.refuse(o, from, is_secret(o.value.kind) ? "not accepted (and not shown here)" : shown(e));
}

}  // namespace file_detail

/// Reads a configuration file's text into `c`; `path` is its name in messages. The keys are those of the table of
/// options, in any case. Never throws: what is wrong is noted in `c`, with its line and column.
inline void read_config_text(configuration& c, std::string const& path, std::string_view text) {
  std::vector<json_entry> entries;
  try {
    entries = read_json_entries(text);
  } catch (json_file_error const& e) {
    c.errors.push_back(path + ':' + e.at.text() + ": " + e.what());
    return;
  }
  std::string passed_over;  // members of an object that is no section
  for (json_entry const& e : entries) {
    if (!passed_over.empty() && e.key.starts_with(passed_over)) continue;
    passed_over.clear();
    bool const section = file_detail::is_section(e.key);
    if (e.what == json_entry::type::object && !section) passed_over = e.key + '.';
    origin const from = origin::file(path + ':' + e.value_at.text());
    if (option const* const o = find_option(e.key)) {
      file_detail::take(c, *o, e, from);
    } else if (!section) {
      std::string const nearest = nearest_key(e.key);
      c.unknown.push_back(path + ':' + e.key_at.text() + ": " + e.key.substr(0, 200) + " is not a known key" +
                          (nearest.empty() ? "" : "; the nearest is " + nearest));
    } else if (e.what != json_entry::type::object && e.what != json_entry::type::null) {
      c.errors.push_back(named(e.key, from) + " is " + file_detail::shown(e) + "; accepted: an object");
    }
  }
}

/// Reads the configuration file into `c`. The default one may be absent, one that was named must be there.
inline void read_config_file(configuration& c, std::string const& path, bool may_be_absent) {
  auto const text = read_text_file(path, max_config_file);
  if (text) {
    c.file = path;
    return read_config_text(c, path, *text);
  }
  bool const absent =
      text.error() == std::errc::no_such_file_or_directory || text.error() == std::errc::not_a_directory;
  if (absent && may_be_absent) return;
  c.errors.push_back(
      "configuration file " + path + ": " +
      (text.error() == std::errc::file_too_large ? "it has more than 1 MiB" : file_trouble(path, text.error())));
}

}  // namespace gateway
