#include <mgw/mender/own_copies.hpp>

#include <mgw/mender/artifact_route.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <utility>

namespace mgw::mender::own_copies_test {
namespace {

using test::eventually;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

/// What a Mender server does for configurations: other bytes for each request, no validator, no ranges.
mishap made_anew(std::string body) {
  mishap m;
  m.body = std::move(body);
  m.etag = "";
  m.ignore_range = m.ignore_conditions = true;
  return m;
}

/// A verifier that looks at the end only.
class last_word final : public proxy::body_verifier {
public:
  explicit last_word(bool good) : good_(good) {}
  asio::awaitable<proxy::body_verdict> take(std::string_view) override { co_return head_good(); }
  asio::awaitable<proxy::body_verdict> head() override { co_return head_good(); }
  asio::awaitable<proxy::body_verdict> finish() override {
    proxy::body_verdict v;
    v.what = good_ ? proxy::body_verdict::state::good : proxy::body_verdict::state::bad;
    co_return v;
  }

private:
  static proxy::body_verdict head_good() {
    proxy::body_verdict v;
    v.what = proxy::body_verdict::state::head_good;
    return v;
  }
  bool good_;
};

/// A gateway that serves links of both kinds; the n-th request to its origin is answered with `body(n)`.
struct site {
  std::size_t size;
  test::origin origin{"", ""};
  test::temporary_directory directory;
  link_sealer links{{std::string(32, 's')}};
  test::gateway g{2};
  test::disk_rig shared{test::store_settings(directory.path())};
  proxy::tee_to_cache<cache::disk_store> cache;
  own_copies own;
  artifact_route<cache::disk_store> route{links, cache, own};
  std::atomic<std::size_t> asked{0};
  std::int64_t now = static_cast<std::int64_t>(std::time(nullptr));

  explicit site(std::size_t n = 5000, own_copy_options limits = {}, proxy::tee_options tee = test::quick_tee())
      : size(n), cache(shared.store, g.upstreams, tee), own(g.upstreams, tee, limits) {
    origin.standing([this](test::origin::seen_request const&) { return made_anew(body(asked++)); });
    g.start([this](proxy::exchange& x) { return route(x); });
  }
  ~site() {
    g.stop([this] {
      cache.close();
      own.close();
    });
  }
  std::string body(std::size_t n) const { return pattern(size, static_cast<unsigned>(n)); }
  /// A new link to `path`, as each poll makes one.
  std::string link(std::string const& path = "/api/devices/v1/deployments/download/configuration/d/type/dev?x=1",
                   std::int64_t age = 0) const {
    link_claims c;
    c.url = origin.url(path);
    c.issued = now - age;
    c.expires = c.issued + 3600;
    auto const uri = http::parse_uri(c.url);
    auto const key = cache::make_key(*uri, c.headers);
    link_kind const kind = kind_of(*uri);
    return artifact_path(*key, links.seal(*key, c, kind), kind);
  }
  reply get(std::string const& target, test::field_list const& fields = {}) const {
    return test::get(g.port(), target, fields);
  }
  bool closes(std::string const& target, std::string const& range) const {
    http_client c(g.port());
    c.request("GET", target, {{"Range", range}});
    return c.closed();
  }
  std::size_t files_of_objects() const {
    std::size_t n = 0;
    for (auto const* folder : {"objects", "parts", "meta"})
      for (auto const& e : std::filesystem::recursive_directory_iterator(directory.path() / folder))
        n += e.is_regular_file();
    return n;
  }
};
bool is_whole(reply const& r, std::string const& body) {
  return r.status() == 200 && r.whole && r.body == body;
}
own_copy_options limits(std::uint64_t max_object, std::uint64_t max_size) {
  own_copy_options o;
  o.max_object = max_object;
  o.max_size = max_size;
  return o;
}

}  // namespace

TEST_CASE("two devices with the same URL get each their own fetch and their own bytes, and nothing is on disk") {
  site s;
  std::string const a = s.link(), b = s.link();
  CHECK(is_whole(s.get(a), s.body(0)));
  CHECK(is_whole(s.get(b), s.body(1)));
  CHECK(s.origin.count() == 2);
  CHECK(is_whole(s.get(a), s.body(0)));  // kept for its link
  CHECK(is_whole(s.get(b), s.body(1)));
  CHECK(s.origin.count() == 2);
  CHECK(s.own.store().used().objects == 2);
  CHECK(s.files_of_objects() == 0);
  CHECK(is_whole(s.get(s.link("/shared")), s.body(2)));  // an artifact that is shared goes to the disk
  CHECK(s.files_of_objects() == 2);
}

TEST_CASE("two requests at once on one link are one fetch") {
  site s;
  mishap m = made_anew(s.body(7));
  m.stall_after = 1000;
  s.origin.script(0, m);
  std::string const a = s.link();
  http_client one(s.g.port()), other(s.g.port());
  one.request("GET", a);
  CHECK(s.origin.stalled());
  other.request("GET", a);
  CHECK(eventually([&] { return s.own.cache().held() == 2; }));  // no byte of it is out
  s.origin.release();
  CHECK(is_whole(one.read_reply(), s.body(7)));
  CHECK(is_whole(other.read_reply(), s.body(7)));
  CHECK(s.origin.count() == 1);
}

TEST_CASE("what breaks off begins anew with other bytes, and no client sees two copies in one body") {
  site s(100'000);
  for (std::size_t n = 0; n < 3; ++n) {
    mishap m = made_anew(s.body(10 + n));
    m.cut_after = 60'000 + n;
    if (n == 2) m.framing = mishap::framing_kind::chunked;
    s.origin.script(n, m);
  }
  std::string const a = s.link();
  CHECK(is_whole(s.get(a), s.body(0)));
  CHECK(s.origin.count() == 4);
  for (auto const& r : s.origin.requests()) CHECK(r.head.count("Range") == 0);
  // The client, cut at its own end, gets the rest of the bytes it began with; the server would send others.
  reply const rest = s.get(a, {{"Range", "bytes=50000-"}});
  CHECK(rest.status() == 206);
  CHECK(rest.value("Content-Range") == "bytes 50000-99999/100000");
  CHECK((rest.whole && rest.body == s.body(0).substr(50'000)));
  CHECK(s.origin.count() == 4);
}

TEST_CASE("a copy that names its bytes is resumed by range") {
  site s(100'000);
  s.origin.set_object(pattern(100'000), "\"v1\"");
  mishap m;
  m.cut_after = 60'000;
  s.origin.script(0, m);
  s.origin.script(1, mishap());
  CHECK(is_whole(s.get(s.link()), pattern(100'000)));
  CHECK(s.origin.requests().at(1).value("Range") == "bytes=60000-");
  CHECK(s.origin.sent() == 100'000);
}

TEST_CASE("a resume is served from the copy that the link began with, or closed") {
  site s(60'000, limits(100'000, 100'000));
  // What is still read, or about to be put away, makes no room.
  auto const ended = [&](std::size_t requests) {
    return eventually([&] { return s.g.records().size() == requests && s.own.idle(); });
  };
  std::string const a = s.link(), b = s.link(), never = s.link();
  CHECK(s.closes(never, "bytes=1000-"));  // begun elsewhere, perhaps with other bytes
  CHECK(ended(1));
  std::size_t const first = s.asked;
  CHECK(is_whole(s.get(a), s.body(first)));
  CHECK(ended(2));
  CHECK(is_whole(s.get(b), s.body(first + 1)));  // no room for both: the least recently used goes
  CHECK(ended(3));
  CHECK(s.own.store().used().objects == 1);
  CHECK(s.own.store().used().bytes == 60'000);
  CHECK(s.get(b, {{"Range", "bytes=1000-"}}).body == s.body(first + 1).substr(1000));
  CHECK(ended(4));
  CHECK(s.closes(a, "bytes=1000-"));
  CHECK(ended(5));
  std::string const again = s.get(a).body;
  CHECK(again != s.body(first));
  CHECK(s.get(a, {{"Range", "bytes=1000-"}}).body == again.substr(1000));
}

TEST_CASE("larger ones pass through and are not kept") {
  for (bool const chunked : {false, true})
    for (std::size_t const size : {std::size_t{20'000}, std::size_t{20'001}}) {
      CAPTURE(chunked);
      CAPTURE(size);
      site s(size, limits(20'000, 1'000'000));
      mishap m = made_anew(s.body(9));
      if (chunked) m.framing = mishap::framing_kind::chunked;
      s.origin.standing(m);
      std::string const a = s.link();
      reply const r = s.get(a);
      CHECK(is_whole(r, s.body(9)));
      bool const fits = size <= 20'000;
      CHECK(r.value("Cache-Status") == (fits ? "mgw; fwd=miss; stored" : "mgw; fwd=bypass"));
      CHECK(s.own.store().used().objects == (fits ? 1 : 0));
      CHECK(is_whole(s.get(a), s.body(9)));
      CHECK(s.files_of_objects() == 0);
    }
}

TEST_CASE("a copy that is found to be bad is 403 to a first GET") {
  for (bool const good : {true, false}) {
    proxy::tee_options tee = test::quick_tee();
    tee.fetch.verifier = [good](asio::io_context&) { return std::make_unique<last_word>(good); };
    site s(5000, {}, tee);
    CHECK(s.get(s.link()).status() == (good ? 200 : 403));
    CHECK(s.own.store().used().objects == (good ? 1 : 0));
  }
}

TEST_CASE("a private link is served under its own prefix only, and not beyond its time") {
  site s;
  std::string const a = s.link(), shared = s.link("/shared");
  std::string const tail = a.substr(private_prefix.size());
  CHECK(s.get(std::string(artifact_prefix) + tail).status() == 403);
  CHECK(s.get(std::string(private_prefix) + shared.substr(artifact_prefix.size())).status() == 403);
  CHECK(s.get(s.link("/api/gateway/v1/private/0123/token", 7200)).status() == 403);  // expired
  CHECK(s.origin.connections() == 0);
  CHECK(is_whole(s.get(s.link("/api/gateway/v1/private/0123/token")), s.body(0)));  // behind another gateway
  CHECK(s.files_of_objects() == 0);
}

}  // namespace mgw::mender::own_copies_test
