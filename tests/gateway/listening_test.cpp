#include "listening.hpp"

#include "gateway/support.hpp"

#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace gateway::listening_test {

using std::chrono::milliseconds;
using test::all;
using test::has;

TEST_CASE("a port below 1024 without the right: the error says why and what to do") {
  auto const said = [](int why, unsigned port, unsigned first_free) {
    return listen_trouble("HTTPS_LISTEN (HTTPS.Listen)", ":443", port, std::error_code(why, std::system_category()),
                          first_free);
  };
  std::string const low = said(EACCES, 443, 1024);
  for (auto const* part : {"HTTPS_LISTEN (HTTPS.Listen) is \":443\": cannot listen there: Permission denied; uid ",
                           "may take no port below 1024", "AmbientCapabilities=CAP_NET_BIND_SERVICE",
                           "sysctl net.ipv4.ip_unprivileged_port_start=443", "such as :8443, and map 443 to it"})
    CHECK(has(low, part));
  CHECK(has(said(EACCES, 80, 80), "SELinux"));
  CHECK(has(said(EACCES, 79, 80), "may take no port below 80"));
  CHECK(has(said(EADDRINUSE, 443, 1024), "ss -ltnp"));
  CHECK(has(said(EADDRNOTAVAIL, 443, 1024), "no interface of this machine has this address"));
  CHECK(said(EMFILE, 443, 1024).ends_with("Too many open files"));
}

namespace {

struct wait {
  std::vector<std::string> lines;
  std::vector<milliseconds> slept;
  int looks = 0;

  /// `up_at`: the look at which the address is there.
  wait(std::string const& address, milliseconds limit, int up_at) {
    wait_clock clock;
    clock.up = [&](asio::ip::tcp::endpoint const&) { return ++looks >= up_at; };
    clock.sleep = [&](milliseconds d) { return slept.push_back(d), false; };
    wait_for_address(
        "HTTP_LISTEN (HTTP.Listen)", address, limit,
        [&](mgw::log_level, std::string_view text) { lines.emplace_back(text); }, clock);
  }
};

}  // namespace

TEST_CASE("an address to listen on that is not up yet is looked for once a second, for a time") {
  wait const later("10.0.0.1:80", milliseconds(60'000), 4);
  CHECK(later.slept == std::vector<milliseconds>(3, milliseconds(1000)));
  REQUIRE(later.lines.size() == 2);
  CHECK(later.lines[0] ==
        "HTTP_LISTEN (HTTP.Listen) is \"10.0.0.1:80\": no interface has this address yet; it is tried "
        "again for 1m (ListenTimeout)");
  CHECK(later.lines[1] == "HTTP_LISTEN (HTTP.Listen) is \"10.0.0.1:80\": the address is there, after 3s");
  wait const never("10.0.0.1:80", milliseconds(2'500), 100);
  CHECK(never.slept == std::vector<milliseconds>{milliseconds(1000), milliseconds(1000), milliseconds(500)});
  CHECK(never.lines.size() == 1);
}

TEST_CASE("an address that is up, or every address, is not waited for; nor is any where the time is 0") {
  CHECK(wait("10.0.0.1:80", milliseconds(60'000), 1).lines.empty());
  CHECK(wait(":80", milliseconds(60'000), 100).looks == 0);
  CHECK(wait("0.0.0.0:80", milliseconds(60'000), 100).looks == 0);
  CHECK(wait("10.0.0.1:80", milliseconds(0), 100).slept.empty());
}

TEST_CASE("who is told to stop while an address is waited for does, and signals are as they were before") {
  for (int const signal : {SIGTERM, SIGINT}) {
    CAPTURE(signal);
    std::vector<std::string> lines;
    int looks = 0;
    wait_clock clock;
    clock.up = [&](asio::ip::tcp::endpoint const&) { return ++looks, false; };
    clock.sleep = [&](milliseconds d) {
      ::raise(signal);  // to this thread alone
      return stop_within(d);
    };
    auto const log = [&](mgw::log_level, std::string_view text) { lines.emplace_back(text); };
    CHECK(!wait_for_address("HTTP.Listen", "10.0.0.1:80", milliseconds(3'600'000), log, clock));
    CHECK(looks == 1);
    REQUIRE(lines.size() == 2);
    CHECK(lines[1] == "told to stop before there was an address to listen on");
    sigset_t now;
    REQUIRE(::pthread_sigmask(SIG_BLOCK, nullptr, &now) == 0);
    CHECK(::sigismember(&now, signal) == 0);
  }
}

TEST_CASE("the end of a sleep is not a stop") {
  stop_held_back const held;
  CHECK(!stop_within(milliseconds(1)));
}

TEST_CASE("loopback is up, and an address for documentation is not") {
  CHECK(is_up({asio::ip::make_address("127.0.0.1"), 443}));
  CHECK(!is_up({asio::ip::make_address("192.0.2.1"), 443}));
}

}  // namespace gateway::listening_test
