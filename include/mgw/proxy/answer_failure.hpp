#pragma once

#include <mgw/http/error.hpp>
#include <mgw/net/error.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/upstream/error.hpp>

#include <asio/awaitable.hpp>
#include <asio/error.hpp>

#include <string>
#include <string_view>
#include <system_error>

namespace mgw::proxy {

/// The name that RFC 9209 2.3 has for what went wrong.
inline std::string_view proxy_error_type(forward_outcome const& failure) noexcept {
  using upstream::error;
  using upstream::hop;
  std::error_code const ec = failure.ec;
  if (ec == error::loop) return "proxy_loop_detected";
  if (failure.client_failed) return "http_request_error";
  if (ec == error::connect_timeout) return "connection_timeout";
  if (ec == error::response_timeout)
    return failure.hop == hop::request ? "connection_write_timeout" : "http_response_timeout";
  if (ec == error::body_timeout) return "connection_read_timeout";
  switch (failure.hop) {
    case hop::dns: return "dns_error";
    case hop::proxy: return "destination_unavailable";
    case hop::tcp: return ec == asio::error::connection_refused ? "connection_refused" : "destination_unavailable";
    case hop::tls: return net::is_verify_error(ec) ? "tls_certificate_error" : "tls_protocol_error";
    case hop::request: return "connection_terminated";
    case hop::response: break;
    case hop::none: return "proxy_internal_response";
  }
  if (ec == error::truncated_head || ec == http::parse_error::truncated_body) return "http_response_incomplete";
  if (ec == http::parse_error::body_too_large) return "http_response_body_size";
  if (ec == http::parse_error::bad_transfer_encoding || ec == http::parse_error::unknown_transfer_coding)
    return "http_response_transfer_coding";
  if (ec.category() == http::parse_category())
    return http::status_of(static_cast<http::parse_error>(ec.value())) == 431 ? "http_response_header_section_size"
                                                                              : "http_protocol_error";
  return ec.category() == upstream::error_category() && ec != error::closed_before_head ? "http_protocol_error"
                                                                                        : "connection_terminated";
}

/// Answers what could not be forwarded: 502 or 504, or the client's own fault, with a Proxy-Status that names the
/// reason (RFC 9209). What the upstream said is not repeated there: it is in the log.
inline asio::awaitable<void> answer_failure(exchange& x, forward_options const& options, forward_outcome failure) {
  x.notes().failure = std::string(upstream::to_string(failure.hop)) + ": " + failure.ec.message();
  if (failure.client_failed) x.close_after();
  std::string text;
  if (failure.status >= 400 && x.options().error_body) text = x.options().error_body(failure.status, x);
  std::string const status = options.pseudonym + "; error=" + std::string(proxy_error_type(failure));
  (void)co_await x.respond(failure.status, x.options().error_type, text, "Proxy-Status", status);
}

}  // namespace mgw::proxy
