#include "audit/appender.hpp"

#include "audit_support.hpp"
#include "support/failing_files.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace gateway::audit::audit_appender_test {

namespace {

appender_options options_for(test::place const& p, std::uint64_t max_file_size = std::uint64_t{1} << 20U) {
  appender_options o;
  o.path = p.log;
  o.state_directory = p.state;
  o.max_file_size = max_file_size;
  return o;
}
std::deque<record> numbered(std::uint64_t from, std::uint64_t to) {
  std::deque<record> out;
  for (std::uint64_t i = from; i != to; ++i) {
    record r("delivery");
    r.add("number", i);
    out.push_back(std::move(r));
  }
  return out;
}
chain_key key_of(test::place const& p) {
  auto const key = key_or_new(mgw::cache::posix_file_ops(), key_file(p.state));
  REQUIRE(key);
  return *key;
}
/// What was found, with the head that was noted.
verification verified(test::place const& p) {
  verify_options o;
  auto const head = read_head(mgw::cache::posix_file_ops(), head_file(p.state));
  REQUIRE(head);
  if (*head) o.must_have.push_back(**head);
  return p.verified(key_of(p), o);
}
/// The fields of all lines.
std::vector<boost::json::object> all_fields(test::place const& p) {
  std::vector<boost::json::object> out;
  for (auto const& file : p.files())
    for (auto line : test::lines_of(test::contents(file))) {
      line.pop_back();
      auto fields = parse_line(line);
      REQUIRE(fields);
      out.push_back(*std::move(fields));
    }
  return out;
}
std::vector<std::string> events(test::place const& p) {
  std::vector<std::string> out;
  for (auto const& f : all_fields(p)) out.push_back(text_in(f, "event"));
  return out;
}
/// The numbers of the deliveries, in order.
std::vector<std::int64_t> numbers(test::place const& p) {
  std::vector<std::int64_t> out;
  for (auto const& f : all_fields(p))
    if (text_in(f, "event") == "delivery") out.push_back(number_in(f, "number"));
  return out;
}
std::vector<std::int64_t> count_to(std::int64_t n) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i != n; ++i) out.push_back(i);
  return out;
}
using names = std::vector<std::string>;

}  // namespace

TEST_CASE("what is appended is one chain, also over several runs") {
  test::place const p;
  for (std::uint64_t run = 0; run != 3; ++run) {
    appender a(options_for(p));
    auto records = numbered(run * 2, run * 2 + 2);
    REQUIRE_FALSE(a.append(records));
    CHECK(records.empty());
    REQUIRE_FALSE(a.sync_and_note());
  }
  auto const found = verified(p);
  CHECK(found.good());
  CHECK(found.lines == 7);
  CHECK(numbers(p) == count_to(6));
  CHECK(events(p) == names{"file", "delivery", "delivery", "delivery", "delivery", "delivery", "delivery"});
}
TEST_CASE("a full file gets a number, and the chain goes on in the next one, at any size") {
  for (std::uint64_t const size : {1U, 300U, 1000U, 5000U}) {
    CAPTURE(size);
    test::place const p;
    for (std::uint64_t run = 0; run != 2; ++run) {
      appender a(options_for(p, size));
      auto records = numbered(run * 20, run * 20 + 20);
      REQUIRE_FALSE(a.append(records));
    }
    auto const files = p.files();
    CHECK(files.size() > 1);
    CHECK(files.front() == p.log + ".000001");
    CHECK(files.back() == p.log);
    for (std::size_t i = 0; i + 1 != files.size(); ++i) {
      CHECK(std::filesystem::file_size(files[i]) >= size);
      CHECK(std::filesystem::file_size(files[i]) < size + 700);
    }
    auto const found = verified(p);
    CHECK(found.good());
    CHECK(numbers(p) == count_to(40));
  }
}
TEST_CASE("a torn last line is cut and recorded at the next start, wherever it is torn") {
  test::place const whole;
  {
    appender a(options_for(whole));
    auto records = numbered(0, 3);
    REQUIRE_FALSE(a.append(records));
  }
  std::string const text = test::contents(whole.log), key = test::contents(key_file(whole.state));
  std::size_t good = 0;  // bytes and lines of it that are whole
  std::int64_t lines = 0;
  for (std::size_t size = 0; size <= text.size(); ++size) {
    CAPTURE(size);
    if (size != 0 && text[size - 1] == '\n') good = size, ++lines;
    test::place const p;
    test::put(key_file(p.state), key);
    test::put(p.log, text.substr(0, size));
    appender a(options_for(p));
    auto records = numbered(100, 101);
    REQUIRE_FALSE(a.append(records));
    auto const found = verified(p);
    REQUIRE(found.good());
    CHECK(test::contents(p.log).substr(0, good) == text.substr(0, good));
    auto const fields = all_fields(p);
    bool const torn = good != size;
    bool const begun = lines == 0;
    REQUIRE(fields.size() == static_cast<std::size_t>(lines) + 1 + (torn ? 1 : 0) + (begun ? 1 : 0));
    CHECK(number_in(fields.back(), "number") == 100);
    if (torn) {
      auto const& cut = fields[fields.size() - 2];
      CHECK(text_in(cut, "event") == "cut");
      CHECK(number_in(cut, "bytes") == static_cast<std::int64_t>(size - good));
      REQUIRE(found.remarks.size() == 1);
    }
  }
}
TEST_CASE("a start finds that lines or files are gone which were there when the head was noted, and records it") {
  for (bool const whole_file : {false, true}) {
    CAPTURE(whole_file);
    test::place const p;
    {
      appender a(options_for(p, 500));
      auto records = numbered(0, 7);
      REQUIRE_FALSE(a.append(records));
      REQUIRE_FALSE(a.sync_and_note());
    }
    CHECK(verified(p).good());
    auto const files = p.files();
    REQUIRE(files.size() > 2);
    REQUIRE(std::filesystem::file_size(files.back()) != 0);
    std::filesystem::remove(files.back());
    if (whole_file)
      std::filesystem::remove(files[files.size() - 2]);
    else
      test::put(p.log, "");
    CHECK_FALSE(verified(p).good());
    appender a(options_for(p, 500));
    auto records = numbered(100, 101);
    REQUIRE_FALSE(a.append(records));
    REQUIRE_FALSE(a.sync_and_note());
    auto const found = verified(p);
    CHECK_FALSE(found.good());
    CHECK_FALSE(found.broken);
    CHECK(found.lost);
    auto const seen = events(p);
    CHECK(std::count(seen.begin(), seen.end(), "lost") == 1);
  }
}
TEST_CASE("a log whose last line is none of ours is not written to, and goes on when it was moved away") {
  test::place const p;
  test::put(p.log, "somebody else's\n");
  appender a(options_for(p));
  auto records = numbered(0, 1);
  CHECK(a.append(records) == std::errc::bad_message);
  CHECK(records.size() == 1);
  CHECK(test::contents(p.log) == "somebody else's\n");
  std::filesystem::remove(p.log);
  CHECK_FALSE(a.append(records));
  CHECK(verified(p).good());
}
TEST_CASE("two gateways do not write one log, and the second one goes on when the first one has ended") {
  test::place const p;
  auto first = std::make_unique<appender>(options_for(p));
  appender second(options_for(p));
  auto records = numbered(0, 1), more = numbered(1, 2);
  REQUIRE_FALSE(first->append(records));
  CHECK(second.append(more));
  REQUIRE_FALSE(first->sync_and_note());
  first.reset();
  CHECK_FALSE(second.append(more));
  CHECK(verified(p).good());
  CHECK(numbers(p) == count_to(2));
}
TEST_CASE("whichever operation of the disk fails, each record is written once, and the chain is whole") {
  for (bool const all_after : {false, true})
    for (std::size_t n = 0;; ++n) {
      CAPTURE(all_after);
      CAPTURE(n);
      test::place const p;
      mgw::test::failing_files disk;
      appender a(options_for(p, 700), disk);
      disk.fail_at(n, ENOSPC, all_after);
      std::deque<record> records;
      bool failed = false;
      for (std::uint64_t i = 0; i != 8; i += 2) {
        for (auto& r : numbered(i, i + 2)) records.push_back(std::move(r));
        failed = static_cast<bool>(a.append(records)) || failed;
        failed = static_cast<bool>(a.sync_and_note()) || failed;
      }
      bool const through = disk.seen() <= n;
      CHECK(failed == !through);
      disk.heal();
      REQUIRE_FALSE(a.append(records));
      REQUIRE_FALSE(a.sync_and_note());
      CHECK(records.empty());
      auto const found = verified(p);
      CHECK(found.good());
      CHECK(found.remarks.empty());
      CHECK(numbers(p) == count_to(8));
      if (through) break;
    }
}
TEST_CASE("what a full disk left of a line is cut before the line is written again") {
  /// Takes so many bytes in all, as a disk that gets full.
  struct small_disk final : mgw::cache::file_ops {
    std::size_t room = 0;
    mgw::result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
      if (room == 0) return std::error_code(ENOSPC, std::generic_category());
      auto const n = file_ops::pwrite(fd, bytes.substr(0, room), offset);
      if (n) room -= *n;
      return n;
    }
  };
  std::size_t needed = 0;
  for (std::size_t room = 0; needed == 0; room += 7) {
    CAPTURE(room);
    test::place const p;
    REQUIRE(key_or_new(mgw::cache::posix_file_ops(), key_file(p.state)));
    small_disk disk;
    disk.room = room;
    appender a(options_for(p), disk);
    auto records = numbered(0, 5);
    auto const ec = a.append(records);
    if (!ec) needed = room;
    disk.room = 1U << 20U;
    REQUIRE_FALSE(a.append(records));
    auto const found = verified(p);
    CHECK(found.good());
    CHECK(found.remarks.empty());
    CHECK(numbers(p) == count_to(5));
  }
}
TEST_CASE("that the disk may have lost what it said it has is recorded") {
  struct forgetful_disk final : mgw::cache::file_ops {
    bool fails = false;
    std::error_code fdatasync(int fd) override {
      return fails ? std::error_code(EIO, std::generic_category()) : file_ops::fdatasync(fd);
    }
  };
  test::place const p;
  forgetful_disk disk;
  appender a(options_for(p), disk);
  auto records = numbered(0, 1);
  REQUIRE_FALSE(a.append(records));
  disk.fails = true;
  CHECK(a.sync());
  CHECK(a.sync());
  disk.fails = false;
  CHECK_FALSE(a.append(records));
  CHECK_FALSE(a.sync());
  CHECK(events(p) == names{"file", "delivery", "sync_failed"});
  CHECK(verified(p).good());
}

}  // namespace gateway::audit::audit_appender_test
