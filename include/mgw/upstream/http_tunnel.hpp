#pragma once

#include <mgw/core/concepts.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/http/response_parser.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/proxy_rules.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::upstream {

/// Asks a proxy, on a fresh connection to it, for a tunnel to `to`; afterwards `s` is as if it were connected there.
///
/// Nothing may follow the proxy's answer: who is spoken to over the tunnel speaks second (TLS).
/// Errors: error::proxy_authentication (407), error::proxy_refused (anything else but 2xx), error::closed_before_head,
/// error::truncated_head, of the parser, of the stream. Source: RFC 9110 9.3.6, RFC 9112 3.2.3.
template <Stream S>
asio::awaitable<std::error_code> open_tunnel(S& s, endpoint const& to, http_proxy const& proxy) {
  std::string const authority = to.authority();
  std::string head;
  http::append_request_line(head, "CONNECT", authority);
  http::append_field(head, "Host", authority);
  if (!proxy.authorization.empty()) http::append_field(head, "Proxy-Authorization", proxy.authorization);
  http::end_head(head);
  for (std::string_view rest = head; !rest.empty();) {
    asio::const_buffer const one(rest.data(), rest.size());
    io_result const sent = co_await s.write_some(const_buffers(&one, 1));
    if (sent.ec) co_return sent.ec;
    rest.remove_prefix(sent.n);
  }
  lent_buffer block = lent_buffer::take();
  std::size_t have = 0;
  http::response_parser parser;
  http::response_head answer;
  for (;;) {
    asio::mutable_buffer const into(block.data() + have, lent_buffer::capacity - have);
    io_result const got = co_await s.read_some(into);
    if (got.n == 0)
      co_return have == 0 ? make_error_code(error::closed_before_head) : make_error_code(error::truncated_head);
    have += got.n;
    auto const size = parser.parse(std::string_view(block.data(), have), answer);
    if (!size) co_return size.error();
    if (*size == 0) {
      if (have == lent_buffer::capacity) co_return make_error_code(http::parse_error::head_too_large);
      continue;
    }
    if (answer.status == 407) co_return make_error_code(error::proxy_authentication);
    bool const open = answer.status >= 200 && answer.status <= 299 && *size == have;
    co_return open ? std::error_code() : make_error_code(error::proxy_refused);
  }
}

}  // namespace mgw::upstream
