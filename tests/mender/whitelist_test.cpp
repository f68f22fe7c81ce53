#include <mgw/mender/whitelist.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace mgw::mender::whitelist_test {

TEST_CASE("hosts are allowed by name or by suffix") {
  domain_list const list(
      {"s3.amazonaws.com", ".example.com", "*.minio.local", " 10.0.0.7 ", "[fd00::1]", "FE80::2", ""});
  CHECK_FALSE(list.empty());
  for (std::string_view const host :
       {"s3.amazonaws.com", "S3.AmazonAWS.com", "s3.amazonaws.com.", "a.example.com", "a.b.EXAMPLE.com",
        "x.minio.local", "10.0.0.7", "fd00::1", "[FD00::1]", "[fe80::2]"}) {
    CAPTURE(host);
    CHECK(list.allows(host));
  }
  for (std::string_view const host :
       {"", ".", "[]", "amazonaws.com", "xs3.amazonaws.com", "a.s3.amazonaws.com", "s3.amazonaws.com.evil.example",
        "example.com", ".example.com", "evilexample.com", "a.example.com.evil", "minio.local", "10.0.0.70", "110.0.0.7",
        "fd00::11", "s3.amazonaws.com..", "s3.amazonaws.com:443"}) {
    CAPTURE(host);
    CHECK_FALSE(list.allows(host));
  }
}

TEST_CASE("an empty list allows nothing and says so") {
  CHECK(domain_list().empty());
  CHECK(domain_list({"", "  "}).empty());
  CHECK_FALSE(domain_list().allows("h"));
  CHECK_FALSE(domain_list().allows(""));
}

TEST_CASE("entries that can match no host are refused") {
  for (std::string const bad :
       {"https://s3.amazonaws.com", "s3.amazonaws.com:9000", "s3.amazonaws.com/bucket", ".", "*", "*.", "..com", "a b",
        "s3*.amazonaws.com", "[", "[.1:2::3]", "[.a]", "[a.example]", ".1:2::3", "h\xC3\xA4"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(domain_list({bad}), std::invalid_argument);
  }
}

}  // namespace mgw::mender::whitelist_test
