#pragma once

#include "control/protocol.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace gateway::audit {

using time_point = std::chrono::sys_time<std::chrono::milliseconds>;

inline time_point now() {
  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

/// `2026-11-27T15:40:00.123Z`
inline std::string show_time(time_point t) {
  auto const seconds = std::chrono::floor<std::chrono::seconds>(t);
  std::time_t const whole = std::chrono::system_clock::to_time_t(seconds);
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  char out[64];
  std::snprintf(out, sizeof out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>((t - seconds).count()));
  return out;
}

/// No text in a record is longer, in bytes.
inline constexpr std::size_t max_text = 512;
/// No line is longer: a start looks so far back for the last one.
inline constexpr std::size_t max_line = std::size_t{64} << 10U;

/// A text from outside as a record has it: valid UTF-8, cut to a bounded length.
inline std::string clean(std::string_view t) {
  std::string out = json_text(t.substr(0, max_text));
  if (t.size() > max_text) out += "...";
  return out;
}

/// One thing that happened: the fields of its record in the order in which they are written. Empty texts are left out.
class record {
public:
  explicit record(std::string_view event, time_point when = now()) : when_(when) {
    fields_.emplace("event", json_view(event));
  }
  record& add(std::string_view name, std::string_view value) {
    if (!value.empty()) fields_.emplace(json_view(name), json_view(clean(value)));
    return *this;
  }
  record& add(std::string_view name, char const* value) { return add(name, std::string_view(value)); }
  record& add(std::string_view name, std::uint64_t value) {
    fields_.emplace(json_view(name), value);
    return *this;
  }
  record& add(std::string_view name, bool value) {
    fields_.emplace(json_view(name), value);
    return *this;
  }
  record& add(std::string_view name, boost::json::value value) {
    fields_.emplace(json_view(name), std::move(value));
    return *this;
  }
  boost::json::object const& fields() const noexcept { return fields_; }

  /// As `chain::seal` takes it. A record that would be longer than a line says so in place of what it has.
  std::string body() const {
    std::string all = boost::json::serialize(fields_);
    if (all.size() > max_line - 1024)
      all = boost::json::serialize(boost::json::object{{"event", fields_.at("event")}, {"too_long", all.size()}});
    return "\"time\":\"" + show_time(when_) + "\"," + all.substr(1, all.size() - 2);
  }

private:
  time_point when_;
  boost::json::object fields_;
};

/// A line of the log as it is read; nothing if it is no JSON object.
inline std::optional<boost::json::object> parse_line(std::string_view line) {
  boost::system::error_code ec;
  auto v = boost::json::parse(json_view(line), ec);
  if (ec || !v.is_object()) return std::nullopt;
  return std::move(v.get_object());
}

}  // namespace gateway::audit
