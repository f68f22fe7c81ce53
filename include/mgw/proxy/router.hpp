#pragma once

#include <mgw/http/target.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/handler.hpp>
#include <mgw/route/matcher.hpp>

#include <asio/awaitable.hpp>

#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

namespace mgw::proxy {

/// A matcher and who answers what it matches. Made by `when`.
template <route::RouteMatcher M, Handler H>
struct rule {
  M matches;
  H answers;
  rule(M m, H h) : matches(std::move(m)), answers(std::move(h)) {}
};
template <route::RouteMatcher M, Handler H>
rule<M, H> when(M m, H h) {
  return rule<M, H>(std::move(m), std::move(h));
}

/// Answers with a fixed status, its text made by server_options::error_body.
struct answer_status {
  int status;
  explicit answer_status(int s) noexcept : status(s) {}
  asio::awaitable<void> operator()(exchange& x) const { return answer(x, status); }

private:
  // Not a member: `return answer_status(404)(x);` must not leave a coroutine that refers to the temporary.
  static asio::awaitable<void> answer(exchange& x, int code) {
    std::string const text = code >= 400 && x.options().error_body ? x.options().error_body(code, x) : std::string();
    (void)co_await x.respond(code, x.options().error_type, text);
  }
};

/// Hands an exchange to the first rule that matches; 404 if none does, 400 if an upstream could read another path than
/// the one that rules see (http::is_normal_path). Rules see it in one spelling, so that `/%61dmin` does not pass by a
/// rule for `/admin`. CONNECT is 501 (RFC 9110 9.3.6). Itself a Handler; adds no coroutine frame.
template <class... Rules>
class router {
public:
  explicit router(Rules... rules) : rules_(std::move(rules)...) {}

  asio::awaitable<void> operator()(exchange& x) const {
    route::request_line line;
    line.method = x.request().method;
    if (x.target().path == "*") {
      line.path = "*";
      return first<0>(x, line);
    }
    if (x.target().form == http::target_form::authority) {
      x.close_after();
      return no_tunnels_(x);
    }
    std::string room;  // rules are asked before this returns
    auto const path = http::path_to_match(x.target().path, room);
    if (!path) return bad_path_(x);
    line.path = *path;
    return first<0>(x, line);
  }

private:
  template <std::size_t I>
  asio::awaitable<void> first(exchange& x, route::request_line const& line) const {
    if constexpr (I == sizeof...(Rules)) {
      return not_found_(x);
    } else {
      auto const& r = std::get<I>(rules_);
      return r.matches(line) ? r.answers(x) : first<I + 1>(x, line);
    }
  }
  std::tuple<Rules...> rules_;
  answer_status bad_path_{400};
  answer_status not_found_{404};
  answer_status no_tunnels_{501};
};

}  // namespace mgw::proxy
