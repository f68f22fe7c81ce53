#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/range.hpp>
#include <mgw/http/response_parser.hpp>
#include <mgw/http/serializer.hpp>

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>

namespace mgw::proxy {

/// The fields that ask for the rest of an object from byte `have` on, of this generation only; empty: nothing names it,
/// and it has to be asked for whole and compared. Source: RFC 9110 13.1.
inline std::string resume_fields(cache::meta const& m, std::uint64_t have) {
  std::string out;
  bool const strong = m.etag.size() >= 2 && m.etag.front() == '"';
  if (have == 0 || (!strong && m.last_modified.empty())) return out;
  http::append_field(out, "Range", "bytes=" + std::to_string(have) + "-");
  // Both: If-Match stops a server that knows it (412), If-Range makes one that does not send the whole instead of a
  // splice.
  http::append_field(out, strong ? "If-Match" : "If-Unmodified-Since", strong ? m.etag : m.last_modified);
  http::append_field(out, "If-Range", strong ? m.etag : m.last_modified);
  return out;
}

/// Whether the upstream says that it can send the rest of an object from any byte on. Source: RFC 9110 14.3.
inline bool offers_ranges(http::fields const& answer) { return http::iequals(answer.value("Accept-Ranges"), "bytes"); }

/// Whether a response has a content coding, which was not asked for (`Accept-Encoding: identity`): its bytes are not the
/// object's, and its ranges count other bytes.
inline bool is_coded(http::fields const& answer) {
  auto const coding = answer.value("Content-Encoding");
  return !coding.empty() && !http::iequals(coding, "identity");
}

/// Whether a 206 is one part, not several (RFC 9110 15.3.7.2).
inline bool is_one_part(http::fields const& answer) {
  return !http::iequals(answer.value("Content-Type").substr(0, 20), "multipart/byteranges");
}

/// Whether a response may belong to the generation `m`, whose length is `length` if that is known. `total`: of the
/// object as the response says.
inline bool same_generation(cache::meta const& m, std::optional<std::uint64_t> length, http::response_head const& head,
                            std::optional<std::uint64_t> total) {
  auto const etag = head.fields.value("ETag");
  if (!m.etag.empty() && !etag.empty() && etag != m.etag) return false;
  auto const modified = head.fields.value("Last-Modified");
  if (m.etag.empty() && !m.last_modified.empty() && !modified.empty() && modified != m.last_modified) return false;
  return !length || !total || total == length;
}

/// Whether a 206 goes on behind the `have` bytes of an object that are there. It may end before the object does
/// (RFC 9110 15.3.7).
inline bool continues_part(cache::meta const& m, std::uint64_t have, http::response_head const& head,
                           http::content_range const& r) {
  // It names the ETag that its 200 would have (RFC 9110 15.3.7): without it nothing says what it is a part of.
  bool const named = !m.etag.starts_with('"') || head.fields.contains("ETag");
  return named && is_one_part(head.fields) && r.range && r.length && r.range->first == have;
}

/// So many pages of somebody in between, who does not name the object, are borne in a row.
inline constexpr unsigned max_nameless = 8;

/// What is kept of an object's 200.
inline cache::meta meta_of(cache::key const& k, http::response_head const& head, std::optional<std::uint64_t> length) {
  cache::meta m;
  m.key = k;
  m.length = length.value_or(0);
  m.length_known = length.has_value();
  m.etag = head.fields.value("ETag");
  m.last_modified = head.fields.value("Last-Modified");
  m.content_type = head.fields.value("Content-Type");
  m.content_disposition = head.fields.value("Content-Disposition");
  m.stored_at = static_cast<std::int64_t>(std::time(nullptr));
  return m;
}

/// A status that says nothing about the object: it is worth another try.
inline bool is_passing(int status) noexcept {
  return status >= 500 || status == 408 || status == 425 || status == 429;
}

}  // namespace mgw::proxy
