#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace gateway {

/// What `mgw-gateway doctor` was asked.
struct doctor_command {
  int timeout = 5;  ///< seconds for each step on the network
  bool json = false;
};

/// `mgw-gateway doctor`: what is asked goes into `asked`, which lives as long as `app`.
inline CLI::App* add_doctor(CLI::App& app, doctor_command& asked) {
  CLI::App* const command = app.add_subcommand(
      "doctor", "look at a running or planned installation, and say what to do; exit status 0 no problem, 1 a problem");
  command->fallthrough();
  command->add_option("--timeout", asked.timeout, "for each step on the network (5)")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 600));
  command->add_flag("--json", asked.json, "answer with a line of JSON");
  return command;
}

}  // namespace gateway
