#include "commands/cache_text.hpp"

#include "commands/progress_bar.hpp"
#include "commands/table.hpp"
#include "gateway/support.hpp"

#include <doctest/doctest.h>

#include <boost/json/object.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace gateway::cache_text_test {
namespace {

using gateway::test::has;

constexpr std::int64_t now = 1'700'000'000;

boost::json::object object(std::string_view name, std::string const& key, std::uint64_t size,
                           std::int64_t used_ago = 0) {
  return {{"key", key},
          {"name", json_view(name)},
          {"size", size},
          {"stored_at", now - 5 * 86'400},
          {"used_at", now - used_ago},
          {"pinned", name == "b"},
          {"in_use", false}};
}
boost::json::object answer(boost::json::array objects) {
  return {{"status", 0}, {"objects", std::move(objects)}};
}
std::string key_of(std::string const& first) {
  return first + std::string(64 - first.size(), '0');
}
std::string text(std::string const& command, boost::json::object const& a, std::size_t width = 0) {
  cache_request r;
  r.command = command;
  return cache_text(r, a, width, now);
}
}  // namespace

TEST_CASE("cache text: sizes and ages are rough and short") {
  CHECK(human_size(0) == "0 B");
  CHECK(human_size(1023) == "1023 B");
  CHECK(human_size(1024) == "1.0 KiB");
  CHECK(human_size(1536) == "1.5 KiB");
  CHECK(human_size(10'200) == "10 KiB");
  CHECK(human_size(1'048'575) == "1.0 MiB");
  CHECK(human_size(500'000'000) == "477 MiB");
  CHECK(human_size(~std::uint64_t{0}) == "16 EiB");
  CHECK(human_age(now, now) == "now");
  CHECK(human_age(now + 100, now) == "now");  // a clock that was set back
  CHECK(human_age(now - 60, now) == "1 min ago");
  CHECK(human_age(now - 3600, now) == "1 h ago");
  CHECK(human_age(now - 47 * 3600, now) == "47 h ago");
  CHECK(human_age(now - 48 * 3600, now) == "2 d ago");
}

TEST_CASE("cache text: a table is as wide as it must be, and no wider than the terminal") {
  table t({{"NAME", false, true}, {"SIZE", true}});
  t.add({"a", "1"});
  t.add({"a-name-of-twenty-four-ch", "12345"});
  CHECK(t.text(0) ==
        "NAME                       SIZE\n"
        "a                             1\n"
        "a-name-of-twenty-four-ch  12345\n");
  CHECK(t.text(31) == t.text(0));
  CHECK(t.text(30) ==
        "NAME                      SIZE\n"
        "a                            1\n"
        "a-name-of-twenty-four..  12345\n");
  for (std::size_t const width : {std::size_t{15}, std::size_t{20}, std::size_t{29}}) {
    std::istringstream lines(t.text(width));
    for (std::string line; std::getline(lines, line);) CHECK(line.size() <= width);
  }
  CHECK(has(t.text(1), "a-name..  12345\n"));  // eight are always shown
}

TEST_CASE("cache text: a list") {
  CHECK(text("list", answer({})) == "the cache is empty\n");
  auto const two = answer({object("release-2", key_of("ab"), 500'000'000, 120), object("b", key_of("0c"), 12)});
  CHECK(text("list", two) ==
        "NAME          SIZE   STORED       USED  PINNED  KEY\n"
        "release-2  477 MiB  5 d ago  2 min ago          ab000000\n"
        "b             12 B  5 d ago        now  yes     0c000000\n");
  auto used = object("", key_of("ab"), 1);
  used["in_use"] = true;
  CHECK(text("list", answer({used})) ==
        "NAME  SIZE   STORED    USED  PINNED  KEY\n"
        "-      1 B  5 d ago  in use          ab000000\n");
}

TEST_CASE("cache text: keys are shown as far as they differ") {
  auto const a = answer(
      {object("a", key_of("aaaaaaaaaaaa1"), 1), object("b", key_of("aaaaaaaaaaaa2"), 1), object("c", key_of("b"), 1)});
  CHECK(has(text("list", a), " aaaaaaaaaaaa1\n"));
  CHECK(has(text("list", a), " aaaaaaaaaaaa2\n"));
  CHECK(has(text("list", a), " b000000000000\n"));
}

TEST_CASE("cache text: nothing of an artifact's gets to the terminal as it is") {
  auto const bad = object("\x1b[2J\n\xc3\xa4", key_of("ab"), 1);
  for (std::string const command : {"list", "verify", "pin", "remove"}) {
    std::string const out = text(command, answer({bad}));
    CHECK(has(out, "\\x1b[2J\\x0a\\xc3\\xa4"));
    CHECK(std::count(out.begin(), out.end(), '\n') == (command == "list" || command == "verify" ? 2 : 1));
  }
  CHECK(has(progress_line("\x1b[2J", 1, 2, 60), "\\x1b[2J  ["));
}

TEST_CASE("cache text: what was done") {
  auto one = object("release-2", key_of("ab"), 1024);
  CHECK(text("pin", answer({one})) == "pinned release-2 (ab0000000000, 1.0 KiB)\n");
  CHECK(text("unpin", answer({one})) == "unpinned release-2 (ab0000000000, 1.0 KiB)\n");
  CHECK(text("remove", answer({one, one})) ==
        "removed release-2 (ab0000000000, 1.0 KiB)\nremoved release-2 (ab0000000000, 1.0 KiB)\n");
  boost::json::object const bad{{"key", std::string(64, 'c')}, {"name", ""}, {"size", 0}, {"condemned", true}};
  CHECK(text("remove", answer({bad})) ==
        "removed - (cccccccccccc, 0 B); it was condemned, and is looked at anew\n");
  CHECK(text("export", one) == "exported release-2 (ab0000000000, 1.0 KiB)\n");
  CHECK(text("import", one) == "imported and pinned release-2 (ab0000000000, 1.0 KiB)\n");
  auto there = one;
  there["already"] = true;
  CHECK(text("import", there) == "release-2 (ab0000000000, 1.0 KiB) is in the cache already\n");
  auto good = one;
  good["good"] = true;
  CHECK(text("verify", answer({good, one})) ==
        "good     release-2 (ab0000000000, 1.0 KiB)\n"
        "damaged  release-2 (ab0000000000, 1.0 KiB); removed\n"
        "1 good, 1 damaged\n");
}

TEST_CASE("cache text: statistics, with downloads where a gateway runs") {
  boost::json::object a{{"path", "/c"}, {"bytes", 2048},        {"max_size", 4096}, {"min_free", 1024}, {"objects", 2},
                        {"pinned", 1},  {"pinned_bytes", 1024}, {"imported", 1},    {"in_use", 0},      {"parts", 0}};
  CHECK(text("stats", a) ==
        "directory     /c\n"
        "used          2.0 KiB of 4.0 KiB; 1.0 KiB of the disk stay free\n"
        "objects       2, 1 imported, 0 in use\n"
        "pinned        1, 1.0 KiB\n"
        "unfinished    0, 0 B\n");
  a["hits"] = 7;
  a["upstream_bytes"] = 1024;
  CHECK(
      has(text("stats", a), "\ndownloads     7 from the cache, 0 joined a transfer, 0 began one, 0 past the cache\n"));
  CHECK(has(text("stats", a), "\nfrom upstream 1.0 KiB, 0 B of it again\n"));
}

TEST_CASE("cache text: a line of progress fits, from nothing to all of it") {
  CHECK(progress_line("import a", 512, 1024, 60) == "import a  [###########............]   50 %  512 B of 1.0 KiB");
  for (std::size_t width = 20; width != 120; ++width)
    for (std::uint64_t const done : {0U, 1U, 512U, 1024U, 2048U}) {
      std::string const line = progress_line("import a-rather-long-name-of-an-artifact.mender", done, 1024, width);
      CHECK(line.size() <= width);
      CHECK(!line.empty());
    }
  CHECK(has(progress_line("x", 0, 10, 100), "[" + std::string(40, '.') + "]    0 %"));
  CHECK(has(progress_line("x", 10, 10, 100), "[" + std::string(40, '#') + "]  100 %"));
}

}  // namespace gateway::cache_text_test
