#pragma once

#include "config/certificate_facts.hpp"

#include <mgw/net/deadline.hpp>
#include <mgw/net/openssl_ptr.hpp>
#include <mgw/net/tcp_stream.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/tls_stream.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/dial.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/http_tunnel.hpp>
#include <mgw/upstream/proxy_rules.hpp>
#include <mgw/upstream/resolver.hpp>

#include <openssl/ssl.h>
#include <asio/awaitable.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway::doctor {

using milliseconds = std::chrono::milliseconds;

/// What was found on the way to a server, as far as it went.
struct way {
  mgw::upstream::hop failed_at = mgw::upstream::hop::none;
  std::error_code ec;
  std::string asked;                   ///< the host that was looked up: the server's, or its HTTP proxy's
  std::vector<std::string> addresses;  ///< of it
  std::string peer;                    ///< the address that was connected to
  milliseconds lookup{0}, connecting{0}, tunnel{0}, handshake{0};
  std::string tls_version;
  std::optional<certificate_facts> certificate;  ///< what the server has shown, if it was trusted or nothing asked that

  way() = default;
};

namespace way_detail {

/// How long it took since the last time it was asked.
class stopwatch {
public:
  milliseconds lap() {
    auto const now = clock::now();
    return std::chrono::duration_cast<milliseconds>(now - std::exchange(since_, now));
  }

private:
  using clock = std::chrono::steady_clock;
  clock::time_point since_ = clock::now();
};

}  // namespace way_detail

/// Goes to `to` step by step: name, TCP, the tunnel of the HTTP proxy `by` if there is one, TLS. The steps are those of
/// upstream::pool, which tells less; each takes `step` at most, TCP for each address. Through a proxy a server without
/// TLS is not seen: the way ends at the proxy.
inline asio::awaitable<way> walk(mgw::net::worker& w, mgw::upstream::endpoint to, mgw::upstream::http_proxy const* by,
                                 mgw::net::tls_context tls, milliseconds step) {
  namespace up = mgw::upstream;
  way out;
  way_detail::stopwatch watch;
  up::endpoint const at = by != nullptr ? by->where : to;
  out.asked = at.host;
  up::resolver_options names;
  names.deadline = step;
  up::resolver resolver(names);
  up::resolver::answer const found = co_await resolver.resolve(at.host, at.port);
  out.lookup = watch.lap();
  if (found.ec) {
    out.failed_at = up::hop::dns;
    out.ec = found.ec;
    co_return out;
  }
  for (auto const& a : *found.addresses) out.addresses.push_back(a.address().to_string());
  up::dial_options how;
  how.timeout = step;
  up::dialled_socket d = co_await up::dial_first(found.addresses, how);
  out.connecting = watch.lap();
  if (!d.socket) {
    out.failed_at = by != nullptr ? up::hop::proxy : up::hop::tcp;
    out.ec = d.ec;
    co_return out;
  }
  out.peer = d.peer.address().to_string();
  if (!to.tls) co_return out;
  mgw::net::tcp_stream tcp(std::move(*d.socket));
  if (by != nullptr) {
    mgw::net::deadline limit(w.deadlines, tcp);
    limit.arm(step);
    out.ec = co_await up::open_tunnel(tcp, to, *by);
    if (limit.expired()) out.ec = up::error::connect_timeout;
    out.tunnel = watch.lap();
    if (out.ec) {
      out.failed_at = up::hop::proxy;
      co_return out;
    }
  }
  mgw::net::tls_stream<mgw::net::tcp_stream> stream(std::move(tcp), tls, mgw::net::tls_role::client);
  stream.set_server_name(to.host);
  {
    mgw::net::deadline limit(w.deadlines, stream);
    limit.arm(step);
    out.ec = co_await stream.handshake();
    if (limit.expired()) out.ec = up::error::connect_timeout;
  }
  out.handshake = watch.lap();
  if (out.ec) out.failed_at = up::hop::tls;
  mgw::net::openssl_ptr<X509> shown(SSL_get1_peer_certificate(stream.native()));
  if (shown) out.certificate = certificates::facts_of(std::move(shown));
  out.tls_version = SSL_get_version(stream.native());
  co_return out;
}

}  // namespace gateway::doctor
