#include <mgw/cache/link_expiry.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::cache::link_expiry_test {
namespace {

std::optional<std::int64_t> expires(std::string_view url) {
  std::vector<char> const exact(url.begin(), url.end());  // a byte read beyond it is noticed
  auto const u = http::parse_uri(std::string_view(exact.data(), exact.size()));
  return u ? signature_expires(*u) : std::nullopt;
}
std::optional<std::int64_t> of_query(std::string const& query) {
  return expires("https://s.test/b/o?" + query);
}

std::string const s3 = "X-Amz-Signature=ab&X-Amz-Date=", google = "X-Goog-Signature=ab&X-Goog-Date=",
                  v2 = "AWSAccessKeyId=me&Signature=ab&Expires=", azure = "sv=2022-11-02&sig=ab&se=";

}  // namespace

TEST_CASE("when a link's signature expires is read from its query") {
  struct {
    std::string query;
    std::int64_t at;
  } const cases[] = {
      {s3 + "20130524T000000Z&X-Amz-Expires=86400", 1'369'440'000},
      {"X-Amz-Expires=1&partNumber=2&X-Amz-Date=20240229T235959Z&X-Amz-Signature=a", 1'709'251'200},
      {s3 + "19700101T000000Z&X-Amz-Expires=0", 0},
      {s3 + "99991231T235959Z&X-Amz-Expires=999999999999999999", 1'000'000'253'402'300'798},
      {s3 + "00000101T000000Z&X-Amz-Expires=1", -62'167'219'199},
      {google + "20201026T211942Z&X-Goog-Expires=900", 1'603'748'082},
      {v2 + "1141889120", 1'141'889'120},
      {"Expires=999999999999999999&GoogleAccessId=me&Signature=ab", 999'999'999'999'999'999},
      {azure + "2013-05-24", 1'369'353'600},
      {azure + "2013-05-24T01:02Z", 1'369'357'320},
      {azure + "2013-05-24T01%3A02Z", 1'369'357'320},
      {azure + "2013-05-24T01%3a02%3A03Z", 1'369'357'323},
      {azure + "2013-05-24T01:02:03Z&sp=r", 1'369'357'323},
      {azure + "2013-05-24T01:02:03.1234567Z", 1'369'357'323},
  };
  for (auto const& c : cases) {
    CAPTURE(c.query);
    CHECK(of_query(c.query) == c.at);
  }
}

TEST_CASE("what is malformed, ambiguous or not signed expires at no time that is known") {
  std::vector<std::string> queries = {
      "",
      "a=b",
      "&&",
      "=",
      "Expires=1141889120",
      "Expires=1141889120&Signature=ab",
      "Expires=1&AWSAccessKeyId=me",
      "se=2013-05-24",
      "se=2013-05-24&sig=ab",
      "se=2013-05-24&sv=1&sig=",
      "X-Amz-Date=20130524T000000Z&X-Amz-Expires=1",
      "X-Amz-Date=20130524T000000Z&X-Amz-Expires=1&X-Amz-Signature=",
      "x-amz-signature=ab&x-amz-date=20130524T000000Z&x-amz-expires=1",
      "X-Amz-Signature=ab&X-Amz-Expires=1",
      "X-Amz-Signature=ab&X-Amz-Date=20130524T000000Z",
      "X-Amz-Signature=ab&X-Amz-Date&X-Amz-Expires",
      "X-Amz-Signature=ab&X-Goog-Date=20130524T000000Z&X-Goog-Expires=1",
      s3 + "20130524T000000Z&X-Amz-Expires=1&X-Amz-Expires=2",
      s3 + "20130524T000000Z&X-Amz-Expires=1&X-Amz-Date=20130524T000000Z",
      s3 + "20130524T000000Z&X-Amz-Expires=1&" + v2 + "1",
      v2,
      v2 + "1&Expires=1",
      azure,
  };
  for (auto const* date : {"",
                           "20130524",
                           "20130524T000000",
                           "20130524T000000z",
                           "20130524t000000Z",
                           "20130524T000000ZZ",
                           "20130524T000000Z0",
                           "20130024T000000Z",
                           "20131324T000000Z",
                           "20130500T000000Z",
                           "20130532T000000Z",
                           "20130229T000000Z",
                           "20130431T000000Z",
                           "20130524T240000Z",
                           "20130524T006000Z",
                           "20130524T000060Z",
                           "2013-05-24T00:00:00Z",
                           "+0130524T000000Z",
                           " 20130524T000000Z",
                           "20130524T0000.0Z",
                           "2013O524T000000Z",
                           "20130524T000000%5A"}) {
    queries.push_back(s3 + date + "&X-Amz-Expires=1");
    queries.push_back(google + date + "&X-Goog-Expires=1");
  }
  for (auto const* number : {"", "-1", "+1", "1.0", "1e3", "0x1", "1%30", "1,", "1000000000000000000",
                             "9223372036854775807", "9223372036854775808", "99999999999999999999999999"}) {
    queries.push_back(s3 + "20130524T000000Z&X-Amz-Expires=" + number);
    queries.push_back(v2 + number);
  }
  for (auto const* time : {"2013",
                           "2013-05",
                           "2013-5-24",
                           "20130524",
                           "2013-05-24T",
                           "2013-05-24T01",
                           "2013-05-24T01Z",
                           "2013-05-24T01:02",
                           "2013-05-24T01:02:",
                           "2013-05-24T01:02:03",
                           "2013-05-24T01:02:03.Z",
                           "2013-05-24T01:02:03.12345678Z",
                           "2013-05-24T01:02:03.1",
                           "2013-05-24T01:02:03.1xZ",
                           "2013-05-24T01:02:03+00:00",
                           "2013-05-24T01:02:03%2B00:00",
                           "2013-05-24T24:00:00Z",
                           "2013-02-29",
                           "2013-05-24Z",
                           "2013-05-24T01%02Z",
                           "2013-05-24T01%3Z",
                           "2013-05-24T01%",
                           "2013%2D05-24"})
    queries.push_back(azure + time);
  for (auto const& q : queries) {
    CAPTURE(q);
    CHECK_FALSE(of_query(q).has_value());
  }
}

TEST_CASE("every prefix of a signed link: it expires when all of it does, or at no time that is known") {
  struct {
    std::string url;
    std::size_t signature;  // so long it is at the end: shorter prefixes are not signed
    std::int64_t at;
  } const cases[] = {
      {"https://s.test/o?X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-Signature=abcd", 4, 1'369'440'000},
      {"https://s.test/o?X-Goog-Date=20130524T000000Z&X-Goog-Expires=86400&X-Goog-Signature=abcd", 4, 1'369'440'000},
      {"https://s.test/o?Expires=1141889120&AWSAccessKeyId=me&Signature=abcd", 4, 1'141'889'120},
      {"https://s.test/o?se=2013-05-24T01%3A02%3A03Z&sv=2022-11-02&sig=abcd", 4, 1'369'357'323},
      {"https://s.test/o?X-Amz-Signature=ab&X-Amz-Expires=86400&X-Amz-Date=20130524T000000Z", 1, 1'369'440'000},
  };
  for (auto const& c : cases)
    for (std::size_t n = 0; n <= c.url.size(); ++n) {
      std::string const prefix = c.url.substr(0, n);
      CAPTURE(prefix);
      auto const at = expires(prefix);
      CHECK(at.has_value() == (n > c.url.size() - c.signature));
      if (at) CHECK(*at == c.at);
    }
}

}  // namespace mgw::cache::link_expiry_test
