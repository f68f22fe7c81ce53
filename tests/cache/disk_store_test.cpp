#include <mgw/cache/disk_store.hpp>

#include "disk_support.hpp"

#include <cache/store_conformance.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

TEST_CASE_TEMPLATE_INVOKE(cache_store_conformance, mgw::test::disk_rig);
TEST_CASE_TEMPLATE_INVOKE(evicting_store_conformance, mgw::test::disk_rig);

namespace mgw::cache::disk_store_test {
namespace {

using test::at;
using test::contents;
using test::count_files;
using test::faulty_ops;
using test::put;
using test::take;
using test::temporary_directory;
using test::test_body;
using test::test_key;
using test::test_meta;
namespace fs = std::filesystem;

fs::path object_path(temporary_directory const& dir, std::string const& sha256) {
  return dir.path() / "cache" / "objects" / sha256.substr(0, 2) / sha256;
}
fs::path meta_path(temporary_directory const& dir, unsigned char n) {
  std::string const hex = test_key(n).hex();
  return dir.path() / "cache" / "meta" / hex.substr(0, 2) / hex;
}
fs::path part_path(temporary_directory const& dir, unsigned char n, char const* kind) {
  return dir.path() / "cache" / "parts" / (test_key(n).hex() + kind);
}

/// What a store logs.
struct log_lines {
  std::vector<std::string> lines;
  log_sink sink() {
    return [this](log_level, std::string_view text) { lines.emplace_back(text); };
  }
  std::size_t count(std::string_view text) const {
    return static_cast<std::size_t>(std::count_if(
        lines.begin(), lines.end(), [text](std::string const& l) { return l.find(text) != std::string::npos; }));
  }
};

}  // namespace

TEST_CASE("an object is stored whole, and found again by the next store") {
  temporary_directory const dir;
  std::string const bytes = test_body(1, 5000);
  faulty_ops ops;
  {
    disk_store store(at(dir), {}, ops);
    CHECK_FALSE(store.contains(test_key(1)));
    CHECK(store.open(test_key(1)).error() == std::errc::no_such_file_or_directory);
    auto p = store.create(test_meta(1, bytes.size()));
    REQUIRE(p);
    CHECK_FALSE(p->append(bytes.substr(0, 1)));
    CHECK_FALSE(p->append(""));
    CHECK_FALSE(p->append(bytes.substr(1)));
    CHECK(p->size() == bytes.size());
    CHECK_FALSE(store.contains(test_key(1)));
    CHECK_FALSE(p->commit(bytes.size()));
    CHECK(store.contains(test_key(1)));
    CHECK(p->meta().sha256.size() == 64);
    CHECK(p->meta().stored_at == ops.time);
    CHECK(p->meta().generation == 7);
    CHECK(contents(*p->body()) == bytes);
    auto const s = store.open(test_key(1));
    REQUIRE(s);
    CHECK(s->body == p->body());  // one descriptor for all
    CHECK(s->meta == p->meta());
  }
  CHECK(count_files(dir.path() / "cache" / "parts") == 0);
  disk_store store(at(dir), {}, ops);
  CHECK(take(store, 1) == bytes);
  REQUIRE(store.list().size() == 1);
  CHECK(store.list()[0].etag == "\"1\"");
  CHECK(store.used().bytes == bytes.size());
  CHECK(store.used().objects == 1);
}
TEST_CASE("the directories are private") {
  temporary_directory const dir;
  auto o = at(dir);
  o.path = dir.path() / "a" / "b" / "";
  disk_store const store(o);
  for (char const* name : {"a", "a/b", "a/b/objects", "a/b/meta", "a/b/parts"})
    CHECK((fs::status(dir.path() / name).permissions() & fs::perms::all) == fs::perms::owner_all);
}
TEST_CASE("the defaults come from the file system") {
  temporary_directory const dir;
  faulty_ops ops;
  ops.room = {1000, 500};
  auto o = at(dir, 0);
  o.min_free = 0;
  disk_store store(o, {}, ops);
  CHECK(store.used().max_size == 900);
  CHECK(store.create(test_meta(1, 451)).error() == error::not_enough_space);  // 50 stay free
  CHECK(store.create(test_meta(1, 450)));
}
TEST_CASE("a second owner is refused with the pid of the first") {
  temporary_directory const dir;
  std::optional<disk_store> first(std::in_place, at(dir));
  auto p = first->create(test_meta(1, 10));
  REQUIRE(p);
  first.reset();
  for (int i = 0; i < 2; ++i) {  // a part keeps the directory, too
    std::string text;
    try {
      disk_store const second(at(dir));
    } catch (std::runtime_error const& e) {
      text = e.what();
    }
    CHECK(text.find("in use by process " + std::to_string(::getpid())) != std::string::npos);
  }
  p->drop();
  {
    part const last = *std::move(p);
  }
  CHECK_NOTHROW(disk_store(at(dir)));
}
TEST_CASE("a directory that cannot be made is explained") {
  temporary_directory const dir;
  test::overwrite(dir.path() / "cache", "a file");
  CHECK_THROWS_AS(disk_store(at(dir)), std::system_error);
}
TEST_CASE("an unknown length takes room as it grows") {
  temporary_directory const dir;
  disk_store store(at(dir, 20 << 20));
  meta m = test_meta(1, 77);
  m.length_known = false;
  auto p = store.create(m);
  REQUIRE(p);
  CHECK_FALSE(p->append("abc"));
  CHECK(store.used().bytes == 8 << 20);
  CHECK_FALSE(p->commit(3));
  CHECK(store.used().bytes == 3);

  m.key = test_key(2);
  p = store.create(m);
  REQUIRE(p);
  std::string const big(std::size_t{19} << 20, 'x');
  CHECK_FALSE(p->append(big));
  std::string const rest(std::size_t{1} << 20, 'x');
  CHECK_FALSE(p->append(rest));  // evicts the small one for its last bytes
  CHECK_FALSE(store.contains(test_key(1)));
  CHECK(p->append("x") == error::not_enough_space);
}
TEST_CASE("a part that goes out of scope is dropped, a moved one is not") {
  temporary_directory const dir;
  disk_store store(at(dir));
  std::shared_ptr<file const> body;
  {
    auto p = store.create(test_meta(1, 10));
    REQUIRE(p);
    CHECK_FALSE(p->append("12345"));
    CHECK(store.create(test_meta(1, 10)).error() == error::being_filled);
    CHECK(store.resume(test_key(1)).error() == error::being_filled);
    part q = *std::move(p);
    CHECK(p->append("x") == error::part_closed);
    CHECK(p->body() == nullptr);
    CHECK_FALSE(q.append("67"));
    body = q.body();
    auto other = store.create(test_meta(2, 10));
    REQUIRE(other);
    q = *std::move(other);  // drops what it was
    CHECK(count_files(dir.path() / "cache" / "parts") == 2);
    CHECK(store.used().bytes == 10 + 7);  // the dropped one is still read
  }
  auto empty = store.create(test_meta(3, 10));
  REQUIRE(empty);
  empty->suspend();  // nothing to keep
  CHECK(contents(*body) == "1234567");
  CHECK(count_files(dir.path() / "cache" / "parts") == 0);
  body.reset();
  CHECK(store.used().bytes == 0);
}
TEST_CASE("a suspended part is resumed, also by the next store") {
  temporary_directory const dir;
  std::string const bytes = test_body(1, 700'000);
  meta m = test_meta(1, bytes.size());
  m.last_modified = "Tue, 15 Nov 1994 12:45:26 GMT";
  {
    disk_store store(at(dir));
    CHECK(store.resume(test_key(1)).error() == std::errc::no_such_file_or_directory);
    auto p = store.create(m);
    REQUIRE(p);
    CHECK_FALSE(p->append(bytes.substr(0, 1000)));
    p->suspend();
    CHECK(p->append("x") == error::part_closed);
    CHECK(store.used().bytes == 1000);
    auto q = store.resume(test_key(1));
    REQUIRE(q);
    CHECK(store.used().bytes == bytes.size());
    CHECK(q->size() == 1000);
    CHECK_FALSE(q->append(bytes.substr(1000, 600'000)));
    q->suspend();
  }
  disk_store store(at(dir));
  CHECK(store.used().bytes == 601'000);
  auto p = store.resume(test_key(1));
  REQUIRE(p);
  CHECK(p->size() == 601'000);
  m.stored_at = p->meta().stored_at;  // set by create
  CHECK(m.stored_at != 0);
  CHECK(p->meta() == m);
  CHECK_FALSE(p->append(bytes.substr(601'000)));
  CHECK_FALSE(p->commit(bytes.size()));
  CHECK(take(store, 1) == bytes);
  CHECK(store.resume(test_key(1)).error() == std::errc::no_such_file_or_directory);
}
TEST_CASE("what checkpoints have promised can be taken back, and promised again") {
  temporary_directory const dir, before, after;
  std::string const bytes = test_body(1, 1000);
  disk_store store(at(dir));
  auto p = store.create(test_meta(1, bytes.size()));
  REQUIRE(p);
  CHECK_FALSE(p->withdraw());  // there is nothing yet
  CHECK_FALSE(p->append(bytes.substr(0, 600)));
  CHECK_FALSE(p->checkpoint());
  CHECK_FALSE(p->withdraw());
  auto const crash_into = [&](temporary_directory const& to) {
    std::filesystem::copy(dir.path() / "cache", to.path() / "cache", std::filesystem::copy_options::recursive);
  };
  crash_into(before);
  CHECK_FALSE(p->checkpoint());
  crash_into(after);
  disk_store without(at(before)), with(at(after));
  CHECK(without.resume(test_key(1)).error() == std::errc::no_such_file_or_directory);
  auto const again = with.resume(test_key(1));
  REQUIRE(again);
  CHECK(again->size() == 600);
  CHECK_FALSE(p->append(bytes.substr(600)));
  CHECK_FALSE(p->commit(bytes.size()));
  CHECK(take(store, 1) == bytes);
}
TEST_CASE("a part is cut back to its last good checkpoint") {
  temporary_directory const dir;
  std::string const bytes = test_body(1, 1000);
  auto const make = [&] {
    disk_store store(at(dir));
    (void)store.remove(test_key(1));
    auto p = store.create(test_meta(1, bytes.size()));
    REQUIRE(p);
    for (std::size_t i = 0; i < 900; i += 300) {
      CHECK_FALSE(p->append(bytes.substr(i, 300)));
      CHECK_FALSE(p->checkpoint());
    }
    p->suspend();
  };
  auto const body = part_path(dir, 1, ".body"), journal = part_path(dir, 1, ".journal");
  auto const resumed = [&]() -> std::uint64_t {  // 0: not at all
    disk_store store(at(dir));
    auto p = store.resume(test_key(1));
    if (!p) {
      CHECK(p.error() == std::errc::no_such_file_or_directory);
      CHECK(count_files(dir.path() / "cache" / "parts") == 0);
      return 0;
    }
    std::uint64_t const size = p->size();
    CHECK(contents(*p->body()) == bytes.substr(0, size));
    CHECK_FALSE(p->append(bytes.substr(size)));
    CHECK_FALSE(p->commit(bytes.size()));
    CHECK(take(store, 1) == bytes);
    return size;
  };
  struct {
    char const* what;
    std::string body_bytes;
    std::uint64_t size;
  } const table[] = {
      {"untouched", bytes.substr(0, 900), 900},
      {"written on after the checkpoint", bytes.substr(0, 900) + "tail", 900},
      {"shorter than the last checkpoint", bytes.substr(0, 899), 600},
      {"zeros in the last piece", bytes.substr(0, 700) + std::string(200, '\0'), 600},
      {"zeros in the middle", bytes.substr(0, 450) + std::string(50, '\0') + bytes.substr(500, 400), 300},
      {"zeros at the start", std::string(900, '\0'), 0},
      {"empty", "", 0},
  };
  for (auto const& row : table) {
    CAPTURE(row.what);
    make();
    test::overwrite(body, row.body_bytes);
    CHECK(resumed() == row.size);
  }
  SUBCASE("the journal's last record is torn") {
    make();
    fs::resize_file(journal, fs::file_size(journal) - 1);
    CHECK(resumed() == 600);
  }
  SUBCASE("the journal is damaged") {
    make();
    test::overwrite(journal, "garbage");
    CHECK(resumed() == 0);
  }
  SUBCASE("the journal is another object's") {
    make();
    test::overwrite(journal, *write_journal_header(test_meta(2, bytes.size())));
    CHECK(resumed() == 0);
  }
  SUBCASE("one half is missing") {
    for (auto const& half : {body, journal}) {
      make();
      fs::remove(half);
      CHECK(resumed() == 0);
    }
  }
  SUBCASE("the journal is of a newer release: kept") {
    make();
    test::overwrite(journal, "mgw-part 2\nwhatever");
    disk_store store(at(dir));
    CHECK(store.resume(test_key(1)).error() == error::newer_version);
    CHECK(fs::exists(journal));
    CHECK(store.resume(test_key(1)).error() == error::newer_version);
  }
}
TEST_CASE("two keys with the same bytes share a body") {
  temporary_directory const dir;
  std::string const bytes = test_body(1, 5000);
  {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, bytes));
    CHECK_FALSE(put(store, 2, bytes));
    CHECK(store.used().bytes == bytes.size());
    CHECK(store.used().objects == 2);
    CHECK(count_files(dir.path() / "cache" / "objects") == 1);
  }
  disk_store store(at(dir));
  CHECK_FALSE(store.remove(test_key(1)));
  CHECK(store.remove(test_key(1)) == std::errc::no_such_file_or_directory);
  CHECK(take(store, 2) == bytes);
  CHECK_FALSE(put(store, 2, "other bytes"));
  CHECK(count_files(dir.path() / "cache" / "objects") == 1);
  CHECK(take(store, 2) == "other bytes");
  CHECK_FALSE(store.remove(test_key(2)));
  CHECK(count_files(dir.path() / "cache" / "objects") == 0);
  CHECK(store.used().bytes == 0);
}
TEST_CASE("the readers of a replaced object keep the old bytes") {
  temporary_directory const dir;
  {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, "first"));
    auto old = store.open(test_key(1));
    REQUIRE(old);
    CHECK_FALSE(put(store, 1, "second"));
    CHECK(contents(*old->body) == "first");
    CHECK(take(store, 1) == "second");
    CHECK(store.used().bytes == 6 + 5);  // what is read counts until it is closed
    old = store.open(test_key(1));
    CHECK(store.used().bytes == 6);
  }
  disk_store const store(at(dir));
  CHECK(count_files(dir.path() / "cache" / "objects") == 1);
}
TEST_CASE("a suspended part makes room, too") {
  temporary_directory const dir;
  disk_store store(at(dir, 100));
  auto p = store.create(test_meta(1, 50));
  REQUIRE(p);
  CHECK_FALSE(p->append(test_body(1, 40)));
  p->suspend();
  CHECK_FALSE(put(store, 2, test_body(2, 90)));
  CHECK(store.resume(test_key(1)).error() == std::errc::no_such_file_or_directory);
  CHECK(count_files(dir.path() / "cache" / "parts") == 0);
}
TEST_CASE("space is left free on the file system") {
  temporary_directory const dir;
  faulty_ops ops;
  auto o = at(dir);
  o.min_free = 100;
  disk_store store(o, {}, ops);
  CHECK_FALSE(put(store, 1, test_body(1, 50)));
  ops.room = {1000, 149};
  auto const p = store.create(test_meta(2, 40));
  REQUIRE(p);
  CHECK(store.contains(test_key(1)));
  auto const q = store.create(test_meta(3, 10));  // 149 - 100 - 40 reserved = 9: one more goes
  REQUIRE(q);
  CHECK_FALSE(store.contains(test_key(1)));
  ops.room = {1000, 20};
  CHECK(store.create(test_meta(4, 1)).error() == error::not_enough_space);
}
TEST_CASE("the order of use outlives the store, recorded at most once a minute") {
  temporary_directory const dir;
  faulty_ops ops;
  ops.time = 0;
  {
    disk_store store(at(dir), {}, ops);
    for (unsigned char n = 1; n <= 3; ++n) CHECK_FALSE(put(store, n, test_body(n, 30)));
    CHECK_FALSE(take(store, 1).empty());
    CHECK(ops.touches == 0);  // stored just now
    ops.time += 60;
    CHECK_FALSE(take(store, 1).empty());
    CHECK_FALSE(take(store, 1).empty());
    CHECK(ops.touches == 1);
    ops.time -= 3600;  // the clock was set back
    CHECK_FALSE(take(store, 1).empty());
    CHECK(ops.touches == 2);
  }
  auto const base = fs::last_write_time(meta_path(dir, 1));
  fs::last_write_time(meta_path(dir, 2), base - std::chrono::seconds(20));
  fs::last_write_time(meta_path(dir, 3), base - std::chrono::seconds(10));
  disk_store store(at(dir, 100), {}, ops);
  CHECK_FALSE(put(store, 4, test_body(4, 30)));
  CHECK(store.contains(test_key(1)));
  CHECK_FALSE(store.contains(test_key(2)));
  CHECK(store.contains(test_key(3)));
}
TEST_CASE("a body that is gone, cut or changed is noticed before it is promised") {
  temporary_directory const dir;
  std::string const bytes = test_body(1, 5000);
  log_lines log;
  auto const object = [&](disk_store& store) { return object_path(dir, store.list().at(0).sha256); };
  auto const dropped = [&](disk_store& store) {
    CHECK(store.contains(test_key(1)));
    CHECK(store.open(test_key(1)).error() == std::errc::no_such_file_or_directory);
    CHECK_FALSE(store.contains(test_key(1)));
    CHECK_FALSE(fs::exists(meta_path(dir, 1)));
    CHECK(store.used().bytes == 0);
    CHECK(log.count("gone or damaged") == 1);
    CHECK_FALSE(put(store, 1, bytes));
    CHECK(take(store, 1) == bytes);
  };
  SUBCASE("gone") {
    disk_store store(at(dir), log.sink());
    CHECK_FALSE(put(store, 1, bytes));
    fs::remove(object(store));
    dropped(store);
  }
  SUBCASE("cut") {
    disk_store store(at(dir), log.sink());
    CHECK_FALSE(put(store, 1, bytes));
    fs::resize_file(object(store), 4999);
    dropped(store);
  }
  SUBCASE("cut while it is read") {
    disk_store store(at(dir), log.sink());
    CHECK_FALSE(put(store, 1, bytes));
    {
      auto const reader = store.open(test_key(1));
      fs::resize_file(object(store), 4999);
      CHECK(store.open(test_key(1)).error() == std::errc::no_such_file_or_directory);
      CHECK(store.used().bytes == bytes.size());  // the reader still has it
    }
    CHECK(store.used().bytes == 0);
  }
  SUBCASE("other bytes of the same length, after an unclean stop") {
    std::string damaged = bytes;
    damaged[2500] = static_cast<char>(damaged[2500] ^ 1);
    {
      disk_store store(at(dir));
      CHECK_FALSE(put(store, 1, bytes));
      test::overwrite(object(store), damaged);
    }
    {
      disk_store store(at(dir));
      CHECK(take(store, 1) == damaged);  // a clean stop: not read again
    }
    fs::remove(dir.path() / "cache" / "clean");
    disk_store store(at(dir), log.sink());
    dropped(store);
  }
}
TEST_CASE("after an unclean stop an object is read once before it is served") {
  temporary_directory const dir;
  std::string const bytes = test_body(1, 600'000);
  {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, bytes));
    CHECK_FALSE(put(store, 2, "x"));
  }
  fs::remove(dir.path() / "cache" / "clean");
  faulty_ops ops;
  {
    disk_store store(at(dir), {}, ops);
    auto before = ops.seen;
    CHECK(take(store, 1) == bytes);
    CHECK(ops.seen - before > 4);
    before = ops.seen;
    CHECK(take(store, 1) == bytes);
    CHECK(ops.seen - before == 2);  // open and its size
  }
  CHECK_FALSE(fs::exists(dir.path() / "cache" / "clean"));  // the other one still has to be read
  {
    disk_store store(at(dir), {}, ops);
    CHECK(take(store, 1) == bytes);
    CHECK(take(store, 2) == "x");
  }
  CHECK(fs::exists(dir.path() / "cache" / "clean"));
}
TEST_CASE("a copied directory is adopted") {
  temporary_directory const dir;
  {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, "abc"));
  }
  auto o = at(dir);
  o.path = dir.path() / "copy";
  fs::copy(dir.path() / "cache", o.path, fs::copy_options::recursive);
  disk_store store(o);
  CHECK(take(store, 1) == "abc");
}
TEST_CASE("what does not belong is reported once and left alone; leftovers are swept") {
  temporary_directory const dir;
  {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, "kept"));
    CHECK_FALSE(put(store, 2, "loses its metadata"));
    CHECK_FALSE(put(store, 3, "loses its body"));
    CHECK_FALSE(put(store, 4, "has damaged metadata"));
    CHECK_FALSE(put(store, 5, "metadata under another name"));
    for (auto const& m : store.list())
      if (m.key == test_key(3)) fs::remove(object_path(dir, m.sha256));
  }
  fs::remove(meta_path(dir, 2));
  fs::resize_file(meta_path(dir, 4), 50);
  fs::create_directories(meta_path(dir, 6).parent_path());
  fs::rename(meta_path(dir, 5), meta_path(dir, 6));
  test::overwrite(meta_path(dir, 7).string() + ".tmp", "half");
  test::overwrite(meta_path(dir, 8), std::string(max_meta_file + 1, 'x'));
  fs::path const root = dir.path() / "cache";
  std::vector<fs::path> const unknown{root / "objects" / "README",
                                      root / "objects" / "ab" / "x",
                                      root / "objects" / "ab" / (std::string(64, 'c')),
                                      root / "meta" / "zz" / "x",
                                      root / "meta" / "ab" / "abc.tmp",
                                      root / "meta" / "01" / "01\xff\n",
                                      root / "parts" / "notes.txt",
                                      root / "parts" / (std::string(64, 'a') + ".other"),
                                      root / "parts" / "sub" / "file"};
  for (auto const& p : unknown) test::overwrite(p, "?");
  fs::create_symlink("/etc/passwd", root / "meta" / "01" / ("01" + std::string(62, '0')));

  log_lines log;
  disk_store store(at(dir), log.sink());
  CHECK(store.used().objects == 1);
  CHECK(take(store, 1) == "kept");
  for (auto const& p : unknown) CHECK(fs::exists(p));
  CHECK(log.count("unexpected name(s)") == 1);
  CHECK(log.count("damaged metadata") == 1);
  CHECK(log.count("bodies are gone") == 1);
  CHECK(log.count("leftover") == 1);
  for (int const n : {2, 3, 4, 5, 6, 8}) CHECK_FALSE(fs::exists(meta_path(dir, static_cast<unsigned char>(n))));
  CHECK(count_files(root / "objects") == 1 + 3);
}
TEST_CASE("metadata of a newer release is refused and kept, with all bodies it may mean") {
  temporary_directory const dir;
  {
    disk_store store(at(dir));
    CHECK_FALSE(put(store, 1, "kept"));
    CHECK_FALSE(put(store, 2, "newer"));
  }
  std::string text = contents(meta_path(dir, 2));
  text[9] = '2';
  test::overwrite(meta_path(dir, 2), text);
  log_lines log;
  disk_store store(at(dir), log.sink());
  CHECK(log.count("newer release") == 1);
  CHECK(store.used().objects == 1);
  CHECK(store.used().bytes == 9);  // it takes its space
  CHECK(contents(meta_path(dir, 2)) == text);
  CHECK(count_files(dir.path() / "cache" / "objects") == 2);
}
TEST_CASE("a value too long for the metadata is refused at the start") {
  temporary_directory const dir;
  disk_store store(at(dir));
  meta m = test_meta(1, 10);
  m.etag = std::string(max_meta_value + 1, 'x');
  CHECK(store.create(m).error() == error::value_too_long);
  CHECK(store.used().bytes == 0);
}
TEST_CASE("a failed flush loses the part, a failed write does not") {
  temporary_directory const dir;
  faulty_ops ops;
  disk_store store(at(dir), {}, ops);
  auto p = store.create(test_meta(1, 10));
  REQUIRE(p);
  CHECK_FALSE(p->append("12345"));
  ops.with = std::errc::no_space_on_device;
  ops.fail_at = ops.seen;
  CHECK(p->append("67890") == std::errc::no_space_on_device);
  CHECK(p->size() == 5);
  CHECK_FALSE(p->append("67890"));
  ops.with = std::errc::io_error;
  ops.fail_at = ops.seen;
  CHECK(p->checkpoint() == std::errc::io_error);
  CHECK(p->checkpoint() == error::part_lost);
  CHECK(p->append("") == error::part_lost);
  CHECK(p->commit(10) == error::part_lost);
  CHECK(contents(*p->body()) == "1234567890");  // its readers go on
  p->suspend();                                 // the same as drop
  CHECK(store.resume(test_key(1)).error() == std::errc::no_such_file_or_directory);
  CHECK(count_files(dir.path() / "cache" / "parts") == 0);
}
TEST_CASE("what readers of an earlier life may have on its way is not cut off, but written anew") {
  temporary_directory const dir;
  faulty_ops ops;
  disk_store store(at(dir), {}, ops);
  std::string const old = test_body(1, 9000), anew = old.substr(0, 3000) + test_body(2, 1000);
  cache::meta about = test_meta(1, 0);
  about.length_known = false;
  std::shared_ptr<file const> readers;
  {
    auto p = store.create(about);
    REQUIRE(p);
    CHECK_FALSE(p->append(old.substr(0, 3000)));
    CHECK_FALSE(p->checkpoint());
    CHECK_FALSE(p->append(old.substr(3000)));
    readers = p->body();
    ops.fail_at = ops.seen + 1;  // the last checkpoint's record, behind the flush
    p->suspend();
  }
  auto p = store.resume(test_key(1));
  REQUIRE(p);
  CHECK(p->size() == 3000);
  CHECK(contents(*readers) == old);
  p->suspend();
  CHECK(store.used().bytes == old.size());  // all that is there
  p = store.resume(test_key(1));
  REQUIRE(p);
  CHECK(p->size() == 3000);
  CHECK_FALSE(p->append(anew.substr(3000)));
  CHECK(contents(*readers) == anew + old.substr(4000));
  CHECK_FALSE(p->commit(anew.size()));
  CHECK(take(store, 1) == anew);
  CHECK(store.used().bytes == anew.size());
}
TEST_CASE("a write that failed half-way leaves nothing in the object") {
  temporary_directory const dir;
  faulty_ops ops;
  disk_store store(at(dir), {}, ops);
  auto m = test_meta(1, 0);
  m.length_known = false;
  auto p = store.create(m);
  REQUIRE(p);
  CHECK_FALSE(p->append("abc"));
  ops.fail_at = ops.seen + 1;  // after the question for space
  CHECK(p->append("0123456789") == std::errc::io_error);
  CHECK(p->size() == 3);
  CHECK_FALSE(p->commit(3));  // it had been the end
  p = std::make_error_code(std::errc::io_error);
  CHECK(take(store, 1) == "abc");
}
TEST_CASE("a disk full at the commit costs nothing but the time") {
  temporary_directory const dir;
  std::string const bytes = test_body(1, 100);
  std::size_t kept = 0;
  for (std::size_t n = 0;; ++n) {
    CAPTURE(n);
    faulty_ops ops;
    disk_store store(at(dir), {}, ops);
    (void)store.remove(test_key(1));
    auto p = store.create(test_meta(1, bytes.size()));
    REQUIRE(p);
    CHECK_FALSE(p->append(bytes));
    ops.with = std::errc::no_space_on_device;
    ops.fail_at = ops.seen + n;
    auto const ec = p->commit(bytes.size());
    if (!ec && ops.seen <= ops.fail_at) break;
    if (ec && !store.contains(test_key(1))) {
      auto const again = p->commit(bytes.size());
      CHECK((!again || again == error::part_lost));
      kept += again ? 0 : 1;
      CHECK(store.contains(test_key(1)) == !again);
    }
    if (store.contains(test_key(1))) CHECK(take(store, 1) == bytes);
  }
  CHECK(kept > 3);
}

namespace {

std::string const old_bytes = test_body(1, 400), new_bytes = test_body(2, 500), whole = test_body(3, 600),
                  fresh = test_body(4, 700);

/// What the steps of `live` claimed: an error code that is zero promises something to the next store.
struct claims {
  bool committed_fresh = false, replaced = false, finished_part = false, removed_shared = false;
  std::uint64_t checkpointed = 0;
  bool tried_to_end_part = false, tried_to_remove = false;
};

/// Objects 1 and 2 with the same bytes, a suspended part 3.
void prepare(temporary_directory const& dir) {
  faulty_ops ops;
  disk_store store(at(dir), {}, ops);
  CHECK_FALSE(put(store, 1, old_bytes));
  CHECK_FALSE(put(store, 2, old_bytes));
  auto p = store.create(test_meta(3, whole.size()));
  REQUIRE(p);
  CHECK_FALSE(p->append(whole.substr(0, 300)));
  p->suspend();
}

/// A store's life, step by step; an error leads to the next step.
void live(temporary_directory const& dir, file_ops& ops, claims& c) {
  std::optional<disk_store> store;
  try {
    store.emplace(at(dir), log_sink{}, ops);
  } catch (std::exception const&) {
    return;
  }
  if (auto const s = store->open(test_key(1))) CHECK(contents(*s->body) == old_bytes);
  if (auto p = store->create(test_meta(4, fresh.size()))) {
    if (!p->append(fresh.substr(0, 350)) && !p->checkpoint() && !p->append(fresh.substr(350)))
      c.committed_fresh = !p->commit(fresh.size());
  }
  c.replaced = !put(*store, 1, new_bytes);
  if (auto p = store->resume(test_key(3))) {
    CHECK(p->size() == 300);
    if (!p->append(whole.substr(300))) {
      c.tried_to_end_part = true;
      c.finished_part = !p->commit(whole.size());
    }
  }
  if (auto p = store->create(test_meta(5, fresh.size()))) {
    if (!p->append(fresh.substr(0, 200)) && !p->checkpoint()) {
      c.checkpointed = 200;
      if (!p->append(fresh.substr(200, 100)) && !p->checkpoint()) c.checkpointed = 300;
      (void)p->append(fresh.substr(p->size(), 100));
      if (p->checkpoint() == error::part_lost) c.checkpointed = 0;
    }
    p->suspend();
  }
  c.tried_to_remove = true;
  c.removed_shared = !store->remove(test_key(2));
}

/// What a store finds afterwards on a healthy disk.
void check_aftermath(temporary_directory const& dir, claims const& c, bool crashed) {
  faulty_ops ops;
  disk_store store(at(dir), {}, ops);
  std::string const one = take(store, 1), two = take(store, 2), three = take(store, 3), four = take(store, 4);
  CHECK((one == new_bytes || (!c.replaced && one == old_bytes)));
  CHECK((two == old_bytes || (two.empty() && c.tried_to_remove)));
  CHECK((four == fresh || (!c.committed_fresh && four.empty())));
  if (three.empty()) {
    CHECK_FALSE(c.finished_part);
    if (auto p = store.resume(test_key(3))) {
      CHECK(p->size() >= 300);
      CHECK(contents(*p->body()) == whole.substr(0, p->size()));
      CHECK_FALSE(p->append(whole.substr(p->size())));
      CHECK_FALSE(p->commit(whole.size()));
      CHECK(take(store, 3) == whole);
    } else {
      CHECK_FALSE(crashed);  // dropped after an error
    }
  } else {
    CHECK(three == whole);
  }
  for (unsigned char n = 4; n <= 5; ++n) {
    auto p = store.resume(test_key(n));
    if (n == 5 && c.checkpointed != 0 && crashed) CHECK(bool(p));
    if (!p) continue;
    if (n == 5) CHECK(p->size() >= c.checkpointed);
    CHECK(contents(*p->body()) == fresh.substr(0, p->size()));
    CHECK_FALSE(p->append(fresh.substr(p->size())));
    CHECK_FALSE(p->commit(fresh.size()));
    CHECK(take(store, n) == fresh);
  }
  if (auto p = store.resume(test_key(1))) CHECK(contents(*p->body()) == new_bytes.substr(0, p->size()));
  // Every body has its metadata: nothing takes space in secret.
  CHECK(count_files(dir.path() / "cache" / "objects") <= store.used().objects);
  CHECK(count_files(dir.path() / "cache" / "meta") == store.used().objects);
  CHECK(count_files(dir.path() / "cache" / "parts") == 0);
}

}  // namespace

TEST_CASE("whichever operation fails, no object is damaged and every claim holds") {
  std::size_t operations = 1;
  for (std::errc const with : {std::errc::no_space_on_device, std::errc::io_error, std::errc::read_only_file_system}) {
    for (std::size_t n = 0; n <= operations; ++n) {
      CAPTURE(static_cast<int>(with));
      CAPTURE(n);
      temporary_directory const dir(true);
      prepare(dir);
      faulty_ops ops;
      ops.fail_at = n;
      ops.with = with;
      claims c;
      live(dir, ops, c);
      operations = std::max(operations, ops.seen);
      check_aftermath(dir, c, false);
      if (n >= ops.seen) CHECK((c.committed_fresh && c.replaced && c.finished_part && c.removed_shared));
    }
  }
  CHECK(operations > 100);
}
TEST_CASE("wherever it stops, what is found again is absent, a good prefix, or complete") {
  std::size_t operations = 1;
  for (bool const power_cut : {false, true}) {
    for (std::size_t n = 0; n <= operations; ++n) {
      CAPTURE(power_cut);
      CAPTURE(n);
      temporary_directory const dir(true);
      prepare(dir);
      std::size_t seen = 0;
      claims c;
      {
        faulty_ops ops;
        ops.fail_at = n;
        ops.from_then_on = true;
        ops.lose_unflushed = power_cut;
        live(dir, ops, c);
        seen = ops.seen;
      }
      operations = std::max(operations, seen);
      check_aftermath(dir, c, n < seen);
    }
  }
}
TEST_CASE("what is removed of the directory under a running store is made again") {
  temporary_directory const dir;
  log_lines log;
  disk_store store(at(dir), log.sink());
  CHECK_FALSE(put(store, 1, "abc"));
  fs::remove_all(dir.path() / "cache" / "objects");
  CHECK(store.open(test_key(1)).error() == std::errc::no_such_file_or_directory);
  CHECK(put(store, 2, "abc"));  // found at the commit; the next one finds it made
  fs::remove_all(dir.path() / "cache" / "parts");
  CHECK_FALSE(put(store, 2, "abc"));
  CHECK(take(store, 2) == "abc");
  CHECK(log.count("had been removed") == 0);
}
TEST_CASE("a directory removed as a whole is made again, locked again, and forgotten") {
  temporary_directory const dir;
  log_lines log;
  disk_store store(at(dir, 10'000), log.sink());
  CHECK_FALSE(put(store, 1, std::string(4000, 'a')));
  CHECK_FALSE(put(store, 2, std::string(3000, 'b')));
  auto suspended = store.create(test_meta(3, 1000));
  REQUIRE(suspended);
  CHECK_FALSE(suspended->append(std::string(500, 'c')));
  suspended->suspend();
  auto active = store.create(test_meta(4, 1000));
  REQUIRE(active);
  CHECK_FALSE(active->append(std::string(100, 'd')));
  auto const reading = store.open(test_key(1));
  REQUIRE(reading);

  fs::remove_all(dir.path() / "cache");
  CHECK_FALSE(put(store, 5, "abc"));
  CHECK(take(store, 5) == "abc");
  CHECK(log.count("had been removed") == 1);
  CHECK(store.used().objects == 1);
  CHECK(store.used().bytes == 4000 + 1000 + 3);  // still read, still written, new
  CHECK(contents(*reading->body) == std::string(4000, 'a'));
  CHECK(store.resume(test_key(3)).error() == std::errc::no_such_file_or_directory);
  CHECK_FALSE(active->append(std::string(900, 'd')));
  CHECK(active->commit(1000));  // its file is gone
  active->drop();
  CHECK_THROWS_AS(disk_store(at(dir)), std::runtime_error);
  CHECK_FALSE(put(store, 4, "again"));
  CHECK(take(store, 4) == "again");
}
TEST_CASE("a directory that was away and came back has its objects again") {
  temporary_directory const dir;
  log_lines log;
  disk_store store(at(dir), log.sink());
  std::string const bytes = test_body(1, 5000);
  CHECK_FALSE(put(store, 1, bytes));
  CHECK_FALSE(put(store, 2, "abc"));
  fs::rename(dir.path() / "cache", dir.path() / "away");
  CHECK_FALSE(put(store, 3, "new"));
  CHECK_FALSE(store.contains(test_key(1)));
  fs::remove_all(dir.path() / "cache");
  fs::rename(dir.path() / "away", dir.path() / "cache");
  fs::remove_all(dir.path() / "cache" / "parts");  // so that the next one notices
  CHECK_FALSE(put(store, 4, "newer"));
  CHECK(take(store, 1) == bytes);
  CHECK(take(store, 2) == "abc");
  CHECK(store.used().objects == 3);
  CHECK(log.count("had been removed") == 2);
}
TEST_CASE("a removed directory that another gateway has taken is left to it") {
  temporary_directory const dir;
  disk_store store(at(dir));
  CHECK_FALSE(put(store, 1, "abc"));
  fs::rename(dir.path() / "cache", dir.path() / "away");
  disk_store other(at(dir));
  CHECK_FALSE(put(other, 1, "other"));
  fs::remove_all(dir.path() / "cache" / "parts");
  CHECK(store.create(test_meta(2, 3)).error() == std::errc::no_such_file_or_directory);
  CHECK_FALSE(put(other, 2, "other"));
  CHECK(take(other, 1) == "other");
}
TEST_CASE("many threads store, read, replace and evict at once") {
  temporary_directory const dir;
  disk_store store(at(dir, 4000));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&store, &wrong, t] {
      for (unsigned i = 0; i < 40; ++i) {
        auto const n = static_cast<unsigned char>((t + i) % 5);
        auto const s = store.open(test_key(n));
        if (s) {
          std::string const bytes = contents(*s->body);
          if (bytes != test_body(n, 900) && bytes != test_body(9, 800)) ++wrong;
        }
        if (i % 3 == 0) (void)put(store, n, i % 2 == 0 ? test_body(n, 900) : test_body(9, 800));
        if (i % 7 == 0) (void)store.remove(test_key(n));
        (void)store.used();
      }
    });
  }
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
  CHECK(store.used().bytes <= 4000);
  for (auto const& m : store.list()) CHECK(store.open(m.key));
}

}  // namespace mgw::cache::disk_store_test
