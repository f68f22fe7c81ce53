#include <mgw/core/units.hpp>

#include <doctest/doctest.h>

#include <ostream>

namespace mgw::units_test {

TEST_CASE("sizes take a binary unit") {
  CHECK(*parse_size("0") == 0);
  CHECK(*parse_size("4096") == 4096);
  CHECK(*parse_size("1KiB") == 1024);
  CHECK(*parse_size("16 MiB") == 16u << 20);
  CHECK(*parse_size("2GiB") == std::uint64_t{2} << 30);
  CHECK(*parse_size("1TiB") == std::uint64_t{1} << 40);
}
TEST_CASE("a size that is not one is refused") {
  for (auto const* bad : {"", "x", "-1", "+1", "1KB", "1 kib", "1  KiB", "1.5GiB", "18446744073709551616", "16777216TiB"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_size(bad));
  }
}
TEST_CASE("durations take Go's form") {
  using std::chrono::milliseconds;
  CHECK(*parse_duration("0") == milliseconds(0));
  CHECK(*parse_duration("30m") == milliseconds(1'800'000));
  CHECK(*parse_duration("1h15m") == milliseconds(4'500'000));
  CHECK(*parse_duration("1.5s") == milliseconds(1500));
  CHECK(*parse_duration("250ms") == milliseconds(250));
  CHECK(*parse_duration("2h0m1s") == milliseconds(7'201'000));
}
TEST_CASE("a duration that is not one is refused") {
  for (auto const* bad : {"", "30", "m", "-1s", "1d", "1s 2m", "1e3s", "inf", "nans", ".s", "9999999h", "1sm"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_duration(bad));
  }
}

}  // namespace mgw::units_test
