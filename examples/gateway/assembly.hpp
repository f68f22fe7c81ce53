#pragma once

#include "access_log.hpp"
#include "audit/trail.hpp"
#include "client_certificates.hpp"
#include "config/address_list.hpp"
#include "config/certificate_facts.hpp"
#include "config/settings.hpp"
#include "control/cache_access.hpp"
#include "control/cache_service.hpp"
#include "control/server.hpp"
#include "control/socket_path.hpp"
#include "health.hpp"
#include "imports/stand_ins.hpp"
#include "inflate.hpp"
#include "lifecycle/certificate_ends.hpp"
#include "lifecycle/inherited_sockets.hpp"
#include "lifecycle/reloads.hpp"
#include "lifecycle/server_certificate.hpp"
#include "lifecycle/service_manager.hpp"
#include "lifecycle/supervision.hpp"
#include "lifecycle/upstream_seen.hpp"
#include "listening.hpp"
#include "logging/level_signals.hpp"
#include "logging/logging.hpp"
#include "metrics/gateway_facts.hpp"
#include "metrics/listener.hpp"
#include "metrics/process_counts.hpp"
#include "metrics/request_counts.hpp"
#include "metrics/text.hpp"
#include "open_cache.hpp"
#include "periodic.hpp"
#include "private_host_warning.hpp"
#include "routes.hpp"
#include "state.hpp"
#include "status/part.hpp"
#include "status/problem_list.hpp"
#include "upstream_settings.hpp"
#include "verifier/child_verifier.hpp"
#include "verifier/configured.hpp"
#include "verifier/probe.hpp"
#include "views.hpp"

#include <mgw/cache/disk_store.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/artifact_route.hpp>
#include <mgw/mender/device_relay.hpp>
#include <mgw/mender/error_body.hpp>
#include <mgw/mender/own_copies.hpp>
#include <mgw/mender/tenants.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/own_addresses.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/call_pace.hpp>
#include <mgw/proxy/client_room.hpp>
#include <mgw/proxy/peer_info.hpp>
#include <mgw/proxy/run_until_signal.hpp>
#include <mgw/proxy/server.hpp>
#include <mgw/proxy/tee_to_cache.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/pool.hpp>
#include <mgw/upstream/pool_set.hpp>
#include <mgw/upstream/proxy_rules.hpp>
#include <mgw/upstream/rate_limit.hpp>
#include <mgw/upstream/rate_windows.hpp>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>

#include <boost/json/object.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

/// The gateway put together: workers, store, upstream connections, links, cache, routes, listeners.
class assembly {
public:
  /// Opens everything, listeners included, those apart that are handed over. Throws config_error, std::system_error, net's
  /// and the store's errors.
  assembly(settings const& s, mgw::log_sink log, inherited_sockets sockets = {}) : log_(noted(std::move(log))), trusted_(trusted_proxies(s)) {
    auto const upstream = mgw::http::parse_uri(s.upstream.url);
    if (!upstream)
      throw config_error("UPSTREAM_SERVER_URL (UpstreamServer.URL) is \"" + s.upstream.url + "\"; accepted: an http:// or https:// URL");
    limit_ = link_limit(s);
    if (!s.audit.path.empty())
      trail_ = std::make_unique<audit::trail>(s, trusted_, log_, [this](auto const& k) { return store_ ? store_->about(k) : std::nullopt; },
                                              log_always);
    workers_ = std::make_unique<mgw::net::worker_pool>(s.workers);
    requests_ = std::make_unique<request_counts>(workers_->size());
    if (s.admin.enabled) status_ = std::make_unique<status::part>(workers_->size(), problems_);
    links_ = std::make_unique<mgw::mender::link_sealer>(secrets_of_links(s));
    mgw::net::client_tls trust;
    trust.ca_file = s.upstream.ca_certificate;
    trust.insecure_skip_verify = s.upstream.insecure_skip_verify;
    upstreams_ = std::make_unique<mgw::upstream::pool_set>(*workers_, mgw::net::tls_context::client(trust),
                                                           pool_options(s, *upstream));
    auto const tee = tee_options(s);
    if (keeps_artifacts(s)) {
      report_verifier(s);
      store_ = open_cache(s, log_);
    }
    if (store_) {
      if (s.cache.max_age.count() != 0)
        expiry_ = std::make_unique<periodic>(std::clamp<std::chrono::milliseconds>(s.cache.max_age / 10, std::chrono::seconds(1), std::chrono::hours(1)),
                                             [objects = store_.get()] { (void)objects->expire(); });
      cache_ = std::make_unique<cache_handler>(*store_, *upstreams_, tee);
      stand_in_options imports;
      imports.fetch = tee.fetch;
      stand_ins_ = std::make_unique<stand_ins>(*store_, *upstreams_, cache_->counters(), std::move(imports));
    } else {
      cache_ = std::make_unique<cache_handler>(*upstreams_, tee);
    }
    mgw::mender::own_copy_options own;
    own.max_object = s.proxy.max_configuration;
    own.max_size = s.proxy.max_configurations;
    own_ = std::make_unique<mgw::mender::own_copies>(*upstreams_, tee, own);
    if (s.mtls.enabled)
      certificates_ = std::make_unique<client_certificates>(s, *upstreams_, management_options(s, *upstream), log_, trail_.get());
    relay_.emplace(*upstreams_, *links_, relay_options(s, *upstream));
    health_.emplace(*upstreams_, health_options(s, *upstream));
    server_ = std::make_unique<mgw::proxy::server<routes>>(
        *workers_, server_options(s),
        routes(*relay_,
               mgw::mender::artifact_route<store>(*links_, *cache_, *own_), *health_,
               without_tls(s), trail_.get()),
        log_);
    views_.emplace(seen(s));
    if (s.https.enabled) {
      certificate_ = std::make_unique<server_certificate>(s, certificates_ ? certificates_->gate() : nullptr, log_);
      listen("https://", "HTTPS_LISTEN (HTTPS.Listen)", s.https.listen, sockets.take("https"), certificate_->context());
    }
    if (s.http.enabled) listen("http://", "HTTP_LISTEN (HTTP.Listen)", s.http.listen, sockets.take("http"), std::nullopt);
    watch_files(s);
    if (store_) take_commands(s);
    if (s.metrics.enabled) tell_metrics(s, sockets.take("metrics"));
    if (status_) show_status(s, sockets.take("admin"));
  }
  assembly(assembly const&) = delete;
  assembly& operator=(assembly const&) = delete;
  /// Addresses that are really bound: `https://127.0.0.1:8443`.
  std::vector<std::string> const& addresses() const noexcept { return addresses_; }
  /// Where metrics are told; nothing: nowhere.
  std::optional<asio::ip::tcp::endpoint> const& metrics_address() const noexcept { return metrics_.bound(); }
  /// Where the status page is; nothing: nowhere.
  std::optional<asio::ip::tcp::endpoint> status_address() const {
    return status_ ? status_->bound() : std::optional<asio::ip::tcp::endpoint>();
  }
  /// Serves until SIGTERM or SIGINT, then ends what is being served, for at most `limit`. Where the cache's disk does not
  /// answer at the end, either, it calls `stuck`, which must end the process at once: nothing can be destroyed.
  /// `manager` is told how things stand.
  void run(std::chrono::milliseconds limit, std::function<void()> stuck, service_manager& manager) {
    supervision tells(manager, *workers_, [this](bool draining) { return views_->status_line(draining); }, limit);
    reloads_.announce([&manager] { manager.reloading(); }, [&manager] { manager.ready(); });
    closed_part<reloads> again{&reloads_, stuck};
    closed_part<client_certificates> certificates{certificates_.get(), stuck};
    closed_part<audit::trail> trail{trail_.get(), stuck};  // the last to end: all others report to it
    cache_part cache{*this, std::move(stuck)};
    status_part page{status_.get()};
    level_signals levels(*workers_, [this](auto from, auto to, auto by) {
      if (trail_) trail_->log_level_set(name_of(from), name_of(to), by);
    });
    reloads_.watch(*workers_);
    // What watches files speaks to the server and to client certificates, so it ends first.
    mgw::proxy::run_until_signal(*workers_, limit, tells, page, again, certificates, *server_, metrics_, cache, *own_, *upstreams_, control_, levels, trail);
  }
  /// What a SIGHUP reads anew. To be added to before run().
  reloads& at_hangup() noexcept { return reloads_; }
  /// Null: none is kept.
  audit::trail* trail() const noexcept { return trail_.get(); }
  mgw::proxy::fetch_counters const& fetched() const { return cache_->counters(); }
  /// The same, for what is not shared.
  mgw::proxy::fetch_counters const& fetched_for_one() const { return own_->cache().counters(); }

private:
  /// The cache's handler, and what else works on its disk: all of it ends, or the process does.
  struct cache_part {
    assembly& all;
    std::function<void()> stuck;
    void drain() { all.cache_->drain(); }
    void stop() { all.cache_->stop(); }
    bool idle() const { return all.cache_->idle(); }
    void close() {
      constexpr std::chrono::seconds last_flushes(5);
      bool const ended = all.cache_->close_for(last_flushes) && all.control_.close_for(last_flushes) &&
                         (!all.expiry_ || all.expiry_->stop_for(last_flushes));
      if (!ended) stuck();
    }
  };

  /// What only has to be closed, where there is one.
  template <class One>
  struct closed_part {
    One* one;
    std::function<void()> stuck;
    void drain() noexcept {}
    void stop() noexcept {}
    bool idle() const noexcept { return true; }
    void close() {
      if (one != nullptr && !one->close_for(std::chrono::seconds(5))) stuck();
    }
  };

  struct status_part {
    status::part* one;  // null: there is none
    void drain() {
      if (one != nullptr) one->drain();
    }
    void stop() noexcept {}
    bool idle() const noexcept { return one == nullptr || one->idle(); }
    void close() {
      if (one != nullptr) one->close();
    }
  };
  looked_at seen(settings const& s) {
    looked_at o;
    o.server = server_.get();
    o.workers = workers_->size();
    o.cache = cache_.get();
    o.own = own_.get();
    o.relay = &*relay_;
    o.ready = &*health_;
    o.upstream = &upstream_;
    o.ends = &ends_;
    o.addresses = &addresses_;
    o.objects = store_.get();
    o.limit = limit_.get();
    if (certificates_) o.management = management_.get();
    if (status_) o.kept = &status_->kept();
    o.upstream_url = s.upstream.url;
    o.max_connections = s.limits.max_connections;
    o.cache_wanted = keeps_artifacts(s);
    return o;
  }

  static routes::plain without_tls(settings const& s) {
    if (!s.mtls.enabled || s.mtls.plain_serves_devices) return routes::plain::everything;
    return s.proxy.gateway_url.starts_with("http://") ? routes::plain::artifacts : routes::plain::health;
  }

  mgw::mender::management_options management_options(settings const& s, mgw::http::uri const& upstream) const {
    auto o = management_account(s, upstream);
    o.exchange.limit = limit_;
    o.answered = [counts = management_.get()](int status) { counts->count(status); };
    o.log = log_;
    return o;
  }

  void tell_metrics(settings const& s, std::vector<int> const& sockets) {
    ends_.note("server", s.https.enabled ? s.https.certificate : std::string());
    ends_.note("client_ca", s.mtls.enabled ? s.mtls.ca_certificate : std::string());
    metrics_.listen(*workers_, "METRICS_LISTEN (Metrics.Listen)", s.metrics.listen,
                    [this](metrics_text& out) {
                      requests_->write(out);
                      write_facts(out, views_->facts());
                      write_process(out);
                    },
                    log_, sockets);
  }
  /// What the status page calls a problem is what is logged as one.
  mgw::log_sink noted(mgw::log_sink log) const {
    return [problems = problems_, log = std::move(log)](mgw::log_level level, std::string_view text) {
      problems->note(level, text, std::time(nullptr));
      if (log) log(level, text);
    };
  }
  void show_status(settings const& s, std::vector<int> const& sockets) {
    status::part::sources from;
    from.look = [this] { return views_->moment(); };
    from.upstream_bytes = [this] { return views_->upstream_bytes(); };
    from.probe = [this] {
      auto& w = workers_->worker(0);
      asio::co_spawn(w.io, health_->upstream_trouble(w), asio::detached);
    };
    status_->listen(*workers_, s, std::move(from), log_, sockets);
    if (auto const& at = status_->bound()) listening_.add(*at);
  }
  /// What is read anew without a restart, beside the configuration.
  void watch_files(settings const& s) {
    if (certificate_)
      certificate_->watch(
          reloads_, [this](mgw::net::tls_context const& c) { server_->renew(c); },
          [this, file = s.https.certificate](std::string_view trouble, std::string_view what) {
            if (trouble.empty()) ends_.note("server", file);
            if (trail_) trail_->certificate_read(trouble, what);
          });
    if (certificates_)
      certificates_->watch(reloads_, [this, file = s.mtls.ca_certificate] {
        ends_.note("client_ca", file);
        server_->judge_clients(certificates_->gate());
      });
  }

  /// On the address, or on sockets that are there.
  void listen(std::string const& scheme, std::string const& key, std::string const& address, std::vector<int> const& sockets,
              std::optional<mgw::net::tls_context> const& tls) {
    for (int const one : sockets) bound_to(scheme, server_->listen(one, tls));
    if (!sockets.empty()) return;
    auto const where = mgw::net::parse_listen_address(address);
    if (!where) throw config_error(key + " is \"" + address + "\"; accepted: [HOST]:PORT, such as :443 or 127.0.0.1:8443");
    auto const bound = [&] {
      try {
        return server_->listen(*where, tls);
      } catch (std::system_error const& e) {
        throw std::runtime_error(listen_trouble(key, address, where->port(), e.code()));
      }
    }();
    bound_to(scheme, bound);
  }
  void bound_to(std::string const& scheme, asio::ip::tcp::endpoint const& bound) {
    listening_.add(bound);
    std::string const host = bound.address().is_v6() ? '[' + bound.address().to_string() + ']' : bound.address().to_string();
    addresses_.push_back(scheme + host + ':' + std::to_string(bound.port()));
  }

  /// `mgw-gateway cache …` finds us from here on.
  void take_commands(settings const& s) {
    commands_.emplace(*store_, cache_->book(), cache_path(s), configured_verifier(s), [this] { return described(cache_->counters()); });
    control_.listen(control_socket_path(s.state_directory));
  }

  boost::json::object described(mgw::proxy::fetch_counters const& fetched) const {
    return {{"hits", requests_->downloads("hit")},
            {"joined", requests_->downloads("joined")},
            {"misses", requests_->downloads("miss")},
            {"bypassed", requests_->downloads("bypass")},
            {"upstream_bytes", fetched.first_time_bytes.load() + fetched.again_bytes.load()},
            {"again_bytes", fetched.again_bytes.load()}};
  }

  boost::json::object obey(cache_request const& request, int file, step_function const& step) {
    auto answer = commands_->run(request, file, step);
    if (std::string const line = log_text(request, answer); !line.empty()) log_(mgw::log_level::info, line);
    if (trail_) trail_->commanded(request, answer);
    return answer;
  }

  /// A gateway that only forwards has no cache, whatever is said of one.
  static bool keeps_artifacts(settings const& s) { return s.proxy.enabled && s.cache.enabled; }
  static bool verifies(settings const& s) { return keeps_artifacts(s) && s.cache.verify != "off"; }
  /// A gateway that makes no links needs nothing that lasts.
  std::vector<std::string> secrets_of_links(settings const& s) const {
    return s.proxy.enabled || !s.cache.secret.empty() ? link_secrets(s, log_) : std::vector{mgw::mender::random_secret()};
  }
  /// Artifacts wait for a verifier that is not to be had now. That it cannot be had at all must not be found out by the
  /// first device; but nor is it a reason to take the device API from all of them.
  void report_verifier(settings const& s) const {
    std::string const why = verifies(s) ? verifier_trouble(configured_verifier(s)) : std::string();
    if (why.empty() || !log_) return;
    log_(mgw::log_level::error,
         "no artifact can be verified, and none is served: " + why +
             "; needed: a kernel and a container profile that allow seccomp, and processes to start; or set "
             "ARTIFACTS_PROXY_CACHE_VERIFY (Features.ArtifactsProxy.ArtifactsCache.Verify) to off");
  }

  static mgw::mender::domain_list allowed_hosts(settings const& s) {
    try {
      return mgw::mender::domain_list(s.proxy.whitelist);
    } catch (std::invalid_argument const& e) {
      throw config_error(std::string("ARTIFACTS_PROXY_DOMAIN_WHITELIST (Features.ArtifactsProxy.DomainWhitelist): ") + e.what() +
                         "; accepted: hosts or .suffixes, separated by commas or blanks");
    }
  }

  static address_list trusted_proxies(settings const& s) {
    auto list = address_list::parse(s.trusted_proxies);
    if (!list) throw config_error("TRUSTED_PROXIES (TrustedProxies) has what is neither an address nor a block of them");
    return *std::move(list);
  }

  mgw::proxy::server_options server_options(settings const& s) {
    mgw::proxy::server_options o;
    o.limits.fold_equal_hosts = true;
    // One field, or the target, may take all of the head but a KiB.
    auto const head = static_cast<std::size_t>(s.limits.max_head);
    std::size_t const less = o.limits.max_head - std::min(head, o.limits.max_head);
    o.limits.max_head -= less;
    o.limits.max_line -= less;
    o.limits.max_target -= less;
    o.max_connections = s.limits.max_connections;
    o.max_connections_per_peer = s.limits.max_connections_per_peer;
    o.make_room = [this] { return cache_->end_longest_held(); };
    o.error_type = "application/json; charset=utf-8";
    o.error_body = [](int status, mgw::proxy::exchange const& x) {
      return mgw::mender::error_body(mgw::http::reason_phrase(status), x.notes().request_id);
    };
    o.observer = [this, &proxies = trusted_](mgw::proxy::exchange const& x) {
      log_access(x, proxies);
      upstream_.count(x);
      requests_->count(x);
      if (status_) status_->kept().ended(x, std::time(nullptr));
      if (trail_) trail_->ended(x);
    };
    if (trail_) o.certificate_refused = [trail = trail_.get()](auto const& peer, auto why) { trail->certificate_refused(peer, why); };
    return o;
  }
  mgw::upstream::pool_options pool_options(settings const& s, mgw::http::uri const& upstream) {
    mgw::upstream::pool_options o;
    o.proxies = proxies(s);
    o.rules.is_self = [this](auto const& where) { return listening_.contains(where); };
    o.rules.home = mgw::upstream::endpoint(upstream);
    o.rules.refused = private_host_warning(log_);
    return o;
  }
  /// From HTTP_PROXY and its kin; null: none.
  std::shared_ptr<mgw::upstream::proxy_rules const> proxies(settings const& s) const {
    auto rules = http_proxies(s);
    if (!rules) return nullptr;
    log_(mgw::log_level::info,
         "servers are connected to through an HTTP proxy, which looks their names up: of hosts that artifacts come from, "
         "only those that are addresses themselves are told to be private");
    return rules;
  }
  mgw::proxy::tee_options tee_options(settings const& s) const {
    mgw::proxy::tee_options o;
    o.reader.hold = s.proxy.hold;
    o.reader.far_ahead = s.cache.far_ahead;
    std::size_t const connections = s.limits.max_connections;
    o.reader.max_held = s.proxy.max_held != 0 ? s.proxy.max_held : std::max<std::size_t>(1, connections * 6 / 10);
    o.max_clients = connections - connections / 8;  // the rest is for the API and for handshakes
    o.room = std::make_shared<mgw::proxy::client_room>(o.reader, o.max_clients);
    o.fetch.exchange.limit = limit_;
    o.fetch.abandoned = s.cache.when_abandoned == "suspend" ? mgw::proxy::when_abandoned::suspend : mgw::proxy::when_abandoned::finish;
    o.fetch.max_fills = s.cache.max_fills;
    o.fetch.max_pass_through = s.cache.max_pass_through;
    if (keeps_artifacts(s)) {
      o.ledger = ledger_of(s);
      o.ledger.judge = configured_judge(s);
    }
    o.fetch.log = log_;
    if (trail_) o.fetch.condemned = [trail = trail_.get()](auto const& k, auto why) { trail->condemned(k, why); };
    if (verifies(s)) o.fetch.verifier = artifact_verifiers(configured_verifier(s));
    o.fetch.reach = artifact_reach(s);
    if (!s.proxy.whitelist.empty())
      o.fetch.allows = [hosts = allowed_hosts(s), own = s.upstream.url](mgw::http::uri const& u) {
        return hosts.allows(u.host) || mgw::http::is_authority_of(u, mgw::http::parse_uri(own)->authority);
      };
    return o;
  }
  /// What the link to the upstream may carry, at any time; null: as much as it can.
  static std::shared_ptr<mgw::upstream::rate_limit> link_limit(settings const& s) {
    namespace up = mgw::upstream;
    if (s.upstream.rate_limit == 0 && s.upstream.rate_windows.empty()) return nullptr;
    std::uint64_t const otherwise = s.upstream.rate_limit != 0 ? s.upstream.rate_limit : up::unlimited;
    up::rate_windows windows;
    if (!s.upstream.rate_windows.empty()) {
      auto parsed = up::rate_windows::parse(s.upstream.rate_windows);
      if (!parsed) throw config_error("UPSTREAM_RATE_WINDOWS (UpstreamServer.RateWindows) is not understood");
      windows = *std::move(parsed);
    }
    up::rate_limit::options o;
    o.rate = [windows, otherwise] { return windows.empty() ? otherwise : windows.now().value_or(otherwise); };
    return std::make_shared<up::rate_limit>(std::move(o));
  }
  health::options health_options(settings const& s, mgw::http::uri const& upstream) const {
    health::options o;
    if (keeps_artifacts(s) && !store_) o.warnings.emplace_back("cache: its directory could not be used at start; it is off until the next one");
    if (certificates_ && certificates_->forgets())
      o.warnings.emplace_back("certificates: which is which device's is forgotten with this process");
    if (auto* const certificates = certificates_.get()) o.management_trouble = [certificates] { return certificates->trouble(); };
    o.upstream = mgw::upstream::endpoint(upstream);
    o.cache_trouble = [cache = cache_.get()] { return cache->hung() ? std::string("its disk does not answer") : std::string(); };
    if (trail_) o.unrecorded = [trail = trail_.get()] { return trail->refuses(); };
    if (auto* const page = status_.get()) {
      o.status_page_trouble = [page] { return page->trouble(); };
      o.found = [page](std::string const& trouble) {
        std::int64_t const now = std::time(nullptr);
        trouble.empty() ? page->kept().upstream().reached(now) : page->kept().upstream().failed(trouble, now);
      };
    }
    return o;
  }
  static mgw::mender::inventory_attributes system_attributes(settings const& s) {
    using mgw::mender::inventory_attribute;
    constexpr auto* system_id = "mender_gateway_system_id";
    mgw::mender::inventory_attributes all;
    if (!s.device_system.system_id.empty()) all.push_back(inventory_attribute::of_text(system_id, s.device_system.system_id));
    for (auto const& a : s.device_system.default_inventory)
      if (all.empty() || a.name != system_id) all.push_back(a);
    return all;
  }
  mgw::mender::relay_options relay_options(settings const& s, mgw::http::uri const& upstream) const {
    mgw::mender::relay_options o;
    o.forward.upstream = mgw::upstream::endpoint(upstream);
    o.forward.host = upstream.authority;
    o.forward.path_prefix = std::string(upstream.path.substr(0, upstream.path.find_last_not_of('/') + 1));
    o.forward.max_body = s.limits.max_body;
    o.forward.tunnel_silence = s.limits.tunnel_silence;
    o.forward.exchange.limit = limit_;
    o.forward.trusts = [&proxies = trusted_](mgw::proxy::peer_info const& p) {
      return proxies.contains(p.address.address());
    };
    mgw::proxy::call_pace_options pace;
    pace.per_second = s.upstream.calls_per_second;
    o.pace = std::make_shared<mgw::proxy::call_pace>(std::move(pace));
    if (s.device_system.enabled) o.attributes = system_attributes(s);
    o.max_held_reports =
        s.limits.max_held_reports != 0 ? s.limits.max_held_reports : std::max<std::size_t>(1, s.limits.max_connections / 4);
    o.rewrite_links = s.proxy.enabled;
    o.gateway_url = s.proxy.gateway_url;
    auto const port = [](bool enabled, std::string const& listen) -> std::uint16_t {
      auto const where = mgw::net::parse_listen_address(listen);
      return enabled && where ? where->port() : std::uint16_t{0};
    };
    o.tls_port = port(s.https.enabled, s.https.listen);
    o.plain_port = port(s.http.enabled, s.http.listen);
    o.allowed_hosts = allowed_hosts(s);
    o.reach = artifact_reach(s);
    o.link_life = std::chrono::duration_cast<std::chrono::seconds>(s.cache.link_life);
    o.decode = inflate;
    o.seen_link = [cache = cache_.get()](mgw::cache::key const& k, mgw::proxy::fetch_source link) {
      cache->offer(k, std::move(link));
    };
    if (auto* const page = status_.get())
      o.offered = [page](mgw::cache::key const& k, mgw::mender::artifact_source const& from) {
        page->kept().offered(k, from.artifact_name, from.uri);
      };
    if (stand_ins_)
      o.stand_in = [imports = stand_ins_.get()](mgw::proxy::exchange& x, mgw::mender::artifact_source const& wanted) {
        return imports->find(x, wanted);
      };
    if (!s.allowed_tenants.empty()) {
      auto const gate = std::make_shared<mgw::mender::tenant_gate>(s.allowed_tenants, log_);
      o.admits = [gate, &proxies = trusted_, trail = trail_.get()](mgw::proxy::exchange const& x, std::optional<std::string_view> body) {
        std::string const behind = asked_for(x, proxies);
        std::string const client = behind.empty() ? x.peer().address.address().to_string() : behind;
        bool const admitted = gate->admits(body, client);
        if (!admitted && trail != nullptr) trail->tenant_refused(x, client, body);
        return admitted;
      };
    }
    if (auto* const certificates = certificates_.get()) {
      o.authorize = [certificates](mgw::proxy::exchange& x, std::string_view body) { return certificates->authorize(x, body); };
      o.refused = [certificates](mgw::proxy::exchange const& x, std::string_view body) { certificates->refused(x, body); };
    }
    if (auto* const trail = trail_.get())
      o.answered = [trail](auto const& x, auto const& said) { trail->authenticated(x, said); };
    o.log = log_;
    return o;
  }

  std::shared_ptr<status::problem_list> const problems_ = std::make_shared<status::problem_list>();
  mgw::log_sink log_;
  address_list const trusted_;
  std::unique_ptr<audit::trail> trail_;  // empty without an audit log; all that report to it come after it
  mgw::net::own_addresses listening_;
  std::shared_ptr<mgw::upstream::rate_limit> limit_;
  std::unique_ptr<mgw::net::worker_pool> workers_;
  std::unique_ptr<store> store_;
  std::unique_ptr<periodic> expiry_;
  std::unique_ptr<mgw::mender::link_sealer> links_;
  std::unique_ptr<mgw::upstream::pool_set> upstreams_;
  std::unique_ptr<cache_handler> cache_;
  std::unique_ptr<stand_ins> stand_ins_;  // empty without a cache
  std::unique_ptr<mgw::mender::own_copies> own_;
  std::unique_ptr<client_certificates> certificates_;  // empty without mTLS
  std::optional<mgw::mender::device_relay> relay_;
  std::optional<health> health_;
  std::unique_ptr<mgw::proxy::server<routes>> server_;  // all of these are closed by run()
  std::optional<views> views_;
  std::vector<std::string> addresses_;
  std::unique_ptr<request_counts> requests_;
  std::unique_ptr<management_counts> management_ = std::make_unique<management_counts>();
  certificate_ends ends_;
  upstream_seen upstream_;
  std::unique_ptr<server_certificate> certificate_;  // empty without TLS
  reloads reloads_{log_};
  metrics_listener metrics_;
  std::optional<cache_service> commands_;
  std::unique_ptr<status::part> status_;  // empty without a page; its thread asks all of these
  control_server control_{[this](auto const& request, int file, auto const& step) { return obey(request, file, step); }, log_};
};

}  // namespace gateway
