#pragma once

#include <mgw/net/peer_certificate.hpp>

#include <asio/ip/tcp.hpp>

#include <memory>

namespace mgw::proxy {

/// Who is on the other end of a connection.
struct peer_info {
  asio::ip::tcp::endpoint address;
  bool tls = false;
  std::shared_ptr<net::peer_certificate const> certificate;  ///< null: none was asked for
};

}  // namespace mgw::proxy
