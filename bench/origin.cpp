// The upstream of the benchmark: a device API with small answers, and a store of artifacts of any size.
//   mgw-bench-origin CERT KEY [LISTEN [FILE...]]             CERT "-": HTTP without TLS
// GET /artifacts/SIZE/NAME[?rate=BYTES_PER_SECOND][&cut=N]   SIZE bytes of pattern; strong ETag, single ranges.
//     rate: bytes in a second, of each response. cut: the connection ends after N bytes of the body, once for each
//     NAME. file=FILE: the bytes of this file, given on the command line, instead of the pattern.
// .../deployments/next?size=SIZE&name=NAME[&rate=…][&cut=…]  a deployment with the link to that artifact
// GET /counters                                              {"requests":…,"artifact_requests":…,"artifact_bytes":…}
// .../deviceconnect/connect                                  a WebSocket that sends back short frames (mask of zeros)
// any other path under /api/[?delay=N]                       200 bytes of JSON, after N milliseconds
#include "pattern.hpp"

#include <mgw/http/range.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/run_until_signal.hpp>
#include <mgw/proxy/server.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace {

std::uint64_t number(std::string_view text) {
  std::uint64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}
std::string_view parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    auto const one = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), one.size() + 1));
    if (one.starts_with(name) && one.substr(name.size()).starts_with('=')) return one.substr(name.size() + 1);
  }
  return {};
}

// One worker: nothing here is shared between threads.
struct state {
  std::uint64_t requests = 0, artifact_requests = 0, artifact_bytes = 0;
  std::set<std::string, std::less<>> cut;
  std::string scheme;
  std::map<std::string, std::string_view, std::less<>> files;
};

class origin {
public:
  origin(std::string scheme, std::map<std::string, std::string_view, std::less<>> files)
      : state_(std::make_shared<state>()) {
    state_->scheme = std::move(scheme);
    state_->files = std::move(files);
  }

  asio::awaitable<void> operator()(mgw::proxy::exchange& x) const {
    std::string_view const path = x.target().path;
    if (path == "/counters") return counters(x);
    ++state_->requests;
    if (path.starts_with("/artifacts/")) return artifact(x);
    if (path.ends_with("/deployments/next")) return deployment(x);
    if (path.ends_with("/deviceconnect/connect") && x.request().fields.contains("Upgrade")) return echo(x);
    return api(x);
  }

private:
  static asio::awaitable<void> api(mgw::proxy::exchange& x) {
    if (auto const delay = number(parameter(x.target().query, "delay")); delay != 0) {
      asio::steady_timer timer(x.worker().io.get_executor());
      timer.expires_after(std::chrono::milliseconds(delay));
      std::error_code ignored;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    static std::string const answer = "{\"text\":\"" + std::string(189, 'x') + "\"}";
    (void)co_await x.respond(200, "application/json", answer);
  }
  static asio::awaitable<void> echo(mgw::proxy::exchange& x) {
    x.start(101);
    x.field("Connection", "Upgrade");
    x.field("Upgrade", "websocket");
    x.field("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");  // of the key that mgw-bench-load sends
    x.end_head({});
    x.close_after();
    std::error_code const ec = co_await x.finish();
    if (ec) co_return;
    std::string in(x.take_unread()), out;
    std::array<char, 4096> block;
    for (;;) {
      constexpr std::size_t head = 6;  // with the mask
      while (in.size() >= head && in.size() >= head + (in[1] & 0x7f)) {
        auto const size = static_cast<std::size_t>(in[1] & 0x7f);
        out.append(1, in[0]).append(1, static_cast<char>(size)).append(in, head, size);
        in.erase(0, head + size);
      }
      for (std::string_view left = out; !left.empty();) {
        asio::const_buffer const one(left.data(), left.size());
        mgw::const_buffers const bytes(&one, 1);
        mgw::io_result const w = co_await x.stream().write_some(bytes);
        if (w.ec) co_return;
        left.remove_prefix(w.n);
      }
      out.clear();
      mgw::io_result const r = co_await x.stream().read_some(asio::buffer(block));
      if (r.n == 0) co_return;
      in.append(block.data(), r.n);
    }
  }
  asio::awaitable<void> counters(mgw::proxy::exchange& x) const {
    std::string const answer = "{\"requests\":" + std::to_string(state_->requests) +
                               ",\"artifact_requests\":" + std::to_string(state_->artifact_requests) +
                               ",\"artifact_bytes\":" + std::to_string(state_->artifact_bytes) + "}";
    (void)co_await x.respond(200, "application/json", answer);
  }
  asio::awaitable<void> deployment(mgw::proxy::exchange& x) const {
    std::string_view const query = x.target().query;
    std::string link = state_->scheme + "://";
    link.append(x.request().fields.value("Host")).append("/artifacts/").append(parameter(query, "size"));
    link.append("/").append(parameter(query, "name")).append("?").append(query);
    std::string const answer = "{\"id\":\"bench\",\"artifact\":{\"artifact_name\":\"bench\",\"source\":{\"uri\":\"" +
                               link +
                               "\",\"expire\":\"2099-01-01T00:00:00Z\"},\"device_types_compatible\":[\"bench\"]}}";
    (void)co_await x.respond(200, "application/json", answer);
  }

  asio::awaitable<void> artifact(mgw::proxy::exchange& x) const {
    std::string_view const rest = x.target().path.substr(std::string_view("/artifacts/").size());
    auto const file = state_->files.find(parameter(x.target().query, "file"));
    bool const is_file = file != state_->files.end();
    std::uint64_t const size = is_file ? file->second.size() : number(rest);
    std::string const etag = "\"" + std::string(rest) + "\"";
    std::uint64_t const rate = number(parameter(x.target().query, "rate"));
    auto const cut_text = parameter(x.target().query, "cut");
    std::uint64_t at = 0, end = size;
    ++state_->artifact_requests;
    auto const range = mgw::http::parse_range(x.request().fields.value("Range"));
    auto const if_range = x.request().fields.value("If-Range");
    bool const partial = range && range->first && *range->first < size && (if_range.empty() || if_range == etag);
    if (partial) {
      at = *range->first;
      if (range->last) end = std::min(size, *range->last + 1);
    }
    x.start(partial ? 206 : 200);
    x.field("Content-Type", "application/octet-stream");
    x.field("Accept-Ranges", "bytes");
    x.field("ETag", etag);
    if (partial)
      x.field("Content-Range",
              "bytes " + std::to_string(at) + "-" + std::to_string(end - 1) + "/" + std::to_string(size));
    mgw::http::framing framing;
    framing.kind = mgw::http::body_kind::length;
    framing.length = end - at;
    x.end_head(framing);
    std::uint64_t stop = end;
    if (!cut_text.empty() && state_->cut.emplace(rest).second) stop = std::min(end, at + number(cut_text));

    // At a rate, pieces of 10 ms; what a late timer costs is caught up.
    auto const begun = std::chrono::steady_clock::now();
    asio::steady_timer timer(x.worker().io.get_executor());
    std::uint64_t const first = at;
    std::uint64_t const most = rate != 0 ? std::max<std::uint64_t>(1, rate / 100) : 2 * bench::pattern_size;
    while (x.request().method == "GET" && at < stop) {
      if (rate != 0) {
        auto const due = begun + std::chrono::nanoseconds((at - first) * 1'000'000'000 / rate);
        timer.expires_at(due);
        std::error_code ignored;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      }
      auto const piece = std::min({stop - at, most, std::uint64_t{2 * bench::pattern_size}});
      char const* const from = is_file ? file->second.data() + at : bench::pattern().data() + at % bench::pattern_size;
      std::string_view const bytes(from, static_cast<std::size_t>(piece));
      std::error_code const ec = co_await x.write(bytes);
      if (ec) co_return;
      at += piece;
      state_->artifact_bytes += piece;
    }
    if (stop != end) {
      x.abort();
      co_return;
    }
    (void)co_await x.finish();
  }

  std::shared_ptr<state> state_;
};

std::string_view map_file(char const* path) {
  int const fd = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat about{};
  if (fd < 0 || ::fstat(fd, &about) != 0) throw std::system_error(errno, std::generic_category(), path);
  auto const size = static_cast<std::size_t>(about.st_size);
  void* const at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (at == MAP_FAILED) throw std::system_error(errno, std::generic_category(), path);
  return {static_cast<char const*>(at), size};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) return std::fprintf(stderr, "mgw-bench-origin CERT KEY [LISTEN [FILE...]]\n"), 2;
  auto const address = mgw::net::parse_listen_address(argc > 3 ? argv[3] : "127.0.0.1:0");
  if (!address) return std::fprintf(stderr, "LISTEN is not understood\n"), 2;
  bool const tls = std::string_view(argv[1]) != "-";
  std::map<std::string, std::string_view, std::less<>> files;
  for (int i = 4; i < argc; ++i) files[std::filesystem::path(argv[i]).filename()] = map_file(argv[i]);
  std::signal(SIGPIPE, SIG_IGN);
  mgw::net::worker_pool workers(1);
  mgw::proxy::server<origin> server(workers, {}, origin(tls ? "https" : "http", std::move(files)));
  std::optional<mgw::net::tls_context> identity;
  if (tls) identity = mgw::net::tls_context::server({argv[1], argv[2]});
  auto const bound = server.listen(*address, std::move(identity));
  std::printf("%d\n", bound.port());
  std::fflush(stdout);
  mgw::proxy::run_until_signal(workers, std::chrono::seconds(1), server);
} catch (std::exception const& e) {
  return std::fprintf(stderr, "mgw-bench-origin: %s\n", e.what()), 1;
}
