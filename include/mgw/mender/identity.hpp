#pragma once

#include <mgw/core/result.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/json_scanner.hpp>

#include <charconv>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::mender {

namespace detail {

/// One value in the one spelling that all spellings have which a server takes for the same.
inline bool append_canonical(json_scanner& json, std::string_view text, std::string& out) {
  switch (json.peek()) {
    case '{': {
      std::map<std::string, std::string> members;
      bool const ok = json.object([&](std::string const& name) {
        std::string value;
        return append_canonical(json, text, value) && members.emplace(name, std::move(value)).second;
      });
      if (!ok) return false;
      out += '{';
      for (auto const& [name, value] : members) {
        if (out.back() != '{') out += ',';
        append_json_string(out, name);
        out += ':';
        out += value;
      }
      out += '}';
      return true;
    }
    case '[': {
      out += '[';
      bool first = true;
      bool const ok = json.array([&] {
        if (!std::exchange(first, false)) out += ',';
        return append_canonical(json, text, out);
      });
      out += ']';
      return ok;
    }
    case '"': {
      std::string value;
      if (!json.string(&value)) return false;
      append_json_string(out, value);
      return true;
    }
    case 't':
    case 'f':
    case 'n': {
      std::size_t const begin = json.position();
      if (!json.skip()) return false;
      out += text.substr(begin, json.position() - begin);
      return true;
    }
    default: break;
  }
  std::size_t const begin = json.position();
  if (!json.skip()) return false;
  // To a server written in Go, 1, 1.0 and 1e0 are one number.
  double number = 0;
  char const* const end = text.data() + json.position();
  auto const [read, ec] = std::from_chars(text.data() + begin, end, number);
  if (ec != std::errc{} || read != end) return false;
  char digits[32];
  auto const [stop, written] = std::to_chars(digits, digits + sizeof digits, number);
  if (written != std::errc{}) return false;
  out.append(digits, stop);
  return true;
}

}  // namespace detail

/// An identity (the object in `id_data`) in one spelling: members sorted, numbers as doubles, no blanks, strings
/// escaped in one way. Two texts that a Mender server takes for one device give the same result, so that nobody passes
/// for another device by another spelling of its identity. Errors: not_json, too_deep; malformed for what parsers read
/// in different ways (a member twice, a number beyond a double) and for no members at all.
inline result<std::string> canonical_identity(std::string_view id_data) {
  json_scanner json(id_data);
  if (json.peek() != '{') return mender_error::malformed;
  std::string out;
  bool const ok = detail::append_canonical(json, id_data, out);
  if (!ok || !json.at_end()) {
    json_scanner again(id_data);  // tells a violation of JSON from one of ours
    if (!again.skip() || !again.at_end()) return again.error();
    return mender_error::malformed;
  }
  if (out == "{}") return mender_error::malformed;
  return out;
}

}  // namespace mgw::mender
