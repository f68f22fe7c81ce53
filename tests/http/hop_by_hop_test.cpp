#include <mgw/http/hop_by_hop.hpp>

#include <doctest/doctest.h>

#include <ostream>

namespace mgw::http::hop_by_hop_test {

TEST_CASE("RFC 9110 7.6.1: fields of the connection are known") {
  fields f;
  f.add("connection", "X-One, close");
  f.add("Connection", "x-two");
  for (auto const* name :
       {"Connection", "KEEP-ALIVE", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
        "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info", "x-one", "X-Two", "close"}) {
    CAPTURE(name);
    CHECK(is_hop_by_hop(name, f));
  }
  for (auto const* name : {"X-Three", "Content-Length", "Via", "Trailers", "Host"}) {
    CAPTURE(name);
    CHECK_FALSE(is_hop_by_hop(name, f));
  }
}

TEST_CASE("RFC 9110 7.6.1: Connection cannot take away what the message means") {
  fields f;
  f.add("Connection", "host, Content-Length, AUTHORIZATION, x-forwarded-for, cookie");
  for (auto const* name : {"Host", "content-length", "Authorization", "X-Forwarded-For", "Cookie"}) {
    CAPTURE(name);
    CHECK_FALSE(is_hop_by_hop(name, f));
  }
  for (auto const name : never_hop_by_hop) {
    fields one;
    one.add("Connection", name);
    CHECK_FALSE(is_hop_by_hop(name, one));
  }
}

}  // namespace mgw::http::hop_by_hop_test
