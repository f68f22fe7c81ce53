#include <mgw/proxy/tee_to_cache.hpp>
#include <mgw/upstream/rate_limit.hpp>

#include <mgw/proxy/forward.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>
#include <support/scripted_server.hpp>

#include <doctest/doctest.h>

#include <asio/io_context.hpp>

#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <utility>

namespace mgw::proxy::link_care_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::reply;
using namespace std::chrono_literals;

constexpr std::uint64_t KiB = 1024;

/// A rate that the test sets, and the limit that follows it.
struct link {
  std::shared_ptr<std::atomic<std::uint64_t>> rate;
  std::shared_ptr<upstream::rate_limit> limit;
  explicit link(std::uint64_t r) : rate(std::make_shared<std::atomic<std::uint64_t>>(r)) {
    upstream::rate_limit::options o;
    o.rate = [now = rate] { return now->load(); };
    o.look = 1ms;
    limit = std::make_shared<upstream::rate_limit>(std::move(o));
  }
};

/// An origin of one object, and a gateway over a limited link: targets under /api are relayed at once, all others lead
/// to the object.
struct site {
  std::string body;
  test::origin origin;
  test::temporary_directory directory;
  struct link link;
  caching_gateway g;

  explicit site(std::size_t size, std::uint64_t rate, tee_options tee = test::quick_tee(), bool store = true)
      : body(pattern(size)),
        origin(body),
        link(rate),
        g(directory.path(), origin.authority(), options(std::move(tee), store)) {}

  caching_options options(tee_options tee, bool store) {
    tee.fetch.exchange.limit = link.limit;
    tee.fetch.stand_by_look = 1ms;
    forward_options forwarded;
    forwarded.upstream = upstream::endpoint("127.0.0.1", origin.port(), false);
    forwarded.host = origin.authority();
    forwarded.exchange.limit = link.limit;
    caching_options o;
    o.tee = std::move(tee);
    o.store = store;
    o.handler = [this, forwarded](caching_gateway& gateway) -> test::any_handler {
      auto relay = test::forwarder(gateway.base().upstreams, forwarded);
      return [this, relay](exchange& x) {
        if (x.target().path.starts_with("/api")) return relay(x);
        return g.serve_from_origin(x);
      };
    };
    return o;
  }
  std::uint16_t port() const noexcept { return g.port(); }
  fetch_counters const& counters() { return g.tee().counters(); }
  reply get_range(char const* range) { return test::get(port(), "/o", {{"Range", range}}); }
  bool is_whole(reply const& r) const { return r.status() == 200 && r.whole && r.body == body; }
};

/// Fills that leave the link when their last reader has gone, which is noticed soon.
tee_options suspending() {
  tee_options o = test::quick_tee();
  o.fetch.abandoned = when_abandoned::suspend;
  o.reader.trickle = o.reader.look = 20ms;
  return o;
}

reply finish(http_client& c, reply r = {}) {
  if (!r.head.there()) r.head = c.read_head();
  c.read_body(r);
  return r;
}

}  // namespace

TEST_CASE("a fill takes its bytes from the limit, API calls are owed, and a hit costs nothing") {
  site s(1'000'000, 64 * 1024 * KiB);
  CHECK(s.is_whole(test::get(s.port(), "/o")));
  auto const fetched = s.link.limit->used();
  CHECK(fetched <= s.body.size());
  CHECK(fetched + s.link.limit->spent() >=
        s.body.size());  // the request, and what came with the response head, were owed
  CHECK(s.link.limit->spent() < 20 * KiB);
  CHECK(s.is_whole(test::get(s.port(), "/o")));
  CHECK(s.link.limit->used() == fetched);
  auto const owed = s.link.limit->spent();
  http_client c(s.port());
  CHECK(s.is_whole(c.ask("GET", "/api/x")));
  CHECK(s.link.limit->used() == fetched);
  CHECK(s.link.limit->spent() >= owed + s.body.size());
  http_client up(s.port());
  CHECK(up.ask("POST", "/api/y", {}, s.body).status() == 200);
  CHECK(s.link.limit->spent() >= owed + 2 * s.body.size() + s.body.size());
}

TEST_CASE("while a fill waits for the link, API calls are answered and hits come whole") {
  site s(300'000, upstream::unlimited);
  CHECK(s.is_whole(test::get(s.port(), "/hit")));
  CHECK(eventually([&] { return s.g.stored("/hit") && s.g.tee().fills() == 0; }));
  *s.link.rate = KiB;
  http_client c(s.port());
  c.request("GET", "/o");
  CHECK(eventually([&] { return s.link.limit->waiting_now() == 1; }));
  auto const before = s.link.limit->used();
  for (int i = 0; i < 20; ++i) CHECK(s.is_whole(test::get(s.port(), "/api/x")));
  for (int i = 0; i < 3; ++i) CHECK(s.is_whole(test::get(s.port(), "/hit")));
  CHECK(s.g.tee().fills() == 1);  // 6 MB have been relayed, and of these 300 kB a few are there
  CHECK_FALSE(s.g.stored("/o"));
  CHECK(s.link.limit->used() - before < 200'000);
  *s.link.rate = upstream::unlimited;
  CHECK(s.is_whole(finish(c)));
  CHECK(s.counters().faults == 0);
  CHECK(s.counters().again_bytes < s.body.size());
}

TEST_CASE("time in which a fill waits for the link is no silence of the upstream") {
  tee_options o = test::quick_tee();
  o.fetch.exchange.body_silence = 100ms;
  site s(24 * KiB, 4 * KiB, o);  // pieces of 1 KiB: one in 250 ms
  http_client c(s.port());
  c.request("GET", "/o");
  auto const at = s.link.limit->used();
  CHECK(eventually([&] { return s.link.limit->used() >= at + 4 * KiB; }));
  *s.link.rate = 1024 * KiB;
  CHECK(s.is_whole(finish(c)));
  CHECK(s.counters().faults == 0);
  CHECK(s.origin.count() == 1);
}

TEST_CASE("many fills over one limit all come to their end, and together stay within it") {
  site s(200'000, 20'000 * KiB);
  std::vector<std::thread> clients;
  std::atomic<int> whole{0};
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([&, target = "/o" + std::to_string(i)] { whole += s.is_whole(test::get(s.port(), target)); });
  for (auto& t : clients) t.join();
  CHECK(whole == 8);
  CHECK(s.origin.count() == 8);
  CHECK(s.link.limit->used() + s.link.limit->spent() >= 8 * s.body.size());
  CHECK(s.link.limit->waiting_now() == 0);
}

TEST_CASE("while the link is paused nothing is asked for, and what is held gets its answer afterwards") {
  site s(50'000, 0);
  http_client c(s.port());
  c.request("GET", "/o");
  CHECK(eventually([&] { return s.g.log().count("the link is paused") == 1; }));
  CHECK(s.is_whole(test::get(s.port(), "/api/x")));
  CHECK(s.origin.count() == 1);  // the call
  CHECK(s.link.limit->used() == 0);
  CHECK(s.g.tee().fills() == 1);
  *s.link.rate = upstream::unlimited;
  CHECK(s.is_whole(finish(c)));
  CHECK(s.origin.count() == 2);
  CHECK(s.counters().faults == 0);
}

TEST_CASE("a request that was held through a pause for too long is closed as in an outage") {
  tee_options o = test::quick_tee();
  o.reader.hold = 100ms;
  for (bool const store : {true, false}) {
    CAPTURE(store);
    site s(50'000, 0, o, store);
    http_client c(s.port());
    c.request("GET", "/o");
    CHECK(c.closed());
    CHECK(s.origin.count() == 0);
  }
}

TEST_CASE("a pause in the middle: the turn is given back, no byte comes, and afterwards it goes on by range") {
  tee_options o = test::quick_tee();
  o.fetch.max_fills = 1;
  site s(300'000, 16 * KiB, o);
  http_client c(s.port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  r.body = c.read_bytes(2'000);
  *s.link.rate = 0;
  CHECK(eventually([&] { return s.g.log().count("the link is paused") == 1; }));
  auto const used = s.link.limit->used();
  http_client other(s.port());
  other.request("GET", "/other");
  CHECK(eventually([&] { return s.g.log().count("the link is paused") == 2; }));
  CHECK(s.g.tee().waiting_fills() == 0);
  CHECK(s.link.limit->used() == used);
  CHECK(s.origin.count() == 1);
  *s.link.rate = upstream::unlimited;
  CHECK(s.is_whole(finish(c, std::move(r))));
  CHECK(s.is_whole(finish(other)));
  CHECK(s.counters().faults == 0);
  bool resumed = false;
  for (auto const& q : s.origin.requests()) resumed = resumed || !q.value("Range").empty();
  CHECK(resumed);
  CHECK(s.counters().first_time_bytes == 2 * s.body.size());
  CHECK(s.counters().again_bytes == 0);
}

TEST_CASE("past the store the link's limit holds, too, and a pause is an outage") {
  site s(300'000, 2'000 * KiB, test::quick_tee(), false);
  CHECK(s.is_whole(test::get(s.port(), "/o")));
  CHECK(s.link.limit->used() + s.link.limit->spent() >= s.body.size());
  CHECK(s.link.limit->used() <= s.body.size());
  *s.link.rate = 16 * KiB;
  http_client c(s.port());
  c.request("GET", "/o");
  reply r;
  r.head = c.read_head();
  r.body = c.read_bytes(2'000);
  *s.link.rate = 0;
  auto const used = s.link.limit->used();
  CHECK(s.is_whole(test::get(s.port(), "/api/x")));
  CHECK(s.link.limit->used() <= used + 16 * KiB);
  *s.link.rate = upstream::unlimited;
  CHECK(s.is_whole(finish(c, std::move(r))));
}

TEST_CASE("under a small limit the kernel does not receive far ahead, and a limit that falls makes a new connection") {
  std::atomic<std::uint64_t> sent{0}, requests{0};
  std::string const body = pattern(8'000'000);
  test::scripted_server slow([&](test::blocking_socket& c) {
    int const small = 4096;
    ::setsockopt(c.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    std::string unread;
    std::string const head = test::scripted_server::read_head(c, unread);
    if (head.empty()) return;
    ++requests;
    std::size_t at = 0;
    if (auto const range = head.find("Range: bytes="); range != std::string::npos)
      at = std::stoull(head.substr(range + 13));
    std::string const total = std::to_string(body.size());
    std::string answer = at == 0 ? "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\n" : "HTTP/1.1 206 Partial Content\r\n";
    if (at != 0)
      answer +=
          "Content-Range: bytes " + std::to_string(at) + "-" + std::to_string(body.size() - 1) + "/" + total + "\r\n";
    c.send(answer + "ETag: \"v1\"\r\nContent-Length: " + std::to_string(body.size() - at) + "\r\n\r\n");
    sent = 0;
    for (; at < body.size(); at += 1'000) {
      if (!c.send(std::string_view(body).substr(at, 1'000))) return;
      sent += 1'000;
    }
  });
  struct link l(16 * KiB);
  tee_options o = test::quick_tee();
  o.fetch.exchange.limit = l.limit;
  caching_options options;
  options.tee = o;
  test::temporary_directory directory;
  caching_gateway g(directory.path(), "127.0.0.1:" + std::to_string(slow.port()), options);
  bool const falls = [] {
    bool yes = false;
    SUBCASE("small from the beginning") {}
    SUBCASE("that falls") {
      yes = true;
    }
    return yes;
  }();
  if (falls) *l.rate = 4'000 * KiB;
  http_client c(g.port());
  c.request("GET", "/o");
  if (falls) {
    CHECK(eventually([&] { return l.limit->used() >= 1'000'000; }));
    *l.rate = 16 * KiB;
    CHECK(eventually([&] { return requests == 2; }));
  }
  auto const used = l.limit->used();
  CHECK(eventually([&] { return l.limit->used() >= used + 12 * KiB; }));  // at 16 KiB/s: the kernel has had its time
  CHECK(sent > 0);
  CHECK(sent < 100'000);
  CHECK(requests == (falls ? 2 : 1));
  *l.rate = upstream::unlimited;
  reply const r = finish(c);
  CHECK((r.whole && r.body == body));
  CHECK(g.tee().counters().again_bytes == 0);
}

TEST_CASE("a limit that falls makes a new connection only where the upstream is known to go on from the middle") {
  struct {
    char const* upstream;
    bool says, does;
    std::size_t first, second;  // requests after the first fall, and after another one
  } const table[] = {
      {"says and does so", true, true, 2, 3},
      {"says so, but does not", true, false, 2, 2},
      {"says nothing", false, true, 1, 1},
      {"says nothing and does not", false, false, 1, 1},
  };
  for (auto const& row : table) {
    CAPTURE(row.upstream);
    site s(3'000'000, upstream::unlimited);
    mishap m;
    m.ignore_range = !row.does;
    if (row.says) m.fields = {{"Accept-Ranges", "bytes"}};
    s.origin.standing(m);
    *s.link.rate = 4'000 * KiB;
    http_client c(s.port());
    c.request("GET", "/o");
    for (std::size_t const requests : {row.first, row.second}) {
      auto const more = [&](std::uint64_t n) {
        return eventually([&, all = s.link.limit->used() + n] { return s.link.limit->used() >= all; });
      };
      *s.link.rate = 4'000 * KiB;
      CHECK(more(500'000));
      *s.link.rate = 16 * KiB;
      CHECK(eventually([&] { return s.origin.count() == requests; }));
      CHECK(more(6 * KiB));
    }
    *s.link.rate = upstream::unlimited;
    CHECK(s.is_whole(finish(c)));
    CHECK(s.origin.count() == row.second);
    CHECK(s.counters().faults == 0);
    if (row.does || !row.says) CHECK(s.counters().again_bytes == 0);
  }
}

TEST_CASE("suspend: when its last reader has gone, a fill leaves the link, and the next reader goes on with it") {
  tee_options o = suspending();
  o.fetch.reconnect_grace = 20ms;
  o.fetch.max_fills = 1;
  site s(2'000'000, upstream::unlimited, o);
  mishap m;
  m.stall_after = 500'000;
  s.origin.script(0, m);
  {
    http_client c(s.port());
    c.request("GET", "/o");
    CHECK(c.read_head().status() == 200);
    CHECK(c.read_bytes(1'000).size() == 1'000);
    CHECK(eventually([&] { return s.counters().first_time_bytes == 500'000; }));
    c.socket().reset();
  }
  CHECK(eventually([&] { return s.g.log().count("nobody follows it; stands by at byte 500000") == 1; }));
  CHECK(s.counters().faults == 0);
  CHECK(s.is_whole(test::get(s.port(), "/other")));  // the turn is free
  s.origin.release();
  CHECK(eventually([&] { return s.g.tee().fills() == 1; }));
  CHECK(s.origin.count() == 2);
  CHECK(s.is_whole(test::get(s.port(), "/o")));
  CHECK(s.origin.requests()[2].value("Range") == "bytes=500000-");
  CHECK(s.counters().again_bytes == 0);
  CHECK(s.counters().faults == 0);
}

TEST_CASE("suspend: who comes back at once, or after the part was put away, loses nothing") {
  tee_options o = suspending();
  o.fetch.reconnect_grace = 60s;
  mishap m;
  m.stall_after = 500'000;
  bool const at_once = [] {
    bool yes = true;
    SUBCASE("within the grace") {}
    SUBCASE("long after it") {
      yes = false;
    }
    return yes;
  }();
  if (!at_once) {
    o.fetch.reconnect_grace = 0ms;
    o.fetch.abandon_after = 0ms;
  }
  site s(2'000'000, upstream::unlimited, o);
  s.origin.script(0, m);
  {
    http_client c(s.port());
    c.request("GET", "/o");
    CHECK(c.read_bytes(1'000).size() == 1'000);
    CHECK(eventually([&] { return s.counters().first_time_bytes == 500'000; }));
    c.socket().reset();
  }
  CHECK(eventually([&] { return s.g.base().records().size() == 1; }));
  if (!at_once) CHECK(eventually([&] { return s.g.tee().fills() == 0; }));
  http_client again(s.port());
  again.request("GET", "/o", {{"Range", "bytes=1000-"}});
  CHECK(again.read_head().status() == 206);
  s.origin.release();
  std::string const rest = again.read_bytes(s.body.size() - 1'000);
  CHECK(rest == s.body.substr(1'000));
  CHECK(s.origin.count() == (at_once ? 1 : 2));
  CHECK(s.counters().again_bytes == 0);
}

TEST_CASE("suspend: readers that come and go at any moment all get their bytes") {
  tee_options o = suspending();
  o.fetch.reconnect_grace = o.fetch.abandon_after = 0ms;
  site s(2'000'000, 1'000 * KiB, o);
  int served = 0;
  for (int i = 0; i < 60; ++i) {
    reply const r = s.get_range("bytes=0-9");
    served += r.status() == 206 && r.body == s.body.substr(0, 10);
  }
  CHECK(served == 60);
  CHECK(s.counters().faults == 0);
  *s.link.rate = upstream::unlimited;
  CHECK(s.is_whole(test::get(s.port(), "/o")));
}

TEST_CASE("a fill that is about to end for want of readers does so only while there is none") {
  asio::io_context io;
  auto const job = std::make_shared<fetch_job>(cache::key(), io.get_executor());
  {
    fetch_job::reader_count const reading(job);
    CHECK_FALSE(job->end_if_unread());
    CHECK_FALSE(job->ended());
  }
  CHECK(job->end_if_unread());
  CHECK(job->ended());
}

TEST_CASE("suspend: a fill that nobody wants any more does not wait in line for its turn") {
  tee_options o = suspending();
  o.fetch.reconnect_grace = 20ms;
  o.fetch.max_fills = 1;
  site s(100'000, upstream::unlimited, o);
  mishap m;
  m.stall_after = 50'000;
  s.origin.script(0, m);
  http_client c(s.port());
  c.request("GET", "/first");
  CHECK(s.origin.stalled());
  {
    http_client gone(s.port());
    gone.request("GET", "/gone");
    CHECK(eventually([&] { return s.g.tee().waiting_fills() == 1; }));
    gone.socket().reset();
  }
  CHECK(eventually([&] { return s.g.tee().waiting_fills() == 0; }));
  s.origin.release();
  CHECK(s.is_whole(finish(c)));
  CHECK(s.origin.count() == 1);
  CHECK(s.is_whole(test::get(s.port(), "/gone")));
}

}  // namespace mgw::proxy::link_care_test
