#pragma once

#include <mgw/core/log.hpp>
#include <mgw/upstream/endpoint.hpp>

#include <asio/ip/address.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace gateway {

/// Says of each host once that nothing is fetched from its private addresses, and what to do about it. Any thread.
inline std::function<void(mgw::upstream::endpoint const&, asio::ip::address const&)> private_host_warning(
    mgw::log_sink log) {
  struct said {
    std::mutex mutex;
    std::set<std::string> hosts;
  };
  constexpr std::size_t most = 64;
  return [log = std::move(log), all = std::make_shared<said>()](mgw::upstream::endpoint const& where,
                                                                asio::ip::address const& at) {
    {
      std::lock_guard const hold(all->mutex);
      if (all->hosts.size() >= most || !all->hosts.insert(where.host).second) return;
    }
    log(mgw::log_level::warn,
        "artifacts come from host " + where.host + ", which has the private address " + at.to_string() +
            ", and the upstream server has none: nothing is fetched there until the host is listed in "
            "Features.ArtifactsProxy.DomainWhitelist (ARTIFACTS_PROXY_DOMAIN_WHITELIST), with all others that "
            "artifacts "
            "come from, or UpstreamServer.AllowPrivateAddresses (UPSTREAM_ALLOW_PRIVATE_ADDRESSES) is true");
  };
}

}  // namespace gateway
