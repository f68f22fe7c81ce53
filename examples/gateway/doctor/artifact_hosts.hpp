#pragma once

#include "config/settings.hpp"
#include "doctor/finding.hpp"
#include "doctor/http_get.hpp"
#include "doctor/upstream.hpp"
#include "doctor/wait_for.hpp"
#include "upstream_settings.hpp"

#include <mgw/http/uri.hpp>
#include <mgw/mender/whitelist.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/pool.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway::doctor {

/// Whether this is the Mender server that its makers run, for all their customers.
inline bool is_hosted_mender(std::string_view host) noexcept {
  return host == "hosted.mender.io" || host.ends_with(".hosted.mender.io");
}

/// Where hosted Mender's artifacts come from. Source: docs.mender.io, "Production installation", and public client
/// logs.
inline std::vector<std::string> hosted_storage(std::string_view host) {
  std::string const distribution = "c271964d41749feb10da762816c952ee.r2.cloudflarestorage.com";
  if (host == "eu.hosted.mender.io" || host.ends_with(".eu.hosted.mender.io"))
    return {distribution, "mender.blob.core.windows.net"};
  return {distribution, "s3.amazonaws.com", "hosted-mender-artifacts.s3.amazonaws.com"};
}

namespace artifact_hosts_detail {

inline constexpr auto* key = "ARTIFACTS_PROXY_DOMAIN_WHITELIST (Features.ArtifactsProxy.DomainWhitelist)";

/// What can be said of the whitelist without a link.
inline finding without_link(settings const& s, std::string_view upstream) {
  std::string const check = "artifact host";
  if (s.proxy.whitelist.empty())
    return {level::ok, check,
            "artifacts may come from whatever host the server names; --artifact-url URL, a link of a deployment, "
            "checks one"};
  mgw::mender::domain_list const listed(s.proxy.whitelist);
  std::string missing;
  if (is_hosted_mender(upstream))
    for (std::string const& host : hosted_storage(upstream))
      if (!listed.allows(host)) (missing += missing.empty() ? "" : ", ") += host;
  if (!missing.empty())
    return {level::warning, check, "hosted Mender's artifacts come also from hosts that are not listed: " + missing,
            std::string("devices fetch those past the gateway: add them to ") + key};
  return {level::ok, check, "only listed hosts; --artifact-url URL, a link of a deployment, checks one"};
}

inline finding judge_object(http_answer const& a, std::string const& host) {
  std::string const check = "artifact";
  if (a.ec == mgw::upstream::error::private_address)
    return {level::problem, check, host + ": " + a.ec.message(),
            std::string("list the host, with all others that artifacts come from, in ") + key +
                ", or set UPSTREAM_ALLOW_PRIVATE_ADDRESSES (UpstreamServer.AllowPrivateAddresses) to true"};
  if (a.status == 0)
    return {level::problem, check, std::string("no answer (") + to_string(a.failed_at) + "): " + a.ec.message(),
            "look at the storage's log"};
  std::string const said = "status " + std::to_string(a.status);
  if (a.status == 206) return {level::ok, check, said + ": there, and it can be fetched in parts"};
  if (a.status == 200)
    return {level::warning, check, said + ": there, but the storage sends no parts",
            "a transfer that breaks begins anew: have the storage, or what is in front of it, serve ranges"};
  if (a.status >= 300 && a.status < 400) {
    auto const to = mgw::http::parse_uri(a.location);
    return {level::ok, check,
            said + ": redirected to " + (to ? std::string(to->host) : "another place on the same host") +
                ", which is held against the same rules"};
  }
  if (a.status == 403)
    return {level::warning, check, said,
            "the link has expired, or is not complete: take the one of a new deployment, in quotes; if it is new, look "
            "at the clock"};
  return {level::problem, check, said, "the storage does not have it, or is in trouble: look at its log"};
}

}  // namespace artifact_hosts_detail

/// Whether the gateway fetches what upstream's links lead to. `link`: one of them; empty: none is known.
/// Precondition: the upstream's URL is one.
inline findings check_artifact_host(settings const& s, connecting const& how, std::string const& link) {
  using namespace artifact_hosts_detail;
  if (!s.proxy.enabled) return {};
  auto const upstream = mgw::http::parse_uri(s.upstream.url);
  if (link.empty()) return {without_link(s, upstream->host)};
  auto const where = mgw::http::parse_uri(link);
  if (!where)
    return {finding(level::problem, "artifact host", "--artifact-url is no http:// or https:// URL",
                    "give a link of a deployment, in quotes")};
  std::string const host(where->host);
  bool const own = mgw::http::is_authority_of(*where, upstream->authority);
  if (!s.proxy.whitelist.empty() && !own && !mgw::mender::domain_list(s.proxy.whitelist).allows(host))
    return {finding(level::problem, "artifact host",
                    host + " is not listed: devices fetch its artifacts past the gateway",
                    "add " + host + " to " + key)};
  findings out{finding(level::ok, "artifact host",
                       host + (own                         ? " is the upstream server's"
                               : s.proxy.whitelist.empty() ? " may be used: no hosts are listed"
                                                           : " is listed"))};
  for (auto& f : check_way(how, mgw::upstream::endpoint(*where), "artifact")) out.push_back(std::move(f));
  if (any_problem(out)) return out;
  auto const within = artifact_reach(s)(*where);
  out.push_back(judge_object(get_once(how.tls, how.pools, link, "Range: bytes=0-0\r\n", within, how.step), host));
  return out;
}

/// On a server that is shared with others, whose devices come through.
inline findings check_tenants(settings const& s) {
  auto const upstream = mgw::http::parse_uri(s.upstream.url);
  if (!upstream || !is_hosted_mender(upstream->host)) return {};
  if (!s.allowed_tenants.empty())
    return {finding(level::ok, "tenants", "only devices of listed tenants are let through")};
  return {finding(level::warning, "tenants", "devices of every customer of hosted Mender are let through",
                  "set AllowedTenants (ALLOWED_TENANTS) to your tenant's token")};
}

}  // namespace gateway::doctor
