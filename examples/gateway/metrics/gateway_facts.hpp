#pragma once

#include "metrics/text.hpp"

#include <mgw/proxy/error_type.hpp>
#include <mgw/version.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// Calls of the management API, by how they ended. Rare, so all threads share it. Any thread.
class management_counts {
public:
  static constexpr std::array<std::string_view, 6> kinds = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
  /// `status`: 0 for no answer.
  void count(int status) noexcept {
    std::size_t const kind = status < 100 || status > 599 ? 0 : static_cast<std::size_t>(status) / 100;
    counts_[kind].fetch_add(1, std::memory_order_relaxed);
  }
  std::uint64_t of(std::size_t kind) const noexcept { return counts_[kind].load(std::memory_order_relaxed); }

private:
  std::array<std::atomic<std::uint64_t>, kinds.size()> counts_{};
};

/// How the cache on disk stands.
struct cache_facts {
  std::uint64_t bytes = 0, objects = 0, limit = 0, min_free = 0, pinned_bytes = 0, parts = 0, part_bytes = 0;
  bool hung = false;
};

/// What a scrape tells beside the requests: how things stand now, and what fills have done so far.
struct gateway_facts {
  // Devices.
  std::uint64_t connections = 0, connection_limit = 0, accepted = 0, refused = 0, accept_pauses = 0;
  std::uint64_t handshakes_done = 0, handshakes_refused = 0, handshakes_failed = 0;
  std::uint64_t held_downloads = 0, held_reports = 0;
  // What is fetched, for the cache and for single devices.
  std::uint64_t fills_running = 0, fills_waiting = 0;
  std::uint64_t fills = 0, fetch_requests = 0, fetch_faults = 0;
  std::uint64_t first_time_bytes = 0, again_bytes = 0;
  std::uint64_t verified = 0, condemned = 0, unverified = 0;
  std::array<std::uint64_t, mgw::proxy::upstream_error_types.size()> fetch_errors{};
  std::optional<cache_facts> cache;                                     ///< nothing: there is none
  management_counts const* management = nullptr;                        ///< null: it is not called
  std::vector<std::pair<std::string_view, std::int64_t>> certificates;  ///< what for, and when it ends, since 1970

  /// Adds what one cache has fetched.
  template <class Counters>
  void add(Counters const& c) noexcept {
    fills += c.fills.load();
    fetch_requests += c.requests.load();
    fetch_faults += c.faults.load();
    first_time_bytes += c.first_time_bytes.load();
    again_bytes += c.again_bytes.load();
    verified += c.verified.load();
    condemned += c.condemned.load();
    unverified += c.unverified.load();
    for (std::size_t e = 0; e != fetch_errors.size(); ++e) fetch_errors[e] += c.errors.of(e);
  }
};

/// The families of these.
inline void write_facts(metrics_text& out, gateway_facts const& f) {
  out.family("mgw_build_info", "gauge", "1; the labels say which program this is.");
  out.sample({{"version", MGW_VERSION}, {"compiler", __VERSION__}}, 1);
  out.single("mgw_connections", "gauge", "Connections of devices that are open.", f.connections);
  out.single("mgw_connections_limit", "gauge", "Connections that may be open (Limits.MaxConnections).",
             f.connection_limit);
  out.single("mgw_connections_accepted_total", "counter", "Connections of devices that were accepted.", f.accepted);
  out.single("mgw_connections_refused_total", "counter", "Connections that were closed at once because of a limit.",
             f.refused);
  out.single("mgw_accept_pauses_total", "counter",
             "How often accepting had to pause for want of descriptors or memory.", f.accept_pauses);
  out.family("mgw_tls_handshakes_total", "counter", "TLS handshakes of devices by how they ended.");
  out.sample({{"result", "done"}}, f.handshakes_done);
  out.sample({{"result", "refused"}}, f.handshakes_refused);
  out.sample({{"result", "failed"}}, f.handshakes_failed);
  out.family("mgw_held_requests", "gauge", "Requests that wait for the upstream or for what is fetched.");
  out.sample({{"kind", "download"}}, f.held_downloads);
  out.sample({{"kind", "status_report"}}, f.held_reports);
  out.family("mgw_fills", "gauge", "Artifacts that are being fetched, and those that wait in line for it.");
  out.sample({{"state", "running"}}, f.fills_running);
  out.sample({{"state", "waiting"}}, f.fills_waiting);
  out.single("mgw_fills_started_total", "counter", "Fetches of artifacts that were begun or gone on with.", f.fills);
  out.single("mgw_artifact_upstream_requests_total", "counter", "Requests for artifacts that were sent upstream.",
             f.fetch_requests);
  out.single("mgw_artifact_upstream_faults_total", "counter",
             "Tries to fetch an artifact that were followed by another try.", f.fetch_faults);
  out.family("mgw_artifact_upstream_bytes_total", "counter", "Bytes of artifacts that came over the upstream link.");
  out.sample({{"kind", "first_time"}}, f.first_time_bytes);
  out.sample({{"kind", "again"}}, f.again_bytes);
  out.family("mgw_artifact_upstream_errors_total", "counter", "Faults in fetching artifacts, by RFC 9209's names.");
  for (std::size_t e = 0; e != f.fetch_errors.size(); ++e)
    out.sample({{"error", mgw::proxy::upstream_error_types[e]}}, f.fetch_errors[e]);
  out.family("mgw_verifications_total", "counter", "Verdicts of the artifact verifier.");
  out.sample({{"verdict", "good"}}, f.verified);
  out.sample({{"verdict", "bad"}}, f.condemned);
  out.sample({{"verdict", "none"}}, f.unverified);
  if (f.cache) {
    auto const& c = *f.cache;
    out.single("mgw_cache_bytes", "gauge", "What the cache takes on disk, parts and what they have reserved included.",
               c.bytes);
    out.single("mgw_cache_limit_bytes", "gauge", "What it may take.", c.limit);
    out.single("mgw_cache_min_free_bytes", "gauge", "What it leaves free on its file system.", c.min_free);
    out.single("mgw_cache_pinned_bytes", "gauge", "What of it is pinned, and never evicted.", c.pinned_bytes);
    out.single("mgw_cache_objects", "gauge", "Whole artifacts in the cache.", c.objects);
    out.single("mgw_cache_parts", "gauge", "Artifacts that are there in part.", c.parts);
    out.single("mgw_cache_part_bytes", "gauge", "What these take.", c.part_bytes);
    out.single("mgw_cache_hung", "gauge", "1 while the cache's disk does not answer and is passed by.", c.hung ? 1 : 0);
  }
  if (f.management != nullptr) {
    out.family("mgw_management_calls_total", "counter", "Calls of the management API by the class of their status.");
    for (std::size_t k = 0; k != management_counts::kinds.size(); ++k)
      out.sample({{"status", management_counts::kinds[k]}}, f.management->of(k));
  }
  if (!f.certificates.empty()) {
    out.family("mgw_certificate_expiry_timestamp_seconds", "gauge", "When a certificate ends, in seconds since 1970.");
    for (auto const& [what, when] : f.certificates) out.sample({{"certificate", what}}, when);
  }
}

}  // namespace gateway
