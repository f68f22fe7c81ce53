#include <mgw/cache/ledger.hpp>

#include <cache/disk_support.hpp>
#include <cache/recording_files.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::cache::ledger_test {
namespace {

using test::faulty_ops;
using test::power_cut;
using test::recording_files;
using test::temporary_directory;
using test::test_key;

link_id link(unsigned n) {
  link_id id;
  id.bytes[0] = static_cast<unsigned char>(n);
  id.bytes[1] = static_cast<unsigned char>(n >> 8);
  return id;
}
ledger_options at(temporary_directory const& dir) {
  ledger_options o;
  o.path = (dir.path() / "ledger").string();
  return o;
}
std::string read(temporary_directory const& dir) {
  std::ifstream in(dir.path() / "ledger", std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}
void write(temporary_directory const& dir, std::string const& text) {
  std::ofstream(dir.path() / "ledger", std::ios::binary) << text;
}
constexpr std::int64_t late = 4'000'000'000;

}  // namespace

TEST_CASE("the generation of a response is its strong ETag, else its date and length") {
  auto const one = generation_of("\"a\"", "", 5);
  CHECK(one != 0);
  CHECK(generation_of("\"a\"", "Tue, 15 Nov 1994 12:45:26 GMT", 6) == one);
  CHECK(generation_of("\"b\"", "", 5) != one);
  auto const dated = generation_of("W/\"a\"", "Tue, 15 Nov 1994 12:45:26 GMT", 5);
  CHECK(dated != 0);
  CHECK(generation_of("", "Tue, 15 Nov 1994 12:45:26 GMT", 5) == dated);
  CHECK(generation_of("", "Tue, 15 Nov 1994 12:45:26 GMT", 6) != dated);
  CHECK(generation_of("", "Tue, 15 Nov 1994 12:45:26 GMT", std::nullopt) != dated);
  CHECK(generation_of("", "", 5) == 0);
  CHECK(generation_of("W/\"a\"", "", 5) == 0);
}

TEST_CASE("what a link was begun with, and that an object was replaced, outlive a restart") {
  temporary_directory const dir;
  faulty_ops ops;
  {
    ledger l(at(dir), {}, ops);
    CHECK_FALSE(l.begun_with(link(1)));
    l.begin(link(1), 7, late);
    l.begin(link(2), 8, late);
    CHECK_FALSE(l.flush());
    l.begin(link(1), 9, late);  // begun anew
    CHECK_FALSE(l.saw(test_key(1), 7));
    CHECK(l.replaced_at(test_key(1)) == 0);
    ops.time += 5;
    CHECK(l.saw(test_key(1), 9));
    CHECK(l.replaced_at(test_key(1)) == ops.time);
    CHECK_FALSE(l.saw(test_key(1), 9));
    CHECK_FALSE(l.flush());
  }
  ledger const l(at(dir), {}, ops);
  CHECK(l.begun_with(link(1)) == 9);
  CHECK(l.begun_with(link(2)) == 8);
  CHECK_FALSE(l.begun_with(link(3)));
  CHECK(l.replaced_at(test_key(1)) == ops.time);
  CHECK(l.replaced_at(test_key(2)) == 0);
}

TEST_CASE("what was found to be bad counts for the same judge only, and until it is pardoned") {
  temporary_directory const dir;
  ledger_options o = at(dir);
  o.judge = 77;
  {
    ledger l(o);
    CHECK(l.condemned().empty());
    l.condemn(test_key(1), 7);
    l.condemn(test_key(2), 77);  // the judge's own number
    CHECK_FALSE(l.flush());
  }
  {
    ledger const l(o);
    CHECK(l.is_condemned(test_key(1), 7));
    CHECK(l.is_condemned(test_key(2), 77));
    CHECK_FALSE(l.is_condemned(test_key(1), 8));
    CHECK_FALSE(l.is_condemned(test_key(1), 0));
    CHECK_FALSE(l.is_condemned(test_key(2), 7));
  }
  for (std::uint64_t const other : {std::uint64_t{0}, std::uint64_t{78}}) {
    CAPTURE(other);
    ledger_options p = o;
    p.judge = other;
    ledger const l(p);
    CHECK_FALSE(l.is_condemned(test_key(1), 7));
    CHECK_FALSE(l.is_condemned(test_key(2), 77));
    CHECK(l.condemned().size() == 2);
  }
  {
    ledger_options p = o;
    p.judge = 0;
    ledger l(p);  // whoever judged
    CHECK(l.pardon(test_key(1)));
    CHECK_FALSE(l.pardon(test_key(1)));
    CHECK_FALSE(l.pardon(test_key(3)));
    CHECK_FALSE(l.flush());
  }
  ledger const l(o);
  CHECK_FALSE(l.is_condemned(test_key(1), 7));
  CHECK(l.is_condemned(test_key(2), 77));
  CHECK(l.condemned() == std::vector{test_key(2)});
}

TEST_CASE("what has ended is forgotten at the next start") {
  temporary_directory const dir;
  faulty_ops ops;
  {
    ledger l(at(dir), {}, ops);
    l.begin(link(1), 7, ops.time + 10);
    l.begin(link(2), 7, ops.time + 20);
    CHECK_FALSE(l.flush());
  }
  ops.time += 15;
  ledger const l(at(dir), {}, ops);
  CHECK_FALSE(l.begun_with(link(1)));
  CHECK(l.begun_with(link(2)) == 7);
}

TEST_CASE("a link that was begun before the clock was set has not ended when it is") {
  temporary_directory const dir;
  faulty_ops ops;
  std::int64_t const now = std::exchange(ops.time, 100);
  {
    ledger l(at(dir), {}, ops);
    l.begin(link(1), 7, ops.time + 7 * 86'400);
    CHECK_FALSE(l.flush());
  }
  ops.time = now;
  ledger const l(at(dir), {}, ops);
  CHECK(l.begun_with(link(1)) == 7);
}

TEST_CASE("wherever a crash tears the ledger, what is before the tear counts, and it goes on") {
  temporary_directory const dir;
  {
    ledger l(at(dir));
    l.begin(link(1), 1, late);
    l.saw(test_key(1), 2);
    l.begin(link(2), 3, late);
    CHECK_FALSE(l.flush());
  }
  std::string const whole = read(dir);
  std::size_t const first = ledger_header.size();
  REQUIRE(whole.size() == first + 2 * ledger_link_size + ledger_object_size);
  for (std::size_t n = 0; n <= whole.size(); ++n) {
    CAPTURE(n);
    for (bool const garbled : {false, true}) {
      std::string torn = whole.substr(0, n);
      if (garbled) torn += std::string(100, '\0');
      write(dir, torn);
      {
        ledger l(at(dir));
        std::size_t const links = (l.begun_with(link(1)) == 1) + (l.begun_with(link(2)) == 3);
        ledger_contents found;
        bool const readable = !read_ledger(torn, found);
        CHECK(readable == (n >= first));
        CHECK(links == found.links.size());
        l.begin(link(9), 9, late);
        CHECK_FALSE(l.flush());
      }
      ledger const again(at(dir));
      CHECK(again.begun_with(link(9)) == 9);
    }
  }
}

TEST_CASE("a ledger of a newer release is left alone, and this one goes on in memory") {
  temporary_directory const dir;
  write(dir, "mgw-ledger 2\nwhatever");
  std::string logged;
  ledger l(at(dir), [&logged](log_level, std::string_view line) { logged += line; });
  l.begin(link(1), 1, late);
  CHECK_FALSE(l.flush());
  CHECK(l.begun_with(link(1)) == 1);
  CHECK(read(dir) == "mgw-ledger 2\nwhatever");
  CHECK(logged.find("newer release") != std::string::npos);
}

TEST_CASE("whichever operation of a ledger fails, it knows all of it, and the next flush writes it") {
  for (std::size_t n = 0;; ++n) {
    CAPTURE(n);
    temporary_directory const dir;
    faulty_ops ops;
    bool failed = false;
    {
      ledger l(at(dir), {}, ops);
      l.begin(link(1), 1, late);
      CHECK_FALSE(l.flush());
      ops.fail_at = ops.seen + n;
      l.begin(link(2), 2, late);
      failed = static_cast<bool>(l.flush());
      l.begin(link(3), 3, late);
      failed = static_cast<bool>(l.flush()) || failed;
      ops.fail_at = faulty_ops::never;
      CHECK(l.begun_with(link(2)) == 2);
      l.begin(link(4), 4, late);
      CHECK_FALSE(l.flush());
    }
    ledger const l(at(dir), {}, ops);
    for (unsigned i = 1; i <= 4; ++i) CHECK(l.begun_with(link(i)) == i);
    if (!failed) break;
    REQUIRE(n < 50);
  }
}

TEST_CASE("who is second to begin a link waits for the pin, too, and what could not be written is written by the next flush") {
  temporary_directory const dir;
  faulty_ops ops;
  auto o = at(dir);
  o.retry_after = std::chrono::milliseconds(0);
  ledger l(o, {}, ops);
  CHECK(l.begin(link(1), 1, late));
  CHECK(l.begin(link(1), 1, late));
  CHECK_FALSE(l.flush());
  CHECK_FALSE(l.begin(link(1), 1, late));
  CHECK(l.begin(link(2), 2, late));
  ops.fail_at = ops.seen;
  ops.from_then_on = true;
  CHECK(l.flush());
  CHECK(l.flush());  // it does not say that it is written
  CHECK(l.begin(link(2), 2, late));
  CHECK_FALSE(l.begin(link(1), 1, late));
  ops.fail_at = faulty_ops::never;
  ops.from_then_on = false;
  CHECK_FALSE(l.flush());
  CHECK_FALSE(l.begin(link(2), 2, late));
  CHECK(ledger(at(dir)).begun_with(link(2)) == 2);
}

TEST_CASE("a disk that takes nothing is not tried for every request") {
  temporary_directory const dir;
  faulty_ops ops;
  auto o = at(dir);
  o.retry_after = std::chrono::hours(1);
  ledger l(o, {}, ops);
  l.begin(link(1), 1, late);
  ops.fail_at = ops.seen;
  ops.from_then_on = true;
  CHECK(l.flush());
  std::size_t const tried = ops.seen;
  CHECK(l.flush());
  CHECK(ops.seen == tried);
  l.begin(link(2), 1, late);
  CHECK(l.flush());
  CHECK(ops.seen > tried);
}

TEST_CASE("power cut: behind a flush of the ledger all is there that was told before it") {
  recording_files disk;
  ledger_options o;
  o.path = "/ledger";
  std::vector<std::size_t> flushed;  // operations after each flush
  for (unsigned life = 0; life < 2; ++life) {
    ledger l(o, {}, disk);
    for (unsigned i = 0; i < 3; ++i) {
      auto const n = static_cast<unsigned>(flushed.size());
      l.begin(link(n), n + 1, late);
      l.saw(test_key(1), n + 1);
      REQUIRE_FALSE(l.flush());
      flushed.push_back(disk.operations());
    }
    auto const torn = disk.open(o.path, O_WRONLY);  // so that the next life writes it anew
    REQUIRE(torn);
    REQUIRE(disk.pwrite((*torn)->fd(), "torn", *disk.size((*torn)->fd())));
  }
  using cut = power_cut;
  std::mt19937 random(1);
  for (std::size_t at = flushed.front(); at <= disk.operations(); ++at) {
    CAPTURE(at);
    for (auto const name : {cut::names::all, cut::names::forced, cut::names::in_order, cut::names::by_directory, cut::names::any}) {
      for (auto const data : {cut::bytes::all, cut::bytes::lost, cut::bytes::zeros, cut::bytes::any}) {
        cut how;
        how.name = name;
        how.data = data;
        recording_files left = disk.after(at, how, random);
        ledger const l(o, {}, left);
        for (unsigned n = 0; n < flushed.size() && flushed[n] <= at; ++n) {
          CAPTURE(n);
          CHECK(l.begun_with(link(n)) == n + 1);
          if (n > 0) CHECK(l.replaced_at(test_key(1)) != 0);
        }
      }
    }
  }
}

TEST_CASE("a ledger that was deleted under its owner is made again, whole") {
  temporary_directory const dir;
  {
    ledger l(at(dir));
    l.begin(link(1), 1, late);
    CHECK_FALSE(l.flush());
    std::filesystem::remove(dir.path() / "ledger");
    l.begin(link(2), 2, late);
    CHECK_FALSE(l.flush());
  }
  ledger const l(at(dir));
  CHECK(l.begun_with(link(1)) == 1);
  CHECK(l.begun_with(link(2)) == 2);
}

TEST_CASE("a ledger is bounded: what ends first is forgotten first, and the file is written anew in time") {
  temporary_directory const dir;
  ledger_options o = at(dir);
  o.max_links = 100;
  o.max_objects = 1;
  ledger l(o);
  for (unsigned round = 0; round < 300; ++round) {
    for (unsigned i = 0; i < 150; ++i) l.begin(link(i), round, late + i);
    l.saw(test_key(1), 1);
    l.saw(test_key(2), round);
    CHECK_FALSE(l.flush());
  }
  CHECK(l.begun_with(link(149)) == 299);
  CHECK_FALSE(l.begun_with(link(0)));
  CHECK(read(dir).size() < (std::size_t{2} << 20));
  ledger const again(o);
  CHECK(again.begun_with(link(149)) == 299);
}

TEST_CASE("many threads begin and flush: each finds its own in the file") {
  temporary_directory const dir;
  {
    ledger l(at(dir));
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t)
      threads.emplace_back([&l, t] {
        for (unsigned i = 0; i < 50; ++i) {
          l.begin(link(t * 50 + i), t, late);
          if (l.flush() || l.begun_with(link(t * 50 + i)) != t) return;
        }
      });
    for (auto& t : threads) t.join();
  }
  ledger const l(at(dir));
  for (unsigned i = 0; i < 200; ++i) CHECK(l.begun_with(link(i)) == i / 50);
}

TEST_CASE("what nobody can write for long is kept within bounds, and nothing of it is lost") {
  temporary_directory const dir;
  {
    ledger l(at(dir));
    l.begin(link(2), 8, late);
    for (std::uint64_t i = 0; i <= 100'000; ++i) l.begin(link(1), i, late);
    CHECK_FALSE(l.flush());
    CHECK(read(dir).size() < std::size_t{2} << 20);
  }
  ledger const l(at(dir));
  CHECK(l.begun_with(link(1)) == 100'000);
  CHECK(l.begun_with(link(2)) == 8);
}

}  // namespace mgw::cache::ledger_test
