#pragma once

#include "commands/audit.hpp"
#include "commands/cache.hpp"
#include "commands/doctor.hpp"
#include "commands/health_command.hpp"
#include "commands/manual.hpp"
#include "commands/setup.hpp"
#include "commands/verify.hpp"
#include "config/file.hpp"
#include "config/load.hpp"
#include "config/options.hpp"
#include "config/settings.hpp"

#include <mgw/version.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <optional>
#include <string>

namespace gateway {

/// What was asked for.
struct command_line {
  flags given;
  bool check = false;                    ///< --check-config
  bool print = false;                    ///< --print-config
  std::optional<int> exit_code;          ///< set: the question is answered (--help, --version, a mistake)
  std::optional<verify_request> verify;  ///< set: a file is to be verified, whatever the settings
  std::optional<setup_request> setup;    ///< set: files are to be made, whatever the settings
  std::optional<cache_command> cache;    ///< set: something is to be done with the cache of the settings
  std::optional<audit_command> audit;    ///< set: the audit log is to be looked into
  std::optional<doctor_command> doctor;  ///< set: the installation is to be looked at
  std::optional<health_command> health;  ///< set: a running gateway is to be asked whether it is alive
};

/// Reads the flags alone; nothing else is read before. Throws config_error for a --log-level that is none.
inline command_line read_command_line(int argc, char** argv) {
  command_line out;
  CLI::App app("mgw-gateway: an open Mender gateway\n");
  app.add_option("--config", out.given.config,
                 std::string("configuration file, JSON (") + default_config_file + ", if it is there)");
  app.add_option("--log-level", out.given.log_level, "debug, info, warn, error or fatal; wins over all other sources");
  app.add_flag("--check-config", out.check,
               "say what is wrong with the configuration; exit status 0 if nothing is, else 1");
  app.add_flag("--print-config", out.print, "print each setting and where it comes from; secrets are not shown");
  app.set_version_flag("--version", MGW_VERSION);
  verify_request to_verify;
  CLI::App const* const verify = add_verify(app, to_verify);
  setup_request to_make;
  CLI::App const* const setup = add_setup(app, to_make);
  cache_command to_do;
  CLI::App const* const cache = add_cache(app, to_do);
  audit_command to_audit;
  CLI::App const* const audit = add_audit(app, to_audit);
  doctor_command to_look_at;
  CLI::App const* const doctor = add_doctor(app, to_look_at);
  health_command to_ask;
  CLI::App const* const health = add_health(app, to_ask);
  // For who makes packages.
  bool manual = false, completion = false;
  app.add_flag("--manual-page", manual)->group("");
  app.add_flag("--bash-completion", completion)->group("");
  std::string footer = "Settings are keys of the configuration file and environment variables, which win:\n";
  for (option const& o : options())
    footer += "  " + o.key + (o.environment.empty() ? "" : "  " + o.environment) + "\n      " + o.help + "; " +
              o.accepts + "\n";
  app.footer(footer + other_variables());
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& e) {
    out.exit_code = app.exit(e) == 0 ? 0 : 2;
    return out;
  }
  if (manual || completion) {
    std::string const text = manual ? manual_page(app) : bash_completion(app);
    out.exit_code = std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0 ? 1 : 0;
    return out;
  }
  if (verify->parsed()) {
    out.verify = to_verify;
    return out;
  }
  if (setup->parsed()) {
    out.setup = to_make;
    return out;
  }
  if (cache->parsed()) out.cache = to_do;
  if (audit->parsed()) out.audit = to_audit;
  if (doctor->parsed()) out.doctor = to_look_at;
  if (health->parsed()) out.health = to_ask;
  configuration level;
  level.set(*find_option("Log.Level"), out.given.log_level, origin::flag("--log-level"));
  if (!level.errors.empty()) throw config_error(level.errors.front());
  return out;
}

}  // namespace gateway
