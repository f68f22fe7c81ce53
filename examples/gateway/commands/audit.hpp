#pragma once

#include <CLI/CLI.hpp>

#include <string>

namespace gateway {

/// What `mgw-gateway audit` was asked.
struct audit_command {
  std::string command;  ///< verify, show or export
  bool archived = false;
  std::string head;    ///< SEQ:MAC, as the gateway has logged it; empty: none
  std::string device;  ///< these four: only such records; empty: all
  std::string artifact, since, until;
  std::string event;
  std::string format;
};

/// `mgw-gateway audit …`: what is asked goes into `asked`, which lives as long as `app`.
inline CLI::App* add_audit(CLI::App& app, audit_command& asked) {
  CLI::App* const all = app.add_subcommand("audit", "look into the audit log, and prove that it is whole");
  all->require_subcommand(1);
  all->fallthrough();
  all->footer(
      "TIME is one in UTC or its beginning, such as 2026-11-27T15:04, or how long ago, such as 36h.\n"
      "Exit status 0: done; 1: the log was tampered with, or is not whole; 2: not done, a line says why.\n");
  auto const add = [&](char const* name, char const* help) {
    CLI::App* const one = all->add_subcommand(name, help);
    one->fallthrough();
    one->callback([&asked, name] { asked.command = name; });
    return one;
  };
  auto const filters = [&](CLI::App* one) {
    one->add_option("--device", asked.device, "of this device: its id, identity, certificate subject or address")
        ->type_name("DEVICE");
    one->add_option("--artifact", asked.artifact,
                    "of this artifact: its name, or the first digits of its SHA-256 or key")
        ->type_name("ARTIFACT");
    one->add_option("--event", asked.event, "of this kind, such as delivery or authorization")->type_name("EVENT");
    one->add_option("--since", asked.since, "from this time on")->type_name("TIME");
    one->add_option("--until", asked.until, "before this time")->type_name("TIME");
  };
  CLI::App* const verify = add("verify", "follow the chain through all files; names the first line that breaks it");
  verify->add_flag("--archived", asked.archived,
                   "the oldest files were moved away: begin with the oldest one there is");
  verify->add_option("--head", asked.head, "a head that was logged, which must be in the log")->type_name("SEQ:MAC");
  filters(add("show", "a table of what was recorded"));
  CLI::App* const out = add("export", "all that was recorded, to standard output");
  filters(out);
  out->add_option("--format", asked.format, "csv or json (json: a line each, as it is in the log)")
      ->check(CLI::IsMember({"csv", "json"}));
  return all;
}

}  // namespace gateway
