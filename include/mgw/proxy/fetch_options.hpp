#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/cache/link_id.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/seldom.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/proxy/body_verifier.hpp>
#include <mgw/proxy/error_type.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/endpoint.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::proxy {

/// Where an object can be had: a link and the fields that go with it. Links of one object differ in their signatures.
struct fetch_source {
  std::string url;
  cache::header_list headers;
  std::int64_t issued = 0;  ///< unix seconds; the newest is used
  std::optional<cache::link_id> link;  ///< the client's own link, if it has one: what it begins with, it gets the rest of
  std::int64_t link_ends = 0;          ///< unix seconds: until when it may be resumed
  bool one_link_only = false;          ///< other bytes may come each time: nothing is resumed but what this link began
  fetch_source() = default;
  fetch_source(std::string u, cache::header_list h, std::int64_t t) : url(std::move(u)), headers(std::move(h)), issued(t) {}
};

/// What becomes of a fill that nobody follows any more.
enum class when_abandoned : std::uint8_t {
  finish,   ///< it goes on to the end
  suspend,  ///< it leaves the link; what is there is kept, and the next reader goes on with it
};

struct fetch_options {
  upstream::exchange_options exchange;  ///< its `limit` governs all that is fetched
  bool can_wait = true;                 ///< for that limit; else it is owed, as API calls are
  int max_redirects = 5;
  std::chrono::milliseconds backoff_first{250};      ///< after a fault; doubled up to `backoff_max`, reset by progress
  std::chrono::milliseconds backoff_max{30'000};
  std::chrono::milliseconds abandon_after{600'000};  ///< without progress and without a reader: ended, its part is kept
  when_abandoned abandoned = when_abandoned::finish;
  std::chrono::milliseconds reconnect_grace{5'000};  ///< readers that are back within this have never left
  std::chrono::milliseconds stand_by_look{5'000};  ///< how often a fill that stands by looks whether the link is open
  std::size_t batch = 128 * 1024;                    ///< bytes gathered before they are written to the store
  std::size_t max_fills = 16;                        ///< objects that are fetched at once; the others wait in line
  /// Clients that fetch for themselves at once, past a store that fails or a fill; without a store max_clients are.
  std::size_t max_pass_through = 8;
  std::chrono::milliseconds checkpoint_every{1'000};  ///< how often what arrives is made durable, and before each pause as long
  std::size_t checkpoint_bytes = std::size_t{8} << 20;  ///< so many, too, where the link then stands still
  std::chrono::milliseconds disk_deadline{20'000};  ///< a disk that has not got on with something for so long hangs
  std::string user_agent = "mgw";
  verifier_factory verifier;              ///< judges what is stored; empty: any bytes are good
  std::uint64_t withheld = 64 * 1024;     ///< bytes at the end that nobody sees before the verifier's verdict
  /// Nobody sees anything before all is there and good, so that what breaks off may begin anew with other bytes. For
  /// small objects: clients are held meanwhile.
  bool whole_only = false;
  /// Whether this host may be asked for an object (each hop of a redirect is). Empty: any.
  std::function<bool(http::uri const&)> allows;
  /// To which of its addresses, then. Empty: anywhere.
  std::function<upstream::reach(http::uri const&)> reach;
  /// Told of an object whose bytes were found to be bad, and why. Any worker; must not block. Empty: nobody is.
  std::function<void(cache::key const&, std::string_view why)> condemned;
  log_sink log;
};

/// What crossed the upstream link, over all fills. Bytes that arrived more than once are counted apart: users pay for both.
struct fetch_counters {
  std::atomic<std::uint64_t> first_time_bytes{0};
  std::atomic<std::uint64_t> again_bytes{0};
  std::atomic<std::uint64_t> ahead_bytes{0};  ///< of `again_bytes`: fetched beside a fill, for one client (ahead_reader)
  std::atomic<std::uint64_t> fills{0};
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> faults{0};
  /// Verdicts on whole objects; `unverified`: the verifier failed, and another try may succeed.
  std::atomic<std::uint64_t> verified{0}, condemned{0}, unverified{0};
  upstream_error_counts errors;
  /// So many bytes came, the first is the one at `at` of an object of which `ever` had come; returns how many have now.
  std::uint64_t arrived(std::uint64_t at, std::uint64_t bytes, std::uint64_t ever) noexcept {
    std::uint64_t const again = std::min(bytes, ever > at ? ever - at : 0);
    again_bytes.fetch_add(again, std::memory_order_relaxed);
    first_time_bytes.fetch_add(bytes - again, std::memory_order_relaxed);
    return std::max(ever, at + bytes);
  }
  seldom store_trouble{std::chrono::minutes(10)};  ///< a store that fails is told once, not for each object that comes by
};

}  // namespace mgw::proxy
