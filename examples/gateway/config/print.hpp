#pragma once

#include "config/configuration.hpp"
#include "config/options.hpp"
#include "config/settings.hpp"

#include <mgw/mender/json_scanner.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// Whether secrets are shown.
enum class secrets { masked, shown };

/// An option's value in JSON; `""` if it is not set.
inline std::string json_value(option const& o, settings const& s, secrets how) {
  std::string const text = o.value.show(s);
  auto const quoted = [](std::string_view t) {
    std::string out;
    mgw::mender::append_json_string(out, t);
    return out;
  };
  if (is_secret(o.value.kind) && how == secrets::masked && !text.empty())
    return is_list(o.value.kind) ? "[\"***\"]" : "\"***\"";
  if (o.value.kind == value_kind::flag) return text;
  if (o.value.kind == value_kind::number && !text.empty()) return text;
  if (o.value.kind == value_kind::attributes) return text.empty() ? "[]" : text;
  if (!is_list(o.value.kind)) return quoted(text);
  std::string out = "[";
  for (std::string const& item : read_list(text)) (out += out == "[" ? "" : ", ") += quoted(item);
  return out + ']';
}

/// All settings as a configuration file, which reads to the same settings.
inline std::string to_config_text(settings const& s, secrets how) {
  std::string out = "{";
  std::vector<std::string> open;  // sections
  bool first = true;
  auto const line = [&](std::string const& text) {
    out += first ? "\n" : ",\n";
    out.append(2 * (open.size() + 1), ' ') += text;
    first = false;
  };
  auto const close_to = [&](std::size_t depth) {
    for (; open.size() > depth; open.pop_back(), first = false) (out += '\n').append(2 * open.size(), ' ') += '}';
  };
  for (option const& o : options()) {
    std::vector<std::string> parts;
    for (std::string_view rest = o.key; !rest.empty();) {
      std::size_t const dot = std::min(rest.find('.'), rest.size());
      parts.emplace_back(rest.substr(0, dot));
      rest.remove_prefix(std::min(dot + 1, rest.size()));
    }
    std::string const name = std::move(parts.back());
    parts.pop_back();
    auto const same = std::mismatch(open.begin(), open.end(), parts.begin(), parts.end());
    close_to(static_cast<std::size_t>(same.first - open.begin()));
    for (std::size_t i = open.size(); i < parts.size(); ++i, first = true) {
      line('"' + parts[i] + "\": {");
      open.push_back(parts[i]);
    }
    line('"' + name + "\": " + json_value(o, s, how));
  }
  close_to(0);
  return out + "\n}\n";
}

/// A line per option: `KEY = VALUE  (SOURCE)`, secrets masked; `KEY not accepted  (SOURCE)` where the value was
/// refused.
inline std::string print_config(configuration const& c) {
  std::string out;
  for (option const& o : options()) {
    out += o.key + (c.refused(o) ? " not accepted" : " = " + json_value(o, c.values, secrets::masked)) + "  (";
    origin const& from = c.from(o);
    switch (from.from) {
      case origin::source::built_in: out += "default"; break;
      case origin::source::file: out += "file " + from.where; break;
      case origin::source::environment: out += "environment " + from.where; break;
      case origin::source::flag: out += "flag " + from.where; break;
    }
    out += ")\n";
  }
  return out;
}

}  // namespace gateway
