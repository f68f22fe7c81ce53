#pragma once

// Connections: TCP and TLS streams, listeners, deadlines, workers.
#include <mgw/net/address_text.hpp>
#include <mgw/net/client_trust.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/error.hpp>
#include <mgw/net/keep_alive.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/openssl_ptr.hpp>
#include <mgw/net/own_addresses.hpp>
#include <mgw/net/peer_certificate.hpp>
#include <mgw/net/poller.hpp>
#include <mgw/net/serial_list.hpp>
#include <mgw/net/silence_limit.hpp>
#include <mgw/net/tcp_stream.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/tls_engine.hpp>
#include <mgw/net/tls_session.hpp>
#include <mgw/net/tls_stream.hpp>
#include <mgw/net/worker_pool.hpp>
