#pragma once

#include "config/configuration.hpp"
#include "config/options.hpp"
#include "config/settings.hpp"

#include <mgw/core/log.hpp>

#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// Reads the configuration anew: takes its log level, and names what else has changed and needs a restart. A
/// configuration that cannot be used is told, and nothing of it is taken.
class configuration_reload {
public:
  /// What a reading has come to.
  struct outcome {
    std::string trouble;               ///< why nothing was taken; empty: it was
    std::string log_level;             ///< the new one, in force now; empty: it is the one of before
    std::vector<std::string> restart;  ///< keys that have changed and need one
  };
  struct options {
    std::function<configuration()> read;                ///< all sources again
    std::function<bool(std::string const&)> set_level;  ///< to one that logging knows; false: it was that already
    mgw::log_sink log;
    std::function<void(outcome const&)> told;  ///< may be empty
    options() = default;
  };

  /// `running`: what is in force.
  configuration_reload(settings running, options o) : running_(std::move(running)), asked_(std::move(o)) {}

  void operator()() const {
    outcome o;
    auto& [trouble, log_level, restart] = o;
    try {
      configuration const c = asked_.read();
      for (std::string const& e : c.errors) (trouble += trouble.empty() ? "" : "; ") += e;
      for (auto const* lines : {&c.unknown, &c.warnings})
        for (std::string const& line : *lines) asked_.log(mgw::log_level::warn, line);
      if (trouble.empty()) {
        restart = need_restart(running_, c.values);
        if (asked_.set_level(c.values.log_level)) log_level = c.values.log_level;
      }
    } catch (std::exception const& e) {
      trouble = e.what();
    }
    if (!trouble.empty())
      asked_.log(mgw::log_level::error, "the configuration stays the one of before: " + trouble);
    else
      asked_.log(mgw::log_level::info, "the configuration was read anew");
    if (!restart.empty()) asked_.log(mgw::log_level::warn, "changed, and needs a restart: " + joined(restart));
    if (asked_.told) asked_.told(o);
  }

  /// The keys whose values are others and are only read at the start.
  static std::vector<std::string> need_restart(settings const& running, settings const& now) {
    std::vector<std::string> out;
    for (option const& o : gateway::options())
      if (o.key != "Log.Level" && o.key != "DebugLog" && o.value.show(running) != o.value.show(now))
        out.push_back(o.key);
    return out;
  }
  static std::string joined(std::vector<std::string> const& keys) {
    std::string out;
    for (std::string const& k : keys) (out += out.empty() ? "" : ", ") += k;
    return out;
  }

private:
  settings const running_;
  options const asked_;
};

}  // namespace gateway
