#pragma once

#include "health.hpp"
#include "lifecycle/certificate_ends.hpp"
#include "lifecycle/upstream_seen.hpp"
#include "metrics/gateway_facts.hpp"
#include "routes.hpp"
#include "status/gather.hpp"
#include "status/keeper.hpp"
#include "status/moment.hpp"
#include "status/upstream_watch.hpp"

#include <mgw/mender/device_relay.hpp>
#include <mgw/mender/own_copies.hpp>
#include <mgw/proxy/server.hpp>
#include <mgw/upstream/rate_limit.hpp>
#include <mgw/version.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

namespace gateway {

/// The parts of a running gateway that are looked at. All outlive who looks.
struct looked_at {
  mgw::proxy::server<routes>* server = nullptr;
  std::size_t workers = 0;
  cache_handler* cache = nullptr;
  mgw::mender::own_copies* own = nullptr;
  mgw::mender::device_relay* relay = nullptr;
  health* ready = nullptr;
  upstream_seen const* upstream = nullptr;
  certificate_ends const* ends = nullptr;
  std::vector<std::string> const* addresses = nullptr;
  store* objects = nullptr;                       ///< null: there is no cache
  mgw::upstream::rate_limit* limit = nullptr;     ///< null: there is none
  management_counts const* management = nullptr;  ///< null: the management API is not called
  status::keeper* kept = nullptr;                 ///< null: there is no status page
  std::string upstream_url;
  std::size_t max_connections = 0;
  bool cache_wanted = false;
};

/// How a running gateway stands, as each of those who look at it wants it.
class views {
public:
  explicit views(looked_at of) : of_(std::move(of)) {}

  /// For the service manager. Any thread; waits for nothing.
  std::string status_line(bool draining) const {
    auto const some = [](std::size_t n, char const* one, char const* more) {
      return std::to_string(n) + (n == 1 ? one : more);
    };
    std::string const open = some(of_.server->connections(), " connection", " connections");
    if (draining) return "stopping; " + open + " left";
    std::string out = "serving";
    for (auto const& a : *of_.addresses) (out += ' ') += a;
    auto const upstream = of_.upstream->now();
    if (upstream != upstream_seen::state::not_asked)
      out += upstream == upstream_seen::state::reachable ? "; upstream reachable" : "; upstream away";
    return out + "; " + open + ", " +
           some(of_.cache->fills() + of_.own->cache().fills(), " artifact fetched", " artifacts fetched") + ", " +
           some(of_.cache->held(), " download held", " downloads held");
  }

  std::uint64_t again_bytes() const {
    return of_.cache->counters().again_bytes + of_.own->cache().counters().again_bytes;
  }
  std::uint64_t upstream_bytes() const {
    return of_.cache->counters().first_time_bytes + of_.own->cache().counters().first_time_bytes + again_bytes();
  }
  /// For the status page. Waits for the workers: not on their threads. Precondition: something is kept for it.
  status::moment moment() const {
    status::moment m;
    auto running = status::look_at(*of_.server, of_.workers, *of_.kept, std::chrono::milliseconds(500));
    m.now = std::time(nullptr);
    m.when = std::chrono::steady_clock::now();
    m.downloads = std::move(running.downloads);
    m.calls = std::move(running.calls);
    m.delivered = running.delivered;
    m.upstream_bytes = upstream_bytes();
    m.again_bytes = again_bytes();
    m.fills = status::fills_of(of_.cache->jobs());
    for (auto& f : status::fills_of(of_.own->cache().jobs())) m.fills.push_back(std::move(f));
    auto& r = m.about;
    r.version = MGW_VERSION;
    r.upstream.url = of_.upstream_url;
    auto const upstream = of_.kept->upstream().now();
    auto judged = of_.ready->judge(
        upstream.what == status::upstream_watch::state::unreachable ? upstream.reason : std::string(), false);
    r.ready = judged.reasons.empty();
    r.reasons = std::move(judged.reasons);
    r.warnings = std::move(judged.warnings);
    if (of_.limit != nullptr)
      if (auto const rate = of_.limit->rate(); rate != mgw::upstream::unlimited) r.link.limit = rate;
    r.link.held_downloads = of_.cache->held();
    r.link.held_reports = of_.relay->held_reports();
    r.connections = of_.server->connections();
    r.connection_limit = of_.max_connections;
    r.cache.enabled = of_.objects != nullptr;
    if (of_.cache->hung()) r.cache.trouble = "its disk does not answer";
    if (of_.cache_wanted && of_.objects == nullptr) r.cache.trouble = "its directory could not be used at start";
    if (of_.objects != nullptr) {
      auto const u = of_.objects->used();
      r.cache.size = u.bytes;
      r.cache.max_size = u.max_size;
      r.cache.pinned = u.pinned_bytes;
      r.cache.parts = u.parts;
      r.cache.objects = u.objects;
      m.objects = status::objects_of(*of_.objects);
    }
    return m;
  }
  /// For the metrics. Any thread; waits for nothing.
  gateway_facts facts() const {
    gateway_facts f;
    f.connections = of_.server->connections();
    f.connection_limit = of_.max_connections;
    f.accepted = of_.server->accepted();
    f.refused = of_.server->refused();
    f.accept_pauses = of_.server->pauses();
    auto const shaken = of_.server->handshakes();
    f.handshakes_done = shaken.done;
    f.handshakes_refused = shaken.refused;
    f.handshakes_failed = shaken.failed;
    f.held_downloads = of_.cache->held();  // own_ has the same room
    f.held_reports = of_.relay->held_reports();
    std::uint64_t const waiting = of_.cache->waiting_fills() + of_.own->cache().waiting_fills();
    std::uint64_t const all = of_.cache->fills() + of_.own->cache().fills();
    f.fills_waiting = waiting;
    f.fills_running = all - std::min(all, waiting);
    f.add(of_.cache->counters());
    f.add(of_.own->cache().counters());
    if (of_.objects != nullptr) {
      auto const u = of_.objects->used();
      f.cache = cache_facts{u.bytes,        u.objects, u.max_size,   u.min_free,
                            u.pinned_bytes, u.parts,   u.part_bytes, of_.cache->hung()};
    }
    f.management = of_.management;
    f.certificates = of_.ends->all();
    return f;
  }

private:
  looked_at of_;
};

}  // namespace gateway
