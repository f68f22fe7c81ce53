#pragma once

#include <mgw/cache/sha256.hpp>
#include <mgw/core/blocking_pool.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/seldom.hpp>
#include <mgw/mender/auth_request.hpp>
#include <mgw/mender/auth_sets.hpp>
#include <mgw/mender/bindings.hpp>
#include <mgw/mender/decisions.hpp>
#include <mgw/mender/in_hand.hpp>
#include <mgw/mender/json_scanner.hpp>
#include <mgw/mender/management_client.hpp>
#include <mgw/net/peer_certificate.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::mender {

/// What was decided of a device. The views and the certificate live for the call that is told of it.
struct authorization {
  net::peer_certificate const& certificate;
  std::string_view identity;  ///< of the auth request; empty: it cannot be read
  std::string_view client;    ///< as `authorize` was told
  bool granted;               ///< it needs nothing more from us; else it is left as it is
  std::string_view why;
};

struct authorizer_options {
  management_options management;
  binding_options bound;
  bool require_matching_key = false;           ///< the certificate's key must be the auth request's
  bool remember = true;                        ///< decisions are remembered
  std::chrono::seconds life{3600};             ///< for so long, when a device needs nothing more
  std::chrono::seconds short_life{300};        ///< the same, when it was left as it is
  std::chrono::milliseconds patience{15'000};  ///< no further call of the management API begins after so long
  std::chrono::milliseconds wait{3'000};       ///< a device waits for so long at most; it is authorized all the same
  std::size_t max_late = 1024;                 ///< devices that this goes on for; while there are so many, others are only relayed
  std::size_t max_decisions = 65'536;
  log_sink log;  ///< audit lines begin with "audit: "
  /// Told of each decision, but not of one that is only remembered. Any thread; must not block. Empty: nobody is.
  std::function<void(authorization const&)> decided;

  authorizer_options() = default;
};

/// Authorizes devices by their client certificate, before their own auth request goes upstream.
///
/// The request must be signed by the key it names; certificate subject and identity must be bound to each other; then
/// the management API is asked, in an order that neither takes a token from a device nor undoes what an operator has
/// decided: preauthorize without force; if the device exists, only what its own key lacks. Nothing here stops the
/// request itself, and a management API that is slow or silent does not hold it up for long: the server decides. Several
/// gateways may do this for one device at once: each step bears that another one was first. Source: server.md 7 of the
/// protocol notes.
/// Errors: of bindings, from the constructor. Thread rule: any worker.
class authorizer {
public:
  authorizer(upstream::pool_set const& upstreams, authorizer_options options)
      : options_(std::move(options)),
        bindings_(options_.bound, options_.log),
        management_(upstreams, options_.management),
        decisions_(options_.max_decisions),
        in_hand_(options_.max_late) {}
  authorizer(authorizer const&) = delete;
  authorizer& operator=(authorizer const&) = delete;

  /// `body`, `signature`: of the auth request, as they came; `client`: who it came from, for `decided`. They outlive the
  /// call. Ends within `options.wait`: what is not done by then goes on by itself on `w`, and the device's next request
  /// finds it done.
  asio::awaitable<void> authorize(net::worker& w, std::shared_ptr<net::peer_certificate const> peer,
                                  std::string_view body, std::string_view signature, std::string_view client = {});
  /// The server has refused such a request after all: the next one is looked at anew.
  void refused(net::peer_certificate const& peer, std::string_view body);
  /// Whether the management API refuses our credentials, as far as is known. Any thread.
  bool is_refused() const noexcept { return management_.refused(); }

  /// After the workers' threads have ended, and before it is destroyed: ends the thread that writes bindings.
  void close() { disk_.join(); }
  /// The same, for so long at most. False: the disk does not answer, and nothing may be destroyed.
  bool close_for(std::chrono::milliseconds limit) { return disk_.join_for(limit); }

private:
  enum class outcome {
    settled,     ///< the device needs nothing more from us
    left,        ///< as it is, on purpose
    unavailable  ///< the management API did not say
  };
  using clock = std::chrono::steady_clock;

  struct attempt {  // what one call of authorize works on, and what it leaves to go on by itself
    net::worker& worker;
    std::shared_ptr<net::peer_certificate const> peer;
    auth_request request;
    decisions::key key;
    in_hand::place place;
    std::string client;
    std::string device;  // for audit lines
    clock::time_point until;
    asio::steady_timer ended;  // cancelled then
    bool done = false;
    attempt(authorizer& self, net::worker& w, std::shared_ptr<net::peer_certificate const> p, auth_request r,
            decisions::key const& k, std::string_view c)
        : worker(w),
          peer(std::move(p)),
          request(std::move(r)),
          key(k),
          place(self.in_hand_, key),
          client(c),
          device(shown(request.identity) + " (certificate " + shown(peer->subject) + ", serial " + peer->serial + ')'),
          until(clock::now() + self.options_.patience),
          ended(w.io.get_executor()) {}
  };

  static asio::awaitable<void> work(authorizer& self, std::shared_ptr<attempt> a);
  asio::awaitable<bool> bind(net::peer_certificate const& peer, auth_request const& request, std::string_view client);
  asio::awaitable<outcome> settle(attempt& a);
  asio::awaitable<outcome> settle_known(attempt& a, std::string_view conflict);
  asio::awaitable<outcome> settle_set(attempt& a, known_device const& device);
  asio::awaitable<outcome> preauthorize_forced(attempt& a);
  asio::awaitable<management_answer> preauthorize(attempt& a, bool force);
  asio::awaitable<management_answer> ask(attempt& a, std::string method, std::string path, std::string json);
  outcome other(attempt const& a, management_answer const& answer, char const* what) const;
  static decisions::key key_of(net::peer_certificate const& peer, auth_request const& request);
  static std::string shown(std::string_view text);
  /// A line for the log: whom it is about, and what was decided; of what changes nothing there is none.
  void tell(std::string const& who, authorization const& d, bool in_log = true) const {
    if (options_.log && in_log)
      options_.log(d.granted ? log_level::info : log_level::warn, "audit: " + who + std::string(d.why));
    if (options_.decided) options_.decided(d);
  }
  void tell(attempt const& a, bool granted, std::string_view why, char const* between = " ", bool in_log = true) const {
    authorization const d{*a.peer, a.request.identity, a.client, granted, why};
    tell(a.device + between, d, in_log);
  }

  authorizer_options const options_;
  bindings bindings_;
  management_client management_;
  decisions decisions_;
  in_hand in_hand_;
  seldom slow_{std::chrono::seconds(10)}, crowded_{std::chrono::seconds(10)};
  blocking_pool disk_{1};
};

/// For log lines: in one line, and not longer than one.
inline std::string authorizer::shown(std::string_view text) {
  constexpr std::size_t max = 200;
  std::string out;
  append_json_string(out, text.substr(0, max));
  return text.size() > max ? out + "…" : out;
}

inline decisions::key authorizer::key_of(net::peer_certificate const& peer, auth_request const& request) {
  cache::sha256 h;
  decisions::key out{};
  auto const put = [&h](std::string_view part) {
    std::string const length = std::to_string(part.size()) + ' ';
    return !h.update(length) && !h.update(part);
  };
  bool const ok = put(peer.subject) && put(request.identity) && put(request.key.der()) && !h.digest(out);
  if (!ok) throw std::system_error(make_error_code(cache::error::digest_unavailable));
  return out;
}

inline void authorizer::refused(net::peer_certificate const& peer, std::string_view body) {
  auto const request = parse_auth_request(body);
  if (request) decisions_.forget(key_of(peer, *request));
}

inline asio::awaitable<void> authorizer::authorize(net::worker& w, std::shared_ptr<net::peer_certificate const> peer,
                                                   std::string_view body, std::string_view signature,
                                                   std::string_view client) {
  auto request = parse_auth_request(body);
  if (!request) {
    std::string const why = request.error().message();
    authorization const d{*peer, {}, client, false, why};
    tell("the auth request of certificate " + shown(peer->subject) + " is not authorized: ", d);
    co_return;
  }
  if (!request->key.has_signed(body, signature)) {
    authorization const d{*peer, request->identity, client, false, "its signature is not good"};
    tell("the auth request of certificate " + shown(peer->subject) + " for " + shown(request->identity) +
             " is not authorized: ",
         d);
    co_return;
  }
  decisions::key const key = key_of(*peer, *request);
  if (options_.remember && decisions_.has(key)) co_return;
  auto const a = std::make_shared<attempt>(*this, w, std::move(peer), *std::move(request), key, client);
  if (!a->place) {
    if (in_hand_.crowded() && crowded_.due() && options_.log)
      options_.log(log_level::warn, "management API: no answer for " + std::to_string(options_.max_late) +
                                        " devices yet; others are relayed without being authorized");
    co_return;
  }
  auto const end = [this, a](std::exception_ptr failed) {
    a->done = true;
    a->ended.cancel();
    if (!failed || !options_.log) return;
    try {
      std::rethrow_exception(failed);
    } catch (std::exception const& e) {
      options_.log(log_level::error, std::string("a device could not be authorized: ") + e.what());
    }
  };
  asio::co_spawn(w.io.get_executor(), work(*this, a), end);
  if (a->done) co_return;
  a->ended.expires_after(options_.wait);
  std::error_code ignored;
  co_await a->ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  if (a->done) co_return;
  a->place.set_late();
  if (slow_.due() && options_.log)
    options_.log(log_level::warn, "management API: no answer within " + std::to_string(options_.wait.count()) +
                                      " ms; devices are relayed meanwhile, and authorized when it comes");
}

inline asio::awaitable<void> authorizer::work(authorizer& self, std::shared_ptr<attempt> a) {
  outcome done = outcome::left;
  bool const bound = co_await self.bind(*a->peer, a->request, a->client);
  if (bound) done = co_await self.settle(*a);
  if (done == outcome::settled) {
    auto const note = [&self, &r = a->request] { return self.bindings_.note_key(r.identity, r.key.der()); };
    (void)co_await self.disk_.run(note);
  }
  auto const& o = self.options_;
  if (done != outcome::unavailable && o.remember)
    self.decisions_.remember(a->key, done == outcome::settled ? o.life : o.short_life);
}

inline asio::awaitable<bool> authorizer::bind(net::peer_certificate const& peer, auth_request const& request,
                                              std::string_view client) {
  using verdict = bindings::verdict;
  constexpr std::size_t max_name = 4096;
  std::string const who = "certificate " + shown(peer.subject) + ", serial " + peer.serial + ", is not authorized as " +
                          shown(request.identity) + ": ";
  auto const refuse = [&](std::string_view why) {
    authorization const d{peer, request.identity, client, false, why};
    tell(who, d);
  };
  if (peer.subject.empty() || peer.subject.size() > max_name) {
    refuse("it has no subject of a usable length");
    co_return false;
  }
  if (options_.require_matching_key && peer.public_key != request.key.der()) {
    refuse("its key is not the auth request's, and RequireMatchingKey is on");
    co_return false;
  }
  verdict found = bindings_.look(peer.subject, request.identity);
  if (found != verdict::bound) {
    auto const work = [this, &peer, &request] { return bindings_.bind(peer.subject, request.identity); };
    found = co_await disk_.run(work);
  }
  switch (found) {
    case verdict::bound: co_return true;
    case verdict::other_identity: refuse("its subject is bound to another identity"); break;
    case verdict::other_subject: refuse("the identity is bound to another subject"); break;
    case verdict::full: refuse("too many are bound"); break;
    case verdict::unbound:
    case verdict::not_written: refuse("the binding cannot be written"); break;
  }
  co_return false;
}

inline asio::awaitable<management_answer> authorizer::ask(attempt& a, std::string method, std::string path,
                                                          std::string json) {
  management_answer out;
  out.paused = clock::now() >= a.until;
  if (out.paused) co_return out;
  out = co_await management_.call(a.worker, std::move(method), std::move(path), std::move(json));
  co_return out;
}

inline asio::awaitable<management_answer> authorizer::preauthorize(attempt& a, bool force) {
  std::string json = "{\"identity_data\":" + a.request.id_data + ",\"pubkey\":";
  append_json_string(json, a.request.pubkey);
  json += force ? ",\"force\":true}" : ",\"force\":false}";
  std::string method = "POST", path = "/api/management/v2/devauth/devices";
  management_answer out = co_await ask(a, std::move(method), std::move(path), std::move(json));
  co_return out;
}

/// What an answer means that is none of those expected.
inline authorizer::outcome authorizer::other(attempt const& a, management_answer const& answer,
                                             char const* what) const {
  if (answer.ec || answer.paused || answer.status >= 500 || answer.status == 401 || answer.status == 429)
    return outcome::unavailable;
  std::string line = std::string(what) + " is refused, status " + std::to_string(answer.status);
  if (answer.status == 403) line += " (the role of the management user does not allow it)";
  if (answer.status == 422) line += " (the device limit is reached)";
  tell(a, false, line, ": ");
  return outcome::left;
}

inline asio::awaitable<authorizer::outcome> authorizer::settle(attempt& a) {
  management_answer const answer = co_await preauthorize(a, false);
  if (answer.status == 201 && !answer.ec) {
    tell(a, true, "is preauthorized");
    co_return outcome::settled;
  }
  if (answer.status != 409 || answer.ec) co_return other(a, answer, "preauthorizing");
  outcome const done = co_await settle_known(a, answer.body);
  co_return done;
}

inline asio::awaitable<authorizer::outcome> authorizer::settle_known(attempt& a, std::string_view conflict) {
  auto const named = read_device(conflict);
  if (!named) {
    tell(a, false, "exists, but the server does not say as which: " + named.error().message());
    co_return outcome::left;
  }
  std::string method = "GET", path = "/api/management/v2/devauth/devices/" + named->id;
  management_answer const answer = co_await ask(a, std::move(method), std::move(path), std::string());
  if (answer.status == 403 && !answer.ec) {  // a role that allows only to preauthorize
    bool const known = bindings_.knows_key(a.request.identity, a.request.key.der());
    if (known) {
      tell(a, true, "was authorized with this key before", " ", false);
      co_return outcome::settled;
    }
    outcome const forced = co_await preauthorize_forced(a);
    co_return forced;
  }
  if (answer.status == 404 && !answer.ec) co_return outcome::unavailable;  // gone meanwhile: the next request is new
  if (answer.status != 200 || answer.ec) co_return other(a, answer, "reading the device");
  auto const device = read_device(answer.body);
  if (!device) {
    tell(a, false, "exists, but is told in a form that is not understood: " + device.error().message());
    co_return outcome::left;
  }
  outcome const done = co_await settle_set(a, *device);
  co_return done;
}

inline asio::awaitable<authorizer::outcome> authorizer::settle_set(attempt& a, known_device const& device) {
  if (device.decommissioning) {
    tell(a, false, "is being decommissioned: left as it is");
    co_return outcome::left;
  }
  auth_set const* const set = device.find(a.request.key.der());
  if (set == nullptr) {
    // The request has gone upstream since: its key is pending there, or accepted through another gateway, and force would
    // take that back. The next request is looked at anew.
    if (a.place.late()) co_return outcome::unavailable;
    outcome const forced = co_await preauthorize_forced(a);
    co_return forced;
  }
  if (set->status == "accepted" || set->status == "preauthorized") {
    tell(a, true, "is " + set->status + " already", " ", false);
    co_return outcome::settled;
  }
  if (set->status != "pending" || !is_server_id(set->id)) {
    tell(a, false, "its key is " + shown(set->status) + " on the server: left as it is", ": ");
    co_return outcome::left;
  }
  std::string method = "PUT", json = "{\"status\":\"accepted\"}";
  std::string path = "/api/management/v2/devauth/devices/" + device.id + "/auth/" + set->id + "/status";
  management_answer const answer = co_await ask(a, std::move(method), std::move(path), std::move(json));
  if (answer.status == 204 && !answer.ec) {
    tell(a, true, "is accepted");
    co_return outcome::settled;
  }
  // Somebody else was first: it is not pending any more, or gone. The next request is looked at anew.
  if ((answer.status == 400 || answer.status == 404) && !answer.ec) co_return outcome::unavailable;
  co_return other(a, answer, "accepting");
}

/// Precondition: the pair is bound, and its key is nothing on the server that force would undo.
inline asio::awaitable<authorizer::outcome> authorizer::preauthorize_forced(attempt& a) {
  management_answer const answer = co_await preauthorize(a, true);
  if (answer.status != 201 || answer.ec) co_return other(a, answer, "preauthorizing a further key");
  tell(a, true, "a further key is preauthorized", ": ");
  co_return outcome::settled;
}

}  // namespace mgw::mender
