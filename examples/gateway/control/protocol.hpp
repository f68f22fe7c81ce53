#pragma once

#include "artifact/header_info.hpp"
#include "artifact/report.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <boost/json/string_view.hpp>
#include <boost/json/value.hpp>
#include <boost/system/error_code.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

// What is said on the control socket (docs/cache-commands.md), a JSON object on a line each:
//
//   client    {"mgw":1,"command":"verify","cache":"/var/cache/…","objects":["release-2"]}   and a descriptor, if it
//   takes one gateway   {"mgw":1,"accepted":true} gateway
//   {"mgw":1,"progress":{"done":5,"total":10,"object":"release-2"}}               any number gateway
//   {"mgw":1,"status":0, …}                                                       the answer; it closes

inline constexpr int control_version = 1;
/// Bytes of a request, its line feed included.
inline constexpr std::size_t max_control_request = std::size_t{64} << 10U;
/// Bytes of a line that the gateway sends: 100,000 objects.
inline constexpr std::size_t max_control_answer = std::size_t{128} << 20U;
inline constexpr std::size_t max_control_objects = 1000;

/// Exit statuses, and the `status` of an answer.
namespace exit_status {
inline constexpr int done = 0;
inline constexpr int bad = 1;     ///< an object was damaged, or the artifact that was to be imported is bad
inline constexpr int undone = 2;  ///< it could not be done
}  // namespace exit_status

struct cache_request {
  std::string command;               ///< list, stats, pin, unpin, remove, verify, export, import
  std::string cache;                 ///< the directory that is meant; empty: whichever
  std::vector<std::string> objects;  ///< keys, beginnings of keys or names
  std::string file;                  ///< what messages call the file of `export` and `import`
};

/// Called now and then while something takes long, with the bytes that are done and those there are; with 0 and 0 only
/// for the answer. False: nobody wants it any more.
using step_function = std::function<bool(std::uint64_t done, std::uint64_t total, std::string_view object)>;

inline bool takes_file(std::string_view command) noexcept {
  return command == "import" || command == "export";
}

inline boost::json::string_view json_view(std::string_view s) noexcept {
  return {s.data(), s.size()};
}

/// The text if it is one that JSON can have, which is UTF-8; else with escapes.
inline std::string json_text(std::string_view text) {
  boost::system::error_code ec;
  (void)boost::json::parse(boost::json::serialize(boost::json::string(json_view(text))), ec);
  return ec ? detail::shown(text) : std::string(text);
}

/// An answer that says that, and why, something could not be done.
inline boost::json::object failure(std::string_view sentence, int status = exit_status::undone) {
  return {{"status", status}, {"error", json_view(sentence)}};
}
inline bool is_failure(boost::json::object const& answer) {
  return answer.contains("error");
}

/// The number at `name`, 0 if there is none; the text, empty if there is none.
inline std::int64_t number_in(boost::json::object const& o, std::string_view name) {
  auto const* const v = o.if_contains(json_view(name));
  if (v == nullptr) return 0;
  if (v->is_uint64()) return static_cast<std::int64_t>(v->get_uint64());
  return v->is_int64() ? v->get_int64() : 0;
}
inline std::string text_in(boost::json::object const& o, std::string_view name) {
  return detail::text_of(o.if_contains(json_view(name))).value_or(std::string());
}
inline bool flag_in(boost::json::object const& o, std::string_view name) {
  auto const* const v = o.if_contains(json_view(name));
  return v != nullptr && v->is_bool() && v->get_bool();
}

/// What the log says of a command and what came of it; nothing of one that only looks.
inline std::string log_text(cache_request const& r, boost::json::object const& answer) {
  if (r.command == "list" || r.command == "stats") return {};
  std::string out = "command " + r.command;
  for (std::string const& o : r.objects) out += ' ' + o;
  if (!r.file.empty()) out += ' ' + r.file;
  if (out.size() > 300) out = out.substr(0, 300) + "...";
  if (is_failure(answer)) return out + ": " + text_in(answer, "error");
  return out + (number_in(answer, "status") == exit_status::done ? ": done" : ": damage found");
}

/// As one line, with its end.
inline std::string control_line(boost::json::object body) {
  boost::json::object all{{"mgw", control_version}};
  for (auto& [name, value] : body) all.emplace(name, std::move(value));
  return boost::json::serialize(all) + "\n";
}

inline std::string write_request(cache_request const& r) {
  boost::json::object out{{"command", json_view(r.command)}};
  if (!r.cache.empty()) out.emplace("cache", json_view(r.cache));
  if (!r.file.empty()) out.emplace("file", json_view(r.file));
  if (!r.objects.empty()) {
    boost::json::array objects;
    for (std::string const& o : r.objects) objects.emplace_back(json_view(o));
    out.emplace("objects", std::move(objects));
  }
  return control_line(std::move(out));
}

/// Reads a request, without the line's end. `why` says what is wrong if the result is false.
inline bool read_request(std::string_view line, cache_request& out, std::string& why) {
  auto const v = detail::parse_json_object(line);
  if (!v.is_object()) return why = "the request is no JSON object", false;
  auto const& o = v.get_object();
  if (number_in(o, "mgw") != control_version)
    return why = "this gateway speaks version " + std::to_string(control_version) + " of the control protocol", false;
  out.command = text_in(o, "command");
  out.cache = text_in(o, "cache");
  out.file = text_in(o, "file");
  auto const* const objects = o.if_contains("objects");
  if (objects == nullptr) return true;
  if (!objects->is_array() || objects->get_array().size() > max_control_objects)
    return why = "objects: at most " + std::to_string(max_control_objects) + " in a list", false;
  for (auto const& one : objects->get_array()) {
    auto text = detail::text_of(&one);
    if (!text) return why = "objects: a list of strings", false;
    out.objects.push_back(*std::move(text));
  }
  return true;
}

}  // namespace gateway
