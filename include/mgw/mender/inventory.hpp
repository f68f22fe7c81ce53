#pragma once

#include <mgw/core/result.hpp>
#include <mgw/mender/deployments.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/json_scanner.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::mender {

/// The longest inventory that is looked into, decoded, in bytes: what the server takes.
inline constexpr std::size_t max_inventory_size = std::size_t{1} << 20;

/// An attribute that the gateway adds to what devices report of themselves.
struct inventory_attribute {
  std::string name;
  std::string value;  ///< JSON: a string, a number, true or false, or a list of these

  inventory_attribute() = default;
  inventory_attribute(std::string n, std::string json) : name(std::move(n)), value(std::move(json)) {}
  /// One whose value is a string.
  static inventory_attribute of_text(std::string name, std::string_view text) {
    std::string json;
    append_json_string(json, text);
    return {std::move(name), std::move(json)};
  }
  bool operator==(inventory_attribute const&) const = default;
};
using inventory_attributes = std::vector<inventory_attribute>;

/// As an element of an inventory.
inline void append_attribute(std::string& out, inventory_attribute const& a) {
  out += "{\"name\":";
  append_json_string(out, a.name);
  out += ",\"value\":";
  out += a.value;
  out += '}';
}

namespace detail {

/// Passes over what an attribute's value may be: a scalar but null, or a list of scalars. False also for others.
inline bool skip_attribute_value(json_scanner& json) {
  auto const scalar = [&json] {
    char const c = json.peek();
    return c != '{' && c != '[' && c != 'n' && json.skip();
  };
  return json.peek() == '[' ? json.array(scalar) : scalar();
}

}  // namespace detail

/// Reads `[{"Name":"…","Value":…}, …]`, as configurations have it; names of members count in any case, other members
/// are passed over. Nothing: it is not that, or an attribute has no name or no value, or two have the same name.
inline std::optional<inventory_attributes> parse_attributes(std::string_view text) {
  json_scanner json(text);
  inventory_attributes out;
  bool const ok = json.array([&] {
    inventory_attribute a;
    bool const read = json.object([&](std::string const& member) {
      if (detail::is_taken_for(member, "name")) return a.name.empty() && json.string(&a.name);
      if (!detail::is_taken_for(member, "value")) return json.skip();
      json.peek();
      std::size_t const begin = json.position();
      if (!a.value.empty() || !detail::skip_attribute_value(json)) return false;
      a.value = text.substr(begin, json.position() - begin);
      return true;
    });
    bool const known = std::any_of(out.begin(), out.end(), [&](auto const& o) { return o.name == a.name; });
    if (!read || known || a.name.empty() || a.value.empty()) return false;
    out.push_back(std::move(a));
    return true;
  });
  if (!ok || !json.at_end()) return std::nullopt;
  return out;
}

/// An inventory (`[{"name":…,"value":…},…]`) with those of `ours` behind it that it has no attribute of the same name
/// for. All its bytes stay as they are.
///
/// Names of members count in any case, as the server's decoder has it, and any of several counts: a device's own
/// attribute is never hidden by one of ours. Returns nothing for JSON that is no list.
/// Errors: mender_error::not_json, too_deep; too_long: it has, or would have, more than max_inventory_size.
inline result<std::optional<std::string>> add_attributes(std::string_view body, inventory_attributes const& ours) {
  if (body.size() > max_inventory_size) return mender_error::too_long;
  std::vector<bool> taken(ours.size(), false);
  json_scanner json(body);
  bool const list = json.peek() == '[';
  std::size_t end = list ? json.position() + 1 : 0;  // of the last element
  bool empty = true;
  std::string name;
  auto const member = [&](std::string const& called) {
    if (json.peek() != '"' || !detail::is_taken_for(called, "name")) return json.skip();
    if (!json.string(&name)) return false;
    for (std::size_t i = 0; i < ours.size(); ++i)
      if (ours[i].name == name) taken[i] = true;
    return true;
  };
  auto const element = [&] {
    bool const read = json.peek() == '{' ? json.object(member) : json.skip();
    end = json.position();
    empty = false;
    return read;
  };
  bool const ok = list ? json.array(element) : json.skip();
  if (!ok || !json.at_end()) return json.error();
  if (!list) return std::optional<std::string>{};
  std::string out(body.substr(0, end));
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (taken[i]) continue;
    if (!empty) out += ',';
    append_attribute(out, ours[i]);
    empty = false;
  }
  out += body.substr(end);
  if (out.size() > max_inventory_size) return mender_error::too_long;
  return std::optional<std::string>{std::move(out)};
}

}  // namespace mgw::mender
