#include "status/page.hpp"

#include "config/settings.hpp"
#include "status/board.hpp"
#include "status/part.hpp"

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>

#include <doctest/doctest.h>

#include <sys/socket.h>

#include <asio/awaitable.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway::status::status_page_test {
namespace {

using namespace std::chrono_literals;
using mgw::test::eventually;
using mgw::test::http_client;
using mgw::test::reply;

/// A gateway whose only page is the status page.
struct site {
  std::atomic<int> made{0}, ticks{0};
  std::atomic<std::size_t> filling{0};  // bytes more in each report
  mgw::test::gateway g;
  board reports;

  explicit site(bool loopback = true) : reports([this] { ++ticks; }, [this] { return make(); }, 20ms) {
    mgw::proxy::server_options o;
    o.linger = 200ms;
    auto const p = std::make_shared<page>(reports, loopback);
    g.start([p](mgw::proxy::exchange& x) { return (*p)(x); }, std::move(o));
  }
  ~site() {
    g.stop([this] { reports.close(); });
  }
  report make() {
    report r;
    r.now = ++made;
    r.warnings.emplace_back("<warning>");
    if (filling != 0) r.warnings.emplace_back(filling, 'x');
    return r;
  }
  reply ask(std::string_view path, std::string_view host = "127.0.0.1", std::string_view method = "GET") const {
    http_client c(g.port());
    std::string request(method);
    request.append(" ").append(path).append(" HTTP/1.1\r\nHost: ").append(host).append("\r\n\r\n");
    (void)c.send(request);
    return c.read_reply(method);
  }
};

/// Reads events as they come.
struct listener {
  http_client c;
  std::string text;
  explicit listener(std::uint16_t port) : c(port) { (void)c.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"); }
  std::size_t count() const {
    std::size_t n = 0;
    for (auto at = text.find("event: status\n"); at != std::string::npos; at = text.find("event: status\n", at + 1))
      ++n;
    return n;
  }
  /// False: the stream has ended before there were so many.
  bool read(std::size_t events) {
    std::string piece;
    while (count() < events) {
      if (!c.read_some(piece)) return false;
      text += piece;
    }
    return true;
  }
};

}  // namespace

TEST_CASE("RFC 9110 section 15.5.20: on loopback and on all addresses, a Host that is a name is misdirected") {
  for (auto const* listens : {"127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::"})
    CHECK(takes_addresses_alone(asio::ip::make_address(listens)));
  for (auto const* listens : {"192.168.8.103", "2001:db8::7"})
    CHECK_FALSE(takes_addresses_alone(asio::ip::make_address(listens)));
  for (auto const* good :
       {"127.0.0.1", "127.0.0.1:9103", "[::1]", "[::1]:9103", "localhost", "LocalHost:9103", "10.0.0.1"})
    CHECK(is_local_name(good));
  for (auto const* bad : {"", "evil.example", "evil.example:9103", "localhost.evil.example", "127.0.0.1.evil.example",
                          "[::1", "[evil]", "xlocalhost", "local"})
    CHECK_FALSE(is_local_name(bad));
  site s;
  for (auto const* path : {"/", "/status.json", "/events", "/status.js", "/nothing"})
    CHECK(s.ask(path, "evil.example").status() == 421);
  CHECK(s.ask("/status.json", "localhost").status() == 200);
  site const outside(false);
  CHECK(outside.ask("/status.json", "gateway.example").status() == 200);
}

TEST_CASE("the page's paths, types, and the fields that keep it to itself") {
  site s;
  struct {
    char const *path, *type, *begins;
  } const all[] = {{"/", "text/html; charset=utf-8", "<!doctype html>"},
                   {"/status.css", "text/css; charset=utf-8", ""},
                   {"/status.js", "text/javascript; charset=utf-8", ""},
                   {"/status.json", "application/json; charset=utf-8", "{\"version\":"}};
  for (auto const& p : all) {
    CAPTURE(p.path);
    reply const r = s.ask(p.path);
    CHECK(r.status() == 200);
    CHECK(r.value("Content-Type") == p.type);
    CHECK(r.body.starts_with(p.begins));
    CHECK(r.body.size() > 100);
    CHECK(r.value("Cache-Control") == "no-store");
    CHECK(r.value("X-Content-Type-Options") == "nosniff");
    CHECK(r.value("Referrer-Policy") == "no-referrer");
    CHECK(r.value("Content-Security-Policy").starts_with("default-src 'none'; style-src 'self';"));
    reply const head = s.ask(p.path, "127.0.0.1", "HEAD");
    CHECK(head.status() == 200);
    CHECK(head.body.empty());
  }
  reply const html = s.ask("/");
  CHECK(html.body.find("<!-- essentials -->") == std::string::npos);
  CHECK(html.body.find("&lt;warning&gt;") != std::string::npos);
  CHECK(html.body.find("</html>") != std::string::npos);
  CHECK(s.ask("/metrics").status() == 404);
  CHECK(s.ask("/status.json/").status() == 404);
  reply const post = s.ask("/status.json", "127.0.0.1", "POST");
  CHECK(post.status() == 405);
  CHECK(post.value("Allow") == "GET, HEAD");
}

TEST_CASE("a report is made while somebody wants one, and one for all") {
  site s;
  CHECK(eventually([&] { return s.ticks >= 3; }));
  CHECK(s.made == 0);  // nobody has asked
  CHECK(s.ask("/status.json").status() == 200);
  std::vector<std::unique_ptr<listener>> all;
  for (int i = 0; i != 8; ++i) all.push_back(std::make_unique<listener>(s.g.port()));
  for (auto const& l : all) CHECK(l->read(1));
  int const before = s.made;
  for (auto const& l : all) {
    std::size_t const had = l->count();
    CHECK(l->read(had + 3));
  }
  CHECK(s.made > before);
  std::string const first = "\"now\":" + std::to_string(before + 2) + ",";
  std::size_t have = 0;
  for (auto const& l : all) have += l->text.find(first) != std::string::npos;
  CHECK(have >= 1);  // the same report went to several
  all.clear();
  int after = 0;
  CHECK(eventually([&] {  // it ends once nobody does
    int const now = s.made, ticked = s.ticks;
    bool const still = eventually([&] { return s.ticks >= ticked + 2; }) && s.made == now;
    after = now;
    return still;
  }));
  CHECK(s.made == after);
}

TEST_CASE("an event is one line of JSON, and nothing is buffered for a reader that takes nothing") {
  site s;
  listener good(s.g.port());
  CHECK(good.read(2));
  CHECK(good.text.find("\r\nContent-Type: text/event-stream\r\n") != std::string::npos);
  CHECK(good.text.find("event: status\ndata: {\"version\":") != std::string::npos);
  CHECK(good.text.find("}\n\n") != std::string::npos);
  s.filling = 1 << 20;
  listener sleeps(s.g.port());
  int const small = 4096;
  ::setsockopt(sleeps.c.socket().fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  std::vector<std::weak_ptr<board::shown const>> old;
  int const begun = s.made;
  std::uint64_t last = 0;
  CHECK(eventually([&] {
    if (auto const now = s.reports.want(); now && now->number != last) {
      last = now->number;
      old.emplace_back(now);
    }
    return s.made > begun + 20;
  }));
  good.c.socket().close();
  CHECK(eventually([&] {
    std::size_t alive = 0;
    for (auto const& o : old) alive += o.expired() ? 0U : 1U;
    return alive <= 3;  // the latest, and what each of the two writes
  }));
  CHECK(old.size() > 3);
}

TEST_CASE("open events end when the gateway drains, also those of a reader that takes nothing") {
  site s;
  s.filling = 1 << 20;
  listener reads(s.g.port()), sleeps(s.g.port());
  CHECK(reads.read(2));
  int const begun = s.made;
  CHECK(eventually([&] {
    (void)s.reports.want();
    return s.made > begun + 20;
  }));
  s.g.server().drain();
  std::string rest;
  while (reads.c.read_some(rest)) {
  }
  CHECK(eventually([&] { return s.g.server().connections() == 0; }));
}

TEST_CASE("so many may listen at once, and a place that was left is free") {
  site s;
  std::vector<std::unique_ptr<listener>> all;
  for (std::size_t i = 0; i != page::max_listeners; ++i) {
    all.push_back(std::make_unique<listener>(s.g.port()));
    CHECK(all.back()->read(1));
  }
  reply const r = s.ask("/events");
  CHECK(r.status() == 503);
  CHECK(r.value("Retry-After") == "30");
  CHECK(s.ask("/status.json").status() == 200);
  all.pop_back();
  CHECK(eventually([&] {
    listener again(s.g.port());
    return again.c.read_head().status() == 200;
  }));
}

TEST_CASE("a page whose report cannot be made says so, and the next one is tried") {
  mgw::test::gateway g;
  std::atomic<bool> fails{true};
  board reports([] {},
                [&]() -> report {
                  if (fails) throw std::runtime_error("no");
                  return {};
                },
                20ms);
  auto const p = std::make_shared<page>(reports, true);
  g.start([p](mgw::proxy::exchange& x) { return (*p)(x); });
  http_client c(g.port());
  (void)c.send("GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
  fails = false;
  CHECK(c.read_reply("GET").status() == 200);
  g.stop([&] { reports.close(); });
}

TEST_CASE("an address that is taken: what nobody has set gives way with a warning, what was set refuses") {
  mgw::net::worker_pool workers(1);
  auto const taken = mgw::test::blocking_socket::listen();
  settings s;
  s.admin.listen = "127.0.0.1:" + std::to_string(taken.local_port());
  s.admin.listen_is_default = true;
  mgw::test::log_lines log;
  status::part::sources from;
  from.look = [] { return moment(); };
  from.upstream_bytes = [] { return std::uint64_t{0}; };
  from.probe = [] {};
  {
    status::part p(1, std::make_shared<problem_list>());
    p.listen(workers, s, from, log.sink());
    CHECK_FALSE(p.bound());
    CHECK(p.trouble().find("Address already in use") != std::string::npos);
    CHECK(log.count("set ADMIN_LISTEN (Admin.Listen) to another address") == 1);
    CHECK(p.idle());
    p.drain();
    p.close();
  }
  s.admin.listen_is_default = false;
  {
    status::part p(1, std::make_shared<problem_list>());
    CHECK_THROWS_WITH(p.listen(workers, s, from, log.sink()),
                      doctest::Contains("ADMIN_LISTEN (Admin.Listen) is \"127.0.0.1:"));
  }
  s.admin.listen = "127.0.0.1:0";
  status::part p(1, std::make_shared<problem_list>());
  p.listen(workers, s, from, log.sink());
  REQUIRE(p.bound());
  CHECK(p.bound()->port() != 0);
  CHECK(p.trouble().empty());
  p.close();
  workers.clear();
}

}  // namespace gateway::status::status_page_test
