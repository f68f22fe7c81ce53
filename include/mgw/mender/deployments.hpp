#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/core/result.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/json_scanner.hpp>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender {

/// The longest answer to a poll that is looked into, decoded, in bytes. Real ones have about 3 KiB.
inline constexpr std::size_t max_deployment_size = std::size_t{1} << 20;
/// The most members of `source.header` that are taken.
inline constexpr std::size_t max_source_fields = 32;

/// Where a deployment's artifact is to be had, and where in the body that is said.
struct artifact_source {
  std::string uri;             ///< decoded; printable and without blanks
  cache::header_list headers;  ///< `source.header`, to be sent along with the download
  std::size_t uri_offset = 0;  ///< of the JSON string, opening quote included
  std::size_t uri_size = 0;    ///< with both quotes
  std::string artifact_name;   ///< for logs; empty if there is none
  std::string deployment_id;   ///< for logs; empty if there is none
};

namespace detail {

/// Whether a decoder may take member `name` for `wanted` (given in lower case): Go's ignores case, and folds the long s
/// and the Kelvin sign to their Latin letters.
inline bool is_taken_for(std::string_view name, std::string_view wanted) noexcept {
  std::size_t i = 0;
  while (!name.empty() && i < wanted.size()) {
    char c = name[0];
    std::size_t length = 1;
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (name.starts_with("\xC5\xBF")) {
      c = 's';
      length = 2;
    } else if (name.starts_with("\xE2\x84\xAA")) {
      c = 'k';
      length = 3;
    }
    if (c != wanted[i++]) return false;
    name.remove_prefix(length);
  }
  return name.empty() && i == wanted.size();
}

/// Whether this is a field that can be written on the wire as it is (RFC 9110 sections 5.1 and 5.5).
inline bool is_plain_field(std::string_view name, std::string_view value) noexcept {
  auto const is_token = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  };
  auto const is_text = [](char c) { return static_cast<unsigned char>(c) >= 0x20 ? c != 0x7F : c == '\t'; };
  return !name.empty() && std::all_of(name.begin(), name.end(), is_token) &&
         std::all_of(value.begin(), value.end(), is_text);
}

/// One run over the answer to a poll.
class artifact_source_reader {
public:
  explicit artifact_source_reader(std::string_view json) noexcept : json_(json) {}

  result<std::optional<artifact_source>> run() {
    bool const ok = json_.peek() == '{' ? read_deployment() : unexpected();
    if (!ok || !json_.at_end()) return json_.error();
    if (!expected_ || found_.uri.empty()) return std::optional<artifact_source>{};
    return std::optional<artifact_source>{std::move(found_)};
  }

private:
  bool unexpected() {
    expected_ = false;
    return json_.skip();
  }
  /// Whether the value of `name` is the one to read. A second member that a client could take for it spoils all.
  bool is(std::string_view name, std::string_view wanted, bool& seen) noexcept {
    if (!is_taken_for(name, wanted)) return false;
    if (seen || name != wanted) expected_ = false;
    seen = true;
    return expected_;
  }
  bool read_note(std::string& into) { return json_.peek() == '"' ? json_.string(&into) : json_.skip(); }

  bool read_deployment() {
    bool seen = false;
    return json_.object([&](std::string const& name) {
      if (is(name, "artifact", seen)) return json_.peek() == '{' ? read_artifact() : unexpected();
      return name == "id" ? read_note(found_.deployment_id) : json_.skip();
    });
  }
  bool read_artifact() {
    bool seen = false;
    return json_.object([&](std::string const& name) {
      if (is(name, "source", seen)) return json_.peek() == '{' ? read_source() : unexpected();
      return name == "artifact_name" ? read_note(found_.artifact_name) : json_.skip();
    });
  }
  bool read_source() {
    bool seen_uri = false;
    bool seen_header = false;
    return json_.object([&](std::string const& name) {
      if (is(name, "uri", seen_uri)) return json_.peek() == '"' ? read_uri() : unexpected();
      if (!is(name, "header", seen_header)) return json_.skip();
      if (json_.peek() == 'n') return json_.skip();  // null stands for none
      return json_.peek() == '{' ? read_headers() : unexpected();
    });
  }
  bool read_uri() {
    found_.uri_offset = json_.position();
    if (!json_.string(&found_.uri)) return false;
    found_.uri_size = json_.position() - found_.uri_offset;
    auto const bad = [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; };
    if (std::any_of(found_.uri.begin(), found_.uri.end(), bad)) expected_ = false;
    return true;
  }
  bool read_headers() {
    return json_.object([&](std::string const& name) {
      if (json_.peek() != '"' || found_.headers.size() == max_source_fields) return unexpected();
      std::string value;
      if (!json_.string(&value)) return false;
      if (!is_plain_field(name, value)) expected_ = false;
      found_.headers.emplace_back(name, std::move(value));
      return true;
    });
  }

  json_scanner json_;
  artifact_source found_;
  bool expected_ = true;
};

}  // namespace detail

/// Finds `artifact.source.uri` in the answer to `deployments/next`.
///
/// Returns nothing for JSON of another shape: relay it untouched. That includes any body in which two members could be
/// taken for `artifact`, `source`, `uri` or `header`, because clients differ in which of them they use, and a URI or
/// header field that could not be written on the wire as it is.
/// Errors: mender_error::not_json, too_deep, too_long (over max_deployment_size).
inline result<std::optional<artifact_source>> find_artifact_source(std::string_view json) {
  if (json.size() > max_deployment_size) return mender_error::too_long;
  detail::artifact_source_reader reader(json);
  return reader.run();
}

/// The same body with another URI in its place; all other bytes stay.
/// Precondition: `source` was found in this very `json`.
inline std::string replace_uri(std::string_view json, artifact_source const& source, std::string_view new_uri) {
  assert(source.uri_offset <= json.size() && source.uri_size <= json.size() - source.uri_offset);
  std::string out;
  out.reserve(json.size() + new_uri.size());
  out += json.substr(0, source.uri_offset);
  append_json_string(out, new_uri);
  out += json.substr(source.uri_offset + source.uri_size);
  return out;
}

}  // namespace mgw::mender
