// Compiled once for all tests, as gateway_fixture.cpp is.
#include <support/relay.hpp>

#include <memory>

namespace mgw::test {

any_handler forwarder(upstream::pool_set& upstreams, proxy::forward_options options) {
  auto const handler = std::make_shared<proxy::forward>(upstreams, std::move(options));
  return [handler](proxy::exchange& x) { return (*handler)(x); };
}

relay::relay(proxy::forward_options options, proxy::server_options server, upstream::pool_options pools) : g(1, pools) {
  g.start(forwarder(g.upstreams, std::move(options)), std::move(server));
}

}  // namespace mgw::test
