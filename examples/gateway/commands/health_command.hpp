#pragma once

#include <CLI/CLI.hpp>

namespace gateway {

/// What `mgw-gateway health` was asked.
struct health_command {
  int timeout = 3;  ///< seconds for each step: connecting, TLS, answer
};

/// `mgw-gateway health`: what is asked goes into `asked`, which lives as long as `app`.
inline CLI::App* add_health(CLI::App& app, health_command& asked) {
  CLI::App* const command = app.add_subcommand(
      "health", "ask the gateway of these settings, on this machine, whether it is alive; exit status 0 yes, 1 no");
  command->fallthrough();
  command->add_option("--timeout", asked.timeout, "for each step (3)")->type_name("SECONDS")->check(CLI::Range(1, 600));
  return command;
}

}  // namespace gateway
