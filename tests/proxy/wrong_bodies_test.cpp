#include <mgw/proxy/fetch.hpp>

#include <mgw/proxy/tee_to_cache.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdio>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::proxy::wrong_bodies_test {
namespace {

using test::eventually;
using test::http_client;
using test::mishap;
using test::reply;
using framing_kind = mishap::framing_kind;

constexpr std::size_t size = 300'000, begun = 100'000;

/// An answer whose head and body need not fit: with its length `says`, in chunks, or up to the connection's end.
mishap answer(int status, std::string_view fields, framing_kind framing, std::string_view body, std::size_t says) {
  mishap m;
  m.raw = "HTTP/1.1 " + std::to_string(status) + " Whatever\r\n";
  m.raw.append(fields);
  if (framing == framing_kind::length) {
    m.raw += "Content-Length: " + std::to_string(says) + "\r\n\r\n";
    m.raw.append(body);
  } else if (framing == framing_kind::until_close) {
    m.raw.append("Connection: close\r\n\r\n").append(body);
  } else {
    m.raw += "Transfer-Encoding: chunked\r\n\r\n";
    constexpr std::size_t most = 40'001;  // none ends where an object does
    for (std::size_t at = 0; at < body.size(); at += most) {
      auto const piece = body.substr(at, most);
      char length[20];
      std::snprintf(length, sizeof length, "%zx\r\n", piece.size());
      m.raw.append(length).append(piece).append("\r\n");
    }
    m.raw += "0\r\n\r\n";
  }
  return m;
}
std::string numbers(std::size_t first, std::size_t last, std::size_t total = size) {
  return "ETag: \"v1\"\r\nContent-Range: bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" +
         std::to_string(total) + "\r\n";
}
std::string from(std::size_t first) {
  return "bytes=" + std::to_string(first) + "-";
}
/// The object under a length of ten bytes more, and no such range of it.
mishap announces_more(std::string_view body, test::origin::seen_request const& r) {
  if (r.value("Range").empty()) return answer(200, "ETag: \"v1\"\r\n", framing_kind::length, body, body.size() + 10);
  return answer(416, "Content-Range: bytes */" + std::to_string(body.size()) + "\r\n", framing_kind::length, "", 0);
}
mishap cut(std::size_t n) {
  mishap m;
  m.cut_after = n;
  return m;
}

template <class Rig>
struct site {
  std::string const body = test::pattern(size);
  test::origin origin{body};
  test::temporary_directory directory;
  test::basic_caching_gateway<Rig> g{directory.path(), origin.authority()};

  std::uint64_t first_time() { return g.tee().counters().first_time_bytes; }
  std::uint64_t again() { return g.tee().counters().again_bytes; }
  /// A client that has begun when what is scripted happens gets `body`, and so it is stored.
  void check_whole(reply const& r) {
    CHECK(r.status() == 200);
    CHECK(r.value("Content-Length") == std::to_string(size));
    CHECK(r.whole);
    CHECK((r.body == body));
    CHECK(eventually([this] { return g.stored("/o"); }));
    std::size_t const asked = origin.count();
    CHECK((test::get(g.port(), "/o").body == body));
    CHECK(origin.count() == asked);
  }
};

struct past_the_store {
  std::string const body = test::pattern(size);
  test::origin origin{body};
  test::temporary_directory directory;
  test::caching_gateway g{directory.path(), origin.authority(), no_store()};

  static test::caching_options no_store() {
    test::caching_options o;
    o.store = false;
    return o;
  }
  void check_whole(reply const& r) const {
    CHECK(r.status() == 200);
    CHECK(r.value("Content-Length") == std::to_string(size));
    CHECK((r.whole && r.body == body));
  }
};
/// As one asks who goes past the store.
std::string to_the_end(std::string const& range) {
  return range.empty() ? "" : range + std::to_string(size - 1);
}

struct trial {
  std::string what;
  mishap second;
  std::string third;  // the range that is asked for then; "-": nothing is
  std::size_t comes_again = 0, beyond = 0;
};

/// To the request for the rest, in each framing.
std::vector<trial> trials(std::string const& body) {
  std::string_view const all = body;
  std::string const longer = body + "more";
  std::vector<trial> out;
  auto const add = [&out](std::string what, mishap m, std::string third, std::size_t again = 0,
                          std::size_t beyond = 0) {
    trial t;
    t.what = std::move(what), t.second = std::move(m), t.third = std::move(third), t.comes_again = again,
    t.beyond = beyond;
    out.push_back(std::move(t));
  };
  struct {
    char const* name;
    framing_kind kind;
  } const framings[] = {
      {"length", framing_kind::length}, {"chunks", framing_kind::chunked}, {"close", framing_kind::until_close}};
  std::string const rest = numbers(begun, size - 1), whole = "ETag: \"v1\"\r\n";
  for (auto const& [name, kind] : framings) {
    bool const counted = kind == framing_kind::length;
    auto const in = [n = std::string(name)](std::string what) { return what + ", " + n; };
    add(in("206, too short"), answer(206, rest, kind, all.substr(begun, 100'000), size - begun), from(200'000));
    add(in("206, too long"), answer(206, rest, kind, std::string_view(longer).substr(begun), size - begun),
        counted ? "-" : "", counted ? 0 : size, counted ? 0 : 4);
    add(in("206 of a shorter range"), answer(206, numbers(begun, 249'999), kind, all.substr(begun, 150'000), 150'000),
        from(250'000));
    add(in("206 of a small range"), answer(206, numbers(begun, begun + 9), kind, all.substr(begun, 10), 10),
        from(begun + 10));
    add(in("206 of a shorter range, too short"),
        answer(206, numbers(begun, 249'999), kind, all.substr(begun, 70'000), 150'000), from(170'000));
    add(in("200, too short"), answer(200, whole, kind, all.substr(0, 200'000), size), from(200'000), begun);
    if (counted) {
      add(in("200 of another length, less"), answer(200, whole, kind, all.substr(0, 200'000), 200'000), from(begun));
      add(in("200 of another length, more"), answer(200, whole, kind, longer, size + 4), from(begun));
      add(in("206 of another length"),
          answer(206, numbers(begun, size + 3, size + 4), kind, longer.substr(begun), size + 4 - begun), from(begun));
    }
    add(in("200, too long"), answer(200, whole, kind, longer, size), counted ? "-" : "", counted ? begun : begun + size,
        counted ? 0 : 4);
    add(in("200 of a page"), answer(200, "Content-Type: text/html\r\n", kind, "<h1>Sign in</h1>", 16), from(begun),
        counted ? 0 : 16);
    add(in("206 in several parts"),
        answer(206, "ETag: \"v1\"\r\nContent-Type: multipart/byteranges; boundary=x\r\n", kind, "--x\r\n", 5), "",
        begun);
    add(in("206 in several parts, with numbers"),
        answer(206, rest + "Content-Type: multipart/byteranges; boundary=x\r\n", kind, all.substr(begun), size - begun),
        "", begun);
  }
  mishap nothing;
  nothing.status = 204;
  add("204", nothing, from(begun));
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("RFC 9110 15.3.7: whatever body comes in answer to a resume, the client is held, and gets its bytes",
                   Rig, MGW_EVERY_RIG) {
  for (trial const& t : trials(test::pattern(size))) {
    CAPTURE(t.what);
    site<Rig> s;
    s.origin.script(0, cut(begun));
    s.origin.script(1, t.second);
    reply const r = test::get(s.g.port(), "/o");
    s.check_whole(r);
    auto const asked = s.origin.requests();
    CHECK(asked.at(1).value("Range") == from(begun));
    CHECK(asked.size() == (t.third == "-" ? 2 : 3));
    if (asked.size() == 3) CHECK(asked[2].value("Range") == t.third);
    CHECK(s.again() == t.comes_again);
    CHECK(s.first_time() >= size);
    CHECK(s.first_time() <= size + t.beyond);
  }
}

TEST_CASE("past the store, whatever body comes to the request for the rest, the client is held, and gets its bytes") {
  std::string const body = test::pattern(size);
  std::string const rest = numbers(begun, size - 1) + "Content-Encoding: gzip\r\n";
  auto all = trials(body);
  for (int const status : {200, 206}) {
    trial coded;
    coded.what = "a coding, " + std::to_string(status);
    coded.second = answer(status, rest, framing_kind::chunked, "\x1f\x8b", 0);
    coded.third = status == 200 ? from(begun) : "";
    all.push_back(std::move(coded));
  }
  for (trial const& t : all) {
    CAPTURE(t.what);
    past_the_store s;
    s.origin.script(0, cut(begun));
    s.origin.script(1, t.second);
    s.check_whole(test::get(s.g.port(), "/o"));
    auto const asked = s.origin.requests();
    CHECK(asked.at(1).value("Range") == to_the_end(from(begun)));
    // What is more than it wants is left unread.
    bool const done = t.third == "-" || t.what.find("too long") != std::string::npos;
    CHECK(asked.size() == (done ? 2 : 3));
    if (!done) CHECK(asked.at(2).value("Range") == to_the_end(t.third));
  }
}

TEST_CASE("past the store, too, another length under the object's name is believed when it comes twice running") {
  for (std::size_t const times : {std::size_t{1}, std::size_t{2}}) {
    CAPTURE(times);
    past_the_store s;
    s.origin.script(0, cut(begun));
    for (std::size_t n = 1; n <= times; ++n)
      s.origin.script(n, answer(200, "ETag: \"v1\"\r\n", framing_kind::length, s.body + "more", size + 4));
    reply const r = test::get(s.g.port(), "/o");
    CHECK(r.whole == (times == 1));
    CHECK((r.body == s.body.substr(0, r.body.size())));
  }
}

TEST_CASE("past the store, too, a page of somebody in between is borne eight times") {
  for (std::size_t const pages : {max_nameless, max_nameless + 1}) {
    CAPTURE(pages);
    past_the_store s;
    s.origin.script(0, cut(begun));
    for (std::size_t n = 1; n <= pages; ++n)
      s.origin.script(n, answer(200, "Content-Type: text/html\r\n", framing_kind::length, "<h1>Sign in</h1>", 16));
    reply const r = test::get(s.g.port(), "/o");
    CHECK(r.whole == (pages == max_nameless));
    CHECK((r.body == s.body.substr(0, r.body.size())));
  }
}

TEST_CASE("RFC 9110 15.3.7: past the store a range comes in as many parts as upstream makes of it") {
  past_the_store s;
  s.origin.script(0, answer(206, numbers(1000, 100'999), framing_kind::length, s.body.substr(1000, 100'000), 100'000));
  s.origin.script(1, answer(206, numbers(101'000, 101'009), framing_kind::chunked, s.body.substr(101'000, 10), 0));
  reply const r = test::get(s.g.port(), "/o", {{"Range", "bytes=1000-199999"}});
  CHECK(r.status() == 206);
  CHECK(r.value("Content-Range") == "bytes 1000-199999/300000");
  CHECK((r.whole && r.body == s.body.substr(1000, 199'000)));
  auto const asked = s.origin.requests();
  REQUIRE(asked.size() == 3);
  CHECK(asked[1].value("Range") == "bytes=101000-199999");
  CHECK(asked[2].value("Range") == "bytes=101010-199999");
}

TEST_CASE_TEMPLATE("whatever length a first body turns out to have, the client gets the object's bytes", Rig,
                   MGW_EVERY_RIG) {
  std::string const body = test::pattern(size), head = "ETag: \"v1\"\r\n";
  std::string_view const part = std::string_view(body).substr(0, begun);
  struct {
    char const* what;
    mishap first;
    char const* second;  // the range that is asked for then; null: nothing is
  } const cases[] = {
      {"too short, length", answer(200, head, framing_kind::length, part, size), "bytes=100000-"},
      {"too short, close", answer(200, head, framing_kind::until_close, part, 0), "bytes=100000-"},
      {"too long, length", answer(200, head, framing_kind::length, body + "more", size), nullptr},
  };
  for (auto const& c : cases) {
    std::string const what = c.what;
    CAPTURE(what);
    site<Rig> s;
    s.origin.script(0, c.first);
    s.check_whole(test::get(s.g.port(), "/o"));
    auto const asked = s.origin.requests();
    REQUIRE(asked.size() == (c.second == nullptr ? 1 : 2));
    if (c.second != nullptr) CHECK(asked[1].value("Range") == c.second);
    CHECK(s.first_time() == size);
    CHECK(s.again() == 0);
  }
}

TEST_CASE("a body in chunks that was cut, and a rest that is too long, too: the length that the rest says counts") {
  for (auto const framing : {framing_kind::chunked, framing_kind::until_close}) {
    site<test::disk_rig> s;
    mishap first = cut(begun);
    first.framing = framing_kind::chunked;
    s.origin.script(0, first);
    s.origin.script(1, answer(206, numbers(begun, size - 1), framing, s.body.substr(begun) + "more", 0));
    s.check_whole(test::get(s.g.port(), "/o"));
    CHECK(s.origin.count() == 3);
  }
}

TEST_CASE("a comparison that breaks off goes on where it was, and other bytes end it") {
  for (bool const replaced : {false, true}) {
    CAPTURE(replaced);
    site<test::disk_rig> s;
    std::string wrong = s.body.substr(0, size - begun) + "more";  // the beginning, said to be the rest
    s.origin.script(0, cut(begun));
    s.origin.script(1, answer(206, numbers(begun, size - 1), framing_kind::chunked,
                              replaced ? wrong : s.body.substr(begun) + "more", 0));
    s.origin.script(2, cut(70'000));
    http_client c(s.g.port());
    reply const r = c.get("/o");
    CHECK(r.whole == !replaced);
    auto const right = test::get(s.g.port(), "/o");
    s.check_whole(right);
    CHECK(s.origin.requests().at(3).value("Range") == from(70'000));
  }
}

TEST_CASE("what is owed a comparison is not kept for another life") {
  std::string const body = test::pattern(size);
  test::origin origin{body};
  test::temporary_directory directory;
  std::string const wrong = body.substr(0, size - begun) + "more";
  origin.script(0, cut(begun));
  origin.script(1, answer(206, numbers(begun, size - 1), framing_kind::chunked, wrong, 0));
  mishap silent;
  silent.silent = true;
  origin.standing(silent);
  {
    test::caching_gateway g(directory.path(), origin.authority());
    http_client c(g.port());
    c.request("GET", "/o");
    CHECK(eventually([&] { return origin.count() == 3; }));
  }
  origin.heal();
  test::caching_gateway g(directory.path(), origin.authority());
  reply const r = test::get(g.port(), "/o");
  CHECK((r.whole && r.body == body));
  CHECK(origin.requests().back().value("Range").empty());
}

TEST_CASE("a page of somebody in between, with no name and other bytes, is borne eight times") {
  for (std::size_t const pages : {std::size_t{8}, std::size_t{9}}) {
    CAPTURE(pages);
    site<test::disk_rig> s;
    s.origin.script(0, cut(begun));
    for (std::size_t n = 1; n <= pages; ++n)
      s.origin.script(n, answer(200, "Content-Type: text/html\r\n", framing_kind::until_close, "<h1>Sign in</h1>", 0));
    reply const r = test::get(s.g.port(), "/o");
    CHECK(r.whole == (pages == 8));
    s.check_whole(pages == 8 ? r : test::get(s.g.port(), "/o"));
  }
}

TEST_CASE("a first body that is too long, and told by nothing: its client is cut, the next one has the object") {
  site<test::disk_rig> s;
  s.origin.script(0, answer(200, "ETag: \"v1\"\r\n", framing_kind::until_close, s.body + "more", 0));
  CHECK_FALSE(test::get(s.g.port(), "/o").whole);
  s.check_whole(test::get(s.g.port(), "/o"));
}

// Its clients are cut; their links are resumed if it was only said, and no byte was seen.
TEST_CASE("another length under the object's name is believed when it comes twice running") {
  for (auto const framing : {framing_kind::length, framing_kind::chunked, framing_kind::until_close}) {
    site<test::disk_rig> s;
    std::size_t const most = size - 10;  // so near the end that nothing is added before it is too much
    mishap first = cut(most);
    first.stall_after = most;
    s.origin.script(0, first);
    mishap const longer = answer(200, "ETag: \"v1\"\r\n", framing, s.body + "more", size + 4);
    s.origin.script(1, longer);
    s.origin.script(2, longer);
    http_client c(s.g.port());
    c.request("GET", "/o", {{"X-Link", "a"}});
    reply r;
    r.head = c.read_head();
    s.origin.release();
    c.read_body(r);
    CHECK_FALSE(r.whole);
    CHECK((r.body == s.body.substr(0, r.body.size())));
    reply const rest = test::get(s.g.port(), "/o", {{"X-Link", "a"}, {"Range", from(r.body.size())}});
    if (framing == framing_kind::length) {
      CHECK(rest.status() == 206);
      CHECK((r.body + rest.body == s.body));
    } else {
      CHECK_FALSE(rest.head.there());
    }
    CHECK(s.origin.count() == 4);
    s.check_whole(test::get(s.g.port(), "/o"));
  }
}

// Each time costs a transfer. In the end nobody would be served, and the link never free.
TEST_CASE_TEMPLATE("an upstream that never sends what it announces is left alone when nobody follows the object", Rig,
                   MGW_EVERY_RIG) {
  site<Rig> s;
  s.origin.standing([&](test::origin::seen_request const& r) { return announces_more(s.body, r); });
  reply const r = test::get(s.g.port(), "/o");
  CHECK_FALSE(r.whole);
  CHECK((r.body == s.body.substr(0, r.body.size())));
  CHECK(eventually([&] { return s.g.tee().fills() == 0; }));
  CHECK_FALSE(s.g.stored("/o"));
  s.origin.heal();
  s.check_whole(test::get(s.g.port(), "/o"));
}

TEST_CASE("an upstream that never sends what it announces is asked again after growing pauses, whatever bytes come") {
  constexpr std::size_t objects = 7;
  std::string const body = test::pattern(size);
  test::origin origin(body);
  for (std::size_t n = 0; n < 2 * objects; ++n) {
    test::origin::seen_request r;
    if (n % 2 == 1) r.head = test::message_head::parse("GET /o HTTP/1.1\r\nRange: " + from(size) + "\r\n\r\n");
    origin.script(n, announces_more(body, r));
  }
  test::temporary_directory directory;
  test::caching_options options;
  options.tee.fetch.whole_only = true;  // so its client is held
  test::caching_gateway g(directory.path(), origin.authority(), std::move(options));
  reply const r = test::get(g.port(), "/o");
  CHECK((r.whole && r.body == body));
  auto const lines = g.log().with("replaced again before it was whole; next try in ");
  REQUIRE(lines.size() == objects - 1);
  for (std::size_t n = 0; n < lines.size(); ++n) {
    CAPTURE(lines[n]);
    int const pause = std::stoi(lines[n].substr(lines[n].find(" in ") + 4));
    int const due = n == 0 ? 2 : n == 1 ? 4 : n == 2 ? 8 : 10;
    CHECK(pause > due / 2);
    CHECK(pause <= due + 1);
  }
}

}  // namespace mgw::proxy::wrong_bodies_test
