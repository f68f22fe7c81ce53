#pragma once

#include <mgw/core/any_stream.hpp>
#include <mgw/upstream/address_rules.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/proxy_rules.hpp>
#include <mgw/upstream/resolver.hpp>

#include <asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>

namespace mgw::upstream {

/// A stream that was connected, or why there is none.
struct dialled {
  std::optional<any_stream> stream;
  std::error_code ec;
};

struct pool_options {
  std::chrono::milliseconds connect_timeout{10'000};  ///< TCP, of each address; then TLS
  std::chrono::milliseconds stagger{250};             ///< until the next address is tried as well (dial_options)
  std::chrono::milliseconds idle_timeout{30'000};     ///< an idle connection older than this is closed
  std::size_t max_idle = 32;                          ///< kept per endpoint; the oldest goes first; 0: none
  std::size_t max_idle_in_all = 256;                  ///< kept over all endpoints
  std::chrono::seconds peer_timeout{300};             ///< an upstream that is silent to the kernel's probes, too, is gone; 0: no probes
  resolver_options names;
  address_rules rules;  ///< for endpoints that may not be anywhere
  /// HTTP proxies; null: none. They look names up: rules hold for hosts that are addresses alone.
  std::shared_ptr<proxy_rules const> proxies;
  /// Connects instead of TCP and TLS: another transport, such as Unix sockets or memory. Its failures show as hop::tcp;
  /// where it may lead is its own concern.
  std::function<asio::awaitable<dialled>(endpoint where)> dial;
};

}  // namespace mgw::upstream
