#pragma once

#include "commands/doctor.hpp"
#include "commands/table.hpp"
#include "config/check.hpp"
#include "config/configuration.hpp"
#include "doctor/artifact_hosts.hpp"
#include "doctor/device_view.hpp"
#include "doctor/directories.hpp"
#include "doctor/finding.hpp"
#include "doctor/listening.hpp"
#include "doctor/look_within.hpp"
#include "doctor/management.hpp"
#include "doctor/report.hpp"
#include "doctor/upstream.hpp"

#include <mgw/net/tls_context.hpp>

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

namespace gateway {

namespace doctor {

/// What the gateway itself would say about its configuration at start.
inline findings check_configuration(configuration c) {
  check(c);
  findings out;
  std::string const what = "configuration";
  for (std::string const& e : c.errors)
    out.emplace_back(level::problem, what, e, "the gateway does not start with it: see docs/configuration.md");
  for (auto const* lines : {&c.unknown, &c.warnings})
    for (std::string const& line : *lines) out.emplace_back(level::warning, what, line, "see docs/configuration.md");
  if (out.empty())
    out.emplace_back(level::ok, what, c.file.empty() ? "good; there is no file" : "good; the file is " + c.file);
  return out;
}

/// All that can be looked at with these settings, good or not.
inline findings look_at(configuration c, doctor_command const& asked) {
  milliseconds const step = std::chrono::seconds(asked.timeout);
  auto said = look_within(step, [c] { return check_configuration(c); });
  if (!said) return {hung("configuration", "a file that the configuration names")};
  findings out = *std::move(said);
  auto const add = [&out](findings more) {
    for (auto& f : more) out.push_back(std::move(f));
  };
  settings const& s = c.values;
  auto const now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  device_trust const devices{asked.ca, asked.host};
  auto certificate = look_within(step, [s, devices, now] { return check_certificate(s, devices, now); });
  if (certificate) add(check_ports(s, step));  // which reads the same files
  add(certificate ? *std::move(certificate) : findings{hung("certificate", s.https.certificate + ", or --ca,")});
  add(check_directories(s, step));
  if (s.upstream.url.empty()) return out;
  std::optional<connecting> how;
  try {
    how.emplace(s, step);
  } catch (mgw::net::tls_context_error const&) {
    return out;  // the configuration says it
  }
  auto upstream = check_upstream(s, *how);
  bool const reached = !any_problem(upstream);
  add(std::move(upstream));
  if (reached) add(check_management(s, *how));
  add(check_artifact_host(s, *how, asked.artifact_url));
  add(check_tenants(s));
  return out;
}

}  // namespace doctor

/// Looks and prints what was found. Returns the exit status: 1 if there is a problem.
inline int run_doctor(configuration c, doctor_command const& asked) {
  std::signal(SIGPIPE, SIG_IGN);
  auto const found = doctor::look_at(std::move(c), asked);
  std::string const text =
      asked.json ? doctor::report_json(found) : doctor::report_text(found, terminal_width(STDOUT_FILENO));
  std::fputs(text.c_str(), stdout);
  return doctor::any_problem(found) || std::fflush(stdout) != 0 ? 1 : 0;
}

}  // namespace gateway
