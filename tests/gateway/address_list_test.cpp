#include "config/address_list.hpp"

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <vector>

namespace gateway::address_list_test {

TEST_CASE("trusted proxies are addresses and blocks, and nothing else") {
  for (char const* good : {"10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "fd00::/8", "10.1.2.3/32", "10.1.2.3/8"}) {
    CAPTURE(good);
    CHECK(address_list::parse({good}));
  }
  for (char const* bad : {"", "proxy.example", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x",
                          "10.0.0.0/8/8", "fd00::/129", "[::1]", "10.0.0.1:80", "fe80::1%lo", "fe80::%lo/64"}) {
    CAPTURE(bad);
    CHECK(!address_list::parse({"10.0.0.1", bad}));
  }
  CHECK(address_list().empty());
}

TEST_CASE("an address is of a block if the block's bits are the same, in either form of IPv4") {
  auto const list = *address_list::parse({"10.1.0.0/15", "192.0.2.7", "fd00:1::/32", "fe80::/10"});
  auto const has = [&](char const* text) { return list.contains(asio::ip::make_address(text)); };
  for (char const* in : {"10.0.0.0", "10.1.255.255", "192.0.2.7", "::ffff:10.1.2.3", "fd00:1:ffff::1", "fe80::1%2"}) {
    CAPTURE(in);
    CHECK(has(in));
  }
  for (char const* out :
       {"10.2.0.0", "9.255.255.255", "192.0.2.6", "::ffff:192.0.2.8", "fd00:2::1", "::1", "::10.1.2.3"}) {
    CAPTURE(out);
    CHECK(!has(out));
  }
  CHECK(address_list::parse({"0.0.0.0/0"})->contains(asio::ip::make_address("255.1.2.3")));
  CHECK(!address_list::parse({"0.0.0.0/0"})->contains(asio::ip::make_address("::1")));
  CHECK(!address_list().contains(asio::ip::make_address("10.0.0.1")));
}

TEST_CASE("who asked is the last address that is no proxy's: what a client made up stands before it") {
  auto const list = *address_list::parse({"10.0.0.0/8"});
  struct row {
    char const* field;
    char const* address;  ///< empty: none
  };
  for (row const& r :
       {row{"192.0.2.1", "192.0.2.1"}, row{"6.6.6.6, 192.0.2.1", "192.0.2.1"},
        row{"192.0.2.1 ,\t10.1.2.3", "192.0.2.1"}, row{"192.0.2.1,10.9.9.9,10.1.2.3", "192.0.2.1"},
        row{"2001:db8::1, 10.1.2.3", "2001:db8::1"}, row{"evil, 192.0.2.1", "192.0.2.1"}, row{"192.0.2.1, evil", ""},
        row{"192.0.2.1, evil\", 10.1.2.3", ""}, row{"10.1.2.3", ""}, row{"192.0.2.1,", ""}, row{"192.0.2.1:80", ""},
        row{"fe80::1%2", ""}, row{",", ""}, row{"", ""}}) {
    CAPTURE(r.field);
    auto const found = list.who_asked(r.field);
    CHECK((found ? found->to_string() : "") == r.address);
  }
}

}  // namespace gateway::address_list_test
