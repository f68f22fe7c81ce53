// A gateway of your own in sixty lines: an API is relayed, everything under /files/ is fetched once and then served from
// a local cache, whoever asks first, however often the upstream link breaks.
//   custom_gateway CERT KEY UPSTREAM_URL CACHE_DIRECTORY [LISTEN]
#include <mgw/cache/disk_store.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/proxy/forward.hpp>
#include <mgw/proxy/router.hpp>
#include <mgw/proxy/run_until_signal.hpp>
#include <mgw/proxy/server.hpp>
#include <mgw/proxy/tee_to_cache.hpp>

#include <cstdio>
#include <exception>
#include <string>

using store = mgw::cache::disk_store;

// Serves /files/… from the cache; on a miss from the same path upstream.
struct cached_files {
  mgw::proxy::tee_to_cache<store>* cache;
  std::string upstream;
  cached_files(mgw::proxy::tee_to_cache<store>& c, std::string u) : cache(&c), upstream(std::move(u)) {}
  asio::awaitable<void> operator()(mgw::proxy::exchange& x) const { return cache->serve_from(x, upstream); }
};

int main(int argc, char** argv) try {
  if (argc < 5) return std::fprintf(stderr, "custom_gateway CERT KEY UPSTREAM_URL CACHE_DIRECTORY [LISTEN]\n"), 2;
  std::string const upstream = argv[3];
  auto const base = mgw::http::parse_uri(upstream);
  auto const address = mgw::net::parse_listen_address(argc > 5 ? argv[5] : "127.0.0.1:8443");
  if (!base || !address) return std::fprintf(stderr, "UPSTREAM_URL or LISTEN is not understood\n"), 2;

  mgw::net::worker_pool workers;
  store::options where;
  where.path = argv[4];
  store files(where);
  mgw::upstream::pool_set upstreams(workers, mgw::net::tls_context::client({}));
  mgw::proxy::tee_to_cache<store> cache(files, upstreams, {});

  mgw::proxy::forward_options api;
  api.upstream = mgw::upstream::endpoint(*base);
  api.host = base->authority;
  mgw::proxy::router routes(mgw::proxy::when(mgw::route::prefix("/files"), cached_files(cache, upstream)),
                            mgw::proxy::when(mgw::route::prefix("/api"), mgw::proxy::forward(upstreams, api)));

  mgw::proxy::server server(workers, {}, std::move(routes));
  auto const bound = server.listen(*address, mgw::net::tls_context::server({argv[1], argv[2]}));
  std::printf("custom_gateway listening on https://%s:%d\n", bound.address().to_string().c_str(), bound.port());
  std::fflush(stdout);
  mgw::proxy::run_until_signal(workers, std::chrono::seconds(30), server, cache, upstreams);
} catch (std::exception const& e) {
  return std::fprintf(stderr, "custom_gateway: %s\n", e.what()), 1;
}
