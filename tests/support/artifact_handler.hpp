#pragma once

#include <mgw/mender/artifact_link.hpp>

#include <support/gateway_fixture.hpp>

namespace mgw::test {

/// A handler that serves artifact links alone, from the gateway's cache. `links` outlives it.
any_handler artifact_handler(mender::link_sealer const& links, caching_gateway& at);

}  // namespace mgw::test
