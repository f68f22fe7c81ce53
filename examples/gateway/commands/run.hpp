#pragma once

#include "access_log.hpp"
#include "assembly.hpp"
#include "config/check.hpp"
#include "config/configuration.hpp"
#include "config/load.hpp"
#include "config/settings.hpp"
#include "lifecycle/configuration_reload.hpp"
#include "lifecycle/hand_over.hpp"
#include "lifecycle/inherited_sockets.hpp"
#include "lifecycle/service_manager.hpp"
#include "lifecycle/supervision.hpp"
#include "listening.hpp"
#include "logging/logging.hpp"
#include "open_files.hpp"
#include "support/side_listener.hpp"

#include <mgw/version.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// The end of the process when the cache's disk does not answer: its threads cannot be joined. What they were at is found
/// by the next start as after a crash. Status 0: the stop was asked for, and nothing that was promised is lost.
[[noreturn]] inline void leave_hung_disk() {
  log_event(spdlog::level::err, "stopped without the cache's disk, which does not answer: what was fetched last is not on it");
  spdlog::default_logger()->flush();  // the threads that are left may log, too
  ::_exit(0);
}

/// At a SIGHUP the configuration is read again: from its sources, of which the environment is that of this process.
inline void reread_configuration(assembly& of, settings const& running, flags const& given) {
  configuration_reload::options o;
  o.read = [given] { return load(given); };
  o.set_level = configure_log_level;
  o.log = log_line;
  if (auto* const trail = of.trail())
    o.told = [trail](configuration_reload::outcome const& done) {
      trail->configuration_read(done.trouble, done.log_level, configuration_reload::joined(done.restart));
    };
  of.at_hangup().add(configuration_reload(running, std::move(o)));
}

/// Runs the gateway until it is told to stop. Returns the exit code. Throws config_error with all that is wrong.
inline int run(configuration c, flags const& given) {
  check(c);
  if (!c.errors.empty()) {
    std::string all;
    for (std::string const& e : c.errors) (all += all.empty() ? "" : "\nmgw-gateway: ") += e;
    throw config_error(all);
  }
  settings const& s = c.values;
  settings const as_read = s;
  start_logging(s.log_level, s.log_format);
  for (auto const* lines : {&c.unknown, &c.warnings})
    for (std::string const& line : *lines) log_event(spdlog::level::warn, line);
  if (!c.file.empty())
    log_event(spdlog::level::info, "configuration file loaded", [&](log_fields& f) { f.text("file", c.file); });
  std::signal(SIGPIPE, SIG_IGN);
  for (int const early : {SIGHUP, SIGUSR1, SIGUSR2}) std::signal(early, SIG_IGN);  // until there is somebody to take them
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &files);
    keep_within(c.values.limits.max_connections, files.rlim_max, log_line);
  }
  service_manager manager;
  std::optional<long_start> starting(std::in_place, manager);
  inherited_sockets sockets(inherited_sockets::of_process(), s);
  sockets.apply(c.values);
  log_event(spdlog::level::info, "starting mgw-gateway", [&](log_fields& f) {
    f.word("version", MGW_VERSION).text("upstream", s.upstream.url).flag("verify", !s.upstream.insecure_skip_verify);
  });
  if (!sockets.empty()) {
    log_event(spdlog::level::info, "the service manager hands over listening sockets");
    manager.status("waiting for the gateway before this one to end");
    if (!wait_for_hand_over(held_files(s), s.drain + std::chrono::seconds(15), log_line)) return 0;
  }
  manager.status("starting");
  auto const there = [&](char const* key, std::string const& address) {
    return wait_for_address(c.name(key), address, s.listen_wait, log_line);
  };
  if ((s.https.enabled && !sockets.has("https") && !there("HTTPS.Listen", s.https.listen)) ||
      (s.http.enabled && !sockets.has("http") && !there("HTTP.Listen", s.http.listen)))
    return 0;
  auto gateway = std::make_unique<assembly>(s, log_line, std::move(sockets));
  for (auto const& address : gateway->addresses()) {
    log_event(spdlog::level::info, "running", [&](log_fields& f) { f.word("address", address); });
    std::printf("mgw-gateway listening on %s\n", address.c_str());
  }
  if (auto const& at = gateway->metrics_address()) {
    log_event(spdlog::level::info, "metrics are told", [&](log_fields& f) { f.word("address", url_of(*at, "/metrics")); });
  }
  if (auto const at = gateway->status_address()) {
    std::string const url = url_of(*at, "/");
    log_event(spdlog::level::info, "status page", [&](log_fields& f) { f.word("address", url); });
    std::printf("status page: %s\n", url.c_str());
  }
  std::fflush(stdout);
  reread_configuration(*gateway, as_read, given);
  starting.reset();
  gateway->run(s.drain, leave_hung_disk, manager);
  auto const &f = gateway->fetched(), &own = gateway->fetched_for_one();
  log_event(spdlog::level::info, "stopped", [&](log_fields& l) {
    l.number("upstream_bytes", f.first_time_bytes + own.first_time_bytes).number("again_bytes", f.again_bytes + own.again_bytes);
  });
  spdlog::shutdown();
  return 0;
}

}  // namespace gateway
