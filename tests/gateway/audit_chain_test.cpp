#include "audit/reader.hpp"

#include "audit_support.hpp"
#include "support/failing_files.hpp"

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace gateway::audit::audit_chain_test {

namespace {

/// Where the chain of a log breaks whose file `which` (from 0) has these lines instead.
std::pair<std::string, std::uint64_t> break_with(test::place const& p, std::size_t which,
                                                 std::vector<std::string> const& lines) {
  std::string const file = p.files().at(which), before = test::contents(file);
  test::put(file, test::joined(lines));
  auto const found = p.verified();
  test::put(file, before);
  if (!found.broken) return {"", 0};
  return {found.broken->file, found.broken->line};
}

}  // namespace

TEST_CASE("a log that nobody touched is good, over all its files") {
  test::place const p;
  test::write_three_files(p);
  auto const found = p.verified();
  CHECK(found.good());
  CHECK(found.lines == 9);
  CHECK(found.files == 3);
  CHECK(found.head.seq == 9);
  CHECK(found.remarks.empty());
}
TEST_CASE("any byte of a line that is changed is found, and the line is named") {
  test::place const p;
  test::write_three_files(p);
  std::string const file = p.files()[1], good = test::contents(file);
  std::uint64_t line = 1;
  for (std::size_t at = 0; at != good.size(); ++at) {
    CAPTURE(at);
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    test::put(file, bad);
    auto const found = p.verified();
    REQUIRE(found.broken);
    CHECK(found.broken->file == file);
    CHECK(found.broken->line == line);
    if (good[at] == '\n') ++line;
  }
  test::put(file, good);
  CHECK(p.verified().good());
}
TEST_CASE("a line that was removed, inserted or moved is found, and the first one that is wrong is named") {
  test::place const p;
  test::write_three_files(p);
  auto const files = p.files();
  for (std::size_t which = 0; which != 3; ++which) {
    CAPTURE(which);
    auto const lines = test::lines_of(test::contents(files[which]));
    REQUIRE(lines.size() == 3);
    auto const &a = lines[0], &b = lines[1], &c = lines[2];
    using where = std::pair<std::string, std::uint64_t>;
    CHECK(break_with(p, which, {b, c}) == where(files[which], 1));
    CHECK(break_with(p, which, {a, c}) == where(files[which], 2));
    CHECK(break_with(p, which, {a, c, b}) == where(files[which], 2));
    CHECK(break_with(p, which, {b, a, c}) == where(files[which], 1));
    CHECK(break_with(p, which, {a, b, b, c}) == where(files[which], 3));
    CHECK(break_with(p, which, {a, "\n", b, c}) == where(files[which], 2));
    CHECK(break_with(p, which, {a, "{\"seq\":2}\n", b, c}) == where(files[which], 2));
    // The last lines of all are missed by nobody but by who knows that they were there.
    if (which != 2) CHECK(break_with(p, which, {a, b}) == where(files[which + 1], 1));
    if (which == 2) CHECK(break_with(p, which, {a, b}) == where("", 0));
  }
}
TEST_CASE("a line that was made with another key is no line of the log") {
  test::place const p;
  test::write_three_files(p);
  auto other = test::test_key();
  other.secret[0] = 'x';
  auto const found = p.verified(other);
  REQUIRE(found.broken);
  CHECK(found.broken->line == 1);
}
TEST_CASE("a file that was removed or exchanged is found at the next line there is") {
  test::place const p;
  test::write_three_files(p);
  auto const files = p.files();
  std::string const first = test::contents(files[0]), second = test::contents(files[1]);
  std::filesystem::remove(files[1]);
  auto found = p.verified();
  REQUIRE(found.broken);
  CHECK(found.broken->file == files[2]);
  CHECK(found.broken->line == 1);
  CHECK(found.broken->what.find("and 4 is missing") != std::string::npos);
  test::put(files[1], first);
  test::put(files[0], second);
  found = p.verified();
  REQUIRE(found.broken);
  CHECK(found.broken->file == files[0]);
  CHECK(found.broken->line == 1);
}
TEST_CASE("who has moved the oldest files away verifies the others, and only if he says so") {
  test::place const p;
  test::write_three_files(p);
  std::filesystem::remove(p.files()[0]);
  CHECK(p.verified().broken);
  verify_options archived;
  archived.archived = true;
  auto const found = p.verified(test::test_key(), archived);
  CHECK(found.good());
  CHECK(found.lines == 6);
  CHECK(found.head.seq == 9);
}
TEST_CASE("the newest lines, or files, that were removed are missed by who has a head that was logged") {
  test::place const p;
  test::write_three_files(p);
  verify_options heads;
  heads.must_have.push_back(p.verified().head);
  CHECK(p.verified(test::test_key(), heads).good());
  std::filesystem::remove(p.files()[2]);
  auto const found = p.verified(test::test_key(), heads);
  CHECK_FALSE(found.good());
  CHECK_FALSE(found.broken);
  CHECK(found.head.seq == 6);
}
TEST_CASE("a log that was made anew from some line on has another head than was logged") {
  test::place const p;
  test::write_three_files(p);
  verify_options heads;
  heads.must_have.push_back({8, std::string(64, '0')});
  auto const found = p.verified(test::test_key(), heads);
  REQUIRE(found.broken);
  CHECK(found.broken->line == 2);
}
TEST_CASE("a torn last line is remarked, wherever it is torn; in a file that is full it is a break") {
  test::place const p;
  test::write_three_files(p);
  auto const files = p.files();
  std::string const newest = test::contents(files[2]), full = test::contents(files[1]);
  auto const lines = test::lines_of(newest);
  std::size_t const last = newest.size() - lines[2].size();
  for (std::size_t size = last + 1; size != newest.size(); ++size) {
    CAPTURE(size);
    test::put(files[2], newest.substr(0, size));
    auto const found = p.verified();
    CHECK(found.good());
    CHECK(found.head.seq == 8);
    REQUIRE(found.remarks.size() == 1);
    CHECK(found.remarks[0].line == 3);
  }
  test::put(files[2], newest);
  test::put(files[1], full.substr(0, full.size() - 1));
  auto const found = p.verified();
  REQUIRE(found.broken);
  CHECK(found.broken->file == files[1]);
  CHECK(found.broken->line == 3);
}
TEST_CASE("a line without end breaks a log, and takes no memory for it") {
  test::place const p;
  test::write_three_files(p);
  test::put(p.files()[1], std::string(4 * max_line, 'x'));
  auto const found = p.verified();
  REQUIRE(found.broken);
  CHECK(found.broken->line == 1);
}
TEST_CASE("texts from outside stay one line of valid JSON, of bounded length") {
  chain c(test::test_key(), test::test_key().start());
  record r("delivery");
  r.add("device", "a\n\"b\\\x01\xff").add("name", std::string(10'000, 'n')).add("nothing", "");
  for (int i = 0; i != 200; ++i) r.add("more" + std::to_string(i), std::string(512, 'm'));
  std::string line = c.seal(r.body());
  CHECK(line.find('\n') == line.size() - 1);
  CHECK(line.size() <= max_line);
  CHECK(parse_line(line.substr(0, line.size() - 1)));
  record small("delivery");
  small.add("device", "a\n\"b\\\x01\xff").add("name", std::string(10'000, 'n')).add("nothing", "");
  line = c.seal(small.body());
  auto const fields = parse_line(line);
  REQUIRE(fields);
  CHECK(text_in(*fields, "name").size() == max_text + 3);
  CHECK_FALSE(fields->contains("nothing"));
  CHECK(line.find('\n') == line.size() - 1);
}
TEST_CASE("a time is shown in UTC, with milliseconds") {
  CHECK(show_time(time_point(std::chrono::milliseconds(1'798'000'000'007))) == "2026-12-23T04:26:40.007Z");
}
TEST_CASE("the key is made once, for its owner alone, and a damaged one is not replaced") {
  test::place const p;
  auto& disk = mgw::cache::posix_file_ops();
  auto const first = key_or_new(disk, key_file(p.state)), again = key_or_new(disk, key_file(p.state));
  REQUIRE(first);
  REQUIRE(again);
  CHECK(first->secret == again->secret);
  CHECK(first->genesis == again->genesis);
  struct stat s{};
  REQUIRE(::stat(key_file(p.state).c_str(), &s) == 0);
  CHECK((s.st_mode & 0777) == 0600);
  std::string const text = test::contents(key_file(p.state));
  for (std::size_t size = 0; size + 2 < text.size(); ++size) {
    CAPTURE(size);
    test::put(key_file(p.state), text.substr(0, size));
    auto const damaged = key_or_new(disk, key_file(p.state));
    CHECK(damaged.error() == std::errc::bad_message);
  }
}
TEST_CASE("a key is whole or not there, whichever operation of the disk fails while it is made") {
  for (std::size_t n = 0;; ++n) {
    CAPTURE(n);
    test::place const p;
    mgw::test::failing_files disk;
    disk.fail_at(n, ENOSPC, true);
    auto const key = key_or_new(disk, key_file(p.state));
    bool const through = disk.seen() <= n;
    CHECK(static_cast<bool>(key) == through);
    disk.heal();
    CHECK(key_or_new(disk, key_file(p.state)));
    if (through) break;
  }
}
TEST_CASE("what cannot be read of a log is an error, whichever operation fails") {
  test::place const p;
  test::write_three_files(p);
  mgw::test::failing_files disk;
  for (std::size_t n = 0;; ++n) {
    CAPTURE(n);
    disk.fail_at(n, EIO, true);
    auto const found = verify(disk, p.log, test::test_key());
    if (disk.seen() <= n) {
      REQUIRE(found);
      CHECK(found->good());
      break;
    }
    CHECK_FALSE(found);
  }
}

}  // namespace gateway::audit::audit_chain_test
