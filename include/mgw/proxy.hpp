#pragma once

// Exchanges and what answers them: server, router, forward, tee_to_cache.
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch.hpp>
#include <mgw/proxy/fetch_job.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/forward.hpp>
#include <mgw/proxy/forward_head.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/proxy/forwarding.hpp>
#include <mgw/proxy/handler.hpp>
#include <mgw/proxy/middleware.hpp>
#include <mgw/proxy/object_reader.hpp>
#include <mgw/proxy/options.hpp>
#include <mgw/proxy/origin_request.hpp>
#include <mgw/proxy/pass_through.hpp>
#include <mgw/proxy/peer_counts.hpp>
#include <mgw/proxy/peer_info.hpp>
#include <mgw/proxy/request_reader.hpp>
#include <mgw/proxy/response_body.hpp>
#include <mgw/proxy/response_writer.hpp>
#include <mgw/proxy/router.hpp>
#include <mgw/proxy/run_until_signal.hpp>
#include <mgw/proxy/serve.hpp>
#include <mgw/proxy/server.hpp>
#include <mgw/proxy/tee_to_cache.hpp>
#include <mgw/proxy/tunnel.hpp>
