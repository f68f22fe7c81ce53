#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/uri.hpp>

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// What makes two downloads the same object: a SHA-256. Comparable and hashable; all zero when default constructed.
class key {
public:
  using bytes_type = std::array<unsigned char, 32>;

  key() noexcept = default;
  explicit key(bytes_type const& bytes) noexcept : bytes_(bytes) {}

  /// 64 lower-case digits.
  std::string hex() const {
    constexpr char digits[] = "0123456789abcdef";
    std::string out;
    out.reserve(2 * bytes_.size());
    for (unsigned const b : bytes_) {
      out += digits[b >> 4];
      out += digits[b & 15];
    }
    return out;
  }
  /// Reads what `hex` writes: exactly 64 digits, lower case only, so that a key has one spelling.
  static std::optional<key> from_hex(std::string_view text) noexcept {
    key k;
    if (text.size() != 2 * k.bytes_.size()) return std::nullopt;
    for (std::size_t i = 0; i < text.size(); ++i) {
      int const v = text[i] >= 'A' && text[i] <= 'F' ? -1 : http::uri_detail::hex_value(text[i]);
      if (v < 0) return std::nullopt;
      k.bytes_[i / 2] = static_cast<unsigned char>(k.bytes_[i / 2] << 4 | v);
    }
    return k;
  }
  bytes_type const& bytes() const noexcept { return bytes_; }

  friend bool operator==(key const&, key const&) noexcept = default;
  friend auto operator<=>(key const&, key const&) noexcept = default;

private:
  bytes_type bytes_{};
};

/// Fields that go with an upstream URL: name and value, in any order.
using header_list = std::vector<std::pair<std::string, std::string>>;

/// What of the query says which object is meant: the members that only sign the link or dress its answer are left
/// out, all others stay byte for byte and in order.
///
/// A family of signatures is taken out only where its signature is present and not empty:
///
/// | family | signature | taken out |
/// |---|---|---|
/// | S3, version 4 | `X-Amz-Signature` | `X-Amz-*`, `x-id`, `response-*` |
/// | S3 and Google, version 2 | `Signature` with `AWSAccessKeyId` or `GoogleAccessId` | these, `Expires`, `response-*`, |
/// | | | `x-amz-security-token` |
/// | Google, version 4 | `X-Goog-Signature` | `X-Goog-*`, `response-*` |
/// | Azure SAS | `sig` with `sv` | the members of a SAS: versions, times, permissions, key and user ids, `rsc*` |
///
/// Names are compared byte for byte: neither case nor percent escapes are folded. A name in another spelling counts,
/// which can only make two keys of one object, never one key of two. `versionId`, `snapshot`, `generation` and
/// `partNumber` belong to no family and always count.
std::string significant_query(http::uri const& u);

/// The key of what `u`, asked with `source_headers`, leads to.
///
/// SHA-256 over a version label, then scheme, host (lower case), port, raw path, whether there is a query, what of
/// it is significant, and the fields; each part preceded by its length, so that no two lists of parts look alike.
/// Names of fields are folded to lower case and sorted, equal names stay in order (RFC 9110 5.3); values count byte for
/// byte. A link of another gateway, `/api/gateway/v1/artifacts/{key}/{token}`, counts without its token, which differs
/// from one request to the next. Errors: std::errc::function_not_supported if the crypto library has no SHA-256.
result<key> make_key(http::uri const& u, header_list const& source_headers);

/// The key of an object that was not fetched but brought: SHA-256 over "mgw import", a line feed, and the SHA-256 of its
/// body in 64 lower-case digits. So the same body has the same key, whatever file it came in, and no URL has it.
/// Errors: as make_key.
result<key> import_key(std::string_view body_sha256);

namespace key_detail {

/// The members a query can be signed with, as found in it.
struct signatures {
  bool s3_v4 = false, v2 = false, google_v4 = false, azure = false;
};

template <class F>
void for_each_member(std::string_view query, F f) {
  for (;;) {
    std::size_t const end = query.find('&');
    f(query.substr(0, end));
    if (end == std::string_view::npos) return;
    query.remove_prefix(end + 1);
  }
}

inline std::string_view name_of(std::string_view member) noexcept {
  return member.substr(0, member.find('='));
}

inline signatures find_signatures(std::string_view query) {
  signatures found;
  bool signature = false, access_id = false, sig = false, sv = false;
  for_each_member(query, [&](std::string_view member) {
    std::string_view const name = name_of(member);
    if (member.size() < name.size() + 2) return;  // no value
    if (name == "X-Amz-Signature")
      found.s3_v4 = true;
    else if (name == "X-Goog-Signature")
      found.google_v4 = true;
    else if (name == "Signature")
      signature = true;
    else if (name == "AWSAccessKeyId" || name == "GoogleAccessId")
      access_id = true;
    else if (name == "sig")
      sig = true;
    else if (name == "sv")
      sv = true;
  });
  found.v2 = signature && access_id;
  found.azure = sig && sv;
  return found;
}

inline bool is_azure_member(std::string_view name) noexcept {
  // The members of service, account and user delegation SAS, and the response headers one may ask for.
  constexpr std::string_view names[] = {"sv",   "ss",   "srt",  "sr",      "st",     "se",    "sp",    "spr",
                                        "sip",  "si",   "sig",  "sdd",     "ses",    "skoid", "sktid", "skt",
                                        "ske",  "sks",  "skv",  "skdutid", "sduoid", "saoid", "suoid", "scid",
                                        "rscc", "rscd", "rsce", "rscl",    "rsct"};
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

inline bool only_signs(std::string_view name, signatures const& found) noexcept {
  if ((found.s3_v4 || found.v2 || found.google_v4) && name.starts_with("response-")) return true;
  if (found.s3_v4 && (name.starts_with("X-Amz-") || name == "x-id")) return true;
  if (found.google_v4 && name.starts_with("X-Goog-")) return true;
  // A version 2 link made with temporary credentials names its session in lower case.
  if (found.v2 && (name == "Signature" || name == "AWSAccessKeyId" || name == "GoogleAccessId" || name == "Expires" ||
                   name == "x-amz-security-token"))
    return true;
  return found.azure && is_azure_member(name);
}

/// The path of another gateway's link up to its token; empty for any other path.
inline std::string_view without_token(std::string_view path) noexcept {
  constexpr std::string_view prefix = "/api/gateway/v1/artifacts/";
  if (!path.starts_with(prefix)) return {};
  std::string_view const rest = path.substr(prefix.size());
  std::size_t const slash = rest.find('/');
  if (slash == std::string_view::npos || !key::from_hex(rest.substr(0, slash))) return {};
  std::string_view const token = rest.substr(slash + 1);
  if (token.empty() || token.find('/') != std::string_view::npos) return {};
  return path.substr(0, prefix.size() + slash);
}

inline void append_part(std::string& out, std::string_view part) {
  std::uint64_t const size = part.size();
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(static_cast<unsigned char>(size >> shift));
  out += part;
}

inline std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), http::uri_detail::lower);
  return out;
}

inline result<key> digest_of(std::string_view text) {
  key::bytes_type digest{};
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1 || size != digest.size())
    return std::make_error_code(std::errc::function_not_supported);
  return key(digest);
}

}  // namespace key_detail

inline std::string significant_query(http::uri const& u) {
  auto const found = key_detail::find_signatures(u.query);
  std::string out;
  out.reserve(u.query.size());
  bool first = true;
  key_detail::for_each_member(u.query, [&](std::string_view member) {
    if (key_detail::only_signs(key_detail::name_of(member), found)) return;
    if (!first) out += '&';
    first = false;
    out += member;
  });
  return out;
}

inline result<key> make_key(http::uri const& u, header_list const& source_headers) {
  using key_detail::append_part;
  std::string text;
  append_part(text, "mgw artifact key 1");
  append_part(text, u.tls ? "https" : "http");
  append_part(text, key_detail::lower(u.host));
  append_part(text, std::to_string(u.port));
  std::string_view const tokenless = key_detail::without_token(u.path);
  append_part(text, tokenless.empty() ? "path" : "link");
  append_part(text, tokenless.empty() ? u.path : tokenless);
  append_part(text, u.has_query ? "query" : "");
  append_part(text, significant_query(u));

  std::multimap<std::string, std::string_view> fields;  // keeps the order of equal names
  for (auto const& [name, value] : source_headers) fields.emplace(key_detail::lower(name), value);
  for (auto const& [name, value] : fields) {
    append_part(text, name);
    append_part(text, value);
  }
  return key_detail::digest_of(text);
}

inline result<key> import_key(std::string_view body_sha256) {
  return key_detail::digest_of("mgw import\n" + std::string(body_sha256));
}

}  // namespace mgw::cache

template <>
struct std::hash<mgw::cache::key> {
  std::size_t operator()(mgw::cache::key const& k) const noexcept {
    std::size_t h = 0;
    std::memcpy(&h, k.bytes().data(), sizeof h);  // a digest is evenly spread already
    return h;
  }
};
