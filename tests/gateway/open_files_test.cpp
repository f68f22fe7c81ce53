#include "open_files.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::open_files_test {

TEST_CASE(
    "there are no more connections than half of the files that may be open besides a reserve; a warning says so") {
  struct {
    rlim_t files;
    std::size_t asked, got;
  } const cases[] = {
      {RLIM_INFINITY, 1'000'000, 1'000'000},
      {20'100, 10'000, 10'000},
      {20'099, 10'000, 9'999},
      {20'000, 10'000, 9'950},
      {18'100, 10'000, 9'000},
      {18'098, 10'000, 8'999},
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
    auto level = mgw::log_level::debug;
    keep_within(n, c.files, [&](mgw::log_level l, std::string_view line) { level = l, lines.emplace_back(line); });
    CHECK(n == c.got);
    REQUIRE(lines.size() == (c.asked == c.got ? 0 : 1));
    if (lines.empty()) continue;
    CHECK(level == (c.asked - c.got > c.asked / 10 ? mgw::log_level::warn : mgw::log_level::info));
    CHECK(lines[0].find(std::to_string(c.asked)) != std::string::npos);
    CHECK(lines[0].find(" " + std::to_string(c.files) + " files") != std::string::npos);
    CHECK(lines[0].find(" " + std::to_string(c.got) + " connections") != std::string::npos);
  }
}

}  // namespace gateway::open_files_test
