#pragma once

#include <mgw/http/error.hpp>
#include <mgw/net/error.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/upstream/error.hpp>

#include <asio/error.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
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

/// All that proxy_error_type gives for faults of upstreams: a bounded set, for metrics.
inline constexpr std::array<std::string_view, 16> upstream_error_types = {
    "connection_read_timeout",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_write_timeout",
    "destination_unavailable",
    "dns_error",
    "http_protocol_error",
    "http_response_body_size",
    "http_response_header_section_size",
    "http_response_incomplete",
    "http_response_timeout",
    "http_response_transfer_coding",
    "proxy_loop_detected",
    "tls_certificate_error",
    "tls_protocol_error",
};

/// The place of a type there; its size for any other.
constexpr std::size_t upstream_error_index(std::string_view type) noexcept {
  std::size_t i = 0;
  while (i < upstream_error_types.size() && upstream_error_types[i] != type) ++i;
  return i;
}

/// How often what is fetched met which fault. Any thread.
class upstream_error_counts {
public:
  void count(std::error_code ec, upstream::hop where) noexcept {
    forward_outcome o;
    o.ec = ec;
    o.hop = where;
    std::size_t const i = upstream_error_index(proxy_error_type(o));
    if (i < counts_.size()) counts_[i].fetch_add(1, std::memory_order_relaxed);
  }
  /// Precondition: `i` is a place in upstream_error_types.
  std::uint64_t of(std::size_t i) const noexcept { return counts_[i].load(std::memory_order_relaxed); }

private:
  std::array<std::atomic<std::uint64_t>, upstream_error_types.size()> counts_{};
};

}  // namespace mgw::proxy
