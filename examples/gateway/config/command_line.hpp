#pragma once

#include "config/environment.hpp"
#include "config/options.hpp"
#include "config/settings.hpp"

#include <mgw/version.hpp>

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

namespace gateway {

struct asked {
  settings settings;
  std::optional<int> exit_code;  ///< set: the question is answered (--help, --version, a mistake)
};

/// Flags win over the environment, the environment over the defaults. Throws config_error.
inline asked read_command_line(int argc, char** argv) {
  asked out;
  CLI::App app("mgw-gateway: an open Mender gateway\n");
  std::string level;
  app.add_option("--log-level", level, "debug, info, warn, error or fatal; before anything else is read");
  app.set_version_flag("--version", MGW_VERSION);
  std::string footer = "Settings are environment variables:\n";
  for (option const& o : options()) footer += "  " + o.environment + "\n      " + o.help + "; " + o.accepts + "\n";
  app.footer(footer);
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& e) {
    out.exit_code = app.exit(e);
    return out;
  }
  if (!level.empty() && level != "debug" && level != "info" && level != "warn" && level != "error" && level != "fatal")
    throw config_error("--log-level is \"" + level + "\"; accepted: debug, info, warn, error or fatal");
  read_environment(out.settings);
  if (!level.empty()) out.settings.log_level = level;
  return out;
}

}  // namespace gateway
