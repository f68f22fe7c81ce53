#include <mgw/upstream/dial.hpp>

#include <mgw/upstream/error.hpp>
#include <mgw/upstream/resolver.hpp>

#include <support/blocking_socket.hpp>
#include <support/raw_listener.hpp>
#include <support/run_io.hpp>

#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>

#include <doctest/doctest.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace mgw::upstream::dial_test {
namespace {

using asio::ip::make_address;
using asio::ip::tcp;
using namespace std::chrono_literals;

/// An address that answers no SYN: a listener whose queue is full.
class black_hole {
public:
  black_hole() : full_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in a = test::blocking_socket::loopback(0);
    socklen_t size = sizeof a;
    REQUIRE(::bind(full_.fd(), reinterpret_cast<sockaddr const*>(&a), sizeof a) == 0);
    REQUIRE(::listen(full_.fd(), 0) == 0);
    REQUIRE(::getsockname(full_.fd(), reinterpret_cast<sockaddr*>(&a), &size) == 0);
    for (int i = 0; i < 8; ++i) {
      waiting_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      (void)::connect(waiting_.back().fd(), reinterpret_cast<sockaddr const*>(&a), sizeof a);
    }
    where = {make_address("127.0.0.1"), ntohs(a.sin_port)};
  }
  tcp::endpoint where;

private:
  test::blocking_socket full_;
  std::vector<test::blocking_socket> waiting_;
};

tcp::endpoint of(test::raw_listener const& l) {
  return {make_address("127.0.0.1"), l.port()};
}
/// Nobody listens there.
tcp::endpoint nowhere() {
  test::raw_listener gone;
  return of(gone);
}
dialled_socket dial(resolver::list const& addresses, std::chrono::milliseconds stagger,
                    std::chrono::milliseconds timeout = 1h) {
  asio::io_context io(1);
  dial_options o;
  o.stagger = stagger;
  o.timeout = timeout;
  dialled_socket d = test::run_io(io, dial_first(std::make_shared<resolver::list const>(addresses), o));
  dialled_socket out;  // without the socket, whose context ends here
  out.peer = d.peer;
  out.ec = d.ec;
  out.reasons = d.reasons;
  CHECK(d.socket.has_value() == !d.ec);
  return out;
}

}  // namespace

TEST_CASE("RFC 8305 4: the families take turns, beginning with that of the first address") {
  struct {
    std::vector<char const*> given, expected;
  } const cases[] = {
      {{}, {}},
      {{"::1"}, {"::1"}},
      {{"::1", "::2", "1.0.0.1", "1.0.0.2"}, {"::1", "1.0.0.1", "::2", "1.0.0.2"}},
      {{"1.0.0.1", "::1", "::2", "::3"}, {"1.0.0.1", "::1", "::2", "::3"}},
      {{"1.0.0.1", "1.0.0.2", "1.0.0.3", "::1"}, {"1.0.0.1", "::1", "1.0.0.2", "1.0.0.3"}},
      {{"1.0.0.2", "1.0.0.1"}, {"1.0.0.2", "1.0.0.1"}},
  };
  for (auto const& c : cases) {
    resolver::list given, expected;
    for (auto const* a : c.given) given.emplace_back(make_address(a), 80);
    for (auto const* a : c.expected) expected.emplace_back(make_address(a), 80);
    CHECK(in_turns(given) == expected);
  }
}

TEST_CASE("RFC 8305 5: an address that does not answer is not waited for while another would") {
  black_hole first, second;
  test::raw_listener good;
  CHECK(dial({first.where, second.where, of(good)}, 1ms).peer == of(good));
}

TEST_CASE("RFC 8305 5: where an address refuses, the next is tried at once") {
  test::raw_listener good;
  CHECK(dial({nowhere(), nowhere(), of(good)}, 1h).peer == of(good));
  black_hole hole;
  CHECK(dial({hole.where, nowhere(), of(good)}, 1ms).peer == of(good));
}

TEST_CASE("the first address that answers is taken, and no other one is tried then") {
  test::raw_listener good, spare;
  CHECK(dial({of(good), of(spare)}, 1h).peer == of(good));
  CHECK_FALSE(spare.somebody_waits());
}

TEST_CASE("where no address answers the last failure tells why; each has its own time") {
  black_hole first, second;
  CHECK(dial({nowhere(), nowhere()}, 1h).ec == asio::error::connection_refused);
  CHECK(dial({first.where}, 1h, 20ms).ec == error::connect_timeout);
  CHECK(dial({first.where, second.where}, 1h, 20ms).ec == error::connect_timeout);
  CHECK(dial({first.where, nowhere()}, 1h, 20ms).ec == asio::error::connection_refused);
  CHECK(dial({}, 1h).ec == asio::error::host_not_found);
}

TEST_CASE("where several addresses fail, each is named with its reason; a single one is not") {
  black_hole hole;
  auto const text = [](tcp::endpoint const& e) { return "127.0.0.1:" + std::to_string(e.port()) + ": "; };
  auto const first = nowhere(), second = nowhere();
  CHECK(dial({first, second}, 1h).reasons ==
        text(first) + "Connection refused; " + text(second) + "Connection refused");
  CHECK(dial({hole.where, first}, 1h, 20ms).reasons ==
        text(hole.where) + "connecting took too long; " + text(first) + "Connection refused");
  CHECK(dial({first}, 1h).reasons.empty());
  test::raw_listener good;
  CHECK(dial({first, of(good)}, 1h).reasons.empty());
  asio::io_context io(1);
  auto const v6 = std::make_shared<resolver::list const>(
      resolver::list{{make_address("::ffff:127.0.0.1"), first.port()}, first});  // needs no interface with IPv6
  CHECK(test::run_io(io, dial_first(v6, dial_options{})).reasons.starts_with("[::ffff:127.0.0.1]:"));
}

}  // namespace mgw::upstream::dial_test
