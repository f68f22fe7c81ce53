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

constexpr std::size_t objects = 4;

std::string target_of(std::size_t which) {
  return "/o" + std::to_string(which);
}
std::string etag_of(std::size_t which) {
  return "\"v" + std::to_string(which) + "\"";
}

/// An upstream of several objects, no two alike, whose link breaks off two of three answers and now and then says 503.
class storm_origin {
public:
  storm_origin() {
    for (unsigned i = 0; i < objects; ++i) bodies.push_back(pattern(300'000 + i * 1'111, i + 1));
    origin.standing([this](test::origin::seen_request const& r) { return answer(r); });
  }
  /// Body bytes of one object that were sent.
  std::size_t sent(std::size_t which) const {
    std::size_t n = 0;
    for (auto const& r : origin.requests()) n += r.target() == target_of(which) ? r.sent : 0;
    return n;
  }
  /// Downloads of one object from its first byte on.
  std::size_t begun(std::size_t which) const {
    std::size_t n = 0;
    for (auto const& r : origin.requests())
      n += r.target() == target_of(which) && r.value("Range").empty() && r.sent != 0 ? 1 : 0;
    return n;
  }

  std::vector<std::string> bodies;
  test::origin origin;

private:
  mishap answer(test::origin::seen_request const& r) {
    auto const which = static_cast<std::size_t>(r.target().back() - '0');
    std::string const& body = bodies.at(which);
    std::string const range = r.value("Range");
    std::size_t const first = range.empty() ? 0 : std::stoul(range.substr(6));
    mishap m;
    m.ignore_conditions = true;
    m.etag = etag_of(which);
    m.body = body.substr(first);
    if (first != 0) {
      m.status = r.value("If-Match") == etag_of(which) ? 206 : 412;
      m.content_range =
          "bytes " + std::to_string(first) + "-" + std::to_string(body.size() - 1) + "/" + std::to_string(body.size());
    }
    unsigned const n = asked_.fetch_add(1);
    if (n % 3 != 2) m.cut_after = 20'000 + n * 7'919 % 200'000;
    m.reset = n % 2 == 0;
    if (n % 11 == 10) m.status = 503, m.body = "";
    return m;
  }
  std::atomic<unsigned> asked_{0};
};

/// One device that asks for parts of objects as it likes, and compares every byte.
class visitor {
public:
  visitor(std::uint16_t port, std::vector<std::string> const& bodies, unsigned seed)
      : port_(port), bodies_(bodies), random_(seed) {}

  /// What was wrong first; empty: nothing.
  std::string visit(std::size_t times) {
    for (std::size_t i = 0; i < times && wrong_.empty(); ++i) {
      std::size_t const which = below(objects), size = bodies_[which].size();
      switch (below(8)) {
        case 0: head(which); break;
        case 1: leave(which); break;
        case 2: conditional(which); break;
        case 3: range(which, 0, below(1'000)); break;
        case 4: suffix(which, 1 + below(70'000)); break;
        case 5:
        case 6: {
          std::size_t const first = below(size);
          range(which, first, first + below(size - first));
          break;
        }
        default: whole(which);
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
  void whole(std::size_t which) {
    reply const r = test::get(port_, target_of(which));
    expect(r.status() == 200 && r.whole && r.value("ETag") == etag_of(which) && r.body == bodies_[which], "whole", r);
  }
  void part(std::size_t which, std::string const& range, std::size_t first, std::size_t last) {
    std::string_view const body = bodies_[which];
    reply const r = test::get(port_, target_of(which), {{"Range", range}});
    std::string const numbers =
        "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" + std::to_string(body.size());
    expect(r.status() == 206 && r.whole && r.value("Content-Range") == numbers && r.value("ETag") == etag_of(which) &&
               r.body == body.substr(first, last - first + 1),
           range, r);
  }
  void range(std::size_t which, std::size_t first, std::size_t last) {
    part(which, "bytes=" + std::to_string(first) + "-" + std::to_string(last), first, last);
  }
  void suffix(std::size_t which, std::size_t n) {
    std::size_t const size = bodies_[which].size();
    part(which, "bytes=-" + std::to_string(n), size - n, size - 1);
  }
  void head(std::size_t which) {
    http_client c(port_);
    reply const r = c.ask("HEAD", target_of(which));
    expect(r.status() == 200 && r.value("Content-Length") == std::to_string(bodies_[which].size()), "HEAD", r);
  }
  void conditional(std::size_t which) {
    reply const same = test::get(port_, target_of(which), {{"If-None-Match", etag_of(which)}});
    expect(same.status() == 304, "If-None-Match", same);
  }
  void leave(std::size_t which) {
    http_client c(port_);
    c.request("GET", target_of(which));
    std::string const seen = below(2) == 0 ? std::string() : c.read_bytes(200 + below(30'000));
  }

  std::uint16_t port_;
  std::vector<std::string> const& bodies_;
  std::minstd_rand random_;
  std::string wrong_;
};

/// What was wrong for each of many devices that visit at once.
std::vector<std::string> visit(std::uint16_t port, std::vector<std::string> const& bodies) {
  constexpr std::size_t visitors = 16, visits = 25;
  std::vector<std::string> wrong(visitors);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < visitors; ++i)
    threads.emplace_back([&, i] { wrong[i] = visitor(port, bodies, i + 1).visit(visits); });
  for (auto& t : threads) t.join();
  return wrong;
}

test::caching_options eight_workers() {
  test::caching_options o;
  o.threads = 8;
  return o;
}

}  // namespace

TEST_CASE(
    "whatever many clients do at once on eight workers, each gets its object's bytes, and each object comes once") {
  storm_origin upstream;
  test::temporary_directory const directory;
  test::caching_gateway g(directory.path(), upstream.origin.authority(), eight_workers());
  for (auto const& w : visit(g.port(), upstream.bodies)) CHECK(w == "");
  CHECK(test::eventually([&] { return g.tee().fills() == 0; }));
  std::size_t all = 0;
  for (std::size_t i = 0; i < objects; ++i) {
    CAPTURE(i);
    CHECK(upstream.sent(i) == upstream.bodies[i].size());
    CHECK(upstream.begun(i) == 1);
    all += upstream.bodies[i].size();
  }
  CHECK(g.tee().counters().first_time_bytes == all);
  CHECK(g.tee().counters().again_bytes == 0);
  CHECK(test::eventually([&] { return g.tee().held() == 0; }));
}

TEST_CASE(
    "whatever many clients do at once on eight workers, while the link breaks and objects go, each gets right bytes") {
  storm_origin upstream;
  test::temporary_directory const directory;
  test::caching_gateway g(directory.path(), upstream.origin.authority(), eight_workers());
  std::atomic<bool> over{false};
  std::thread remover([&] {
    for (std::size_t i = 0; !over.load(); ++i) {
      (void)g.store().remove(g.key_of(target_of(i % objects)));
      std::this_thread::yield();
    }
  });
  auto const wrong = visit(g.port(), upstream.bodies);
  over.store(true);
  remover.join();
  for (auto const& w : wrong) CHECK(w == "");
  CHECK(test::eventually([&] { return g.tee().held() == 0; }));
}

}  // namespace mgw::proxy::storm_test
