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
  struct options {
    std::function<configuration()> read;                ///< all sources again
    std::function<void(std::string const&)> set_level;  ///< one that logging knows
    mgw::log_sink log;
    /// What was done: `trouble` says why it was not; `restart`: what needs one. May be empty.
    std::function<void(std::string_view trouble, std::vector<std::string> const& restart)> told;
    options() = default;
  };

  /// `running`: what is in force.
  configuration_reload(settings running, options o) : running_(std::move(running)), asked_(std::move(o)) {}

  void operator()() const {
    std::string trouble;
    std::vector<std::string> restart;
    try {
      configuration const c = asked_.read();
      for (std::string const& e : c.errors) (trouble += trouble.empty() ? "" : "; ") += e;
      for (auto const* lines : {&c.unknown, &c.warnings})
        for (std::string const& line : *lines) asked_.log(mgw::log_level::warn, line);
      if (trouble.empty()) {
        restart = need_restart(running_, c.values);
        asked_.set_level(c.values.log_level);
      }
    } catch (std::exception const& e) {
      trouble = e.what();
    }
    if (!trouble.empty())
      asked_.log(mgw::log_level::error, "the configuration stays the one of before: " + trouble);
    else
      asked_.log(mgw::log_level::info, "the configuration was read anew");
    if (!restart.empty()) asked_.log(mgw::log_level::warn, "changed, and needs a restart: " + joined(restart));
    if (asked_.told) asked_.told(trouble, restart);
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
