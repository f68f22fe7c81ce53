#include <mgw/proxy/ahead_reader.hpp>

#include <mgw/upstream/rate_limit.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <utility>

namespace mgw::proxy::ahead_turns_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

using ms = std::chrono::milliseconds;

/// Whether nothing has come for a client far ahead during many looks: it takes no more.
bool stands_still(fetch_counters const& counted) {
  std::uint64_t before = 0;
  int same = 0;
  return eventually([&] {
    std::uint64_t const now = counted.ahead_bytes.load();
    same = now == before ? same + 1 : 0;
    before = now;
    std::this_thread::sleep_for(ms(20));
    return same == 20;
  });
}

/// One turn for all, and a link that is looked at often.
caching_options options() {
  caching_options o;
  o.tee.fetch.max_pass_through = 1;
  o.tee.reader.far_ahead = 100'000;
  o.tee.reader.look = ms(20);
  o.tee.reader.ahead_turn = ms(0);
  o.threads = 2;
  return o;
}
struct site {
  std::string body;
  test::origin origin;
  test::temporary_directory directory;
  caching_gateway g;

  site(std::size_t size, caching_options o)
      : body(pattern(size)), origin(body), g(directory.path(), origin.authority(), std::move(o)) {}
  /// What comes first is the fill, which stops at once.
  void stop_fill() {
    mishap m;
    m.stall_after = 50'000;
    origin.script(0, m);
  }
};
mishap stall(std::size_t n) {
  mishap m;
  m.stall_after = n;
  return m;
}
test::field_list from(std::size_t first) {
  return {{"Range", "bytes=" + std::to_string(first) + "-"}};
}

}  // namespace

TEST_CASE("a client far ahead that is slow, or gets nothing, gives its turn to who waits for one past the store") {
  std::size_t size = 1'000'000;
  bool slow = false;
  SUBCASE("it gets nothing") {}
  SUBCASE("it takes nothing") {
    size = 24'000'000;
    slow = true;
  }
  caching_options o = options();
  o.max_size = size + size / 2;  // for one object
  site s(size, std::move(o));
  s.stop_fill();
  if (!slow) s.origin.script(1, stall(50'000));
  http_client ahead(s.g.port()), other(s.g.port());
  ahead.request("GET", "/o", from(300'000));
  reply r;
  r.head = ahead.read_head();
  r.body = ahead.read_bytes(1000);
  CHECK(stands_still(s.g.tee().counters()));
  other.request("GET", "/p");
  reply const whole = other.read_reply();  // while the one ahead is neither done nor gone
  CHECK((whole.whole && whole.body == s.body));
  CHECK(whole.value("Cache-Status") == "mgw; fwd=bypass");
  s.origin.release();
  ahead.read_body(r);
  CHECK((r.whole && r.body == s.body.substr(300'000)));
}

TEST_CASE("a client far ahead that has gone while nothing comes is noticed, and its turn is free") {
  site s(1'000'000, options());
  s.stop_fill();
  s.origin.script(1, stall(50'000));
  http_client ahead(s.g.port()), other(s.g.port());
  ahead.request("GET", "/o", from(800'000));
  CHECK(ahead.read_head().status() == 206);
  ahead.socket().reset();
  other.request("GET", "/o", from(700'000));
  CHECK(other.read_reply().body == s.body.substr(700'000));
}

TEST_CASE("a client far ahead that has gone while it waits for the limit is noticed, too") {
  auto const rate = std::make_shared<std::atomic<std::uint64_t>>(1);
  upstream::rate_limit::options limit;
  limit.rate = [rate] { return rate->load(); };
  limit.look = ms(1);
  caching_options o = options();
  auto const link = o.tee.fetch.exchange.limit = std::make_shared<upstream::rate_limit>(std::move(limit));
  site s(1'000'000, std::move(o));
  auto const first_bytes = [&s](std::string const& head, std::size_t at) {  // in one piece: it is owed
    mishap m;
    m.raw = head + s.body.substr(at, 10'000);
    return m;
  };
  s.origin.script(0, first_bytes("HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 1000000\r\n\r\n", 0));
  s.origin.script(1, first_bytes("HTTP/1.1 206 Partial\r\nETag: \"v1\"\r\nContent-Length: 200000\r\n"
                                 "Content-Range: bytes 800000-999999/1000000\r\n\r\n",
                                 800'000));
  http_client ahead(s.g.port()), other(s.g.port());
  ahead.request("GET", "/o", from(800'000));
  CHECK(ahead.read_head().status() == 206);
  CHECK(eventually([&] { return link->waiting_now() == 2; }));
  ahead.socket().reset();
  other.request("GET", "/o", from(700'000));
  CHECK(s.origin.saw(3));
  CHECK(s.origin.requests().at(2).value("Range") == "bytes=700000-999999");
  CHECK(link->used() == 0);
  *rate = upstream::unlimited;
  CHECK(other.read_reply().body == s.body.substr(700'000));
}

}  // namespace mgw::proxy::ahead_turns_test
