#include <mgw/proxy/tee_to_cache.hpp>

#include <support/blocking_socket.hpp>
#include <support/blocking_tls.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/test_certificates.hpp>

#include <asio/awaitable.hpp>
#include <asio/error.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

// The first bytes of an object: whoever asks for whatever part of it, and whichever way the upstream cannot be had.
namespace mgw::proxy::cold_start_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::mishap;
using test::pattern;
using test::reply;

constexpr std::size_t object_size = 300'000;

asio::awaitable<void> serve_url(caching_gateway& g, exchange& x) {
  fetch_source source;
  source.url = std::string(x.request().fields.value("X-URL"));
  source.issued = std::atoll(std::string(x.request().fields.value("X-Issued")).c_str());
  cache::key const key = g.key_of("/o");
  co_await g.serve(x, key, std::move(source));
}
/// A gateway for which every URL in `X-URL` leads to the same object.
caching_options by_url() {
  caching_options o;
  o.handler = [](caching_gateway& g) -> test::any_handler { return [&g](exchange& x) { return serve_url(g, x); }; };
  return o;
}

/// A TLS server whose certificate nobody trusts.
class untrusted_server {
public:
  untrusted_server()
      : thread_([this] {
          for (;;) {
            int const fd = ::accept4(listening_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) return;
            try {
              test::blocking_tls const c(test::blocking_socket(fd), certificates_.foreign_server.certificate,
                                         certificates_.foreign_server.key);
            } catch (std::runtime_error const&) {  // what it is for
            }
          }
        }) {}
  ~untrusted_server() {
    ::shutdown(listening_.fd(), SHUT_RDWR);
    thread_.join();
  }
  std::string url(std::string const& path) const {
    return "https://127.0.0.1:" + std::to_string(listening_.local_port()) + path;
  }

private:
  test::test_certificates certificates_;
  test::blocking_socket listening_ = test::blocking_socket::listen();
  std::thread thread_;
};

}  // namespace

TEST_CASE(
    "a name that is not found, a certificate that is not trusted: passing faults, held until there is another way") {
  std::string const body = pattern(object_size);
  test::origin const good(body);
  test::temporary_directory const directory;
  untrusted_server const untrusted;
  std::string url;
  caching_options o = by_url();
  SUBCASE("name") {
    url = "http://gone.example/o";
    o.pools.names.lookup = [](std::string const&) {
      upstream::looked_up none;
      none.ec = asio::error::host_not_found;
      return none;
    };
  }
  SUBCASE("certificate") {
    url = untrusted.url("/o");
  }
  SUBCASE("no TLS") {
    url = "https://" + good.authority() + "/o";
    o.pools.connect_timeout = std::chrono::milliseconds(200);  // nobody answers its hello
  }
  caching_gateway g(directory.path(), good.authority(), std::move(o));
  http_client first(g.port()), second(g.port());
  first.request("GET", "/o", {{"X-URL", url}, {"X-Issued", "1000"}});
  CHECK(eventually([&] { return g.tee().counters().faults >= 3; }));
  CHECK(g.tee().held() == 1);
  second.request("GET", "/o", {{"X-URL", good.url("/o")}, {"X-Issued", "2000"}});
  reply const a = first.read_reply(), b = second.read_reply();
  CHECK((a.status() == 200 && a.whole && a.body == body));
  CHECK((b.status() == 200 && b.whole && b.body == body));
}

TEST_CASE("what comes in small pieces is gathered at the growing edge, and every byte of it arrives") {
  std::string const body = pattern(object_size);
  test::origin origin(body);
  test::temporary_directory const directory;
  caching_options o;
  o.tee.reader.gather = reader_options().gather;
  o.tee.fetch.batch = 1'000;
  caching_gateway g(directory.path(), origin.authority(), std::move(o));
  mishap stall;
  stall.stall_after = 150'000;
  origin.script(0, stall);
  http_client all(g.port());
  all.request("GET", "/o");
  CHECK(all.read_head().status() == 200);
  std::string got = all.read_bytes(150'000 - reader_options().reserve);  // also while nothing more comes
  origin.release();
  got += all.read_bytes(object_size - got.size());
  CHECK(got == body);
}

TEST_CASE("whatever a server says in trouble in the middle of an object, it is asked again for the rest") {
  for (int const status : {408, 425, 429, 500, 502, 503, 504, 599}) {
    CAPTURE(status);
    std::string const body = pattern(object_size);
    test::origin origin(body);
    test::temporary_directory const directory;
    caching_gateway g(directory.path(), origin.authority());
    mishap cut;
    cut.cut_after = 100'000;
    origin.script(0, cut);
    mishap trouble;
    trouble.status = status;
    trouble.fields = {{"Retry-After", "1"}};
    for (std::size_t n = 1; n < 4; ++n) origin.script(n, trouble);
    reply const r = test::get(g.port(), "/o");
    CHECK((r.status() == 200 && r.whole && r.body == body));
    CHECK(origin.count() == 5);
    CHECK(origin.requests().back().value("Range") == "bytes=100000-");
    CHECK(g.tee().counters().again_bytes == 0);
  }
}

TEST_CASE_TEMPLATE("whoever comes first, and whatever part each one wants: one download on many workers", Rig, MGW_EVERY_RIG) {
  struct {
    char const* method;
    test::field_list fields;
    int status;
    std::size_t first, size;
  } const wanted[] = {
      {"GET", {}, 200, 0, object_size},
      {"HEAD", {}, 200, 0, 0},
      {"GET", {{"Range", "bytes=0-99"}}, 206, 0, 100},
      {"GET", {{"Range", "bytes=150000-160000"}}, 206, 150'000, 10'001},
      {"GET", {{"Range", "bytes=-10"}}, 206, object_size - 10, 10},
      {"GET", {{"Range", "bytes=0-5,7-9"}}, 200, 0, object_size},
      {"GET", {{"If-None-Match", "\"v1\""}}, 304, 0, 0},
      {"GET", {{"Range", "bytes=5-"}, {"If-Range", "\"other\""}}, 200, 0, object_size},
  };
  std::string const body = pattern(object_size);
  for (std::size_t begins = 0; begins < std::size(wanted); ++begins) {
    CAPTURE(begins);
    test::origin origin(body);
    test::temporary_directory const directory;
    test::basic_caching_options<Rig> o;
    o.threads = 8;
    test::basic_caching_gateway<Rig> g(directory.path(), origin.authority(), std::move(o));
    mishap silent;
    silent.silent = true;
    origin.script(0, silent);
    std::vector<std::unique_ptr<http_client>> clients;
    for (std::size_t i = 0; i < std::size(wanted); ++i) {
      auto const& w = wanted[(begins + i) % std::size(wanted)];
      clients.push_back(std::make_unique<http_client>(g.port()));
      clients.back()->request(w.method, "/o", w.fields);
      if (i == 0) CHECK(origin.saw(1));
    }
    CHECK(eventually([&] { return g.tee().held() == std::size(wanted); }));
    origin.release();
    for (std::size_t i = 0; i < std::size(wanted); ++i) {
      auto const& w = wanted[(begins + i) % std::size(wanted)];
      CAPTURE(i);
      reply const r = clients[i]->read_reply(w.method);
      CHECK(r.status() == w.status);
      CHECK((r.body == body.substr(w.first, w.size)));
    }
    CHECK(eventually([&] { return g.tee().fills() == 0; }));
    CHECK(origin.count() == 1);
    CHECK(origin.sent() == object_size);
    CHECK(origin.requests().at(0).head.count("Range") == 0);
  }
}

}  // namespace mgw::proxy::cold_start_test
