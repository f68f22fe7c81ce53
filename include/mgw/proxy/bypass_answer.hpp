#pragma once

#include <mgw/cache/generation.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/range.hpp>
#include <mgw/proxy/body_position.hpp>
#include <mgw/upstream/client_exchange.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What a 200 or 206 of upstream is to a client that goes past the store (pass_through).
namespace mgw::proxy::bypass_answer {

/// Whether this response goes on with the body that stands at `at`, of which `next` is the byte that is asked for;
/// `skip` bytes of the response come before that.
inline bool continues(upstream::client_exchange const& up, body_position const& at, std::uint64_t next,
                      std::uint64_t& skip) {
  auto const& head = up.head();
  auto const framing = up.framing();
  auto const etag = head.fields.value("ETag"), modified = head.fields.value("Last-Modified");
  if (at.strong_etag() ? etag != at.etag : !at.modified.empty() && modified != at.modified) {
    // A 206 to If-Range need not repeat the date (RFC 9110 15.3.7), but always has the ETag.
    if (at.strong_etag() || head.status != 206 || !modified.empty()) return false;
  }
  if (head.status == 206) {
    auto const range = http::parse_content_range(head.fields.value("Content-Range"));
    skip = 0;
    return range && range->range && range->range->first == next && range->range->last + 1 >= at.end &&
           range->length == at.length;
  }
  skip = next;
  return head.status == 200 && (framing.kind != http::body_kind::length || framing.length == at.length);
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
