#include <mgw/proxy/tee_to_cache.hpp>

#include <support/failing_files.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/uio.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <utility>

namespace mgw::proxy::disk_faults_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define MGW_TEST_IS_SLOW
#endif
#endif
#ifdef MGW_TEST_IS_SLOW
constexpr std::size_t step = 4;  // every one of them is tried without sanitizers
#else
constexpr std::size_t step = 1;
#endif
constexpr std::size_t object_size = 120'000, part_size = 60'000;

/// Where an object is before a client comes.
enum class before { nothing, part, complete };

/// An origin, and a gateway on a disk that may fail.
struct site {
  std::string const body = pattern(object_size);
  test::origin origin{body};
  test::temporary_directory directory{true};
  test::failing_files disk;
  std::optional<caching_gateway> g;

  explicit site(before what) {
    start();
    if (what == before::complete) CHECK(stores());
    if (what != before::part) return;
    mishap m;
    m.stall_after = part_size;
    origin.script(0, m);
    http_client c(g->port());
    c.request("GET", "/o");
    CHECK(c.read_bytes(1000).size() == 1000);
    CHECK(eventually([&] { return g->tee().counters().first_time_bytes == part_size; }));
    g->tee().stop();
    origin.release();
    CHECK(settles());
    start();
  }
  void start() {
    g.reset();
    caching_options o;
    o.ops = &disk;
    o.tee.fetch.batch = 32 * 1024;
    o.tee.fetch.checkpoint_every = std::chrono::milliseconds(0);
    g.emplace(directory.path(), origin.authority(), std::move(o));
  }
  bool settles() {
    return eventually([&] { return g->tee().fills() == 0; });
  }
  bool is_whole(reply const& r) const { return r.status() == 200 && r.whole && r.body == body; }
  bool is_end(reply const& r) const { return r.status() == 206 && r.whole && r.body == body.substr(90'000); }
  bool gets_all() const { return is_whole(test::get(g->port(), "/o")); }
  bool stores() { return gets_all() && settles() && g->stored("/o"); }
  /// Two clients at once that come before the fault, then two that come after it.
  void check_clients() {
    http_client all(g->port()), end(g->port());
    all.request("GET", "/o");
    end.request("GET", "/o", {{"Range", "bytes=90000-"}});
    CHECK(is_whole(all.read_reply()));
    CHECK(is_end(end.read_reply()));
    CHECK(settles());
    CHECK(is_end(test::get(g->port(), "/o", {{"Range", "bytes=90000-"}})));
    CHECK(gets_all());
    CHECK(settles());
  }
  /// The fault is over: the next client's download is stored, and the one after it costs nothing.
  void check_recovery() {
    CHECK(stores());
    std::size_t const sent = origin.sent(), asked = origin.count();
    reply const r = test::get(g->port(), "/o");
    CHECK(is_whole(r));
    CHECK(r.value("Cache-Status") == "mgw; hit");
    CHECK(origin.sent() == sent);
    CHECK(origin.count() == asked);
  }
};

/// The real disk, whose file system does not support reads that do not wait.
class untelling_files final : public cache::file_ops {
public:
  std::atomic<std::size_t> asked = 0, asked_again = 0, waited = 0;

  result<std::shared_ptr<cache::file const>> open(std::string const& path, int flags) override {
    auto opened = file_ops::open(path, flags);
    if (!opened) return opened;
    return std::shared_ptr<cache::file const>(std::make_shared<body const>(*this, *std::move(opened)));
  }

private:
  class body final : public cache::file {
  public:
    body(untelling_files& disk, std::shared_ptr<cache::file const> real)
        : file(::fcntl(real->fd(), F_DUPFD_CLOEXEC, 0)), disk_(disk) {}
    ssize_t read(std::span<iovec const> into, std::uint64_t offset, int flags) const noexcept override {
      if ((flags & RWF_NOWAIT) == 0) {
        ++disk_.waited;
        return file::read(into, offset, flags);
      }
      ++disk_.asked;
      if (asked_.exchange(true)) ++disk_.asked_again;
      errno = EOPNOTSUPP;
      return -1;
    }
    std::uint64_t resident(std::uint64_t, std::uint64_t) const noexcept override { return 0; }

  private:
    untelling_files& disk_;
    mutable std::atomic<bool> asked_ = false;
  };
};

}  // namespace

TEST_CASE(
    "on a file system that cannot tell what is in memory, each file is asked once, and the pool reads all of it") {
  std::string const body = pattern(object_size * 5);
  test::origin origin(body);
  test::temporary_directory const directory;
  untelling_files disk;
  caching_options o;
  o.ops = &disk;
  caching_gateway g(directory.path(), origin.authority(), std::move(o));
  for (int n = 0; n < 3; ++n) {
    reply const r = test::get(g.port(), "/o");
    CHECK((r.status() == 200 && r.whole && r.body == body));
    CHECK(eventually([&] { return g.tee().fills() == 0; }));
  }
  CHECK(test::get(g.port(), "/o").value("Cache-Status") == "mgw; hit");
  CHECK(origin.count() == 1);
  CHECK(disk.asked > 0);
  CHECK(disk.asked_again == 0);
  CHECK(disk.waited > disk.asked);
}

TEST_CASE("whatever a disk fails at, clients get their bytes, and the object is stored when it works again") {
  before what = before::nothing;
  SUBCASE("a fill and its commit") {}
  SUBCASE("a fill that goes on with a part") {
    what = before::part;
  }
  SUBCASE("a hit") {
    what = before::complete;
  }
  for (int const error : {ENOSPC, EIO, EROFS})
    for (bool const lasting : {false, true}) {
      bool done = false;
      std::size_t effects = 0;  // how often one was felt upstream
      for (std::size_t n = 0; !done; n += step) {
        CAPTURE(error);
        CAPTURE(lasting);
        CAPTURE(n);
        site s(what);
        std::size_t const asked = s.origin.count();
        s.disk.fail_at(n, error, lasting);
        s.check_clients();
        effects += s.origin.count() > asked + (what == before::complete ? 0 : 1);
        done = s.disk.seen() <= n;
        s.disk.heal();
        s.check_recovery();
        REQUIRE(n < 1000);
      }
      CHECK(effects != 0);
    }
}

}  // namespace mgw::proxy::disk_faults_test
