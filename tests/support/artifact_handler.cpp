// Compiled once for all tests, as gateway_fixture.cpp is.
#include <support/artifact_handler.hpp>

#include <mgw/mender/artifact_route.hpp>

#include <memory>

namespace mgw::test {

any_handler artifact_handler(mender::link_sealer const& links, caching_gateway& at) {
  auto const own = std::make_shared<mender::own_copies>(at.base().upstreams, quick_tee());  // not used here
  auto const route = std::make_shared<mender::artifact_route<cache::disk_store>>(links, at.tee(), *own);
  return [own, route](proxy::exchange& x) { return (*route)(x); };
}

}  // namespace mgw::test
