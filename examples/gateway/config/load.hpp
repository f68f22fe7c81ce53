#pragma once

#include "config/configuration.hpp"
#include "config/environment.hpp"
#include "config/file.hpp"

#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>

namespace gateway {

/// What the command line says about settings.
struct flags {
  std::optional<std::string> config;  ///< nothing: the default file, if it is there
  std::string log_level;              ///< empty: not given
};

/// Reads all sources: a flag wins over the environment, the environment over the file, the file over the default. What
/// is wrong is noted in the result. `get` is std::getenv, or stands in for it.
template <class Get = char* (*)(char const*)>
configuration load(flags const& given, Get get = std::getenv) {
  static constexpr char const* former_file = "/var/lib/mender/mender-gateway.conf";
  configuration c;
  read_config_file(c, given.config.value_or(default_config_file), !given.config);
  if (!given.config && c.file.empty() && ::access(former_file, F_OK) == 0)
    c.warnings.push_back(std::string(former_file) + " is not read; the configuration file is " + default_config_file);
  read_environment(c, get);
  c.set(*find_option("Log.Level"), given.log_level, origin::flag("--log-level"));
  c.settle();
  return c;
}

}  // namespace gateway
