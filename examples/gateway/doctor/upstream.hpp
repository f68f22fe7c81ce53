#pragma once

#include "config/certificate_facts.hpp"
#include "config/settings.hpp"
#include "doctor/finding.hpp"
#include "doctor/http_get.hpp"
#include "doctor/judge.hpp"
#include "doctor/wait_for.hpp"
#include "doctor/way.hpp"
#include "upstream_settings.hpp"

#include <mgw/http/uri.hpp>
#include <mgw/net/error.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/pool.hpp>
#include <mgw/upstream/proxy_rules.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

namespace gateway::doctor {

/// What the gateway connects to servers with.
struct connecting {
  std::shared_ptr<mgw::upstream::proxy_rules const> proxies;  // null: none
  mgw::net::tls_context tls, unverified;
  mgw::upstream::pool_options pools;
  milliseconds step;
  std::string trusted;  ///< where the trust comes from, for messages

  /// Errors: mgw::net::tls_context_error, for CA certificates that cannot be used.
  connecting(settings const& s, milliseconds limit)
      : proxies(http_proxies(s)),
        tls(context(s, s.upstream.insecure_skip_verify)),
        unverified(context(s, true)),
        step(limit),
        trusted(s.upstream.ca_certificate.empty() ? "the system's CA certificates"
                                                  : "UpstreamServer.CACertificate, " + s.upstream.ca_certificate) {
    pools.proxies = proxies;
    pools.connect_timeout = limit;
    pools.names.deadline = limit;
    if (auto const home = mgw::http::parse_uri(s.upstream.url)) pools.rules.home = mgw::upstream::endpoint(*home);
  }
  mgw::upstream::http_proxy const* proxy_of(mgw::upstream::endpoint const& to) const {
    return proxies ? proxies->of(to) : nullptr;
  }

private:
  static mgw::net::tls_context context(settings const& s, bool unverified) {
    return mgw::net::tls_context::client(mgw::net::client_tls(s.upstream.ca_certificate, unverified));
  }
};

/// The way to a server, as findings whose checks begin with `who`. Where its certificate is refused, it is looked at
/// all the same.
inline findings check_way(connecting const& how, mgw::upstream::endpoint const& to, std::string const& who) {
  auto const* const by = how.proxy_of(to);
  auto const go = [&](mgw::net::tls_context const& tls) {
    return wait_for([&](mgw::net::worker_pool& w) { return walk(w.worker(0), to, by, tls, how.step); });
  };
  way went = go(how.tls);
  if (mgw::net::is_verify_error(went.ec)) went.certificate = go(how.unverified).certificate;
  return judge_way(went, to, by, who, how.trusted,
                   std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()));
}

/// The upstream server: the way to it, what it says to a device's call, and whether its clock is ours.
/// Precondition: its URL is one.
inline findings check_upstream(settings const& s, connecting const& how) {
  auto const where = mgw::http::parse_uri(s.upstream.url);
  mgw::upstream::endpoint const to(*where);
  findings out = check_way(how, to, "upstream");
  if (s.upstream.insecure_skip_verify && to.tls)
    out.emplace_back(
        level::warning, "upstream tls", "certificates are not verified: anybody on the way can take the server's place",
        "set UpstreamServer.CACertificate (UPSTREAM_SERVER_CA_CERTIFICATE), and InsecureSkipVerify to false");
  if (any_problem(out)) return out;
  std::string url = s.upstream.url;
  while (url.ends_with('/')) url.pop_back();
  url += poll_path;
  http_answer const said = get_once(how.tls, how.pools, url, "Accept: application/json\r\n",
                                    mgw::upstream::reach::anywhere, how.step);
  out.push_back(judge_answer(said));
  if (said.status != 0) out.push_back(judge_clock(said.date, said.at));
  return out;
}

}  // namespace gateway::doctor
