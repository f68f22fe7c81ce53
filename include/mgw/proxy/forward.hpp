#pragma once

#include <mgw/body/pump.hpp>
#include <mgw/http/hop_by_hop.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/response_body.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

struct forward_options {
  upstream::endpoint upstream;
  std::string host;                            ///< `Host` as the upstream expects it: its authority, port included
  std::string path_prefix;                     ///< put before every target; empty or "/prefix"
  std::uint64_t max_body = 16u << 20;          ///< request body, bytes: 413
  std::size_t whole_body = 64 * 1024;          ///< a body up to this is held whole, so that the request can be repeated
  std::string via = "1.1 mgw";
  upstream::exchange_options exchange;
  /// Fields of the request that never go upstream, besides the hop-by-hop ones.
  std::function<bool(std::string_view name)> drop_request_field;
};

/// What a single forwarded request may do.
struct forward_call {
  forward_call() = default;
  bool may_repeat = false;      ///< a POST whose body is whole may be sent again if a reused connection died unanswered
  bool want_identity = false;   ///< ask for an uncoded response body: it is to be read here
  std::string_view extra_fields = {};  ///< complete field lines, CRLF included
};

/// How sending went: `ec` unset means that the response head is there.
struct forward_outcome {
  std::error_code ec;
  upstream::hop hop = upstream::hop::none;
  bool client_failed = false;   ///< the fault is the client's: broken or too large body
  int status = 0;               ///< the answer to give
};

/// One request on its way upstream and its response on the way back.
///
/// `send`, then look at `response()`, then either `relay` it or read the body here (it is a BodySource) and answer.
/// Rules: RFC 9110 7.6 (hop-by-hop fields, Via), RFC 9112 9.3.1 and RFC 9110 9.2.2 (what may be repeated).
/// Bodies pass byte for byte. Thread rule: the exchange's thread.
class forwarding {
public:
  forwarding(exchange& x, upstream::pool_set const& upstreams, forward_options const& options)
      : x_(x), pool_(*upstreams.of(x.worker())), options_(options) {}

  /// May be called again after a failure while `repeatable()`.
  asio::awaitable<forward_outcome> send(forward_call call = {});
  /// The request's body is whole in memory.
  bool repeatable() const noexcept { return body_whole_ && x_.request_body_done(); }
  http::response_head const& response() const noexcept { return up_->head(); }
  http::framing framing() const noexcept { return up_->framing(); }

  asio::awaitable<body::chunk> read_body() { return up_->read_body(); }
  /// Starts the client's response with the upstream's status and end-to-end fields, all but the length.
  void start_response(std::string_view without = {});
  /// Relays head and body. A body that breaks off breaks off at the client too: never a clean end.
  asio::awaitable<void> relay();
  /// Reads the whole response body, at most `max` bytes.
  asio::awaitable<std::error_code> read_whole(std::string& into, std::size_t max);

private:
  asio::awaitable<forward_outcome> take_body();
  asio::awaitable<forward_outcome> attempt(forward_call const& call, bool fresh);
  asio::awaitable<forward_outcome> stream_body();
  void build_head(forward_call const& call);

  exchange& x_;
  upstream::pool& pool_;
  forward_options const& options_;
  std::optional<upstream::client_exchange> up_;
  std::string body_;         // what was taken of the request's body before the first attempt
  bool body_whole_ = true;
  bool died_unanswered_ = false;
};

/// Answers what `forwarding::send` could not get: 502 or 504, or the client's own fault.
asio::awaitable<void> answer_failure(exchange& x, forward_outcome failure);

/// Relays every request to one upstream: a reverse proxy in a line.
class forward {
public:
  forward(upstream::pool_set const& upstreams, forward_options options)
      : upstreams_(&upstreams), options_(std::make_shared<forward_options const>(std::move(options))) {}
  asio::awaitable<void> operator()(exchange& x) const;

private:
  upstream::pool_set const* upstreams_;
  std::shared_ptr<forward_options const> options_;
};

/// Fields by which a proxy tells who asked and how: a client's own would be believed.
inline bool says_who_asked(std::string_view name) noexcept {
  constexpr std::string_view prefix = "X-Forwarded-";
  return http::iequals(name, "Forwarded") || (name.size() >= prefix.size() && http::iequals(name.substr(0, prefix.size()), prefix));
}

inline void forwarding::build_head(forward_call const& call) {
  auto const& r = x_.request();
  std::string& out = x_.scratch();
  out.clear();
  out.append(r.method).append(" ").append(options_.path_prefix).append(x_.target().path);
  if (x_.target().has_query) out.append("?").append(x_.target().query);
  out.append(" HTTP/1.1\r\n");
  http::append_field(out, "Host", options_.host);
  for (auto const& f : r.fields) {
    if (http::iequals(f.name, "Host") || http::iequals(f.name, "Content-Length") || http::iequals(f.name, "Expect")) continue;
    if (http::is_hop_by_hop(f.name, r.fields)) continue;
    if (call.want_identity && http::iequals(f.name, "Accept-Encoding")) continue;
    if (says_who_asked(f.name)) continue;
    if (options_.drop_request_field && options_.drop_request_field(f.name)) continue;
    http::append_field(out, f.name, f.value);
  }
  if (call.want_identity) http::append_field(out, "Accept-Encoding", "identity");
  http::append_field(out, "X-Forwarded-For", x_.peer().address.address().to_string());
  http::append_field(out, "X-Forwarded-Proto", x_.peer().tls ? "https" : "http");
  http::append_field(out, "Via", options_.via);
  out.append(call.extra_fields);
  auto const framing = x_.request_framing();
  if (body_whole_ && (framing.kind != http::body_kind::none || !body_.empty()))
    http::append_field(out, "Content-Length", std::uint64_t{body_.size()});
  else if (framing.kind == http::body_kind::length)
    http::append_field(out, "Content-Length", framing.length);
  else if (framing.kind == http::body_kind::chunked)
    http::append_field(out, "Transfer-Encoding", "chunked");
  http::end_head(out);
}

inline asio::awaitable<forward_outcome> forwarding::take_body() {
  forward_outcome out;
  auto const framing = x_.request_framing();
  if (framing.kind == http::body_kind::length && framing.length > options_.max_body) {
    out.ec = make_error_code(http::parse_error::body_too_large);
    out.client_failed = true;
    out.status = 413;
    co_return out;
  }
  if (framing.kind == http::body_kind::length && framing.length > options_.whole_body) {
    body_whole_ = false;
    co_return out;
  }
  while (!x_.request_body_done()) {
    body::chunk const c = co_await x_.read_body();
    if (c.ec) {
      out.ec = c.ec;
      out.client_failed = true;
      out.status = 400;
      co_return out;
    }
    body_.append(c.bytes);
    if (c.end) break;
    if (body_.size() > options_.whole_body) {
      body_whole_ = false;
      break;
    }
  }
  co_return out;
}

inline asio::awaitable<forward_outcome> forwarding::stream_body() {
  forward_outcome out;
  bool const chunked = x_.request_framing().kind == http::body_kind::chunked;
  std::uint64_t total = 0;
  std::string_view bytes = body_;
  for (;;) {
    if (up_->answered_early()) {  // a refusal, most likely: the rest of the body is for nobody (RFC 9112 9.5)
      up_->request_cut();
      co_return out;
    }
    if (!bytes.empty()) {
      total += bytes.size();
      if (total > options_.max_body) {
        out.ec = make_error_code(http::parse_error::body_too_large);
        out.client_failed = true;
        out.status = 413;
        co_return out;
      }
      if (chunked) {
        http::chunk_head const head(bytes.size());
        out.ec = co_await up_->send(head.view());
      }
      if (!out.ec) out.ec = co_await up_->send(bytes);
      if (!out.ec && chunked) out.ec = co_await up_->send(http::chunk_end);
      if (out.ec) co_return out;
    }
    if (x_.request_body_done()) break;
    body::chunk const c = co_await x_.read_body();
    if (c.ec) {
      out.ec = c.ec;
      out.client_failed = true;
      out.status = 400;
      co_return out;
    }
    bytes = c.bytes;
  }
  if (chunked) out.ec = co_await up_->send(http::last_chunk);
  co_return out;
}

inline asio::awaitable<forward_outcome> forwarding::attempt(forward_call const& call, bool fresh) {
  forward_outcome out;
  out.status = 502;
  died_unanswered_ = false;
  up_.reset();
  upstream::connected c = co_await pool_.connect(options_.upstream, fresh);
  if (!c.connection) {
    out.ec = c.ec;
    out.hop = c.failed_at;
    if (c.ec == upstream::error::connect_timeout) out.status = 504;
    co_return out;
  }
  up_.emplace(x_.worker().deadlines, std::move(*c.connection), options_.exchange);
  build_head(call);
  std::string& head = x_.scratch();
  if (body_whole_) head.append(body_);
  std::error_code ec = co_await up_->send(head);
  if (!ec && !body_whole_) {
    forward_outcome const streamed = co_await stream_body();
    if (streamed.client_failed) {
      up_.reset();  // a request that ends early must not look whole
      co_return streamed;
    }
    ec = streamed.ec;
  }
  if (ec) up_->request_cut();
  // Even after a failed write there may be an answer: an early refusal (RFC 9112 9.5).
  std::error_code const head_ec = co_await up_->read_head(x_.request().method);
  if (!head_ec) {
    out.status = 0;
    co_return out;
  }
  out.ec = ec ? ec : head_ec;
  out.hop = ec ? upstream::hop::request : upstream::hop::response;
  if (out.ec == upstream::error::response_timeout)
    out.status = 504;
  else
    died_unanswered_ = !up_->response_begun();
  co_return out;
}

inline asio::awaitable<forward_outcome> forwarding::send(forward_call call) {
  forward_outcome out = co_await take_body();
  if (out.ec) co_return out;
  out = co_await attempt(call, false);
  if (!out.ec || !died_unanswered_ || !up_->reused() || !body_whole_) co_return out;
  std::string_view const m = x_.request().method;
  bool const idempotent = m == "GET" || m == "HEAD" || m == "PUT" || m == "DELETE" || m == "OPTIONS" || m == "TRACE";
  if (idempotent || call.may_repeat) out = co_await attempt(call, true);
  co_return out;
}

inline void forwarding::start_response(std::string_view without) {
  auto const& r = up_->head();
  x_.start(r.status, r.reason);
  for (auto const& f : r.fields) {
    if (http::iequals(f.name, "Content-Length") || (!without.empty() && http::iequals(f.name, without))) continue;
    if (http::is_hop_by_hop(f.name, r.fields)) continue;
    x_.field(f.name, f.value);
  }
  x_.field("Via", options_.via);
}

inline asio::awaitable<void> forwarding::relay() {
  start_response();
  auto framing = up_->framing();
  if (framing.kind == http::body_kind::until_close) framing.kind = http::body_kind::chunked;
  if (framing.kind == http::body_kind::none) {
    // HEAD and 304 may say what length a GET would have had.
    auto const length = up_->head().fields.value("Content-Length");
    bool const digits = !length.empty() && std::all_of(length.begin(), length.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (digits && (x_.request().method == "HEAD" || up_->head().status == 304)) x_.field("Content-Length", length);
  }
  x_.end_head(framing);
  response_body to(x_);
  body::pump_result const r = co_await body::pump(*up_, to);
  if (r.source_error) x_.notes().failure = "upstream's body: " + r.source_error.message();
}

inline asio::awaitable<std::error_code> forwarding::read_whole(std::string& into, std::size_t max) {
  for (;;) {
    body::chunk const c = co_await up_->read_body();
    if (c.ec) co_return c.ec;
    if (c.bytes.size() > max - into.size()) co_return make_error_code(http::parse_error::body_too_large);
    into.append(c.bytes);
    if (c.end) co_return std::error_code{};
  }
}

inline asio::awaitable<void> answer_failure(exchange& x, forward_outcome failure) {
  x.notes().failure = std::string(upstream::to_string(failure.hop)) + ": " + failure.ec.message();
  if (failure.client_failed) x.close_after();
  std::string const text = x.options().error_body ? x.options().error_body(failure.status, x) : std::string();
  (void)co_await x.respond(failure.status, x.options().error_type, text);
}

inline asio::awaitable<void> forward::operator()(exchange& x) const {
  auto f = std::make_unique<forwarding>(x, *upstreams_, *options_);
  forward_outcome const sent = co_await f->send();
  if (!sent.ec) {
    co_await f->relay();
    co_return;
  }
  co_await answer_failure(x, sent);
}

}  // namespace mgw::proxy
