#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace gateway {

/// What `mgw-gateway setup` was asked, as it was written; empty: not given.
struct setup_request {
  std::vector<std::string> hosts;
  std::string out, upstream, upstream_ca, port, days, device_ca;
  bool renew = false;
};

/// `mgw-gateway setup …`: what is asked goes into `asked`, which lives as long as `app`.
inline CLI::App* add_setup(CLI::App& app, setup_request& asked) {
  CLI::App* const command = app.add_subcommand("setup", "make certificates and files for a gateway and its devices");
  auto const text = [&](char const* name, std::string& into, char const* type, char const* help) {
    command->add_option(name, into, help)->type_name(type);
  };
  command
      ->add_option("--host", asked.hosts,
                   "DNS name or IP address by which devices reach the gateway; repeat it for more: the first one is "
                   "for their configuration")
      ->type_name("NAME")
      ->allow_extra_args(false);
  text("--upstream", asked.upstream, "URL", "the Mender server");
  text("--upstream-ca", asked.upstream_ca, "PEM",
       "what the Mender server's certificate chains to, where that is none of the system's CAs");
  text("--out", asked.out, "DIR", "the directory to make; the gateway's cache will be there, too");
  text("--port", asked.port, "PORT", "where the gateway listens (443)");
  text("--days", asked.days, "DAYS",
       "how long the server certificate is good (825, the most that strict clients take; the CA: 20 years)");
  text("--device-ca", asked.device_ca, "PATH", "where devices have the CA certificate (/etc/mender/gateway-ca.crt)");
  command->add_flag("--renew", asked.renew,
                    "a new server certificate by the CA in DIR, for the same hosts unless --host says others; nothing "
                    "else changes");
  command->footer("Exit status 0: done; 2: not done, a line says why; 1: not done, the system did not let us.");
  return command;
}

}  // namespace gateway
