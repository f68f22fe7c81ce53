#pragma once

#include "commands/setup.hpp"
#include "commands/setup_files.hpp"
#include "config/configuration.hpp"
#include "config/options.hpp"
#include "config/settings.hpp"
#include "config/text_file.hpp"
#include "config/value_forms.hpp"
#include "support/certificate_host.hpp"
#include "support/certificate_maker.hpp"

#include <mgw/http/uri.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

namespace setup_detail {

inline constexpr std::size_t largest_pem = 1u << 20;

[[noreturn]] inline void refuse(std::string const& option, std::string_view value, std::string const& accepted) {
  throw config_error(option + " is " + shown(value) + "; accepted: " + accepted);
}
[[noreturn]] inline void needed(std::string const& option, std::string const& accepted) {
  throw config_error(option + " is not given; accepted: " + accepted);
}
inline bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}
inline std::vector<certificate_host> read_hosts(std::vector<std::string> const& given) {
  std::vector<certificate_host> out;
  if (given.size() > 100)
    throw config_error("--host is given " + std::to_string(given.size()) + " times; accepted: 100");
  for (std::string const& text : given) {
    auto const host = read_certificate_host(text);
    if (!host) refuse("--host", text, certificate_host::accepted);
    if (std::find(out.begin(), out.end(), *host) == out.end()) out.push_back(*host);
  }
  return out;
}
/// Absolute, without a slash at its end.
inline std::string read_directory(std::string const& given) {
  static constexpr auto* accepted = "a directory that is not there yet, or is empty";
  if (given.empty()) needed("--out", accepted);
  if (has_control(given)) refuse("--out", given, accepted);
  std::error_code ec;
  auto path = std::filesystem::weakly_canonical(std::filesystem::absolute(given), ec);
  if (ec) throw config_error("--out is " + shown(given) + ": " + ec.message());
  return (path.has_filename() ? path : path.parent_path()).string();
}
inline std::string read_upstream(std::string const& given, setup_plan const& p) {
  option const& same = *find_option("UpstreamServer.URL");
  settings into;
  if (given.empty()) needed("--upstream", same.accepts);
  if (!same.value.set(into, given)) refuse("--upstream", given, same.accepts);
  auto const u = mgw::http::parse_uri(given);
  auto const host = read_certificate_host(u->host);
  if (host && u->port == p.port && std::find(p.hosts.begin(), p.hosts.end(), *host) != p.hosts.end())
    throw config_error(
        "--upstream is " + shown(given) +
        ", which --host and --port say is the gateway itself; accepted: " + "the URL of the Mender server");
  return into.upstream.url;
}
inline std::string read_upstream_ca(std::string const& path) {
  auto const pem = read_text_file(path, largest_pem);
  if (!pem) throw config_error("--upstream-ca is " + shown(path) + ": " + file_trouble(path, pem.error()));
  try {
    (void)certificate_from_pem(*pem);
  } catch (certificate_error const& e) {
    throw config_error("--upstream-ca is " + shown(path) + ": " + e.what());
  }
  return *pem;
}

}  // namespace setup_detail

/// Reads what was asked. With --renew, `upstream` stays empty, and so do `hosts` if none is given. Throws config_error
/// that names the option, its value and what is accepted.
inline setup_plan plan_setup(setup_request const& asked) {
  namespace d = setup_detail;
  setup_plan out;
  out.hosts = d::read_hosts(asked.hosts);
  out.directory = d::read_directory(asked.out);
  if (!asked.days.empty() && !read_number(asked.days, 1, 3650, out.days)) d::refuse("--days", asked.days, "1 to 3650");
  if (asked.renew) {
    for (auto const& [name, value] : {std::pair("--upstream", &asked.upstream),
                                      {"--upstream-ca", &asked.upstream_ca},
                                      {"--port", &asked.port},
                                      {"--device-ca", &asked.device_ca}})
      if (!value->empty())
        throw config_error(std::string(name) + " is " + shown(*value) +
                           ", but --renew makes a new server certificate and nothing else; accepted with it: --out, "
                           "--host, --days");
    return out;
  }
  if (out.hosts.empty()) d::needed("--host", certificate_host::accepted);
  if (!asked.port.empty() && !read_number<std::uint16_t>(asked.port, 1, 65535, out.port))
    d::refuse("--port", asked.port, "1 to 65535");
  if (!asked.device_ca.empty()) {
    if (!asked.device_ca.starts_with('/') || d::has_control(asked.device_ca))
      d::refuse("--device-ca", asked.device_ca, "an absolute path");
    out.device_ca = asked.device_ca;
  }
  out.upstream = d::read_upstream(asked.upstream, out);
  if (!asked.upstream_ca.empty()) out.upstream_ca = d::read_upstream_ca(asked.upstream_ca);
  return out;
}

}  // namespace gateway
