#include <mgw/proxy/tee_to_cache.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <sys/socket.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <utility>

namespace mgw::proxy::update_client_test {
namespace {

using test::mishap;
using test::pattern;

/// Downloads as mender-update (the C++ client) does, with shortened clocks: the first answer has to be 200 with a
/// length, any other ends the deployment at once; no answer at all costs a try, as does a body that breaks off or is
/// silent for too long; a resume asks for exactly the rest and takes nothing but a 206 of exactly that, anything else
/// wedges the client for good; so many tries in all, whatever comes in between.
class update_client {
public:
  enum class outcome { installed, failed, wedged };

  update_client(std::uint16_t port, std::chrono::milliseconds silence) : port_(port), silence_(silence) {}

  outcome download() {
    for (;;) {
      test::http_client c(port_);
      std::string const range = "bytes=" + std::to_string(body_.size()) + "-" + std::to_string(length_ - 1);
      if (length_ == 0)
        c.request("GET", "/o", {{"X-Link", "one"}});
      else
        c.request("GET", "/o", {{"X-Link", "one"}, {"Range", range}});
      auto const head = c.read_head();  // no limit of time
      if (head.there()) {
        if (length_ == 0) {
          length_ = head.value("Content-Length").empty() ? 0 : std::stoull(head.value("Content-Length"));
          if (head.status() != 200 || length_ == 0) return outcome::failed;
        } else if (head.value("Content-Range") != range_of(body_.size())) {
          return outcome::wedged;
        }
        read_body(c);
        if (body_.size() == length_) return outcome::installed;
      }
      if (tries_++ == most_tries) return length_ == 0 ? outcome::failed : outcome::wedged;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the client's minute
    }
  }
  unsigned lost_tries() const noexcept { return tries_; }
  std::size_t received() const noexcept { return received_.load(); }
  std::string const& body() const noexcept { return body_; }

private:
  static constexpr unsigned most_tries = 10;

  std::string range_of(std::size_t first) const {
    return "bytes " + std::to_string(first) + "-" + std::to_string(length_ - 1) + "/" + std::to_string(length_);
  }
  void read_body(test::http_client& c) {
    timeval const limit{silence_.count() / 1000, silence_.count() % 1000 * 1000};
    ::setsockopt(c.socket().fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    for (std::string piece; body_.size() < length_ && c.read_some(piece);) received_ = (body_ += piece).size();
  }

  std::uint16_t port_;
  std::chrono::milliseconds silence_;
  std::string body_;
  std::size_t length_ = 0;
  unsigned tries_ = 0;
  std::atomic<std::size_t> received_{0};
};
using outcome = update_client::outcome;

/// An origin and a gateway whose clocks are shortened, too.
struct site {
  std::string const body = pattern(300'000);
  test::origin origin{body};
  test::temporary_directory directory;
  tee_options options = test::quick_tee();
  std::optional<test::caching_gateway> g;

  site() {
    options.reader.trickle = std::chrono::milliseconds(50);
    options.reader.hold = std::chrono::milliseconds(200);
  }
  void start() {
    test::caching_options o;
    o.tee = options;
    o.tee.ledger.path = (directory.path() / "ledger").string();
    g.reset();
    g.emplace(directory.path(), origin.authority(), std::move(o));
  }
  update_client client(std::chrono::milliseconds silence = std::chrono::seconds(20)) {
    if (!g) start();
    return {g->port(), silence};
  }
};

}  // namespace

TEST_CASE("a C++ client notices nothing of a link that breaks again and again") {
  site s;
  s.origin.standing([](test::origin::seen_request const& r) {
    mishap m;
    m.cut_after = 35'000;
    m.reset = !r.value("Range").empty();
    return m;
  });
  auto c = s.client();
  CHECK(c.download() == outcome::installed);
  CHECK(c.body() == s.body);
  CHECK(c.lost_tries() == 0);
  CHECK(s.origin.sent() == s.body.size());
}

TEST_CASE("a C++ client loses no try in an outage in the middle that is longer than its patience") {
  for (bool const trickles : {true, false}) {
    CAPTURE(trickles);
    site s;
    if (!trickles) s.options.reader.trickle = std::chrono::hours(1);
    mishap m;
    m.cut_after = m.stall_after = 150'000;
    s.origin.script(0, m);
    constexpr std::chrono::milliseconds silence(1'000);
    auto c = s.client(silence);
    std::optional<outcome> how;
    std::thread device([&] { how = c.download(); });
    CHECK(test::eventually([&] { return c.received() >= 100'000; }));
    s.origin.refuse();
    s.origin.release();
    auto const until = std::chrono::steady_clock::now() + 2 * silence;
    std::size_t const before = c.received();
    CHECK(test::eventually([&] { return std::chrono::steady_clock::now() > until; }));
    if (trickles) CHECK(c.received() > before);
    s.origin.accept_again();
    device.join();
    CHECK(how == outcome::installed);
    CHECK(c.body() == s.body);
    CHECK((c.lost_tries() != 0) == !trickles);  // that is what the trickle is for
  }
}

TEST_CASE("a C++ client that is held too long before the first byte is closed without an answer, and tries again") {
  site s;
  s.options.reader.hold = std::chrono::milliseconds(50);
  mishap down;
  down.status = 503;
  s.origin.standing(down);
  auto c = s.client();
  std::optional<outcome> how;
  std::thread device([&] { how = c.download(); });
  CHECK(test::eventually([&] { return s.g->base().records().size() >= 2; }));
  s.origin.heal();
  device.join();
  CHECK(how == outcome::installed);
  CHECK(c.lost_tries() >= 2);
}

TEST_CASE("a definite no fails a C++ client's deployment at once, and wedges none") {
  site s;
  mishap gone;
  gone.status = 404;
  s.origin.standing(gone);
  auto c = s.client();
  CHECK(c.download() == outcome::failed);
  CHECK(c.lost_tries() == 0);
  s.origin.heal();
  mishap m;
  m.cut_after = 150'000;
  s.origin.standing([n = std::make_shared<std::atomic<int>>(0), m, gone](test::origin::seen_request const&) {
    return n->fetch_add(1) == 0 ? m : gone;  // half of it, then it is gone: a resume is closed, never answered
  });
  auto second = s.client();
  CHECK(second.download() != outcome::installed);
  CHECK(second.lost_tries() != 0);
}

}  // namespace mgw::proxy::update_client_test
