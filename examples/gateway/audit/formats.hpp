#pragma once

#include "artifact/report.hpp"
#include "audit/record.hpp"
#include "commands/table.hpp"
#include "control/protocol.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::audit {

namespace formats_detail {

inline std::string value_text(boost::json::value const* v) {
  if (v == nullptr) return {};
  if (v->is_string()) return std::string(v->get_string());
  return boost::json::serialize(*v);
}
/// The value at the first of these names that there is.
template <class... Names>
std::string first_of(boost::json::object const& fields, Names... names) {
  std::string out;
  ((out = out.empty() ? value_text(fields.if_contains(names)) : out), ...);
  return out;
}
/// Names of the objects that a command was about.
inline std::string object_names(boost::json::object const& fields) {
  std::string out;
  auto const* const all = fields.if_contains("objects");
  if (all == nullptr || !all->is_array()) return out;
  for (auto const& o : all->get_array())
    if (o.is_object()) (out += out.empty() ? "" : ", ") += first_of(o.get_object(), "name", "key");
  return out;
}
/// Which settings a record says have changed.
inline std::string changed_keys(boost::json::object const& fields) {
  std::string out;
  auto const* const changed = fields.if_contains("changed");
  if (changed == nullptr || !changed->is_object()) return out;
  for (auto const& [key, value] : changed->get_object())
    (out += out.empty() ? "changed: " : ", ") += std::string(key);
  return out;
}
/// What a table says of a record in its last column.
inline std::string outcome(boost::json::object const& fields) {
  std::string const event = text_in(fields, "event");
  std::string out;
  if (event == "delivery") {
    auto const n = [&](char const* name) { return static_cast<std::uint64_t>(number_in(fields, name)); };
    out = flag_in(fields, "whole") ? "whole, " + human_size(n("size"))
                                   : "bytes " + std::to_string(n("from")) + " to " + std::to_string(n("to")) + " of " +
                                         std::to_string(n("size"));
  } else if (fields.contains("granted")) {
    out = flag_in(fields, "granted") ? "granted" : "not granted";
  } else if (fields.contains("done")) {
    out = flag_in(fields, "done") ? "done" : "not done";
    if (std::string const keys = changed_keys(fields); !keys.empty()) out += ", " + keys;
    if (std::string const later = text_in(fields, "restart"); !later.empty()) out += ", at the next start: " + later;
  } else if (event == "log_level") {
    out = text_in(fields, "from") + " to " + text_in(fields, "to") + " by " + text_in(fields, "by");
  } else if (fields.contains("changed")) {
    out = changed_keys(fields);
    if (out.empty()) out = "unchanged";
  }
  std::string const more = first_of(fields, "why", "records", "bytes", "version", "previous");
  if (!more.empty()) (out += out.empty() ? "" : ": ") += more;
  return out;
}

}  // namespace formats_detail

/// A table for a terminal. Nothing from outside gets to it but as printable ASCII.
class record_table {
public:
  void add(boost::json::object const& fields) {
    using namespace formats_detail;
    std::string time = text_in(fields, "time");
    if (time.size() > 19) time.resize(19);
    std::string artifact = first_of(fields, "artifact", "object");
    if (artifact.empty()) artifact = object_names(fields);
    std::string cells[] = {value_text(fields.if_contains("seq")),
                           time,
                           text_in(fields, "event"),
                           first_of(fields, "device", "identity", "subject", "peer"),
                           artifact,
                           outcome(fields)};
    std::vector<std::string> row;
    for (auto const& c : cells) row.push_back(detail::shown(c.substr(0, 200)));
    table_.add(std::move(row));
  }
  std::string text(std::size_t width) const { return table_.text(width); }

private:
  table table_{{{"No.", true, false},
                {"Time (UTC)", false, false},
                {"Event", false, false},
                {"Device", false, true},
                {"Artifact", false, true},
                {"Outcome", false, true}}};
};

/// A cell of a CSV file (RFC 4180), in quotes where it must be. What a spreadsheet would take for a formula begins with
/// an apostrophe: a device chooses its identity, and an artifact's maker its name.
inline std::string csv_cell(std::string_view text) {
  std::string out;
  std::size_t const first = text.find_first_not_of(" ");
  if (first != text.npos && std::string_view("=+-@\t\r\n").find(text[first]) != std::string_view::npos) out += '\'';
  out += text;
  if (out.find_first_of("\",\r\n'; ") == out.npos) return out;
  std::string quoted = "\"";
  for (char const c : out) (quoted += c == '"' ? "\"" : "") += c;
  return quoted + '"';
}

inline constexpr std::array csv_columns = {"seq",  "time",  "event",    "device", "identity", "subject", "serial",
                                           "peer", "for",   "artifact", "sha256", "object",   "size",    "from",
                                           "to",   "whole", "pieces",   "cache",  "granted",  "done",    "why"};

inline std::string csv_head() {
  std::string out;
  for (auto const* name : csv_columns) (out += out.empty() ? "" : ",") += name;
  return out + ",more\r\n";
}
/// What has no column of its own is JSON in the last one.
inline std::string csv_row(boost::json::object const& fields) {
  std::string out;
  boost::json::object more;
  for (auto const& [name, value] : fields) {
    bool column = name == "mac";
    for (auto const* c : csv_columns) column = column || name == c;
    if (!column) more.emplace(name, value);
  }
  for (auto const* name : csv_columns) out += csv_cell(formats_detail::value_text(fields.if_contains(name))) + ',';
  return out + (more.empty() ? std::string() : csv_cell(boost::json::serialize(more))) + "\r\n";
}

}  // namespace gateway::audit
