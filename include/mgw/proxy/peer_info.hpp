#pragma once

#include <asio/ip/tcp.hpp>

namespace mgw::proxy {

/// Who is on the other end of a connection.
struct peer_info {
  asio::ip::tcp::endpoint address;
  bool tls = false;
};

}  // namespace mgw::proxy
