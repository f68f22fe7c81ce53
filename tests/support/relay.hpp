#pragma once

#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/origin.hpp>

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::test {

/// Options for a server on loopback.
inline proxy::forward_options forward_to(std::uint16_t port) {
  proxy::forward_options f;
  f.upstream = upstream::endpoint("127.0.0.1", port, false);
  f.host = "upstream.test:" + std::to_string(port);
  return f;
}

/// A handler that forwards as `options` say.
any_handler forwarder(upstream::pool_set& upstreams, proxy::forward_options options);

/// A gateway that forwards everything to one upstream.
struct relay {
  test::gateway g;
  explicit relay(proxy::forward_options options, proxy::server_options server = {}, upstream::pool_options pools = {});
  explicit relay(origin const& o) : relay(forward_to(o.port())) {}
  std::uint16_t port() const { return g.port(); }
};

/// `body` in chunks of `piece` bytes, with its end.
inline std::string chunked(std::string_view body, std::size_t piece) {
  std::string out;
  while (!body.empty()) {
    std::string_view const part = body.substr(0, piece);
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", part.size());
    out.append(size).append(part).append("\r\n");
    body.remove_prefix(part.size());
  }
  return out + "0\r\n\r\n";
}
/// The head of a POST with these further lines, CRLF between them.
inline std::string post_head(std::string_view lines) {
  return "POST /p HTTP/1.1\r\nHost: gateway.test\r\n" + std::string(lines) + "\r\n\r\n";
}

}  // namespace mgw::test
