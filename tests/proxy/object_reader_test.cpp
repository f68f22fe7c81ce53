#include <mgw/proxy/object_reader.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/store_rigs.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/uio.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace mgw::proxy::object_reader_test {
namespace {

using test::http_client;
using test::pattern;
using test::reply;

/// A fill that the test moves by hand, of a body in a Rig's store, and a gateway that serves it.
template <class Rig>
struct site_of {
  std::string body;
  test::temporary_directory directory;
  Rig rig;
  typename Rig::store_type::part_type part;
  std::shared_ptr<cache::file const> file;
  std::shared_ptr<cache::fill> fill = std::make_shared<cache::fill>();
  disk_threads disk{std::chrono::seconds(20)};
  reader_options options;
  cache::ledger book{{}};
  held_requests held{100, {}};
  fetch_source link;  // what clients come with
  test::gateway g;

  explicit site_of(std::size_t size, reader_options o = {}, server_options served = {})
      : body(pattern(size)), rig(test::store_settings(directory.path())), part(*rig.store.create(about())), options(o) {
    REQUIRE_FALSE(part.append(body));
    file = part.body();
    g.start([this](exchange& x) { return answer(*this, x); }, std::move(served));
  }
  ~site_of() {
    g.stop([this] { disk.join(); });
  }
  cache::meta about() const {
    cache::meta m;
    m.length = body.size();
    m.etag = "\"v1\"";
    m.generation = 1;
    return m;
  }
  void begin(std::uint64_t stored) { fill->begin(about(), file, stored); }
  static asio::awaitable<void> answer(site_of& self, exchange& x) {
    link_promise promise(self.book, self.disk, cache::key(), self.link);
    auto reader = std::make_unique<object_reader>(x, self.fill, self.disk, self.options, promise, self.held);
    auto const outcome = co_await reader->serve();
    if (outcome == object_reader::outcome::done) co_return;
    body_position const p = reader->position();
    x.notes().failure = "bypassed at " + std::to_string(p.at) + " of " + std::to_string(p.end);
    x.abort();
  }
};

using site = site_of<test::disk_rig>;

}  // namespace

TEST_CASE_TEMPLATE("a reader follows the growing edge, the reserve behind it", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(100'000);
  http_client c(s.g.port());
  c.request("GET", "/");
  s.begin(0);
  s.fill->grew(4096);  // not more than the reserve: no head yet
  s.fill->grew(4097);
  reply r;
  r.head = c.read_head();
  CHECK(r.status() == 200);
  CHECK(r.value("Content-Length") == "100000");
  r.body = c.read_bytes(1);
  for (std::size_t at = 10'000; at < s.body.size(); at += 10'000) {
    s.fill->grew(at);
    r.body += c.read_bytes(at - 4096 - r.body.size());
    CHECK(r.body.size() == at - 4096);
  }
  s.fill->grew(s.body.size());
  r.body += c.read_bytes(s.body.size() - r.body.size());  // all there: no reserve any more
  CHECK((r.body == s.body));
  s.fill->completed();
  CHECK(c.get("/").body.size() == s.body.size());
}

TEST_CASE_TEMPLATE("news that come while nobody waits are not lost", Rig, MGW_EVERY_RIG) {
  for (int i = 0; i < 15; ++i) {
    site_of<Rig> s(20'000);
    http_client c(s.g.port());
    c.request("GET", "/");
    std::thread filler([&s] {
      s.begin(0);
      for (std::size_t n = 1000; n <= 20'000; n += 1000) s.fill->grew(n);
      s.fill->completed();
    });
    CHECK((c.read_reply().body == s.body));
    filler.join();
  }
}

TEST_CASE("the reserve is given out byte by byte in silence, and no further") {
  reader_options o;
  o.trickle = std::chrono::milliseconds(1);
  o.reserve = 64;
  site s(1000, o);
  s.begin(500);
  http_client c(s.g.port());
  c.request("GET", "/");
  reply r;
  r.head = c.read_head();
  r.body = c.read_bytes(500);
  CHECK((r.body == s.body.substr(0, 500)));
  s.fill->grew(1000);
  s.fill->completed();
  c.read_body(r);
  CHECK((r.whole && r.body == s.body));
}

TEST_CASE("a client that leaves while it waits for more is noticed long before the next byte is due") {
  reader_options o;
  o.trickle = std::chrono::hours(1);
  o.look = std::chrono::milliseconds(1);
  site s(100'000, o);
  s.begin(50'000);
  for (bool const reset : {false, true}) {
    CAPTURE(reset);
    http_client c(s.g.port());
    c.request("GET", "/");
    c.read_head();
    CHECK(c.read_bytes(50'000 - 4096).size() == 50'000 - 4096);
    auto const before = s.g.records().size();
    if (reset)
      c.socket().reset();
    else
      c.socket().close();
    REQUIRE(test::eventually([&] { return s.g.records().size() == before + 1; }));
    CHECK(s.g.records().back().failure == "the client left");
  }
  http_client patient(s.g.port());
  patient.request("GET", "/");
  reply r;
  r.head = patient.read_head();
  patient.socket().send("GET / HTTP/1.1\r\n");  // of its next request: it is there
  s.fill->grew(100'000);
  s.fill->completed();
  patient.read_body(r);
  CHECK((r.whole && r.body == s.body));
  patient.socket().send("Host: a\r\n\r\n");
  CHECK((patient.read_reply().body == s.body));
}

TEST_CASE_TEMPLATE("how a fill ends is how its readers end", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(100'000);
  http_client waiting(s.g.port()), begun(s.g.port()), ranged(s.g.port());
  waiting.request("GET", "/", {{"Range", "bytes=90000-"}});
  begun.request("GET", "/");
  s.begin(50'000);
  reply r;
  r.head = begun.read_head();
  r.body = begun.read_bytes(50'000 - 4096);
  ranged.request("GET", "/", {{"Range", "bytes=10-19"}});
  CHECK(ranged.read_reply().body == s.body.substr(10, 10));
  SUBCASE("cut: the object was replaced") {
    s.fill->cut();
    CHECK(waiting.closed());
    begun.read_body(r);
    CHECK_FALSE(r.whole);
    CHECK((r.body == s.body.substr(0, r.body.size())));
    ranged.request("GET", "/");
    CHECK(ranged.closed());
  }
  SUBCASE("refused") {
    s.fill->refuse(404);
    CHECK(waiting.closed());  // a resume
    begun.read_body(r);
    CHECK_FALSE(r.whole);
    CHECK(ranged.get("/").status() == 404);
    CHECK(ranged.get("/", {{"Range", "bytes=0-"}}).status() == 404);
  }
  SUBCASE("bypassed: what is stored is used, then somebody else goes on") {
    s.fill->bypass();
    CHECK(waiting.closed());
    begun.read_body(r);
    CHECK_FALSE(r.whole);
    CHECK((r.body == s.body.substr(0, 50'000)));
    CHECK(test::eventually([&] {
      for (auto const& e : s.g.records())
        if (e.failure == "bypassed at 50000 of 100000") return true;
      return false;
    }));
  }
  SUBCASE("complete") {
    s.fill->grew(100'000);
    s.fill->completed();
    begun.read_body(r);
    CHECK((r.whole && r.body == s.body));
    CHECK(waiting.read_reply().body == s.body.substr(90'000));
  }
}

TEST_CASE("a link that was begun with another generation, or is older than this one: no resume, but a first GET") {
  site s(1000);
  SUBCASE("begun with another one") {
    s.link.link = cache::link_id();
    s.book.begin(cache::link_id(), 2, 4'000'000'000);
  }
  SUBCASE("older than the replacement") {
    s.link.issued = 1;
    s.book.saw(cache::key(), 2);
    CHECK(s.book.saw(cache::key(), 1));
  }
  s.begin(1000);
  s.fill->completed();
  for (std::string const range : {"bytes=1-", "bytes=-5"}) {
    CAPTURE(range);
    http_client c(s.g.port());
    c.request("GET", "/", {{"Range", range}});
    CHECK(c.closed());
  }
  CHECK(test::get(s.g.port(), "/").body == s.body);
  CHECK(test::get(s.g.port(), "/", {{"Range", "bytes=0-9"}}).status() == 206);
}

TEST_CASE("draining ends what has no head, not what has") {
  site s(100'000);
  http_client held(s.g.port()), begun(s.g.port());
  held.request("GET", "/", {{"Range", "bytes=90000-"}});
  begun.request("GET", "/");
  s.begin(50'000);
  reply r;
  r.head = begun.read_head();
  s.g.server().drain();
  CHECK(held.closed());
  s.fill->grew(100'000);
  s.fill->completed();
  begun.read_body(r);
  CHECK((r.whole && r.body == s.body));
  CHECK(test::eventually([&] { return s.g.server().idle(); }));
}

namespace {

/// A body that says it is in memory and counts who asks; `shown` is what is sent straight from it.
class told_file final : public cache::file {
public:
  told_file(int shown, std::shared_ptr<cache::file const> real) : file(shown), real_(std::move(real)) {}
  std::uint64_t resident(std::uint64_t, std::uint64_t n) const noexcept override { return ++asked, n; }
  ssize_t read(std::span<iovec const> into, std::uint64_t offset, int flags) const noexcept override {
    ++reads;
    return real_->read(into, offset, flags);
  }
  bool read_beside_writes() const noexcept override { return beside; }
  mutable std::atomic<int> asked = 0, reads = 0;
  bool beside = true;

private:
  std::shared_ptr<cache::file const> real_;
};

}  // namespace

TEST_CASE_TEMPLATE("what is in memory is sent straight from its file, ranges as well, and while it grows", Rig, MGW_EVERY_RIG) {
  site_of<Rig> s(5'000'000);
  auto const body = std::make_shared<told_file>(::fcntl(s.file->fd(), F_DUPFD_CLOEXEC, 0), s.file);
  s.file = body;
  s.begin(4'000'000);
  http_client first(s.g.port());
  first.request("GET", "/", {{"Range", "bytes=0-2999999"}});
  CHECK((first.read_reply().body == s.body.substr(0, 3'000'000)));
  CHECK(body->asked >= 1);
  CHECK(body->reads < 10);
  s.fill->grew(4'500'000);
  first.request("GET", "/", {{"Range", "bytes=3900000-4999999"}});  // beyond what is there
  reply r;
  r.head = first.read_head();
  r.body = first.read_bytes(550'000);
  s.fill->grew(5'000'000);
  s.fill->completed();
  first.read_body(r);
  CHECK((r.body == s.body.substr(3'900'000)));
  CHECK((first.get("/").body == s.body));
  CHECK(body->asked >= 3);
  first.request("GET", "/", {{"Range", "bytes=1234567-4765432"}});
  CHECK((first.read_reply().body == s.body.substr(1'234'567, 3'530'866)));
  CHECK((first.get("/").body == s.body));
}

TEST_CASE("where who reads would wait for who writes, what grows is read") {
  site s(5'000'000);
  auto const body = std::make_shared<told_file>(::fcntl(s.file->fd(), F_DUPFD_CLOEXEC, 0), s.file);
  body->beside = false;
  s.file = body;
  s.begin(4'000'000);
  http_client c(s.g.port());
  c.request("GET", "/", {{"Range", "bytes=0-2999999"}});
  CHECK((c.read_reply().body == s.body.substr(0, 3'000'000)));
  CHECK(body->asked == 0);
  s.fill->grew(5'000'000);
  s.fill->completed();
  CHECK((c.get("/").body == s.body));
  CHECK(body->asked >= 1);
}

TEST_CASE("a file that cannot be sent from is read, and asked no more") {
  site s(3'000'000);
  auto const body = std::make_shared<told_file>(::open("/dev/null", O_RDONLY | O_CLOEXEC), s.file);
  s.file = body;
  s.begin(3'000'000);
  s.fill->completed();
  CHECK((test::get(s.g.port(), "/").body == s.body));
  CHECK(body->asked == 1);
}

TEST_CASE("a client that takes nothing of what is sent straight from its file is cut after send_silence") {
  server_options o;
  o.send_silence = std::chrono::milliseconds(100);
  site s(20'000'000, {}, o);
  s.begin(20'000'000);
  s.fill->completed();
  http_client c(s.g.port());
  c.request("GET", "/");
  CHECK(test::eventually([&] { return s.g.records().size() == 1; }));
  CHECK_FALSE(s.g.records().front().finished);
}

TEST_CASE("a list of entity tags") {
  struct {
    char const *list, *etag;
    bool listed;
  } const cases[] = {
      {"\"a\"", "\"a\"", true},
      {"\"b\", \"a\"", "\"a\"", true},
      {"W/\"a\"", "\"a\"", true},
      {"\"a\"", "W/\"a\"", true},
      {",, \"b\" ,\t\"a\",", "\"a\"", true},
      {"\"ab\"", "\"a\"", false},
      {"\"x\",\"y\"", "\",\"", false},
      {"", "\"a\"", false},
      {"\"a", "\"a", false},
      {"a", "\"a\"", false},
      {"\"\"", "\"\"", true},
      {"x \"a\"", "\"a\"", false},
  };
  for (auto const& c : cases) {
    std::string const list = c.list;
    CAPTURE(list);
    CHECK(reader_detail::lists_etag(c.list, c.etag) == c.listed);
  }
}

}  // namespace mgw::proxy::object_reader_test
