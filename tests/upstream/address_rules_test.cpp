#include <mgw/upstream/address_rules.hpp>

#include <mgw/net/own_addresses.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/pool.hpp>

#include <support/blocking_socket.hpp>
#include <support/origin.hpp>
#include <support/raw_listener.hpp>
#include <support/run_io.hpp>

#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace mgw::upstream::address_rules_test {
namespace {

using asio::ip::make_address;

/// Answers of a name server, name by name and in this order; the last one stays. Other names: the system's.
class script {
public:
  void says(std::string const& name, std::vector<std::string> const& addresses) {
    looked_up one;
    for (auto const& a : addresses) one.addresses.push_back(make_address(a));
    if (addresses.empty()) one.ec = asio::error::host_not_found_try_again;
    std::lock_guard const hold(mutex_);
    answers_[name].push_back(std::move(one));
  }
  int asked(std::string const& name) {
    std::lock_guard const hold(mutex_);
    return asked_[name];
  }
  lookup_function function() {
    return [this](std::string const& name) {
      std::lock_guard const hold(mutex_);
      ++asked_[name];
      auto const it = answers_.find(name);
      if (it == answers_.end()) return system_lookup(name);
      looked_up out = it->second.front();
      if (it->second.size() > 1) it->second.erase(it->second.begin());
      return out;
    };
  }

private:
  std::mutex mutex_;
  std::map<std::string, std::vector<looked_up>> answers_;
  std::map<std::string, int> asked_;
};

/// A pool whose names the test decides. Nothing is remembered.
struct site {
  script names;
  net::worker w{0};
  std::vector<std::string> refused;
  std::shared_ptr<upstream::pool> pool;

  explicit site(std::function<void(pool_options&)> const& change = {}) {
    pool_options o;
    o.names.life = std::chrono::seconds(0);
    o.names.lookup = names.function();
    o.rules.refused = [this](endpoint const& e, asio::ip::address const& a) {
      refused.push_back(e.host + " " + a.to_string());
    };
    if (change) change(o);
    pool = std::make_shared<upstream::pool>(w.deadlines, net::tls_context::client({}), o);
  }
  connected connect(std::string const& host, std::uint16_t port, reach within = reach::outside) {
    endpoint to(host, port, false);
    to.within = within;
    w.io.restart();
    return test::run_io(w.io, pool->connect(std::move(to)));
  }
  std::error_code judge(std::string const& host, std::uint16_t port, reach within = reach::outside) {
    endpoint to(host, port, false);
    to.within = within;
    w.io.restart();
    return test::run_io(w.io, pool->judge(std::move(to)));
  }
};

}  // namespace

TEST_CASE("RFC 6890: what belongs to no public host is private, and its neighbours are not") {
  struct {
    char const* address;
    bool expected;
  } const cases[] = {
      {"0.0.0.0", true},
      {"0.255.255.255", true},
      {"1.0.0.0", false},
      {"9.255.255.255", false},
      {"10.0.0.0", true},
      {"10.255.255.255", true},
      {"11.0.0.0", false},
      {"100.63.255.255", false},
      {"100.64.0.0", true},
      {"100.127.255.255", true},
      {"100.128.0.0", false},
      {"126.255.255.255", false},
      {"127.0.0.1", true},
      {"127.255.255.255", true},
      {"128.0.0.0", false},
      {"169.253.255.255", false},
      {"169.254.169.254", true},
      {"169.255.0.0", false},
      {"172.15.255.255", false},
      {"172.16.0.0", true},
      {"172.31.255.255", true},
      {"172.32.0.0", false},
      {"192.0.0.8", true},
      {"192.0.1.0", false},
      {"192.0.2.1", true},
      {"192.0.3.0", false},
      {"192.31.196.1", true},
      {"192.52.193.1", true},
      {"192.88.99.1", true},
      {"192.88.98.255", false},
      {"192.167.255.255", false},
      {"192.168.0.0", true},
      {"192.168.255.255", true},
      {"192.169.0.0", false},
      {"192.175.48.1", true},
      {"198.17.255.255", false},
      {"198.18.0.0", true},
      {"198.19.255.255", true},
      {"198.20.0.0", false},
      {"198.51.100.7", true},
      {"198.51.101.0", false},
      {"203.0.113.9", true},
      {"203.0.114.0", false},
      {"223.255.255.255", false},
      {"224.0.0.1", true},
      {"240.0.0.1", true},
      {"255.255.255.255", true},
      {"8.8.8.8", false},
      {"::", true},
      {"::1", true},
      {"::2", true},
      {"::8.8.8.8", true},
      {"::ffff:127.0.0.1", true},
      {"::ffff:8.8.8.8", false},
      {"::ffff:10.1.2.3", true},
      {"::ffff:0:10.1.2.3", true},
      {"64:ff9b::10.0.0.1", true},
      {"64:ff9b::8.8.8.8", false},
      {"64:ff9b:1::8.8.8.8", true},
      {"100::1", true},
      {"1fff::1", true},
      {"2000::1", false},
      {"2001::1", true},
      {"2001:2::1", true},
      {"2001:10::1", true},
      {"2001:1ff::1", true},
      {"2001:200::1", false},
      {"2001:db7::1", false},
      {"2001:db8::1", true},
      {"2001:db9::1", false},
      {"2002:7f00:1::1", true},
      {"2002:808:808::1", false},
      {"2002:a9fe:a9fe::", true},
      {"2606:4700::1", false},
      {"3ffe::1", false},
      {"3fff::1", true},
      {"3fff:fff::1", true},
      {"3fff:1000::1", false},
      {"4000::1", true},
      {"5f00::1", true},
      {"fc00::1", true},
      {"fdff::1", true},
      {"fe80::1", true},
      {"fec0::1", true},
      {"ff02::1", true},
  };
  for (auto const& c : cases) {
    CAPTURE(c.address);
    CHECK(is_private(make_address(c.address)) == c.expected);
  }
}

TEST_CASE("however a private address is spelt, it is not connected to") {
  test::raw_listener victim;
  site s;
  s.names.says("evil.test", {"127.0.0.1"});
  s.names.says("evil6.test", {"::1", "::ffff:127.0.0.1"});
  for (auto const* host : {"127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "127.1", "017700000001", "0", "0.0.0.0",
                           "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::", "localhost", "evil.test", "evil6.test"}) {
    CAPTURE(host);
    connected const c = s.connect(host, victim.port());
    CHECK_FALSE(c.connection);
    CHECK(c.ec == error::private_address);
    CHECK(c.failed_at == hop::dns);
    CHECK(s.judge(host, victim.port()) == error::private_address);
  }
  CHECK_FALSE(victim.somebody_waits());
  CHECK(s.refused.front() == "127.0.0.1 127.0.0.1");
  CHECK(s.connect("127.0.0.1", victim.port(), reach::elsewhere).connection);
  CHECK(s.connect("evil.test", victim.port(), reach::anywhere).connection);
}

TEST_CASE("a name that changes its address between two look-ups is connected to where it was checked, or not at all") {
  test::raw_listener victim;
  // In this test 127.0.0.2 is a public address; nobody listens there.
  site s([](pool_options& o) { o.rules.is_private = [](auto const& a) { return a != make_address("127.0.0.2"); }; });
  s.names.says("rebind.test", {"127.0.0.2"});
  s.names.says("rebind.test", {"127.0.0.1"});
  connected const checked = s.connect("rebind.test", victim.port());
  CHECK(checked.ec == asio::error::connection_refused);
  CHECK(s.names.asked("rebind.test") == 1);
  CHECK(s.connect("rebind.test", victim.port()).ec == error::private_address);
  CHECK_FALSE(victim.somebody_waits());

  s.names.says("judged.test", {"127.0.0.2"});
  s.names.says("judged.test", {"127.0.0.1"});
  CHECK_FALSE(s.judge("judged.test", victim.port()));
  CHECK(s.connect("judged.test", victim.port()).ec == error::private_address);
  CHECK_FALSE(victim.somebody_waits());
}

TEST_CASE("it is a definite refusal only if all addresses are private") {
  test::raw_listener here;
  site s([](pool_options& o) { o.rules.is_private = [](auto const& a) { return a == make_address("127.0.0.1"); }; });
  s.names.says("mixed.test", {"127.0.0.1", "127.0.0.2"});
  connected const mixed = s.connect("mixed.test", here.port());
  CHECK(mixed.failed_at == hop::tcp);
  CHECK(mixed.ec == asio::error::connection_refused);  // 127.0.0.2 alone was tried
  CHECK_FALSE(here.somebody_waits());
  CHECK(s.refused.empty());
  s.names.says("gone.test", {});
  connected const gone = s.connect("gone.test", here.port());
  CHECK(gone.failed_at == hop::dns);
  CHECK(gone.ec == asio::error::host_not_found_try_again);
}

TEST_CASE("where the home's addresses are all private, others may be, too, for as long as that is so") {
  test::origin storage("hello");
  site s([](pool_options& o) { o.rules.home = endpoint("home.test", 443, true); });
  s.names.says("s3.test", {"127.0.0.1"});
  s.names.says("home.test", {"10.0.0.1", "fd00::1"});
  connected first = s.connect("s3.test", storage.port());
  REQUIRE(first.connection);
  first.connection->done();
  connected again = s.connect("s3.test", storage.port());
  REQUIRE(again.connection);
  CHECK(again.connection->reused());
  again.connection->done();
  CHECK(s.pool->idle() == 1);

  SUBCASE("the home moves to a public address: what is still open from before is not used") {
    s.names.says("home.test", {"93.184.216.34"});
    (void)s.judge("s3.test", storage.port());  // the last look-up that finds it private
    CHECK(s.connect("s3.test", storage.port()).ec == error::private_address);
  }
  SUBCASE("one public address of the home is enough") {
    s.names.says("home.test", {"10.0.0.1", "93.184.216.34"});
    (void)s.judge("s3.test", storage.port());
    CHECK(s.connect("s3.test", storage.port()).ec == error::private_address);
  }
  SUBCASE("a home that cannot be found is a passing fault") {
    s.names.says("home.test", {});
    (void)s.judge("s3.test", storage.port());
    CHECK(s.connect("s3.test", storage.port()).ec == asio::error::host_not_found_try_again);
    CHECK(s.refused.empty());
  }
  CHECK(test::eventually([&] { return storage.connections() == 1; }));
}

TEST_CASE("an idle connection that was opened without a check is none for who needs one") {
  test::origin storage("hello");
  site s;
  s.names.says("s3.test", {"127.0.0.1"});
  connected relay = s.connect("s3.test", storage.port(), reach::anywhere);
  REQUIRE(relay.connection);
  relay.connection->done();
  CHECK(s.pool->idle() == 1);
  CHECK(s.connect("s3.test", storage.port()).ec == error::private_address);
  CHECK(s.pool->idle() == 1);
  CHECK(s.connect("s3.test", storage.port(), reach::anywhere).connection->reused());
}

TEST_CASE("a program does not connect to itself where it is told not to") {
  test::raw_listener ours, other;
  net::own_addresses own;
  own.add({make_address("127.0.0.1"), ours.port()});
  site s([&own](pool_options& o) { o.rules.is_self = [&own](auto const& e) { return own.contains(e); }; });
  s.names.says("gateway.test", {"127.0.0.1"});
  for (auto const* host : {"gateway.test", "127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1"}) {
    CAPTURE(host);
    CHECK(s.connect(host, ours.port(), reach::elsewhere).ec == error::loop);
  }
  CHECK_FALSE(ours.somebody_waits());
  CHECK(s.connect("gateway.test", other.port(), reach::elsewhere).connection);
  CHECK(s.connect("gateway.test", ours.port(), reach::anywhere).connection);
}

TEST_CASE("who listens on all addresses is found at each of the machine's, and at no other") {
  net::own_addresses v4, v6;
  v4.add({make_address("0.0.0.0"), 443});
  v6.add({make_address("::"), 443});
  asio::ip::tcp::endpoint const local(make_address("127.0.0.5"), 443), mapped(make_address("::ffff:127.0.0.5"), 443),
      foreign(make_address("192.0.2.1"), 443), port(make_address("127.0.0.5"), 444), any(make_address("0.0.0.0"), 443);
  for (auto const* own : {&v4, &v6}) {
    CHECK(own->contains(local));
    CHECK(own->contains(mapped));
    CHECK(own->contains(any));
    CHECK_FALSE(own->contains(foreign));
    CHECK_FALSE(own->contains(port));
  }
}

}  // namespace mgw::upstream::address_rules_test
