#pragma once

#include <mgw/mender/inventory.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace gateway {

/// A configuration that cannot work. The text names the key, the value and what is accepted.
class config_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Everything that can be set, with its default. config/options.hpp says how each is named and read.
struct settings {
  struct {
    bool enabled = false;
    std::string listen = ":80";
  } http;
  struct {
    bool enabled = false;
    std::string listen = ":443";
    std::string certificate, key;
    std::string minimum_tls = "1.2";
  } https;
  struct {
    std::string url;
    std::string ca_certificate;
    bool insecure_skip_verify = false;
    std::uint64_t rate_limit = 0;  ///< bytes per second; 0: none
    std::size_t calls_per_second = 80;  ///< 0: no limit
    std::string rate_windows;      ///< as mgw::upstream::rate_windows reads them; empty: none
    bool allow_private_addresses = false;
    std::string http_proxy, https_proxy;  ///< as mgw::upstream::http_proxy reads them; empty: none
    std::string no_proxy;                 ///< as mgw::upstream::proxy_rules reads it
  } upstream;
  struct {
    bool enabled = true;
    std::string gateway_url;
    std::vector<std::string> whitelist;
    std::chrono::milliseconds hold{270'000};
    std::size_t max_held = 0;  ///< 0: 60 % of the connections
    std::uint64_t max_configuration = 1u << 20;
    std::uint64_t max_configurations = 64u << 20;
  } proxy;
  struct {
    bool enabled = true;
    std::string path = "/var/cache/mender-gateway";
    bool path_is_default = false;  ///< nobody has set it: it may be one that cannot be used
    std::string secret;
    std::chrono::milliseconds link_life{24 * 3'600'000};
    std::uint64_t max_size = 0;
    std::uint64_t min_free = 0;
    std::chrono::milliseconds max_age{0};  ///< 0: no limit
    std::string verify = "artifact";
    std::vector<std::string> verify_keys;  ///< PEM files
    std::string when_abandoned = "finish";
    std::size_t max_fills = 16;
    std::size_t max_pass_through = 8;
    std::uint64_t far_ahead = 8u << 20;
  } cache;
  struct {
    bool enabled = false;
    std::string system_id;
    mgw::mender::inventory_attributes default_inventory;
  } device_system;
  mgw::mender::inventory_attributes default_inventory;  ///< of the original's older key at the root
  struct {
    bool enabled = false;
    std::string ca_certificate, crl, blacklist;
    std::string username, password, access_token;
    bool enable_cache = true;
    bool accept_expired = false;
    bool require_matching_key = false;
    bool allow_rebind = false;
    bool plain_serves_devices = false;
  } mtls;
  std::vector<std::string> allowed_tenants;  ///< tokens; empty: all
  struct {
    std::size_t max_connections = 10'000;
    std::size_t max_connections_per_peer = 0;  ///< 0: no limit
    std::size_t max_held_reports = 0;          ///< 0: a quarter of the connections
    std::uint64_t max_head = 18u << 10;
    std::uint64_t max_body = 16u << 20;
    std::chrono::milliseconds tunnel_silence{3'600'000};
  } limits;
  struct {
    bool enabled = false;
    std::string listen = ":9102";
  } metrics;
  struct {
    bool enabled = true;
    std::string listen = "127.0.0.1:9103";
    bool listen_is_default = false;  ///< nobody has chosen it: another program may be there
  } admin;
  std::vector<std::string> trusted_proxies;  ///< as address_list reads them
  std::string state_directory = "/var/lib/mender-gateway";
  bool state_is_default = false;  ///< as with the cache's path
  std::size_t workers = 0;
  std::chrono::milliseconds drain{30'000};
  std::chrono::milliseconds listen_wait{120'000};  ///< for an address that no interface has yet
  struct {
    std::string path;  ///< empty: none is kept
    std::string sync = "second";
    std::string on_failure = "warn";
    std::uint64_t max_file_size = 64u << 20;
    std::chrono::milliseconds head_period{3'600'000};
  } audit;
  std::string log_level = "info";
  std::string log_format = "text";
  bool debug_log = false;  ///< the original's older word for log_level debug
};

}  // namespace gateway
