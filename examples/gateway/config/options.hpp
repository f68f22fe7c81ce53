#pragma once

#include "config/settings.hpp"

#include <mgw/core/units.hpp>

#include <charconv>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// One option: its key in the configuration, its environment variable, what it takes, and where it goes.
struct option {
  std::string key;          ///< as in the original's file: `HTTPS.ServerKey`
  std::string environment;  ///< `HTTPS_SERVER_KEY`
  std::string accepts;      ///< for messages and help
  std::string help;
  /// Stores the value; false: not accepted.
  std::function<bool(settings&, std::string_view)> set;
};

namespace option_detail {

inline bool read_bool(std::string_view text, bool& into) {
  if (text == "true" || text == "1" || text == "yes" || text == "on") return into = true, true;
  if (text == "false" || text == "0" || text == "no" || text == "off" || text.empty()) return into = false, true;
  return false;
}
/// A list, separated by commas or blanks.
inline std::vector<std::string> read_list(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto const end = std::min(text.find_first_of(", \t"), text.size());
    if (end != 0) out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}
template <class N>
bool read_number(std::string_view text, N& into) {
  auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), into);
  return ec == std::errc{} && end == text.data() + text.size();
}

}  // namespace option_detail

/// The one table of options.
inline std::vector<option> const& options() {
  using namespace option_detail;
  auto const flag = [](auto get) {
    return [get](settings& s, std::string_view v) { return read_bool(v, get(s)); };
  };
  auto const text = [](auto get) {
    return [get](settings& s, std::string_view v) {
      get(s) = std::string(v);
      return true;
    };
  };
  auto const size = [](auto get) {
    return [get](settings& s, std::string_view v) {
      auto const n = mgw::parse_size(v);
      if (n) get(s) = *n;
      return static_cast<bool>(n);
    };
  };
  auto const duration = [](auto get) {
    return [get](settings& s, std::string_view v) {
      auto const d = mgw::parse_duration(v);
      if (d) get(s) = *d;
      return static_cast<bool>(d);
    };
  };
  auto const number = [](auto get) {
    return [get](settings& s, std::string_view v) { return read_number(v, get(s)); };
  };
  static constexpr auto* yes_no = "true or false";
  static constexpr auto* address = "[HOST]:PORT, such as :443 or 127.0.0.1:8443";
  static constexpr auto* a_size = "bytes, or a number with KiB, MiB, GiB, TiB";
  static constexpr auto* a_duration = "a duration such as 30m or 1h15m";
  static constexpr auto* a_path = "a path";
  static std::vector<option> const table = {
      {"HTTP.Enabled", "HTTP_ENABLED", yes_no, "listen without TLS", flag([](settings& s) -> bool& { return s.http.enabled; })},
      {"HTTP.Listen", "HTTP_LISTEN", address, "where to listen without TLS (:80)", text([](settings& s) -> auto& { return s.http.listen; })},
      {"HTTPS.Enabled", "HTTPS_ENABLED", yes_no, "listen with TLS", flag([](settings& s) -> bool& { return s.https.enabled; })},
      {"HTTPS.Listen", "HTTPS_LISTEN", address, "where to listen with TLS (:443)", text([](settings& s) -> auto& { return s.https.listen; })},
      {"HTTPS.ServerCertificate", "HTTPS_SERVER_CERTIFICATE", a_path, "PEM file: the certificate, then its chain",
       text([](settings& s) -> auto& { return s.https.certificate; })},
      {"HTTPS.ServerKey", "HTTPS_SERVER_KEY", a_path, "PEM file: the certificate's key", text([](settings& s) -> auto& { return s.https.key; })},
      {"HTTPS.MinimumTLSVersion", "HTTPS_MINIMUM_TLS_VERSION", "1.2 or 1.3", "oldest TLS version that is spoken (1.2)",
       [](settings& s, std::string_view v) {
         s.https.minimum_tls = std::string(v);
         return v == "1.2" || v == "1.3";
       }},
      {"UpstreamServer.URL", "UPSTREAM_SERVER_URL", "an http:// or https:// URL", "the Mender server",
       text([](settings& s) -> auto& { return s.upstream.url; })},
      {"UpstreamServer.CACertificate", "UPSTREAM_SERVER_CA_CERTIFICATE", a_path, "PEM file: what upstream certificates chain to (the system's)",
       text([](settings& s) -> auto& { return s.upstream.ca_certificate; })},
      {"UpstreamServer.InsecureSkipVerify", "UPSTREAM_SERVER_INSECURE_SKIP_VERIFY", yes_no, "do not verify upstream certificates",
       flag([](settings& s) -> bool& { return s.upstream.insecure_skip_verify; })},
      {"Features.ArtifactsProxy.Enabled", "ARTIFACTS_PROXY_ENABLED", yes_no, "serve artifacts through the gateway (true)",
       flag([](settings& s) -> bool& { return s.proxy.enabled; })},
      {"Features.ArtifactsProxy.GatewayURL", "ARTIFACTS_PROXY_GATEWAY_URL", "an http:// or https:// URL",
       "the gateway as devices reach it (as each device named it)", text([](settings& s) -> auto& { return s.proxy.gateway_url; })},
      {"Features.ArtifactsProxy.DomainWhitelist", "ARTIFACTS_PROXY_DOMAIN_WHITELIST", "hosts or .suffixes, separated by commas or blanks",
       "hosts artifacts may come from (what the server names)",
       [](settings& s, std::string_view v) {
         s.proxy.whitelist = read_list(v);
         return true;
       }},
      {"Features.ArtifactsProxy.HoldTimeout", "ARTIFACTS_PROXY_HOLD_TIMEOUT", a_duration,
       "how long a download waits for an unreachable upstream before it is closed (4m30s)",
       duration([](settings& s) -> auto& { return s.proxy.hold; })},
      {"Features.ArtifactsProxy.ArtifactsCache.Enabled", "ARTIFACTS_PROXY_CACHE_ENABLED", yes_no, "keep artifacts on disk (true)",
       flag([](settings& s) -> bool& { return s.cache.enabled; })},
      {"Features.ArtifactsProxy.ArtifactsCache.Path", "ARTIFACTS_PROXY_CACHE_PATH", "a directory", "where artifacts are kept (/var/cache/mender-gateway)",
       text([](settings& s) -> auto& { return s.cache.path; })},
      {"Features.ArtifactsProxy.ArtifactsCache.SignatureSecret", "ARTIFACTS_PROXY_CACHE_SECRET",
       "base64 or text of at least 16 bytes; several, separated by commas: the first seals", "secret that seals links (one is made and kept)",
       text([](settings& s) -> auto& { return s.cache.secret; })},
      {"Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration", "ARTIFACTS_PROXY_CACHE_LINK_EXPIRE_DURATION", a_duration,
       "how long after a poll a download may begin (24h)", duration([](settings& s) -> auto& { return s.cache.link_life; })},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxSize", "ARTIFACTS_PROXY_CACHE_MAX_SIZE", a_size, "most that the cache may take (90 % of the file system)",
       size([](settings& s) -> auto& { return s.cache.max_size; })},
      {"Features.ArtifactsProxy.ArtifactsCache.MinFree", "ARTIFACTS_PROXY_CACHE_MIN_FREE", a_size, "what the cache leaves free (5 % of the file system)",
       size([](settings& s) -> auto& { return s.cache.min_free; })},
      {"Limits.MaxConnections", "LIMITS_MAX_CONNECTIONS", "a number", "connections at once (10000)", number([](settings& s) -> auto& { return s.limits.max_connections; })},
      {"Limits.MaxBodySize", "LIMITS_MAX_BODY_SIZE", a_size, "largest request body (16MiB)", size([](settings& s) -> auto& { return s.limits.max_body; })},
      {"StateDirectory", "STATE_DIRECTORY", "a directory", "where the gateway keeps what it must not lose (/var/lib/mender-gateway)",
       text([](settings& s) -> auto& { return s.state_directory; })},
      {"Workers", "WORKERS", "a number", "threads that serve (one per core)", number([](settings& s) -> auto& { return s.workers; })},
      {"DrainTimeout", "DRAIN_TIMEOUT", a_duration, "how long a stop waits for what is being served (30s)",
       duration([](settings& s) -> auto& { return s.drain; })},
      {"Log.Level", "LOG_LEVEL", "debug, info, warn, error or fatal", "least important lines that are logged (info)",
       [](settings& s, std::string_view v) {
         s.log_level = std::string(v);
         return v == "debug" || v == "info" || v == "warn" || v == "error" || v == "fatal";
       }},
  };
  return table;
}

}  // namespace gateway
