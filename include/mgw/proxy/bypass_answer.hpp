#pragma once

#include <mgw/cache/generation.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/range.hpp>
#include <mgw/proxy/body_position.hpp>
#include <mgw/proxy/resume.hpp>
#include <mgw/upstream/client_exchange.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What a 200 or 206 of upstream is to a client that goes past the store (pass_through).
namespace mgw::proxy::bypass_answer {

/// What a 200 or 206 is to a body that was begun.
enum class continuation {
  follows,      ///< it goes on with it
  unusable,     ///< it says nothing about the object: an answer to another question, or a coding of it
  nameless,     ///< no ETag, where the object has a strong one: a page of somebody in between
  contradicts,  ///< another length under the same strong ETag
  replaced      ///< it is of another generation
};
/// What this response is to the body that stands at `at`, of which `next` is the byte that is asked for. If it follows:
/// `skip` bytes of it come before that, and it ends before `end`. Source: RFC 9110 13.1.5, 15.3.7.
inline continuation judge(upstream::client_exchange const& up, body_position const& at, std::uint64_t next,
                          std::uint64_t& skip, std::uint64_t& end) {
  auto const& head = up.head();
  auto const framing = up.framing();
  bool const partial = head.status == 206, counted = framing.kind == http::body_kind::length;
  auto const etag = head.fields.value("ETag"), modified = head.fields.value("Last-Modified");
  auto const range = partial ? http::parse_content_range(head.fields.value("Content-Range")) : std::nullopt;
  if (is_coded(head.fields)) return continuation::unusable;
  if (at.strong_etag()) {
    if (etag.empty()) return partial ? continuation::unusable : continuation::nameless;
    if (etag != at.etag) return continuation::replaced;
  } else if (!at.modified.empty() && modified != at.modified) {
    if (!partial || !modified.empty()) return continuation::replaced;  // a 206 to If-Range need not repeat the date
  }
  if (partial && (!range || !is_one_part(head.fields) || !range->range || !range->length || range->range->first != next ||
                  (counted && framing.length != range->range->size())))
    return continuation::unusable;
  bool const other_length = partial ? range->length != at.length : counted && framing.length != at.length;
  if (other_length) return at.strong_etag() ? continuation::contradicts : continuation::replaced;
  skip = partial ? 0 : next;
  end = partial ? range->range->last + 1 : at.length;
  return continuation::follows;
}

/// Of the whole object, as far as this response tells; 0: it does not.
inline std::uint64_t length_of(upstream::client_exchange const& up) {
  auto const range = http::parse_content_range(up.head().fields.value("Content-Range"));
  if (up.head().status == 206) return range ? range->length.value_or(0) : 0;
  return up.framing().kind == http::body_kind::length ? up.framing().length : 0;
}

/// Whether this response says how long the object is.
inline bool tells_length(upstream::client_exchange const& up) {
  return up.head().status == 206 || up.framing().kind == http::body_kind::length;
}

/// Which generation of the object this response is of, as far as it tells.
inline std::uint64_t generation_of(upstream::client_exchange const& up) {
  auto const& fields = up.head().fields;
  std::uint64_t const length = length_of(up);
  bool const known = length != 0 || (up.head().status == 200 && up.framing().kind == http::body_kind::length);
  return cache::generation_of(fields.value("ETag"), fields.value("Last-Modified"),
                              known ? std::optional(length) : std::nullopt);
}

/// The range that a request with these fields wants of what answers; none: the whole (RFC 9110 13.1.5, 14.2).
inline std::optional<http::range_spec> wanted_range(http::fields const& asked, http::fields const& answer) {
  auto const condition = asked.value("If-Range"), etag = answer.value("ETag");
  bool const applies =
      condition.empty() || (etag.starts_with('"') && condition == etag) || condition == answer.value("Last-Modified");
  return applies ? http::parse_range(asked.value("Range")) : std::nullopt;
}

}  // namespace mgw::proxy::bypass_answer
