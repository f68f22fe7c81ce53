#include <mgw/mender/artifact_route.hpp>

#include <support/artifact_handler.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <asio/ip/address_v4.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// Links that look alike through a gateway: no device ever gets another object than the one that its own link names.
namespace mgw::mender::same_paths_test {
namespace {

using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

constexpr std::size_t size = 200'000;

/// A gateway that serves artifact links alone, to any host.
struct site {
  test::origin origin{pattern(size, 1)};
  test::temporary_directory directory;
  link_sealer links{{std::string(32, 's')}};
  test::caching_gateway g;
  std::int64_t now = static_cast<std::int64_t>(std::time(nullptr));

  site() : g(directory.path(), origin.authority(), options(links)) {}
  static test::caching_options options(link_sealer const& sealer) {
    test::caching_options o;
    o.threads = 2;
    o.pools.names.lookup = [](std::string const&) {
      upstream::looked_up here;
      here.addresses.push_back(asio::ip::address_v4::loopback());
      return here;
    };
    o.handler = [&sealer](test::caching_gateway& at) { return test::artifact_handler(sealer, at); };
    return o;
  }
  struct parts {
    std::string key, token;
  };
  parts made(std::string const& url, cache::header_list headers, std::string const& device) const {
    link_claims c;
    c.url = url;
    c.headers = std::move(headers);
    c.device_id = device;
    c.issued = now;
    c.expires = now + 3600;
    auto const uri = http::parse_uri(c.url);
    auto const key = cache::make_key(*uri, c.headers);
    std::string const all = artifact_path(*key, links.seal(*key, c));
    std::size_t const cut = artifact_prefix.size() + 64;
    return {all.substr(0, cut), all.substr(cut)};
  }
  std::string link(std::string const& url, cache::header_list headers = {}, std::string const& device = "d") const {
    parts const p = made(url, std::move(headers), device);
    return p.key + p.token;
  }
  reply get(std::string const& target, test::field_list const& fields = {}) const {
    return test::get(g.port(), target, fields);
  }
  bool closes(std::string const& target, std::string const& range) const {
    http_client c(g.port());
    c.request("GET", target, {{"Range", range}});
    return c.closed();
  }
};
bool is_whole(reply const& r, std::string const& body) {
  return r.status() == 200 && r.whole && r.body == body;
}

}  // namespace

TEST_CASE("equal paths, ports, ETags and lengths on two hosts are two objects, also while both are under way") {
  site s;
  std::string const at = ":" + std::to_string(s.origin.port()), path = "/bucket/release.mender?versionId=1";
  std::string const hosts[] = {"one.example" + at, "two.example" + at}, bodies[] = {pattern(size, 1), pattern(size, 2)};
  s.origin.standing([&](test::origin::seen_request const& r) {
    std::string const& body = r.value("Host") == hosts[0] ? bodies[0] : bodies[1];
    std::string const range = r.value("Range");
    std::size_t const first = range.empty() ? 0 : std::stoul(range.substr(6));
    mishap m;
    m.body = body.substr(first);
    if (first == 0) m.stall_after = m.cut_after = size / 2;
    return m;
  });
  std::string const links[] = {s.link("http://" + hosts[0] + path), s.link("http://" + hosts[1] + path)};
  std::vector<reply> got(8);
  std::vector<std::thread> clients;
  for (std::size_t i = 0; i < got.size(); ++i) clients.emplace_back([&, i] { got[i] = s.get(links[i % 2]); });
  CHECK(s.origin.stalled(2));
  s.origin.release();
  for (auto& c : clients) c.join();
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(is_whole(got[i], bodies[i % 2]));
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK((s.get(links[i], {{"Range", "bytes=150000-"}}).body == bodies[i].substr(150'000)));
    std::size_t sent = 0, requests = 0;
    for (auto const& r : s.origin.requests()) {
      if (r.value("Host") != hosts[i]) continue;
      ++requests;
      sent += r.sent;
    }
    CHECK(requests == 2);
    CHECK(sent == size);
  }
  CHECK(s.origin.count() == 4);
}

TEST_CASE("one URL with other fields is another object: no device gets what another's fields give") {
  site s;
  std::string const of_one = pattern(size, 5), of_other = pattern(size, 6);
  s.origin.standing([&](test::origin::seen_request const& r) {
    mishap m;
    std::string const who = r.value("X-Signed-For");
    m.ignore_range = m.ignore_conditions = true;
    m.body = who == "one" ? of_one : of_other;
    if (who != "one" && who != "other") m.status = 403, m.body = "no";
    return m;
  });
  std::string const url = s.origin.url("/release.mender");
  auto const one = s.made(url, {{"X-Signed-For", "one"}}, "1"), other = s.made(url, {{"X-Signed-For", "other"}}, "2");
  auto const wrong = s.made(url, {{"X-Signed-For", "nobody"}}, "3"), bare = s.made(url, {}, "4");
  CHECK(is_whole(s.get(one.key + one.token), of_one));
  CHECK(is_whole(s.get(other.key + other.token), of_other));
  CHECK(s.get(wrong.key + wrong.token).status() == 403);  // not what is stored for others
  CHECK(s.get(bare.key + bare.token).status() == 403);
  CHECK(is_whole(s.get(one.key + one.token), of_one));
  CHECK(is_whole(s.get(other.key + other.token), of_other));
  CHECK(s.origin.count() == 4);
  // Nor does another's key help whose own token is good, whatever is stored, and from which byte on.
  for (auto const* mine : {&other, &wrong, &bare}) {
    std::string const mixed = one.key + mine->token;
    CHECK(s.get(mixed).status() == 403);
    CHECK(s.get(mixed, {{"Range", "bytes=0-9"}}).status() == 403);
    CHECK(s.closes(mixed, "bytes=1000-"));
  }
  CHECK(s.origin.count() == 4);
}

TEST_CASE("equal fields of two devices share an object, however they are spelt and whoever leaves") {
  site s;
  std::string const url = s.origin.url("/release.mender");
  std::string const first = s.link(url, {{"X-Tenant", "t"}, {"X-Kind", "k"}}, "1"),
                    second = s.link(url, {{"x-kind", "k"}, {"x-tenant", "t"}}, "2");
  CHECK(is_whole(s.get(first), pattern(size, 1)));
  CHECK(is_whole(s.get(second), pattern(size, 1)));
  CHECK(s.origin.count() == 1);
}

TEST_CASE("a signature in the query gives no device what another object's signature is for") {
  site s;
  std::string const of_a = pattern(size, 1), signed_by = "&X-Amz-Signature=";
  s.origin.standing([](test::origin::seen_request const& r) {
    mishap m;
    if (r.target().ends_with("bad")) m.status = 403;
    return m;
  });
  std::string const good = s.link(s.origin.url("/o?X-Amz-Date=1" + signed_by + "good"), {}, "1");
  std::string const bad = s.link(s.origin.url("/o?X-Amz-Date=2" + signed_by + "bad"), {}, "2");
  std::string const elsewhere = s.link(s.origin.url("/p?X-Amz-Date=2" + signed_by + "bad"), {}, "2");
  CHECK(is_whole(s.get(good), of_a));
  CHECK(is_whole(s.get(bad), of_a));  // the same object: only the server that sealed the link says who may have it
  CHECK(s.get(elsewhere).status() == 403);
  CHECK(s.origin.count() == 2);
}

}  // namespace mgw::mender::same_paths_test
