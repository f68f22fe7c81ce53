#include <mgw/upstream/rate_windows.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>

namespace mgw::upstream::rate_windows_test {
namespace {

constexpr int sun = 0, mon = 1, wed = 3, fri = 5, sat = 6;
constexpr std::uint64_t KiB = 1024, MiB = 1024 * KiB, none = 12'345;  // none: outside of all windows

int minute(int hour, int m = 0) {
  return hour * 60 + m;
}

}  // namespace

TEST_CASE("the first window that is open counts, those over midnight belong to the day on which they begin") {
  struct {
    char const* windows;
    int day, minute;
    std::uint64_t rate;
  } const cases[] = {
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", mon, minute(7, 59), none},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", mon, minute(8), 512 * KiB},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", fri, minute(17, 59), 512 * KiB},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", fri, minute(18), none},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", fri, minute(22), unlimited},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", sat, minute(0), 2 * MiB},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", sun, minute(23, 59), 2 * MiB},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", mon, minute(0), unlimited},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", mon, minute(5, 59), unlimited},
      {"mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited", mon, minute(6), none},
      {"fri 22:00-06:00 0", fri, minute(21, 59), none},
      {"fri 22:00-06:00 0", fri, minute(22), 0},
      {"fri 22:00-06:00 0", sat, minute(5, 59), 0},
      {"fri 22:00-06:00 0", sat, minute(22), none},
      {"fri 22:00-06:00 0", fri, minute(3), none},
      {"sat 23:00-01:00 pause", sun, minute(0, 30), 0},
      {"sun 23:00-01:00 pause", mon, minute(0, 30), 0},
      {"08:00-24:00 1KiB", wed, minute(23, 59), KiB},
      {"08:00-24:00 1KiB", wed, 0, none},
      {"00:00-24:00 1KiB", wed, 0, KiB},
      {"00:01-00:00 1KiB", wed, 0, none},
      {"00:01-00:00 1KiB", wed, minute(23, 59), KiB},
      {"fri-mon 3MiB", sun, 0, 3 * MiB},
      {"fri-mon 3MiB", mon, 0, 3 * MiB},
      {"fri-mon 3MiB", wed, 0, none},
      {"mon,wed-fri,sun 2 MiB", wed, 0, 2 * MiB},
      {"mon,wed-fri,sun 2 MiB", sat, 0, none},
      {"65536", sat, 0, 65'536},
      {"  SAT   08:00-09:00\tUnlimited ;; wed PAUSE; ", sat, minute(8), unlimited},
  };
  for (auto const& c : cases) {
    std::string_view const windows = c.windows;
    if (windows.find(";;") != std::string_view::npos) continue;  // below
    CAPTURE(windows);
    CAPTURE(c.day);
    CAPTURE(c.minute);
    auto const w = rate_windows::parse(windows);
    REQUIRE(w);
    CHECK(w->at(c.day, c.minute).value_or(none) == c.rate);
  }
  auto const blanks = rate_windows::parse("  SAT   08:00-09:00\tUnlimited ; wed PAUSE; ");
  REQUIRE(blanks);
  CHECK(blanks->at(sat, minute(8)) == unlimited);
  CHECK(blanks->at(wed, 0) == 0);
}

TEST_CASE("what is no list of windows is refused") {
  for (char const* text : {"",
                           " ",
                           ";",
                           ";;",
                           "1KiB;;2KiB",
                           "mon",
                           "mon 08:00-18:00",
                           "08:00-18:00",
                           "08:00 1KiB",
                           "8:00-18:00 1KiB",
                           "08:00-18:60 1KiB",
                           "08:00-25:00 1KiB",
                           "08:00-24:01 1KiB",
                           "24:00-08:00 1KiB",
                           "08:00-08:00 1KiB",
                           "08.00-18:00 1KiB",
                           "08:00-18:00-19:00 1KiB",
                           "mon- 1KiB",
                           "-mon 1KiB",
                           "mon,,tue 1KiB",
                           "mon, tue 1KiB",
                           ",mon 1KiB",
                           "monday 1KiB",
                           "mon-fri-sun 1KiB",
                           "mon 1KB",
                           "mon 1023",
                           "mon -1KiB",
                           "mon 1KiB/s",
                           "mon 1KiB 2KiB",
                           "mon unlimited x",
                           "08:00-18:00 mon 1KiB",
                           "mon 08:0a-18:00 1KiB",
                           "mon 99999999999999999999",
                           "mon 18446744073709551615"}) {
    CAPTURE(std::string(text));
    CHECK_FALSE(rate_windows::parse(text));
  }
}

TEST_CASE("the local clock decides, and without a summer time it is UTC's") {
  std::string const before = std::getenv("TZ") != nullptr ? std::getenv("TZ") : "";
  bool const was_set = std::getenv("TZ") != nullptr;
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  bool agrees = false;
  for (int i = 0; i < 2 && !agrees; ++i) {  // the minute may change in between, once
    std::time_t const t = std::time(nullptr);
    auto const day = static_cast<int>((t / 86'400 + 4) % 7);  // 1970 began on a Thursday
    auto const m = static_cast<int>(t % 86'400 / 60);
    auto const two = [](int n) { return (n < 10 ? "0" : "") + std::to_string(n); };
    auto const clock = [&](int at) { return two(at / 60) + ":" + two(at % 60); };
    char const* const days[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
    auto const w = rate_windows::parse(std::string(days[day]) + " " + clock(m) + "-" + clock(m + 1) + " 7KiB");
    REQUIRE(w);
    agrees = w->now() == 7 * KiB;
  }
  CHECK(agrees);
  if (was_set)
    ::setenv("TZ", before.c_str(), 1);
  else
    ::unsetenv("TZ");
  ::tzset();
}

}  // namespace mgw::upstream::rate_windows_test
