#pragma once

#include <mgw/http/limits.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::proxy {

class exchange;
struct peer_info;

/// Limits and seams of the server side. Times measure silence, never duration: links of a few kB/s are normal.
struct server_options {
  http::limits limits;
  std::chrono::milliseconds handshake_timeout{30'000};
  std::chrono::milliseconds head_timeout{30'000};      ///< from a request's first byte to the end of its head
  std::chrono::milliseconds idle_timeout{75'000};      ///< between two requests
  std::chrono::milliseconds body_silence{300'000};     ///< a request body brings no byte
  std::chrono::milliseconds park_after{200};           ///< an idle connection gives back what it waits with
  std::chrono::milliseconds send_silence{300'000};     ///< nothing of a response gets to the client for so long
  /// When the server drains, a connection on which nothing was asked yet has so long to begin: its client could not know.
  std::chrono::milliseconds first_at_drain{3'000};
  std::chrono::milliseconds linger{2'000};             ///< how long a closed connection may still be read
  std::size_t max_connections = 10'000;                ///< in all; for one more an idle one is closed, else that one
  /// Of one client at a time, over all workers (an IPv6 client is its /64); more are closed at once. 0: no limit, since
  /// a whole fleet may come from one address.
  std::size_t max_connections_per_peer = 0;
  std::uint64_t max_requests = 1'000'000;              ///< per connection (microcontrollers read 2 KiB at a time)
  std::size_t max_drain = 64 * 1024;                   ///< unread request bytes that are skipped to keep a connection

  /// The body of a refusal that the server itself makes (400, 414, 431, …), and its type.
  std::function<std::string(int status, exchange const&)> error_body;
  std::string error_type = "application/json";
  /// Called when there are `max_connections` and none is idle; true: a handler is about to end one. Any worker's thread.
  std::function<bool()> make_room;
  /// Called once when an exchange has ended, on its thread: the access log, metrics. Must not throw or block.
  /// For those that a stop has cut `server::close` calls it.
  std::function<void(exchange const&)> observer;
  /// Called when a TLS client was sent away since its certificate is not good, or it has none, on its thread. Must not
  /// throw or block.
  std::function<void(peer_info const&, std::error_code why)> certificate_refused;
};

}  // namespace mgw::proxy
