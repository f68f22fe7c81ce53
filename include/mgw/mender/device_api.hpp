#pragma once

#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/base64.hpp>
#include <mgw/mender/json_scanner.hpp>
#include <mgw/mender/text.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::mender {

/// What a request asks of the gateway.
enum class call : std::uint8_t {
  none,  ///< not ours: 404 here, and nothing goes upstream
  auth_request,
  next_v1,
  next_v2,
  inventory,
  status,
  log,
  connect,
  other_device_api,  ///< relayed as it is
  artifact,          ///< under artifact_prefix or private_prefix; match_artifact_path() tells whether it is a link at all
  alive,
  health
};

/// The templates that match_call() gives, for who counts by route.
inline constexpr std::array<std::string_view, 13> all_routes = {
    "/api/devices/v1/authentication/auth_requests",
    "/api/devices/v1/deployments/device/deployments/next",
    "/api/devices/v2/deployments/device/deployments/next",
    "/api/devices/v1/inventory/device/attributes",
    "/api/devices/v1/deployments/device/deployments/{id}/status",
    "/api/devices/v1/deployments/device/deployments/{id}/log",
    "/api/devices/v1/deviceconnect/connect",
    "/api/devices/v1/*",
    "/api/devices/v2/*",
    "/api/gateway/v1/artifacts/{key}/{token}",
    "/api/gateway/v1/private/{key}/{token}",
    "/api/internal/v1/gateway/alive",
    "/api/internal/v1/gateway/health",
};

/// The result of match_call().
struct route_match {
  call what = call::none;
  std::string_view route;         ///< template of the path, for metrics; one of all_routes; empty for `none`
  bool retry_whole_body = false;  ///< may be repeated on a fresh connection while its body is whole in memory
};

namespace detail {

/// Whether `path`, percent-decoded once, is `wanted`: a server may decode before it chooses the handler, so another
/// spelling of a call must not pass by what the gateway does for that call.
inline bool is_spelling_of(std::string_view path, std::string_view wanted) noexcept {
  std::size_t i = 0;
  for (; !path.empty() && i < wanted.size(); ++i) {
    char c = path[0];
    std::size_t length = 1;
    unsigned value = 0;
    if (c == '%' && path.size() >= 3) {
      auto const [end, ec] = std::from_chars(path.data() + 1, path.data() + 3, value, 16);
      if (ec != std::errc{} || end != path.data() + 3) return false;
      c = static_cast<char>(value);
      length = 3;
    }
    if (c != wanted[i]) return false;
    path.remove_prefix(length);
  }
  return path.empty() && i == wanted.size();
}

/// Whether `rest` is `{id}` and then `tail`, the id being one segment.
inline bool is_deployment_call(std::string_view rest, std::string_view tail) noexcept {
  constexpr std::string_view head = "deployments/device/deployments/";
  std::size_t const slash = rest.rfind('/');
  if (slash == std::string_view::npos || !is_spelling_of(rest.substr(slash + 1), tail)) return false;
  rest = rest.substr(0, slash);
  std::size_t const before_id = rest.rfind('/');
  return before_id != std::string_view::npos && before_id + 1 < rest.size() &&
         is_spelling_of(rest.substr(0, before_id + 1), head);
}

inline route_match match_v1(std::string_view method, std::string_view rest) noexcept {
  bool const put = method == "PUT";
  if (method == "POST" && is_spelling_of(rest, "authentication/auth_requests"))
    return {call::auth_request, "/api/devices/v1/authentication/auth_requests", true};
  if ((method == "GET" || method == "POST") && is_spelling_of(rest, "deployments/device/deployments/next"))
    return {call::next_v1, "/api/devices/v1/deployments/device/deployments/next", true};
  if ((put || method == "PATCH") && is_spelling_of(rest, "inventory/device/attributes"))
    return {call::inventory, "/api/devices/v1/inventory/device/attributes", true};
  if (put && is_deployment_call(rest, "status"))
    return {call::status, "/api/devices/v1/deployments/device/deployments/{id}/status", true};
  if (put && is_deployment_call(rest, "log"))
    return {call::log, "/api/devices/v1/deployments/device/deployments/{id}/log", true};
  if (method == "GET" && is_spelling_of(rest, "deviceconnect/connect"))
    return {call::connect, "/api/devices/v1/deviceconnect/connect", false};
  return {call::other_device_api, "/api/devices/v1/*", false};
}

}  // namespace detail

/// Tells what a request asks for. Only literal prefixes count; methods are case-sensitive.
/// Precondition: `path` has no query and is in normal structure (no dot segments in any spelling, no empty segments, no
/// encoded slash). A path prefix before `/api` is not supported.
inline route_match match_call(std::string_view method, std::string_view path) noexcept {
  constexpr std::string_view v1 = "/api/devices/v1/";
  constexpr std::string_view v2 = "/api/devices/v2/";
  if (path.starts_with(v1)) return detail::match_v1(method, path.substr(v1.size()));
  if (path.starts_with(v2)) {
    if (method == "POST" && detail::is_spelling_of(path.substr(v2.size()), "deployments/device/deployments/next"))
      return {call::next_v2, "/api/devices/v2/deployments/device/deployments/next", true};
    return {call::other_device_api, "/api/devices/v2/*", false};
  }
  if (method != "GET" && method != "HEAD") return {};
  if (path.starts_with(artifact_prefix)) return {call::artifact, "/api/gateway/v1/artifacts/{key}/{token}", false};
  if (path.starts_with(private_prefix)) return {call::artifact, "/api/gateway/v1/private/{key}/{token}", false};
  if (path == "/api/internal/v1/gateway/alive") return {call::alive, "/api/internal/v1/gateway/alive", false};
  if (path == "/api/internal/v1/gateway/health") return {call::health, "/api/internal/v1/gateway/health", false};
  return {};
}

/// The device id, `sub`, of a bearer token (RFC 7519), **unverified**: for logs and links only. Empty if there is none
/// that is 1 to 128 printable characters without blanks, in a token of at most 16 KiB. Into a string that keeps its room
/// from request to request.
inline void read_device_id(std::string_view authorization_value, std::string& id) {
  id.clear();
  constexpr std::size_t max_size = std::size_t{16} << 10;
  constexpr std::string_view scheme = "bearer ";
  if (authorization_value.size() > max_size || authorization_value.size() < scheme.size() ||
      !is_same_text(authorization_value.substr(0, scheme.size()), scheme))
    return;
  std::string_view token = authorization_value.substr(scheme.size());
  token.remove_prefix(std::min(token.find_first_not_of(' '), token.size()));
  std::size_t const first = token.find('.');
  std::size_t const second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos) return;
  thread_local std::string claims;  // keeps its capacity, see max_size
  if (!decode_base64url(token.substr(first + 1, second - first - 1), claims)) return;

  json_scanner json(claims);
  bool seen = false;
  bool const ok = json.object([&](std::string const& name) {
    if (name != "sub") return json.skip();
    if (seen || json.peek() != '"') return false;
    seen = true;
    return json.string(&id);
  });
  auto const printable = [](char c) { return c > 0x20 && c < 0x7F; };
  if (!ok || !json.at_end() || id.size() > 128 || !std::all_of(id.begin(), id.end(), printable)) id.clear();
}
inline std::string device_id_of(std::string_view authorization_value) {
  std::string id;
  read_device_id(authorization_value, id);
  return id;
}

/// Whether `host` may stand in a link: a name or IPv4 address of letters, digits, `-`, `_` and `.`, or an IPv6 address
/// in brackets, and an optional port from 1 to 65535 (RFC 3986 section 3.2, narrowed to what names devices by).
inline bool is_plain_authority(std::string_view host) noexcept {
  std::string_view port;
  std::size_t end = host.find(':');
  if (host.starts_with('[')) {
    end = host.find(']');
    if (end == std::string_view::npos || !is_ipv6_text(host.substr(1, end - 1))) return false;
    ++end;
  } else {
    end = std::min(end, host.size());
    if (!is_host_name_text(host.substr(0, end))) return false;
  }
  port = host.substr(end);
  if (port.empty()) return true;
  unsigned number = 0;
  auto const [stop, ec] = std::from_chars(port.data() + 1, port.data() + port.size(), number);
  return port[0] == ':' && port.size() <= 6 && ec == std::errc{} && stop == port.data() + port.size() && number >= 1 &&
         number <= 65535;
}

/// A Host without its port. Precondition: is_plain_authority(host).
inline std::string_view without_port(std::string_view host) noexcept {
  return host.substr(0, host.find(':', host.starts_with('[') ? host.find(']') : 0));
}

/// What comes before the path of a link: `gateway_url` if it is set (a path prefix is allowed, slashes at its end are
/// dropped), else the scheme and Host of the request. Empty if that Host is nothing to build a link from.
inline std::string link_base(std::string_view gateway_url, bool tls, std::string_view host) {
  if (!gateway_url.empty()) {
    while (gateway_url.ends_with('/')) gateway_url.remove_suffix(1);
    return std::string(gateway_url);
  }
  if (!is_plain_authority(host)) return {};
  std::string out(tls ? "https://" : "http://");
  out += host;
  return out;
}

}  // namespace mgw::mender
