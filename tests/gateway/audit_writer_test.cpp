#include "audit/writer.hpp"

#include "audit_support.hpp"
#include "support/failing_files.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <mutex>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace gateway::audit::audit_writer_test {

namespace {

constexpr std::chrono::milliseconds long_enough = std::chrono::minutes(5);

writer_options options_for(test::place const& p) {
  writer_options o;
  o.files.path = p.log;
  o.files.state_directory = p.state;
  o.files.max_file_size = 2000;
  o.retry = std::chrono::milliseconds(1);
  return o;
}
record numbered(std::uint64_t n) {
  record r("delivery");
  r.add("number", n);
  return r;
}
verification verified(test::place const& p) {
  auto const key = read_key(mgw::cache::posix_file_ops(), key_file(p.state));
  REQUIRE(key);
  return p.verified(*key);
}
/// How many lines say this.
std::size_t count(test::place const& p, std::string_view part) {
  std::size_t n = 0;
  for (auto const& file : p.files())
    for (auto const& line : test::lines_of(test::contents(file))) n += line.find(part) != line.npos ? 1 : 0;
  return n;
}

/// A disk that can be full, and one that can hang.
struct troubled_disk final : mgw::cache::file_ops {
  std::atomic<bool> full{false};
  std::atomic<std::size_t> syncs{0};
  std::shared_future<void> gate;
  std::promise<void> hanging;

  mgw::result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
    if (gate.valid()) {
      hanging.set_value();
      gate.wait();
      gate = {};
    }
    if (full) return std::error_code(ENOSPC, std::generic_category());
    return file_ops::pwrite(fd, bytes, offset);
  }
  std::error_code fdatasync(int fd) override {
    ++syncs;
    return file_ops::fdatasync(fd);
  }
};

/// Lines of the gateway's log.
struct lines_logged {
  std::mutex mutex;
  std::vector<std::string> all;
  mgw::log_sink sink() {
    return [this](mgw::log_level, std::string_view text) {
      std::lock_guard const hold(mutex);
      all.emplace_back(text);
    };
  }
  std::size_t count(std::string_view part) {
    std::lock_guard const hold(mutex);
    std::size_t n = 0;
    for (auto const& l : all) n += l.find(part) != l.npos ? 1 : 0;
    return n;
  }
};

}  // namespace

TEST_CASE("records of several threads are all in the log when it has ended") {
  test::place const p;
  {
    writer w(options_for(p));
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t != 4; ++t)
      threads.emplace_back([&w, t] {
        for (std::uint64_t i = 0; i != 50; ++i) w.put(numbered(t * 50 + i));
      });
    for (auto& t : threads) t.join();
    CHECK(w.stop_for(long_enough));
    CHECK_FALSE(w.failing());
  }
  CHECK(verified(p).good());
  CHECK(count(p, "\"delivery\"") == 200);
}
TEST_CASE("while the disk is full records wait, and what has no room is counted and recorded afterwards") {
  test::place const p;
  troubled_disk disk;
  lines_logged log;
  auto o = options_for(p);
  o.max_waiting = 10;
  o.log = log.sink();
  writer w(o, disk);
  w.put(numbered(0));
  REQUIRE(w.written_within(long_enough));
  disk.full = true;
  w.put(numbered(1));
  CHECK_FALSE(w.written_within(long_enough));
  CHECK(w.failing());
  for (std::uint64_t i = 2; i != 100; ++i) w.put(numbered(i));
  CHECK_FALSE(w.written_within(long_enough));
  disk.full = false;
  while (w.failing()) (void)w.written_within(long_enough);
  CHECK(w.stop_for(long_enough));
  CHECK(verified(p).good());
  CHECK(count(p, "\"missed\"") == 1);
  std::size_t const there = count(p, "\"delivery\"");
  CHECK(there >= 11);
  CHECK(there <= 22);  // those in the writer's hands, and as many again
  CHECK(count(p, "\"records\":" + std::to_string(100 - there)) == 1);
  CHECK(log.count("nothing can be recorded") >= 1);
  CHECK(log.count("written again") >= 1);
}
TEST_CASE("whichever operation of the disk fails, the records are there once when it has got over it") {
  for (bool const all_after : {false, true})
    for (std::size_t n = 0;; ++n) {
      CAPTURE(all_after);
      CAPTURE(n);
      test::place const p;
      mgw::test::failing_files disk;
      disk.fail_at(n, EIO, all_after);
      bool through = false;
      {
        writer w(options_for(p), disk);
        for (std::uint64_t i = 0; i != 12; ++i) w.put(numbered(i));
        (void)w.written_within(long_enough);
        through = disk.seen() <= n;
        disk.heal();
        while (w.failing()) (void)w.written_within(long_enough);
        CHECK(w.stop_for(long_enough));
      }
      CHECK(verified(p).good());
      for (std::uint64_t i = 0; i != 12; ++i) CHECK(count(p, "\"number\":" + std::to_string(i) + ",") == 1);
      if (through) break;
    }
}
TEST_CASE("the head is logged at the beginning, now and then, and at the end, where it is that of the last line") {
  test::place const p;
  lines_logged log;
  auto o = options_for(p);
  std::promise<void> third;
  std::atomic<int> heads = 0;
  o.head_every = std::chrono::milliseconds(1);
  o.log = [&, sink = log.sink()](mgw::log_level level, std::string_view text) {
    sink(level, text);
    if (text.starts_with("audit: head ") && ++heads == 3) third.set_value();
  };
  {
    writer w(o);
    w.put(numbered(0));
    third.get_future().wait();
    w.put(numbered(1));
    CHECK(w.stop_for(long_enough));
  }
  auto const found = verified(p);
  CHECK(found.good());
  std::string const last =
      "seq=" + std::to_string(found.head.seq) + " mac=" + found.head.mac + " (the last of this run)";
  CHECK(log.count(last) == 1);
  auto const noted = read_head(mgw::cache::posix_file_ops(), head_file(p.state));
  REQUIRE(noted);
  REQUIRE(*noted);
  CHECK(**noted == found.head);
}
TEST_CASE("what is to be durable at once is flushed before more is written, and what need not be is not") {
  using sync = writer_options::sync;
  for (auto const when : {sync::always, sync::never}) {
    test::place const p;
    troubled_disk disk;
    auto o = options_for(p);
    o.files.max_file_size = 1U << 20U;
    o.when = when;
    writer w(o, disk);
    REQUIRE(w.written_within(long_enough));
    std::size_t const before = disk.syncs;
    for (std::uint64_t i = 0; i != 5; ++i) {
      w.put(numbered(i));
      REQUIRE(w.written_within(long_enough));
    }
    CHECK(disk.syncs - before == (when == sync::always ? 5 : 0));
    CHECK(w.stop_for(long_enough));
  }
}
TEST_CASE("a disk that hangs stops neither who records nor who ends the gateway") {
  test::place const p;
  troubled_disk disk;
  std::promise<void> release;
  disk.gate = release.get_future().share();
  {
    auto o = options_for(p);
    o.max_waiting = 3;
    // The key is there already: what hangs is the log.
    REQUIRE(key_or_new(mgw::cache::posix_file_ops(), key_file(p.state)));
    writer w(o, disk);
    disk.hanging.get_future().wait();
    for (std::uint64_t i = 0; i != 100; ++i) w.put(numbered(i));
    CHECK(w.failing());
    CHECK_FALSE(w.stop_for(std::chrono::milliseconds(1)));
    release.set_value();
    CHECK(w.stop_for(long_enough));
  }
  CHECK(verified(p).good());
  CHECK(count(p, "\"delivery\"") == 3);
}

}  // namespace gateway::audit::audit_writer_test
