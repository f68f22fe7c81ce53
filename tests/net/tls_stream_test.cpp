#include <mgw/net/tls_stream.hpp>
// The header under test comes first.
#include <mgw/core/any_stream.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/tcp_stream.hpp>

#include <doctest/doctest.h>
#include <openssl/ssl.h>
#include <asio/ip/tcp.hpp>

#include <support/fail_at.hpp>
#include <support/memory_stream.hpp>
#include <support/run_io.hpp>
#include <support/test_certificates.hpp>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

// Counts the blocks that lent_buffer takes from the heap. The thread sanitizer allows no other operator new.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MGW_TEST_OWN_NEW 0
#endif
#endif
#ifndef MGW_TEST_OWN_NEW
#define MGW_TEST_OWN_NEW 1
namespace {
std::size_t blocks_alive = 0;  // in use or in the free list
}
void* operator new(std::size_t n) {
  if (n == mgw::lent_buffer::capacity) ++blocks_alive;
  if (void* const p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t n) noexcept {
  if (p != nullptr && n == mgw::lent_buffer::capacity) --blocks_alive;
  std::free(p);
}
#endif

namespace mgw::net::tls_stream_test {

using test::background;
using test::memory_stream;
using test::run_io;
using memory_tls = tls_stream<memory_stream>;
static_assert(Stream<memory_tls>);
static_assert(Stream<tls_stream<tcp_stream>>);
static_assert(Stream<tls_stream<any_stream>>);
static_assert(Stream<tls_stream<memory_tls>>, "TLS within TLS");
static_assert(tls_stream<tcp_stream>::footprint() <= 1740, "1.7 KiB for an idle connection");

namespace {

// The blocks that are lent at this moment: those alive less those in the list, which come first when some are taken.
std::size_t blocks_lent() {
#if MGW_TEST_OWN_NEW
  std::vector<lent_buffer> taken;
  std::size_t const before = blocks_alive;
  while (blocks_alive == before) taken.push_back(lent_buffer::take());
  return before - (taken.size() - 1);
#else
  return 0;
#endif
}

test::test_certificates& certificates() {
  static test::test_certificates made;
  return made;
}
tls_context server_context(int version = TLS1_3_VERSION) {
  auto const& s = certificates().server;
  tls_context const c = tls_context::server(server_tls(s.certificate, s.key));
  SSL_CTX_set_max_proto_version(c.native(), version);
  return c;
}
tls_context client_context() {
  return tls_context::client(client_tls(certificates().ca_file));
}

std::string pattern(std::size_t n) {
  std::string s(n, '\0');
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 31 + i / 251);
  return s;
}

template <class S>
asio::awaitable<std::error_code> write_all(S& s, std::string const& text) {
  io_result r;
  for (std::size_t at = 0; at < text.size() && !r.ec; at += r.n) {
    std::array<asio::const_buffer, 1> const rest = {asio::buffer(text.data() + at, text.size() - at)};
    r = co_await s.write_some(rest);
  }
  co_return r.ec;
}
/// The same, counting into `done` what was written.
template <class S>
asio::awaitable<void> write_count(S& s, std::string const& text, std::size_t& done, std::error_code& ec) {
  io_result r;
  for (done = 0; done < text.size() && !r.ec; done += r.n) {
    std::array<asio::const_buffer, 1> const rest = {asio::buffer(text.data() + done, text.size() - done)};
    r = co_await s.write_some(rest);
  }
  ec = r.ec;
}
struct got {
  std::error_code ec;
  std::string text;
  got() {}
};
/// Reads until there are `n` bytes, or an end.
template <class S>
asio::awaitable<got> read_up_to(S& s, std::size_t n, std::size_t piece = 5000) {
  got g;
  std::string buffer(piece, '\0');
  while (g.text.size() < n && !g.ec) {
    io_result const r = co_await s.read_some(asio::buffer(buffer));
    g.ec = r.ec;
    g.text.append(buffer, 0, r.n);
  }
  co_return g;
}

template <class S>
asio::awaitable<void> handshake_into(S& s, std::error_code& ec) {
  ec = co_await s.handshake();
}
template <class S>
asio::awaitable<void> write_into(S& s, std::string const& text, std::error_code& ec) {
  ec = co_await write_all(s, text);
}
template <class S>
asio::awaitable<void> read_into(S& s, std::size_t n, got& into) {
  into = co_await read_up_to(s, n);
}
/// Answers with what it gets until its peer ends, then closes.
template <class S>
asio::awaitable<void> echo(S& s, std::error_code& end) {
  end = co_await s.handshake();
  std::string buffer(20000, '\0');
  while (!end) {
    io_result const r = co_await s.read_some(asio::buffer(buffer));
    end = r.ec;
    if (end) break;
    std::string const answer = buffer.substr(0, r.n);
    end = co_await write_all(s, answer);
  }
  std::error_code const closed = co_await s.shutdown();
  if (end == asio::error::eof && closed) end = closed;
}

struct connected {
  memory_tls client, server;
  connected(memory_tls c, memory_tls s) : client(std::move(c)), server(std::move(s)) {}
};
connected make_pair(asio::any_io_executor ex, tls_context const& server, test::memory_options with = {}) {
  auto [a, b] = memory_stream::pair(ex, with);
  connected c(memory_tls(std::move(a), client_context(), tls_role::client),
              memory_tls(std::move(b), server, tls_role::server));
  c.client.set_server_name("localhost");
  return c;
}
/// Both ends, handshake done.
asio::awaitable<connected> connect(tls_context server) {
  auto const ex = co_await asio::this_coro::executor;
  connected c = make_pair(ex, server);
  std::error_code server_ec;
  background other(ex, handshake_into(c.server, server_ec));
  std::error_code const ec = co_await c.client.handshake();
  co_await other.join();
  REQUIRE_FALSE(ec);
  REQUIRE_FALSE(server_ec);
  co_return c;
}

template <class S>
asio::awaitable<void> echo_through(S& client, std::size_t total) {
  auto const ex = co_await asio::this_coro::executor;
  std::error_code const shaken = co_await client.handshake();
  REQUIRE_FALSE(shaken);
  S moved = std::move(client);  // after the handshake, with a ticket perhaps unread
  std::string const text = pattern(total);
  std::size_t at = 0;
  for (std::size_t size = 1; at < total; size = size * 3 + 1) {
    std::string const part = text.substr(at, size);
    std::error_code ec;
    background writer(ex, write_into(moved, part, ec));  // the echo takes no more than it is relieved of
    got const g = co_await read_up_to(moved, part.size());
    co_await writer.join();
    REQUIRE_FALSE(ec);
    REQUIRE_FALSE(g.ec);
    REQUIRE(g.text == part);
    at += part.size();
  }
  std::error_code const closed = co_await moved.shutdown();
  CHECK_FALSE(closed);
  got const end = co_await read_up_to(moved, 1);
  CHECK(end.ec == asio::error::eof);
  got const again = co_await read_up_to(moved, 1);
  CHECK(again.ec == asio::error::eof);
  client = std::move(moved);
}

asio::awaitable<void> memory_echo(int version, std::size_t cap) {
  auto const ex = co_await asio::this_coro::executor;
  test::memory_options with;
  with.max_read = with.max_write = cap;
  connected c = make_pair(ex, server_context(version), with);
  std::error_code end;
  background other(ex, echo(c.server, end));
  co_await echo_through(c.client, cap == 1 ? 10000 : 300000);
  co_await other.join();
  CHECK(end == asio::error::eof);
  CHECK(SSL_version(c.client.native()) == version);
}

asio::awaitable<std::pair<asio::ip::tcp::socket, asio::ip::tcp::socket>> tcp_pair() {
  auto const ex = co_await asio::this_coro::executor;
  asio::ip::tcp::endpoint const any(asio::ip::address_v4::loopback(), 0);
  asio::ip::tcp::acceptor acceptor(ex, any);
  asio::ip::tcp::socket a(ex);
  asio::ip::tcp::endpoint const there = acceptor.local_endpoint();
  a.connect(there);  // the backlog answers
  asio::ip::tcp::socket b = acceptor.accept();
  co_return std::pair(std::move(a), std::move(b));
}

asio::awaitable<void> tcp_echo(int version) {
  auto const ex = co_await asio::this_coro::executor;
  auto sockets = co_await tcp_pair();
  tls_context const context = server_context(version);
  tls_stream<tcp_stream> client(tcp_stream(std::move(sockets.first)), client_context(), tls_role::client);
  tls_stream<tcp_stream> server(tcp_stream(std::move(sockets.second)), context, tls_role::server);
  client.set_server_name("127.0.0.1");
  std::error_code end;
  background other(ex, echo(server, end));
  co_await echo_through(client, 1000000);
  co_await other.join();
  CHECK(end == asio::error::eof);
}

}  // namespace

TEST_CASE("what is written arrives, however the transport cuts it") {
  for (int const version : {TLS1_2_VERSION, TLS1_3_VERSION})
    for (std::size_t const cap : {std::size_t(1), std::size_t(7), std::size_t(512), std::size_t(1000), SIZE_MAX}) {
      CAPTURE(version);
      CAPTURE(cap);
      run_io(memory_echo(version, cap));
      CHECK(blocks_lent() == 0);
    }
}

TEST_CASE("the same over TCP") {
  for (int const version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    run_io(tcp_echo(version));
  }
}

namespace {
asio::awaitable<void> bare_fin(int version) {
  connected c = co_await connect(server_context(version));
  std::error_code ec = co_await write_all(c.server, "half");
  CHECK_FALSE(ec);
  c.server.next().finish();
  got g = co_await read_up_to(c.client, 100);
  CHECK(g.text == "half");
  CHECK(g.ec == tls_error::truncated);
  g = co_await read_up_to(c.client, 100);
  CHECK(g.ec == tls_error::truncated);
  ec = co_await write_all(c.client, "still heard");  // the peer has closed one direction only
  CHECK_FALSE(ec);
  g = co_await read_up_to(c.server, 11);
  CHECK(g.text == "still heard");
}
asio::awaitable<void> cut_in_a_record() {
  connected c = co_await connect(server_context());
  test::memory_options& with = c.server.next().settings();
  with.max_write = 3000;
  with.capacity = 3000;
  std::string const text = pattern(10000);
  std::array<asio::const_buffer, 1> const all = {asio::buffer(text)};
  io_result const r = c.server.try_write(all);
  CHECK(r.ec == asio::error::would_block);
  c.server.next().finish();
  got const g = co_await read_up_to(c.client, 100);
  CHECK(g.text == "");
  CHECK(g.ec == tls_error::truncated);
}
asio::awaitable<void> reset_by_peer() {
  connected c = co_await connect(server_context());
  c.server.next().reset();
  got const g = co_await read_up_to(c.client, 100);
  CHECK(g.ec == asio::error::connection_reset);
  std::error_code const ec = co_await write_all(c.client, "x");
  CHECK(ec == asio::error::connection_reset);
  std::error_code const closed = co_await c.client.shutdown();
  CHECK(closed == asio::error::connection_reset);
}
asio::awaitable<void> eof_in_handshake() {
  auto const ex = co_await asio::this_coro::executor;
  connected c = make_pair(ex, server_context());
  c.server.next().finish();
  std::error_code const ec = co_await c.client.handshake();
  CHECK(ec == tls_error::truncated);
}
asio::awaitable<void> noise_in_handshake() {
  auto const ex = co_await asio::this_coro::executor;
  connected c = make_pair(ex, server_context());
  std::error_code const sent = co_await write_all(c.client.next(), "GET / HTTP/1.1\r\n\r\n");
  CHECK_FALSE(sent);
  std::error_code const ec = co_await c.server.handshake();
  CHECK(ec.category() == tls_category());
  CHECK(ec.message() == "http request");
}
}  // namespace

TEST_CASE("RFC 9112 9.8: a bare FIN is a truncation, close_notify an end") {
  run_io(bare_fin(TLS1_2_VERSION));
  run_io(bare_fin(TLS1_3_VERSION));
  run_io(cut_in_a_record());
  run_io(reset_by_peer());
  run_io(eof_in_handshake());
  run_io(noise_in_handshake());
}

namespace {
asio::awaitable<void> resumption(int version, bool clean) {
  auto const ex = co_await asio::this_coro::executor;
  tls_context const context = server_context(version);
  tls_session kept;
  {
    connected c = co_await connect(context);
    CHECK_FALSE(c.client.resumed());
    std::error_code const ec = co_await write_all(c.server, "x");
    CHECK_FALSE(ec);
    got const g = co_await read_up_to(c.client, 1);  // brings the TLS 1.3 ticket along
    CHECK_FALSE(g.ec);
    kept = c.client.session();
    CHECK(kept);
    if (clean) {
      std::error_code const closed = co_await c.client.shutdown();
      CHECK_FALSE(closed);
    }
  }
  for (int i = 0; i < 2; ++i) {
    connected c = make_pair(ex, context);
    c.client.resume(kept);
    std::error_code server_ec;
    background other(ex, handshake_into(c.server, server_ec));
    std::error_code const ec = co_await c.client.handshake();
    co_await other.join();
    CHECK_FALSE(ec);
    CHECK_FALSE(server_ec);
    CHECK(c.client.resumed());
    CHECK(c.server.resumed());
  }
}
asio::awaitable<void> key_update() {
  connected c = co_await connect(server_context(TLS1_3_VERSION));
  CHECK(SSL_key_update(c.client.native(), SSL_KEY_UPDATE_REQUESTED) == 1);
  std::error_code ec = co_await write_all(c.client, "ping");
  CHECK_FALSE(ec);
  got g = co_await read_up_to(c.server, 4);
  CHECK(g.text == "ping");
  // The next read answers the update before it waits for more.
  auto const ex = co_await asio::this_coro::executor;
  background other(ex, read_into(c.server, 4, g));
  co_await test::yield();
  co_await test::yield();
  CHECK(c.client.next().unread().size() != 0);
  ec = co_await write_all(c.client, "pong");
  CHECK_FALSE(ec);
  co_await other.join();
  CHECK(g.text == "pong");
  ec = co_await write_all(c.server, "done");
  CHECK_FALSE(ec);
  g = co_await read_up_to(c.client, 4);
  CHECK(g.text == "done");
}
}  // namespace

TEST_CASE("a session is resumed, also that of a connection that was not closed") {
  for (int const version : {TLS1_2_VERSION, TLS1_3_VERSION})
    for (bool const clean : {true, false}) {
      CAPTURE(version);
      CAPTURE(clean);
      run_io(resumption(version, clean));
    }
}

TEST_CASE("a KeyUpdate is answered by the read that meets it") {
  run_io(key_update());
}

namespace {
asio::awaitable<std::error_code> verify(test::test_certificates::files files, std::string ca, std::string name,
                                        bool skip = false) {
  auto const ex = co_await asio::this_coro::executor;
  auto [a, b] = memory_stream::pair(ex);
  tls_context const context = tls_context::server(server_tls(files.certificate, files.key));
  memory_tls client(std::move(a), tls_context::client(client_tls(ca, skip)), tls_role::client);
  memory_tls server(std::move(b), context, tls_role::server);
  if (!name.empty()) client.set_server_name(name);
  std::error_code server_ec;
  background other(ex, handshake_into(server, server_ec));
  std::error_code const ec = co_await client.handshake();
  if (ec) {
    std::error_code const ignored = co_await client.shutdown();
    (void)ignored;
  } else {
    std::error_code const sent = co_await write_all(client, "x");
    CHECK_FALSE(sent);
  }
  co_await other.join();
  CHECK(bool(server_ec) == bool(ec));
  co_return ec;
}
}  // namespace

TEST_CASE("RFC 9110 4.3.4: a certificate is verified: issuer, dates, name or address") {
  auto& c = certificates();
  struct {
    test::test_certificates::files const& server;
    std::string ca;
    char const* name;
    std::error_code want;
  } const cases[] = {
      {c.server, c.ca_file, "localhost", {}},
      {c.server, c.ca_file, "LOCALHOST.", {}},
      {c.server, c.ca_file, "127.0.0.1", {}},
      {c.server, c.ca_file, "[::1]", {}},
      {c.server, c.ca_file, "::1", {}},
      {c.server, c.ca_file, "127.0.0.2", verify_error(X509_V_ERR_IP_ADDRESS_MISMATCH)},
      {c.server, c.ca_file, "example.com", verify_error(X509_V_ERR_HOSTNAME_MISMATCH)},
      {c.wrong_host_server, c.ca_file, "localhost", verify_error(X509_V_ERR_HOSTNAME_MISMATCH)},
      {c.wrong_host_server, c.ca_file, "127.0.0.1", verify_error(X509_V_ERR_IP_ADDRESS_MISMATCH)},
      {c.expired_server, c.ca_file, "localhost", verify_error(X509_V_ERR_CERT_HAS_EXPIRED)},
      {c.foreign_server, c.ca_file, "localhost", verify_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY)},
      {c.server, c.foreign_ca_file, "localhost", verify_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY)},
      {c.foreign_server, c.foreign_ca_file, "localhost", {}},
      {c.server, c.ca_file, "", tls_error::no_server_name},
  };
  for (auto const& t : cases) {
    CAPTURE(t.name);
    CHECK(run_io(verify(t.server, t.ca, t.name)) == t.want);
  }
  CHECK_FALSE(run_io(verify(c.foreign_server, c.ca_file, "localhost", true)));
  CHECK_FALSE(run_io(verify(c.foreign_server, c.ca_file, "", true)));
}

TEST_CASE("errors say what is wrong") {
  CHECK(verify_error(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT).message() ==
        "certificate verify failed: self-signed certificate");
  CHECK(is_verify_error(verify_error(X509_V_ERR_CERT_HAS_EXPIRED)));
  CHECK_FALSE(is_verify_error(make_error_code(tls_error::truncated)));
  CHECK_FALSE(is_verify_error(ssl_error(SSL_R_HTTP_REQUEST)));
  for (auto const e : {tls_error::truncated, tls_error::no_server_name, tls_error::failed})
    CHECK_FALSE(make_error_code(e).message().empty());
}

namespace {
/// A whole exchange over a transport whose n-th operation fails; every error that came up.
asio::awaitable<void> failing_client(memory_tls& s, std::string const& text, std::error_code& out) {
  out = co_await s.handshake();
  if (!out) out = co_await write_all(s, text);
  if (!out) {
    got const g = co_await read_up_to(s, text.size());
    out = g.ec;
    if (!out) CHECK(g.text == text);
  }
  if (!out) out = co_await s.shutdown();
  if (!out) {
    got const g = co_await read_up_to(s, 1);
    if (g.ec != asio::error::eof) out = g.ec;
  }
}
asio::awaitable<std::size_t> failing(int version, std::size_t n) {
  auto const ex = co_await asio::this_coro::executor;
  test::fail_at fail(n);
  test::memory_options with;
  with.fail = &fail;
  connected c = make_pair(ex, server_context(version), with);
  std::string const text = pattern(60000);
  std::error_code client_ec, server_ec;
  background server(ex, echo(c.server, server_ec));
  background client(ex, failing_client(c.client, text, client_ec));
  co_await client.join();
  c.client.next().finish();
  co_await server.join();
  bool const server_failed = server_ec && server_ec != asio::error::eof;
  CHECK((client_ec || server_failed) == fail.fired());
  co_return fail.seen;
}
}  // namespace

TEST_CASE("whichever operation of the transport fails, it is reported and nothing hangs") {
  for (int const version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    std::size_t seen = 1;
    std::size_t n = 0;
    for (; n < seen; ++n) {
      CAPTURE(version);
      CAPTURE(n);
      seen = run_io(failing(version, n));
      CHECK(blocks_lent() == 0);
    }
    CHECK(n > 20);
  }
}

namespace {
asio::awaitable<void> both_ways(std::size_t capacity, std::size_t cap) {
  auto const ex = co_await asio::this_coro::executor;
  connected c = co_await connect(server_context());
  for (memory_tls* const s : {&c.client, &c.server}) {
    test::memory_options& with = s->next().settings();
    with.capacity = capacity;
    with.max_read = with.max_write = cap;
  }
  std::string const up = pattern(1 << 20), down = pattern((1 << 20) + 7);
  got at_server, at_client;
  std::error_code up_ec, down_ec;
  background a(ex, write_into(c.client, up, up_ec));
  background b(ex, write_into(c.server, down, down_ec));
  background d(ex, read_into(c.server, up.size(), at_server));
  background e(ex, read_into(c.client, down.size(), at_client));
  CHECK(SSL_key_update(c.client.native(), SSL_KEY_UPDATE_REQUESTED) == 1);  // in the middle of it
  CHECK(SSL_key_update(c.server.native(), SSL_KEY_UPDATE_REQUESTED) == 1);
  co_await a.join();
  co_await b.join();
  co_await d.join();
  co_await e.join();
  CHECK_FALSE(up_ec);
  CHECK_FALSE(down_ec);
  CHECK(at_server.text == up);
  CHECK(at_client.text == down);
  CHECK(blocks_lent() == 0);
}
/// Both ends of a TLS connection over TCP, behind their handshake.
struct over_tcp {
  tls_context context = server_context();
  tls_stream<tcp_stream> client, server;
  explicit over_tcp(std::pair<asio::ip::tcp::socket, asio::ip::tcp::socket> s)
      : client(tcp_stream(std::move(s.first)), client_context(), tls_role::client),
        server(tcp_stream(std::move(s.second)), context, tls_role::server) {
    client.set_server_name("localhost");
  }
};
asio::awaitable<std::unique_ptr<over_tcp>> connect_over_tcp() {
  auto const ex = co_await asio::this_coro::executor;
  auto sockets = co_await tcp_pair();
  auto both = std::make_unique<over_tcp>(std::move(sockets));
  std::error_code server_ec;
  background other(ex, handshake_into(both->server, server_ec));
  std::error_code const ec = co_await both->client.handshake();
  REQUIRE_FALSE(ec);
  co_await other.join();
  co_return both;
}
asio::awaitable<void> both_ways_tcp() {
  auto const ex = co_await asio::this_coro::executor;
  std::unique_ptr<over_tcp> const both = co_await connect_over_tcp();
  tls_stream<tcp_stream>&client = both->client, &server = both->server;
  std::string const up = pattern(8 << 20), down = pattern((8 << 20) + 7);
  got at_server, at_client;
  std::error_code up_ec, down_ec;
  background a(ex, write_into(client, up, up_ec));
  background b(ex, write_into(server, down, down_ec));
  background d(ex, read_into(server, up.size(), at_server));
  background e(ex, read_into(client, down.size(), at_client));
  co_await a.join();
  co_await b.join();
  co_await d.join();
  co_await e.join();
  CHECK(at_server.text == up);
  CHECK(at_client.text == down);
}
asio::awaitable<void> call_back() {
  auto const ex = co_await asio::this_coro::executor;
  std::unique_ptr<over_tcp> const both = co_await connect_over_tcp();
  tls_stream<tcp_stream>&client = both->client, &server = both->server;
  CHECK(server.can_call_back());

  std::string const text = pattern(100'000);
  std::array<asio::const_buffer, 1> const some = {asio::buffer(text)};
  std::size_t sent = 0;
  io_result r;
  while (!r.ec) {
    r = server.try_write(some);
    sent += r.n;
  }
  CHECK(r.ec == asio::error::would_block);
  CHECK_FALSE(server.can_call_back());  // it has encrypted what has to leave yet
  got at_client;
  background reads(ex, read_into(client, sent + text.size(), at_client));
  std::error_code rest;
  co_await write_into(server, text, rest);
  CHECK_FALSE(rest);
  co_await reads.join();
  CHECK(server.can_call_back());
}
}  // namespace

TEST_CASE("a stream calls back only if nothing of its own has to be sent") {
  run_io(call_back());
}

TEST_CASE("both directions run at once") {
  run_io(both_ways(4096, SIZE_MAX));
  run_io(both_ways(100000, 1500));
  run_io(both_ways_tcp());
}

namespace {
asio::awaitable<void> without_waiting() {
  connected c = co_await connect(server_context());
  std::string buffer(1000, '\0');
  io_result r = c.client.try_read(asio::buffer(buffer));
  CHECK(r.ec == asio::error::would_block);
  CHECK(r.n == 0);
  std::string const hello = "hello";
  std::array<asio::const_buffer, 1> const some = {asio::buffer(hello)};
  r = c.server.try_write(some);
  CHECK_FALSE(r.ec);
  CHECK(r.n == 5);
  r = c.client.try_read(asio::buffer(buffer));
  CHECK(buffer.substr(0, r.n) == hello);

  // A transport that takes no more: the writer is told, and nothing is lost or doubled.
  c.server.next().settings().capacity = 20000;
  std::string const text = pattern(500000);
  std::string arrived;
  std::size_t at = 0, refused = 0;
  while (arrived.size() < text.size()) {
    while (at < text.size()) {
      std::array<asio::const_buffer, 1> const rest = {asio::buffer(text.data() + at, text.size() - at)};
      r = c.server.try_write(rest);
      at += r.n;
      if (r.ec) break;
    }
    refused += r.ec == asio::error::would_block;
    for (;;) {
      r = c.client.try_read(asio::buffer(buffer));
      if (r.ec) break;
      arrived.append(buffer, 0, r.n);
    }
    REQUIRE(r.ec == asio::error::would_block);
  }
  CHECK(refused > 1);
  CHECK(arrived == text);

  // What try_write began, write_some ends.
  auto const ex = co_await asio::this_coro::executor;
  std::array<asio::const_buffer, 1> const all = {asio::buffer(text)};
  r = c.server.try_write(all);
  CHECK(r.ec == asio::error::would_block);
  std::size_t const held = c.server.held();
  CHECK(held >= 16'384);
  CHECK(held <= text.size());
  // What is held is not looked at again.
  std::string offered = std::string(held, '-') + text.substr(held);
  std::error_code ec;
  background writer(ex, write_into(c.server, offered, ec));
  got const g = co_await read_up_to(c.client, text.size());
  co_await writer.join();
  CHECK(c.server.held() == 0);
  CHECK(g.text == text);
  CHECK(blocks_lent() == 0);
}
asio::awaitable<void> one_write() {
  connected c = co_await connect(server_context());
  std::string const head = "HTTP/1.1 200 OK\r\n\r\n", small = pattern(700), large = pattern(50000);
  for (std::string const* const body : {&small, &large}) {
    std::array<asio::const_buffer, 3> const answer = {asio::buffer(head), asio::const_buffer(), asio::buffer(*body)};
    std::size_t const before = c.server.next().writes();
    io_result const r = co_await c.server.write_some(answer);
    CHECK(r.n == head.size() + body->size());
    CHECK(c.server.next().writes() == before + 1);
    got const g = co_await read_up_to(c.client, r.n, 16384);
    CHECK(g.text == head + *body);
  }
  std::string buffer(10000, '\0');
  std::array<asio::const_buffer, 2> const answer = {asio::buffer(head), asio::buffer(small)};
  io_result const sent = co_await c.server.write_some(answer);
  io_result const r = c.client.try_read(asio::buffer(buffer));
  CHECK(r.n == sent.n);  // one record
  std::array<asio::const_buffer, 1> const nothing = {asio::const_buffer()};
  io_result const none = co_await c.server.write_some(nothing);
  CHECK_FALSE(none.ec);
  CHECK(none.n == 0);
}
asio::awaitable<void> idle() {
  auto const ex = co_await asio::this_coro::executor;
  connected c = co_await connect(server_context());
  for (std::size_t const size : {10U, 511U, 512U, 513U, 5000U, 40000U}) {
    got g;
    background reader(ex, read_into(c.server, size, g));
    co_await test::yield();
    CHECK(blocks_lent() == 0);  // it waits
    std::string const text = pattern(size);
    std::error_code const ec = co_await write_all(c.client, text);
    CHECK_FALSE(ec);
    co_await reader.join();
    CHECK(g.text == text);
    CHECK(blocks_lent() == 0);
  }
}
asio::awaitable<void> cancelled() {
  auto const ex = co_await asio::this_coro::executor;
  connected c = co_await connect(server_context());
  got g;
  background reader(ex, read_into(c.client, 1, g));
  co_await test::yield();
  c.client.cancel();
  co_await reader.join();
  CHECK(g.ec == asio::error::operation_aborted);
  got const later = co_await read_up_to(c.client, 1);
  CHECK(later.ec == asio::error::operation_aborted);
  std::error_code ec = co_await write_all(c.client, "x");
  CHECK(ec == asio::error::operation_aborted);
  ec = co_await c.client.shutdown();
  CHECK(ec == asio::error::operation_aborted);
}
/// What is pending ends, both ways; then everything arrives, whole and in order.
asio::awaitable<void> interrupted() {
  auto const ex = co_await asio::this_coro::executor;
  connected c = co_await connect(server_context());
  got g;
  background reader(ex, read_into(c.client, 1, g));
  co_await test::yield();
  c.client.interrupt();
  co_await reader.join();
  CHECK(g.ec == asio::error::operation_aborted);
  std::string const text = pattern(400'000);  // more than fits on the way
  std::size_t sent = 0;
  std::error_code ec;
  background writer(ex, write_count(c.client, text, sent, ec));
  co_await test::yield();
  c.client.interrupt();
  co_await writer.join();
  CHECK(ec == asio::error::operation_aborted);
  CHECK(sent < text.size());
  std::string const rest = text.substr(sent);
  background again(ex, write_count(c.client, rest, sent, ec));
  got const all = co_await read_up_to(c.server, text.size());
  co_await again.join();
  CHECK_FALSE(ec);
  CHECK((all.text == text));
  ec = co_await write_all(c.server, "back");
  CHECK_FALSE(ec);
  got const back = co_await read_up_to(c.client, 4);
  CHECK(back.text == "back");
}
asio::awaitable<void> handshake_deadline() {
  auto const ex = co_await asio::this_coro::executor;
  deadline_queue queue(ex);
  connected c = make_pair(ex, server_context());
  deadline limit(queue, c.server);
  limit.arm(std::chrono::milliseconds(1));
  std::error_code const ec = co_await c.server.handshake();
  CHECK(ec == asio::error::operation_aborted);
  CHECK(limit.expired());
}
asio::awaitable<void> within_itself() {
  auto const ex = co_await asio::this_coro::executor;
  connected outer = co_await connect(server_context());
  tls_context const context = server_context();
  tls_stream<any_stream> client(any_stream(std::move(outer.client)), client_context(), tls_role::client);
  tls_stream<any_stream> server(any_stream(std::move(outer.server)), context, tls_role::server);
  client.set_server_name("localhost");
  std::error_code end;
  background other(ex, echo(server, end));
  co_await echo_through(client, 200000);
  co_await other.join();
  CHECK(end == asio::error::eof);
}
}  // namespace

TEST_CASE("try_read and try_write never wait, and lose nothing") {
  run_io(without_waiting());
}
TEST_CASE("a head and its body leave in one write") {
  run_io(one_write());
}
TEST_CASE("a connection that waits holds no lent buffer") {
  run_io(idle());
}
TEST_CASE("a cancel ends what waits and all that comes later") {
  run_io(cancelled());
}
TEST_CASE("an interrupt ends what waits, loses nothing, and harms nothing that comes later") {
  run_io(interrupted());
}
TEST_CASE("a deadline ends a handshake with a silent peer") {
  run_io(handshake_deadline());
}
TEST_CASE("TLS runs over TLS, as through an HTTPS proxy") {
  run_io(within_itself());
}

TEST_CASE("a context names what it cannot use") {
  auto& c = certificates();
  auto const message = [](auto const& options) -> std::string {
    try {
      if constexpr (requires { options.key_file; })
        tls_context::server(options);
      else
        tls_context::client(options);
    } catch (tls_context_error const& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message(server_tls(c.server.certificate, c.server.key)) == "");
  CHECK(message(server_tls(c.server.certificate, c.server.key, "1.3")) == "");
  CHECK(message(client_tls()) == "");
  std::string const missing = c.directory() + "/none.pem";
  CHECK(message(server_tls(missing, c.server.key)) == "certificate " + missing + ": No such file or directory");
  CHECK(message(server_tls(c.server.certificate, missing)).find("key " + missing) == 0);
  CHECK(message(server_tls(c.server.certificate, c.expired_server.key)).find("mismatch") != std::string::npos);
  CHECK(message(server_tls(c.server.key, c.server.key)).find("certificate " + c.server.key + ": ") == 0);
  CHECK(message(server_tls(c.server.certificate, c.server.key, "1.1")).find("\"1.1\"") != std::string::npos);
  CHECK(message(client_tls(missing)).find("CA certificates " + missing) == 0);
}

}  // namespace mgw::net::tls_stream_test
