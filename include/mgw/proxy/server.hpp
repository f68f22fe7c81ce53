#pragma once

#include <mgw/core/any_stream.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/seldom.hpp>
#include <mgw/net/client_trust.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/error.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/peer_certificate.hpp>
#include <mgw/net/tcp_stream.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/tls_stream.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/certificate_refusals.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/handler.hpp>
#include <mgw/proxy/options.hpp>
#include <mgw/proxy/peer_counts.hpp>
#include <mgw/proxy/serve.hpp>

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/ip/address.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::proxy {

/// Accepts connections on every worker and serves their exchanges with one handler.
///
/// `listen` before `worker_pool::run`. `drain` stops accepting, closes idle connections and lets running exchanges
/// finish. For a connection beyond `max_connections` another one ends that nobody misses: an idle one of its worker, or
/// what `make_room` finds; else it is closed at once, and one log line in ten seconds says so at most. Where descriptors
/// run out some of these end, too, and the new one waits meanwhile.
/// Thread rule: `listen` before the workers run; `drain`, `idle` and the counters from any thread. Lifetime: `close`
/// after the workers' threads have ended; the object ends after their contexts, in which its coroutines live
/// (run_until_signal keeps that order).
template <Handler H>
class server {
public:
  server(net::worker_pool& workers, server_options options, H handler, log_sink log = {})
      : workers_(workers),
        options_(std::move(options)),
        handler_(std::move(handler)),
        log_(std::move(log)),
        live_(workers.size()),
        peers_(options_.max_connections_per_peer),
        refusals_(log_) {}

  /// Opens a listener on every worker. Returns the address really bound (a port of 0 is chosen by the kernel).
  /// Throws std::system_error naming the address.
  asio::ip::tcp::endpoint listen(asio::ip::tcp::endpoint address, std::optional<net::tls_context> tls = std::nullopt) {
    return accept(workers_.listen(address, listening_options()), std::move(tls));
  }
  /// The same on a listening socket that is there (worker_pool::listen). Errors: std::system_error.
  asio::ip::tcp::endpoint listen(int descriptor, std::optional<net::tls_context> tls = std::nullopt) {
    return accept(workers_.listen(descriptor, listening_options()), std::move(tls));
  }
  /// What listeners with TLS show in place of theirs, from the next handshake on; connections that are open go on, and
  /// tickets of before are worth nothing. Any thread; takes effect soon after.
  void renew(net::tls_context const& tls) {
    for (std::size_t i = 0; i < workers_.size(); ++i)
      asio::post(workers_.worker(i).io.get_executor(), [this, i, tls] {
        for (auto const& c : contexts_)
          if ((*c)[i]) (*c)[i] = tls;
      });
  }

  /// No more connections; idle ones are closed, others end with their exchange, and new ones with their first.
  void drain() {
    for (auto& l : listeners_) {
      net::listener* const one = l.socket.get();
      asio::post(l.owner->io.get_executor(), [one] { one->stop(); });
    }
    for (std::size_t i = 0; i < workers_.size(); ++i)
      asio::post(workers_.worker(i).io.get_executor(), [this, i] {
        draining_.store(true);
        for (exchange* x : live_[i]) x->drain();
      });
  }
  /// Judges the certificates of all clients again, after `gate` has changed; the connections of those that it does not
  /// admit any more are cut, tunnels included. Any thread; done soon after, a few at a time: each costs signatures.
  void judge_clients(std::shared_ptr<net::client_gate> gate) {
    for (std::size_t i = 0; i < workers_.size(); ++i)
      asio::post(workers_.worker(i).io.get_executor(), [this, i, gate] {
        auto shown = std::make_shared<certificates>();
        for (exchange const* x : live_[i])
          if (x->peer().certificate) shown->push_back(x->peer().certificate);
        judge_some(i, gate, shown);
      });
  }
  /// Calls a copy of `look(worker, exchanges)` for each worker, on its thread and soon: with its index and a list of
  /// pointers to what its open connections are at. Any thread. Not called for workers whose threads have ended.
  template <class F>
  void look_at(F look) {
    for (std::size_t i = 0; i != workers_.size(); ++i)
      asio::post(workers_.worker(i).io.get_executor(),
                 [look, i, live = static_cast<std::list<exchange*> const*>(&live_[i])] { look(i, *live); });
  }
  std::size_t connections() const noexcept { return connections_.load(); }
  bool idle() const noexcept { return connections() == 0; }
  /// Connections closed at once because of max_connections or max_connections_per_peer.
  std::uint64_t refused() const noexcept { return refused_.load(); }
  /// Connections that were accepted so far, those that were refused left out.
  std::uint64_t accepted() const noexcept { return accepted_.load(std::memory_order_relaxed); }
  /// How TLS handshakes ended so far: well; with a client's certificate that is missing or not trusted; otherwise.
  struct handshake_counts {
    std::uint64_t done = 0, refused = 0, failed = 0;
  };
  handshake_counts handshakes() const noexcept {
    auto const of = [](auto const& n) { return n.load(std::memory_order_relaxed); };
    return {of(handshakes_), of(handshakes_refused_), of(handshakes_failed_)};
  }
  /// How often accepting had to pause for want of descriptors or memory. Not after `close`.
  std::uint64_t pauses() const noexcept {
    std::uint64_t n = 0;
    for (auto const& l : listeners_) n += l.socket->pauses();
    return n;
  }
  /// Nothing beyond `drain`: what still runs is cut with the workers.
  void stop() noexcept {}
  /// Closes the listeners, and tells the observer of requests that were cut. After the workers' threads have ended,
  /// before their contexts go.
  void close() {
    listeners_.clear();
    for (auto const& live : live_)
      for (exchange* x : live) x->end_unserved();
  }

private:
  net::listener_options listening_options() {
    net::listener_options chosen;
    chosen.on_pause = [this](std::error_code why) {
      if (log_ && pausing_.due())
        log_(log_level::error, "no connection can be accepted, trying again: " + why.message());
      net::worker* const here = net::worker::current();
      if (here != nullptr && (why == net::system_error(EMFILE) || why == net::system_error(ENFILE)))
        give_descriptors(*here);
    };
    return chosen;
  }
  asio::ip::tcp::endpoint accept(std::vector<std::unique_ptr<net::listener>> opened, std::optional<net::tls_context> tls) {
    auto const& context = contexts_.emplace_back(std::make_unique<by_worker>(workers_.size(), std::move(tls)));
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      net::worker& w = workers_.worker(i);
      auto const& mine = (*context)[i];
      accept_on const accepted(*this, w, mine ? &*mine : nullptr);
      asio::co_spawn(w.io, opened[i]->run(accepted), asio::detached);
      listeners_.push_back(listening{&w, std::move(opened[i])});
    }
    return listeners_.back().socket->local();
  }

  /// What a listener shows, by worker: each touches its own on its own thread only. None: no TLS.
  using by_worker = std::vector<std::optional<net::tls_context>>;
  struct listening {
    net::worker* owner;
    std::unique_ptr<net::listener> socket;
  };
  /// What a listener calls for each connection.
  struct accept_on {
    server& self;
    net::worker& worker;
    net::tls_context const* tls;
    accept_on(server& s, net::worker& w, net::tls_context const* t) : self(s), worker(w), tls(t) {}
    void operator()(net::tcp_stream s) const {
      admission place(self, worker, s.remote().address());
      if (!place) return;  // closed: better than serving none
      if (tls != nullptr) {
        asio::co_spawn(worker.io.get_executor(), handshake(self, worker, std::move(place), std::move(s), *tls),
                       asio::detached);
        return;
      }
      peer_info peer;
      peer.address = s.remote();
      self.serve(worker, std::move(place), any_stream(std::move(s)), std::move(peer));
    }
  };
  /// A connection's place among the limits, from when it is accepted to its end; false if there is none.
  class admission {
  public:
    admission(server& s, net::worker& w, asio::ip::address client) : client_(std::move(client)) {
      if (!s.peers_.enter(client_)) {
        s.refuse(s.hogged_, [&] {
          return client_.to_string() + " has " + std::to_string(s.options_.max_connections_per_peer) +
                 " (max_connections_per_peer)";
        });
        return;
      }
      if (s.connections_.fetch_add(1) < s.options_.max_connections || s.make_room(w)) {
        server_ = &s;
        s.accepted_.fetch_add(1, std::memory_order_relaxed);
        return;
      }
      s.connections_.fetch_sub(1);
      s.peers_.leave(client_);
      s.refuse(s.crowded_, [&] { return std::to_string(s.options_.max_connections) + " are open (max_connections)"; });
    }
    admission(admission&& o) noexcept : server_(std::exchange(o.server_, nullptr)), client_(o.client_) {}
    admission& operator=(admission&&) = delete;
    ~admission() {
      if (server_ == nullptr) return;
      server_->peers_.leave(client_);
      server_->connections_.fetch_sub(1);
    }
    explicit operator bool() const noexcept { return server_ != nullptr; }
    server& self() const noexcept { return *server_; }

  private:
    server* server_ = nullptr;
    asio::ip::address client_;
  };
  bool make_room(net::worker& w);
  using certificates = std::vector<std::shared_ptr<net::peer_certificate const>>;
  void judge_some(std::size_t worker, std::shared_ptr<net::client_gate> const& gate,
                  std::shared_ptr<certificates> const& rest);
  template <class Why>
  void refuse(seldom& line, Why why) {
    std::uint64_t const n = refused_.fetch_add(1) + 1;
    if (log_ && line.due())
      log_(log_level::warn, "a connection was refused: " + why() + "; " + std::to_string(n) + " so far");
  }
  bool end_idle(net::worker& w) {
    constexpr int look_at = 256;
    auto& live = live_[w.index];
    for (int i = 0; i < look_at && i < static_cast<int>(live.size()); ++i) {
      exchange* const x = live.front();
      live.splice(live.end(), live, live.begin());
      if (!x->idle() || x->draining()) continue;
      x->end_idle();
      return true;
    }
    return false;
  }
  /// Room for a few: those that are accepted need more, towards upstream.
  void give_descriptors(net::worker& w) {
    constexpr int at_once = 16;
    int ended = 0;
    while (ended < at_once && end_idle(w)) ++ended;
    if (ended == 0 && options_.make_room) (void)options_.make_room();
  }

  static asio::awaitable<void> handshake(server& self, net::worker& worker, admission place, net::tcp_stream tcp,
                                         net::tls_context const& tls) {
    admission held(std::move(place));  // to the end of this body, also if a parameter lives longer
    peer_info peer;
    peer.address = tcp.remote();
    peer.tls = true;
    std::uint64_t const judged_by = tls.clients() ? tls.clients()->generation() : 0;
    net::tls_stream<net::tcp_stream> secured(std::move(tcp), tls, net::tls_role::server);
    std::error_code ec;
    {
      net::deadline limit(worker.deadlines, secured);
      limit.arm(self.options_.handshake_timeout);
      ec = co_await secured.handshake();
    }
    if (!ec && tls.clients()) {
      peer.certificate = net::peer_certificate::of(secured.native());
      // Its place among the live ones comes later than the judgement: what has changed since is made up for here.
      bool const changed = tls.clients()->generation() != judged_by;
      if (!peer.certificate || (changed && !tls.clients()->admits(*peer.certificate)))
        ec = net::verify_error(X509_V_ERR_CERT_REJECTED);
    }
    if (ec) {
      // A client that refuses our certificate, or shows a bad one or none, is one that somebody will look for.
      bool const none = ec == net::ssl_error(SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
      auto& ended_so = none || net::is_verify_error(ec) ? self.handshakes_refused_ : self.handshakes_failed_;
      ended_so.fetch_add(1, std::memory_order_relaxed);
      if (self.refusals_.tell(ec, peer.address.address().to_string())) co_return;
      if ((none || net::is_verify_error(ec)) && self.options_.certificate_refused) self.options_.certificate_refused(peer, ec);
      bool const refused = none ? self.nameless_.due() : net::is_verify_error(ec) && self.untrusted_.due();
      if (self.log_)
        self.log_(refused ? log_level::warn : log_level::debug,
                  "handshake with " + peer.address.address().to_string() + ": " + ec.message());
      co_return;
    }
    self.handshakes_.fetch_add(1, std::memory_order_relaxed);
    self.serve(worker, std::move(held), any_stream(std::move(secured)), std::move(peer));
  }

  /// A connection whose exchanges are served, from when it can be told to end.
  struct open_connection {
    admission place;
    exchange x;
    std::list<exchange*>& live;
    std::list<exchange*>::iterator const at;

    open_connection(server& self, net::worker& worker, admission a, any_stream stream, peer_info peer)
        : place(std::move(a)),
          x(std::move(stream), std::move(peer), self.options_, worker),
          live(self.live_[worker.index]),
          at(live.insert(live.end(), &x)) {
      x.allow_parking();
      if (self.draining_.load()) x.drain();
    }
    open_connection(open_connection const&) = delete;
    open_connection& operator=(open_connection const&) = delete;
    ~open_connection() { live.erase(at); }
  };
  /// A coroutine of its own: nothing of the handshake is kept while it waits.
  void serve(net::worker& worker, admission place, any_stream stream, peer_info peer) {
    go_on(std::make_unique<open_connection>(*this, worker, std::move(place), std::move(stream), std::move(peer)));
  }
  void go_on(std::unique_ptr<open_connection> c) {
    auto const executor = c->x.worker().io.get_executor();
    asio::co_spawn(executor, exchanges(*this, std::move(c)), asio::detached);
  }
  static asio::awaitable<void> exchanges(server& self, std::unique_ptr<open_connection> c) {
    std::unique_ptr<open_connection> held(std::move(c));  // to the end of this body, also if a parameter lives longer
    co_await proxy::serve(held->x, self.handler_, self.log_);
    if (held->x.parked()) park(std::move(held));
  }
  /// It waits without a coroutine: thousands of idle connections do nothing else.
  static void park(std::unique_ptr<open_connection> c) {
    exchange& x = c->x;
    x.when_asked(wake_up(
        [](void* parked, bool call) {
          std::unique_ptr<open_connection> mine(static_cast<open_connection*>(parked));
          server& self = mine->place.self();
          try {
            if (call) self.go_on(std::move(mine));
          } catch (std::bad_alloc const&) {
            // A connection less.
          }
        },
        c.release()));
  }

  net::worker_pool& workers_;
  server_options options_;
  H handler_;
  log_sink log_;
  std::vector<std::unique_ptr<by_worker>> contexts_;
  std::vector<listening> listeners_;
  std::vector<std::list<exchange*>> live_;  // by worker, each touched on its own thread only
  std::atomic<std::size_t> connections_{0};
  std::atomic<std::uint64_t> refused_{0}, accepted_{0};
  std::atomic<std::uint64_t> handshakes_{0}, handshakes_refused_{0}, handshakes_failed_{0};
  peer_counts peers_;
  // One line in ten seconds for each.
  seldom crowded_{std::chrono::seconds(10)}, hogged_{std::chrono::seconds(10)}, pausing_{std::chrono::seconds(10)},
      untrusted_{std::chrono::seconds(10)}, nameless_{std::chrono::seconds(10)};
  certificate_refusals refusals_;
  std::atomic<bool> draining_{false};
};

/// Judges some of those that are left, and comes again for the others; what is new since has been judged already.
template <Handler H>
void server<H>::judge_some(std::size_t worker, std::shared_ptr<net::client_gate> const& gate,
                           std::shared_ptr<certificates> const& rest) {
  constexpr int at_once = 32;
  certificates refused;
  for (int i = 0; i < at_once && !rest->empty(); ++i) {
    if (!gate->admits(*rest->back())) refused.push_back(rest->back());
    rest->pop_back();
  }
  if (!refused.empty())
    for (exchange* x : live_[worker])
      if (std::find(refused.begin(), refused.end(), x->peer().certificate) != refused.end()) x->cut();
  if (!rest->empty())
    asio::post(workers_.worker(worker).io.get_executor(),
               [this, worker, gate, rest] { judge_some(worker, gate, rest); });
}

/// Ends one connection that nobody misses. Looks at a part of them each time, so that a flood of new ones costs little.
template <Handler H>
bool server<H>::make_room(net::worker& w) {
  return end_idle(w) || (options_.make_room && options_.make_room());
}

}  // namespace mgw::proxy
