#include <mgw/proxy/disk_threads.hpp>

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/ledger_file.hpp>

#include <support/gateway_fixture.hpp>
#include <support/hanging_files.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

namespace mgw::proxy::hung_disk_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::field_list;
using test::hanging_files;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

using ms = std::chrono::milliseconds;

constexpr std::size_t object_size = 300'000;

/// An origin, and a gateway on a disk that may hang. A lasting hang is released at the end.
struct site {
  std::string const body = pattern(object_size);
  test::origin origin{body};
  test::temporary_directory directory{true};
  hanging_files disk;
  ms deadline;  // short ones: on a slow machine another operation may be late, too
  ms checkpoint_every;
  bool power_cut = false;  // before the next start
  std::optional<caching_gateway> g;

  explicit site(ms d = ms(20), ms checkpoint = ms(0)) : deadline(d), checkpoint_every(checkpoint) { start(); }
  ~site() {
    disk.release();
    g.reset();
  }
  void start() {
    g.reset();
    if (std::exchange(power_cut, false)) std::filesystem::remove(directory.path() / "clean");
    caching_options o;
    o.ops = &disk;
    o.tee.ledger.path = ledger();
    o.tee.fetch.disk_deadline = deadline;
    o.tee.fetch.checkpoint_every = checkpoint_every;
    o.tee.reader.look = ms(10);
    g.emplace(directory.path(), origin.authority(), std::move(o));
  }
  std::string ledger() const { return (directory.path() / "ledger").string(); }
  std::size_t pins() const {
    std::ifstream f(ledger(), std::ios::binary);
    std::string const text{std::istreambuf_iterator<char>(f), {}};
    cache::ledger_contents found;
    return cache::read_ledger(text, found) ? 0 : found.links.size();
  }
  tee_to_cache<cache::disk_store>& tee() { return g->tee(); }
  reply get(std::string const& target = "/o", field_list const& fields = {}) const {
    return test::get(g->port(), target, fields);
  }
  bool is_whole(reply const& r) const { return r.status() == 200 && r.whole && r.body == body; }
  bool gets_all(std::string const& target = "/o") { return is_whole(get(target)); }
  bool gets_end(std::string const& target = "/o") {
    reply const r = get(target, {{"Range", "bytes=200000-"}});
    return r.status() == 206 && r.whole && r.body == body.substr(200'000);
  }
  /// Clients come until it is stored.
  bool stores(std::string const& target = "/o") {
    return eventually([&] { return gets_all(target) && g->stored(target) && tee().fills() == 0; });
  }
  /// After the hang: nothing is left of it, and the store is used again.
  bool recovers() {
    disk.release();
    return eventually([&] { return !tee().hung() && tee().fills() == 0; }) && stores() && eventually([&] {
             reply const r = get();
             return is_whole(r) && r.value("Cache-Status") == "mgw; hit";
           });
  }
};
mishap stall(std::size_t n) {
  mishap m;
  m.stall_after = n;
  return m;
}

/// Where an object is before a client comes.
enum class before { nothing, part, complete, unread };

void prepare(site& s, before what) {
  if (what == before::nothing) return;
  ms const deadline = std::exchange(s.deadline, ms(60'000));
  s.start();
  if (what == before::complete || what == before::unread) {
    CHECK(s.stores());
  } else {
    s.origin.script(0, stall(150'000));
    http_client c(s.g->port());
    c.request("GET", "/o");
    CHECK(c.read_bytes(1000).size() == 1000);
    CHECK(eventually([&] { return s.tee().counters().first_time_bytes == 150'000; }));
    s.tee().stop();
    s.origin.release();
    CHECK(eventually([&] { return s.tee().idle(); }));
  }
  s.deadline = deadline;
  s.power_cut = what == before::unread;
  s.start();
}

}  // namespace

TEST_CASE("whatever a hung disk is at, clients get their bytes, and the store is used again when it is back") {
  before what = before::nothing;
  bool all_after = false;
  SUBCASE("a fill") {}
  SUBCASE("a fill; all that comes after hangs, too") {
    all_after = true;
  }
  SUBCASE("a fill that goes on with a part") {
    what = before::part;
  }
  SUBCASE("a hit") {
    what = before::complete;
  }
  SUBCASE("a hit that has to be read first") {
    what = before::unread;
  }
  bool done = false;
  ms deadline(20);
  std::size_t mended = 0;  // bodies that were begun from the store
  for (std::size_t n = 0; !done; n += all_after ? 3 : 1) {
    CAPTURE(n);
    site s(deadline);
    prepare(s, what);
    std::size_t const earlier = s.origin.count();
    s.disk.hang_at(n, all_after);
    CHECK(s.gets_all());
    CHECK(s.gets_all());
    CHECK(s.gets_end());
    CHECK(eventually([&] { return s.disk.hanging() != 0 || s.tee().fills() == 0; }));
    bool const nothing_hung = s.disk.seen() <= n;
    done = nothing_hung && s.g->log().count("has not answered") == 0;
    if (nothing_hung) deadline *= 2;  // where it counted as hung, the machine was slow
    auto const asked = s.origin.requests();
    for (std::size_t i = earlier; i < asked.size(); ++i)
      mended += asked[i].value("Range").ends_with("-299999") && asked[i].value("If-Match") == "\"v1\"";
    CHECK(s.recovers());
    REQUIRE(n < 1000);
  }
  CHECK((mended != 0 || all_after));
}

TEST_CASE("a disk that hangs altogether: whoever comes goes past it at once, and it is told once") {
  site s;
  s.disk.hang_at(0, true);
  CHECK(s.gets_all("/a"));
  CHECK(eventually([&] { return s.tee().hung(); }));
  std::size_t const before = s.disk.seen();
  for (int i = 0; i < 20; ++i) CHECK(s.gets_all("/" + std::to_string(i)));
  CHECK(s.disk.seen() <= before + 3);  // one for each thread that was at something, at most
  CHECK(s.g->base().log.count("has not answered") == 1);
  CHECK(s.g->base().log.count("answers again") == 0);
  CHECK(s.recovers());
  auto const& log = s.g->base().log;
  CHECK(eventually([&] { return log.count("has not answered") == log.count("answers again"); }));
  CHECK(s.stores("/1"));
}

TEST_CASE("begun downloads and held ones go on by themselves when the writes of their fill hang") {
  site s(ms(200));
  s.origin.script(0, stall(150'000));
  http_client begun(s.g->port()), held(s.g->port());
  begun.request("GET", "/o");
  reply r;
  r.head = begun.read_head();
  r.body = begun.read_bytes(100'000);
  held.request("GET", "/o", {{"Range", "bytes=200000-"}});
  CHECK(eventually([&] { return s.tee().held() == 1; }));
  s.disk.hang_at(0, true);
  s.origin.release();
  begun.read_body(r);
  CHECK(s.is_whole(r));
  reply const end = held.read_reply();
  CHECK((end.whole && end.body == s.body.substr(200'000)));
  CHECK(s.recovers());
}

TEST_CASE("a download that waits for its upstream goes past a store that hangs meanwhile") {
  site s(ms(200));
  mishap silent;
  silent.silent = true;
  s.origin.script(0, silent);
  http_client held(s.g->port());
  held.request("GET", "/a");
  CHECK(s.origin.saw(1));
  s.disk.hang_at(0, true);
  CHECK(s.gets_all("/b"));
  CHECK(s.is_whole(held.read_reply()));
  s.origin.release();
  CHECK(s.recovers());
}

TEST_CASE("a pin that cannot be written holds up no first byte; it is in memory, and written later") {
  site s(ms(100));
  CHECK(s.stores());
  std::string const temporary = s.ledger() + ".tmp";
  REQUIRE(::mkfifo(temporary.c_str(), 0600) == 0);  // to open it for writing hangs until somebody reads
  CHECK(s.is_whole(s.get("/o", {{"X-Link", "a"}})));
  CHECK(eventually([&] { return s.tee().hung(); }));
  CHECK(s.is_whole(s.get("/o", {{"X-Link", "b"}})));
  s.origin.set_object(pattern(object_size, 5), "\"v2\"");
  http_client c(s.g->port());
  c.request("GET", "/o", {{"X-Link", "a"}, {"Range", "bytes=1000-"}});
  CHECK(c.closed());  // it was begun with the other one
  s.origin.set_object(s.body, "\"v1\"");
  int const reader = ::open(temporary.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  REQUIRE(reader != -1);
  std::filesystem::remove(temporary);
  CHECK(eventually([&] { return !s.tee().hung(); }));
  ::close(reader);
  CHECK(s.is_whole(s.get("/o", {{"X-Link", "c"}})));
  CHECK(eventually([&] { return s.pins() >= 3; }));
}

TEST_CASE("a part whose suspension hangs is kept when the disk is back") {
  site s(ms(200), ms(3'600'000));
  s.origin.script(0, stall(150'000));
  http_client c(s.g->port());
  c.request("GET", "/o");
  CHECK(c.read_bytes(1000).size() == 1000);
  CHECK(eventually([&] { return s.tee().counters().first_time_bytes == 150'000; }));
  s.disk.hang_at(0, true);
  s.tee().stop();
  s.origin.release();
  CHECK(eventually([&] { return s.disk.hanging() != 0 && s.tee().hung(); }));
  CHECK_FALSE(s.tee().idle());
  s.disk.release();
  CHECK(eventually([&] { return s.tee().idle(); }));
  s.start();
  CHECK(s.gets_all());
  CHECK(s.origin.requests().back().value("Range") == "bytes=150000-");
}

TEST_CASE("the end does not wait for a disk that hangs, and says so") {
  site s;
  s.disk.hang_at(0, true);
  CHECK(s.gets_all());
  CHECK(s.disk.hanging() != 0);
  s.g->base().stop([&] {
    CHECK_FALSE(s.tee().close_for(ms(1)));
    s.disk.release();
    CHECK(s.tee().close_for(std::chrono::hours(1)));
  });
}

}  // namespace mgw::proxy::hung_disk_test
