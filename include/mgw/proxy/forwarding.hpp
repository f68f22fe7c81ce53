#pragma once

#include <mgw/body/pump.hpp>
#include <mgw/http/hop_by_hop.hpp>
#include <mgw/http/target.hpp>
#include <mgw/proxy/answer_failure.hpp>
#include <mgw/proxy/error_type.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward_head.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/proxy/response_body.hpp>
#include <mgw/proxy/tunnel.hpp>
#include <mgw/proxy/upload.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// One request on its way upstream and its response on the way back.
///
/// `send`, then look at `response()`, then either `relay` it or read the body here (it is a BodySource) and answer.
/// A small body is taken whole before the upstream hears of it, so that the request can be repeated; a large one, or
/// one that the client holds back (`Expect: 100-continue`), is sent while the response is awaited. Interim responses
/// pass. Rules: RFC 9110 7.6 (hop-by-hop fields, Via), 10.1.1 (Expect), 15.2 (1xx), RFC 9112 9.3.1 and RFC 9110 9.2.2
/// (what may be repeated), RFC 9112 9.5 (early refusals). Bodies pass byte for byte. Thread rule: the exchange's
/// thread.
class forwarding {
public:
  forwarding(exchange& x, upstream::pool_set const& upstreams, forward_options const& options)
      : x_(x), pool_(*upstreams.of(x.worker())), options_(options) {}
  forwarding(forwarding const&) = delete;
  forwarding& operator=(forwarding const&) = delete;

  /// May be called again after a failure while `repeatable()`.
  asio::awaitable<forward_outcome> send(forward_call call = {});
  /// What was taken of the request's body before it went upstream.
  std::string_view taken_body() const noexcept { return body_; }
  /// The request's body is whole in memory.
  bool repeatable() const noexcept { return body_whole_ && x_.request_body_done(); }
  /// Takes up to `most` bytes of the request's body before `send`, for who wants to see it whole: then it is
  /// `repeatable()`. A client that holds it back is told to go on. May be called again, with more.
  asio::awaitable<forward_outcome> hold_body(std::size_t most);
  /// The same where there is no body, or none any more: nothing is waited for.
  forward_outcome hold_no_body() {
    forward_outcome judged = judge();
    held_ = !judged.ec;
    return judged;
  }
  /// What was taken of the body.
  std::string const& held_body() const noexcept { return body_; }
  /// Sends this instead, with a length. Precondition: `repeatable()`.
  void replace_body(std::string body) { body_ = std::move(body); }
  http::response_head const& response() const noexcept { return up_->head(); }
  http::framing framing() const noexcept { return up_->framing(); }

  asio::awaitable<body::chunk> read_body() { return up_->read_body(); }
  /// Starts the client's response with the upstream's status and end-to-end fields, all but the length.
  void start_response(std::string_view without = {});
  /// Relays head and body, or opens the tunnel of a 101. A body that breaks off breaks off at the client too: never a
  /// clean end. `first`: what was read of the body already.
  asio::awaitable<void> relay(std::string_view first = {});
  /// Reads the whole response body, at most `max` bytes. With parse_error::body_too_large `into` has what was read so
  /// far, more than that: `relay(into)` goes on with it.
  asio::awaitable<std::error_code> read_whole(std::string& into, std::size_t max);

private:
  forward_outcome judge() const;
  asio::awaitable<forward_outcome> take_body();
  asio::awaitable<forward_outcome> attempt(forward_call const& call, bool fresh);
  asio::awaitable<forward_outcome> ask_and_listen();
  asio::awaitable<std::error_code> hear_out();
  std::error_code judge_switch() const;
  asio::awaitable<bool> answered_before_body(std::error_code& ec);
  asio::awaitable<void> relay_tunnel();
  asio::awaitable<std::error_code> relay_interim();
  std::string_view build_head(forward_call const& call);
  bool may_repeat(forward_call const& call) const noexcept;

  exchange& x_;
  upstream::pool& pool_;
  forward_options const& options_;
  std::optional<upstream::client_exchange> up_;
  std::string body_;  // what was taken of the request's body before the first attempt
  std::string unsent_;  // of the head and that body
  bool body_whole_ = true;
  bool held_ = false;  // by hold_body or hold_no_body
  bool died_unanswered_ = false;
  std::string_view upgrade_;      // the protocol that was asked for
  std::optional<upload> upload_;  // of a body that is not held whole
};

/// The head, and the body where it is whole: there until another one is built on this thread. Nearly always it is sent at
/// once, and no connection needs room of its own for it.
inline std::string_view forwarding::build_head(forward_call const& call) {
  forward_head head;
  head.framing = x_.request_framing();
  if (body_whole_ && (head.framing.kind != http::body_kind::none || !body_.empty())) {
    head.framing.kind = http::body_kind::length;
    head.framing.length = body_.size();
  }
  head.expect = !body_whole_ && x_.awaits_continue();
  head.upgrade = upgrade_ = asked_upgrade(x_, options_);
  head.proxy = up_->proxy();
  constexpr std::size_t most_kept = std::size_t{64} << 10;
  thread_local std::string out;
  if (out.capacity() > most_kept) out = std::string();
  out.clear();
  append_forward_head(out, x_, options_, call, head);
  if (body_whole_) out.append(body_);
  return out;
}

inline asio::awaitable<forward_outcome> forwarding::hold_body(std::size_t most) {
  forward_outcome const judged = judge();
  if (judged.ec) co_return judged;
  held_ = true;
  auto const too_large = make_error_code(http::parse_error::body_too_large);
  auto const framing = x_.request_framing();
  if (framing.kind == http::body_kind::length && framing.length > options_.max_body)
    co_return client_fault(too_large, 413);
  while (!x_.request_body_done() && body_.size() <= most) {
    body::chunk const c = co_await x_.read_body();
    if (c.ec) co_return client_fault(c.ec, 400);
    if (body_.size() + c.bytes.size() > options_.max_body) co_return client_fault(too_large, 413);
    body_.append(c.bytes);
    if (c.end) break;
  }
  body_whole_ = x_.request_body_done();
  co_return judged;
}

inline asio::awaitable<forward_outcome> forwarding::take_body() {
  forward_outcome const taken;
  auto const too_large = make_error_code(http::parse_error::body_too_large);
  auto const framing = x_.request_framing();
  if (framing.kind == http::body_kind::length && framing.length > options_.max_body)
    co_return client_fault(too_large, 413);
  bool const large = framing.kind == http::body_kind::length && framing.length > options_.whole_body;
  if (large || x_.awaits_continue()) {
    body_whole_ = false;
    co_return taken;
  }
  while (!x_.request_body_done()) {
    body::chunk const c = co_await x_.read_body();
    if (c.ec) co_return client_fault(c.ec, 400);
    if (body_.size() + c.bytes.size() > options_.max_body) co_return client_fault(too_large, 413);
    body_.append(c.bytes);
    if (c.end) break;
    if (body_.size() > options_.whole_body) {
      body_whole_ = false;
      break;
    }
  }
  co_return taken;
}

inline asio::awaitable<std::error_code> forwarding::relay_interim() {
  std::string const head = interim_head(up_->head());
  std::error_code const ec = co_await x_.interim(head);
  co_return ec;
}

/// Waits for the final response head, passing interim ones on.
inline asio::awaitable<std::error_code> forwarding::hear_out() {
  for (;;) {
    std::error_code ec = co_await up_->next_head(x_.request().method);
    if (!ec && up_->interim()) ec = co_await relay_interim();
    if (ec) co_return ec;
    if (!up_->interim()) break;
  }
  co_return judge_switch();
}

/// A 101 that nobody asked for.
inline std::error_code forwarding::judge_switch() const {
  if (up_->head().status != 101) return {};
  bool const asked = !upgrade_.empty() && up_->head().fields.list_contains("Upgrade", upgrade_);
  return asked ? std::error_code() : make_error_code(upstream::error::unasked_upgrade);
}

/// A client holds its body back until the upstream, or we for it, tells it to go on. True: there is a final answer, or
/// `ec`, before any body.
inline asio::awaitable<bool> forwarding::answered_before_body(std::error_code& ec) {
  up_->request_open();
  if (x_.has_unread()) co_return false;  // it did not wait
  for (;;) {
    ec = co_await up_->next_head_within(x_.request().method, options_.continue_timeout);
    if (ec == std::errc::timed_out) {  // many servers never answer an expectation
      ec.clear();
      co_return false;
    }
    if (!ec && !up_->interim()) ec = judge_switch();
    if (ec || !up_->interim()) co_return true;
    if (up_->head().status == 100) co_return false;
    ec = co_await relay_interim();
    if (ec) co_return true;
  }
}

/// The head is out: sends what is left of the request and waits for the response, at the same time.
inline asio::awaitable<forward_outcome> forwarding::ask_and_listen() {
  forward_outcome out;
  if (x_.awaits_continue()) {
    bool const answered = co_await answered_before_body(out.ec);
    if (answered) {
      up_->request_cut();
      x_.close_after();  // whether the body follows all the same is the client's choice
      co_return out;
    }
    out.ec = co_await x_.send_continue();
    if (out.ec) co_return out;
  }
  upload_.emplace(x_, *up_, body_, options_.max_body);
  upload_->start();
  out.ec = co_await hear_out();
  if (out.ec || up_->head().status >= 400) {  // the rest of the body is for nobody (RFC 9112 9.5)
    if (upload_->running()) x_.close_after();
    co_await upload_->stop();
  }
  if (upload_->outcome().client_failed || (out.ec && upload_->outcome().ec)) co_return upload_->outcome();
  co_return out;
}

inline asio::awaitable<forward_outcome> forwarding::attempt(forward_call const& call, bool fresh) {
  forward_outcome out;
  died_unanswered_ = false;
  upload_.reset();
  up_.reset();
  upstream::connected c;
  if (fresh || !pool_.reuse(options_.upstream, c)) c = co_await pool_.connect(options_.upstream, fresh);
  if (!c.connection) {
    out.ec = c.ec;
    out.hop = c.failed_at;
    out.reasons = std::move(c.reasons);
    out.status = c.ec == upstream::error::connect_timeout ? 504 : 502;
    co_return out;
  }
  up_.emplace(x_.worker().deadlines, std::move(*c.connection), options_.exchange);
  std::string_view head = build_head(call);
  std::error_code sent = up_->send_now(head);
  if (!sent && !head.empty()) {
    head = unsent_ = head;
    sent = co_await up_->send(head);
  }
  if (!sent && !body_whole_) {
    out = co_await ask_and_listen();
  } else {
    if (sent) up_->request_cut();
    out.ec = co_await up_->next_head(x_.request().method);  // even after a failed write: there may be an early refusal
    if (!out.ec && up_->interim()) {
      out.ec = co_await relay_interim();
      if (!out.ec) out.ec = co_await hear_out();
    } else if (!out.ec) {
      out.ec = judge_switch();
    }
    if (out.ec && sent) out.ec = sent;
  }
  if (!out.ec && up_->proxy() != nullptr && up_->head().status == 407) {  // said to us, not to the client
    out.ec = upstream::error::proxy_authentication;
    out.hop = upstream::hop::proxy;
    out.status = 502;
    co_return out;
  }
  if (!out.ec || out.client_failed) co_return out;
  bool const cut = sent || (upload_ && upload_->outcome().ec);
  out.hop = cut ? upstream::hop::request : upstream::hop::response;
  out.status = out.ec == upstream::error::response_timeout ? 504 : 502;
  died_unanswered_ = out.status == 502 && !up_->response_begun();
  co_return out;
}

/// Source: RFC 9110 9.2.2.
inline bool forwarding::may_repeat(forward_call const& call) const noexcept {
  bool const whole = body_whole_ || x_.awaits_continue();  // nothing of it was read that is not here
  std::string_view const m = x_.request().method;
  bool const idempotent = m == "GET" || m == "HEAD" || m == "PUT" || m == "DELETE" || m == "OPTIONS" || m == "TRACE";
  return whole && (idempotent || call.may_repeat);
}

/// What is not to be forwarded at all.
inline forward_outcome forwarding::judge() const {
  auto const& r = x_.request();
  auto const& target = x_.target();
  if (target.form == http::target_form::authority)  // CONNECT: everybody's way into the network behind us
    return client_fault(std::make_error_code(std::errc::function_not_supported), 501);
  if (target.path != "*" && !options_.any_path && !http::is_normal_path(target.path))
    return client_fault(make_error_code(http::parse_error::bad_target), 400);
  if (is_loop(r.fields, options_.pseudonym)) return client_fault(upstream::error::loop, 508);
  forward_outcome out;
  if (max_forwards(r) == 0) {
    out.ec = upstream::error::max_forwards;
    out.status = r.method == "OPTIONS" ? 200 : 501;  // as if we were the last recipient
  }
  return out;
}

inline asio::awaitable<forward_outcome> forwarding::send(forward_call call) {
  forward_outcome out;
  if (!held_) {
    out = judge();
    if (!out.ec) out = co_await take_body();
    if (out.ec) co_return out;
  }
  if (call.before != nullptr && body_whole_) co_await (*call.before)(body_);
  auto const begun = std::chrono::steady_clock::now();
  out = co_await attempt(call, false);
  bool const again = out.ec && died_unanswered_ && up_->reused() && may_repeat(call);
  if (again) out = co_await attempt(call, true);
  x_.notes().upstream += std::chrono::steady_clock::now() - begun;
  co_return out;
}

inline void forwarding::start_response(std::string_view without) {
  auto const& r = up_->head();
  x_.start(r.status, r.reason);
  for (auto const& f : r.fields) {
    if (http::iequals(f.name, "Content-Length") || (!without.empty() && http::iequals(f.name, without))) continue;
    if (http::is_hop_by_hop(f.name, r.fields)) continue;
    x_.parsed_field(f);
  }
  x_.field("Via", via(r.minor, options_.pseudonym));
}

inline asio::awaitable<void> forwarding::relay_tunnel() {
  start_response();
  x_.field("Connection", "Upgrade");
  x_.field("Upgrade", upgrade_);
  x_.end_head({});
  x_.close_after();
  std::error_code const ec = co_await x_.finish();
  if (ec) co_return;
  auto const what = http::iequals(upgrade_, "websocket") ? tunnel::protocol::websocket : tunnel::protocol::unknown;
  tunnel t(x_, up_->stream(), options_.tunnel_silence, options_.exchange.limit.get(), what);
  std::string_view const first = up_->take_unread();
  co_await t.run(first);
  if (!t.clean()) x_.notes().failure = "the tunnel broke off";
}

inline asio::awaitable<void> forwarding::relay(std::string_view first) {
  if (up_->head().status == 101) {
    co_await relay_tunnel();
    co_return;
  }
  start_response();
  auto framing = up_->framing();
  if (framing.kind == http::body_kind::until_close) framing.kind = http::body_kind::chunked;
  if (framing.kind == http::body_kind::none) {
    // HEAD and 304 may say what length a GET would have had; a 204 has no length (RFC 9110 8.6).
    auto const length = up_->head().fields.value("Content-Length");
    bool const said = !length.empty() && http::all_of(length, http::chars::digit);
    int const status = up_->head().status;
    if (said && status != 204 && (x_.request().method == "HEAD" || status == 304)) x_.field("Content-Length", length);
  }
  x_.end_head(framing);
  body::chunk c = up_->received_body();
  if (c.end && !c.ec && first.empty() && !upload_) {  // a small answer, which came whole: no coroutine for it
    std::error_code ec;
    bool const done = x_.finish_now(c.bytes, ec);
    if (!done) ec = co_await x_.finish_rest(c.bytes);
    if (ec && !c.bytes.empty()) x_.abort();
    co_return;
  }
  bool const nothing = c.bytes.empty() && !c.end && !c.ec;
  if (nothing && up_->would_wait()) (void)co_await x_.flush();  // a head may come long before its body
  response_body to(x_);
  std::error_code lost;
  if (!first.empty()) lost = co_await to.write(first);
  if (lost) {
    to.abort();
    if (upload_) co_await upload_->stop();
    co_return;
  }
  body::pump_result const r = co_await body::pump(*up_, to, c);
  if (r.source_error && !x_.head_sent()) {
    if (upload_) co_await upload_->stop();
    forward_outcome bad;
    bad.ec = r.source_error;
    bad.hop = upstream::hop::response;
    bad.status = 502;
    co_await answer_failure(x_, options_, bad);
    co_return;
  }
  if (r.source_error) {
    forward_outcome broken;
    broken.ec = r.source_error;
    broken.hop = upstream::hop::response;
    x_.notes().upstream_error = proxy_error_type(broken);
    x_.notes().failure = "upstream's body: " + r.source_error.message();
  }
  if (upload_) co_await upload_->stop();
}

inline asio::awaitable<std::error_code> forwarding::read_whole(std::string& into, std::size_t max) {
  std::error_code ec;
  for (;;) {
    body::chunk const c = co_await up_->read_body();
    ec = c.ec;
    if (ec) break;
    into.append(c.bytes);
    if (into.size() > max) co_return make_error_code(http::parse_error::body_too_large);
    if (c.end) break;
  }
  if (upload_) co_await upload_->stop();
  co_return ec;
}

}  // namespace mgw::proxy
