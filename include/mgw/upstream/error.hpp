#pragma once

#include <string>
#include <system_error>

namespace mgw::upstream {

/// What went wrong on the way to an upstream, where no other category says it.
enum class error {
  connect_timeout = 1,
  response_timeout,    ///< no response head in time
  body_timeout,        ///< silence in the middle of a body
  closed_before_head,  ///< the connection ended before the first byte of a response
  truncated_head,
  too_many_interim_responses,
  unasked_upgrade,     ///< 101 (Switching Protocols) to a request that did not ask for that protocol
  loop,                ///< the request came through here before
  max_forwards,        ///< Max-Forwards is used up: the request ends here
  too_many_redirects,
  forbidden_redirect,
  link_paused,         ///< no byte may pass now (rate_limit)
  lookup_timeout,      ///< no name server answered in time
  proxy_authentication,  ///< 407: the HTTP proxy wants other credentials
  proxy_refused,       ///< the HTTP proxy opens no tunnel
  private_address,     ///< all addresses of the host are such as must not be connected to (address_rules)
};

inline std::error_category const& error_category() noexcept {
  struct category final : std::error_category {
    char const* name() const noexcept override { return "mgw.upstream"; }
    std::string message(int code) const override {
      switch (static_cast<error>(code)) {
        case error::connect_timeout: return "connecting took too long";
        case error::response_timeout: return "no response in time";
        case error::body_timeout: return "the body fell silent";
        case error::closed_before_head: return "closed before a response";
        case error::truncated_head: return "closed inside a response head";
        case error::too_many_interim_responses: return "too many interim responses";
        case error::unasked_upgrade: return "the protocol was switched unasked";
        case error::loop: return "the request came through here before";
        case error::max_forwards: return "Max-Forwards is used up";
        case error::too_many_redirects: return "too many redirects";
        case error::forbidden_redirect: return "redirected to where it may not go";
        case error::link_paused: return "the link is paused";
        case error::lookup_timeout: return "looking the name up took too long";
        case error::proxy_authentication: return "the proxy wants other credentials (407)";
        case error::proxy_refused: return "the proxy refused the connection";
        case error::private_address: return "its addresses are in a private network, where it must not be";
      }
      return "unknown upstream error";
    }
  };
  static category const c;
  return c;
}
inline std::error_code make_error_code(error e) noexcept { return {static_cast<int>(e), error_category()}; }

/// How far a request got: named in logs, so that an operator knows where to look.
enum class hop { none, dns, proxy, tcp, tls, request, response };

inline char const* to_string(hop h) noexcept {
  switch (h) {
    case hop::none: return "none";
    case hop::dns: return "dns";
    case hop::proxy: return "proxy";
    case hop::tcp: return "tcp";
    case hop::tls: return "tls";
    case hop::request: return "request";
    case hop::response: return "response";
  }
  return "?";
}

}  // namespace mgw::upstream

template <>
struct std::is_error_code_enum<mgw::upstream::error> : std::true_type {};
