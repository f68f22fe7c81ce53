#include <mgw/proxy/first_reading.hpp>

#include <mgw/cache/disk_store.hpp>

#include <support/gated_files.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace mgw::proxy::first_reading_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::field_list;
using test::gated_files;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

using ms = std::chrono::milliseconds;

constexpr std::size_t object_size = 600'000;

/// An origin, and a gateway on a disk whose checks wait at a gate.
struct site {
  test::origin origin{""};
  test::temporary_directory directory{true};
  gated_files disk;
  tee_options tee_of = test::quick_tee();
  std::size_t threads = 1;
  std::optional<caching_gateway> g;

  site() {
    tee_of.reader.look = ms(10);
    start();
  }
  ~site() {
    disk.open_gate();
    g.reset();
  }
  void start() {
    caching_options o;
    o.ops = &disk;
    o.tee = tee_of;
    o.threads = threads;
    g.emplace(directory.path(), origin.authority(), std::move(o));
  }
  void stop() {
    CHECK(g->suspend());
    g.reset();
  }
  /// Starts again as after a power cut: nothing that is stored counts as read. The gate is closed then.
  void cut_power() {
    stop();
    std::filesystem::remove(directory.path() / "clean");
    start();
    disk.close();
  }
  tee_to_cache<cache::disk_store>& tee() { return g->tee(); }
  reply get(std::string const& target, field_list const& fields = {}) const {
    return test::get(g->port(), target, fields);
  }
  static std::string body_of(std::string const& target) {
    return pattern(object_size, static_cast<unsigned char>(target[1]));
  }
  /// That is what the origin has from now on.
  void offer(std::string const& target) { origin.set_object(body_of(target), '"' + target + '"'); }
  bool is_whole(reply const& r, std::string const& target = "/a") const {
    return r.status() == 200 && r.whole && r.body == body_of(target);
  }
  bool is_hit(reply const& r, std::string const& target = "/a") const {
    return is_whole(r, target) && r.value("Cache-Status") == "mgw; hit";
  }
  void store(std::string const& target) {
    offer(target);
    CHECK(is_whole(get(target), target));
    CHECK(eventually([&] { return g->stored(target) && tee().idle(); }));
  }
  /// Leaves 150 000 bytes of it.
  void store_part(std::string const& target) {
    offer(target);
    std::size_t const before = tee().counters().first_time_bytes;
    mishap m;
    m.stall_after = 150'000;
    origin.script(origin.count(), m);
    http_client c(g->port());
    c.request("GET", target);
    CHECK(c.read_bytes(1000).size() == 1000);
    CHECK(eventually([&] { return tee().counters().first_time_bytes == before + 150'000; }));
    tee().stop();
    origin.release();
  }
  std::unique_ptr<http_client> ask(std::string const& target, field_list const& fields = {}) const {
    auto c = std::make_unique<http_client>(g->port());
    c->request("GET", target, fields);
    return c;
  }
  bool held(std::size_t n) {
    return eventually([&] { return tee().held() == n; });
  }
  bool being_read() {
    return eventually([&] { return disk.waiting() == 1; });
  }
  void drain() {
    g->base().server().drain();
    tee().drain();
  }
};

void damage(std::filesystem::path const& file) {
  std::fstream f(file, std::ios::binary | std::ios::in | std::ios::out);
  f.seekp(object_size / 2);
  f.write("damage", 6);
}

}  // namespace

TEST_CASE("while objects and parts are read after an unclean stop, begun downloads, hits and fills go on") {
  site s;
  for (auto const* target : {"/a", "/b", "/c"}) s.store(target);
  s.store_part("/part");
  s.cut_power();
  s.disk.open_gate();
  CHECK(s.is_hit(s.get("/c"), "/c"));
  s.disk.close();
  mishap stalls;
  stalls.stall_after = 300'000;
  s.offer("/begun");
  s.origin.script(s.origin.count(), stalls);
  auto const begun = s.ask("/begun");
  reply r;
  r.head = begun->read_head();
  r.body = begun->read_bytes(100'000);
  auto const a = s.ask("/a"), b = s.ask("/b"), part = s.ask("/part");
  CHECK(s.held(3));
  CHECK(s.being_read());
  s.origin.release();
  begun->read_body(r);
  CHECK(s.is_whole(r, "/begun"));
  CHECK(s.is_hit(s.get("/c"), "/c"));
  s.offer("/new");
  CHECK(s.is_whole(s.get("/new"), "/new"));
  CHECK(eventually([&] { return s.g->stored("/new"); }));
  CHECK(s.tee().held() == 3);
  CHECK(s.disk.waiting() == 1);
  std::size_t const asked = s.origin.count();
  s.offer("/part");
  s.disk.open_gate();
  CHECK(s.is_hit(a->read_reply(), "/a"));
  CHECK(s.is_hit(b->read_reply(), "/b"));
  CHECK(s.is_whole(part->read_reply(), "/part"));
  CHECK(s.origin.count() == asked + 1);
  CHECK(s.origin.requests().back().value("Range") == "bytes=150000-");
}

TEST_CASE("an object is read once for all who come first, and it is a hit for each") {
  site s;
  s.store("/a");
  s.threads = 2;
  s.cut_power();
  std::size_t const readings = s.disk.readings();
  std::vector<std::unique_ptr<http_client>> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(s.ask("/a"));
  CHECK(s.held(50));
  CHECK(s.being_read());
  s.disk.open_gate();
  for (auto const& c : clients) CHECK(s.is_hit(c->read_reply()));
  CHECK(s.is_hit(s.get("/a")));
  CHECK(s.disk.readings() == readings + 1);
  CHECK(s.origin.count() == 1);
  CHECK(s.tee().held() == 0);
}

TEST_CASE("who waits for an object to be read is held: within the same bounds, and closed in the same cases") {
  site s;
  s.store("/a");
  std::string why;
  SUBCASE("a drain") {
    s.cut_power();
    auto const a = s.ask("/a");
    CHECK(s.held(1));
    CHECK(s.being_read());
    s.drain();
    CHECK(a->closed());
    CHECK(s.tee().idle());
    s.disk.open_gate();
    s.g->stop();
    CHECK(s.g->store().opens_slowly(s.g->key_of("/a")));  // the end did not wait for all of it
    why = "draining";
  }
  SUBCASE("a client that leaves") {
    s.cut_power();
    s.ask("/a");
    CHECK(s.being_read());
    why = "the client left";
  }
  SUBCASE("held too long") {
    s.tee_of.reader.hold = ms(50);
    s.cut_power();
    CHECK(s.ask("/a")->closed());
    why = "held too long";
  }
  SUBCASE("more than may be held") {
    s.tee_of.reader.max_held = 1;
    s.cut_power();
    auto const first = s.ask("/a");
    CHECK(s.held(1));
    auto const second = s.ask("/a");
    CHECK(first->closed());
    s.disk.open_gate();
    CHECK(s.is_hit(second->read_reply()));
    why = "held while others came";
  }
  CHECK(eventually([&] {
    auto const all = s.g->base().records();
    std::size_t n = 0;
    for (auto const& r : all) n += r.failure == why && !r.finished;
    return n == 1;
  }));
  CHECK(s.tee().held() == 0);
  CHECK(s.origin.count() == 1);
}

TEST_CASE("an object that is found to be damaged when it is read is fetched again") {
  site s;
  s.store("/a");
  for (auto const& f : std::filesystem::recursive_directory_iterator(s.directory.path() / "objects"))
    if (f.is_regular_file()) damage(f.path());
  s.cut_power();
  auto const first = s.ask("/a"), second = s.ask("/a");
  CHECK(s.held(2));
  s.disk.open_gate();
  reply const r = first->read_reply();
  CHECK(s.is_whole(r));
  CHECK_FALSE(s.is_hit(r));
  CHECK(s.is_whole(second->read_reply()));
  CHECK(s.origin.count() == 2);
}

TEST_CASE("an object that cannot be read at this moment is neither served nor dropped") {
  site s;
  s.store("/a");
  s.cut_power();
  s.disk.fail(true);
  s.disk.open_gate();
  CHECK(s.is_whole(s.get("/a")));
  CHECK(s.origin.count() == 2);  // past the store
  s.disk.fail(false);
  CHECK(eventually([&] { return s.tee().idle(); }));
  CHECK(s.is_hit(s.get("/a")));
  CHECK(s.origin.count() == 2);
}

TEST_CASE("the end does not wait until a part is read, which is kept") {
  site s;
  s.store_part("/a");
  s.cut_power();
  auto const a = s.ask("/a");
  CHECK(s.held(1));
  CHECK(s.being_read());
  s.drain();
  CHECK(a->closed());
  s.disk.open_gate();
  CHECK(eventually([&] { return s.tee().idle(); }));
  s.g.reset();
  s.start();
  CHECK(s.is_whole(s.get("/a")));
  CHECK(s.origin.requests().back().value("Range") == "bytes=150000-");
}

}  // namespace mgw::proxy::first_reading_test
