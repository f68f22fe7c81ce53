#pragma once

#include <mgw/proxy/error_type.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/upstream/error.hpp>

#include <asio/awaitable.hpp>

#include <string>

namespace mgw::proxy {

/// Answers what could not be forwarded: 502 or 504, or the client's own fault, with a Proxy-Status that names the
/// reason (RFC 9209). What the upstream said is not repeated there: it is in the log.
inline asio::awaitable<void> answer_failure(exchange& x, forward_options const& options, forward_outcome failure) {
  std::string const why = failure.reasons.empty() ? failure.ec.message() : failure.reasons;
  bool const ours = failure.hop == upstream::hop::none;
  x.notes().failure = ours ? why : std::string(upstream::to_string(failure.hop)) + ": " + why;
  if (failure.client_failed)
    x.close_after();
  else if (!ours)
    x.notes().upstream_error = proxy_error_type(failure);
  std::string text;
  if (failure.status >= 400 && x.options().error_body) text = x.options().error_body(failure.status, x);
  std::string const status = options.pseudonym + "; error=" + std::string(proxy_error_type(failure));
  (void)co_await x.respond(failure.status, x.options().error_type, text, "Proxy-Status", status);
}

}  // namespace mgw::proxy
