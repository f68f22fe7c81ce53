#pragma once

#include "support/certificate_host.hpp"

#include <mgw/mender/json_scanner.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// The files that `mgw-gateway setup` writes, as texts.
namespace gateway {

/// A gateway that is to be set up. All values are checked, no text has control characters.
struct setup_plan {
  std::vector<certificate_host> hosts;  ///< one at least; devices are told the first
  std::string directory;                ///< absolute
  std::string upstream;
  std::string upstream_ca;  ///< PEM, of the server; may be empty
  std::string device_ca = "/etc/mender/gateway-ca.crt";
  std::uint16_t port = 443;
  int days = 825;

  /// What devices have as the server's URL.
  std::string url() const {
    return "https://" + hosts.front().in_url() + (port == 443 ? "" : ':' + std::to_string(port));
  }
};

namespace setup_detail {

inline bool is_plain(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/._-+:@,%=").find(c) != std::string_view::npos;
  });
}
/// As a shell and systemd's EnvironmentFile both read it.
inline std::string shell_word(std::string_view text) {
  if (is_plain(text)) return std::string(text);
  std::string out = "\"";
  for (char const c : text) (out += std::string_view("\"\\$`").find(c) == std::string_view::npos ? "" : "\\") += c;
  return out + '"';
}
inline std::string json(std::string_view text) {
  std::string out;
  mgw::mender::append_json_string(out, text);
  return out;
}
/// A JSON string is one of YAML's; the dollar would begin a variable of docker compose.
inline std::string compose_text(std::string_view text) {
  std::string out;
  for (char const c : json(text)) (out += c == '$' ? "$" : "") += c;
  return out;
}

}  // namespace setup_detail

/// The members that a device's mender.conf needs: every Mender client on Linux reads them.
inline std::string device_configuration(setup_plan const& p) {
  return "{\n  \"ServerURL\": " + setup_detail::json(p.url()) +
         ",\n  \"ServerCertificate\": " + setup_detail::json(p.device_ca) + "\n}\n";
}

/// For /etc/hosts of devices whose DNS does not know the gateway.
inline std::string hosts_line(setup_plan const& p) {
  std::string names;
  for (auto const& h : p.hosts)
    if (!h.is_address) names += ' ' + h.text;
  if (names.empty()) return "# Devices reach the gateway by its address: they need no line.\n";
  auto const address = std::find_if(p.hosts.begin(), p.hosts.end(), [](auto const& h) { return h.is_address; });
  if (address != p.hosts.end()) return address->text + names + '\n';
  return "# Put the gateway's address in place of ADDRESS, and take away the # before it:\n#ADDRESS" + names + '\n';
}

/// The gateway's variables, for systemd's EnvironmentFile and for `. FILE` in a shell.
inline std::string environment_file(setup_plan const& p) {
  std::string out = "# Made by mgw-gateway setup. docs/configuration.md has all variables.\n";
  auto const line = [&out](char const* name, std::string const& value) {
    out += std::string(name) + '=' + setup_detail::shell_word(value) + '\n';
  };
  line("UPSTREAM_SERVER_URL", p.upstream);
  if (!p.upstream_ca.empty()) line("UPSTREAM_SERVER_CA_CERTIFICATE", p.directory + "/upstream-ca.crt");
  line("HTTPS_ENABLED", "true");
  line("HTTPS_LISTEN", ':' + std::to_string(p.port));
  line("HTTPS_SERVER_CERTIFICATE", p.directory + "/server.crt");
  line("HTTPS_SERVER_KEY", p.directory + "/server.key");
  line("ARTIFACTS_PROXY_CACHE_PATH", p.directory + "/cache");
  line("STATE_DIRECTORY", p.directory + "/state");
  return out;
}

/// The same for docker compose, which finds the files beside this one. `uid`, `gid`: who can read the key, and write to
/// `cache` and `state`. These are directories and no volumes that docker makes, which would be root's in an image that
/// does not have them.
inline std::string compose_file(setup_plan const& p, std::uint32_t uid, std::uint32_t gid) {
  using setup_detail::compose_text;
  std::string const upstream_ca = "/etc/mender/certs/upstream-ca.crt";
  std::string const port = std::to_string(p.port);
  std::string const page = p.port == 9103 ? "9104" : "9103";
  std::string out =
      "# Made by mgw-gateway setup. docker compose up -d\n"
      "services:\n"
      "  gateway:\n"
      "    image: mgw-gateway  # an image whose entry point is the program\n"
      "    restart: unless-stopped\n"
      "    user: \"" +
      std::to_string(uid) + ':' + std::to_string(gid) +
      "\"  # who can read server.key, and write to cache and state\n"
      "    read_only: true\n"
      "    cap_drop: [ALL]\n"
      "    security_opt: [\"no-new-privileges:true\"]\n"
      "    ports: [\"" +
      port + ":8443\", \"127.0.0.1:" + page +
      ":9103\"]  # devices, and the status page for this host alone\n"
      "    stop_grace_period: 40s  # downloads have 30 s to end\n"
      "    environment:\n";
  auto const variable = [&out](char const* name, std::string_view value) {
    out += "      " + std::string(name) + ": " + compose_text(value) + '\n';
  };
  variable("UPSTREAM_SERVER_URL", p.upstream);
  if (!p.upstream_ca.empty()) variable("UPSTREAM_SERVER_CA_CERTIFICATE", upstream_ca);
  variable("HTTPS_ENABLED", "true");
  variable("HTTPS_LISTEN", ":8443");
  variable("HTTPS_SERVER_CERTIFICATE", "/etc/mender/certs/server.crt");
  variable("HTTPS_SERVER_KEY", "/etc/mender/certs/server.key");
  variable("ADMIN_LISTEN", ":9103");
  out +=
      "    volumes:\n"
      "      - ./server.crt:/etc/mender/certs/server.crt:ro\n"
      "      - ./server.key:/etc/mender/certs/server.key:ro\n";
  if (!p.upstream_ca.empty()) out += "      - ./upstream-ca.crt:" + upstream_ca + ":ro\n";
  return out +
         "      - ./cache:/var/cache/mender-gateway\n"
         "      - ./state:/var/lib/mender-gateway\n";
}

/// What to do next, for people. `end`: the certificate's last day.
inline std::string next_steps(setup_plan const& p, std::string const& end) {
  using setup_detail::shell_word;
  std::string names;
  for (auto const& h : p.hosts) names += (names.empty() ? "" : ", ") + h.text;
  std::string const file = shell_word(p.directory + "/gateway.env");
  return "made " + p.directory + ": a CA, and a certificate for " + names + " that is good until " + end +
         "\n\n"
         "1. Start the gateway as a user who may read server.key and write to cache and state; one of\n"
         "     sh -c 'set -a; . \"$0\"; exec mgw-gateway' " +
         file + "\n" + "     EnvironmentFile=" + p.directory +
         "/gateway.env    in the unit of a systemd service\n"
         "     docker compose -f " +
         shell_word(p.directory + "/compose.yaml") + " up -d\n" + "2. Give devices what is in " + p.directory +
         "/device: gateway-ca.crt as " + p.device_ca +
         ",\n   the two members of mender.conf in their /etc/mender/mender.conf" +
         (p.hosts.front().is_address ? ""
                                     : ", and, if their DNS does not know\n   " + p.hosts.front().text +
                                           ", the line of hosts in their /etc/hosts") +
         ".\n"
         "3. On a device, see whether that is right; the answer is 204:\n"
         "     curl -i --cacert " +
         shell_word(p.device_ca) + ' ' + p.url() + "/api/internal/v1/gateway/alive\n" +
         "   Then take ca.key to a safe place: who has it can pose as any server to your devices. It is needed before\n"
         "   " +
         end + ", for: mgw-gateway setup --renew --out " + shell_word(p.directory) + '\n';
}

}  // namespace gateway
