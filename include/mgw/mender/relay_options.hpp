#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/core/log.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/deployments.hpp>
#include <mgw/mender/inventory.hpp>
#include <mgw/mender/whitelist.hpp>
#include <mgw/proxy/call_pace.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/upstream/endpoint.hpp>

#include <asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace mgw::mender {

/// What the server has said to an auth request.
struct auth_answer {
  int status;                ///< 200: the device is let in; 401
  std::string_view request;  ///< the request's body, or the beginning of a long one
  std::string device;        ///< the id in the token of a 200, unverified; empty: it cannot be told
};

/// Of a device_relay.
struct relay_options {
  proxy::forward_options forward;
  std::shared_ptr<proxy::call_pace> pace;  ///< of all calls; null: none
  inventory_attributes attributes;         ///< put into the inventories of devices
  /// Inventories of more than forward.whole_body bytes that are held at once, for `attributes`; one more gets a 429.
  std::size_t max_large_inventories = 64;
  bool rewrite_links = true;
  std::string gateway_url;  ///< prefix of links; empty: scheme and Host as the device sent them
  /// The ports that devices are served on; where gateway_url is empty, one is not the scheme's and a Host comes without
  /// it, that is told once. 0: not known.
  std::uint16_t tls_port = 0, plain_port = 0;
  domain_list allowed_hosts;  ///< empty: what the upstream names
  /// To which addresses of a link's host the gateway may connect (upstream::address_rules). Empty: anywhere.
  std::function<upstream::reach(http::uri const&)> reach;
  std::chrono::seconds link_life{24 * 3600};
  std::chrono::milliseconds status_hold{3'600'000};  ///< how long a status report is retried while the client waits
  std::chrono::milliseconds status_pause{1'000};     ///< between two tries, doubled up to 30 s
  /// Status reports that are held at once, 1 or more; for one more, the longest-held gets the answer of its last try.
  std::size_t max_held_reports = 2'500;
  /// Undoes a content coding ("gzip") of an answer to a poll, at most `max` bytes; nothing if it cannot.
  std::function<std::optional<std::string>(std::string_view coding, std::string_view body, std::size_t max)> decode;
  /// Gives the key of an imported object that may stand for a download, or nothing. Called with the request that polls
  /// and what the answer says; the device waits for it. Empty: there are no such objects.
  std::function<asio::awaitable<std::optional<cache::key>>(proxy::exchange&, artifact_source const&)> stand_in;
  /// Told of each link that becomes one of ours, and the key it has: a download under way may go on with it.
  std::function<void(cache::key const&, proxy::fetch_source)> seen_link;
  /// Told of each shared artifact that a device is offered, under the key it has here. Any worker; must not block.
  std::function<void(cache::key const&, artifact_source const&)> offered;
  /// Whether an auth request goes upstream; else it is answered with 401, as by the server. Called with its body, or
  /// nothing if that is longer than max_tenant_request, before anything else. Empty: each one goes.
  std::function<bool(proxy::exchange const&, std::optional<std::string_view> body)> admits;
  /// Awaited with each auth request and its body before it goes upstream; which it does in any case. Empty: nothing is.
  std::function<asio::awaitable<void>(proxy::exchange&, std::string_view body)> authorize;
  /// Told of an auth request that the server has answered with 401.
  std::function<void(proxy::exchange const&, std::string_view body)> refused;
  /// Told of the server's word on an auth request, before the device gets it. Empty: answers pass unread.
  std::function<void(proxy::exchange const&, auth_answer const&)> answered;
  log_sink log;

  void warn(std::string const& text) const {
    if (log) log(log_level::warn, text);
  }
};

}  // namespace mgw::mender
