#include <mgw/proxy/link_promise.hpp>

#include <mgw/cache/ledger_file.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

namespace mgw::proxy::link_promise_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::field_list;
using test::http_client;
using test::mishap;
using test::origin;
using test::pattern;
using test::reply;

/// An origin, and a gateway that can be started anew on the same directory.
struct site {
  std::string const body = pattern(300'000), other = pattern(300'000, 5);
  test::origin origin{body};
  test::temporary_directory directory;
  bool store;
  std::optional<caching_gateway> g;

  explicit site(bool with_store = true) : store(with_store) { start(); }
  std::string ledger() const { return (directory.path() / "ledger").string(); }
  void start() {
    g.reset();
    caching_options o;
    o.store = store;
    o.tee.ledger.path = ledger();
    g.emplace(directory.path(), origin.authority(), std::move(o));
  }
  reply get(field_list const& fields) const { return test::get(g->port(), "/o", fields); }
  /// The object leaves the store, as by eviction.
  void evict() {
    if (!store) return;
    CHECK(eventually([&] { return g->stored("/o") && g->tee().fills() == 0; }));
    CHECK_FALSE(g->store().remove(g->key_of("/o")));
  }
  bool closes(field_list const& fields) const {
    http_client c(g->port());
    c.request("GET", "/o", fields);
    return c.closed();
  }
};
field_list resume_on(std::string link, std::string issued = "1000") {
  return {{"Range", "bytes=1000-"}, {"X-Link", std::move(link)}, {"X-Issued", std::move(issued)}};
}
field_list first_on(std::string link, std::string issued = "1000") {
  return {{"X-Link", std::move(link)}, {"X-Issued", std::move(issued)}};
}

}  // namespace

TEST_CASE("what a link began with, it gets the rest of, or nothing: also over an eviction and a restart") {
  for (bool const with_store : {true, false})
    for (bool const restart : {false, true}) {
      CAPTURE(with_store);
      CAPTURE(restart);
      site s(with_store);
      CHECK((s.get(first_on("a")).body == s.body));
      s.evict();
      s.origin.set_object(s.other, "\"v2\"");
      if (restart) s.start();
      CHECK((s.get(first_on("b")).body == s.other));  // somebody else fetches it anew
      CHECK(s.closes(resume_on("a")));
      CHECK((s.get(resume_on("b")).body == s.other.substr(1000)));
      CHECK((s.get(first_on("a")).body == s.other));  // begun anew
      CHECK((s.get(resume_on("a")).body == s.other.substr(1000)));
    }
}

TEST_CASE("RFC 9110 13.1.5: who says which generation he has, and it was replaced, gets the new one whole") {
  for (bool const with_store : {true, false}) {
    CAPTURE(with_store);
    site s(with_store);
    CHECK((s.get(first_on("a")).body == s.body));
    s.evict();
    s.origin.set_object(s.other, "\"v2\"");
    CHECK((s.get(first_on("b")).body == s.other));
    auto if_v1 = resume_on("a");
    if_v1.emplace_back("If-Range", "\"v1\"");
    reply const r = s.get(if_v1);
    CHECK(r.status() == 200);
    CHECK((r.body == s.other));
    CHECK((s.get(resume_on("a")).body == s.other.substr(1000)));  // begun anew
  }
}

TEST_CASE("an object that was evicted and comes back as it was goes on on every link") {
  for (bool const restart : {false, true}) {
    CAPTURE(restart);
    site s;
    CHECK((s.get(first_on("a")).body == s.body));
    s.evict();
    if (restart) s.start();
    CHECK((s.get(resume_on("a")).body == s.body.substr(1000)));
    CHECK((s.get(resume_on("c")).body == s.body.substr(1000)));  // not begun here, and nothing speaks against it
    CHECK(s.origin.count() == 2);
  }
}

TEST_CASE("a link that was not begun here is resumed unless the object was replaced since it was made") {
  for (bool const restart : {false, true}) {
    CAPTURE(restart);
    site s;
    CHECK((s.get(first_on("a")).body == s.body));
    s.evict();
    s.origin.set_object(s.other, "\"v2\"");
    if (restart) s.start();
    CHECK((s.get(first_on("b")).body == s.other));
    CHECK(s.closes(resume_on("c", "1000")));
    CHECK((s.get(resume_on("c", "4000000000")).body == s.other.substr(1000)));
  }
}

TEST_CASE("without a validator two fetches of an object are two objects") {
  site s;
  s.origin.set_object(s.body, "", "");
  CHECK((s.get(first_on("a")).body == s.body));
  CHECK((s.get(resume_on("a")).body == s.body.substr(1000)));
  s.evict();
  CHECK((s.get(first_on("b")).body == s.body));
  CHECK(s.closes(resume_on("a")));
}

TEST_CASE("the pin is in the ledger before the first byte is out") {
  site s;
  mishap m;
  m.stall_after = 100'000;
  s.origin.script(0, m);
  http_client c(s.g->port());
  c.request("GET", "/o", first_on("a"));
  CHECK(c.read_head().status() == 200);
  std::ifstream in(s.ledger(), std::ios::binary);
  std::string const text{std::istreambuf_iterator<char>(in), {}};
  cache::ledger_contents found;
  CHECK_FALSE(cache::read_ledger(text, found));
  REQUIRE(found.links.size() == 1);
  CHECK(found.links[0].first.bytes[0] == 'a');
  CHECK(found.links[0].second.until == 4'000'000'000);
  CHECK(found.objects.size() == 1);
  s.origin.release();
}

}  // namespace mgw::proxy::link_promise_test
