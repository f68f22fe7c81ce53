#include <mgw/net/address_text.hpp>

#include <doctest/doctest.h>

#include <asio/ip/address.hpp>

#include <string>

namespace mgw::net::address_text_test {

TEST_CASE("an address is written as the system writes it") {
  for (char const* const text : {"0.0.0.0", "1.2.3.4", "10.0.99.100", "127.0.0.1", "255.255.255.255", "::", "::1",
                                 "2001:db8::7:0", "::ffff:192.0.2.1"}) {
    auto const address = asio::ip::make_address(text);
    CHECK(address_text(address) == text);
    CHECK(address_text(address) == address.to_string());
  }
}

}  // namespace mgw::net::address_text_test
