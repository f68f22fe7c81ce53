#include <mgw/proxy/server.hpp>
// The header under test comes first.
#include <mgw/net/tls_context.hpp>

#include <support/blocking_socket.hpp>
#include <support/blocking_tls.hpp>
#include <support/gateway_fixture.hpp>
#include <support/test_certificates.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <future>
#include <string>
#include <thread>

namespace mgw::proxy::server_renewal_test {
namespace {

using test::blocking_socket;
using test::blocking_tls;

asio::awaitable<void> answer(exchange& x) {
  (void)co_await x.respond(200, "text/plain", "well.");
}

/// Whether the connection still gets an answer.
bool asks(blocking_tls& client) {
  std::string got;
  if (!client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")) return false;
  while (!got.ends_with("well."))
    if (!client.receive(got)) return false;
  return true;
}

/// Until what was posted to all workers before is done.
void wait_for(net::worker_pool& workers) {
  std::promise<void> all;
  std::atomic<std::size_t> left{workers.size()};
  workers.post([&](net::worker&) {
    if (--left == 0) all.set_value();
  });
  all.get_future().wait();
}

}  // namespace

TEST_CASE("a new certificate is shown in new handshakes on every worker, and connections that are open go on") {
  test::test_certificates made;
  auto const next = made.issue("next", test::test_certificates::request("next", "DNS:localhost"));
  test::gateway g(2);
  std::uint16_t const port = g.start(answer, {}, net::tls_context::server({made.server.certificate, made.server.key}));
  blocking_tls before(blocking_socket::connect(port));
  CHECK(before.shown_name() == "localhost");
  CHECK(asks(before));
  g.server().renew(net::tls_context::server({next.certificate, next.key}));
  wait_for(g.workers);
  for (int i = 0; i < 16; ++i) {  // the kernel spreads them over both
    blocking_tls after(blocking_socket::connect(port));
    CHECK(after.shown_name() == "next");
    CHECK(asks(after));
  }
  CHECK(asks(before));
  g.stop();
}

TEST_CASE("a server accepts on a socket that somebody else has opened") {
  test::test_certificates const made;
  asio::io_context io(1);
  asio::ip::tcp::acceptor keeper(io, {asio::ip::address_v4::loopback(), 0});
  auto const copy = [&] { return ::fcntl(keeper.native_handle(), F_DUPFD_CLOEXEC, 3); };
  net::worker_pool workers(2);
  server<test::any_handler> s(workers, {}, answer);
  CHECK(s.listen(copy(), net::tls_context::server({made.server.certificate, made.server.key})) ==
        keeper.local_endpoint());
  {
    std::jthread const runs([&] { workers.run(); });
    blocking_tls client(blocking_socket::connect(keeper.local_endpoint().port()));
    CHECK(asks(client));
    workers.stop();
  }
  s.close();
  workers.clear();
}

}  // namespace mgw::proxy::server_renewal_test
