#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/seldom.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/deployments.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/mender/error_body.hpp>
#include <mgw/mender/inventory.hpp>
#include <mgw/mender/overload.hpp>
#include <mgw/mender/request_fields.hpp>
#include <mgw/mender/tenants.hpp>
#include <mgw/mender/whitelist.hpp>
#include <mgw/proxy/backoff.hpp>
#include <mgw/proxy/call_pace.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/forward.hpp>
#include <mgw/proxy/held_requests.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender {

struct relay_options {
  proxy::forward_options forward;
  std::shared_ptr<proxy::call_pace> pace;  ///< of all calls; null: none
  inventory_attributes attributes;         ///< put into the inventories of devices
  /// Inventories of more than forward.whole_body bytes that are held at once, for `attributes`; one more gets a 429.
  std::size_t max_large_inventories = 64;
  bool rewrite_links = true;
  std::string gateway_url;    ///< prefix of links; empty: scheme and Host as the device sent them
  /// The ports that devices are served on; where gateway_url is empty, one is not the scheme's and a Host comes without
  /// it, that is told once. 0: not known.
  std::uint16_t tls_port = 0, plain_port = 0;
  domain_list allowed_hosts;  ///< empty: what the upstream names
  /// To which addresses of a link's host the gateway may connect (upstream::address_rules). Empty: anywhere.
  std::function<upstream::reach(http::uri const&)> reach;
  std::chrono::seconds link_life{24 * 3600};
  std::chrono::milliseconds status_hold{3'600'000};  ///< how long a status report is retried while the client waits
  std::chrono::milliseconds status_pause{1'000};     ///< between two tries, doubled up to 30 s
  /// Status reports that are held at once, 1 or more; for one more, the longest-held gets the answer of its last try.
  std::size_t max_held_reports = 2'500;
  /// Undoes a content coding ("gzip") of an answer to a poll, at most `max` bytes; nothing if it cannot.
  std::function<std::optional<std::string>(std::string_view coding, std::string_view body, std::size_t max)> decode;
  /// Gives the key of an imported object that may stand for a download, or nothing. Called with the request that polls
  /// and what the answer says; the device waits for it. Empty: there are no such objects.
  std::function<asio::awaitable<std::optional<cache::key>>(proxy::exchange&, artifact_source const&)> stand_in;
  /// Told of each link that becomes one of ours, and the key it has: a download under way may go on with it.
  std::function<void(cache::key const&, proxy::fetch_source)> seen_link;
  /// Whether an auth request goes upstream; else it is answered with 401, as by the server. Called with its body, or
  /// nothing if that is longer than max_tenant_request, before anything else. Empty: each one goes.
  std::function<bool(proxy::exchange const&, std::optional<std::string_view> body)> admits;
  /// Awaited with each auth request and its body before it goes upstream; which it does in any case. Empty: nothing is.
  std::function<asio::awaitable<void>(proxy::exchange&, std::string_view body)> authorize;
  /// Told of an auth request that the server has answered with 401.
  std::function<void(proxy::exchange const&, std::string_view body)> refused;
  log_sink log;
};

/// Relays the device API byte for byte, and turns the artifact link in an answer to `deployments/next` into one of
/// ours.
///
/// What is not as expected (no JSON, another shape, a host that is not allowed) passes untouched, with a warning: an
/// update must never fail because of us. A status report is retried for as long as the device waits: losing the one
/// before commit makes it roll a good update back. So many at most are held: beyond, the longest-held gets what its last try
/// gave, a 502, 503 or 504, which costs its device one of its own tries, as a closed connection would. We never make a 404, 405 or 409 here: they mean something to
/// clients. Attributes of ours go into inventories; where the server refuses these (400: there may be too many), the
/// inventory goes once more as the device sent it. Calls go upstream at a pace; those it refuses get a 429 where clients
/// honour it, else a 503, and a status report waits. A 429 of upstream's front end makes all wait. Thread rule: any worker.
class device_relay {
public:
  device_relay(upstream::pool_set const& upstreams, link_sealer const& links, relay_options options)
      : upstreams_(&upstreams), links_(&links), shared_(std::make_shared<shared>()) {
    if (!options.forward.drop_request_field) options.forward.drop_request_field = is_dropped_request_field;
    // It goes with ours, or as it was noted.
    options.forward.drop_request_field = [others = std::move(options.forward.drop_request_field)](std::string_view name) {
      return http::iequals(name, "X-MEN-RequestID") || others(name);
    };
    shared_->options = std::move(options);
    shared_->reports.emplace(std::max<std::size_t>(1, shared_->options.max_held_reports),
                             std::chrono::milliseconds(0));
  }

  asio::awaitable<void> operator()(proxy::exchange& x, route_match route) const;

private:
  struct shared {
    relay_options options;
    std::mutex mutex;
    std::set<std::string, std::less<>> warned;  // hosts that were named in a warning already
    std::atomic<std::size_t> large_inventories{0};
    std::optional<proxy::held_requests> reports;
    seldom crowded{std::chrono::seconds(10)};
    std::atomic<bool> port_told{false};
  };
  static constexpr std::size_t max_warned = 64;
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

  asio::awaitable<proxy::forward_outcome> send(proxy::exchange& x, std::unique_ptr<proxy::forwarding>& f,
                                               route_match route) const;
  asio::awaitable<proxy::forward_outcome> try_once(proxy::exchange& x, proxy::forwarding& f, proxy::forward_call call,
                                                   route_match route,
                                                   std::chrono::steady_clock::time_point until) const;
  void heed(proxy::forwarding const& f) const;
  asio::awaitable<proxy::forward_outcome> send_inventory(proxy::exchange& x, proxy::forwarding& f,
                                                         proxy::forward_call call) const;
  std::optional<std::string> with_ours(proxy::exchange const& x, std::string const& body) const;
  asio::awaitable<void> answer_next(proxy::exchange& x, proxy::forwarding& f) const;
  std::optional<artifact_source> usable_source(std::string_view json) const;
  asio::awaitable<bool> within_reach(proxy::exchange& x, std::string_view url) const;
  std::optional<std::string> rewrite(proxy::exchange const& x, std::string_view json, artifact_source const& source,
                                     std::optional<cache::key> const& import) const;
  void tell_port(proxy::exchange const& x) const;
  bool host_allowed(http::uri const& link) const;
  void warn(std::string const& text) const {
    if (shared_->options.log) shared_->options.log(log_level::warn, text);
  }
  void note_crowd() const {
    if (shared_->crowded.due())
      warn("more than " + std::to_string(shared_->options.max_held_reports) +
           " status reports wait for upstream (Limits.MaxHeldReports): the longest-held are answered");
  }

  upstream::pool_set const* upstreams_;
  link_sealer const* links_;
  std::shared_ptr<shared> shared_;
};

inline asio::awaitable<void> device_relay::operator()(proxy::exchange& x, route_match route) const {
  auto const& o = shared_->options;
  x.notes().device = device_id_of(x.request().fields.value("Authorization"));
  auto const id = x.request().fields.value("X-MEN-RequestID");
  x.notes().request_id = is_valid_request_id(id) ? std::string(id) : make_request_id();
  std::unique_ptr<proxy::forwarding> f;
  proxy::forward_outcome const sent = co_await send(x, f, route);
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
    co_await answer_next(x, *f);
  else
    co_await f->relay();
}

inline asio::awaitable<proxy::forward_outcome> device_relay::send(proxy::exchange& x,
                                                                  std::unique_ptr<proxy::forwarding>& f,
                                                                  route_match route) const {
  auto const& o = shared_->options;
  std::string fields;
  http::append_field(fields, "X-MEN-RequestID", x.notes().request_id);
  proxy::forward_call call;
  call.may_repeat = route.retry_whole_body;
  call.want_identity = route.what == call::next_v1 || route.what == call::next_v2;
  call.extra_fields = fields;
  std::function<asio::awaitable<void>(std::string_view)> authorize;
  if (route.what == call::auth_request && o.authorize) {
    authorize = [&x, &o](std::string_view body) { return o.authorize(x, body); };
    call.before = &authorize;
  }
  f = std::make_unique<proxy::forwarding>(x, *upstreams_, o.forward);
  if (route.what == call::auth_request && o.admits) {
    proxy::forward_outcome const held = co_await f->hold_body(max_tenant_request);
    if (held.ec) co_return held;
    auto const body = f->repeatable() ? std::optional<std::string_view>(f->held_body()) : std::nullopt;
    if (!o.admits(x, body)) co_return proxy::client_fault(mender_error::other_tenant, 401);
  }
  auto const until = std::chrono::steady_clock::now() + o.status_hold;
  std::optional<proxy::backoff> pauses;
  held_report me;
  std::optional<proxy::held_requests::place> held;
  for (;;) {
    proxy::forward_outcome const sent = co_await try_once(x, *f, call, route, until);
    int const status = sent.ec ? 0 : f->response().status;
    bool const lost = sent.ec ? !sent.client_failed : (status == 429 || (status >= 502 && status <= 504));
    bool again = route.what == call::status && lost && f->repeatable() && !x.draining() && !x.client_gone();
    std::chrono::milliseconds pause{0};
    if (again) {
      if (!pauses) pauses.emplace(o.status_pause, std::chrono::seconds(30));
      pause = pauses->next();
      again = std::chrono::steady_clock::now() + pause < until;
    }
    if (again && me.crowded_out) note_crowd();
    if (!again || me.crowded_out) co_return sent;
    if (!held) held.emplace(*shared_->reports, x.worker().io.get_executor(), std::nullopt, held_report::end, &me);
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
  if (o.pace && !large && !x.awaits_continue()) out = co_await f.hold_body(o.forward.whole_body);
  if (out.ec) co_return out;
  std::optional<proxy::call_pace::ticket> ticket;
  if (o.pace) {
    ticket.emplace(*o.pace, x.worker().io.get_executor(), status);
    auto const wake = [](void* t) noexcept { static_cast<proxy::call_pace::ticket*>(t)->cancel(); };
    x.on_drain(wake, &*ticket);
    bool in = false, again = true;
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
    out = co_await send_inventory(x, f, call);
  else
    out = co_await f.send(call);
  if (!out.ec) heed(f);
  co_return out;
}

/// What is sent in place of `body`, or nothing: it goes as it is.
inline std::optional<std::string> device_relay::with_ours(proxy::exchange const& x, std::string const& body) const {
  auto const& o = shared_->options;
  auto const as_it_is = [&](std::string const& why) {
    warn("the inventory of device \"" + x.notes().device + "\" " + why + ": it goes on without the gateway's attributes");
  };
  auto const coding = x.request().fields.value("Content-Encoding");
  std::optional<std::string> decoded;
  bool const coded = !coding.empty() && !http::iequals(coding, "identity");
  if (coded && o.decode) decoded = o.decode(coding, body, max_inventory_size);
  if (coded && !decoded) {
    as_it_is("came in a coding that cannot be undone");
    return std::nullopt;
  }
  auto added = add_attributes(decoded ? *decoded : body, o.attributes);
  if (!added) as_it_is("cannot be added to (" + added.error().message() + ")");
  if (added && !*added) as_it_is("is no list");
  if (!added || !*added || (!coded && **added == body)) return std::nullopt;
  return *std::move(added);
}

inline asio::awaitable<proxy::forward_outcome> device_relay::send_inventory(proxy::exchange& x, proxy::forwarding& f,
                                                                            proxy::forward_call call) const {
  auto const& o = shared_->options;
  struct counted {  // of the large ones
    std::atomic<std::size_t>& all;
    std::size_t const others;
    explicit counted(std::atomic<std::size_t>& a) : all(a), others(all.fetch_add(1)) {}
    counted(counted const&) = delete;
    counted& operator=(counted const&) = delete;
    ~counted() { --all; }
  };
  std::optional<counted> large;
  proxy::forward_outcome out = co_await f.hold_body(o.forward.whole_body);
  if (!out.ec && !f.repeatable()) {
    large.emplace(shared_->large_inventories);
    if (large->others >= o.max_large_inventories) out.ec = mender_error::overloaded;
    if (!out.ec) out = co_await f.hold_body(max_inventory_size);
  }
  if (out.ec) co_return out;
  std::optional<std::string> changed;
  if (f.repeatable())
    changed = with_ours(x, f.held_body());
  else
    warn("the inventory of device \"" + x.notes().device + "\" has more than 1 MiB: it goes on as it is");
  if (!changed) {
    out = co_await f.send(call);
    co_return out;
  }
  std::string original = f.held_body();
  f.replace_body(*std::move(changed));
  auto alone = call;
  call.without = "Content-Encoding";
  out = co_await f.send(call);
  bool const refused = !out.ec && f.response().status == 400;
  if (!refused) co_return out;
  f.replace_body(std::move(original));
  if (o.pace) o.pace->spend();
  out = co_await f.send(alone);
  if (!out.ec && f.response().status == 200)
    warn("the server takes the inventory of device \"" + x.notes().device +
         "\" only without the gateway's attributes: it may have too many of its own");
  co_return out;
}

inline asio::awaitable<void> device_relay::answer_next(proxy::exchange& x, proxy::forwarding& f) const {
  auto const& o = shared_->options;
  std::string body;
  std::error_code const ec = co_await f.read_whole(body, max_deployment_size);
  if (ec == http::parse_error::body_too_large) {
    warn("a deployment has more than 1 MiB: its link is left as it is");
    co_await f.relay(body);
    co_return;
  }
  if (ec) {
    proxy::forward_outcome failure;
    failure.ec = ec;
    failure.hop = upstream::hop::response;
    failure.status = 502;
    co_await proxy::answer_failure(x, o.forward, failure);
    co_return;
  }
  auto const coding = f.response().fields.value("Content-Encoding");
  std::optional<std::string> decoded;
  bool const coded = !coding.empty() && !http::iequals(coding, "identity");
  if (coded && o.decode) decoded = o.decode(coding, body, max_deployment_size);
  std::string_view const json = decoded ? *decoded : body;
  std::optional<artifact_source> source;
  if (!coded || decoded)
    source = usable_source(json);
  else
    warn("a deployment came in a coding that cannot be undone: its link is left as it is");
  if (source && o.reach) {
    bool const within = co_await within_reach(x, source->uri);
    if (!within) source.reset();
  }
  std::optional<std::string> changed;
  auto const link = source ? http::parse_uri(source->uri) : result<http::uri>(std::make_error_code(std::errc::invalid_argument));
  if (link && o.stand_in && kind_of(*link) == link_kind::shared) {
    auto const import = co_await o.stand_in(x, *source);
    changed = rewrite(x, json, *source, import);
  } else if (source) {
    changed = rewrite(x, json, *source, std::nullopt);
  }
  f.start_response(changed && decoded ? "Content-Encoding" : std::string_view{});
  std::string_view const out = changed ? *changed : body;
  http::framing framing;
  framing.kind = http::body_kind::length;
  framing.length = out.size();
  x.end_head(framing);
  std::error_code write_ec;
  if (x.request().method != "HEAD") write_ec = co_await x.write(out);
  if (!write_ec) (void)co_await x.finish();
}

inline bool device_relay::host_allowed(http::uri const& link) const {
  auto const& o = shared_->options;
  return o.allowed_hosts.empty() || o.allowed_hosts.allows(link.host) || http::is_authority_of(link, o.forward.host);
}

/// False: the host's addresses are such as the gateway will never connect to; the rules have told why. What cannot be
/// told now is told when it is fetched.
inline asio::awaitable<bool> device_relay::within_reach(proxy::exchange& x, std::string_view url) const {
  auto const link = http::parse_uri(url);
  upstream::endpoint to(*link);
  to.within = shared_->options.reach(*link);
  std::error_code const ec = co_await upstreams_->of(x.worker())->judge(std::move(to));
  if (ec == upstream::error::loop) warn("an artifact's link leads to this gateway itself: it is left as it is");
  co_return ec != upstream::error::loop && ec != upstream::error::private_address;
}

/// Where the artifact is to be had, if the link can and may become one of ours.
inline std::optional<artifact_source> device_relay::usable_source(std::string_view json) const {
  auto found = find_artifact_source(json);
  if (!found || !*found) {
    std::string const why = found ? "no artifact's link where one should be" : found.error().message();
    warn("a deployment is not as expected (" + why + "): its link is left as it is");
    return std::nullopt;
  }
  auto const uri = http::parse_uri((*found)->uri);
  if (!uri) {
    warn("a deployment's link is no http or https URI: it is left as it is");
    return std::nullopt;
  }
  if (!host_allowed(*uri)) {
    std::lock_guard const lock(shared_->mutex);
    if (shared_->warned.size() < max_warned && shared_->warned.emplace(uri->host).second)
      warn("artifacts come from host " + std::string(uri->host) +
           ", which Features.ArtifactsProxy.DomainWhitelist (ARTIFACTS_PROXY_DOMAIN_WHITELIST) does not list: devices "
           "fetch them directly until it is added there");
    return std::nullopt;
  }
  return *std::move(found);
}

/// A Host without a port means the scheme's own (RFC 9110 7.2), and so do our links. That is right where that port leads
/// to ours; but old clients, and those of microcontrollers, leave out any port.
inline void device_relay::tell_port(proxy::exchange const& x) const {
  auto const& o = shared_->options;
  bool const tls = x.peer().tls;
  unsigned const ours = tls ? o.tls_port : o.plain_port, usual = tls ? 443 : 80;
  std::string const host(x.authority());
  if (ours == 0 || ours == usual || without_port(host) != host || shared_->port_told.exchange(true)) return;
  warn("a device asks for Host \"" + host + "\" without a port, so its artifact links lead to port " +
       std::to_string(usual) + ", and we listen on " + std::to_string(ours) +
       "; if nothing maps the one to the other, set ARTIFACTS_PROXY_GATEWAY_URL (Features.ArtifactsProxy.GatewayURL) to " +
       (tls ? "https://" : "http://") + host + ':' + std::to_string(ours));
}

inline std::optional<std::string> device_relay::rewrite(proxy::exchange const& x, std::string_view json,
                                                        artifact_source const& source,
                                                        std::optional<cache::key> const& import) const {
  auto const& o = shared_->options;
  auto const uri = http::parse_uri(source.uri);
  auto const key = import ? result<cache::key>(*import) : cache::make_key(*uri, source.headers);
  std::string const base = link_base(o.gateway_url, x.peer().tls, x.authority());
  if (!key || base.empty()) {
    warn("no link can be made for Host \"" + std::string(x.authority()) + "\": it is left as it is");
    return std::nullopt;
  }
  if (o.gateway_url.empty()) tell_port(x);
  link_claims claims;
  claims.url = source.uri;
  claims.headers = source.headers;
  claims.device_id = x.notes().device;
  claims.issued = static_cast<std::int64_t>(std::time(nullptr));
  claims.expires = claims.issued + o.link_life.count();
  claims.import = import.has_value();
  link_kind const kind = kind_of(*uri);
  std::string const token = links_->seal(*key, claims, kind);
  if (token.empty()) {
    warn("a deployment's link is too long: it is left as it is");
    return std::nullopt;
  }
  if (o.seen_link && !import && kind == link_kind::shared) {
    proxy::fetch_source fresh(claims.url, claims.headers, claims.issued);
    o.seen_link(*key, std::move(fresh));
  }
  return replace_uri(json, source, base + artifact_path(*key, token, kind));
}

}  // namespace mgw::mender
