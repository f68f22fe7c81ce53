#pragma once

#include <mgw/core/any_stream.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/tcp_stream.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/socket_base.hpp>

#include <poll.h>
#include <sys/socket.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

namespace mgw::test {

/// A TCP connection whose far end has little room and takes a little when it is told to; time is the test's own.
struct slow_link {
  asio::io_context io{1};
  net::deadline_queue deadlines{io.get_executor()};
  net::deadline_queue::clock::time_point now = net::deadline_queue::clock::now();
  asio::ip::tcp::socket near{io}, far{io};
  std::string taken;

  /// `near_room`: what the near end's system takes at once, about.
  explicit slow_link(int near_room) {
    asio::ip::tcp::acceptor door(io);
    door.open(asio::ip::tcp::v4());
    door.set_option(asio::socket_base::receive_buffer_size(8192));
    door.bind({asio::ip::address_v4::loopback(), 0});
    door.listen();
    near.open(asio::ip::tcp::v4());
    near.set_option(asio::socket_base::send_buffer_size(near_room));
    near.connect(door.local_endpoint());
    door.accept(far);
  }

  /// Lets `t` pass.
  void pass(net::deadline_queue::clock::duration t) {
    now += t;
    deadlines.advance(now);
    run();
  }
  void run() {
    io.restart();
    io.poll();
  }
  /// The far end takes what is there until `from` sees that something got through, or all has: false.
  bool take_a_little(any_stream& from, std::size_t all) {
    auto const before = from.acknowledged();
    while (taken.size() < all && from.acknowledged() == before) {
      pollfd p{far.native_handle(), POLLIN, 0};
      (void)::poll(&p, 1, 1000);
      char some[1000];
      ssize_t const n = ::recv(far.native_handle(), some, sizeof some, MSG_DONTWAIT);
      if (n == 0) return false;
      if (n > 0) taken.append(some, static_cast<std::size_t>(n));
      run();
    }
    return taken.size() < all;
  }
};

}  // namespace mgw::test
