#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/core/result.hpp>
#include <mgw/mender/error.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender {

/// What an artifact link says under seal.
struct link_claims {
  std::string url;             ///< where the artifact is upstream, byte for byte as the server gave it
  cache::header_list headers;  ///< to be sent along (`source.header`)
  std::string device_id;       ///< whose link it is, as far as known: artifact requests carry no identity of their own
  std::int64_t issued = 0;     ///< unix time in seconds
  std::int64_t expires = 0;    ///< unix time in seconds; bounds the first byte
  bool import = false;         ///< the key beside the seal is an imported object's that stands for the download
  bool operator==(link_claims const&) const = default;
};

namespace detail {

inline constexpr std::string_view https_scheme = "https://";
inline constexpr std::string_view hex_digits = "0123456789abcdef";
enum claim_flag : unsigned { claim_import = 1, claim_uuid = 2, claim_https = 4, claim_headers = 8, claim_all = 15 };

/// The 16 bytes of a lower-case UUID, else nothing.
inline std::optional<std::string> pack_uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  std::string out;
  unsigned half = 16;  // the digit before, or none
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    auto const digit = hex_digits.find(text[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    if (half == 16) {
      half = static_cast<unsigned>(digit);
    } else {
      out.push_back(static_cast<char>(half << 4U | digit));
      half = 16;
    }
  }
  return out;
}

inline std::string unpack_uuid(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out.push_back('-');
    auto const byte = static_cast<unsigned char>(bytes[i]);
    out.push_back(hex_digits[byte >> 4U]);
    out.push_back(hex_digits[byte & 15U]);
  }
  return out;
}

/// Seven bits a byte, the low ones first.
inline void put_number(std::string& out, std::uint64_t n) {
  for (; n >= 0x80; n >>= 7U) out.push_back(static_cast<char>(n | 0x80));
  out.push_back(static_cast<char>(n));
}

inline void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size());
  out += text;
}

/// Takes one item after the other off the front; fails for good when one is missing.
class claim_reader {
public:
  explicit claim_reader(std::string_view in) noexcept : in_(in) {}
  bool ok() const noexcept { return ok_; }
  std::string_view rest() const noexcept { return in_; }

  std::string_view bytes(std::uint64_t n) noexcept {
    if (n > in_.size()) ok_ = false;
    if (!ok_) return {};
    std::string_view const out = in_.substr(0, static_cast<std::size_t>(n));
    in_.remove_prefix(out.size());
    return out;
  }
  std::uint64_t number() noexcept {
    std::uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      std::string_view const b = bytes(1);
      if (!ok_) return 0;
      auto const byte = static_cast<unsigned char>(b[0]);
      n |= std::uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80U) == 0) return n;
    }
    ok_ = false;
    return 0;
  }
  std::string_view text() noexcept { return bytes(number()); }

private:
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace detail

/// A compact form, for microcontrollers hold links in memory: flags, issue time, life, device id (16 bytes if it is a
/// UUID, else with its length), fields if any, and the URL without a leading "https://" to the end. Any bytes survive.
inline std::string encode_claims(link_claims const& claims) {
  auto const uuid = detail::pack_uuid(claims.device_id);
  bool const https = claims.url.starts_with(detail::https_scheme);
  unsigned flags = claims.import ? detail::claim_import : 0U;
  if (uuid) flags |= detail::claim_uuid;
  if (https) flags |= detail::claim_https;
  if (!claims.headers.empty()) flags |= detail::claim_headers;
  std::string out(1, static_cast<char>(flags));
  auto const issued = static_cast<std::uint64_t>(claims.issued);
  detail::put_number(out, issued);
  detail::put_number(out, static_cast<std::uint64_t>(claims.expires) - issued);  // modulo 2^64, as is the way back
  if (uuid)
    out += *uuid;
  else
    detail::put_text(out, claims.device_id);
  if (!claims.headers.empty()) {
    detail::put_number(out, claims.headers.size());
    for (auto const& [name, value] : claims.headers) {
      detail::put_text(out, name);
      detail::put_text(out, value);
    }
  }
  out += std::string_view(claims.url).substr(https ? detail::https_scheme.size() : 0);
  return out;
}

/// Reads what encode_claims() writes. Errors: mender_error::malformed.
inline result<link_claims> decode_claims(std::string_view bytes) {
  detail::claim_reader in(bytes);
  link_claims out;
  std::string_view const head = in.bytes(1);
  unsigned const flags = in.ok() ? static_cast<unsigned char>(head[0]) : 0;
  if (!in.ok() || flags > detail::claim_all) return mender_error::malformed;
  out.import = (flags & detail::claim_import) != 0;
  std::uint64_t const issued = in.number();
  out.issued = static_cast<std::int64_t>(issued);
  out.expires = static_cast<std::int64_t>(issued + in.number());
  out.device_id = (flags & detail::claim_uuid) != 0 ? detail::unpack_uuid(in.bytes(16)) : std::string(in.text());
  if ((flags & detail::claim_headers) != 0) {
    for (std::uint64_t left = in.number(); left != 0 && in.ok(); --left) {
      std::string_view const name = in.text();
      std::string_view const value = in.text();
      if (in.ok()) out.headers.emplace_back(name, value);
    }
  }
  if (!in.ok()) return mender_error::malformed;
  if ((flags & detail::claim_https) != 0) out.url = detail::https_scheme;
  out.url += in.rest();
  return out;
}

}  // namespace mgw::mender
