#pragma once

#include "audit/files.hpp"
#include "config/load.hpp"
#include "config/options.hpp"
#include "config/settings.hpp"
#include "control/socket_path.hpp"

#include <mgw/version.hpp>

#include <CLI/CLI.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// mgw-gateway(1) and its completion in bash, made of what the program reads: its flags, commands and the table of
/// options.
namespace gateway {

namespace manual_detail {

/// Text for a line of roff(7).
inline std::string roff(std::string_view text) {
  std::string out;
  if (text.starts_with('.') || text.starts_with('\'')) out = "\\&";
  for (char const c : text) out += c == '\\' ? "\\e" : c == '-' ? "\\-" : c == '\n' ? " " : std::string(1, c);
  return out;
}
inline std::vector<CLI::Option const*> flags_of(CLI::App const& app) {
  return app.get_options([](CLI::Option const* o) { return !o->get_group().empty() && o->nonpositional(); });
}
inline std::vector<CLI::Option const*> arguments_of(CLI::App const& app) {
  return app.get_options([](CLI::Option const* o) { return !o->get_group().empty() && !o->nonpositional(); });
}
inline std::vector<CLI::App const*> commands_of(CLI::App const& app) {
  return app.get_subcommands([](CLI::App const* a) { return !a->get_group().empty(); });
}
inline bool takes_value(CLI::Option const& o) {
  return o.get_items_expected_max() != 0;
}
inline std::string type_of(CLI::Option const& o) {
  std::string const type = o.get_type_name();
  return type.substr(0, type.find(':'));
}

inline std::string described(CLI::App const& app) {
  std::string out;
  for (auto const* a : arguments_of(app))
    out += ".TP\n.I " + roff(a->get_name(true)) + '\n' + roff(a->get_description()) + '\n';
  for (auto const* f : flags_of(app)) {
    if (f == app.get_help_ptr() && app.get_parent() != nullptr) continue;  // said once
    std::string names = f->get_name(false, true);
    for (std::size_t at = 0; (at = names.find(',', at)) != names.npos; at += 2) names.replace(at, 1, ", ");
    out += ".TP\n.BR " + ('"' + roff(names) + '"');
    if (takes_value(*f)) out += " \" \\fI" + roff(type_of(*f)) + "\\fR\"";
    out += '\n' + roff(f->get_description()) + '\n';
  }
  return out;
}
inline std::string command(CLI::App const& app, std::string const& within) {
  std::string const name = within + app.get_name();
  std::string out = ".SS \"" + roff(name);
  for (auto const* a : arguments_of(app)) out += ' ' + roff(a->get_name(true));
  out += "\"\n" + roff(app.get_description()) + '\n' + described(app);
  for (auto const* c : commands_of(app)) out += command(*c, name + ' ');
  return out;
}

inline std::string signals() {
  std::string out = ".SH SIGNALS\n";
  auto const of = [&out](char const* names, char const* what) {
    out += std::string(".TP\n.B ") + names + '\n' + roff(what) + '\n';
  };
  of("SIGTERM, SIGINT",
     "an ordered stop: what is being served has DRAIN_TIMEOUT to end; a second one ends it sooner. Exit status 0");
  of("SIGHUP",
     "the server's certificate and key, the CA and the lists that judge client certificates, and the configuration are "
     "read anew. Of the configuration the log level takes effect; what else has changed and needs a restart is named "
     "in the log. What cannot be used leaves in force what was there");
  of("SIGUSR1", "lines of one level less are logged, too, down to debug");
  of("SIGUSR2", "the log level of the configuration again");
  return out + ".PP\nThe last three are ignored until it serves. With an audit log they are recorded.\n";
}
inline std::string files() {
  settings const usual;
  std::string const& state = usual.state_directory;
  std::string out = ".SH FILES\n";
  auto const file = [&out](std::string const& path, char const* what) {
    out += ".TP\n.I " + roff(path) + '\n' + roff(what) + '\n';
  };
  file(default_config_file, "the configuration, if it is there");
  file("/etc/default/mender-gateway", "variables of the environment, for the service of the package");
  file(usual.cache.path + '/', "artifacts (Features.ArtifactsProxy.ArtifactsCache.Path)");
  file(state + '/', "what has to outlive the process (StateDirectory):");
  file(state + "/link-secret", "the secret that seals links");
  file(state + "/bindings", "which client certificate is which device's");
  file(control_socket_path(state), "where the running gateway takes cache commands");
  file(audit::key_file(state), "the key of the audit log: keep a copy elsewhere");
  file(audit::head_file(state) + ", " + state + "/audit-settings",
       "the last line of the audit log that is known, and what the settings were");
  file("Audit.Path, Audit.Path.000001, ...", "the audit log, and its parts that are full");
  return out;
}

inline void complete(CLI::App const& app, std::string const& path, std::string& places, std::string& words,
                     std::string& files) {
  std::string here;
  for (auto const* f : flags_of(app)) {
    for (auto const& name : f->get_lnames()) here += " --" + name;
    std::string const type = type_of(*f);
    if (takes_value(*f) && (type == "FILE" || type == "PEM" || type == "DIR" || f->get_lnames().front() == "config"))
      files += "|--" + f->get_lnames().front();
  }
  for (auto const* c : commands_of(app)) {
    here += ' ' + c->get_name();
    places += (places.empty() ? "" : "|") + path + '/' + c->get_name();
    complete(*c, path + '/' + c->get_name(), places, words, files);
  }
  words += "    '" + path + "') words='" + (here.empty() ? here : here.substr(1)) + "' ;;\n";
}

}  // namespace manual_detail

/// The manual page, in roff with the macros of man(7).
inline std::string manual_page(CLI::App const& app) {
  using namespace manual_detail;
  std::string out =
      ".TH MGW\\-GATEWAY 1 \"\" \"mgw " MGW_VERSION
      "\" \"User Commands\"\n"
      ".SH NAME\nmgw\\-gateway \\- open Mender gateway that keeps artifacts for a fleet\n"
      ".SH SYNOPSIS\n.B mgw\\-gateway\n[\\fIOPTION\\fR]...\n.br\n.B mgw\\-gateway\n\\fICOMMAND\\fR "
      "[\\fIOPTION\\fR]...\n"
      ".SH DESCRIPTION\n"
      "Without a command, the gateway runs until SIGTERM or SIGINT: devices have its URL in place of the Mender\n"
      "server's, it passes their calls on, fetches each artifact once and serves it to all of them.\n"
      ".SH OPTIONS\n" +
      described(app) + ".SH COMMANDS\n";
  for (auto const* c : commands_of(app)) out += command(*c, "");
  out += ".SH SETTINGS\nKeys of the configuration file, a JSON object, and environment variables, which win.\n";
  for (option const& o : options())
    out += ".TP\n.B " + roff(o.key) + (o.environment.empty() ? "" : ", " + roff(o.environment)) + '\n' + roff(o.help) +
           "; " + roff(o.accepts) + '\n';
  out += ".PP\n" + roff(other_variables());
  return out + signals() + files() +
         ".SH \"EXIT STATUS\"\n0 after an ordered stop, 2 for a configuration or a command line that cannot work, "
         "others for\n"
         "what else keeps it from its work.\n"
         ".SH EXAMPLES\n.EX\nmgw\\-gateway setup \\-\\-host gateway.example \\-\\-upstream https://hosted.mender.io "
         "\\-\\-out /srv/mgw\nmgw\\-gateway \\-\\-check\\-config\nmgw\\-gateway doctor\n.EE\n"
         ".SH \"SEE ALSO\"\n.BR systemd.exec (5)\n";
}

/// What bash reads to complete this program's command lines.
inline std::string bash_completion(CLI::App const& app) {
  std::string places, words, files;
  manual_detail::complete(app, "", places, words, files);
  return "# bash completion for mgw-gateway\n"
         "_mgw_gateway() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} place='' words='' i\n"
         "  COMPREPLY=()\n"
         "  case $before in\n"
         "    " +
         (files.empty() ? "--config" : files.substr(1)) +
         ") return ;;\n"
         "    --log-level) words='debug info warn error fatal' ;;\n"
         "  esac\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    case $place/${COMP_WORDS[i]} in\n"
         "      " +
         places +
         ") place+=/${COMP_WORDS[i]} ;;\n"
         "    esac\n"
         "  done\n"
         "  [[ -n $words ]] || case $place in\n" +
         words +
         "  esac\n"
         "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
         "}\n"
         "complete -o default -F _mgw_gateway mgw-gateway mender-gateway\n";
}

}  // namespace gateway
