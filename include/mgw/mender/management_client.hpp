#pragma once

#include <mgw/core/log.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/mender/base64.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/pool_set.hpp>
#include <mgw/upstream/proxy_rules.hpp>

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::mender {

struct management_options {
  upstream::endpoint upstream;
  std::string host;         ///< `Host` as the server expects it
  std::string path_prefix;  ///< put before every path; empty or "/prefix"
  std::string username, password;
  std::string access_token;  ///< in place of these two
  upstream::exchange_options exchange;
  std::chrono::milliseconds call_limit{30'000};    ///< for one call, however it trickles
  std::chrono::milliseconds login_pause{60'000};   ///< after a login that was refused: accounts get locked
  std::chrono::milliseconds trouble_pause{5'000};  ///< after no answer, or one of 5xx
  std::chrono::milliseconds quota_pause{60'000};   ///< after a 429 without Retry-After
  /// Told of each call once it has ended: its status, or 0 if there was no whole answer. Any worker's thread.
  std::function<void(int status)> answered;
  log_sink log;

  management_options() {
    exchange.send_silence = exchange.response_timeout = exchange.body_silence = std::chrono::seconds(10);
  }
};

/// What the management API has answered.
struct management_answer {
  std::error_code ec;   ///< no answer
  int status = 0;       ///< 0: none, or it was not asked (`paused`)
  bool paused = false;  ///< it is left alone for a while
  int login_status = 0; ///< what the login was answered, if that kept the call from being made
  std::string body;

  management_answer() = default;
};

/// Calls of the Mender management API: logs in once, keeps the token, and logs in again only after a 401.
///
/// After a refused login, a 429 (for its Retry-After) and failures it asks nothing for a while, on all workers: a
/// server in trouble is left alone, and a caller does not wait. Source: server.md 6 of the protocol notes.
/// Thread rule: any worker.
class management_client {
public:
  management_client(upstream::pool_set const& upstreams, management_options options)
      : upstreams_(&upstreams), options_(std::move(options)), token_(options_.access_token) {
    options_.exchange.limits.max_head = std::min(options_.exchange.limits.max_head, std::size_t{16} << 10);
  }
  management_client(management_client const&) = delete;
  management_client& operator=(management_client const&) = delete;

  /// `json`: the body; empty: none. At most `max_body` bytes of an answer are taken.
  asio::awaitable<management_answer> call(net::worker& w, std::string method, std::string path, std::string json);

  /// Whether our credentials were refused when they were last looked at. Any thread.
  bool refused() const noexcept { return refused_.load(); }

  static constexpr std::size_t max_body = std::size_t{1} << 20;
  static constexpr std::chrono::hours longest_pause{1};

private:
  using clock = std::chrono::steady_clock;
  static constexpr std::size_t max_token = std::size_t{16} << 10;

  struct told {  // one answer, with what `call` looks at
    management_answer answer;
    std::string retry_after;
    bool repeatable = false;
    told() = default;
  };

  asio::awaitable<told> once(net::worker& w, std::string const& request, bool fresh);
  asio::awaitable<told> exchange(net::worker& w, std::string const& request);
  asio::awaitable<bool> sign_in(net::worker& w, std::string& token, management_answer& failure);
  std::string head(std::string_view method, std::string_view path, std::string_view authorization,
                   std::string_view json) const;
  std::string through(upstream::http_proxy const& proxy, std::string const& request) const;
  bool paused() const {
    std::lock_guard const hold(mutex_);
    return clock::now() < not_before_;
  }
  void pause(clock::duration d, std::string const& why);
  void judge(std::string const& request, told const& t);
  void forget(std::string const& token) {
    std::lock_guard const hold(mutex_);
    if (token_ == token) token_.clear();
  }
  bool begin_login() {
    std::lock_guard const hold(mutex_);
    return !std::exchange(logging_in_, true);
  }
  void end_login(std::string token) {
    std::lock_guard const hold(mutex_);
    logging_in_ = false;
    token_ = std::move(token);
  }
  std::string current() const {
    std::lock_guard const hold(mutex_);
    return token_;
  }

  upstream::pool_set const* upstreams_;
  management_options options_;
  mutable std::mutex mutex_;
  std::string token_;  // empty: to log in
  bool logging_in_ = false;
  std::atomic<bool> refused_{false};
  clock::time_point not_before_{};
};

inline std::string management_client::head(std::string_view method, std::string_view path,
                                           std::string_view authorization, std::string_view json) const {
  std::string out(method);
  out.append(" ").append(options_.path_prefix).append(path).append(" HTTP/1.1\r\n");
  http::append_field(out, "Host", options_.host);
  http::append_field(out, "Authorization", authorization);
  http::append_field(out, "Accept", "application/json, application/jwt");
  if (!json.empty()) http::append_field(out, "Content-Type", "application/json");
  if (method != "GET") http::append_field(out, "Content-Length", std::to_string(json.size()));
  out.append("\r\n").append(json);
  return out;
}

/// The same to an HTTP proxy: the whole URI, and our credentials there. Source: RFC 9112 3.2.2.
inline std::string management_client::through(upstream::http_proxy const& proxy, std::string const& request) const {
  std::string out = request;
  if (!proxy.authorization.empty()) {
    std::string field;
    http::append_field(field, "Proxy-Authorization", proxy.authorization);
    out.insert(out.find("\r\n") + 2, field);
  }
  out.insert(out.find(' ') + 1, "http://" + options_.host);
  return out;
}

inline void management_client::pause(clock::duration d, std::string const& why) {
  d = std::min<clock::duration>(d, longest_pause);
  {
    std::lock_guard const hold(mutex_);
    not_before_ = std::max(not_before_, clock::now() + d);
  }
  auto const seconds = std::chrono::duration_cast<std::chrono::seconds>(d).count();
  if (options_.log)
    options_.log(log_level::warn, "management API: " + why + "; not asked for " + std::to_string(seconds) +
                                      " s, devices are relayed all the same");
}

/// What an answer says about the next ones.
inline void management_client::judge(std::string const& request, told const& t) {
  management_answer const& a = t.answer;
  if (a.ec == mender_error::answer_too_large)
    return pause(options_.trouble_pause,
                 "the answer to " + request.substr(0, request.find(" HTTP/1.1\r\n")) + " has more than " +
                     std::to_string(max_body) +
                     " bytes, the most that is taken of one (no key sets that), and was given up; is "
                     "UpstreamServer.URL (UPSTREAM_SERVER_URL) a Mender server?");
  if (a.ec) return pause(options_.trouble_pause, a.ec.message());
  if (a.status >= 500) return pause(options_.trouble_pause, "status " + std::to_string(a.status));
  if (a.status != 429) return;
  unsigned seconds = 0;
  char const* const end = t.retry_after.data() + t.retry_after.size();
  auto const [read, ec] = std::from_chars(t.retry_after.data(), end, seconds);
  bool const said = ec == std::errc{} && read == end;
  pause(said ? clock::duration(std::chrono::seconds(std::max(1U, seconds))) : options_.quota_pause, "status 429");
}

inline asio::awaitable<management_client::told> management_client::once(net::worker& w, std::string const& request,
                                                                        bool fresh) {
  told out;
  upstream::connected c = co_await upstreams_->of(w)->connect(options_.upstream, fresh);
  if (!c.connection) {
    out.answer.ec = c.ec;
    co_return out;
  }
  upstream::client_exchange up(w.deadlines, std::move(*c.connection), options_.exchange);
  net::deadline whole(w.deadlines, up);
  whole.arm(options_.call_limit);
  std::string_view const method = std::string_view(request).substr(0, request.find(' '));
  std::string const proxied = up.proxy() != nullptr ? through(*up.proxy(), request) : std::string();
  std::string_view const text = proxied.empty() ? request : proxied;
  std::error_code const sent = co_await up.send(text);
  out.answer.ec = co_await up.read_head(method);  // also after a failed write: an early refusal
  if (whole.expired()) out.answer.ec = upstream::error::response_timeout;
  if (out.answer.ec) {
    // Silence is no sign that the connection had died while it was idle.
    bool const silent = out.answer.ec == upstream::error::response_timeout;
    out.repeatable = up.reused() && !up.response_begun() && !silent;
    if (sent) out.answer.ec = sent;
    co_return out;
  }
  out.answer.status = up.head().status;
  if (up.proxy() != nullptr && out.answer.status == 407) {  // said to us by the proxy, not by the server
    out.answer.ec = upstream::error::proxy_authentication;
    co_return out;
  }
  out.retry_after = std::string(up.head().fields.value("Retry-After"));
  for (;;) {
    body::chunk const piece = co_await up.read_body();
    if (piece.ec || piece.bytes.size() > max_body - out.answer.body.size()) {
      out.answer.ec = piece.ec ? piece.ec : make_error_code(mender_error::answer_too_large);
      if (whole.expired()) out.answer.ec = upstream::error::response_timeout;
      break;
    }
    out.answer.body += piece.bytes;
    if (piece.end) break;
  }
  co_return out;
}

inline asio::awaitable<management_client::told> management_client::exchange(net::worker& w,
                                                                            std::string const& request) {
  told out = co_await once(w, request, false);
  if (out.answer.ec && out.repeatable) out = co_await once(w, request, true);
  if (options_.answered) options_.answered(out.answer.ec ? 0 : out.answer.status);
  judge(request, out);
  co_return out;
}

/// The token to use. False: there is none, `failure` says why. One caller logs in; the others wait for what it gets.
inline asio::awaitable<bool> management_client::sign_in(net::worker& w, std::string& token,
                                                        management_answer& failure) {
  for (;;) {
    failure.paused = paused();
    if (failure.paused) co_return false;
    token = current();
    if (!token.empty()) co_return true;
    bool const mine = begin_login();
    if (mine) break;
    asio::steady_timer soon(w.io.get_executor());
    soon.expires_after(std::chrono::milliseconds(20));
    std::error_code ignored;
    co_await soon.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  struct ends_login {
    management_client& self;
    std::string& token;
    ends_login(management_client& s, std::string& t) noexcept : self(s), token(t) {}
    ends_login(ends_login const&) = delete;
    ends_login& operator=(ends_login const&) = delete;
    ~ends_login() { self.end_login(token); }
  } const ended(*this, token);
  std::string const credentials = "Basic " + encode_base64(options_.username + ':' + options_.password);
  std::string const request = head("POST", "/api/management/v1/useradm/auth/login", credentials, {});
  told t = co_await exchange(w, request);
  std::string_view got = t.answer.body;
  while (!got.empty() && (got.back() == '\n' || got.back() == '\r')) got.remove_suffix(1);
  bool const plain = !got.empty() && got.size() <= max_token &&
                     std::all_of(got.begin(), got.end(), [](char c) { return c > ' ' && c < 0x7F; });
  if (t.answer.status == 200 && !t.answer.ec && plain) {
    token = got;
    co_return true;
  }
  failure = std::move(t.answer);
  if (!failure.ec && failure.status < 500 && failure.status != 429) {
    refused_ = true;
    pause(options_.login_pause, "the login of " + options_.username +
                                    (failure.status == 200 ? " was answered with something else than a token"
                                                           : " was refused, status " + std::to_string(failure.status)));
  }
  failure.login_status = std::exchange(failure.status, 0);  // an answer to the login is none to the call
  failure.paused = true;
  failure.body.clear();
  co_return false;
}

inline asio::awaitable<management_answer> management_client::call(net::worker& w, std::string method, std::string path,
                                                                  std::string json) {
  for (bool first = true;; first = false) {
    std::string token;
    management_answer failure;
    bool const signed_in = co_await sign_in(w, token, failure);
    if (!signed_in) co_return failure;
    std::string const request = head(method, path, "Bearer " + token, json);
    told t = co_await exchange(w, request);
    if (t.answer.status != 401) {
      if (!t.answer.ec) refused_ = false;
      co_return std::move(t.answer);
    }
    bool const last = !first || !options_.access_token.empty();
    if (last) {
      refused_ = true;
      pause(options_.login_pause, options_.access_token.empty() ? "a new session is refused, status 401"
                                                                : "the access token is refused, status 401");
      co_return std::move(t.answer);
    }
    forget(token);  // the session has ended
  }
}

}  // namespace mgw::mender
