#include <mgw/http/date.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <string_view>

namespace mgw::http::date_test {

TEST_CASE("RFC 9110 5.6.7: the three forms of a date mean the same") {
  struct {
    std::string_view text;
    std::int64_t seconds;
  } const cases[] = {
      {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
      {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
      {"Sun Nov  6 08:49:37 1994", 784111777},
      {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
      {"Thursday, 01-Jan-70 00:00:00 GMT", 0},
      {"Thu Jan  1 00:00:00 1970", 0},
      {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
      {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},
      {"Thu, 29 Feb 2024 23:59:59 GMT", 1709251199},
      {"Tue Jan 19 03:14:08 2038", 2147483648},
      {"Tuesday, 19-Jan-38 03:14:08 GMT", 2147483648},     // 2038: in 1938 it was a Wednesday
      {"Wednesday, 19-Jan-38 03:14:08 GMT", -1008276352},  // 1938
      {"Wednesday, 14-Oct-26 00:00:00 GMT", 1791936000},   // 2026
      {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
      {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
  };
  for (auto const& c : cases) {
    CAPTURE(c.text);
    auto const got = parse_date(c.text);
    REQUIRE(got);
    CHECK(*got == c.seconds);
    std::string_view const all = c.text;
    for (std::size_t n = 0; n < all.size(); ++n) {
      std::string const cut(all.substr(0, n));
      CHECK_FALSE(parse_date(cut));
    }
    CHECK_FALSE(parse_date(std::string(all) + " "));
    CHECK_FALSE(parse_date(" " + std::string(all)));
  }
}

TEST_CASE("a date that is not one is refused") {
  for (std::string_view const bad : {"",
                                     "0",
                                     "784111777",
                                     "1994-11-06T08:49:37Z",
                                     "Mon, 06 Nov 1994 08:49:37 GMT",
                                     "Monday, 06-Nov-94 08:49:37 GMT",
                                     "Mon Nov  6 08:49:37 1994",
                                     "sun, 06 Nov 1994 08:49:37 GMT",
                                     "Sun, 06 nov 1994 08:49:37 GMT",
                                     "Sun, 06 Nov 1994 08:49:37 gmt",
                                     "Sun, 06 Nov 1994 08:49:37 UTC",
                                     "Sun, 06 Nov 1994 08:49:37 +0000",
                                     "Sun, 06 Nov 1994 08:49:37",
                                     "Sun, 6 Nov 1994 08:49:37 GMT",
                                     "Sun,  6 Nov 1994 08:49:37 GMT",
                                     "Sun,06 Nov 1994 08:49:37 GMT",
                                     "Sun, 06  Nov 1994 08:49:37 GMT",
                                     "Sun, 06-Nov-1994 08:49:37 GMT",
                                     "Sunday, 06-Nov-1994 08:49:37 GMT",
                                     "Sunday, 06 Nov 94 08:49:37 GMT",
                                     "Sun, 06 Nov 94 08:49:37 GMT",
                                     "Sun Nov 6 08:49:37 1994",
                                     "Sun Nov 006 08:49:37 1994",
                                     "Sun Nov  6 08:49:37 1994 GMT",
                                     "Tue, 29 Feb 2023 00:00:00 GMT",
                                     "Wed, 29 Feb 2023 00:00:00 GMT",
                                     "Thu, 29 Feb 1900 00:00:00 GMT",
                                     "Mon, 31 Apr 2023 00:00:00 GMT",
                                     "Sat, 00 Apr 2023 00:00:00 GMT",
                                     "Sun, 06 Nov 1994 24:00:00 GMT",
                                     "Sun, 06 Nov 1994 08:60:37 GMT",
                                     "Sun, 06 Nov 1994 08:49:61 GMT",
                                     "Sun, 06 Nov 1994 8:49:37 GMT",
                                     "Sun, 06 Nov 1994 08:49:3x GMT",
                                     "Sun, 06 Nov 1994 08:49:-7 GMT",
                                     "Sun, 06 Nov -994 08:49:37 GMT",
                                     "Sun, 06 Nov 99999 08:49:37 GMT"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_date(bad));
  }
}

TEST_CASE("RFC 9110 5.6.7: a date is written as IMF-fixdate and reads back") {
  CHECK(format_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(format_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
  CHECK(format_date(-1) == "Wed, 31 Dec 1969 23:59:59 GMT");
  CHECK(format_date(std::numeric_limits<std::int64_t>::max()) == "Fri, 31 Dec 9999 23:59:59 GMT");
  CHECK(format_date(std::numeric_limits<std::int64_t>::min()) == "Sat, 01 Jan 0000 00:00:00 GMT");
  char text[date_length];
  format_date(784111777, text);
  CHECK(std::string_view(text, date_length) == "Sun, 06 Nov 1994 08:49:37 GMT");

  std::mt19937_64 random(1);
  std::uniform_int_distribution<std::int64_t> when(-62167219200, 253402300799);
  for (int i = 0; i < 5000; ++i) {
    auto const t = when(random);
    CAPTURE(t);
    CHECK(parse_date(format_date(t)) == t);
  }
}

}  // namespace mgw::http::date_test
