#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/core/result.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/deployments.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/mender/relay_options.hpp>
#include <mgw/proxy/answer_failure.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/forwarding.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::mender {

/// Turns the artifact link in an answer to a poll into one of ours.
///
/// What is not as expected (no JSON, another shape, a host that is not allowed, an address that the gateway will not
/// connect to) passes untouched, with a warning: an update must never fail because of us. All other bytes stay.
/// `upstreams`, `links` and `options` outlive it. Thread rule: any worker.
class link_rewriter {
public:
  link_rewriter(upstream::pool_set const& upstreams, link_sealer const& links, relay_options const& options)
      : upstreams_(upstreams), links_(links), options_(options) {}

  /// Answers the exchange with what `f` got, a 200 to a poll.
  asio::awaitable<void> answer(proxy::exchange& x, proxy::forwarding& f);

private:
  static constexpr std::size_t max_warned = 64;

  std::optional<artifact_source> usable_source(std::string_view json);
  asio::awaitable<bool> within_reach(proxy::exchange& x, std::string_view url) const;
  std::optional<std::string> rewrite(proxy::exchange const& x, std::string_view json, artifact_source const& source,
                                     std::optional<cache::key> const& import);
  void tell_port(proxy::exchange const& x);
  bool host_allowed(http::uri const& link) const;

  upstream::pool_set const& upstreams_;
  link_sealer const& links_;
  relay_options const& options_;
  std::mutex mutex_;
  std::set<std::string, std::less<>> warned_;  // hosts that were named in a warning already
  std::atomic<bool> port_told_{false};
};

inline asio::awaitable<void> link_rewriter::answer(proxy::exchange& x, proxy::forwarding& f) {
  std::string body;
  std::error_code const ec = co_await f.read_whole(body, max_deployment_size);
  if (ec == http::parse_error::body_too_large) {
    options_.warn("a deployment has more than 1 MiB: its link is left as it is");
    co_await f.relay(body);
    co_return;
  }
  if (ec) {
    proxy::forward_outcome const failure = proxy::broken_answer(ec);
    co_await proxy::answer_failure(x, options_.forward, failure);
    co_return;
  }
  auto const coding = f.response().fields.value("Content-Encoding");
  std::optional<std::string> decoded;
  bool const coded = !coding.empty() && !http::iequals(coding, "identity");
  if (coded && options_.decode) decoded = options_.decode(coding, body, max_deployment_size);
  std::string_view const json = decoded ? *decoded : body;
  std::optional<artifact_source> source;
  if (!coded || decoded)
    source = usable_source(json);
  else
    options_.warn("a deployment came in a coding that cannot be undone: its link is left as it is");
  if (source && options_.reach) {
    bool const within = co_await within_reach(x, source->uri);
    if (!within) source.reset();
  }
  std::optional<std::string> changed;
  auto const link =
      source ? http::parse_uri(source->uri) : result<http::uri>(std::make_error_code(std::errc::invalid_argument));
  if (link && options_.stand_in && kind_of(*link) == link_kind::shared) {
    auto const import = co_await options_.stand_in(x, *source);
    changed = rewrite(x, json, *source, import);
  } else if (source) {
    changed = rewrite(x, json, *source, std::nullopt);
  }
  f.start_response(changed && decoded ? "Content-Encoding" : std::string_view{});
  std::string_view const out = changed ? *changed : body;
  http::framing framing;
  framing.kind = http::body_kind::length;
  framing.length = out.size();
  x.end_head(framing);
  std::error_code write_ec;
  if (x.request().method != "HEAD") write_ec = co_await x.write(out);
  if (!write_ec) (void)co_await x.finish();
}

inline bool link_rewriter::host_allowed(http::uri const& link) const {
  return options_.allowed_hosts.empty() || options_.allowed_hosts.allows(link.host) ||
         http::is_authority_of(link, options_.forward.host);
}

/// False: the host's addresses are such as the gateway will never connect to; the rules have told why. What cannot be
/// told now is told when it is fetched.
inline asio::awaitable<bool> link_rewriter::within_reach(proxy::exchange& x, std::string_view url) const {
  auto const link = http::parse_uri(url);
  upstream::endpoint to(*link);
  to.within = options_.reach(*link);
  std::error_code const ec = co_await upstreams_.of(x.worker())->judge(std::move(to));
  if (ec == upstream::error::loop)
    options_.warn("an artifact's link leads to this gateway itself: it is left as it is");
  bool const never = ec == upstream::error::loop || ec == upstream::error::private_address;
  co_return !never;
}

/// Where the artifact is to be had, if the link can and may become one of ours.
inline std::optional<artifact_source> link_rewriter::usable_source(std::string_view json) {
  auto found = find_artifact_source(json);
  if (!found || !*found) {
    std::string const why = found ? "no artifact's link where one should be" : found.error().message();
    options_.warn("a deployment is not as expected (" + why + "): its link is left as it is");
    return std::nullopt;
  }
  auto const uri = http::parse_uri((*found)->uri);
  if (!uri) {
    options_.warn("a deployment's link is no http or https URI: it is left as it is");
    return std::nullopt;
  }
  if (!host_allowed(*uri)) {
    std::lock_guard const lock(mutex_);
    if (warned_.size() < max_warned && warned_.emplace(uri->host).second)
      options_.warn(
          "artifacts come from host " + std::string(uri->host) +
          ", which Features.ArtifactsProxy.DomainWhitelist (ARTIFACTS_PROXY_DOMAIN_WHITELIST) does not list: devices "
          "fetch them directly until it is added there");
    return std::nullopt;
  }
  return *std::move(found);
}

/// A Host without a port means the scheme's own (RFC 9110 7.2), and so do our links. That is right where that port
/// leads to ours; but old clients, and those of microcontrollers, leave out any port.
inline void link_rewriter::tell_port(proxy::exchange const& x) {
  bool const tls = x.peer().tls;
  unsigned const ours = tls ? options_.tls_port : options_.plain_port, usual = tls ? 443 : 80;
  bool const with_port = without_port(x.authority()) != x.authority();
  if (ours == 0 || ours == usual || with_port || port_told_.exchange(true)) return;
  std::string const host(x.authority());
  options_.warn("a device asks for Host \"" + host + "\" without a port, so its artifact links lead to port " +
                std::to_string(usual) + ", and we listen on " + std::to_string(ours) +
                "; if nothing maps the one to the other, set ARTIFACTS_PROXY_GATEWAY_URL "
                "(Features.ArtifactsProxy.GatewayURL) to " +
                (tls ? "https://" : "http://") + host + ':' + std::to_string(ours));
}

inline std::optional<std::string> link_rewriter::rewrite(proxy::exchange const& x, std::string_view json,
                                                         artifact_source const& source,
                                                         std::optional<cache::key> const& import) {
  auto const uri = http::parse_uri(source.uri);
  auto const key = import ? result<cache::key>(*import) : cache::make_key(*uri, source.headers);
  std::string const base = link_base(options_.gateway_url, x.peer().tls, x.authority());
  if (!key || base.empty()) {
    options_.warn("no link can be made for Host \"" + std::string(x.authority()) + "\": it is left as it is");
    return std::nullopt;
  }
  if (options_.gateway_url.empty()) tell_port(x);
  link_claims claims;
  claims.url = source.uri;
  claims.headers = source.headers;
  claims.device_id = x.notes().device;
  claims.issued = static_cast<std::int64_t>(std::time(nullptr));
  claims.expires = claims.issued + options_.link_life.count();
  claims.import = import.has_value();
  link_kind const kind = kind_of(*uri);
  std::string const token = links_.seal(*key, claims, kind);
  if (token.empty()) {
    options_.warn("a deployment's link is too long: it is left as it is");
    return std::nullopt;
  }
  if (options_.seen_link && !import && kind == link_kind::shared) {
    proxy::fetch_source fresh(claims.url, claims.headers, claims.issued);
    options_.seen_link(*key, std::move(fresh));
  }
  if (options_.offered && kind == link_kind::shared) options_.offered(*key, source);
  return replace_uri(json, source, base + artifact_path(*key, token, kind));
}

}  // namespace mgw::mender
