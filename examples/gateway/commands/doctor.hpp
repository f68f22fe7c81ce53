#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace gateway {

/// What `mgw-gateway doctor` was asked.
struct doctor_command {
  std::string ca;            ///< PEM file: what devices trust; empty: the system's store
  std::string host;          ///< how devices reach the gateway; empty: as the settings say
  std::string artifact_url;  ///< a link of a deployment; empty: none is known
  int timeout = 5;           ///< seconds for each step
  bool json = false;
};

/// `mgw-gateway doctor`: what is asked goes into `asked`, which lives as long as `app`.
inline CLI::App* add_doctor(CLI::App& app, doctor_command& asked) {
  CLI::App* const command = app.add_subcommand(
      "doctor", "look at a running or planned installation, and say what to do; exit status 0 no problem, 1 a problem");
  command->fallthrough();
  command
      ->add_option("--ca", asked.ca,
                   "what devices trust, a PEM file, to verify the gateway's certificate by (the system's)")
      ->type_name("FILE");
  command->add_option("--host", asked.host, "how devices reach the gateway (the host of ARTIFACTS_PROXY_GATEWAY_URL)")
      ->type_name("NAME");
  command
      ->add_option("--artifact-url", asked.artifact_url,
                   "a link of a deployment, to see whether the gateway would fetch it")
      ->type_name("URL");
  command->add_option("--timeout", asked.timeout, "for each step (5)")->type_name("SECONDS")->check(CLI::Range(1, 600));
  command->add_flag("--json", asked.json, "answer with a line of JSON");
  return command;
}

}  // namespace gateway
