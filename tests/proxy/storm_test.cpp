#include <mgw/proxy/tee_to_cache.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace mgw::proxy::storm_test {
namespace {

using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

/// One device that asks for parts of objects as it likes, and compares every byte.
class visitor {
public:
  visitor(std::uint16_t port, std::string const& body, unsigned seed) : port_(port), body_(body), random_(seed) {}

  /// What was wrong first; empty: nothing.
  std::string visit(std::size_t times) {
    for (std::size_t i = 0; i < times && wrong_.empty(); ++i) {
      std::string const target = "/o" + std::to_string(below(4));
      switch (below(8)) {
        case 0: head(target); break;
        case 1: leave(target); break;
        case 2: conditional(target); break;
        case 3: range(target, 0, below(1'000)); break;
        case 4: suffix(target, 1 + below(70'000)); break;
        case 5:
        case 6: {
          std::size_t const first = below(body_.size());
          range(target, first, first + below(body_.size() - first));
          break;
        }
        default: whole(target);
      }
    }
    return wrong_;
  }

private:
  std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }
  void expect(bool right, std::string_view what, reply const& r) {
    if (!right && wrong_.empty())
      wrong_ = std::string(what) + ": status " + std::to_string(r.status()) + ", " + std::to_string(r.body.size()) +
               " bytes";
  }
  void whole(std::string const& target) {
    reply const r = test::get(port_, target);
    expect(r.status() == 200 && r.whole && r.body == body_, "whole", r);
  }
  void part(std::string const& target, std::string const& range, std::size_t first, std::size_t last) {
    reply const r = test::get(port_, target, {{"Range", range}});
    std::string const numbers =
        "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" + std::to_string(body_.size());
    expect(r.status() == 206 && r.whole && r.value("Content-Range") == numbers &&
               r.body == std::string_view(body_).substr(first, last - first + 1),
           range, r);
  }
  void range(std::string const& target, std::size_t first, std::size_t last) {
    part(target, "bytes=" + std::to_string(first) + "-" + std::to_string(last), first, last);
  }
  void suffix(std::string const& target, std::size_t n) {
    part(target, "bytes=-" + std::to_string(n), body_.size() - n, body_.size() - 1);
  }
  void head(std::string const& target) {
    http_client c(port_);
    reply const r = c.ask("HEAD", target);
    expect(r.status() == 200 && r.value("Content-Length") == std::to_string(body_.size()), "HEAD", r);
  }
  void conditional(std::string const& target) {
    reply const r = test::get(port_, target, {{"If-None-Match", "\"v1\""}});
    expect(r.status() == 304, "If-None-Match", r);
  }
  void leave(std::string const& target) {
    http_client c(port_);
    c.request("GET", target);
    std::string const seen = below(2) == 0 ? std::string() : c.read_bytes(200 + below(30'000));
  }

  std::uint16_t port_;
  std::string const& body_;
  std::minstd_rand random_;
  std::string wrong_;
};

}  // namespace

TEST_CASE(
    "whatever many clients do at once on eight workers, while the link breaks and objects go, each gets right bytes") {
  constexpr std::size_t size = 300'000;
  std::string const body = pattern(size);
  test::origin origin(body);
  std::atomic<unsigned> asked{0};
  origin.standing([&asked](test::origin::seen_request const&) {
    mishap m;
    unsigned const n = asked.fetch_add(1);
    if (n % 3 != 2) m.cut_after = 20'000 + n * 7'919 % 200'000;  // two of three break off somewhere
    m.reset = n % 2 == 0;
    if (n % 11 == 10) m.status = 503;
    return m;
  });
  test::temporary_directory directory;
  test::caching_options options;
  options.threads = 8;
  test::caching_gateway g(directory.path(), origin.authority(), std::move(options));

  constexpr std::size_t visitors = 16, visits = 25;
  std::vector<std::string> wrong(visitors);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < visitors; ++i)
    threads.emplace_back([&, i] { wrong[i] = visitor(g.port(), body, i + 1).visit(visits); });
  std::atomic<bool> over{false};
  std::thread remover([&] {
    for (unsigned i = 0; !over.load(); ++i) {
      (void)g.store().remove(g.key_of("/o" + std::to_string(i % 4)));
      std::this_thread::yield();
    }
  });
  for (auto& t : threads) t.join();
  over.store(true);
  remover.join();
  for (auto const& w : wrong) CHECK(w == "");
  CHECK(g.tee().held() == 0);
}

}  // namespace mgw::proxy::storm_test
