// The toolkit as a plain reverse proxy: any path and any method go to one upstream. With --cache every GET is taken for
// the download of a file that never changes: fetched once, whoever asks first, and from then on served from disk.
#include <mgw/cache/disk_store.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/proxy/forward.hpp>
#include <mgw/proxy/run_until_signal.hpp>
#include <mgw/proxy/server.hpp>
#include <mgw/proxy/tee_to_cache.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <string>

using store = mgw::cache::disk_store;
using cache_handler = mgw::proxy::tee_to_cache<store>;

// Relays a request; what only reads is served from the cache, if there is one. Not what is for one user alone.
struct reverse_proxy {
  mgw::proxy::forward relay;
  cache_handler* cache;  // null: none
  std::string root;      // what comes before a path upstream
  reverse_proxy(mgw::proxy::forward f, cache_handler* c, std::string r)
      : relay(std::move(f)), cache(c), root(std::move(r)) {}
  asio::awaitable<void> operator()(mgw::proxy::exchange& x) const {
    auto const& r = x.request();
    bool const personal = r.fields.contains("Authorization") || r.fields.contains("Cookie");
    bool const reads = r.method == "GET" || r.method == "HEAD";
    bool const cached = cache != nullptr && reads && !personal && !r.fields.contains("Upgrade");
    return cached ? cache->serve_from(x, root) : relay(x);
  }
};

int main(int argc, char** argv) try {
  std::string listen = "127.0.0.1:8080", upstream, certificate, key, authority, directory;
  mgw::proxy::server_options serving;
  CLI::App app("mgw-reverse-proxy: relays HTTP/1.1 to one upstream");
  app.add_option("--listen", listen, "address and port, such as :80; port 0 is any free one")->capture_default_str();
  app.add_option("--upstream", upstream, "the upstream's URL")->required();
  auto* const identity = app.add_option("--tls-cert", certificate, "serve TLS, with this certificate (PEM)");
  identity->needs(app.add_option("--tls-key", key, "and this private key (PEM)")->needs(identity));
  app.add_option("--upstream-ca", authority, "the roots to trust upstream (PEM), in place of the system's");
  app.add_option("--cache", directory, "keep what GET fetches in this directory");
  app.add_option("--max-connections", serving.max_connections, "of clients; each may need two descriptors")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  auto const address = mgw::net::parse_listen_address(listen);
  if (!address) return std::cerr << "--listen is \"" << listen << "\"; accepted: [HOST]:PORT\n", 2;
  auto const base = mgw::http::parse_uri(upstream);
  if (!base || base->has_query)
    return std::cerr << "--upstream is \"" << upstream << "\"; accepted: http:// or https://, a host and a path\n", 2;
  mgw::log_sink const log = [](mgw::log_level, std::string_view line) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  };

  mgw::net::worker_pool workers;
  mgw::upstream::pool_set upstreams(workers, mgw::net::tls_context::client(mgw::net::client_tls(authority)));
  mgw::proxy::forward_options to;
  to.upstream = mgw::upstream::endpoint(*base);
  to.host = base->authority;
  to.path_prefix = base->path.substr(0, base->path.find_last_not_of('/') + 1);
  to.any_path = to.path_prefix.empty();                     // nothing is matched here, so nothing can be mistaken
  to.max_body = std::numeric_limits<std::uint64_t>::max();  // what is streamed may be of any size

  store::options where;
  where.path = directory;
  std::optional<store> files;
  if (!directory.empty()) files.emplace(where, log);
  mgw::proxy::tee_options tee;
  tee.fetch.log = log;
  tee.fetch.allows = [&to](mgw::http::uri const& u) { return mgw::http::iequals(u.authority, to.host); };
  auto const cache =
      files ? std::make_unique<cache_handler>(*files, upstreams, tee) : std::make_unique<cache_handler>(upstreams, tee);
  reverse_proxy const handler(mgw::proxy::forward(upstreams, to), files ? cache.get() : nullptr,
                              (base->tls ? "https://" : "http://") + to.host + to.path_prefix);

  mgw::proxy::server server(workers, serving, handler, log);
  std::optional<mgw::net::tls_context> tls;
  if (!certificate.empty()) tls = mgw::net::tls_context::server({certificate, key});
  auto const bound = server.listen(*address, tls);
  std::cout << "mgw-reverse-proxy listening on " << (tls ? "https://" : "http://") << bound << std::endl;
  mgw::proxy::run_until_signal(workers, std::chrono::seconds(30), server, *cache, upstreams);
} catch (std::exception const& e) {
  return std::cerr << "mgw-reverse-proxy: " << e.what() << '\n', 1;
}
