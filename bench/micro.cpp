// What single steps of a request cost: nanoseconds and heap allocations, by Google Benchmark.
//   mgw-bench-micro [--benchmark_filter=REGEX] [--benchmark_format=json] ...
// Beside the parsers run llhttp (Node.js) and picohttpparser (H2O) where Debian's packages of them are installed.
#include <mgw/cache/disk_store.hpp>
#include <mgw/core/recent.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/response_parser.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/http/target.hpp>
#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/mender/request_fields.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward_head.hpp>
#include <mgw/route/matcher.hpp>

#include <benchmark/benchmark.h>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <support/memory_stream.hpp>

#ifdef MGW_BENCH_LLHTTP
#include <llhttp.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

extern "C" unsigned long long mgw_allocations();  // count_allocations.c

namespace {

using namespace mgw;

/// Counts what is allocated in a benchmark's loop: made just before it, asked just behind it.
class allocations {
public:
  explicit allocations(benchmark::State& state) : state_(state), before_(mgw_allocations()) {}
  void report() {
    auto const n = static_cast<double>(mgw_allocations() - before_);
    state_.counters["allocations"] = benchmark::Counter(n, benchmark::Counter::kAvgIterations);
  }

private:
  benchmark::State& state_;
  unsigned long long before_;
};

/// Runs `f` once, so that what is kept is there, then as often as the benchmark wants.
template <class F>
void measure(benchmark::State& state, F f) {
  if (!f()) return state.SkipWithError("wrong result");
  allocations counted(state);
  for (auto _ : state) {
    bool const good = f();
    if (!good) return state.SkipWithError("wrong result");
  }
  counted.report();
}

// ---- what is parsed
// ----------------------------------------------------------------------------------------------------

/// A device's call with a token of that size.
std::string request(std::size_t token) {
  return "GET /api/devices/v1/deployments/device/deployments/next?artifact_name=release-1&device_type=raspberrypi4 "
         "HTTP/1.1\r\nHost: gateway.example.com\r\nUser-Agent: mender/3.5.1\r\nAccept: */*\r\n"
         "Authorization: Bearer " +
         std::string(token, 'x') +
         "\r\nX-MEN-RequestID: 0f5b0d1c-6b0f-4f4b-8ad5-8f8b3c3f3f60\r\nContent-Type: application/json\r\n"
         "Accept-Encoding: identity\r\nConnection: keep-alive\r\n\r\n";
}
std::size_t constexpr request_fields = 8;

std::string const& response() {
  static std::string const text =
      "HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 22:41:39 GMT\r\nContent-Type: application/json; charset=utf-8\r\n"
      "Content-Length: 200\r\nConnection: keep-alive\r\nX-MEN-RequestID: 0f5b0d1c-6b0f-4f4b-8ad5-8f8b3c3f3f60\r\n"
      "X-DEPLOYMENTS-Version: 1.2.3\r\nStrict-Transport-Security: max-age=15724800; includeSubDomains\r\n"
      "Cache-Control: no-store\r\n\r\n";
  return text;
}
std::size_t constexpr response_fields = 8;

template <class Parser, class Head>
void parse(benchmark::State& state, std::string const& text, std::size_t fields) {
  Parser parser;
  Head head;
  measure(state, [&] {
    head.clear();
    auto const n = parser.parse(text, head);
    benchmark::DoNotOptimize(head);
    return n && *n == text.size() && head.fields.size() == fields;
  });
}
void request_mgw(benchmark::State& state) {
  parse<http::request_parser, http::request_head>(state, request(static_cast<std::size_t>(state.range(0))),
                                                  request_fields);
}
void response_mgw(benchmark::State& state) {
  parse<http::response_parser, http::response_head>(state, response(), response_fields);
}
BENCHMARK(request_mgw)->Name("parse a request/mgw")->ArgName("token")->Arg(16)->Arg(1024);

#ifdef MGW_BENCH_PICOHTTPPARSER
// From picohttpparser.h, which no package has; libh2o has the functions.
extern "C" {
struct phr_header {
  char const* name;
  std::size_t name_len;
  char const* value;
  std::size_t value_len;
};
int phr_parse_request(char const* buf, std::size_t len, char const** method, std::size_t* method_len, char const** path,
                      std::size_t* path_len, int* minor_version, phr_header* headers, std::size_t* num_headers,
                      std::size_t last_len);
int phr_parse_response(char const* buf, std::size_t len, int* minor_version, int* status, char const** msg,
                       std::size_t* msg_len, phr_header* headers, std::size_t* num_headers, std::size_t last_len);
}
void request_pico(benchmark::State& state) {
  std::string const text = request(static_cast<std::size_t>(state.range(0)));
  phr_header headers[64];
  measure(state, [&] {
    char const *method = nullptr, *path = nullptr;
    std::size_t method_size = 0, path_size = 0, n = 64;
    int minor = 0;
    int const size =
        phr_parse_request(text.data(), text.size(), &method, &method_size, &path, &path_size, &minor, headers, &n, 0);
    benchmark::DoNotOptimize(headers);
    return size == static_cast<int>(text.size()) && n == request_fields;
  });
}
void response_pico(benchmark::State& state) {
  std::string const& text = response();
  phr_header headers[64];
  measure(state, [&] {
    char const* reason = nullptr;
    std::size_t reason_size = 0, n = 64;
    int minor = 0, status = 0;
    int const size =
        phr_parse_response(text.data(), text.size(), &minor, &status, &reason, &reason_size, headers, &n, 0);
    benchmark::DoNotOptimize(headers);
    return size == static_cast<int>(text.size()) && n == response_fields;
  });
}
BENCHMARK(request_pico)->Name("parse a request/picohttpparser")->ArgName("token")->Arg(16)->Arg(1024);
#endif

#ifdef MGW_BENCH_LLHTTP
/// Keeps what llhttp finds as views, as the other parsers do.
struct llhttp_head {
  http::fields fields;
  std::string_view name, target;
  std::size_t bodies = 0;
};
int on_target(llhttp_t* p, char const* at, std::size_t n) {
  static_cast<llhttp_head*>(p->data)->target = {at, n};
  return 0;
}
int on_name(llhttp_t* p, char const* at, std::size_t n) {
  static_cast<llhttp_head*>(p->data)->name = {at, n};
  return 0;
}
int on_value(llhttp_t* p, char const* at, std::size_t n) {
  auto& head = *static_cast<llhttp_head*>(p->data);
  head.fields.add(head.name, {at, n});
  return 0;
}
int on_end(llhttp_t*) {
  return HPE_PAUSED;  // the body is not its business here
}
void parse_llhttp(benchmark::State& state, llhttp_type type, std::string const& text, std::size_t fields) {
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_url = on_target;
  settings.on_header_field = on_name;
  settings.on_header_value = on_value;
  settings.on_headers_complete = on_end;
  llhttp_t parser;
  llhttp_head head;
  llhttp_init(&parser, type, &settings);
  parser.data = &head;
  measure(state, [&] {
    head.fields.clear();
    llhttp_reset(&parser);
    auto const end = llhttp_execute(&parser, text.data(), text.size());
    benchmark::DoNotOptimize(head);
    return end == HPE_PAUSED && head.fields.size() == fields;
  });
}
void request_llhttp(benchmark::State& state) {
  parse_llhttp(state, HTTP_REQUEST, request(static_cast<std::size_t>(state.range(0))), request_fields);
}
void response_llhttp(benchmark::State& state) {
  parse_llhttp(state, HTTP_RESPONSE, response(), response_fields);
}
BENCHMARK(request_llhttp)->Name("parse a request/llhttp")->ArgName("token")->Arg(16)->Arg(1024);
#endif

BENCHMARK(response_mgw)->Name("parse a response/mgw");
#ifdef MGW_BENCH_PICOHTTPPARSER
BENCHMARK(response_pico)->Name("parse a response/picohttpparser");
#endif
#ifdef MGW_BENCH_LLHTTP
BENCHMARK(response_llhttp)->Name("parse a response/llhttp");
#endif

// ---- where it goes
// ------------------------------------------------------------------------------------------------------

void target(benchmark::State& state) {
  std::string const text = request(16);
  std::string_view const whole = std::string_view(text).substr(4, text.find(" HTTP") - 4);
  std::string room;
  measure(state, [&] {
    auto const t = http::parse_target(whole, "GET");
    auto const path = t ? http::path_to_match(t->path, room) : t.error();
    return path && path->size() < whole.size();
  });
}
BENCHMARK(target)->Name("target and its path");

void device_call(benchmark::State& state) {
  std::string path = "/api/devices/v1/deployments/device/deployments/5d3f6f3e-0b7e-4c0c-9f0f-6a2d3b1c4e5f/status";
  measure(state, [&] {
    benchmark::DoNotOptimize(path);
    benchmark::ClobberMemory();
    return mender::match_call("PUT", path).what == mender::call::status;
  });
}
BENCHMARK(device_call)->Name("route a call of the device API");

void rules(benchmark::State& state) {
  auto const r = route::path("/health") || (route::prefix("/api/devices/v1") && !route::method("TRACE"));
  std::string_view const paths[] = {"/health", "/api/devices/v1/inventory/device/attributes", "/api/devices/v1/x",
                                    "/api/devices/v2"};
  std::size_t i = 0;
  measure(state, [&] {
    std::string_view path = paths[++i % 4];
    benchmark::DoNotOptimize(path);
    return r(route::request_line{"GET", path}) == (i % 4 != 3);
  });
}
BENCHMARK(rules)->Name("route by rules");

// ---- what is sent
// -------------------------------------------------------------------------------------------------------

asio::awaitable<void> rewrite(benchmark::State* state, net::worker* w) {
  auto ends = test::memory_stream::pair(w->io.get_executor());
  std::string const text = request(1024);
  asio::const_buffer const bytes = asio::buffer(text);
  const_buffers const sent(&bytes, 1);
  (void)co_await ends.first.write_some(sent);
  proxy::peer_info peer;
  peer.address = {asio::ip::make_address("192.168.100.200"), 65535};
  peer.tls = true;
  proxy::server_options const options;
  proxy::exchange x(any_stream(std::move(ends.second)), peer, options, *w);
  bool const there = co_await x.next_request();
  if (!there) throw std::runtime_error("no request");
  proxy::forward_options forward;
  forward.host = "mender.example.com";
  forward.drop_request_field = mender::is_dropped_request_field;
  proxy::forward_call const call;
  proxy::forward_head what;
  what.framing = x.request_framing();
  std::string out;
  measure(*state, [&] {
    out.clear();
    proxy::append_forward_head(out, x, forward, call, what);
    return out.size() > 1024;
  });
}
void forward_head(benchmark::State& state) {
  net::worker w(0);
  asio::co_spawn(w.io, rewrite(&state, &w), [&w](std::exception_ptr failed) {
    w.io.stop();
    if (failed) std::rethrow_exception(failed);
  });
  w.io.run();
}
BENCHMARK(forward_head)->Name("rewrite a request's head");

void response_head(benchmark::State& state) {
  http::response_parser parser;
  http::response_head head;
  if (!parser.parse(response(), head)) return state.SkipWithError("wrong response");
  std::string out;
  measure(state, [&] {
    out.clear();
    http::append_status_line(out, head.status, head.reason);
    for (auto const& f : head.fields) http::append_field(out, f.name, f.value);
    http::end_head(out);
    benchmark::DoNotOptimize(out);
    return out == response();
  });
}
BENCHMARK(response_head)->Name("write a response's head");

// ---- links and objects
// --------------------------------------------------------------------------------------------------

mender::link_claims claims() {
  mender::link_claims c;
  c.url =
      "https://storage.example.com/mender-artifact-storage/5d3f6f3e-0b7e-4c0c-9f0f-6a2d3b1c4e5f"
      "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261127%2Fus-east-1%2Fs3%2F"
      "aws4_request&X-Amz-Date=20261127T224139Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=" +
      std::string(64, 'a');
  c.device_id = "0f5b0d1c-6b0f-4f4b-8ad5-8f8b3c3f3f60";
  c.issued = 1'795'000'000;
  c.expires = c.issued + 86'400;
  return c;
}
cache::key key_of(std::uint64_t n) {
  std::string hex = std::to_string(n);
  hex.insert(0, 64 - hex.size(), '0');
  // Keys are hashes: all of their bytes differ.
  for (std::size_t i = 0; i < 32; ++i) hex[i] = static_cast<char>("0123456789abcdef"[(n * 2654435761U >> i) % 16]);
  return *cache::key::from_hex(hex);
}

void seal(benchmark::State& state) {
  mender::link_sealer const links({std::string(32, 's')});
  auto const c = claims();
  measure(state, [&] { return !links.seal(key_of(1), c).empty(); });
}
void open(benchmark::State& state) {
  mender::link_sealer const links({std::string(32, 's')});
  auto const key = key_of(1);
  auto const token = links.seal(key, claims());
  measure(state, [&] { return static_cast<bool>(links.open(key, token)); });
}
void open_again(benchmark::State& state) {
  mender::link_sealer const links({std::string(32, 's')});
  auto const key = key_of(1);
  std::string const path = mender::artifact_path(key, links.seal(key, claims()));
  recent<mender::link_claims> opened;
  opened.keep(path, std::make_shared<mender::link_claims>(claims()));
  measure(state, [&] { return mender::match_artifact_path(path) && opened.find(path) != nullptr; });
}
BENCHMARK(seal)->Name("seal a link");
BENCHMARK(open)->Name("open a link");
BENCHMARK(open_again)->Name("open a link again");

/// A store with so many objects of a byte, on a file system in memory where there is one.
class filled_store {
public:
  explicit filled_store(std::uint64_t objects) {
    std::error_code ec;
    bool const memory = std::filesystem::is_directory("/dev/shm", ec);
    path_ = (memory ? "/dev/shm" : std::filesystem::temp_directory_path().string()) + "/mgw-micro.XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no temporary directory");
    cache::disk_store::options o;
    o.path = path_ + "/cache";
    o.max_size = 1u << 30;
    o.min_free = 1;
    store_ = std::make_unique<cache::disk_store>(o);
    for (std::uint64_t n = 0; n < objects; ++n) {
      cache::meta m;
      m.key = key_of(n);
      m.length = 8;
      m.etag = "\"5d3f6f3e0b7e4c0c9f0f6a2d3b1c4e5f\"";
      m.last_modified = "Fri, 27 Nov 2026 22:41:39 GMT";
      m.content_type = "application/vnd.mender-artifact";
      auto part = store_->create(m);
      char body[8];
      std::memcpy(body, &n, sizeof body);
      if (!part || part->append({body, sizeof body}) || part->commit(8)) throw std::runtime_error("no object");
    }
  }
  filled_store(filled_store const&) = delete;
  filled_store& operator=(filled_store const&) = delete;
  ~filled_store() {
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  cache::disk_store& operator*() { return *store_; }

private:
  std::string path_;
  std::unique_ptr<cache::disk_store> store_;
};

void lookup(benchmark::State& state) {
  auto const objects = static_cast<std::uint64_t>(state.range(0));
  filled_store store(objects);
  std::vector<cache::key> keys;
  for (std::uint64_t n = 0; n < objects; ++n) keys.push_back(key_of(n * 7919 % objects));
  std::size_t i = 0;
  measure(state, [&] { return (*store).contains(keys[++i % keys.size()]); });
}
BENCHMARK(lookup)->Name("find an object")->ArgName("of")->Arg(1)->Arg(1000);

void open_object(benchmark::State& state) {
  filled_store store(1);
  std::shared_ptr<cache::file const> reader;
  if (state.range(0) != 0) {
    auto first = (*store).open(key_of(0));
    if (!first) return state.SkipWithError("no object");
    reader = first->body;
  }
  measure(state, [&] { return static_cast<bool>((*store).open(key_of(0))); });
}
BENCHMARK(open_object)->Name("open an object")->ArgName("readers")->Arg(0)->Arg(1);

}  // namespace

BENCHMARK_MAIN();
