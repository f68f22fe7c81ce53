#include "status/keeper.hpp"

#include "status/device_table.hpp"
#include "status/essentials.hpp"
#include "status/gather.hpp"
#include "status/json.hpp"
#include "status/problem_list.hpp"
#include "status/rates.hpp"
#include "status/report.hpp"
#include "status/upstream_watch.hpp"

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway::status::status_test {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using stage = mgw::proxy::fetch_job::stage;

mgw::cache::key key_of(unsigned char n) {
  mgw::cache::key::bytes_type bytes{};
  bytes[0] = n;
  return mgw::cache::key(bytes);
}

boost::json::object parsed(report const& r) {
  std::string const text = to_json(r);
  boost::json::error_code ec;
  auto v = boost::json::parse(text, ec);
  CAPTURE(text);
  REQUIRE_FALSE(ec.failed());
  return std::move(v.as_object());
}
boost::json::object const& part(boost::json::object const& o, char const* name) {
  return o.at(name).as_object();
}
boost::json::object const& first(boost::json::object const& o, char const* list) {
  return o.at(list).as_array().at(0).as_object();
}

std::string const hostile = "a\"b\\c\n\x01</script><b>&'\xff\xc2\x9b{token}";

report full() {
  report r;
  r.version = "1.2.3";
  r.now = 1'764'270'000;
  r.started = 1'764'260'000;
  r.ready = false;
  r.reasons = {hostile};
  r.warnings = {"one", hostile};
  r.upstream.url = r.upstream.reason = hostile;
  r.upstream.state = "unreachable";
  r.upstream.since = 5;
  r.upstream.took = report::latency{12.5, 80, 120};
  r.link.bytes_per_second = 812345.04;
  r.link.limit = 0;
  r.link.held_downloads = 2;
  r.link.requests_per_second = 3.25;
  r.saved.upstream = 1;
  r.saved.delivered = 20;
  r.saved.history = {{7, 0, 0}, {8, 1, 20}};
  r.fills.push_back({hostile, hostile, 100, 50, 10.0, 5.0, 19, "retrying", hostile, 9});
  r.cache.enabled = true;
  r.cache.trouble = hostile;
  r.cache.more = 3;
  r.cache.list.push_back({hostile, hostile, 100, 1, 2, 40, true, true});
  r.device_count = 20;
  r.more_devices = 19;
  r.devices.push_back({hostile, 11, "GET artifact", hostile, 5000, 6000, "held", hostile});
  r.problems.push_back({12, "error", hostile, 3});
  r.connections = 21;
  r.connection_limit = 10'000;
  return r;
}

/// A download of which the second half, or all of it at `/held`, waits until it is released.
asio::awaitable<void> half_a_download(mgw::proxy::exchange& x, std::atomic<bool> const& released) {
  auto& n = x.notes();
  bool const held = x.target().path == "/held";
  n.device = std::string(x.request().fields.value("Device"));
  n.route = "/api/gateway/v1/artifacts/{key}/{token}";
  n.object = key_of(1);
  mgw::http::framing f;
  f.kind = mgw::http::body_kind::length;
  f.length = 10;
  if (!held) {
    n.from = 90;
    n.length = 100;
    x.start(206);
    x.end_head(f);
    (void)co_await x.write("12345");
  }
  asio::steady_timer timer(x.worker().io.get_executor());
  while (!released) {
    timer.expires_after(1ms);
    co_await timer.async_wait(asio::use_awaitable);
  }
  if (held)
    x.abort();
  else
    (void)co_await x.write("67890");
  if (!held) (void)co_await x.finish();
}

}  // namespace

TEST_CASE("the status as JSON: each part under its name, texts that are hostile, one line") {
  std::string const text = to_json(full());
  CHECK(text.find('\n') == std::string::npos);
  auto const o = parsed(full());
  boost::json::value const clean = "a\"b\\c\n\x01</script><b>&'\xEF\xBF\xBD\xc2\x9b{token}";
  CHECK((o.at("version") == "1.2.3"));
  CHECK(o.at("now").as_int64() == 1'764'270'000);
  CHECK((o.at("ready") == false));
  CHECK((o.at("reasons").as_array().at(0) == clean));
  CHECK(o.at("warnings").as_array().size() == 2);
  auto const& up = part(o, "upstream");
  CHECK((up.at("url") == clean));
  CHECK((up.at("state") == "unreachable"));
  CHECK(up.at("since").as_int64() == 5);
  CHECK(part(up, "latency_ms").at("median").as_double() == 12.5);
  CHECK(part(up, "latency_ms").at("requests").as_int64() == 120);
  auto const& l = part(o, "link");
  CHECK(l.at("bytes_per_second").as_double() == 812345.0);
  CHECK(l.at("limit").as_int64() == 0);
  CHECK(l.at("held_downloads").as_int64() == 2);
  auto const& s = part(o, "saved");
  CHECK(s.at("saved_bytes").as_int64() == 19);
  CHECK(s.at("percent").as_double() == 95);
  CHECK(first(s, "history").at("at").as_int64() == 7);
  CHECK(s.at("history").as_array().size() == 2);
  auto const& f = first(o, "fills");
  CHECK((f.at("name") == clean));
  CHECK(f.at("size").as_int64() == 100);
  CHECK(f.at("seconds_left").as_double() == 5);
  CHECK((f.at("state") == "retrying"));
  CHECK((f.at("why") == clean));
  auto const& c = part(o, "cache");
  CHECK(c.at("more").as_int64() == 3);
  CHECK((first(c, "list").at("pinned") == true));
  CHECK(first(c, "list").at("hits").as_int64() == 40);
  auto const& d = part(o, "devices");
  CHECK(d.at("count").as_int64() == 20);
  CHECK(d.at("more").as_int64() == 19);
  CHECK((first(d, "list").at("device") == clean));
  CHECK(first(d, "list").at("bytes").as_int64() == 5000);
  CHECK((first(o, "problems").at("text") == clean));
  CHECK(first(o, "problems").at("times").as_int64() == 3);
  CHECK(part(o, "connections").at("limit").as_int64() == 10'000);
}

TEST_CASE("what is not known is null") {
  report r;
  r.fills.emplace_back();
  r.cache.list.emplace_back();
  r.devices.emplace_back();
  r.link.bytes_per_second = std::numeric_limits<double>::infinity();
  auto const o = parsed(r);
  CHECK(part(o, "upstream").at("since").is_null());
  CHECK((part(o, "upstream").at("state") == "unknown"));
  CHECK(part(part(o, "upstream"), "latency_ms").at("median").is_null());
  CHECK(part(part(o, "upstream"), "latency_ms").at("p95").is_null());
  CHECK(part(o, "link").at("bytes_per_second").is_null());
  CHECK(part(o, "link").at("limit").is_null());
  CHECK(part(o, "link").at("requests_per_second").is_null());
  CHECK(part(o, "saved").at("percent").is_null());
  for (char const* name : {"name", "host", "size", "bytes_per_second", "seconds_left"})
    CHECK(first(o, "fills").at(name).is_null());
  CHECK(first(part(o, "cache"), "list").at("name").is_null());
  for (char const* name : {"artifact", "bytes", "size"}) CHECK(first(part(o, "devices"), "list").at(name).is_null());
}

TEST_CASE("the page without scripts: everything is there, and nothing of a text is markup") {
  std::string const html = essentials_html(full());
  std::string const escaped = "a&quot;b\\c??&lt;/script&gt;&lt;b&gt;&amp;&#39;??{token}";
  std::size_t times = 0;
  for (auto at = html.find(escaped); at != std::string::npos; at = html.find(escaped, at + 1)) ++times;
  CHECK(times == 13);  // all but the cache's trouble, which stands there only if nothing is listed
  CHECK(html.find("</script") == std::string::npos);
  CHECK(html.find("<b>") == std::string::npos);
  CHECK(html.find('\x01') == std::string::npos);
  CHECK(html.find("100 bytes") != std::string::npos);
  CHECK(html.find("50 bytes of 100 bytes (50 %)") != std::string::npos);
  CHECK(html.find("2025-11-27 19:00:00 UTC") != std::string::npos);
  CHECK(html.find("and 19 more") != std::string::npos);
  CHECK(html.find("paused") != std::string::npos);
  CHECK(html.find("19 bytes (95.0 %)") != std::string::npos);
  std::string const empty = essentials_html(report());
  CHECK(empty.find("Nothing is being fetched") != std::string::npos);
  CHECK(empty.find("There is no cache.") != std::string::npos);
  report broken;
  broken.cache.trouble = "<x>";
  CHECK(essentials_html(broken).find("&lt;x&gt;") != std::string::npos);
}

TEST_CASE("ten thousand devices are kept, and for one more the one that was seen first goes") {
  device_table t(10'000, 1);
  auto const note = [&t](int n) {
    std::string const name = "device-" + std::to_string(n);
    device_table::request r;
    r.device = name;
    r.now = n;
    t.note(r);
  };
  auto const has = [&t](std::string const& name) {
    auto const all = t.all();
    return std::any_of(all.begin(), all.end(), [&](auto const& e) { return e.first == name; });
  };
  for (int n = 0; n != 10'000; ++n) note(n);
  CHECK(t.size() == 10'000);
  CHECK(has("device-0"));
  note(0);  // it is seen again
  note(10'000);
  CHECK(t.size() == 10'000);
  CHECK(has("device-0"));
  CHECK_FALSE(has("device-1"));
  CHECK(has("device-10000"));
  device_table spread(100);
  for (int n = 0; n != 5'000; ++n) {
    std::string const name = std::to_string(n);
    device_table::request r;
    r.device = name;
    spread.note(r);
  }
  CHECK(spread.size() <= 100);
  CHECK(spread.all().size() == spread.size());
  device_table::request nobody, someone;
  t.note(nobody);
  std::string const long_name(10'000, 'x');
  someone.device = long_name;
  someone.object = key_of(1);
  someone.why = long_name;
  t.note(someone);
  for (auto const& [name, e] : t.all()) {
    CHECK_FALSE(name.empty());
    CHECK(name.size() + e.why.size() <= 300);
  }
}

TEST_CASE("what a device downloaded last stays while it asks for other things") {
  device_table t;
  device_table::request r;
  r.device = "a";
  r.route = "/x/{token}";
  r.object = key_of(1);
  r.bytes = r.size = 10;
  r.state = download_state::done;
  t.note(r);
  device_table::request poll;
  poll.device = "a";
  poll.now = 5;
  t.note(poll);
  auto const all = t.all();
  REQUIRE(all.size() == 1);
  CHECK(all[0].second.seen == 5);
  CHECK(all[0].second.object == key_of(1));
  CHECK(all[0].second.state == download_state::done);
}

TEST_CASE("problems are warnings and errors, each once, the latest first, fifty at most") {
  problem_list p;
  p.note(mgw::log_level::info, "no problem", 1);
  p.note(mgw::log_level::warn, "fill ab: next try from byte 1024 in 217 ms", 2);
  p.note(mgw::log_level::error, "another", 3);
  p.note(mgw::log_level::warn, "fill ab: next try from byte 2048 in 5 ms", 4);
  p.note(mgw::log_level::error, std::string(10'000, 'x'), 5);
  auto all = p.all();
  REQUIRE(all.size() == 3);
  CHECK(all[0].text.size() == 500);
  CHECK(all[1].text == "fill ab: next try from byte 2048 in 5 ms");
  CHECK(all[1].times == 2);
  CHECK(all[1].at == 4);
  CHECK(all[1].level == "warning");
  CHECK(all[2].level == "error");
  for (char c = 'a'; c <= 'z'; ++c)
    for (auto const l : {mgw::log_level::warn, mgw::log_level::error})
      for (auto const* more : {"", "!"}) p.note(l, std::string(1, c) + more, 6);
  all = p.all();
  CHECK(all.size() == 50);
  CHECK(all[0].text == "z!");
}

TEST_CASE("problems are told in plain words, artifacts by their names") {
  keeper k(1, 0);
  k.offered(key_of(1), "release-1", "https://storage.example/1");
  std::string const known = "fill " + key_of(1).hex().substr(0, 12) + ": ",
                    unknown = "fill " + key_of(2).hex().substr(0, 12) + ": ";
  auto const shown = [&](std::string const& line) {
    k.problems().note(mgw::log_level::warn, line, 1);
    return k.make(moment()).problems.at(0).text;
  };
  CHECK(shown(known + "the body broke off: reset; next try from byte 10 in 5 ms") ==
        "release-1: its transfer stopped; devices wait, and it goes on from where it was: the body broke off: reset");
  CHECK(shown(known + "refused: 403") == "release-1: the server refuses it: 403");
  CHECK(shown(unknown + "condemned: checksum") ==
        "an artifact: it is not what it should be, and no device gets it: checksum");
  CHECK(shown(known + "whatever else") == "release-1: whatever else");
  for (char const* other : {"the clock is wrong", "fill ", "fill 123: too short", "fill 0123456789ab"})
    CHECK(shown(other) == other);
}

TEST_CASE("a rate is that of the last ten seconds, and the time left follows from it") {
  rate_meter r;
  auto const begun = clock::now();
  CHECK_FALSE(r.per_second());
  r.note(1'000, begun);
  CHECK_FALSE(r.per_second());
  r.note(3'000, begun + 1s);
  CHECK(r.per_second() == 2'000);
  r.note(9'000, begun + 1100ms);  // too soon to count
  CHECK(r.per_second() == 2'000);
  for (int s = 2; s <= 30; ++s) r.note(static_cast<std::uint64_t>(3'000 + 100 * s), begun + std::chrono::seconds(s));
  CHECK(r.per_second() == 100);
  for (int s = 31; s <= 50; ++s) r.note(6'000, begun + std::chrono::seconds(s));
  CHECK(r.per_second() == 0);
  r.note(10, begun + 51s);
  CHECK_FALSE(r.per_second());  // it has begun anew
  CHECK(seconds_left(50, 100, 10.0) == 5);
  CHECK(seconds_left(100, 100, 10.0) == 0);
  CHECK_FALSE(seconds_left(50, 100, 0.0));
  CHECK_FALSE(seconds_left(50, 100, std::nullopt));
  CHECK_FALSE(seconds_left(50, std::nullopt, 10.0));
  CHECK_FALSE(seconds_left(50, 40, 10.0));
}

TEST_CASE("the history begins fine, and is never more than 360 points of at most a day") {
  savings_history h;
  std::int64_t now = 1'000'000;
  std::uint64_t n = 0;
  CHECK(h.all({now, 0, 0}) == std::vector<report::point>{{now, 0, 0}});
  auto const run = [&](std::int64_t seconds) {
    for (std::int64_t const end = now + seconds; now < end; ++now) h.note({now, ++n, n});
  };
  run(300);
  CHECK(h.all({now, n, n}).size() == 31);
  for (int i = 0; i != 40; ++i) {
    run(3'600);
    auto const all = h.all({now, n + 1, n + 1});
    CHECK(all.size() <= 360);
    CHECK(all.size() >= 100);
    CHECK(all.back() == report::point{now, n + 1, n + 1});
    CHECK(std::is_sorted(all.begin(), all.end(), [](auto const& a, auto const& b) { return a.at < b.at; }));
  }
  CHECK(now - h.all({now, n, n}).front().at <= 24 * 3'600);
  CHECK(now - h.all({now, n, n}).front().at >= 23 * 3'600);
  now -= 100'000;  // somebody has set the clock
  run(20);
  CHECK(h.all({now, n, n}).front().at == now - 20);
}

TEST_CASE("the upstream's state lasts until something else is found, and says since when") {
  upstream_watch u;
  CHECK(u.now().what == upstream_watch::state::unknown);
  CHECK_FALSE(u.now().since);
  u.reached(10);
  u.reached(20);
  CHECK(u.now().what == upstream_watch::state::reachable);
  CHECK(u.now().since == 10);
  CHECK(u.told() == 20);
  u.failed("tcp: no", 30);
  u.failed("dns: no", 40);
  CHECK(u.now().since == 30);
  CHECK(u.now().reason == "dns: no");
  CHECK(upstream_watch::name(u.now().what) == "unreachable");
  u.reached(50);
  CHECK(u.now().since == 50);
  CHECK(u.now().reason == "");
}

TEST_CASE("latencies of the last five minutes, to an eighth") {
  latency_window w(2);
  CHECK_FALSE(w.sum(1'000));
  for (int i = 0; i != 95; ++i) w.count(static_cast<std::size_t>(i % 2), 10ms, 1'000);
  for (int i = 0; i != 5; ++i) w.count(0, 2s, 1'000);
  auto l = w.sum(1'010);
  REQUIRE(l);
  CHECK(l->requests == 100);
  CHECK(std::abs(l->median - 10) < 1.25);
  CHECK(std::abs(l->p95 - 10) < 1.25);
  w.count(0, 2s, 1'100);
  l = w.sum(1'100);
  CHECK(std::abs(l->p95 - 2'000) < 250);
  w.count(1, 1h, 1'400);
  w.count(1, 0ms, 1'400);
  CHECK(w.sum(1'400)->requests == 2);
  CHECK_FALSE(w.sum(2'000));
}

TEST_CASE("devices that wait come first, with the reason; what runs counts more than what was kept") {
  keeper k(1, 0);
  moment m;
  m.now = 100;
  m.when = clock::now();
  m.fills.push_back({key_of(1), "s.example", 1'000'000, 600'000, 3, stage::retrying, "tcp: Connection refused", 90});
  m.fills.push_back({key_of(2), "", std::nullopt, 0, 1, stage::waiting, "other artifacts are fetched first", 91});
  m.downloads.push_back({"behind", key_of(1), 100'000, 1'000'000, true});
  m.downloads.push_back({"at-the-edge", key_of(1), 596'000, 1'000'000, true});
  m.downloads.push_back({"without-a-head", key_of(2), 0, 0, false});
  m.downloads.push_back({"past-the-cache", key_of(3), 0, 0, false});
  m.downloads.push_back({"", key_of(3), 0, 0, false});
  m.calls.push_back({"behind", "/api/devices/v1/deployments/device/deployments/{id}/status"});
  m.calls.push_back({"nobody", "/x"});
  moment without_calls = m;
  without_calls.calls.clear();
  k.offered(key_of(1), "release-1", "https://s.example/x?secret");
  report const reports = k.make(std::move(m));
  CHECK(reports.devices.size() == 4);
  for (auto const& d : reports.devices)
    if (d.name == "behind") {
      CHECK(d.state == "held");
      CHECK(d.doing == "PUT deployment status");
      CHECK(d.why == "waits for the server's answer");
    }
  m = std::move(without_calls);
  report const r = k.make(std::move(m));
  REQUIRE(r.devices.size() == 4);
  auto const of = [&](std::string const& name) {
    auto const at = std::find_if(r.devices.begin(), r.devices.end(), [&](auto const& d) { return d.name == name; });
    return at == r.devices.end() ? report::device() : *at;
  };
  CHECK(of("behind").state == "downloading");
  CHECK(of("behind").bytes == 100'000);
  CHECK(of("behind").size == 1'000'000);
  CHECK(of("behind").artifact == "release-1");
  CHECK(of("at-the-edge").state == "held");
  CHECK(of("at-the-edge").why == "waits for the link: tcp: Connection refused");
  CHECK(of("without-a-head").why == "waits: other artifacts are fetched first");
  CHECK_FALSE(of("without-a-head").bytes);
  CHECK(of("past-the-cache").why == "waits for the server");
  CHECK(r.devices.back().name == "behind");
  REQUIRE(r.fills.size() == 2);
  CHECK(r.fills[0].name == "release-1");
  CHECK(r.fills[0].state == "retrying");
  CHECK(r.fills[1].host == "");
}

TEST_CASE("lists are cut, and say how much is left out") {
  keeper k(1, 0);
  moment m;
  m.now = 10;
  m.when = clock::now();
  for (int i = 0; i != 700; ++i) m.downloads.push_back({"d" + std::to_string(i), key_of(1), 1, 2, true});
  for (unsigned char i = 0; i != 250; ++i) {
    cached_object o;
    o.key = key_of(i);
    o.used = i;
    m.objects.push_back(o);
    m.fills.push_back({key_of(i), "h", 10, 1, i, stage::fetching, "", 0});
  }
  report const r = k.make(std::move(m));
  CHECK(r.device_count == 700);
  CHECK(r.devices.size() == 500);
  CHECK(r.more_devices == 200);
  CHECK(r.cache.list.size() == 200);
  CHECK(r.cache.more == 50);
  CHECK(r.cache.list[0].used == 249);
  CHECK(r.fills.size() == 200);
  CHECK(r.more_fills == 50);
  CHECK(r.fills[0].readers == 249);
}

TEST_CASE("a fetch's rate and its time left come from what it had before") {
  keeper k(1, 0);
  auto const at = [&k, begun = clock::now()](int second, std::uint64_t have) {
    moment m;
    m.when = begun + std::chrono::seconds(second);
    m.fills.push_back({key_of(1), "", 10'000, have, 1, stage::fetching, "", 0});
    return k.make(std::move(m)).fills.at(0);
  };
  CHECK_FALSE(at(0, 1'000).bytes_per_second);
  CHECK(at(1, 2'000).bytes_per_second == 1'000);
  CHECK(at(2, 3'000).seconds_left == 7);
  moment none;
  none.when = clock::now();
  CHECK(k.make(std::move(none)).fills.empty());
  CHECK_FALSE(at(3, 4'000).bytes_per_second);  // another fetch of it
}

TEST_CASE("requests that have ended: devices, bytes, calls; who is no device is not kept") {
  keeper k(1, 0);
  mgw::test::gateway g;
  mgw::proxy::server_options o;
  o.observer = [&k](mgw::proxy::exchange const& x) { k.ended(x, 50); };
  auto const answer = [](mgw::proxy::exchange& x) -> asio::awaitable<void> {
    auto& n = x.notes();
    auto const path = x.target().path;
    n.device = std::string(x.request().fields.value("Device"));
    bool const call = path.starts_with("/call");
    n.route = call ? "/api/devices/v1/deployments/device/deployments/next" : "/api/gateway/v1/artifacts/{key}/{token}";
    if (call) {
      n.upstream = 10ms;
      bool const failed = path == "/call-502";
      if (failed) n.upstream_error = "connection_refused", n.failure = "tcp: Connection refused";
      int const status = failed ? 502 : path == "/call-401" ? 401 : 204;
      (void)co_await x.respond(status, "", "");
      co_return;
    }
    n.object = key_of(1);
    n.cache = "hit";
    n.length = 10;
    n.from = path == "/end" ? 5 : 0;
    if (path == "/refused") {
      n.failure = "held too long";
      x.abort();
      co_return;
    }
    (void)co_await x.respond(path == "/end" || path == "/begin" ? 206 : 200, "",
                             path == "/end" || path == "/begin" ? "12345" : "0123456789");
  };
  g.start(answer, std::move(o));
  {
    mgw::test::http_client c(g.port());
    (void)c.ask("GET", "/call", {{"Device", "polls"}});
    (void)c.ask("GET", "/call-401", {{"Device", "forged"}});
    (void)c.ask("GET", "/all", {{"Device", "has-all"}});
    (void)c.ask("GET", "/begin", {{"Device", "goes-on"}});
    (void)c.ask("GET", "/begin", {{"Device", "has-both"}});
    (void)c.ask("GET", "/end", {{"Device", "has-both"}});
    (void)c.ask("GET", "/refused", {{"Device", "was-cut"}});
  }
  CHECK(mgw::test::eventually([&] {
    moment m;
    m.now = 60;
    return k.make(std::move(m)).devices.size() == 5;
  }));
  moment m;
  m.now = 60;
  report r = k.make(std::move(m));
  std::vector<std::string> states;
  for (auto const& d : r.devices) states.push_back(d.name + ' ' + std::string(d.state));
  CHECK(states ==
        std::vector<std::string>{"was-cut cut", "goes-on downloading", "has-all done", "has-both done", "polls idle"});
  CHECK(r.devices[0].why == "held too long");
  CHECK(r.devices[1].bytes == 5);
  CHECK(r.devices[1].size == 10);
  CHECK(r.devices[4].doing == "GET next deployment");
  CHECK(k.delivered() == 25);
  CHECK(r.upstream.state == "reachable");
  CHECK(r.upstream.took->requests == 2);
  {
    mgw::test::http_client c(g.port());
    (void)c.ask("GET", "/call-502", {{"Device", "polls"}});
  }
  CHECK(mgw::test::eventually([&] { return k.upstream().now().reason == "tcp: Connection refused"; }));
  g.stop();
}

TEST_CASE("what runs is seen as it is, on every worker: how far downloads have come, and which wait") {
  keeper k(3, 0);
  mgw::test::gateway g(3);
  std::atomic<bool> released{false};
  auto const answer = [&released](mgw::proxy::exchange& x) { return half_a_download(x, released); };
  mgw::proxy::server_options o;
  o.observer = [&k](mgw::proxy::exchange const& x) { k.ended(x, 50); };
  g.start(answer, std::move(o));
  CHECK(look_at(g.server(), 3, k, 30s).downloads.empty());
  std::vector<std::unique_ptr<mgw::test::http_client>> clients;
  for (int i = 0; i != 6; ++i) {
    clients.push_back(std::make_unique<mgw::test::http_client>(g.port()));
    (void)clients.back()->request("GET", i == 0 ? "/held" : "/x", {{"Device", "d" + std::to_string(i)}});
  }
  auto const all_run = [&] {
    auto const r = look_at(g.server(), 3, k, 30s);
    return r.downloads.size() == 6 && r.delivered == 25;
  };
  CHECK(mgw::test::eventually(all_run));
  auto const now = look_at(g.server(), 3, k, 30s);
  for (auto const& d : now.downloads) {
    bool const held = d.device == "d0";
    CHECK(d.begun == !held);
    CHECK(d.bytes == (held ? 0 : 95));
    CHECK(d.size == (held ? 0 : 100));
    CHECK(d.object == key_of(1));
  }
  CHECK(now.calls.empty());
  released = true;
  CHECK(mgw::test::eventually([&] {
    auto const r = look_at(g.server(), 3, k, 30s);
    return r.downloads.empty() && r.delivered == 50;
  }));
  g.stop();
}

TEST_CASE("no credentials and no query of the server's URL are shown") {
  using keeper_detail::shown_url;
  CHECK(shown_url("https://user:pass@host.example:1/p?token#x") == "https://host.example:1/p");
  CHECK(shown_url("https://host.example/a@b") == "https://host.example/a@b");
  CHECK(shown_url("https://host.example") == "https://host.example");
  CHECK(shown_url("nothing?at") == "nothing");
}

}  // namespace gateway::status::status_test
