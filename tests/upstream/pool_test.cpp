#include <mgw/upstream/pool.hpp>

#include <mgw/net/listener.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/proxy_rules.hpp>
#include <mgw/upstream/resolver.hpp>

#include <support/origin.hpp>
#include <support/proxy_server.hpp>
#include <support/raw_listener.hpp>
#include <support/run_io.hpp>
#include <support/test_certificates.hpp>

#include <doctest/doctest.h>

#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/this_coro.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace mgw::upstream::pool_test {
namespace {

using test::mishap;
using test::origin;

/// One worker and its pool, on the test's thread.
struct site {
  net::worker w{0};
  std::shared_ptr<upstream::pool> pool;
  explicit site(pool_options options = {}, net::client_tls const& trust = {})
      : pool(std::make_shared<upstream::pool>(w.deadlines, net::tls_context::client(trust), options)) {}
};
struct fetched {
  std::error_code ec;
  hop failed_at = hop::none;
  bool reused = false;
  std::string body;
};

asio::awaitable<fetched> get(site* s, endpoint where, bool fresh) {
  fetched out;
  connected c = co_await s->pool->connect(where, fresh);
  out.ec = c.ec;
  out.failed_at = c.failed_at;
  if (!c.connection) co_return out;
  out.reused = c.connection->reused();
  client_exchange x(s->w.deadlines, std::move(*c.connection));
  std::string const request = "GET / HTTP/1.1\r\nHost: origin\r\n\r\n";
  out.ec = co_await x.send(request);
  if (!out.ec) out.ec = co_await x.read_head("GET");
  for (bool end = static_cast<bool>(out.ec); !end;) {
    body::chunk const piece = co_await x.read_body();
    out.body += piece.bytes;
    out.ec = piece.ec;
    end = piece.end || piece.ec;
  }
  co_return out;
}
fetched run_get(site& s, origin const& o, bool fresh = false) {
  endpoint const where("127.0.0.1", o.port(), false);
  s.w.io.restart();
  return test::run_io(s.w.io, get(&s, where, fresh));
}

/// A TLS server that answers every request with "secret"; `connections` at most, one after the other.
asio::awaitable<void> serve_tls(net::listener* at, net::tls_context context, int* handshakes) {
  auto const executor = co_await asio::this_coro::executor;
  auto const accepted = [&context, handshakes, executor](net::tcp_stream s) {
    auto const talk = [](net::tcp_stream tcp, net::tls_context c, int* count) -> asio::awaitable<void> {
      net::tls_stream<net::tcp_stream> tls(std::move(tcp), c, net::tls_role::server);
      std::error_code const ec = co_await tls.handshake();
      if (ec) co_return;
      ++*count;
      std::string in(4096, '\0');
      for (;;) {
        io_result const r = co_await tls.read_some(asio::buffer(in));
        if (r.ec) co_return;
        std::string const out = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret";
        asio::const_buffer const one(out.data(), out.size());
        io_result const w = co_await tls.write_some(const_buffers(&one, 1));
        if (w.ec) co_return;
      }
    };
    asio::co_spawn(executor, talk(std::move(s), context, handshakes), asio::detached);
  };
  co_await at->run(accepted);
}

}  // namespace

TEST_CASE("a connection whose response was read to its end is used again") {
  origin o("hello");
  site s;
  CHECK_FALSE(run_get(s, o).reused);
  CHECK(s.pool->idle() == 1);
  fetched const second = run_get(s, o);
  CHECK(second.reused);
  CHECK(second.body == "hello");
  CHECK(o.connections() == 1);
  CHECK_FALSE(run_get(s, o, true).reused);  // fresh
  CHECK(o.connections() == 2);
  s.pool->clear();
  CHECK(s.pool->idle() == 0);
}

TEST_CASE("RFC 9112 9.5: a connection that the peer closed while it was idle is not used") {
  origin o("hello");
  site s;
  run_get(s, o);
  endpoint const where("127.0.0.1", o.port(), false);
  SUBCASE("closed") {
    o.cut_all();
  }
  SUBCASE("bytes that nobody asked for") {
    o.babble("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
  }
  fetched const next = run_get(s, o);
  CHECK_FALSE(next.reused);
  CHECK(next.body == "hello");
  CHECK(o.connections() == 2);
}

TEST_CASE("what cannot be framed cleanly does not go back to the pool") {
  struct {
    char const* what;
    mishap m;
  } cases[7];
  for (auto& c : cases) c.what = "";
  cases[0].what = "the upstream says close", cases[0].m.fields = {{"Connection", "close"}};
  cases[1].what = "close-delimited", cases[1].m.framing = mishap::framing_kind::until_close;
  cases[2].what = "cut", cases[2].m.cut_after = 2;
  cases[3].what = "bytes behind the end", cases[3].m.raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello";
  cases[4].what = "garbage", cases[4].m.raw = "hello\r\n\r\n";
  cases[5].what = "no answer", cases[5].m.drop = true;
  cases[6].what = "half a head", cases[6].m.raw = "HTTP/1.1 200 OK\r\nConte";
  for (auto const& c : cases) {
    CAPTURE(c.what);
    origin o("hello");
    o.script(0, c.m);
    site s;
    run_get(s, o);
    CHECK(s.pool->idle() == 0);
    CHECK(run_get(s, o).body == "hello");
    CHECK(o.connections() == 2);
  }
}

TEST_CASE("broken answers have their own errors") {
  origin o("hello");
  site s;
  mishap m;
  m.drop = true;
  o.script(0, m);
  m = mishap();
  m.raw = "HTTP/1.1 200 OK\r\nConte";
  o.script(1, m);
  m = mishap();
  m.cut_after = 2;
  o.script(2, m);
  m = mishap();
  m.raw = "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  o.script(3, m);
  CHECK(run_get(s, o).ec == error::closed_before_head);
  CHECK(run_get(s, o).ec == error::truncated_head);
  CHECK(run_get(s, o).ec);
  CHECK(run_get(s, o).body == "ok");
}

TEST_CASE("an idle connection ages, and there is a bound to how many are kept") {
  origin o("hello");
  pool_options options;
  options.idle_timeout = std::chrono::milliseconds(-1);  // older than that at once
  site s(options);
  run_get(s, o);
  CHECK_FALSE(run_get(s, o).reused);
  options.idle_timeout = std::chrono::seconds(30);
  options.max_idle = 2;
  site few(options);
  auto const take_four = [](site* at, endpoint where) -> asio::awaitable<void> {
    std::vector<lease> held;
    for (int i = 0; i < 4; ++i) {
      connected c = co_await at->pool->connect(where, false);
      held.push_back(std::move(*c.connection));
    }
    for (auto& l : held) l.done();
  };
  test::run_io(few.w.io, take_four(&few, endpoint("127.0.0.1", o.port(), false)));
  CHECK(few.pool->idle() == 2);
}

TEST_CASE("a refused connection says so") {
  origin o("hello");
  o.refuse();
  site s;
  fetched const f = run_get(s, o);
  CHECK(f.failed_at == hop::tcp);
  CHECK(f.ec == asio::error::connection_refused);
  o.accept_again();
  CHECK(run_get(s, o).body == "hello");
}

TEST_CASE("connecting is bounded") {
  // A listener whose queue is full answers no SYN.
  test::blocking_socket full(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in a = test::blocking_socket::loopback(0);
  socklen_t size = sizeof a;
  REQUIRE(::bind(full.fd(), reinterpret_cast<sockaddr const*>(&a), sizeof a) == 0);
  REQUIRE(::listen(full.fd(), 0) == 0);
  REQUIRE(::getsockname(full.fd(), reinterpret_cast<sockaddr*>(&a), &size) == 0);
  pool_options options;
  options.connect_timeout = std::chrono::milliseconds(100);
  site s(options);
  auto const fill_up = [](site* at, endpoint where, connected* last) -> asio::awaitable<void> {
    std::vector<lease> held;
    for (int i = 0; i < 8; ++i) {
      *last = co_await at->pool->connect(where, false);
      if (!last->connection) co_return;
      held.push_back(std::move(*last->connection));
    }
  };
  connected last;
  test::run_io(s.w.io, fill_up(&s, endpoint("127.0.0.1", ntohs(a.sin_port), false), &last));
  CHECK(last.ec == error::connect_timeout);
  CHECK(last.failed_at == hop::tcp);
}

TEST_CASE("a TLS handshake is bounded, too") {
  origin mute("hello");  // reads a hello it takes for no request, and says nothing
  pool_options options;
  options.connect_timeout = std::chrono::milliseconds(100);
  site s(options);
  fetched const f = test::run_io(s.w.io, get(&s, endpoint("127.0.0.1", mute.port(), true), false));
  CHECK(f.ec == error::connect_timeout);
  CHECK(f.failed_at == hop::tls);
}

TEST_CASE("TLS: the certificate counts, and the connection is used again") {
  test::test_certificates const certificates;
  struct {
    char const* what;
    test::test_certificates::files const& shown;
    std::string const& trusted;
    bool insecure, ok;
  } const cases[] = {
      {"good", certificates.server, certificates.ca_file, false, true},
      {"unknown CA", certificates.foreign_server, certificates.ca_file, false, false},
      {"wrong host", certificates.wrong_host_server, certificates.ca_file, false, false},
      {"expired", certificates.expired_server, certificates.ca_file, false, false},
      {"unknown CA, not verified", certificates.foreign_server, certificates.ca_file, true, true},
  };
  for (auto const& c : cases) {
    CAPTURE(c.what);
    site s({}, net::client_tls(c.trusted, c.insecure));
    auto const context = net::tls_context::server(net::server_tls(c.shown.certificate, c.shown.key));
    net::listener l(s.w.io, {asio::ip::address_v4::loopback(), 0});
    int handshakes = 0;
    asio::co_spawn(s.w.io, serve_tls(&l, context, &handshakes), asio::detached);
    endpoint const where("localhost", l.local().port(), true);
    fetched const first = test::run_io(s.w.io, get(&s, where, false));
    CHECK(!first.ec == c.ok);
    CHECK(first.body == (c.ok ? "secret" : ""));
    if (c.ok) {
      s.w.io.restart();
      fetched const second = test::run_io(s.w.io, get(&s, where, false));
      CHECK(second.reused);
      CHECK(handshakes == 1);
    } else {
      CHECK(first.failed_at == hop::tls);
      CHECK(s.pool->idle() == 0);
    }
    s.pool->clear();
  }
}

TEST_CASE("names are remembered for a while, the address that worked first") {
  net::worker w(0);
  auto const look = [](std::string host, std::chrono::seconds life) -> asio::awaitable<void> {
    resolver_options o;
    o.life = life;
    resolver r(o);
    resolver::answer const first = co_await r.resolve(host, 80);
    REQUIRE_FALSE(first.ec);
    REQUIRE_FALSE(first.addresses->empty());
    resolver::answer const second = co_await r.resolve(host, 80);
    CHECK((second.addresses == first.addresses) == (life.count() > 0));
    auto const last = first.addresses->back();
    r.prefer(host, 80, last);
    resolver::answer const third = co_await r.resolve(host, 80);
    if (life.count() > 0) CHECK(third.addresses->front() == last);
    CHECK(third.addresses->size() == first.addresses->size());
    r.forget(host, 80);
    resolver::answer const fourth = co_await r.resolve(host, 80);
    CHECK(fourth.addresses != third.addresses);
  };
  test::run_io(w.io, look("localhost", std::chrono::seconds(30)));
  w.io.restart();
  test::run_io(w.io, look("localhost", std::chrono::seconds(0)));
}

TEST_CASE("numeric addresses need no lookup; a name without an address is the DNS's fault") {
  net::worker w(0);
  auto const look = []() -> asio::awaitable<void> {
    resolver r;
    resolver::answer const v6 = co_await r.resolve("::1", 8080);
    CHECK(v6.addresses->front().address().is_v6());
    CHECK(v6.addresses->front().port() == 8080);
  };
  test::run_io(w.io, look());
  site s;
  fetched const f = test::run_io(s.w.io, get(&s, endpoint("no such name", 80, false), false));
  CHECK(f.failed_at == hop::dns);
  CHECK(f.ec);
}

namespace {

/// Options under which everything goes through this proxy. No name is looked up.
pool_options through(test::proxy_server const& p, std::string const& who = {}) {
  auto const proxy = http_proxy::parse("http://" + who + p.authority());
  REQUIRE(proxy);
  pool_options o;
  o.proxies = std::make_shared<proxy_rules const>(*proxy, *proxy, "direct.test");
  o.names.lookup = [](std::string const&) { return looked_up{asio::error::host_not_found, {}}; };
  return o;
}

}  // namespace

TEST_CASE("RFC 9110 9.3.6: a TLS server behind a proxy is reached through a tunnel, with credentials, and verified") {
  test::test_certificates const certificates;
  test::proxy_server proxy("Basic dTpwOkAv");  // u:p:@/
  net::client_tls const trust(certificates.ca_file);
  site s(through(proxy, "u:p%3A%40%2f@"), trust);
  auto const serve_as = [&](test::test_certificates::files const& shown, std::string const& host) {
    auto const context = net::tls_context::server(net::server_tls(shown.certificate, shown.key));
    net::listener l(s.w.io, {asio::ip::address_v4::loopback(), 0});
    int handshakes = 0;
    s.w.io.restart();
    asio::co_spawn(s.w.io, serve_tls(&l, context, &handshakes), asio::detached);
    endpoint const where(host, l.local().port(), true);
    fetched const first = test::run_io(s.w.io, get(&s, where, false));
    if (!first.ec) {
      s.w.io.restart();
      CHECK(test::run_io(s.w.io, get(&s, where, false)).reused);
    }
    s.pool->clear();
    std::string const authority = host + ":" + std::to_string(l.local().port());
    CHECK(proxy.heads().back() == "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority +
                                      "\r\nProxy-Authorization: Basic dTpwOkAv\r\n\r\n");
    return first;
  };
  auto const& right = certificates.wrong_host_server;  // of other.example
  CHECK(serve_as(right, "other.example").body == "secret");
  CHECK(serve_as(right, "storage.test").failed_at == hop::tls);
  CHECK(proxy.heads().size() == 2);
}

TEST_CASE("a proxy that refuses, wants other credentials, talks nonsense or dies is named as the hop that failed") {
  test::proxy_server proxy("Basic eDp5");
  endpoint const tls("storage.test", 443, true);
  struct {
    char const* says;
    std::error_code expected;
  } const cases[] = {
      {"", error::proxy_authentication},
      {"HTTP/1.1 407 No\r\n\r\n", error::proxy_authentication},
      {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", error::proxy_refused},
      {"HTTP/1.1 302 Elsewhere\r\nLocation: https://evil.test/\r\n\r\n", error::proxy_refused},
      {"HTTP/1.1 200 Go on\r\n\r\nbytes of nobody", error::proxy_refused},
      {"HTTP/1.1 200 Go", error::truncated_head},
  };
  for (auto const& c : cases) {
    CAPTURE(c.says);
    proxy.says(c.says);
    site s(through(proxy));
    fetched const f = test::run_io(s.w.io, get(&s, tls, false));
    CHECK(f.failed_at == hop::proxy);
    CHECK(f.ec == c.expected);
  }
  proxy.says("hello\r\n\r\n");
  site nonsense(through(proxy));
  fetched const f = test::run_io(nonsense.w.io, get(&nonsense, tls, false));
  CHECK(f.failed_at == hop::proxy);
  CHECK(f.ec.category() == http::parse_category());
}

TEST_CASE("a proxy that is not there, or has no address, is named as the hop that failed; exceptions go past it") {
  origin o("hello");
  pool_options options;
  {
    test::proxy_server gone;
    options = through(gone);
  }
  site s(options);
  fetched f = test::run_io(s.w.io, get(&s, endpoint("storage.test", 80, false), false));
  CHECK(f.failed_at == hop::proxy);
  CHECK(f.ec == asio::error::connection_refused);
  CHECK(run_get(s, o).body == "hello");  // 127.0.0.1 is never asked a proxy for
  s.w.io.restart();
  f = test::run_io(s.w.io, get(&s, endpoint("direct.test", 80, false), false));
  CHECK(f.failed_at == hop::dns);

  options.proxies = std::make_shared<proxy_rules const>(*http_proxy::parse("http://proxy.test:3128"), std::nullopt, "");
  site nameless(options);
  f = test::run_io(nameless.w.io, get(&nameless, endpoint("storage.test", 80, false), false));
  CHECK(f.failed_at == hop::proxy);
  CHECK(f.ec == asio::error::host_not_found);
}

TEST_CASE("a proxy that says nothing is waited for no longer than a connection") {
  test::raw_listener mute;
  pool_options options;
  options.connect_timeout = std::chrono::milliseconds(100);
  options.proxies = std::make_shared<proxy_rules const>(
      std::nullopt, *http_proxy::parse("127.0.0.1:" + std::to_string(mute.port())), "");
  site s(options);
  fetched const f = test::run_io(s.w.io, get(&s, endpoint("storage.test", 443, true), false));
  CHECK(f.failed_at == hop::proxy);
  CHECK(f.ec == error::connect_timeout);
}

TEST_CASE("behind a proxy, hosts that are private addresses by themselves are refused, however spelt") {
  test::proxy_server proxy;
  pool_options options = through(proxy);
  options.rules.home = endpoint("home.test", 443, true);  // whose address only the proxy knows
  site s(options);
  for (auto const* host : {"10.0.0.1", "169.254.169.254", "0xa9fea9fe", "2852039166", "::1", "::ffff:10.0.0.1", "127.1",
                           "a.localhost"}) {
    CAPTURE(host);
    for (bool const tls : {false, true}) {
      endpoint to(host, 80, tls);
      to.within = reach::outside;
      s.w.io.restart();
      CHECK(test::run_io(s.w.io, s.pool->judge(to)) == error::private_address);
      s.w.io.restart();
      connected const c = test::run_io(s.w.io, s.pool->connect(to));
      CHECK(c.ec == error::private_address);
    }
  }
  CHECK(proxy.heads().empty());

  options.rules.home.host = "10.1.2.3";
  site at_home(options);
  endpoint to("10.0.0.1", 80, false);
  to.within = reach::outside;
  CHECK_FALSE(test::run_io(at_home.w.io, at_home.pool->judge(to)));
}

}  // namespace mgw::upstream::pool_test
