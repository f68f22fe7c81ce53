// What is done for each request without the heap. All of malloc(3) is counted, so this is a program of its own, of one
// thread, and not built with sanitizers, which have allocators of theirs.
#include <mgw/cache/disk_store.hpp>
#include <mgw/core/recent.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/hop_by_hop.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/target.hpp>
#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/mender/request_fields.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward_head.hpp>
#include <mgw/proxy/router.hpp>
#include <mgw/route/matcher.hpp>

#include <support/memory_stream.hpp>
#include <support/run_io.hpp>
#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/ip/address.hpp>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

namespace {
std::size_t allocations = 0;
}

extern "C" {
void* __libc_malloc(std::size_t size);  // NOLINT: glibc's own, under their second names
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) noexcept {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  ++allocations;
  return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  ++allocations;
  return __libc_memalign(alignment, size);
}
}

namespace mgw::allocations_test {
namespace {

/// How often `f` takes memory, once it has run before.
template <class F>
std::size_t counted(F f) {
  f();
  std::size_t const before = allocations;
  f();
  return allocations - before;
}

std::string const& request() {
  static std::string const text =
      "PUT /api/devices/v1/deployments/device/deployments/5d3f6f3e-0b7e-4c0c-9f0f-6a2d3b1c4e5f/status HTTP/1.1\r\n"
      "Host: gateway.example.com:8443\r\nUser-Agent: mender-update/4.0.0 (a device of ours)\r\nAccept: */*\r\n"
      "Authorization: Bearer " +
      std::string(1024, 'x') +
      "\r\nX-MEN-RequestID: 0f5b0d1c-6b0f-4f4b-8ad5-8f8b3c3f3f60\r\nContent-Type: application/json\r\n"
      "Connection: keep-alive\r\nX-Forwarded-For: 10.0.0.1\r\nContent-Length: 0\r\n\r\n";
  return text;
}

/// What rewriting the heads of one relayed call took, and what came of it.
struct rewritten {
  std::size_t request = 1, response = 1;
  std::string head;
};

asio::awaitable<void> rewrite(net::worker* w, rewritten* out) {
  auto ends = test::memory_stream::pair(w->io.get_executor());
  asio::const_buffer const bytes = asio::buffer(request());
  const_buffers const sent(&bytes, 1);
  (void)co_await ends.first.write_some(sent);
  proxy::peer_info peer;
  peer.address = {asio::ip::make_address("192.168.100.200"), 65535};
  peer.tls = true;
  proxy::server_options const options;
  proxy::exchange x(any_stream(std::move(ends.second)), peer, options, *w);
  bool const there = co_await x.next_request();
  REQUIRE(there);
  proxy::forward_options forward;
  forward.host = "docker.mender.example.com";
  forward.drop_request_field = mender::is_dropped_request_field;
  proxy::forward_call call;
  call.want_identity = true;
  proxy::forward_head what;
  what.framing = x.request_framing();
  std::string room;
  room.reserve(4096);
  out->request = counted([&] { proxy::append_forward_head(room, x, forward, call, what); });
  out->head = room;
  // As proxy::forwarding does it.
  http::framing framing;
  framing.kind = http::body_kind::length;
  framing.length = 200;
  out->response = counted([&] {
    x.start(200, "OK");
    for (auto const& f : x.request().fields)
      if (!http::is_hop_by_hop(f.name, x.request().fields)) x.parsed_field(f);
    x.field("Via", proxy::via(1, forward.pseudonym));
    x.end_head(framing);
  });
}

struct counts_calls {
  int* calls;
  explicit counts_calls(int* c) : calls(c) {}
  asio::awaitable<void> operator()(proxy::exchange& x) const {
    (void)x;
    ++*calls;
    co_return;
  }
};

/// An exchange whose request is there, handed to the second of two rules.
asio::awaitable<void> dispatch(net::worker* w, std::size_t* taken, int* calls) {
  auto ends = test::memory_stream::pair(w->io.get_executor());
  asio::const_buffer const bytes = asio::buffer(request());
  const_buffers const sent(&bytes, 1);
  (void)co_await ends.first.write_some(sent);
  proxy::server_options const options;
  proxy::exchange x(any_stream(std::move(ends.second)), proxy::peer_info(), options, *w);
  bool const there = co_await x.next_request();
  REQUIRE(there);
  proxy::router const rules(proxy::when(route::path("/health"), proxy::answer_status(204)),
                            proxy::when(route::prefix("/api") && route::method("PUT"), counts_calls(calls)));
  co_await rules(x);  // Asio keeps the frame
  std::size_t const before = allocations;
  co_await rules(x);
  *taken = allocations - before;
}

}  // namespace

TEST_CASE("memory that is taken is counted") {
  std::unique_ptr<int> p;
  CHECK(counted([&] { p = std::make_unique<int>(1); }) == 1);
  void* q = nullptr;
  CHECK(counted([&] { std::free(std::exchange(q, std::aligned_alloc(64, 64))); }) == 1);
  CHECK(counted([&] { std::free(std::exchange(q, std::malloc(64))); }) == 1);
  std::free(q);
}

TEST_CASE("a request is parsed without the heap") {
  http::request_parser parser;
  http::request_head head;
  bool good = true;
  CHECK(counted([&] {
          head.clear();
          auto const n = parser.parse(request(), head);
          good = good && n && *n == request().size() && head.fields.size() == 9;
          good = good && http::parse_target(head.target, head.method) && http::request_framing(head);
        }) == 0);
  CHECK(good);
}

TEST_CASE("a call of the device API is told from others without the heap") {
  std::string_view const path =
      "/api/devices/v1/deployments/device/deployments/5d3f6f3e-0b7e-4c0c-9f0f-6a2d3b1c4e5f/status";
  std::string room;
  bool good = true;
  CHECK(counted([&] {
          auto const one = http::path_to_match(path, room);
          good = good && one && mender::match_call("PUT", *one).what == mender::call::status;
        }) == 0);
  CHECK(good);
}

TEST_CASE("a router hands on a request without the heap") {
  net::worker w(0);
  std::size_t taken = 1;
  int calls = 0;
  test::run_io(w.io, dispatch(&w, &taken, &calls));
  CHECK(taken == 0);
  CHECK(calls == 2);
}

TEST_CASE("the heads of a relayed call are rewritten without the heap") {
  net::worker w(0);
  rewritten r;
  test::run_io(w.io, rewrite(&w, &r));
  CHECK(r.request == 0);
  CHECK(r.response == 0);
  CHECK(r.head.find("X-Forwarded-For: 192.168.100.200\r\n") != std::string::npos);
  CHECK(r.head.find("Via: 1.1 mgw-") != std::string::npos);
  CHECK(r.head.find("10.0.0.1") == std::string::npos);
  CHECK(r.head.find("Connection:") == std::string::npos);
}

TEST_CASE("a link that was opened before and its object are found without the heap") {
  test::temporary_directory const directory;
  cache::disk_store::options o;
  o.path = directory.path() / "cache";
  o.max_size = 1u << 20;
  o.min_free = 1;
  cache::disk_store store(o);
  cache::meta m;
  m.key = *cache::key::from_hex(std::string(64, 'a'));
  m.etag = "\"1\"";
  m.length = 4;
  {
    auto part = store.create(m);
    REQUIRE(part);
    REQUIRE_FALSE(part->append("body"));
    REQUIRE_FALSE(part->commit(4));
  }
  recent<mender::link_claims> opened;
  std::string const path = mender::artifact_path(m.key, std::string(300, 't'));
  opened.keep(path, std::make_shared<mender::link_claims>());
  bool good = true;
  CHECK(counted([&] {
          auto const parts = mender::match_artifact_path(path);
          good = good && parts && opened.find(path) != nullptr && store.contains(parts->key);
        }) == 0);
  CHECK(good);
}

}  // namespace mgw::allocations_test
