#pragma once

// The way to a server: names, pools, one request and its response.
#include <mgw/upstream/address_rules.hpp>
#include <mgw/upstream/admission.hpp>
#include <mgw/upstream/cancellable.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/dial.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/http_tunnel.hpp>
#include <mgw/upstream/name_lookup.hpp>
#include <mgw/upstream/pool.hpp>
#include <mgw/upstream/pool_options.hpp>
#include <mgw/upstream/pool_set.hpp>
#include <mgw/upstream/proxy_rules.hpp>
#include <mgw/upstream/rate_limit.hpp>
#include <mgw/upstream/rate_windows.hpp>
#include <mgw/upstream/resolver.hpp>
#include <mgw/upstream/token_bucket.hpp>
