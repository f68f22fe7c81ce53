#pragma once

#include <mgw/http/fields.hpp>
#include <mgw/proxy/peer_info.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>

#include <asio/awaitable.hpp>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace mgw::proxy {

/// A name that no other gateway has.
inline std::string random_pseudonym() {
  char digits[8];
  auto const [end, ec] = std::to_chars(digits, digits + sizeof digits, std::random_device()(), 36);
  return "mgw-" + std::string(digits, end);
}

struct forward_options {
  upstream::endpoint upstream;
  std::string host;         ///< `Host` as the upstream expects it: its authority, port included
  std::string path_prefix;  ///< put before every target; empty or "/prefix"
  /// Paths that an upstream could read as other ones (not http::is_normal_path) are forwarded, too; without it: 400.
  /// For upstreams whose names hold encoded or doubled slashes. Not beside `path_prefix`, which dot segments would
  /// leave.
  bool any_path = false;
  std::uint64_t max_body = 16u << 20;  ///< request body, bytes: 413
  std::size_t whole_body = 64 * 1024;  ///< a body up to this is held whole, so that the request can be repeated
  /// Our name, a token, in Via (RFC 9110 7.6.3) and Proxy-Status (RFC 9209). A request whose Via has it already went in
  /// a circle: 508. So each gateway needs a name of its own, as this one is.
  std::string pseudonym = random_pseudonym();
  upstream::exchange_options exchange;
  /// How long a client that sent `Expect: 100-continue` waits for the upstream's 100 before it gets ours.
  std::chrono::milliseconds continue_timeout{1'000};
  /// Protocols that a connection may switch to; others are not asked for.
  std::vector<std::string> upgrades{"websocket"};
  std::chrono::milliseconds tunnel_silence{3'600'000};  ///< of both directions of a switched connection
  /// Whether a peer is a proxy of ours: what it says in Forwarded and X-Forwarded-* is passed on. Empty: none is.
  std::function<bool(peer_info const&)> trusts;
  /// Fields of the request that never go upstream, besides the hop-by-hop ones.
  std::function<bool(std::string_view name)> drop_request_field;
};

/// What a single forwarded request may do.
struct forward_call {
  forward_call() = default;
  bool may_repeat = false;     ///< a POST whose body is whole may be sent again if a reused connection died unanswered
  bool want_identity = false;  ///< ask for an uncoded response body: it is to be read here
  http::field extra = {};              ///< a field that is added, if it has a name
  std::string_view without = {};       ///< a field of the request that does not go upstream
  /// Awaited before anything goes upstream, with the request's body if that is whole in memory; else not at all.
  /// Null: nothing is. Outlives the call.
  std::function<asio::awaitable<void>(std::string_view body)> const* before = nullptr;
};

/// How sending went: `ec` unset means that the response head is there.
struct forward_outcome {
  std::error_code ec;
  upstream::hop hop = upstream::hop::none;
  bool client_failed = false;  ///< the fault is the client's: broken or too large body, a loop
  int status = 0;              ///< the answer to give
  std::string reasons;         ///< of each address of the upstream, where several failed

  forward_outcome() = default;
};

/// The request cannot be forwarded, and that is the client's doing.
inline forward_outcome client_fault(std::error_code ec, int status) {
  forward_outcome out;
  out.ec = ec;
  out.client_failed = true;
  out.status = status;
  return out;
}

/// The upstream's answer cannot be read to its end.
inline forward_outcome broken_answer(std::error_code ec) {
  forward_outcome out;
  out.ec = ec;
  out.hop = upstream::hop::response;
  out.status = 502;
  return out;
}

}  // namespace mgw::proxy
