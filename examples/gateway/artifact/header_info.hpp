#pragma once

#include "artifact/error.hpp"

#include <mgw/core/result.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <boost/system/error_code.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// What `header-info` says. The texts are the artifact's own: any characters may be in them.
struct header_info {
  std::string artifact_name;
  std::vector<std::string> device_types;             ///< with which it is compatible
  std::vector<std::optional<std::string>> payloads;  ///< the type of each; null: nothing is installed
};

namespace detail {

/// A JSON object, or null. The depth is bounded; a number that fits nowhere makes it no object.
inline boost::json::value parse_json_object(std::string_view text) {
  boost::system::error_code ec;
  boost::json::parse_options how;
  how.max_depth = 16;
  boost::json::value v = boost::json::parse(boost::json::string_view(text.data(), text.size()), ec, {}, how);
  if (ec || !v.is_object()) return nullptr;
  return v;
}

inline boost::json::object const* object_in(boost::json::object const& o, char const* name) {
  auto const* const v = o.if_contains(name);
  return v == nullptr ? nullptr : v->if_object();
}

inline std::optional<std::string> text_of(boost::json::value const* v) {
  if (v == nullptr || !v->is_string()) return std::nullopt;
  return std::string(v->get_string().data(), v->get_string().size());
}

}  // namespace detail

/// Reads `version`: 3, or what it says instead; none for what is not `{"format":"mender","version":N}`.
inline std::optional<std::int64_t> read_format_version(std::string_view text) {
  auto const v = detail::parse_json_object(text);
  if (!v.is_object()) return std::nullopt;
  auto const& o = v.get_object();
  auto const format = detail::text_of(o.if_contains("format"));
  auto const* const version = o.if_contains("version");
  if (!format || *format != "mender" || version == nullptr || !version->is_int64()) return std::nullopt;
  return version->get_int64();
}

/// Reads `header-info`; what it does not know it passes over. Augmenting: only the payloads are needed.
inline mgw::result<header_info> read_header_info(std::string_view text, bool augmenting) {
  auto const v = detail::parse_json_object(text);
  if (!v.is_object()) return artifact_error::bad_header_info;
  auto const& o = v.get_object();
  header_info out;

  auto const* const payloads = o.if_contains("payloads");
  if (payloads == nullptr || !payloads->is_array() || payloads->get_array().empty())
    return artifact_error::bad_header_info;
  for (auto const& p : payloads->get_array()) {
    auto const* const type = p.is_object() ? p.get_object().if_contains("type") : nullptr;
    if (type == nullptr || !(type->is_string() || type->is_null())) return artifact_error::bad_header_info;
    out.payloads.push_back(detail::text_of(type));
  }
  if (augmenting) return out;

  auto const* const provides = detail::object_in(o, "artifact_provides");
  auto const* const depends = detail::object_in(o, "artifact_depends");
  if (provides == nullptr || depends == nullptr) return artifact_error::bad_header_info;
  auto name = detail::text_of(provides->if_contains("artifact_name"));
  auto const* const devices = depends->if_contains("device_type");
  if (!name || name->empty() || devices == nullptr || !devices->is_array()) return artifact_error::bad_header_info;
  out.artifact_name = std::move(*name);
  for (auto const& d : devices->get_array()) {
    auto one = detail::text_of(&d);
    if (!one) return artifact_error::bad_header_info;
    out.device_types.push_back(std::move(*one));
  }
  return out;
}

}  // namespace gateway
