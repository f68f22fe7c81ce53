#include <mgw/proxy/server.hpp>
// The header under test comes first.
#include <mgw/net/client_trust.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/proxy/forward.hpp>

#include <support/blocking_socket.hpp>
#include <support/gateway_fixture.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>
#include <support/temporary_directory.hpp>
#include <support/test_certificates.hpp>
#include <support/test_pki.hpp>

#include <doctest/doctest.h>
#include <openssl/ssl.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::proxy::client_certificates_test {
namespace {

using net::openssl_ptr;
using test::blocking_socket;
using test::pki::identity;
using test::pki::issue;
using test::pki::key_kind;
using test::pki::make_ca;
using test::pki::pem_of;
using test::pki::shape;

struct free_tls {
  void operator()(SSL_CTX* c) const noexcept { SSL_CTX_free(c); }
  void operator()(SSL* s) const noexcept { SSL_free(s); }
  void operator()(SSL_SESSION* s) const noexcept { SSL_SESSION_free(s); }
};
using session = std::unique_ptr<SSL_SESSION, free_tls>;

/// A device: a TLS client of OpenSSL alone, with blocking calls.
class device {
public:
  device(std::uint16_t port, identity const* own, std::initializer_list<identity const*> chain = {},
         int version = TLS1_3_VERSION, SSL_SESSION* resumed = nullptr)
      : socket_(blocking_socket::connect(port)), context_(SSL_CTX_new(TLS_client_method())) {
    std::signal(SIGPIPE, SIG_IGN);
    SSL_CTX* const c = context_.get();
    SSL_CTX_set_min_proto_version(c, version);
    SSL_CTX_set_max_proto_version(c, version);
    if (own != nullptr) {
      REQUIRE(SSL_CTX_use_certificate(c, own->certificate.get()) == 1);
      REQUIRE(SSL_CTX_use_PrivateKey(c, own->key.get()) == 1);
    }
    for (identity const* i : chain) REQUIRE(SSL_CTX_add1_chain_cert(c, i->certificate.get()) == 1);
    ssl_.reset(SSL_new(c));
    SSL_set_fd(ssl_.get(), socket_.fd());
    if (resumed != nullptr) SSL_set_session(ssl_.get(), resumed);
    connected_ = SSL_connect(ssl_.get()) == 1;
  }
  /// The answer's body; empty if there was none.
  std::string ask(std::string_view target = "/") {
    std::string got;
    if (!send(target)) return got;
    while (got.find("\r\n\r\n") == std::string::npos || !got.ends_with('.'))
      if (!receive(got)) return {};
    return got.substr(got.find("\r\n\r\n") + 4);
  }
  bool send(std::string_view target, std::string_view lines = {}) {
    std::string const request = "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n" + std::string(lines) + "\r\n";
    return connected_ && SSL_write(ssl_.get(), request.data(), static_cast<int>(request.size())) > 0;
  }
  /// Adds what comes; false when the connection has ended.
  bool receive(std::string& into) {
    char block[4096];
    int const n = SSL_read(ssl_.get(), block, sizeof block);
    if (n > 0) into.append(block, static_cast<std::size_t>(n));
    return n > 0;
  }
  bool reused() const { return SSL_session_reused(ssl_.get()) == 1; }
  session taken() const { return session(SSL_get1_session(ssl_.get())); }

private:
  blocking_socket socket_;
  std::unique_ptr<SSL_CTX, free_tls> context_;
  std::unique_ptr<SSL, free_tls> ssl_;
  bool connected_ = false;
};

/// A server that tells each client who it is, and holds those that ask for /hold.
struct site {
  test::test_certificates own;
  test::temporary_directory directory;
  net::client_trust_files files;
  std::shared_ptr<net::client_gate> gate;
  test::gateway g;

  explicit site(std::string const& ca, test::any_handler handler = [](exchange& x) { return answer(x); }) {
    files.ca = (directory.path() / "ca.pem").string();
    test::pki::write_text(files.ca, ca);
    gate = std::make_shared<net::client_gate>(std::make_shared<net::client_trust const>(files));
    auto context = net::tls_context::server(net::server_tls(own.server.certificate, own.server.key));
    context.require_clients(gate);
    g.start(std::move(handler), {}, std::move(context));
  }
  void blacklist(std::string const& serials) {
    files.blacklist = (directory.path() / "blacklist").string();
    test::pki::write_text(files.blacklist, serials);
    gate->replace(std::make_shared<net::client_trust const>(files));
    g.server().judge_clients(gate);
  }
  std::uint16_t port() const { return g.port(); }

  static asio::awaitable<void> answer(exchange& x) {
    auto const& c = x.peer().certificate;
    std::string const text = c ? c->subject + ' ' + c->serial + '.' : std::string("nobody.");
    if (x.target().path != "/hold") {
      (void)co_await x.respond(200, "text/plain", text);
      co_return;
    }
    x.start(200);
    http::framing f;
    f.kind = http::body_kind::chunked;
    x.end_head(f);
    (void)co_await x.flush();
    // Ends when the client's connection does: nothing more comes from it.
    char byte = 0;
    (void)co_await x.stream().read_some(asio::buffer(&byte, 1));
  }
};

}  // namespace

TEST_CASE("clients with a good certificate of any shape are served, and the handler knows who they are") {
  identity const root = make_ca("Root"), between = make_ca("Between", &root);
  site s(pem_of(root));
  for (int const version : {TLS1_2_VERSION, TLS1_3_VERSION})
    for (key_kind const kind : {key_kind::p256, key_kind::rsa2048, key_kind::ed25519}) {
      CAPTURE(version);
      CAPTURE(static_cast<int>(kind));
      shape with_serial("device", kind);
      with_serial.serial = 0xBEEF;
      identity const leaf = issue(&root, with_serial), below = issue(&between, with_serial);
      CHECK(device(s.port(), &leaf, {}, version).ask() == "CN=device beef.");
      CHECK(device(s.port(), &below, {&between}, version).ask() == "CN=device beef.");
    }
}

TEST_CASE("clients with a bad certificate, without its key, or with none get not a byte") {
  identity const root = make_ca("Root"), foreign = make_ca("Root");
  site s(pem_of(root));
  shape old("device");
  old.from_days = -30;
  old.to_days = -1;
  identity const expired = issue(&root, old), other = issue(&foreign, shape("device")),
                 good = issue(&root, shape("device"));
  s.blacklist("abcdef\n");
  shape listed("device");
  listed.serial = 0xABCDEF;
  identity const leaked = issue(&root, listed);
  for (int const version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    CHECK(device(s.port(), nullptr, {}, version).ask().empty());
    CHECK(device(s.port(), &expired, {}, version).ask().empty());
    CHECK(device(s.port(), &other, {}, version).ask().empty());
    CHECK(device(s.port(), &leaked, {}, version).ask().empty());
    CHECK(device(s.port(), &good, {}, version).ask().starts_with("CN=device"));
  }
  CHECK(s.g.log.count("certificate") >= 1);
}

TEST_CASE("nothing is resumed where clients need a certificate") {
  identity const root = make_ca("Root");
  site s(pem_of(root));
  identity const leaf = issue(&root, shape("device"));
  for (int const version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    device first(s.port(), &leaf, {}, version);
    REQUIRE(first.ask().starts_with("CN=device"));
    session const kept = first.taken();
    CHECK(SSL_SESSION_has_ticket(kept.get()) == 0);
    device second(s.port(), &leaf, {}, version, kept.get());
    CHECK(second.ask().starts_with("CN=device"));
    CHECK_FALSE(second.reused());
    // Without its certificate the session is worth nothing.
    CHECK(device(s.port(), nullptr, {}, version, kept.get()).ask().empty());
  }
}

TEST_CASE("after a change of what is trusted, open connections of refused clients are cut, whatever they do") {
  identity const root = make_ca("Root");
  site s(pem_of(root));
  shape listed("leaked");
  listed.serial = 0x77;
  identity const leaked = issue(&root, listed), good = issue(&root, shape("good"));
  device idle(s.port(), &leaked), holding(s.port(), &leaked), fine(s.port(), &good);
  REQUIRE(idle.ask() == "CN=leaked 77.");
  REQUIRE(fine.ask().starts_with("CN=good"));
  std::string head;
  REQUIRE(holding.send("/hold"));
  while (head.find("\r\n\r\n") == std::string::npos) REQUIRE(holding.receive(head));
  s.blacklist("77\n");
  std::string rest;
  CHECK_FALSE(idle.receive(rest));
  CHECK_FALSE(holding.receive(rest));
  CHECK(rest.empty());
  CHECK(fine.ask().starts_with("CN=good"));
  CHECK(device(s.port(), &leaked).ask().empty());
  s.blacklist("\n");
  CHECK(device(s.port(), &leaked).ask() == "CN=leaked 77.");
}

TEST_CASE("of many open connections exactly those of refused clients are cut") {
  identity const root = make_ca("Root");
  site s(pem_of(root));
  std::vector<std::unique_ptr<device>> bad, fine;
  std::string serials;
  for (long i = 0; i < 50; ++i) {  // more than are judged at once
    shape listed("leaked");
    listed.serial = 0x7700 + i;
    identity const leaked = issue(&root, listed), good = issue(&root, shape("good"));
    serials += net::serial_of(leaked.certificate.get()) + '\n';
    bad.push_back(std::make_unique<device>(s.port(), &leaked));
    fine.push_back(std::make_unique<device>(s.port(), &good));
    REQUIRE(bad.back()->ask().starts_with("CN=leaked"));
    REQUIRE(fine.back()->ask().starts_with("CN=good"));
  }
  s.blacklist(serials);
  std::string rest;
  for (auto& d : bad) CHECK_FALSE(d->receive(rest));
  for (auto& d : fine) CHECK(d->ask().starts_with("CN=good"));
}

TEST_CASE("a tunnel of a client that is refused later is cut, at both ends") {
  identity const root = make_ca("Root");
  test::origin origin;
  test::mishap opened;
  opened.interim = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  opened.silent = true;
  origin.standing(opened);
  forward_options options;
  options.upstream = upstream::endpoint("127.0.0.1", origin.port(), false);
  options.host = origin.authority();
  test::any_handler relay;
  site s(pem_of(root), [&relay](exchange& x) { return relay(x); });
  relay = test::forwarder(s.g.upstreams, options);
  shape listed("leaked");
  listed.serial = 0x77;
  identity const leaked = issue(&root, listed);
  device d(s.port(), &leaked);
  REQUIRE(d.send("/", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
  std::string got;
  while (got.find("\r\n\r\n") == std::string::npos) REQUIRE(d.receive(got));
  CHECK(got.starts_with("HTTP/1.1 101 "));
  s.blacklist("77\n");
  CHECK_FALSE(d.receive(got));
  CHECK(test::eventually([&] { return s.g.server().connections() == 0; }));
  origin.release();
}

}  // namespace mgw::proxy::client_certificates_test
