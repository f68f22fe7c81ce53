#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/core/result.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

namespace mgw::cache {

/// A body being written into a store: in order, by one writer. Destroyed without `commit` or `suspend` it is dropped.
/// Not required: `p.set_labels(labels)`, error_code, where `meta::labels` are kept; whoever calls it asks first.
template <class P>
concept StorePart = std::movable<P> && requires(P& p, P const& c, std::string_view bytes, std::uint64_t length) {
  { c.body() } -> std::convertible_to<std::shared_ptr<file const>>;
  { c.size() } -> std::convertible_to<std::uint64_t>;
  { c.meta() } -> std::convertible_to<meta const&>;
  { p.append(bytes) } -> std::same_as<std::error_code>;
  { p.checkpoint() } -> std::same_as<std::error_code>;
  { p.commit(length) } -> std::same_as<std::error_code>;
  { p.suspend() } noexcept;
  { p.drop() } noexcept;
};

/// Keeps immutable bodies. Every operation may block and is called on a blocking_pool, from any of its threads. A long one
/// notes its progress (core/progress.hpp): a store that has not got on for a while counts as hung, and is passed by.
///
/// | expression | semantics |
/// |---|---|
/// | `s.open(k)` | result with `meta` and `body` of the complete object; what it promises can be read whole |
/// | `s.create(m)` | result<part>: an empty part with its length reserved; replaces a suspended one |
/// | `s.resume(k)` | result<part>: the part of an earlier fill up to its last checkpoint |
/// | `s.contains(k)` | whether a complete object is known; never blocks |
///
/// Not required, never blocking, asked by the functions below: `s.opens_slowly(k)`, `s.resumes_slowly(k)` and
/// `s.opens_as(k, meta, body)`, bool.
/// Single flight, readers and policy stand above it. Models: disk_store, memory_store. Page: docs/concepts/cache_store.md
template <class S>
concept CacheStore = requires(S& s, S const& c, key const& k, meta const& m) {
  requires StorePart<typename S::part_type>;
  { s.open(k)->meta } -> std::convertible_to<meta const&>;
  { s.open(k)->body } -> std::convertible_to<std::shared_ptr<file const>>;
  { s.create(m) } -> std::same_as<result<typename S::part_type>>;
  { s.resume(k) } -> std::same_as<result<typename S::part_type>>;
  { c.contains(k) } -> std::same_as<bool>;
};

/// Whether `s.open(k)` has much to read before it answers: then it is not for a thread that others wait for. A store that
/// does not say so is quick.
template <class S>
bool opens_slowly(S const& s, key const& k) {
  if constexpr (requires {
                  { s.opens_slowly(k) } -> std::same_as<bool>;
                })
    return s.opens_slowly(k);
  else
    return false;
}
/// The same of `s.resume(k)`.
template <class S>
bool resumes_slowly(S const& s, key const& k) {
  if constexpr (requires {
                  { s.resumes_slowly(k) } -> std::same_as<bool>;
                })
    return s.resumes_slowly(k);
  else
    return false;
}

/// Whether a store says of what it has opened that it would be opened just so again.
template <class S>
inline constexpr bool tells_opened = requires(S& s, key const& k, meta const& m, file const& body) {
  { s.opens_as(k, m, body) } -> std::same_as<bool>;
};
/// Whether `s.open(k)` would return just these, which it returned a moment ago and which are still open. A store that
/// does not say is asked to open the object each time.
template <class S>
bool opens_as(S& s, key const& k, meta const& about, file const& body) {
  if constexpr (tells_opened<S>)
    return s.opens_as(k, about, body);
  else
    return false;
}

}  // namespace mgw::cache
