#pragma once

#include "commands/check_places.hpp"
#include "config/check.hpp"
#include "config/configuration.hpp"
#include "config/print.hpp"

#include <cstdio>
#include <string>
#include <vector>

namespace gateway {

/// Answers --check-config and --print-config: what is wrong on standard error, what is asked for on standard output,
/// with what was found in files and directories if all is good.
/// Returns the exit status: 1 if anything is wrong.
inline int show(configuration c, bool checked, bool printed) {
  auto const say = [](char const* what, std::vector<std::string> const& lines) {
    for (std::string const& line : lines) std::fprintf(stderr, "mgw-gateway: %s%s\n", what, line.c_str());
  };
  bool const read = c.errors.empty();
  if (checked) check(c);
  if (checked && read) check_places(c);
  bool const good = c.errors.empty() && (!checked || c.unknown.empty());
  say("", c.errors);
  say(checked ? "" : "warning: ", c.unknown);
  say("warning: ", c.warnings);
  if (printed) std::fputs(print_config(c).c_str(), stdout);
  if (checked && good) {
    for (std::string const& note : c.notes) std::printf("%s\n", note.c_str());
    std::size_t const n = c.warnings.size();
    std::string const warned = n == 0 ? "" : n == 1 ? ", with a warning" : ", with " + std::to_string(n) + " warnings";
    std::printf("the configuration is good%s%s%s\n", warned.c_str(), c.file.empty() ? "; there is no file" : "; file ",
                c.file.c_str());
  }
  return good ? 0 : 1;
}

}  // namespace gateway
