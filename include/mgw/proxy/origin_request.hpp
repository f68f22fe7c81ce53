#pragma once

#include <mgw/http/fields.hpp>
#include <mgw/http/hop_by_hop.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/upstream/cancellable.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/pool.hpp>
#include <mgw/upstream/proxy_rules.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// What a request for an object came to: an exchange whose response head is there and is no redirect, or a fault that
/// may pass, or a definite no of our own rules.
struct origin_answer {
  std::unique_ptr<upstream::client_exchange> up;
  bool forbidden = false;  ///< the link or a redirect leads where it may not
  std::string why;         ///< for the log: never the URL
  std::string host;        ///< who was asked last: a redirect may have led there
};

/// Whether a field that comes with a link may be sent along. What decides how the request is framed, where it goes,
/// which part of the object it asks for and under which conditions is ours alone: such a field would ask twice,
/// differently.
inline bool may_come_with_a_link(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 10> ours = {
      "host",     "content-length",    "accept-encoding",     "expect", "range", "if-match", "if-none-match",
      "if-range", "if-modified-since", "if-unmodified-since",
  };
  for (auto const& o : ours)
    if (http::iequals(o, name)) return false;
  return !http::is_hop_by_hop(name);
}

/// Asks for an object at its link, byte for byte as given, and follows redirects within bounds.
///
/// GET only (a signature covers the method), `Host` is the link's own authority, `Accept-Encoding: identity`; the
/// link's fields go to its first hop alone, those that `may_come_with_a_link`. Each hop is held against
/// `fetch_options::allows` and `reach`; https never leads to http. A pooled connection that died before any byte of a response is
/// replaced once. Where the link has a rate limit, the body waits for it, and while it is paused nothing is asked.
/// Source: RFC 9110 15.4, 9.2.2. Thread rule: the pool's worker.
class origin_request {
public:
  origin_request(upstream::pool& pool, net::deadline_queue& deadlines, fetch_options const& options,
                 fetch_counters& counters)
      : pool_(pool), deadlines_(deadlines), options_(options), counters_(counters) {}

  /// `fields`: further complete field lines (ranges and conditions). `watch(cancellable)` is told what is under way, and
  /// null afterwards, so that another party can cancel it.
  template <class Watch>
  asio::awaitable<origin_answer> ask(fetch_source const& source, std::string_view fields, Watch watch);

private:
  asio::awaitable<upstream::connected> connect(http::uri const& where, bool fresh, upstream::give_up& giver) {
    upstream::endpoint to(where);
    if (auto const& limit = options_.exchange.limit; limit && options_.can_wait) to.receive_buffer = limit->receive_buffer();
    if (options_.reach) to.within = options_.reach(where);
    return pool_.connect(std::move(to), fresh, &giver);
  }
  upstream::exchange_options exchange() const {
    auto o = options_.exchange;
    o.can_wait = options_.can_wait;
    return o;
  }
  std::string build_head(http::uri const& where, fetch_source const& source, std::string_view fields, bool first_hop,
                         upstream::http_proxy const* proxy) const;

  upstream::pool& pool_;
  net::deadline_queue& deadlines_;
  fetch_options const& options_;
  fetch_counters& counters_;
};

inline std::string origin_request::build_head(http::uri const& where, fetch_source const& source,
                                              std::string_view fields, bool first_hop,
                                              upstream::http_proxy const* proxy) const {
  std::string head;
  std::string target = where.request_target();
  if (proxy != nullptr) target.insert(0, "http://" + std::string(where.authority));  // RFC 9112 3.2.2
  http::append_request_line(head, "GET", target);
  http::append_field(head, "Host", where.authority);
  if (proxy != nullptr && !proxy->authorization.empty())
    http::append_field(head, "Proxy-Authorization", proxy->authorization);
  http::append_field(head, "Accept-Encoding", "identity");
  auto const is_agent = [](auto const& h) { return http::iequals(h.first, "User-Agent"); };
  if (!first_hop || std::none_of(source.headers.begin(), source.headers.end(), is_agent))
    http::append_field(head, "User-Agent", options_.user_agent);
  if (first_hop)
    for (auto const& [name, value] : source.headers)
      if (may_come_with_a_link(name)) http::append_field(head, name, value);
  head += fields;
  http::end_head(head);
  return head;
}

template <class Watch>
asio::awaitable<origin_answer> origin_request::ask(fetch_source const& source, std::string_view fields, Watch watch) {
  origin_answer a;
  std::string url = source.url;
  bool fresh = false;
  for (int hops = 0;;) {
    auto const where = http::parse_uri(url);
    if (!where || (options_.allows && !options_.allows(*where))) {
      a.forbidden = true;
      a.why = where ? "host " + std::string(where->host) + " is not allowed" : "the link is no http or https URI";
      co_return a;
    }
    if (options_.can_wait && options_.exchange.limit && options_.exchange.limit->paused()) {
      a.why = make_error_code(upstream::error::link_paused).message();
      co_return a;
    }
    std::string const name(where->authority);
    a.host = name;
    upstream::give_up giver;
    watch(&giver);
    upstream::connected c = co_await connect(*where, fresh, giver);
    watch(nullptr);
    if (giver.given()) {
      a.why = "given up";
      co_return a;
    }
    if (!c.connection) {
      a.forbidden = c.ec == upstream::error::private_address || c.ec == upstream::error::loop;
      counters_.errors.count(c.ec, c.failed_at);
      a.why = std::string(upstream::to_string(c.failed_at)) + " " + name + ": " + c.why();
      co_return a;
    }
    auto up = std::make_unique<upstream::client_exchange>(deadlines_, std::move(*c.connection), exchange());
    std::string const head = build_head(*where, source, fields, hops == 0, up->proxy());
    counters_.requests.fetch_add(1, std::memory_order_relaxed);
    watch(up.get());
    std::error_code ec = co_await up->send(head);
    auto const hop = ec ? upstream::hop::request : upstream::hop::response;
    if (!ec) ec = co_await up->read_head("GET");
    watch(nullptr);
    if (ec) {
      if (up->reused() && !up->response_begun() && !fresh) {
        fresh = true;
        continue;
      }
      counters_.errors.count(ec, hop);
      a.why = name + ": " + ec.message();
      co_return a;
    }
    fresh = false;
    int const status = up->head().status;
    if (up->proxy() != nullptr && status == 407) {
      counters_.errors.count(make_error_code(upstream::error::proxy_authentication), upstream::hop::proxy);
      a.why = "proxy " + name + ": " + make_error_code(upstream::error::proxy_authentication).message();
      co_return a;
    }
    bool const redirect = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (!redirect) {
      a.up = std::move(up);
      co_return a;
    }
    auto next = http::resolve_reference(*where, up->head().fields.value("Location"));
    auto const target = next ? http::parse_uri(*next) : result<http::uri>(next.error());
    if (!target || ++hops > options_.max_redirects || (where->tls && !target->tls)) {
      a.why = !target                         ? "redirected to no http or https URI"
              : hops > options_.max_redirects ? "too many redirects"
                                              : "redirected from https to http";
      co_return a;
    }
    url = *std::move(next);
  }
}

}  // namespace mgw::proxy
