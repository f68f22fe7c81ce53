#include "health.hpp"

#include <support/blocking_socket.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace gateway::health_test {
namespace {

using mgw::test::eventually;
using mgw::test::reply;

/// A gateway that answers everything with its health; time passes when the test says so.
struct site {
  mgw::test::origin upstream{"x"};
  mgw::test::gateway g;
  std::atomic<std::int64_t> passed{0};  // seconds
  std::atomic<bool> disk_hangs{false}, refused{false};

  explicit site(std::vector<std::string> warnings = {}) {
    health::options o;
    o.warnings = std::move(warnings);
    o.management_trouble = [this] { return refused ? std::string("no") : std::string(); };
    o.upstream = mgw::upstream::endpoint("127.0.0.1", upstream.port(), false);
    o.now = [this, begun = health::clock::now()] { return begun + std::chrono::seconds(passed); };
    o.cache_trouble = [this] { return disk_hangs ? std::string("the \"disk\" hangs") : std::string(); };
    auto const h = std::make_shared<health>(g.upstreams, std::move(o));
    mgw::proxy::server_options server;
    server.first_at_drain = std::chrono::seconds(30);
    g.start([h](mgw::proxy::exchange& x) { return (*h)(x); }, server);
  }
  ~site() { g.stop(); }
  reply ask() const { return mgw::test::get(g.port(), "/api/internal/v1/gateway/health"); }
};

}  // namespace

TEST_CASE("a gateway is ready while its upstream can be connected to; what was found counts for a while") {
  site s;
  reply r = s.ask();
  CHECK(r.status() == 200);
  CHECK(r.body == "{\"ready\":true}");
  CHECK(r.value("Content-Type") == "application/json; charset=utf-8");
  CHECK(eventually([&] { return s.upstream.connections() == 1; }));
  s.upstream.refuse();
  s.upstream.cut_all();
  s.passed = 4;
  CHECK(s.ask().status() == 200);
  s.passed = 5;
  r = s.ask();
  CHECK(r.status() == 503);
  CHECK(r.body == "{\"ready\":false,\"reasons\":[\"upstream: tcp: Connection refused\"]}");
  s.upstream.accept_again();
  s.passed = 9;
  CHECK(s.ask().status() == 503);
  s.passed = 10;
  CHECK(s.ask().status() == 200);
  s.passed = 20;
  CHECK(s.ask().status() == 200);
  CHECK(eventually([&] { return s.upstream.connections() == 2; }));  // one that is open is enough
  CHECK(s.upstream.count() == 0);                                    // and nothing is asked on it
}

TEST_CASE("every reason is said, and the cache's is looked at each time") {
  site s;
  CHECK(s.ask().status() == 200);
  s.disk_hangs = true;
  reply const r = s.ask();
  CHECK(r.status() == 503);
  CHECK(r.body == R"({"ready":false,"reasons":["cache: the \"disk\" hangs"]})");
  s.upstream.refuse();
  s.upstream.cut_all();
  s.passed = 60;
  CHECK(s.ask().body ==
        R"({"ready":false,"reasons":["upstream: tcp: Connection refused","cache: the \"disk\" hangs"]})");
  s.disk_hangs = false;
  mgw::test::http_client head(s.g.port());
  reply const h = head.ask("HEAD", "/");
  CHECK(h.status() == 503);
  CHECK(h.body.empty());
}

TEST_CASE("a gateway that is about to stop is not ready") {
  site s;
  auto early = mgw::test::blocking_socket::connect(s.g.port());
  REQUIRE(eventually([&] { return s.g.server().connections() == 1; }));
  s.g.server().drain();
  std::promise<void> drained;
  s.g.workers.post([&](mgw::net::worker&) { drained.set_value(); });
  drained.get_future().wait();
  REQUIRE(early.send("GET /api/internal/v1/gateway/health HTTP/1.1\r\nHost: a\r\n\r\n"));
  std::string got;
  while (early.receive(got)) {
  }
  CHECK(got.starts_with("HTTP/1.1 503 "));
  CHECK(got.ends_with("{\"ready\":false,\"reasons\":[\"the gateway is stopping\"]}"));
}

TEST_CASE("what is amiss without keeping the gateway from its work is said, and it is ready all the same") {
  site s({"cache: it is \"off\"", "b"});
  CHECK(s.ask().status() == 200);
  CHECK(s.ask().body == R"({"ready":true,"warnings":["cache: it is \"off\"","b"]})");
  s.disk_hangs = true;
  CHECK(s.ask().body ==
        R"({"ready":false,"reasons":["cache: the \"disk\" hangs"],"warnings":["cache: it is \"off\"","b"]})");
  s.disk_hangs = false;
  s.refused = true;
  CHECK(s.ask().status() == 200);
  CHECK(s.ask().body == R"({"ready":true,"warnings":["cache: it is \"off\"","b","management API: no"]})");
}

TEST_CASE("a verdict without asking upstream; a status page that is not there is a warning") {
  mgw::test::gateway g;
  health::options o;
  std::string trouble;
  o.status_page_trouble = [&trouble] { return trouble; };
  o.warnings = {"first"};
  health const h(g.upstreams, std::move(o));
  CHECK(h.judge("", false).reasons.empty());
  CHECK(h.judge("", false).warnings == std::vector<std::string>{"first"});
  trouble = "cannot listen on 127.0.0.1:9103";
  CHECK(h.judge("", false).warnings == std::vector<std::string>{"first", "status page: cannot listen on 127.0.0.1:9103"});
  CHECK(h.judge("tcp: no", true).reasons == std::vector<std::string>{"the gateway is stopping", "upstream: tcp: no"});
}

TEST_CASE("what is found out about upstream is told once, not what is known") {
  mgw::test::origin upstream{"x"};
  mgw::test::gateway g;
  std::atomic<int> told{0}, bad{0};
  health::options o;
  o.upstream = mgw::upstream::endpoint("127.0.0.1", upstream.port(), false);
  o.found = [&](std::string const& trouble) { ++told, bad += trouble.empty() ? 0 : 1; };
  std::atomic<std::int64_t> passed{0};
  o.now = [&passed, begun = health::clock::now()] { return begun + std::chrono::seconds(passed); };
  auto const h = std::make_shared<health>(g.upstreams, std::move(o));
  g.start([h](mgw::proxy::exchange& x) { return (*h)(x); });
  for (int i = 0; i != 3; ++i) CHECK(mgw::test::get(g.port(), "/").status() == 200);
  CHECK(told == 1);
  CHECK(bad == 0);
  upstream.refuse();
  upstream.cut_all();
  passed = 60;
  CHECK(mgw::test::get(g.port(), "/").status() == 503);
  CHECK(told == 2);
  CHECK(bad == 1);
  g.stop();
}

}  // namespace gateway::health_test
