#include "open_files.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace gateway {

TEST_CASE(
    "there are no more connections than half of the files that may be open besides a reserve; a warning says so") {
  struct {
    rlim_t files;
    std::size_t asked, got;
  } const cases[] = {
      {RLIM_INFINITY, 1'000'000, 1'000'000},
      {20'100, 10'000, 10'000},
      {20'099, 10'000, 9'999},
      {1024, 10'000, 462},
      {200, 10'000, 50},
      {200, 20, 20},
      {100, 10, 1},
      {1, 10, 1},
  };
  for (auto const& c : cases) {
    CAPTURE(c.files);
    std::vector<std::string> lines;
    std::size_t n = c.asked;
    keep_within(n, c.files, [&](mgw::log_level, std::string_view line) { lines.emplace_back(line); });
    CHECK(n == c.got);
    REQUIRE(lines.size() == (c.asked == c.got ? 0 : 1));
    if (lines.empty()) continue;
    CHECK(lines[0].find(std::to_string(c.asked)) != std::string::npos);
    CHECK(lines[0].find(" " + std::to_string(c.files) + " files") != std::string::npos);
    CHECK(lines[0].find(" " + std::to_string(c.got) + " connections") != std::string::npos);
  }
}

}  // namespace gateway
