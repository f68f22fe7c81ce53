#pragma once

#include <mgw/core/seldom.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/error_body.hpp>
#include <mgw/mender/inventory_additions.hpp>
#include <mgw/mender/link_rewriter.hpp>
#include <mgw/mender/overload.hpp>
#include <mgw/mender/relay_options.hpp>
#include <mgw/mender/request_fields.hpp>
#include <mgw/mender/tenants.hpp>
#include <mgw/proxy/answer_failure.hpp>
#include <mgw/proxy/backoff.hpp>
#include <mgw/proxy/call_pace.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward.hpp>
#include <mgw/proxy/held_requests.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::mender {

/// Relays the device API byte for byte, but for the links in answers to polls (link_rewriter) and attributes of ours in
/// inventories (inventory_additions).
///
/// A status report is retried for as long as the device waits: losing the one before commit makes it roll a good update
/// back. So many at most are held: beyond, the longest-held gets what its last try gave, a 502, 503 or 504, which costs
/// its device one of its own tries, as a closed connection would. We never make a 404, 405 or 409 here: they mean
/// something to clients. Calls go upstream at a pace; those it refuses get a 429 where clients honour it, else a 503, and
/// a status report waits. A 429 of upstream's front end makes all wait. Thread rule: any worker.
class device_relay {
public:
  device_relay(upstream::pool_set const& upstreams, link_sealer const& links, relay_options options)
      : upstreams_(&upstreams), shared_(std::make_shared<shared>(upstreams, links, completed(std::move(options)))) {}

  asio::awaitable<void> operator()(proxy::exchange& x, route_match route) const;
  /// Status reports that wait for their next try. Any thread.
  std::size_t held_reports() const { return shared_->reports.size(); }

private:
  static constexpr std::size_t max_token = std::size_t{16} << 10;  // as device_id_of reads

  struct shared {
    relay_options const options;
    link_rewriter links;
    inventory_additions inventories;
    proxy::held_requests reports;
    seldom crowded{std::chrono::seconds(10)};

    shared(upstream::pool_set const& upstreams, link_sealer const& sealer, relay_options o)
        : options(std::move(o)), links(upstreams, sealer, options), inventories(options),
          reports(std::max<std::size_t>(1, options.max_held_reports), std::chrono::milliseconds(0)) {}
  };
  /// A status report that waits for its next try, and ends when others need its place.
  struct held_report {
    asio::steady_timer* pause = nullptr;
    bool crowded_out = false;
    static void end(void* self) noexcept {
      auto& me = *static_cast<held_report*>(self);
      me.crowded_out = true;
      if (me.pause != nullptr) me.pause->cancel();
    }
  };

  static relay_options completed(relay_options o) {
    if (!o.forward.drop_request_field) o.forward.drop_request_field = is_dropped_request_field;
    // It goes with ours, or as it was noted.
    o.forward.drop_request_field = [others = std::move(o.forward.drop_request_field)](std::string_view name) {
      return http::iequals(name, "X-MEN-RequestID") || others(name);
    };
    return o;
  }
  asio::awaitable<proxy::forward_outcome> send(proxy::exchange& x, proxy::forwarding& f, proxy::forward_call call,
                                               route_match route, std::chrono::steady_clock::time_point until) const;
  asio::awaitable<proxy::forward_outcome> try_once(proxy::exchange& x, proxy::forwarding& f, proxy::forward_call call,
                                                   route_match route,
                                                   std::chrono::steady_clock::time_point until) const;
  asio::awaitable<void> answer_auth(proxy::exchange& x, proxy::forwarding& f) const;
  void heed(proxy::forwarding const& f) const;
  void note_crowd() const {
    if (shared_->crowded.due())
      shared_->options.warn("more than " + std::to_string(shared_->options.max_held_reports) +
                            " status reports wait for upstream (Limits.MaxHeldReports): the longest-held are answered");
  }

  upstream::pool_set const* upstreams_;
  std::shared_ptr<shared> shared_;
};

inline asio::awaitable<void> device_relay::operator()(proxy::exchange& x, route_match route) const {
  auto const& o = shared_->options;
  read_device_id(x.request().fields.value("Authorization"), x.notes().device);
  if (x.notes().request_id.empty())  // whoever routed it may have given it one
    read_request_id(x.request().fields.value("X-MEN-RequestID"), x.notes().request_id);
  proxy::forward_call call;
  call.extra = {"X-MEN-RequestID", x.notes().request_id};
  call.may_repeat = route.retry_whole_body;
  call.want_identity = route.what == call::next_v1 || route.what == call::next_v2;
  auto const until = std::chrono::steady_clock::now() + o.status_hold;
  auto const f = std::make_unique<proxy::forwarding>(x, *upstreams_, o.forward);
  proxy::forward_outcome sent;
  if (route.what == call::status || route.what == call::auth_request)
    sent = co_await send(x, *f, call, route, until);
  else
    sent = co_await try_once(x, *f, call, route, until);
  if (sent.ec == mender_error::overloaded) {
    bool const honoured =
        route.what == call::next_v1 || route.what == call::next_v2 || route.what == call::inventory || route.what == call::log;
    int const status = honoured ? 429 : 503;
    std::chrono::seconds const wait = o.pace ? o.pace->advice() : std::chrono::seconds(5);
    co_await answer_overload(x, status, wait);
    co_return;
  }
  if (sent.ec == mender_error::other_tenant) {
    // As the server says it, without a reason and WWW-Authenticate: a client tries again at its next poll.
    x.notes().failure = sent.ec.message();
    std::string const text = error_body("dev auth: unauthorized", x.notes().request_id);
    (void)co_await x.respond(401, "application/json; charset=utf-8", text);
    co_return;
  }
  if (sent.ec) {
    co_await proxy::answer_failure(x, o.forward, sent);
    co_return;
  }
  if (route.what == call::auth_request && o.refused && f->response().status == 401) o.refused(x, f->taken_body());
  bool const next = route.what == call::next_v1 || route.what == call::next_v2;
  if (next && o.rewrite_links && f->response().status == 200)
    co_await shared_->links.answer(x, *f);
  else if (route.what == call::auth_request && o.answered)
    co_await answer_auth(x, *f);
  else
    co_await f->relay();
}

/// Relays it as it is, after it was told.
inline asio::awaitable<void> device_relay::answer_auth(proxy::exchange& x, proxy::forwarding& f) const {
  auto const& o = shared_->options;
  auth_answer said{f.response().status, f.taken_body(), {}};
  std::string token;
  if (said.status == 200) {
    std::error_code const ec = co_await f.read_whole(token, max_token);
    if (ec && ec != http::parse_error::body_too_large) {
      proxy::forward_outcome const failure = proxy::broken_answer(ec);
      co_await proxy::answer_failure(x, o.forward, failure);
      co_return;
    }
    said.device = device_id_of("Bearer " + token.substr(0, token.find_last_not_of(" \t\r\n") + 1));
  }
  if (said.status == 200 || said.status == 401) o.answered(x, said);
  co_await f.relay(token);
}

/// What is asked of us beside relaying: authorization of its device, and further tries of a status report.
inline asio::awaitable<proxy::forward_outcome> device_relay::send(proxy::exchange& x, proxy::forwarding& f,
                                                                  proxy::forward_call call, route_match route,
                                                                  std::chrono::steady_clock::time_point until) const {
  auto const& o = shared_->options;
  std::function<asio::awaitable<void>(std::string_view)> authorize;
  if (route.what == call::auth_request && o.authorize) {
    authorize = [&x, &o](std::string_view body) { return o.authorize(x, body); };
    call.before = &authorize;
  }
  if (route.what == call::auth_request && (o.admits || o.answered)) {
    proxy::forward_outcome const held = co_await f.hold_body(max_tenant_request);
    if (held.ec) co_return held;
  }
  if (route.what == call::auth_request && o.admits) {
    auto const body = f.repeatable() ? std::optional<std::string_view>(f.held_body()) : std::nullopt;
    if (!o.admits(x, body)) co_return proxy::client_fault(mender_error::other_tenant, 401);
  }
  std::optional<proxy::backoff> pauses;
  held_report me;
  std::optional<proxy::held_requests::place> held;
  for (;;) {
    proxy::forward_outcome const sent = co_await try_once(x, f, call, route, until);
    int const status = sent.ec ? 0 : f.response().status;
    if (call.before != nullptr && !sent.ec && !f.repeatable())
      o.warn("an auth request of more than " + std::to_string(o.forward.whole_body / 1024) +
             " KiB is relayed, and nobody is authorized by it");
    bool const lost = sent.ec ? !sent.client_failed : (status == 429 || (status >= 502 && status <= 504));
    bool again = route.what == call::status && lost && f.repeatable() && !x.draining() && !x.client_gone();
    std::chrono::milliseconds pause{0};
    if (again) {
      if (!pauses) pauses.emplace(o.status_pause, std::chrono::seconds(30));
      pause = pauses->next();
      again = std::chrono::steady_clock::now() + pause < until;
    }
    if (again && me.crowded_out) note_crowd();
    if (!again || me.crowded_out) co_return sent;
    if (!held) held.emplace(shared_->reports, x.worker().io.get_executor(), std::nullopt, held_report::end, &me);
    asio::steady_timer timer(x.worker().io.get_executor());
    timer.expires_after(pause);
    me.pause = &timer;
    auto const wake = [](void* t) noexcept { static_cast<asio::steady_timer*>(t)->cancel(); };
    x.on_drain(wake, &timer);
    std::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    x.on_drain(nullptr, nullptr);
    me.pause = nullptr;
    if (me.crowded_out) {
      note_crowd();
      co_return sent;
    }
  }
}

/// Upstream has had enough of our address: nobody asks it for a while. The device is told the same. (What a service of
/// the server says itself, by its request id, is about that device's quota: one device must not stop all others.)
inline void device_relay::heed(proxy::forwarding const& f) const {
  auto const& o = shared_->options;
  if (!o.pace || f.response().status != 429 || f.response().fields.contains("X-MEN-RequestID")) return;
  auto const wait = retry_after(f.response().fields.value("Retry-After"));
  o.pace->hold_off(wait.value_or(std::chrono::seconds(5)));
}

/// Waits for its turn, and sends.
inline asio::awaitable<proxy::forward_outcome> device_relay::try_once(
    proxy::exchange& x, proxy::forwarding& f, proxy::forward_call call, route_match route,
    std::chrono::steady_clock::time_point until) const {
  auto const& o = shared_->options;
  auto const framing = x.request_framing();
  bool const large = framing.kind == http::body_kind::length && framing.length > o.forward.whole_body;
  bool const status = route.what == call::status;
  proxy::forward_outcome out;
  // Nobody's turn is spent on waiting for a device.
  if (o.pace && x.request_body_done())
    out = f.hold_no_body();
  else if (o.pace && !large && !x.awaits_continue())
    out = co_await f.hold_body(o.forward.whole_body);
  if (out.ec) co_return out;
  std::optional<proxy::call_pace::ticket> ticket;
  if (o.pace) {
    ticket.emplace(*o.pace, x.worker().io.get_executor(), status);
    auto const wake = [](void* t) noexcept { static_cast<proxy::call_pace::ticket*>(t)->cancel(); };
    x.on_drain(wake, &*ticket);
    bool in = ticket->try_enter(!f.repeatable()), again = true;
    while (!in && again) {  // in pieces, to see whether the device is still there
      auto const a_while = std::min(until, std::chrono::steady_clock::now() + std::chrono::seconds(10));
      in = co_await ticket->enter(a_while, !f.repeatable());
      again = status && !x.draining() && !x.client_gone() && std::chrono::steady_clock::now() < until;
    }
    x.on_drain(nullptr, nullptr);
    if (!in) {
      out.ec = mender_error::overloaded;
      out.client_failed = true;  // not worth another try
      co_return out;
    }
  }
  if (route.what == call::inventory && !o.attributes.empty())
    out = co_await shared_->inventories.send(x, f, call);
  else
    out = co_await f.send(call);
  if (!out.ec) heed(f);
  co_return out;
}

}  // namespace mgw::mender
