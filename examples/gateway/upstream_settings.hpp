#pragma once

#include "config/settings.hpp"

#include <mgw/http/uri.hpp>
#include <mgw/mender/management_client.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/proxy_rules.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace gateway {

/// From HTTP_PROXY and its kin; null: none.
inline std::shared_ptr<mgw::upstream::proxy_rules const> http_proxies(settings const& s) {
  auto const read = [](std::string const& text) {
    std::optional<mgw::upstream::http_proxy> out;
    if (auto proxy = mgw::upstream::http_proxy::parse(text); !text.empty() && proxy) out = *std::move(proxy);
    return out;
  };
  auto rules = std::make_shared<mgw::upstream::proxy_rules const>(read(s.upstream.http_proxy),
                                                                  read(s.upstream.https_proxy), s.upstream.no_proxy);
  return rules->empty() ? nullptr : rules;
}

/// Whose addresses an artifact may come from: of listed hosts and the upstream's own any but ours.
/// Precondition: the upstream's URL is one.
inline std::function<mgw::upstream::reach(mgw::http::uri const&)> artifact_reach(settings const& s) {
  bool const any_host = s.upstream.allow_private_addresses || !s.proxy.whitelist.empty();
  std::string const own(mgw::http::parse_uri(s.upstream.url)->authority);
  return [any_host, own](mgw::http::uri const& u) {
    using mgw::upstream::reach;
    return any_host || mgw::http::is_authority_of(u, own) ? reach::elsewhere : reach::outside;
  };
}

/// The management API at the upstream, and the account for it.
inline mgw::mender::management_options management_account(settings const& s, mgw::http::uri const& upstream) {
  mgw::mender::management_options o;
  o.upstream = mgw::upstream::endpoint(upstream);
  o.host = upstream.authority;
  o.path_prefix = upstream.path == "/" ? std::string() : std::string(upstream.path);
  o.username = s.mtls.username;
  o.password = s.mtls.password;
  o.access_token = s.mtls.access_token;
  return o;
}

}  // namespace gateway
