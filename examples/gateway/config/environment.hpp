#pragma once

#include "config/options.hpp"
#include "config/settings.hpp"

#include <cstdlib>
#include <string>

namespace gateway {

/// Reads every option's environment variable. An empty variable counts as unset. Throws config_error.
inline void read_environment(settings& s) {
  // The original's documentation names this variable on one page; UPSTREAM_SERVER_URL wins.
  if (char const* const url = std::getenv("UPSTREAM_SERVER")) s.upstream.url = url;
  for (option const& o : options()) {
    char const* const value = std::getenv(o.environment.c_str());
    if (value == nullptr || *value == '\0') continue;
    if (!o.set(s, value))
      throw config_error(o.environment + " (" + o.key + ") is \"" + value + "\"; accepted: " + o.accepts);
  }
}

}  // namespace gateway
