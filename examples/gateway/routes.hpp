#pragma once

#include "audit/trail.hpp"
#include "health.hpp"

#include <mgw/cache/disk_store.hpp>
#include <mgw/http/target.hpp>
#include <mgw/mender/artifact_route.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/mender/device_relay.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/tee_to_cache.hpp>

#include <asio/awaitable.hpp>

#include <string>
#include <utility>

namespace gateway {

using store = mgw::cache::disk_store;
using cache_handler = mgw::proxy::tee_to_cache<store>;

/// What the gateway does with a request: one switch over the calls of the device API. Everything else is 404 here, and
/// nothing of it goes upstream.
class routes {
public:
  /// What the listener without TLS serves.
  enum class plain { everything, artifacts, health };

  routes(mgw::mender::device_relay relay, mgw::mender::artifact_route<store> artifacts, health ready, plain without_tls,
         audit::trail const* trail)
      : relay_(std::move(relay)),
        artifacts_(std::move(artifacts)),
        ready_(std::move(ready)),
        without_tls_(without_tls),
        trail_(trail) {}

  asio::awaitable<void> operator()(mgw::proxy::exchange& x) const {
    using mgw::mender::call;
    auto const& target = x.target();
    // What is matched is what is forwarded: a path that an upstream could read in another way is refused.
    std::string room;
    auto const path = mgw::http::path_to_match(target.path, room);
    bool const normal = static_cast<bool>(path);  // empty, and so never normal, for CONNECT and for OPTIONS *
    bool const ours = target.form != mgw::http::target_form::absolute ||
                      mgw::http::iequals(target.authority, x.request().fields.value("Host"));
    auto const route = normal && ours ? mgw::mender::match_call(x.request().method, *path) : mgw::mender::route_match{};
    x.notes().route = route.route;
    mgw::mender::read_request_id(x.request().fields.value("X-MEN-RequestID"), x.notes().request_id);
    // Microcontroller clients send Host twice with their downloads; anywhere else it is a reason to refuse.
    if (x.request().host_repeated && route.what != call::artifact) return answer(x, 400);
    // Where clients need a certificate, those without one get what needs none.
    bool const local = route.what == call::alive || route.what == call::health || route.what == call::none;
    bool const sealed = route.what == call::artifact && without_tls_ == plain::artifacts;
    if (!x.peer().tls && without_tls_ != plain::everything && !local && !sealed) return answer(x, 403);
    if (trail_ != nullptr && trail_->refuses() && is_recorded(route.what)) return unrecorded(x, route.what);
    switch (route.what) {
      case call::artifact: return artifacts_(x);
      case call::alive: return answer(x, 204);
      case call::health: return ready_(x);
      case call::none: return answer(x, normal ? 404 : 400);
      case call::auth_request:
      case call::next_v1:
      case call::next_v2:
      case call::inventory:
      case call::status:
      case call::log:
      case call::connect:
      case call::other_device_api: return relay_(x, route);
    }
    return answer(x, 404);
  }

private:
  static asio::awaitable<void> answer(mgw::proxy::exchange& x, int status) {
    std::string const text = status >= 400 ? x.options().error_body(status, x) : std::string();
    (void)co_await x.respond(status, x.options().error_type, text);
  }
  /// What begins something that must be recorded; a device that is in the middle of it still reports.
  static bool is_recorded(mgw::mender::call what) noexcept {
    using mgw::mender::call;
    return what == call::artifact || what == call::auth_request || what == call::next_v1 || what == call::next_v2;
  }
  /// A download that meets a fault which may pass gets no status, see object_reader.
  static asio::awaitable<void> unrecorded(mgw::proxy::exchange& x, mgw::mender::call what) {
    x.notes().failure = "nothing can be recorded (Audit.OnFailure)";
    if (what == mgw::mender::call::artifact) {
      x.abort();
      co_return;
    }
    std::string const text = x.options().error_body(503, x);
    (void)co_await x.respond(503, x.options().error_type, text, "Retry-After", "60");
  }
  mgw::mender::device_relay relay_;
  mgw::mender::artifact_route<store> artifacts_;
  health ready_;
  plain without_tls_;
  audit::trail const* trail_;  // null: nothing is recorded
};

}  // namespace gateway
