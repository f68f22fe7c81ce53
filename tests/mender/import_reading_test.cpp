#include <mgw/mender/artifact_route.hpp>

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/sha256.hpp>

#include <support/artifact_handler.hpp>
#include <support/gated_files.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <string>

namespace mgw::mender::import_reading_test {
namespace {

using test::eventually;
using test::http_client;
using test::pattern;
using test::reply;

/// A gateway that serves artifact links, after a power cut: its store has an import that was not read since.
struct site {
  std::string const body = pattern(600'000), carried = body + "another tail";
  test::origin origin{body};
  test::temporary_directory directory;
  test::gated_files disk;
  link_sealer links{{std::string(32, 's')}};
  cache::key const import = store_import();
  test::caching_gateway g{directory.path(), origin.authority(), options()};

  site() { disk.close(); }
  ~site() { disk.open_gate(); }
  cache::key store_import() const {
    test::disk_rig rig{test::store_settings(directory.path())};
    cache::sha256_digest digest{};
    cache::sha256 hash;
    REQUIRE_FALSE(hash.update(carried));
    REQUIRE_FALSE(hash.digest(digest));
    cache::meta m;
    m.key = *cache::import_key(cache::to_hex(digest));
    m.length_known = true;
    m.length = carried.size();
    m.generation = cache::import_generation(m.key);
    auto part = rig.store.create(m);
    REQUIRE(part);
    REQUIRE_FALSE(part->append(carried));
    REQUIRE_FALSE(part->commit(carried.size()));
    return m.key;
  }
  test::caching_options options() {
    std::filesystem::remove(directory.path() / "clean");
    test::caching_options o;
    o.ops = &disk;
    o.tee.reader.look = std::chrono::milliseconds(10);
    o.handler = [this](test::caching_gateway& at) { return test::artifact_handler(links, at); };
    return o;
  }
  std::unique_ptr<http_client> ask() const {
    link_claims c;
    c.url = origin.url("/a");
    c.issued = static_cast<std::int64_t>(std::time(nullptr));
    c.expires = c.issued + 3600;
    c.import = true;
    auto client = std::make_unique<http_client>(g.port());
    client->request("GET", artifact_path(import, links.seal(import, c)));
    return client;
  }
  bool held(std::size_t n) {
    return eventually([&] { return g.tee().held() == n && disk.waiting() == 1; });
  }
};

}  // namespace

TEST_CASE("who waits for an import to be read is held, and gets it when it was read") {
  site s;
  auto const a = s.ask(), b = s.ask();
  CHECK(s.held(2));
  SUBCASE("it is whole") {
    s.disk.open_gate();
    CHECK(a->read_reply().body == s.carried);
    CHECK(b->read_reply().body == s.carried);
    CHECK(s.origin.count() == 0);
  }
  SUBCASE("it cannot be read") {
    s.disk.fail(true);
    s.disk.open_gate();
    CHECK(a->read_reply().body == s.body);
    CHECK(b->read_reply().body == s.body);
  }
  SUBCASE("draining") {
    s.g.base().server().drain();
    s.g.tee().drain();
    CHECK(a->closed());
    CHECK(b->closed());
    CHECK(s.origin.count() == 0);
  }
  CHECK(s.g.tee().held() == 0);
}

}  // namespace mgw::mender::import_reading_test
