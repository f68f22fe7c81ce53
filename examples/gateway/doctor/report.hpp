#pragma once

#include "commands/table.hpp"
#include "control/protocol.hpp"
#include "doctor/finding.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway::doctor {

namespace report_detail {

/// On a terminal nothing that a peer has sent may be more than text.
inline std::string printable(std::string_view text) {
  std::string out;
  for (char const c : text) out += c >= ' ' && c < 0x7f ? c : '?';
  return out;
}

/// Lines of at most `width` characters, where words allow it; 0: one line.
inline std::vector<std::string> lines_of(std::string text, std::size_t width) {
  std::vector<std::string> out;
  while (width != 0 && text.size() > width) {
    auto cut = text.rfind(' ', width);
    if (cut == std::string::npos || cut == 0) cut = text.find(' ', width);
    if (cut == std::string::npos) break;
    out.push_back(text.substr(0, cut));
    text.erase(0, cut + 1);
  }
  out.push_back(std::move(text));
  return out;
}

}  // namespace report_detail

/// A line for each finding, and below it what to do about it. `width`: columns of the terminal; 0: it is none.
inline std::string report_text(findings const& all, std::size_t width) {
  using namespace report_detail;
  std::size_t widest = 0;
  for (auto const& f : all) widest = std::max(widest, f.check.size());
  std::size_t const before = 7 + 2 + widest + 2;
  std::size_t const room = width == 0 ? 0 : std::max<std::size_t>(40, width - std::min(width, before));
  table out({{"LEVEL"}, {"CHECK"}, {"FOUND"}});
  std::size_t problems = 0, warnings = 0;
  for (auto const& f : all) {
    problems += f.how == level::problem ? 1 : 0;
    warnings += f.how == level::warning ? 1 : 0;
    std::string how = to_string(f.how), check = f.check;
    auto const add = [&](std::string const& text) {
      for (std::string const& line : lines_of(printable(text), room))
        out.add({std::exchange(how, ""), std::exchange(check, ""), line});
    };
    add(f.found);
    if (!f.advice.empty()) add("-> " + f.advice);
  }
  auto const count = [](std::size_t n, char const* what) {
    return (n == 0 ? "no" : std::to_string(n)) + ' ' + what + (n == 1 ? "" : "s");
  };
  return out.text(0) + '\n' + count(problems, "problem") + ", " + count(warnings, "warning") + '\n';
}

/// The same for machines, on one line: `findings` (each with `level`, `check`, `found`, `advice`), `problems`,
/// `warnings`.
inline std::string report_json(findings const& all) {
  boost::json::array list;
  std::size_t problems = 0, warnings = 0;
  for (auto const& f : all) {
    problems += f.how == level::problem ? 1 : 0;
    warnings += f.how == level::warning ? 1 : 0;
    boost::json::object one;
    one["level"] = to_string(f.how);
    one["check"] = f.check;
    one["found"] = json_text(f.found);
    one["advice"] = json_text(f.advice);
    list.push_back(std::move(one));
  }
  boost::json::object out;
  out["problems"] = problems;
  out["warnings"] = warnings;
  out["findings"] = std::move(list);
  return boost::json::serialize(out) + '\n';
}

}  // namespace gateway::doctor
