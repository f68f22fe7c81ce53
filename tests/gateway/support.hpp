#pragma once

#include "config/configuration.hpp"
#include "config/environment.hpp"
#include "config/file.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::test {

/// Variables that stand in for the environment.
struct variables {
  std::map<std::string, std::string> all;
  char const* operator()(char const* name) const {
    auto const found = all.find(name);
    return found == all.end() ? nullptr : found->second.c_str();
  }
};

inline configuration from_text(std::string_view text, variables const& environment = {}) {
  configuration c;
  read_config_text(c, "f", text);
  read_environment(c, environment);
  c.settle();
  return c;
}
inline configuration from_environment(variables const& environment) {
  return from_text("{}", environment);
}

inline bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}
/// The messages, for a CHECK to show.
inline std::string all(std::vector<std::string> const& lines) {
  std::string out;
  for (std::string const& line : lines) out += line + "\n";
  return out;
}

}  // namespace gateway::test
