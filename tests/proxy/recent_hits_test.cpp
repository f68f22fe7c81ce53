#include <mgw/proxy/recent_hits.hpp>

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/proxy/tee_to_cache.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::proxy::recent_hits_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::get;
using test::pattern;
using test::reply;

/// The real disk; counts how often an object's body is opened, and how often an open one is looked at.
class counting_files final : public cache::file_ops {
public:
  std::atomic<std::size_t> opened = 0, looked_at = 0;

  result<std::shared_ptr<cache::file const>> open(std::string const& path, int flags) override {
    if (path.find("/objects/") != std::string::npos) ++opened;
    return file_ops::open(path, flags);
  }
  result<std::uint64_t> size(int fd) override {
    ++looked_at;
    return file_ops::size(fd);
  }
};

struct site {
  std::string const body = pattern(100'000);
  test::origin origin{body};
  test::temporary_directory directory;
  counting_files disk;
  caching_gateway g;

  explicit site(std::chrono::milliseconds keep, std::size_t most = 64, std::size_t threads = 1)
      : g(directory.path(), origin.authority(), options(keep, most, threads)) {}
  caching_options options(std::chrono::milliseconds keep, std::size_t most, std::size_t threads) {
    caching_options o;
    o.ops = &disk;
    o.threads = threads;
    o.tee.keep_open = keep;
    o.tee.max_kept_open = most;
    return o;
  }
  /// Fetches it into the cache.
  void store(std::string const& target) {
    CHECK(get(g.port(), target).status() == 200);
    CHECK(eventually([&] { return g.tee().fills() == 0 && !in_use(target); }));
  }
  bool in_use(std::string const& target) {
    for (auto const& e : g.store().entries())
      if (e.meta.key == g.key_of(target)) return e.in_use;
    return false;
  }
  void check_hit(std::string const& target) {
    reply const r = get(g.port(), target);
    CHECK((r.status() == 200 && r.whole && r.body == body));
    CHECK(r.value("Cache-Status") == "mgw; hit");
  }
  void check_miss(std::string const& target) {
    reply const r = get(g.port(), target);
    CHECK((r.status() == 200 && r.whole && r.body == body));
    CHECK(r.value("Cache-Status") == "mgw; fwd=miss; stored");
  }
};

constexpr std::chrono::hours long_time{1};

}  // namespace

TEST_CASE("an object that was opened is served again without asking the disk for it") {
  site s(long_time);
  s.store("/a");
  s.check_hit("/a");
  std::size_t const opened = s.disk.opened, looked_at = s.disk.looked_at;
  for (int n = 0; n < 20; ++n) s.check_hit("/a");
  CHECK(get(s.g.port(), "/a", {{"Range", "bytes=90000-"}}).body == s.body.substr(90'000));
  CHECK(s.disk.opened == opened);
  CHECK(s.disk.looked_at == looked_at);
  CHECK(s.origin.count() == 1);
}

TEST_CASE("with no time to be kept, or no room, an object is opened each time") {
  std::chrono::milliseconds keep = long_time;
  std::size_t most = 64;
  SUBCASE("no time") {
    keep = std::chrono::milliseconds(0);
  }
  SUBCASE("no room") {
    most = 0;
  }
  site s(keep, most);
  s.store("/a");
  for (int n = 0; n < 3; ++n) {
    std::size_t const opened = s.disk.opened;
    s.check_hit("/a");
    CHECK(eventually([&] { return !s.in_use("/a"); }));
    CHECK(s.disk.opened == opened + 1);
  }
}

TEST_CASE("an object that was removed is fetched again, however shortly it was opened before") {
  site s(long_time);
  s.store("/a");
  s.check_hit("/a");
  CHECK_FALSE(s.g.store().remove(s.g.key_of("/a")));
  s.check_miss("/a");
}

TEST_CASE("an object that was replaced is served as it is now") {
  site s(long_time);
  s.store("/a");
  s.check_hit("/a");
  auto about = s.g.store().about(s.g.key_of("/a"));
  REQUIRE(about);
  std::string const other(1000, 'x');
  about->etag = "\"another\"";
  about->generation = 77;
  about->length = other.size();
  auto part = s.g.store().create(*about);
  REQUIRE(part);
  CHECK_FALSE(part->append(other));
  CHECK_FALSE(part->commit(other.size()));
  reply const r = get(s.g.port(), "/a");
  CHECK((r.status() == 200 && r.whole && r.body == other));
  CHECK(r.value("ETag") == "\"another\"");
}

TEST_CASE("an object is let go of when it has not been opened anew for the time it is kept") {
  site s(std::chrono::milliseconds(20));
  s.store("/a");
  s.check_hit("/a");
  CHECK(eventually([&] { return !s.in_use("/a"); }));
  std::size_t const opened = s.disk.opened;
  s.check_hit("/a");
  CHECK(s.disk.opened == opened + 1);
}

TEST_CASE("what is kept open gives way when something else is fetched") {
  site s(long_time);
  s.store("/a");
  s.check_hit("/a");
  CHECK(s.in_use("/a"));
  s.check_miss("/b");
  CHECK(eventually([&] { return !s.in_use("/a"); }));
}

TEST_CASE("there are never more kept open than may be") {
  site s(long_time, 1);
  s.store("/a");
  s.store("/b");
  s.check_hit("/a");
  for (int n = 0; n < 3; ++n) {
    std::size_t const looked_at = s.disk.looked_at;
    s.check_hit("/b");
    CHECK(s.disk.looked_at == looked_at + 1);
    s.check_hit("/a");
    CHECK(s.disk.looked_at == looked_at + 1);
  }
}

TEST_CASE("all workers share what is kept open, while it is removed and comes again") {
  site s(std::chrono::milliseconds(5), 64, 2);
  s.store("/a");
  std::atomic<bool> wrong = false;
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i)
    clients.emplace_back([&] {
      for (int n = 0; n < 30; ++n) {
        reply const r = get(s.g.port(), "/a");
        if (r.status() != 200 || !r.whole || r.body != s.body) wrong = true;
      }
    });
  for (int n = 0; n < 10; ++n) {
    (void)s.g.store().remove(s.g.key_of("/a"));
    std::this_thread::yield();
    if (get(s.g.port(), "/a").body != s.body) wrong = true;
  }
  for (auto& c : clients) c.join();
  CHECK_FALSE(wrong);
}

}  // namespace mgw::proxy::recent_hits_test
