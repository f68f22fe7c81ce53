#include <wire/runner.hpp>
#include <wire/table.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::wire::wire_test {
namespace {

std::vector<exchange_case> const& table() {
  static std::vector<exchange_case> const all = [] {
    std::vector<exchange_case> out;
    std::set<std::string> paths;
    for (auto const& f : std::filesystem::directory_iterator(MGW_TEST_FOLDER))
      if (f.path().extension() == ".txt") paths.insert(f.path().string());
    for (auto const& path : paths) {
      try {
        for (auto& c : read_table_file(path)) out.push_back(std::move(c));
      } catch (table_error const& e) {
        throw std::runtime_error(path + ", " + e.what());
      }
    }
    return out;
  }();
  return all;
}

/// Runs the table in one way. One exchange alone: `mgw-test-wire -sc="*part of its name*"`.
void run_all(way w) {
  static test::test_certificates const certificates;
  for (auto const& c : table()) {
    if (!runner::fits(c, w)) continue;
    SUBCASE(c.name.c_str()) {
      std::string const faults = runner(c, w, certificates).run();
      CAPTURE(c.line);
      if (c.fails.empty())
        CHECK_MESSAGE(faults.empty(), c.name, "\n", faults);
      else
        CHECK_MESSAGE(!faults.empty(), c.name, "\n  holds now: take away its 'fails: ", c.fails, "'");
    }
  }
}

}  // namespace

TEST_CASE("exchanges over TCP") {
  run_all(way::plain);
}
TEST_CASE("exchanges over TLS on both sides") {
  run_all(way::tls);
}
TEST_CASE("exchanges read byte by byte on both sides") {
  run_all(way::drip);
}
TEST_CASE("exchanges in random pieces") {
  run_all(way::pieces);
}
TEST_CASE("exchanges behind a cache") {
  run_all(way::cached);
}

}  // namespace mgw::wire::wire_test
