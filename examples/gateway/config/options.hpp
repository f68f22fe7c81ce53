#pragma once

#include "config/address_list.hpp"
#include "config/settings.hpp"
#include "config/value_forms.hpp"

#include <mgw/http/fields.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/inventory.hpp>
#include <mgw/mender/whitelist.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/upstream/proxy_rules.hpp>
#include <mgw/upstream/rate_windows.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// What a value is: which JSON types may stand for it in a file, and how it is shown.
enum class value_kind { flag, text, secret, number, size, duration, list, secret_list, attributes };
/// Such values are masked, and may stand in a file of their own.
constexpr bool is_secret(value_kind k) noexcept { return k == value_kind::secret || k == value_kind::secret_list; }
constexpr bool is_list(value_kind k) noexcept { return k == value_kind::list || k == value_kind::secret_list; }

/// How an option's value is read and shown.
struct option_value {
  value_kind kind;
  /// Stores the value; false: not accepted, and nothing is stored.
  std::function<bool(settings&, std::string_view)> set;
  /// The value as `set` takes it; empty: not set, the default is found out at start.
  std::function<std::string(settings const&)> show;
};

/// One option: its key in the configuration, its environment variable, what it takes, and where it goes.
struct option {
  std::string key;          ///< as in the original's file: `HTTPS.ServerKey`
  std::string environment;  ///< `HTTPS_SERVER_KEY`; empty: there is none
  std::string accepts;      ///< for messages and help
  std::string help;         ///< in parentheses at its end: the default
  option_value value;
};

namespace option_detail {

/// `field(settings&)` is where the value goes; a text is stored if `valid(text)`.
template <class Field, class Valid>
option_value text_if(Field field, Valid valid, value_kind kind = value_kind::text) {
  auto const set = [field, valid](settings& s, std::string_view v) {
    if (!valid(v)) return false;
    field(s) = std::string(v);
    return true;
  };
  return {kind, set, [field](settings const& s) { return std::string(field(s)); }};
}
template <class Field>
option_value text(Field field) {
  return text_if(field, [](std::string_view) { return true; });
}
template <class Field>
option_value one_of(Field field, std::vector<std::string> words) {
  return text_if(field,
                 [words](std::string_view v) { return std::find(words.begin(), words.end(), v) != words.end(); });
}
/// What paths are put behind.
template <class Field>
option_value base_url(Field field) {
  return text_if(field, [](std::string_view v) {
    auto const u = mgw::http::parse_uri(v);
    return u && !u->has_query && v.find('#') == v.npos;
  });
}
template <class Field>
option_value windows(Field field) {
  return text_if(field, [](std::string_view v) { return static_cast<bool>(mgw::upstream::rate_windows::parse(v)); });
}
template <class Field>
option_value address(Field field) {
  return text_if(field, [](std::string_view v) { return static_cast<bool>(mgw::net::parse_listen_address(v)); });
}
template <class Field>
option_value proxy(Field field) {
  auto const valid = [](std::string_view v) { return static_cast<bool>(mgw::upstream::http_proxy::parse(v)); };
  return text_if(field, valid, value_kind::secret);  // it may hold a password
}
template <class Field>
option_value secret(Field field) {
  auto const valid = [](std::string_view v) { return static_cast<bool>(mgw::mender::parse_secrets(v)); };
  return text_if(field, valid, value_kind::secret);
}
/// A token that is sent in a field: printable characters without blanks.
template <class Field>
option_value token(Field field) {
  auto const valid = [](std::string_view v) {
    return v.size() <= 16 * 1024 && std::all_of(v.begin(), v.end(), [](char c) { return c > ' ' && c < 0x7f; });
  };
  return text_if(field, valid, value_kind::secret);
}
template <class Field>
option_value password(Field field) {
  return text_if(field, [](std::string_view) { return true; }, value_kind::secret);
}
/// A name in credentials, which a colon would end.
template <class Field>
option_value user(Field field) {
  return text_if(field, [](std::string_view v) { return v.find(':') == v.npos; });
}
/// Anything with `read(text, into)` and `show(value)`.
template <class Field, class Read, class Show>
option_value read_with(value_kind kind, Field field, Read read, Show show) {
  return {kind, [field, read](settings& s, std::string_view v) { return read(v, field(s)); },
          [field, show](settings const& s) { return show(field(s)); }};
}
template <class Field>
option_value flag(Field field) {
  return read_with(value_kind::flag, field, read_bool, [](bool b) { return std::string(b ? "true" : "false"); });
}
/// A number from `least` to `most`; one below is a default that is found out at start.
template <class Field, class N>
option_value number(Field field, N least, N most) {
  return read_with(
      value_kind::number, field, [=](std::string_view v, auto& into) { return read_number(v, least, most, into); },
      [=](auto n) { return n < least ? std::string() : std::to_string(n); });
}
template <class Field>
option_value size(Field field, std::uint64_t least, std::uint64_t most) {
  return read_with(
      value_kind::size, field, [=](std::string_view v, auto& into) { return read_size(v, least, most, into); },
      [=](auto n) { return n < least ? std::string() : show_size(n); });
}
template <class Field>
option_value duration(Field field, std::chrono::milliseconds least = std::chrono::milliseconds(0)) {
  return read_with(
      value_kind::duration, field, [=](std::string_view v, auto& into) { return read_duration(v, least, into); },
      show_duration);
}
/// A duration, or 0 for no limit.
template <class Field>
option_value duration_or_none(Field field, std::chrono::milliseconds least) {
  auto const read = [least](std::string_view v, std::chrono::milliseconds& into) {
    std::chrono::milliseconds d{0};
    if (!read_duration(v, d, d) || (d.count() != 0 && d < least)) return false;
    into = d;
    return true;
  };
  return read_with(value_kind::duration, field, read, show_duration);
}
/// A duration, or 0 for the default: to Go's programs a zero is what was not set.
template <class Field>
option_value duration_or_default(Field field, std::chrono::milliseconds least) {
  auto option = duration_or_none(field, least);
  option.set = [field, set = std::move(option.set)](settings& s, std::string_view v) {
    if (!set(s, v)) return false;
    settings fresh;
    if (field(s).count() == 0) field(s) = field(fresh);
    return true;
  };
  return option;
}
/// `[{"Name": …, "Value": …}, …]`
template <class Field>
option_value attributes(Field field) {
  auto const read = [](std::string_view text, mgw::mender::inventory_attributes& into) {
    auto list = mgw::mender::parse_attributes(text);
    if (!list) return false;
    into = *std::move(list);
    return true;
  };
  auto const show = [](mgw::mender::inventory_attributes const& list) {
    std::string out;
    for (auto const& a : list) {
      out += out.empty() ? "[{\"Name\": " : ", {\"Name\": ";
      mgw::mender::append_json_string(out, a.name);
      out += ", \"Value\": " + a.value + '}';
    }
    return out.empty() ? out : out + ']';
  };
  return read_with(value_kind::attributes, field, read, show);
}
/// Tokens, one or more; also on lines of their own, as files have them.
inline bool read_tokens(std::string_view text, std::vector<std::string>& into) {
  std::string one_line(text);
  std::replace_if(one_line.begin(), one_line.end(), [](char c) { return c == '\n' || c == '\r'; }, ',');
  auto tokens = read_list(one_line);
  auto const fits = [](std::string const& t) {
    return std::all_of(t.begin(), t.end(), [](char c) { return c > ' ' && c < 0x7f; });
  };
  if (tokens.empty() || !std::all_of(tokens.begin(), tokens.end(), fits)) return false;
  into = std::move(tokens);
  return true;
}

inline bool read_hosts(std::string_view text, std::vector<std::string>& into) {
  auto hosts = read_list(text);
  try {
    mgw::mender::domain_list const understood(hosts);
  } catch (std::invalid_argument const&) {
    return false;
  }
  into = std::move(hosts);
  return true;
}

inline bool read_addresses(std::string_view text, std::vector<std::string>& into) {
  auto items = read_list(text);
  if (!address_list::parse(items)) return false;
  into = std::move(items);
  return true;
}

inline bool read_paths(std::string_view text, std::vector<std::string>& into) {
  into = read_list(text);
  return true;
}

}  // namespace option_detail

/// The one table of options. Keys of one section stand together.
inline std::vector<option> const& options() {
  using namespace option_detail;
  using std::size_t;
  static constexpr auto* yes_no = "true or false";
  static constexpr auto* an_address = "[HOST]:PORT, such as :443 or 127.0.0.1:8443";
  static constexpr auto* a_duration = "a duration such as 30m or 1h15m";
  static constexpr auto* a_url = "an http:// or https:// URL without query and fragment";
  static constexpr auto* a_path = "a path";
  static constexpr auto* a_proxy = "http://[USER:PASSWORD@]HOST[:PORT], user and password percent-encoded";
  static constexpr std::uint64_t KiB = 1024, MiB = KiB * 1024, TiB = MiB * MiB, EiB = TiB * MiB;
  static std::vector<option> const table = {
      // clang-format off
      {"HTTP.Enabled", "HTTP_ENABLED", yes_no, "listen without TLS",
       flag([](auto& s) -> auto& { return s.http.enabled; })},
      {"HTTP.Listen", "HTTP_LISTEN", an_address, "where to listen without TLS (:80)",
       address([](auto& s) -> auto& { return s.http.listen; })},
      {"HTTPS.Enabled", "HTTPS_ENABLED", yes_no, "listen with TLS",
       flag([](auto& s) -> auto& { return s.https.enabled; })},
      {"HTTPS.Listen", "HTTPS_LISTEN", an_address, "where to listen with TLS (:443)",
       address([](auto& s) -> auto& { return s.https.listen; })},
      {"HTTPS.ServerCertificate", "HTTPS_SERVER_CERTIFICATE", a_path, "PEM file: the certificate, then its chain",
       text([](auto& s) -> auto& { return s.https.certificate; })},
      {"HTTPS.ServerKey", "HTTPS_SERVER_KEY", a_path, "PEM file: the certificate's key",
       text([](auto& s) -> auto& { return s.https.key; })},
      {"HTTPS.MinimumTLSVersion", "HTTPS_MINIMUM_TLS_VERSION", "1.2 or 1.3; 1.0 and 1.1 count as 1.2",
       "oldest TLS version that is spoken (1.2)",
       one_of([](auto& s) -> auto& { return s.https.minimum_tls; }, {"1.2", "1.3", "1.0", "1.1"})},
      {"UpstreamServer.URL", "UPSTREAM_SERVER_URL", a_url, "the Mender server",
       base_url([](auto& s) -> auto& { return s.upstream.url; })},
      {"UpstreamServer.CACertificate", "UPSTREAM_SERVER_CA_CERTIFICATE", a_path,
       "PEM file: what upstream certificates chain to (the system's)",
       text([](auto& s) -> auto& { return s.upstream.ca_certificate; })},
      {"UpstreamServer.InsecureSkipVerify", "UPSTREAM_SERVER_INSECURE_SKIP_VERIFY", yes_no,
       "do not verify upstream certificates", flag([](auto& s) -> auto& { return s.upstream.insecure_skip_verify; })},
      {"UpstreamServer.RateLimit", "UPSTREAM_RATE_LIMIT",
       "1KiB or more in a second: bytes, or a number with KiB, MiB, GiB, TiB",
       "most that artifacts and API calls take of the upstream link (no limit)",
       size([](auto& s) -> auto& { return s.upstream.rate_limit; }, KiB, EiB)},
      {"UpstreamServer.RateWindows", "UPSTREAM_RATE_WINDOWS",
       "windows, separated by semicolons: DAYS HH:MM-HH:MM RATE, days or times may be left out; days such as mon-fri or "
       "sat,sun; a rate of 1KiB or more, unlimited, or pause",
       "other limits at certain times, local time; the first that is open counts; a pause of more than 50 minutes makes "
       "deployments fail that were polled in it, so prefer a low rate (none)",
       windows([](auto& s) -> auto& { return s.upstream.rate_windows; })},
      {"UpstreamServer.AllowPrivateAddresses", "UPSTREAM_ALLOW_PRIVATE_ADDRESSES", yes_no,
       "fetch artifacts from any private address, also where neither DomainWhitelist lists the host nor the server has "
       "a private address itself", flag([](auto& s) -> auto& { return s.upstream.allow_private_addresses; })},
      {"UpstreamServer.HTTPProxy", "HTTP_PROXY", a_proxy,
       "HTTP proxy for http:// servers, also read from http_proxy (none)",
       proxy([](auto& s) -> auto& { return s.upstream.http_proxy; })},
      {"UpstreamServer.HTTPSProxy", "HTTPS_PROXY", a_proxy,
       "HTTP proxy for https:// servers, also read from https_proxy (none)",
       proxy([](auto& s) -> auto& { return s.upstream.https_proxy; })},
      {"UpstreamServer.NoProxy", "NO_PROXY", "hosts, .suffixes, addresses, address blocks or *, separated by commas or blanks",
       "servers that are connected to without a proxy, also read from no_proxy (localhost and loopback addresses)",
       text([](auto& s) -> auto& { return s.upstream.no_proxy; })},
      {"UpstreamServer.RequestsPerSecond", "UPSTREAM_REQUESTS_PER_SECOND", "1 to 1000000, or 0 for no limit",
       "calls of the device API that go upstream in a second; more wait, and devices are told to come later (80)",
       number([](auto& s) -> auto& { return s.upstream.calls_per_second; }, size_t{0}, size_t{1'000'000})},
      {"Features.ArtifactsProxy.Enabled", "ARTIFACTS_PROXY_ENABLED", yes_no,
       "serve artifacts through the gateway (true)", flag([](auto& s) -> auto& { return s.proxy.enabled; })},
      {"Features.ArtifactsProxy.GatewayURL", "ARTIFACTS_PROXY_GATEWAY_URL", a_url,
       "the gateway as devices reach it (as each device named it)",
       base_url([](auto& s) -> auto& { return s.proxy.gateway_url; })},
      {"Features.ArtifactsProxy.DomainWhitelist", "ARTIFACTS_PROXY_DOMAIN_WHITELIST",
       "hosts or .suffixes, separated by commas or blanks", "hosts artifacts may come from (what the server names)",
       read_with(value_kind::list, [](auto& s) -> auto& { return s.proxy.whitelist; }, read_hosts, show_list)},
      {"Features.ArtifactsProxy.HoldTimeout", "ARTIFACTS_PROXY_HOLD_TIMEOUT", a_duration,
       "how long a download waits for an unreachable upstream before it is closed (4m30s)",
       duration([](auto& s) -> auto& { return s.proxy.hold; })},
      {"Features.ArtifactsProxy.MaxHeld", "ARTIFACTS_PROXY_MAX_HELD", "1 to 1000000",
       "downloads that wait at once; for one more the longest-waiting is closed (60 % of the connections)",
       number([](auto& s) -> auto& { return s.proxy.max_held; }, size_t{1}, size_t{1'000'000})},
      {"Features.ArtifactsProxy.MaxConfigurationSize", "ARTIFACTS_PROXY_MAX_CONFIGURATION_SIZE",
       "1KiB to 64MiB: bytes, or a number with KiB, MiB",
       "largest configuration artifact that is held in memory for its device; larger ones pass through (1MiB)",
       size([](auto& s) -> auto& { return s.proxy.max_configuration; }, KiB, 64 * MiB)},
      {"Features.ArtifactsProxy.MaxConfigurationMemory", "ARTIFACTS_PROXY_MAX_CONFIGURATION_MEMORY",
       "1MiB to 1TiB: bytes, or a number with KiB, MiB, GiB, TiB",
       "memory for all configuration artifacts; the least recently used make room (64MiB)",
       size([](auto& s) -> auto& { return s.proxy.max_configurations; }, MiB, TiB)},
      {"Features.ArtifactsProxy.ArtifactsCache.Enabled", "ARTIFACTS_PROXY_CACHE_ENABLED", yes_no,
       "keep artifacts on disk (true)", flag([](auto& s) -> auto& { return s.cache.enabled; })},
      {"Features.ArtifactsProxy.ArtifactsCache.Path", "ARTIFACTS_PROXY_CACHE_PATH", "a directory",
       "where artifacts are kept (/var/cache/mender-gateway)", text([](auto& s) -> auto& { return s.cache.path; })},
      {"Features.ArtifactsProxy.ArtifactsCache.SignatureSecret", "ARTIFACTS_PROXY_CACHE_SECRET",
       "base64 or text of at least 16 bytes; several, separated by commas: the first seals",
       "secret that seals links (one is made and kept)", secret([](auto& s) -> auto& { return s.cache.secret; })},
      {"Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration", "ARTIFACTS_PROXY_CACHE_LINK_EXPIRE_DURATION",
       "a duration of 1s or more, such as 30m or 1h15m, or 0 for the default",
       "how long after a poll a download may begin (24h)",
       duration_or_default([](auto& s) -> auto& { return s.cache.link_life; }, std::chrono::seconds(1))},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxSize", "ARTIFACTS_PROXY_CACHE_MAX_SIZE",
       "1MiB or more: bytes, or a number with KiB, MiB, GiB, TiB",
       "most that the cache may take (90 % of the file system)",
       size([](auto& s) -> auto& { return s.cache.max_size; }, MiB, 8 * EiB)},
      {"Features.ArtifactsProxy.ArtifactsCache.MinFree", "ARTIFACTS_PROXY_CACHE_MIN_FREE",
       "1 or more: bytes, or a number with KiB, MiB, GiB, TiB",
       "what the cache leaves free (5 % of the file system)",
       size([](auto& s) -> auto& { return s.cache.min_free; }, 1, 8 * EiB)},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxAge", "ARTIFACTS_PROXY_CACHE_MAX_AGE",
       "a duration of 1s or more, such as 720h, or 0 for no limit",
       "artifacts that nobody fetched for so long are deleted, except pinned ones; 0: none (0s)",
       duration_or_none([](auto& s) -> auto& { return s.cache.max_age; }, std::chrono::seconds(1))},
      {"Features.ArtifactsProxy.ArtifactsCache.Verify", "ARTIFACTS_PROXY_CACHE_VERIFY", "artifact, length or off",
       "what is checked of what is fetched: it is a whole and right Mender artifact; that, if it is an artifact at all; "
       "nothing (artifact)",
       one_of([](auto& s) -> auto& { return s.cache.verify; }, {"artifact", "length", "off"})},
      {"Features.ArtifactsProxy.ArtifactsCache.VerifyKeys", "ARTIFACTS_PROXY_CACHE_VERIFY_KEYS",
       "paths of PEM files, separated by commas or blanks",
       "public keys; one of them must have signed each artifact (signatures are not looked at)",
       read_with(value_kind::list, [](auto& s) -> auto& { return s.cache.verify_keys; }, read_paths, show_list)},
      {"Features.ArtifactsProxy.ArtifactsCache.WhenAbandoned", "ARTIFACTS_PROXY_CACHE_WHEN_ABANDONED",
       "finish or suspend", "what an artifact that is being fetched does when no device follows it any more (finish)",
       one_of([](auto& s) -> auto& { return s.cache.when_abandoned; }, {"finish", "suspend"})},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxConcurrentFills", "ARTIFACTS_PROXY_CACHE_MAX_CONCURRENT_FILLS",
       "1 to 1000000", "artifacts fetched at once; others wait in line (16)",
       number([](auto& s) -> auto& { return s.cache.max_fills; }, size_t{1}, size_t{1'000'000})},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxPassThrough", "ARTIFACTS_PROXY_CACHE_MAX_PASS_THROUGH",
       "1 to 1000000", "devices that fetch for themselves at once, past a cache that fails or far ahead of a fetch; without a cache all do (8)",
       number([](auto& s) -> auto& { return s.cache.max_pass_through; }, size_t{1}, size_t{1'000'000})},
      {"Features.ArtifactsProxy.ArtifactsCache.FarAhead", "ARTIFACTS_PROXY_CACHE_FAR_AHEAD",
       "1 or more: bytes, or a number with KiB, MiB, GiB, TiB",
       "how far beyond what is fetched of an artifact a device's range is fetched for it alone, and so twice (8MiB)",
       size([](auto& s) -> auto& { return s.cache.far_ahead; }, 1, 8 * EiB)},
      {"Features.DeviceSystem.Enabled", "DEVICE_SYSTEM_ENABLED", yes_no, "add attributes to the inventories of devices",
       flag([](auto& s) -> auto& { return s.device_system.enabled; })},
      {"Features.DeviceSystem.SystemID", "DEVICE_SYSTEM_ID", "a text",
       "the attribute mender_gateway_system_id: what the gateway and its devices belong to",
       text([](auto& s) -> auto& { return s.device_system.system_id; })},
      {"Features.DeviceSystem.DefaultInventory", "", "a list of attributes: {Name, Value}, values as in inventories",
       "further attributes", attributes([](auto& s) -> auto& { return s.device_system.default_inventory; })},
      {"Features.mTLS.Enabled", "MTLS_ENABLED", yes_no,
       "require client certificates, and authorize devices by them (false)",
       flag([](auto& s) -> auto& { return s.mtls.enabled; })},
      {"Features.mTLS.CACertificate", "MTLS_CA_CERTIFICATE", a_path,
       "PEM file: what client certificates chain to, roots and intermediates",
       text([](auto& s) -> auto& { return s.mtls.ca_certificate; })},
      {"Features.mTLS.CRLPath", "MTLS_CRL_PATH", a_path, "PEM file: lists of revoked certificates (none)",
       text([](auto& s) -> auto& { return s.mtls.crl; })},
      {"Features.mTLS.BlacklistPath", "MTLS_BLACKLIST_PATH", a_path,
       "file: serial numbers of certificates that are refused, in hex, one a line (none)",
       text([](auto& s) -> auto& { return s.mtls.blacklist; })},
      {"Features.mTLS.MenderUsername", "MTLS_MENDER_USERNAME", "a name without a colon",
       "management user that authorizes devices", user([](auto& s) -> auto& { return s.mtls.username; })},
      {"Features.mTLS.MenderPassword", "MTLS_MENDER_PASSWORD", "text", "the user's password",
       password([](auto& s) -> auto& { return s.mtls.password; })},
      {"Features.mTLS.AccessToken", "MTLS_ACCESS_TOKEN", "printable characters without blanks",
       "personal access token, in place of user and password", token([](auto& s) -> auto& { return s.mtls.access_token; })},
      {"Features.mTLS.EnableCache", "MTLS_ENABLE_CACHE", yes_no,
       "remember which devices need nothing more (true)", flag([](auto& s) -> auto& { return s.mtls.enable_cache; })},
      {"Features.mTLS.InsecureSkipClientExpireAfter", "MTLS_INSECURE_SKIP_CLIENT_EXPIRE_AFTER", yes_no,
       "accept clients' own certificates past their end (false)",
       flag([](auto& s) -> auto& { return s.mtls.accept_expired; })},
      {"Features.mTLS.RequireMatchingKey", "MTLS_REQUIRE_MATCHING_KEY", yes_no,
       "authorize only devices whose certificate has the key of their auth request (false)",
       flag([](auto& s) -> auto& { return s.mtls.require_matching_key; })},
      {"Features.mTLS.AllowRebind", "MTLS_ALLOW_REBIND", yes_no,
       "let a certificate subject authorize another device than its first one, and a device come with another subject (false)",
       flag([](auto& s) -> auto& { return s.mtls.allow_rebind; })},
      {"Features.mTLS.PlainServesDevices", "MTLS_PLAIN_SERVES_DEVICES", yes_no,
       "serve devices on the listener without TLS, too, though none of them is checked there (false)",
       flag([](auto& s) -> auto& { return s.mtls.plain_serves_devices; })},
      {"AllowedTenants", "ALLOWED_TENANTS", "one or more tenant tokens, separated by commas or blanks",
       "whose devices may ask to be authorized; others are answered 401 here, and nothing of them goes upstream (all)",
       read_with(value_kind::secret_list, [](auto& s) -> auto& { return s.allowed_tenants; }, read_tokens, show_list)},
      {"Limits.MaxConnections", "LIMITS_MAX_CONNECTIONS", "1 to 1000000", "connections at once (10000)",
       number([](auto& s) -> auto& { return s.limits.max_connections; }, size_t{1}, size_t{1'000'000})},
      {"Limits.MaxConnectionsPerPeer", "LIMITS_MAX_CONNECTIONS_PER_PEER", "1 to 1000000, or 0 for no limit",
       "connections at once from one address (0)",
       number([](auto& s) -> auto& { return s.limits.max_connections_per_peer; }, size_t{0}, size_t{1'000'000})},
      {"Limits.MaxHeldReports", "LIMITS_MAX_HELD_REPORTS", "1 to 1000000",
       "status reports that wait for the server at once; for one more the longest-waiting is answered with an error (a "
       "quarter of the connections)",
       number([](auto& s) -> auto& { return s.limits.max_held_reports; }, size_t{1}, size_t{1'000'000})},
      {"Limits.MaxHeadSize", "LIMITS_MAX_HEAD_SIZE", "8KiB to 18KiB: bytes, or a number with KiB",
       "largest head of a request (18KiB)", size([](auto& s) -> auto& { return s.limits.max_head; }, 8 * KiB, 18 * KiB)},
      {"Limits.MaxBodySize", "LIMITS_MAX_BODY_SIZE", "1KiB to 1TiB: bytes, or a number with KiB, MiB, GiB, TiB",
       "largest request body (16MiB)", size([](auto& s) -> auto& { return s.limits.max_body; }, KiB, TiB)},
      {"Limits.TunnelSilence", "LIMITS_TUNNEL_SILENCE", a_duration,
       "how long a WebSocket stays open without a byte either way (1h)",
       duration([](auto& s) -> auto& { return s.limits.tunnel_silence; }, std::chrono::seconds(1))},
      {"Metrics.Enabled", "METRICS_ENABLED", yes_no, "tell numbers to Prometheus, at /metrics (false)",
       flag([](auto& s) -> auto& { return s.metrics.enabled; })},
      {"Metrics.Listen", "METRICS_LISTEN", an_address,
       "where, without TLS and without a password; 127.0.0.1:9102 where nothing asks from outside (:9102)",
       address([](auto& s) -> auto& { return s.metrics.listen; })},
      {"Admin.Enabled", "ADMIN_ENABLED", yes_no, "show a status page (true)",
       flag([](auto& s) -> auto& { return s.admin.enabled; })},
      {"Admin.Listen", "ADMIN_LISTEN", an_address,
       "where, without TLS and without a login: whoever reaches it may read it (127.0.0.1:9103)",
       address([](auto& s) -> auto& { return s.admin.listen; })},
      {"TrustedProxies", "TRUSTED_PROXIES", "addresses or blocks such as 10.0.0.0/8, separated by commas or blanks",
       "load balancers and gateways whose X-Forwarded-For is believed (none)",
       read_with(value_kind::list, [](auto& s) -> auto& { return s.trusted_proxies; }, read_addresses, show_list)},
      {"StateDirectory", "STATE_DIRECTORY", "a directory",
       "where the gateway keeps what it must not lose (/var/lib/mender-gateway)",
       text([](auto& s) -> auto& { return s.state_directory; })},
      {"Workers", "WORKERS", "1 to 1024", "threads that serve (one per core)",
       number([](auto& s) -> auto& { return s.workers; }, size_t{1}, size_t{1024})},
      {"DrainTimeout", "DRAIN_TIMEOUT", a_duration, "how long a stop waits for what is being served (30s)",
       duration([](auto& s) -> auto& { return s.drain; })},
      {"ListenTimeout", "LISTEN_TIMEOUT", a_duration,
       "how long an address to listen on that no interface has yet is waited for; 0: not at all (2m)",
       duration([](auto& s) -> auto& { return s.listen_wait; })},
      {"Log.Level", "LOG_LEVEL", "debug, info, warn, error or fatal", "least important lines that are logged (info)",
       one_of([](auto& s) -> auto& { return s.log_level; }, {"debug", "info", "warn", "error", "fatal"})},
      {"Log.Format", "LOG_FORMAT", "text or json", "how lines are written: as key=value, or as a JSON object each (text)",
       one_of([](auto& s) -> auto& { return s.log_format; }, {"text", "json"})},
      {"Audit.Path", "AUDIT_PATH", a_path, "file of the audit log; full ones get a number behind it (none is kept)",
       text([](auto& s) -> auto& { return s.audit.path; })},
      {"Audit.Sync", "AUDIT_SYNC", "always, second or never",
       "when records are flushed to the disk: after each writing, once a second, or when the system does it (second)",
       one_of([](auto& s) -> auto& { return s.audit.sync; }, {"always", "second", "never"})},
      {"Audit.OnFailure", "AUDIT_ON_FAILURE", "warn or refuse",
       "what follows if records cannot be written, as on a full disk: a warning, or no device is served until they can (warn)",
       one_of([](auto& s) -> auto& { return s.audit.on_failure; }, {"warn", "refuse"})},
      {"Audit.MaxFileSize", "AUDIT_MAX_FILE_SIZE", "64KiB to 1TiB: bytes, or a number with KiB, MiB, GiB, TiB",
       "a file of this size is full, and the next one is begun; none is ever deleted (64MiB)",
       size([](auto& s) -> auto& { return s.audit.max_file_size; }, 64 * KiB, TiB)},
      {"Audit.HeadPeriod", "AUDIT_HEAD_PERIOD", "a duration of 1s or more, such as 30m or 1h15m",
       "how often the head of the chain is logged (1h)",
       duration([](auto& s) -> auto& { return s.audit.head_period; }, std::chrono::seconds(1))},
      {"DefaultInventory", "", "a list of attributes: {Name, Value}, values as in inventories",
       "older key of Features.DeviceSystem.DefaultInventory, which wins",
       attributes([](auto& s) -> auto& { return s.default_inventory; })},
      {"DebugLog", "", yes_no, "older key: true is Log.Level debug, where Log.Level is not set",
       flag([](auto& s) -> auto& { return s.debug_log; })},
      // clang-format on
  };
  return table;
}

/// The option of this key, in any case; nullptr if there is none.
inline option const* find_option(std::string_view key) {
  for (option const& o : options())
    if (mgw::http::iequals(o.key, key)) return &o;
  return nullptr;
}

/// For help: what read_environment() reads beside the variables of the table.
inline std::string other_variables() {
  std::string names;
  for (option const& o : options())
    if (is_secret(o.value.kind) && !o.environment.empty())
      (names += names.empty() ? "" : ", ") += o.environment + "_FILE";
  return "UPSTREAM_SERVER counts where UPSTREAM_SERVER_URL is not set.\n"
         "Files that hold the value of the variable without _FILE: " +
         names + "\n";
}

}  // namespace gateway
