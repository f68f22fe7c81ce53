// Compiled once for all tests: what serves and fetches takes longest of all to compile.
#include <support/gateway_fixture.hpp>

namespace mgw::test {

gateway::gateway(std::size_t threads, upstream::pool_options pools, net::client_tls const& trust)
    : workers(threads), upstreams(workers, net::tls_context::client(trust), pools) {}
gateway::~gateway() {
  stop();
}
std::uint16_t gateway::start(any_handler handler, proxy::server_options options, std::optional<net::tls_context> tls) {
  options.observer = [this, also = std::move(options.observer)](proxy::exchange const& x) {
    if (also) also(x);
    record r;
    r.status = x.head_sent() ? x.status() : 0;
    r.finished = x.finished();
    r.failure = x.notes().failure;
    r.cache = x.notes().cache;
    std::lock_guard const lock(mutex_);
    records_.push_back(std::move(r));
  };
  server_.emplace(workers, std::move(options), std::move(handler), log.sink());
  port_ = server_->listen({asio::ip::address_v4::loopback(), 0}, std::move(tls)).port();
  thread_ = std::thread([this] { workers.run(); });
  return port_;
}
void gateway::stop(std::function<void()> const& between) {
  if (!thread_.joinable()) return;
  workers.stop();
  thread_.join();
  server_->close();
  if (between) between();
  upstreams.close();
  workers.clear();
}

template <class Rig>
basic_caching_gateway<Rig>::basic_caching_gateway(std::filesystem::path const& directory,
                                                  std::string const& origin_authority,
                                                  basic_caching_options<Rig> options)
    : base_((options.trust.ca_file.empty() ? "http://" : "https://") + origin_authority),
      gateway_(options.threads, options.pools, options.trust) {
  store_settings s(directory, options.max_size);
  s.log = gateway_.log.sink();
  s.ops = options.ops;
  rig_.emplace(s);
  options.tee.fetch.log = gateway_.log.sink();
  if (options.store)
    tee_.emplace(rig_->store, gateway_.upstreams, std::move(options.tee));
  else
    tee_.emplace(gateway_.upstreams, std::move(options.tee));
  any_handler handler = [this](proxy::exchange& x) { return answer(*this, x); };
  if (options.handler) handler = options.handler(*this);
  gateway_.start(std::move(handler));
}
template <class Rig>
basic_caching_gateway<Rig>::~basic_caching_gateway() {
  stop();
}
template <class Rig>
asio::awaitable<void> basic_caching_gateway<Rig>::serve(proxy::exchange& x, cache::key key,
                                                        proxy::fetch_source source) {
  co_await tee_->serve(x, key, std::move(source));
}
template <class Rig>
asio::awaitable<void> basic_caching_gateway<Rig>::serve_from_origin(proxy::exchange& x) {
  co_await tee_->serve_from(x, base_);
}
template <class Rig>
bool basic_caching_gateway<Rig>::suspend() {
  tee_->stop();
  return eventually([this] { return tee_->idle(); });
}
template <class Rig>
void basic_caching_gateway<Rig>::stop() {
  gateway_.stop([this] { tee_->close(); });
}
template <class Rig>
asio::awaitable<void> basic_caching_gateway<Rig>::answer(basic_caching_gateway& self, proxy::exchange& x) {
  std::string const target(x.request().target);
  auto const other = x.request().fields.value("X-Source");
  auto const issued = x.request().fields.value("X-Issued");
  proxy::fetch_source source;
  source.url = self.base_ + (other.empty() ? target : std::string(other));
  source.issued = issued.empty() ? 4'000'000'000 : std::atoll(std::string(issued).c_str());
  if (auto const link = x.request().fields.value("X-Link"); !link.empty()) {
    source.link.emplace();
    std::copy_n(link.begin(), std::min(link.size(), source.link->bytes.size()), source.link->bytes.begin());
    source.link_ends = 4'000'000'000;
  }
  cache::key const key = self.key_of(target);
  co_await self.tee_->serve(x, key, std::move(source));
}

template class basic_caching_gateway<disk_rig>;
template class basic_caching_gateway<memory_rig>;
template class basic_caching_gateway<own_rig>;

}  // namespace mgw::test
