#pragma once

#include <concepts>
#include <string_view>
#include <utility>

namespace mgw::route {

/// What routes look at. `path` is in its one spelling (http::path_to_match), or `*` for OPTIONS of no resource: what is
/// sent on has the same segments and may spell them in another way.
struct request_line {
  std::string_view method;
  std::string_view path;
};

/// Tells whether a request is meant. `m(r)` -> bool, noexcept, without side effects, from any thread.
/// Models: everything below and what `&&`, `||`, `!` make of them. Page: docs/concepts/route_matcher.md
template <class M>
concept RouteMatcher = requires(M const& m, request_line const& r) {
  { m(r) } noexcept -> std::same_as<bool>;
  typename M::is_route_matcher;
};

/// Marks a matcher, so that the operators never catch somebody else's types.
struct matcher_base {
  using is_route_matcher = void;
};

struct method : matcher_base {
  std::string_view name;  ///< outlives the matcher: a literal
  constexpr explicit method(std::string_view n) noexcept : name(n) {}
  constexpr bool operator()(request_line const& r) const noexcept { return r.method == name; }
};
struct path : matcher_base {
  std::string_view text;
  constexpr explicit path(std::string_view t) noexcept : text(t) {}
  constexpr bool operator()(request_line const& r) const noexcept { return r.path == text; }
};
/// Matches whole segments: `prefix("/api")` matches `/api` and `/api/x`, not `/apix`.
struct prefix : matcher_base {
  std::string_view text;
  constexpr explicit prefix(std::string_view t) noexcept : text(t) {
    while (text.ends_with('/')) text.remove_suffix(1);
  }
  constexpr bool operator()(request_line const& r) const noexcept {
    return r.path.starts_with(text) && (r.path.size() == text.size() || r.path[text.size()] == '/');
  }
};
struct any : matcher_base {
  constexpr bool operator()(request_line const&) const noexcept { return true; }
};

template <RouteMatcher A, RouteMatcher B>
struct both : matcher_base {
  A a;
  B b;
  constexpr both(A x, B y) : a(std::move(x)), b(std::move(y)) {}
  constexpr bool operator()(request_line const& r) const noexcept { return a(r) && b(r); }
};
template <RouteMatcher A, RouteMatcher B>
struct either : matcher_base {
  A a;
  B b;
  constexpr either(A x, B y) : a(std::move(x)), b(std::move(y)) {}
  constexpr bool operator()(request_line const& r) const noexcept { return a(r) || b(r); }
};
template <RouteMatcher A>
struct negated : matcher_base {
  A a;
  constexpr explicit negated(A x) : a(std::move(x)) {}
  constexpr bool operator()(request_line const& r) const noexcept { return !a(r); }
};

template <RouteMatcher A, RouteMatcher B>
constexpr auto operator&&(A a, B b) {
  return both<A, B>(std::move(a), std::move(b));
}
template <RouteMatcher A, RouteMatcher B>
constexpr auto operator||(A a, B b) {
  return either<A, B>(std::move(a), std::move(b));
}
template <RouteMatcher A>
constexpr auto operator!(A a) {
  return negated<A>(std::move(a));
}

}  // namespace mgw::route
