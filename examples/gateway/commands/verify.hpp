#pragma once

#include "artifact/report.hpp"

#include <CLI/CLI.hpp>

namespace gateway {

/// `mgw-gateway verify FILE [--key PEM]...`: what is asked goes into `asked`, which lives as long as `app`.
inline CLI::App* add_verify(CLI::App& app, verify_request& asked) {
  CLI::App* const command =
      app.add_subcommand("verify", "check a Mender artifact; exit status 0 good, 1 bad, 2 not checked");
  command->add_option("FILE", asked.file, "the artifact; - is standard input")->type_name("")->required();
  command
      ->add_option("--key", asked.keys, "a PEM file with a public key by which it must be signed; any one of several")
      ->type_name("PEM")
      ->allow_extra_args(false);
  return command;
}

}  // namespace gateway
