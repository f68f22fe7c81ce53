#include <mgw/proxy/server.hpp>
// The header under test comes first.
#include <mgw/net/tls_context.hpp>

#include <support/blocking_socket.hpp>
#include <support/blocking_tls.hpp>
#include <support/gateway_fixture.hpp>
#include <support/test_certificates.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <list>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>

namespace mgw::proxy::parking_test {
namespace {

using test::blocking_socket;
using test::blocking_tls;
using test::eventually;
using std::chrono::milliseconds;

constexpr std::string_view question = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

asio::awaitable<void> answer(exchange& x) {
  (void)co_await x.respond(200, "text/plain", "well.");
}

server_options soon_parked() {
  server_options o;
  o.head_timeout = o.idle_timeout = o.first_at_drain = std::chrono::hours(1);
  o.park_after = milliseconds(1);
  return o;
}

struct plain_road {
  using client = blocking_socket;
  static std::optional<net::tls_context> identity() { return std::nullopt; }
  static client connect(std::uint16_t port) { return blocking_socket::connect(port); }
  static void say_nothing(client&) {}
};
struct tls_road {
  using client = blocking_tls;
  static std::optional<net::tls_context> identity() {
    static test::test_certificates const made;
    return net::tls_context::server({made.server.certificate, made.server.key});
  }
  static client connect(std::uint16_t port) { return blocking_tls(blocking_socket::connect(port)); }
  /// A record that the server reads, and in which nothing is asked.
  static void say_nothing(client& c) { c.update_key(); }
};

template <class Road>
struct site {
  test::gateway g;
  std::uint16_t port;
  explicit site(server_options o = soon_parked()) : port(g.start(answer, std::move(o), Road::identity())) {}
  std::size_t parked() {
    std::promise<std::size_t> told;
    g.server().look_at([&told](std::size_t, std::list<exchange*> const& open) {
      told.set_value(static_cast<std::size_t>(std::count_if(open.begin(), open.end(), [](exchange* x) { return x->parked(); })));
    });
    return told.get_future().get();
  }
};

template <class Client>
std::string ask(Client& c, std::string_view what = question) {
  std::string got;
  if (c.send(what))
    while (!got.ends_with("well.") && c.receive(got)) {
    }
  return got;
}
template <class Client>
bool closed(Client& c) {
  std::string got;
  return !c.receive(got) && got.empty();
}

}  // namespace

TEST_CASE_TEMPLATE("idle connections are parked, before their first request and after each, and are served as ever", Road,
                   plain_road, tls_road) {
  site<Road> s;
  auto one = Road::connect(s.port), other = Road::connect(s.port);
  REQUIRE(eventually([&] { return s.parked() == 2; }));
  for (int i = 0; i < 3; ++i) {
    CHECK(ask(one).ends_with("well."));
    REQUIRE(eventually([&] { return s.parked() == 2; }));
  }
  CHECK(s.g.records().size() == 3);
  // Byte by byte, and two at once.
  for (char const c : question.substr(0, question.size() - 1)) REQUIRE(other.send(std::string_view(&c, 1)));
  std::string got = ask(other, std::string(question.substr(question.size() - 1)).append(question));
  while (got.size() < 2 * got.find("well.") + 10) REQUIRE(other.receive(got));
  CHECK(eventually([&] { return s.g.records().size() == 5; }));
  REQUIRE(eventually([&] { return s.parked() == 2; }));
}

TEST_CASE_TEMPLATE("a client that leaves a parked connection is noticed", Road, plain_road, tls_road) {
  site<Road> s;
  {
    auto c = Road::connect(s.port);
    CHECK(ask(c).ends_with("well."));
    REQUIRE(eventually([&] { return s.parked() == 1; }));
  }
  CHECK(eventually([&] { return s.g.server().idle(); }));
  CHECK(s.g.records().size() == 1);
}

TEST_CASE_TEMPLATE("a parked connection is closed after idle_timeout, whatever its client sends that asks nothing", Road,
                   plain_road, tls_road) {
  server_options o = soon_parked();
  o.idle_timeout = milliseconds(300);
  site<Road> s(o);
  auto c = Road::connect(s.port);
  CHECK(ask(c).ends_with("well."));
  CHECK(eventually([&] {
    Road::say_nothing(c);
    return s.g.server().idle();
  }));
}

TEST_CASE_TEMPLATE("a drain closes a parked connection that has had its answer, and waits for the first request of others",
                   Road, plain_road, tls_road) {
  site<Road> s;
  auto used = Road::connect(s.port), fresh = Road::connect(s.port);
  CHECK(ask(used).ends_with("well."));
  REQUIRE(eventually([&] { return s.parked() == 2; }));
  s.g.server().drain();
  CHECK(closed(used));
  std::string const got = ask(fresh);
  CHECK(got.ends_with("well."));
  CHECK(got.find("Connection: close\r\n") != std::string::npos);
  CHECK(eventually([&] { return s.g.server().idle(); }));
}

TEST_CASE_TEMPLATE("a drain does not wait for a parked connection on which nothing is asked", Road, plain_road, tls_road) {
  server_options o = soon_parked();
  o.first_at_drain = milliseconds(1);
  site<Road> s(o);
  auto silent = Road::connect(s.port);
  REQUIRE(eventually([&] { return s.parked() == 1; }));
  s.g.server().drain();
  CHECK(closed(silent));
  CHECK(eventually([&] { return s.g.server().idle(); }));
}

TEST_CASE_TEMPLATE("a parked connection gives way to a new one", Road, plain_road, tls_road) {
  server_options o = soon_parked();
  o.max_connections = 1;
  site<Road> s(o);
  auto first = Road::connect(s.port);
  REQUIRE(eventually([&] { return s.parked() == 1; }));
  auto second = Road::connect(s.port);
  CHECK(closed(first));
  CHECK(ask(second).ends_with("well."));
}

TEST_CASE_TEMPLATE("a server ends with connections parked", Road, plain_road, tls_road) {
  site<Road> s;
  auto c = Road::connect(s.port);
  CHECK(ask(c).ends_with("well."));
  REQUIRE(eventually([&] { return s.parked() == 1; }));
  s.g.stop();
  CHECK(s.g.records().size() == 1);
}

}  // namespace mgw::proxy::parking_test
