#include <mgw/mender/artifact_route.hpp>

#include <support/artifact_handler.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <utility>

namespace mgw::mender::artifact_route_test {
namespace {

using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

/// A gateway that serves artifact links alone.
struct site {
  std::string body = pattern(100'000);
  test::origin origin{body};
  test::temporary_directory directory;
  link_sealer links{{std::string(32, 's')}};
  test::caching_gateway g;
  std::int64_t now = static_cast<std::int64_t>(std::time(nullptr));

  site() : g(directory.path(), origin.authority(), options(links)) {}
  static test::caching_options options(link_sealer const& sealer) {
    test::caching_options o;
    o.handler = [&sealer](test::caching_gateway& at) { return test::artifact_handler(sealer, at); };
    return o;
  }
  /// The link to `path` at the origin, issued and expiring so many seconds from now.
  std::string link(std::string const& path, std::int64_t issued, std::int64_t expires, cache::header_list headers = {},
                   link_sealer const* by = nullptr) const {
    link_claims c;
    c.url = origin.url(path);
    c.headers = std::move(headers);
    c.issued = now + issued;
    c.expires = now + expires;
    auto const uri = http::parse_uri(c.url);
    auto const key = cache::make_key(*uri, c.headers);
    return artifact_path(*key, (by != nullptr ? *by : links).seal(*key, c));
  }
  /// The same, saying that the object with this key stands for it.
  std::string import_link(std::string const& path, cache::key const& import) const {
    link_claims c;
    c.url = origin.url(path);
    c.issued = now;
    c.expires = now + 3600;
    c.import = true;
    return artifact_path(import, links.seal(import, c));
  }
  /// Stores it as an import does; gives its key.
  cache::key import(std::string const& bytes) {
    cache::sha256_digest digest{};
    cache::sha256 hash;
    REQUIRE_FALSE(hash.update(bytes));
    REQUIRE_FALSE(hash.digest(digest));
    cache::meta m;
    m.key = *cache::import_key(cache::to_hex(digest));
    m.length_known = true;
    m.length = bytes.size();
    m.etag = '"' + cache::to_hex(digest) + '"';
    m.generation = cache::import_generation(m.key);
    auto part = g.store().create(m);
    REQUIRE(part);
    REQUIRE_FALSE(part->append(bytes));
    REQUIRE_FALSE(part->commit(bytes.size()));
    return m.key;
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

TEST_CASE("a link leads to what was sealed into it") {
  site s;
  std::string const link = s.link("/a.mender?X=1", 0, 3600, {{"X-Auth", "secret"}});
  CHECK(is_whole(s.get(link), s.body));
  auto const asked = s.origin.requests().at(0);
  CHECK(asked.target() == "/a.mender?X=1");
  CHECK(asked.value("X-Auth") == "secret");
  http_client c(s.g.port());
  CHECK(c.ask("HEAD", link).value("Content-Length") == "100000");
  CHECK(s.origin.count() == 1);
}

TEST_CASE("the link's fields go to its own host only") {
  site s;
  mishap m;
  m.status = 302;
  m.fields = {{"Location", "/elsewhere"}};
  s.origin.script(0, m);
  CHECK(is_whole(s.get(s.link("/a", 0, 3600, {{"X-Auth", "secret"}})), s.body));
  CHECK(s.origin.requests()[0].value("X-Auth") == "secret");
  CHECK(s.origin.requests()[1].head.count("X-Auth") == 0);
}

TEST_CASE("what is not a link of ours: 403, a resume is closed, and nothing goes upstream") {
  site s;
  std::string const a = s.link("/a", 0, 3600), b = s.link("/b", 0, 3600);
  std::size_t const token = artifact_prefix.size() + 65;
  link_sealer const stranger({std::string(32, 'x')});
  std::string flipped = a;
  flipped[token + 30] = flipped[token + 30] == 'A' ? 'B' : 'A';
  std::string const forged[] = {flipped,
                                s.link("/a", 0, 3600, {}, &stranger),
                                b.substr(0, token) + a.substr(token),  // another object's key
                                a.substr(0, a.size() - 1),
                                a + "A",
                                a + "?x=1",
                                a.substr(0, token),
                                std::string(artifact_prefix) + "x/y"};
  for (std::string const& f : forged) {
    CAPTURE(f);
    CHECK(s.get(f).status() == 403);
    CHECK(s.get(f, {{"Range", "bytes=0-"}}).status() == 403);
    CHECK(s.closes(f, "bytes=1000-"));
  }
  CHECK(s.origin.connections() == 0);
  CHECK(is_whole(s.get(a), s.body));
}

TEST_CASE("a claim whose URL belongs to another key is refused, whoever sealed it") {
  site s;
  link_claims c;
  c.url = s.origin.url("/a");
  c.issued = s.now;
  c.expires = s.now + 3600;
  std::string const other = s.origin.url("/b");
  auto const uri = http::parse_uri(other);
  auto const key = cache::make_key(*uri, {});
  CHECK(s.get(artifact_path(*key, s.links.seal(*key, c))).status() == 403);
  CHECK(s.origin.connections() == 0);
}

TEST_CASE("an expired link: no first GET, but a resume, for a week") {
  site s;
  std::string const expired = s.link("/a", -7200, -3600), ancient = s.link("/b", -8 * 86'400, -7 * 86'400);
  CHECK(s.get(expired).status() == 403);
  CHECK(s.get(expired, {{"Range", "bytes=0-"}}).status() == 403);
  CHECK(s.closes(ancient, "bytes=1000-"));
  CHECK(s.get(ancient).status() == 403);
  CHECK(s.origin.connections() == 0);
  reply const r = s.get(expired, {{"Range", "bytes=1000-"}});
  CHECK(r.status() == 206);
  CHECK((r.whole && r.body == s.body.substr(1000)));
}

TEST_CASE("a link that was made before the clock was set does not expire when it is") {
  site s;
  std::string const made_at_boot = s.link("/a", -s.now + 60, -s.now + 3660);
  CHECK(s.get(made_at_boot).body == s.body);
  CHECK(s.get(made_at_boot, {{"Range", "bytes=1000-"}}).body == s.body.substr(1000));
}

TEST_CASE("an expired link is served when the object is at hand") {
  site s;
  SUBCASE("complete") {
    CHECK(is_whole(s.get(s.link("/a", 0, 3600)), s.body));
    CHECK(is_whole(s.get(s.link("/a", -7200, -3600)), s.body));
    CHECK(is_whole(s.get(s.link("/a", -30 * 86'400, -29 * 86'400)), s.body));
  }
  SUBCASE("being fetched on another link") {
    mishap m;
    m.stall_after = 50'000;
    s.origin.script(0, m);
    http_client first(s.g.port()), late(s.g.port());
    first.request("GET", s.link("/a", 0, 3600));
    CHECK(s.origin.stalled());
    late.request("GET", s.link("/a", -7200, -3600));
    reply r;
    r.head = late.read_head();
    CHECK(r.status() == 200);
    s.origin.release();
    late.read_body(r);
    CHECK(is_whole(r, s.body));
    CHECK(is_whole(first.read_reply(), s.body));
  }
  CHECK(s.origin.count() == 1);
}

TEST_CASE("a link that an import stands for is served from it, and nothing crosses the link") {
  site s;
  std::string const carried = pattern(70'000) + "carried in";
  std::string const link = s.import_link("/a", s.import(carried));
  reply const r = s.get(link);
  CHECK(is_whole(r, carried));
  CHECK(r.value("Content-Length") == std::to_string(carried.size()));
  reply const rest = s.get(link, {{"Range", "bytes=60000-"}});
  CHECK(rest.status() == 206);
  CHECK(rest.body == carried.substr(60'000));
  CHECK(s.origin.connections() == 0);
  CHECK(is_whole(s.get(s.link("/a", 0, 3600)), s.body));  // a link that says nothing of it
}

TEST_CASE("an import that is gone: a first GET goes upstream, a begun download is closed") {
  site s;
  auto const import = s.import(s.body + "another tail");
  std::string const begun = s.import_link("/a", import), fresh = s.import_link("/a", import);
  CHECK(is_whole(s.get(begun), s.body + "another tail"));
  REQUIRE_FALSE(s.g.store().remove(import));
  CHECK(s.closes(begun, "bytes=5000-"));
  CHECK(is_whole(s.get(fresh), s.body));
  reply const rest = s.get(fresh, {{"Range", "bytes=5000-"}});
  CHECK(rest.status() == 206);
  CHECK(rest.body == s.body.substr(5'000));
  CHECK(s.origin.count() == 1);
}

TEST_CASE("an import that turns out to be damaged is not served, nor fetched under its key") {
  site s;
  auto const import = s.import(s.body + "another tail");
  for (auto const& f : std::filesystem::recursive_directory_iterator(s.directory.path() / "objects"))
    if (f.is_regular_file()) std::filesystem::resize_file(f.path(), 10);
  CHECK(is_whole(s.get(s.import_link("/a", import)), s.body));
  CHECK_FALSE(s.g.store().contains(import));
  CHECK(is_whole(s.get(s.link("/a", 0, 3600)), s.body));
  CHECK(s.origin.count() == 1);
}

TEST_CASE("a download that began upstream is not gone on with from an import") {
  site s;
  std::string const carried = s.body + "another tail";
  auto const import = s.import(carried);
  REQUIRE_FALSE(s.g.store().remove(import));
  std::string const link = s.import_link("/a", import);
  CHECK(is_whole(s.get(link), s.body));
  REQUIRE(s.import(carried) == import);
  reply const rest = s.get(link, {{"Range", "bytes=5000-"}});
  CHECK(rest.status() == 206);
  CHECK(rest.body == s.body.substr(5'000));
  CHECK(is_whole(s.get(s.import_link("/a", import)), carried));
  CHECK(s.origin.count() == 1);
}

TEST_CASE("a link that says nothing of an import is refused beside one's key, and an import's beside another") {
  site s;
  auto const import = s.import("carried in"), other = s.import("another");
  link_claims c;
  c.url = s.origin.url("/a");
  c.issued = s.now;
  c.expires = s.now + 3600;
  CHECK(s.get(artifact_path(import, s.links.seal(import, c))).status() == 403);
  c.import = true;
  CHECK(s.get(artifact_path(import, s.links.seal(other, c))).status() == 403);
  CHECK(s.get(artifact_path(import, s.links.seal(import, c))).body == "carried in");
  CHECK(s.origin.connections() == 0);
}

TEST_CASE("a link of the gateway to itself is refused") {
  site s;
  std::string const inner = s.link("/a", 0, 3600);
  link_claims c;
  c.url = "http://gateway.test" + inner;
  c.issued = s.now;
  c.expires = s.now + 3600;
  auto const uri = http::parse_uri(c.url);
  auto const key = cache::make_key(*uri, {});
  CHECK(s.get(artifact_path(*key, s.links.seal(*key, c))).status() == 403);
  CHECK(s.origin.connections() == 0);
}

}  // namespace mgw::mender::artifact_route_test
