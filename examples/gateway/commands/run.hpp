#pragma once

#include "access_log.hpp"
#include "assembly.hpp"
#include "config/settings.hpp"

#include <mgw/version.hpp>


#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

namespace gateway {

/// Throws config_error if the file cannot be read.
inline void check_readable(std::string const& key, std::string const& path) {
  if (path.empty() || ::access(path.c_str(), R_OK) == 0) return;
  std::string reason = std::system_category().message(errno);
  struct stat about {};
  if (::stat(path.c_str(), &about) == 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(about.st_mode & 07777U));
    reason += "; it belongs to uid " + std::to_string(about.st_uid) + ", mode " + mode + ", and we are uid " + std::to_string(::geteuid());
  }
  throw config_error(key + " is \"" + path + "\": " + reason);
}

/// Refuses what cannot work before anything is opened. Throws config_error.
inline void check(settings const& s) {
  if (!s.http.enabled && !s.https.enabled)
    throw config_error("nothing to listen on: set HTTPS_ENABLED=true (with HTTPS_SERVER_CERTIFICATE and HTTPS_SERVER_KEY) or HTTP_ENABLED=true");
  if (s.upstream.url.empty()) throw config_error("UPSTREAM_SERVER_URL (UpstreamServer.URL) is not set; accepted: an http:// or https:// URL");
  if (!s.proxy.gateway_url.empty() && !mgw::http::parse_uri(s.proxy.gateway_url))
    throw config_error("ARTIFACTS_PROXY_GATEWAY_URL (Features.ArtifactsProxy.GatewayURL) is \"" + s.proxy.gateway_url +
                       "\"; accepted: an http:// or https:// URL");
  if (s.https.enabled && s.https.certificate.empty())
    throw config_error("HTTPS_SERVER_CERTIFICATE (HTTPS.ServerCertificate) is not set, and HTTPS_ENABLED is true; accepted: a PEM file");
  if (s.https.enabled && s.https.key.empty())
    throw config_error("HTTPS_SERVER_KEY (HTTPS.ServerKey) is not set, and HTTPS_ENABLED is true; accepted: a PEM file");
  if (s.https.enabled) {
    check_readable("HTTPS_SERVER_CERTIFICATE (HTTPS.ServerCertificate)", s.https.certificate);
    check_readable("HTTPS_SERVER_KEY (HTTPS.ServerKey)", s.https.key);
  }
  check_readable("UPSTREAM_SERVER_CA_CERTIFICATE (UpstreamServer.CACertificate)", s.upstream.ca_certificate);
}

/// Runs the gateway until it is told to stop. Returns the exit code.
inline int run(settings const& s) {
  start_logging(s.log_level);
  check(s);
  std::signal(SIGPIPE, SIG_IGN);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  spdlog::info("msg=\"starting mgw-gateway\" version={} upstream={} verify={}", MGW_VERSION, in_quotes(s.upstream.url), !s.upstream.insecure_skip_verify);
  auto gateway = std::make_unique<assembly>(s, log_line);
  for (auto const& address : gateway->addresses()) {
    spdlog::info("msg=running address={}", address);
    std::printf("mgw-gateway listening on %s\n", address.c_str());
  }
  std::fflush(stdout);
  gateway->run(s.drain);
  auto const& f = gateway->fetched();
  spdlog::info("msg=stopped upstream_bytes={} again_bytes={}", f.first_time_bytes.load(), f.again_bytes.load());
  spdlog::shutdown();
  return 0;
}

}  // namespace gateway
