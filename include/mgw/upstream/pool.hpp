#pragma once

#include <mgw/core/any_stream.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/keep_alive.hpp>
#include <mgw/net/tcp_stream.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/tls_stream.hpp>
#include <mgw/upstream/admission.hpp>
#include <mgw/upstream/dial.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/http_tunnel.hpp>
#include <mgw/upstream/pool_options.hpp>
#include <mgw/upstream/proxy_rules.hpp>
#include <mgw/upstream/resolver.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::upstream {

class pool;

/// A connected stream on loan. Given back with `done()` if the framing is clean; otherwise its destruction closes it.
class lease {
public:
  lease(lease&&) noexcept = default;
  lease& operator=(lease&&) noexcept = default;

  any_stream& stream() noexcept { return stream_; }
  /// False once the stream was given back.
  bool held() const noexcept { return static_cast<bool>(stream_); }
  /// True if the connection has served a request before: it may turn out to be dead already.
  bool reused() const noexcept { return reused_; }
  /// The HTTP proxy that it leads to, not through: requests are in absolute-form, with its authorization. Null: none.
  http_proxy const* proxy() const noexcept { return proxy_; }
  /// Returns the stream to the pool. Precondition: the last response was read to its end and both sides keep alive.
  void done();

private:
  friend class pool;
  lease(std::shared_ptr<pool> owner, endpoint where, any_stream s, bool reused);
  std::shared_ptr<pool> owner_;
  endpoint where_;
  any_stream stream_;
  bool reused_;
  http_proxy const* proxy_ = nullptr;
};

/// What `pool::connect` gives: a lease, or where and why it failed.
struct connected {
  std::optional<lease> connection;
  hop failed_at = hop::none;
  std::error_code ec;
  std::string reasons;  ///< of each address, where several failed

  /// For people: what failed, at each address if there were several.
  std::string why() const { return reasons.empty() ? ec.message() : reasons; }
};

/// Keep-alive connections of one thread to any number of upstreams.
///
/// Thread rule: one pool per worker thread, used on it alone. TLS sessions are kept per endpoint, so that a new
/// connection resumes. A connection that was closed or has bytes waiting while idle is not used again, as far as was known
/// a moment ago (look::lately): a response that nobody asked for must not meet the next request.
class pool : public std::enable_shared_from_this<pool> {
public:
  pool(net::deadline_queue& deadlines, net::tls_context tls, pool_options options = {})
      : deadlines_(deadlines), tls_(std::move(tls)), options_(std::move(options)), resolver_(options_.names) {
    // Behind a proxy its name says nothing here: it counts as a public host.
    auto& home = options_.rules.home;
    if (proxy_of(home) != nullptr && !address_without_lookup(home.host)) home = endpoint();
  }

  /// An idle connection if there is a good one and `fresh` is false, else a new one. The addresses that are connected to
  /// are those that were held against the rules: a name that changes its mind in between gains nothing.
  /// Errors: error::private_address, error::loop where the rules forbid all addresses; only these are definite.
  asio::awaitable<connected> connect(endpoint where, bool fresh = false, give_up* giver = nullptr);
  /// The idle connection that `connect` would give, without waiting for anything. False: there is none.
  bool reuse(endpoint const& where, connected& out);
  /// Whether the rules let `where` be connected to, as its name stands now; its errors are those of `connect`. Another
  /// answer may come when it is connected to.
  asio::awaitable<std::error_code> judge(endpoint where);

  std::size_t idle() const noexcept {
    std::size_t n = 0;
    for (auto const& [where, list] : idle_) n += list.size();
    return n;
  }
  /// Closes what is idle.
  void clear() noexcept {
    sweeping_.reset();
    idle_.clear();
  }

private:
  friend class lease;
  using clock = std::chrono::steady_clock;
  static constexpr std::size_t max_sessions = 256;
  struct parked {
    any_stream stream;
    clock::time_point since;
  };
  struct sweeper {  // what the deadline of the oldest idle connection "cancels"
    pool* of;
    void cancel() noexcept { of->sweep(); }
  };

  std::optional<any_stream> take_idle(endpoint const& where);
  void give_back(endpoint const& where, any_stream s);
  void drop_oldest() noexcept;
  void sweep() noexcept;
  http_proxy const* proxy_of(endpoint const& where) const {
    return options_.proxies && !options_.dial ? options_.proxies->of(where) : nullptr;
  }
  asio::awaitable<resolver::answer> find(endpoint& where, give_up* giver = nullptr);
  asio::awaitable<connected> dial(endpoint where, std::shared_ptr<resolver::list const> addresses, give_up* giver);

  net::deadline_queue& deadlines_;
  net::tls_context tls_;
  pool_options options_;
  resolver resolver_;
  std::map<endpoint, std::vector<parked>> idle_;
  std::map<endpoint, net::tls_session> sessions_;
  sweeper sweeper_{this};
  std::optional<net::deadline> sweeping_;  // armed while something is idle
};

inline lease::lease(std::shared_ptr<pool> owner, endpoint where, any_stream s, bool reused)
    : owner_(std::move(owner)), where_(std::move(where)), stream_(std::move(s)), reused_(reused),
      proxy_(where_.tls ? nullptr : owner_->proxy_of(where_)) {}

inline void lease::done() {
  if (owner_ && stream_) owner_->give_back(where_, std::move(stream_));
}

inline std::optional<any_stream> pool::take_idle(endpoint const& where) {
  auto const it = idle_.find(where);
  if (it == idle_.end()) return std::nullopt;
  auto& list = it->second;
  while (!list.empty()) {
    parked p = std::move(list.back());  // the youngest: most likely to be alive
    list.pop_back();
    if (clock::now() - p.since > options_.idle_timeout) {
      list.clear();  // all others are older
      break;
    }
    char byte = 0;
    p.stream.look_again(look::lately);  // since it was given back an end may have followed the answer
    io_result const r = p.stream.try_read(asio::buffer(&byte, 1));
    if (r.ec == asio::error::would_block) return std::move(p.stream);
  }
  return std::nullopt;
}

inline void pool::give_back(endpoint const& where, any_stream s) {
  if (options_.max_idle == 0 || options_.max_idle_in_all == 0) return;
  if (idle() >= options_.max_idle_in_all) drop_oldest();
  auto& list = idle_[where];
  if (list.size() >= options_.max_idle) list.erase(list.begin());
  list.push_back(parked{std::move(s), clock::now()});
  if (sweeping_) return;
  sweeping_.emplace(deadlines_, sweeper_);
  sweeping_->arm(options_.idle_timeout);
}

inline void pool::drop_oldest() noexcept {
  auto const age = [](auto const& e) { return e.second.empty() ? clock::time_point::max() : e.second.front().since; };
  auto const oldest =
      std::min_element(idle_.begin(), idle_.end(), [&](auto const& a, auto const& b) { return age(a) < age(b); });
  if (oldest != idle_.end() && !oldest->second.empty()) oldest->second.erase(oldest->second.begin());
}

/// Closes what has been idle for too long, and comes again when the next one has.
inline void pool::sweep() noexcept {
  auto const now = clock::now();
  auto oldest = clock::time_point::max();
  for (auto& [at, list] : idle_) {
    std::erase_if(list, [&](parked const& p) { return now - p.since >= options_.idle_timeout; });
    if (!list.empty()) oldest = std::min(oldest, list.front().since);
  }
  std::erase_if(idle_, [](auto const& e) { return e.second.empty(); });
  if (sessions_.size() > max_sessions) sessions_.clear();
  sweeping_.reset();  // an expired deadline stays so: a new one is needed
  if (idle_.empty()) return;
  sweeping_.emplace(deadlines_, sweeper_);
  sweeping_->arm_at(oldest + options_.idle_timeout);
}

inline bool pool::reuse(endpoint const& where, connected& out) {
  std::optional<any_stream> s = take_idle(where);
  if (s) out.connection = lease(shared_from_this(), where, std::move(*s), true);
  return out.connection.has_value();
}

inline asio::awaitable<std::error_code> pool::judge(endpoint where) {
  if (where.within == reach::anywhere || options_.dial) co_return std::error_code();
  resolver::answer const found = co_await find(where);
  co_return found.ec;
}

/// The addresses of `where` that the rules allow. Behind a proxy, none where it is a name.
inline asio::awaitable<resolver::answer> pool::find(endpoint& where, give_up* giver) {
  resolver::answer found;
  if (proxy_of(where) == nullptr) {
    found = co_await resolver_.resolve(where.host, where.port, giver);
  } else {
    auto const address = address_without_lookup(where.host);
    if (!address) co_return found;
    found.addresses = std::make_shared<resolver::list const>(1, asio::ip::tcp::endpoint(*address, where.port));
  }
  if (!found.ec && where.within != reach::anywhere)
    found.ec = co_await admit(options_.rules, resolver_, where, found, giver);
  co_return found;
}

inline asio::awaitable<connected> pool::connect(endpoint where, bool fresh, give_up* giver) {
  connected out;
  if (!fresh && reuse(where, out)) co_return out;
  if (options_.dial) {
    dialled d = co_await options_.dial(where);
    out.ec = d.ec;
    if (d.stream)
      out.connection = lease(shared_from_this(), where, std::move(*d.stream), false);
    else
      out.failed_at = hop::tcp;
    co_return out;
  }
  reach const asked = where.within;
  resolver::answer found = co_await find(where, giver);
  if (!found.ec && where.within != asked && !fresh && reuse(where, out)) co_return out;
  auto const* const by = proxy_of(where);
  bool const proxied = by != nullptr && !found.ec;
  if (proxied) found = co_await resolver_.resolve(by->where.host, by->where.port, giver);
  if (!found.ec) {
    out = co_await dial(where, found.addresses, giver);
    co_return out;
  }
  out.failed_at = proxied ? hop::proxy : hop::dns;
  out.ec = found.ec;
  co_return out;
}

inline asio::awaitable<connected> pool::dial(endpoint where, std::shared_ptr<resolver::list const> addresses,
                                                 give_up* giver) {
  connected out;
  dial_options how;
  how.timeout = options_.connect_timeout;
  how.stagger = options_.stagger;
  how.receive_buffer = where.receive_buffer;
  dialled_socket d = co_await dial_first(std::move(addresses), how, giver);
  auto const* const by = proxy_of(where);
  endpoint const& at = by != nullptr ? by->where : where;
  if (!d.socket) {
    resolver_.forget(at.host, at.port);
    out.failed_at = by != nullptr ? hop::proxy : hop::tcp;
    out.ec = d.ec;
    out.reasons = std::move(d.reasons);
    co_return out;
  }
  resolver_.prefer(at.host, at.port, d.peer);
  (void)net::probe_peer(d.socket->native_handle(), options_.peer_timeout);
  net::tcp_stream tcp(std::move(*d.socket));
  if (!where.tls) {
    out.connection = lease(shared_from_this(), where, any_stream(std::move(tcp)), false);
    co_return out;
  }
  if (by != nullptr) {
    net::deadline limit(deadlines_, tcp);
    give_up::during const watched(giver, &tcp);
    limit.arm(options_.connect_timeout);
    out.ec = co_await open_tunnel(tcp, where, *by);
    if (limit.expired()) out.ec = error::connect_timeout;
    if (out.ec) {
      out.failed_at = hop::proxy;
      co_return out;
    }
  }
  net::tls_stream<net::tcp_stream> tls(std::move(tcp), tls_, net::tls_role::client);
  tls.set_server_name(where.host);
  if (auto const it = sessions_.find(where); it != sessions_.end()) tls.resume(it->second);
  {
    net::deadline limit(deadlines_, tls);
    give_up::during const watched(giver, &tls);
    limit.arm(options_.connect_timeout);
    out.ec = co_await tls.handshake();
    if (limit.expired()) out.ec = error::connect_timeout;
  }
  if (out.ec) {  // the right host, but not one to trust: another address will not mend it
    sessions_.erase(where);
    resolver_.forget(at.host, at.port);
    out.failed_at = hop::tls;
    co_return out;
  }
  sessions_.insert_or_assign(where, tls.session());
  out.connection = lease(shared_from_this(), where, any_stream(std::move(tls)), false);
  co_return out;
}

}  // namespace mgw::upstream
