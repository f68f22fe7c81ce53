#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

namespace json = boost::json;

/// A text that is one JSON object, or nothing.
inline std::optional<json::object> parse_object(std::string_view text) {
  json::error_code ec;
  json::value v = json::parse(json::string_view(text.data(), text.size()), ec);
  if (ec || !v.is_object()) return std::nullopt;
  return std::move(v.get_object());
}

/// The string member of that name; empty if there is none.
inline std::string member(json::object const& o, std::string_view name) {
  json::value const* const v = o.if_contains(json::string_view(name.data(), name.size()));
  if (v == nullptr || !v->is_string()) return {};
  return {v->get_string().data(), v->get_string().size()};
}

/// JSON text as Go's encoder writes it: `&`, `<` and `>` are escaped. They occur inside strings only.
inline std::string go_json(json::value const& v) {
  std::string out;
  for (char const c : json::serialize(v)) {
    if (c == '&')
      out += "\\u0026";
    else if (c == '<')
      out += "\\u003c";
    else if (c == '>')
      out += "\\u003e";
    else
      out += c;
  }
  return out;
}

}  // namespace demo
