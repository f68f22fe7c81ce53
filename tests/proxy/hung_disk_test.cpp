#include <mgw/proxy/disk_threads.hpp>

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
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace mgw::proxy {
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

constexpr std::size_t object_size = 300'000;

/// An origin, and a gateway on a disk that may hang. A lasting hang is released at the end.
struct site {
  std::string const body = pattern(object_size);
  test::origin origin{body};
  test::temporary_directory directory{true};
  hanging_files disk;
  std::optional<caching_gateway> g;

  explicit site(std::chrono::milliseconds deadline = std::chrono::milliseconds(20)) : deadline_(deadline) { start(); }
  ~site() {
    disk.release();
    g.reset();
  }
  void start() {
    g.reset();
    caching_options o;
    o.ops = &disk;
    o.tee.ledger.path = ledger();
    o.tee.fetch.disk_deadline = deadline_;
    o.tee.fetch.checkpoint_every = std::chrono::milliseconds(0);
    o.tee.reader.look = std::chrono::milliseconds(10);
    g.emplace(directory.path(), origin.authority(), std::move(o));
  }
  std::string ledger() const { return (directory.path() / "ledger").string(); }
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
  /// After the hang: nothing is left of it, and the store is used again.
  bool recovers() {
    disk.release();
    return eventually([&] { return !tee().hung() && tee().fills() == 0; }) && gets_all() &&
           eventually([&] { return g->stored("/o") && tee().fills() == 0; }) && is_hit();
  }
  bool is_hit() {
    return eventually([&] {  // on a slow machine another operation may be late
      reply const r = get();
      return is_whole(r) && r.value("Cache-Status") == "mgw; hit";
    });
  }

private:
  std::chrono::milliseconds deadline_;
};
mishap stall(std::size_t n) {
  mishap m;
  m.stall_after = n;
  return m;
}

/// Where an object is before a client comes.
enum class before { nothing, part, complete };

void prepare(site& s, before what) {
  if (what == before::nothing) return;
  if (what == before::complete) {
    CHECK(s.gets_all());
    CHECK(eventually([&] { return s.g->stored("/o") && s.tee().fills() == 0; }));
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
  bool done = false;
  for (std::size_t n = 0; !done; ++n) {
    CAPTURE(n);
    site s;
    prepare(s, what);
    s.disk.hang_at(n, all_after);
    CHECK(s.gets_all());
    CHECK(s.gets_all());
    CHECK(s.gets_end());
    CHECK(eventually([&] { return s.disk.hanging() != 0 || s.tee().fills() == 0; }));
    done = s.disk.seen() <= n;
    CHECK(s.recovers());
    REQUIRE(n < 1000);
  }
}

}  // namespace mgw::proxy
