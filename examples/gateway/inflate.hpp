#pragma once

#include <mgw/http/fields.hpp>

#include <zlib.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace gateway {

/// Undoes gzip (a coding has no case: RFC 9110 section 8.4.1), to at most `max` bytes; nothing for another coding, a broken or a bigger body.
/// (Upstream is asked for no coding; some front ends compress all the same.)
inline std::optional<std::string> inflate(std::string_view coding, std::string_view body, std::size_t max) {
  if (!mgw::http::iequals(coding, "gzip") && !mgw::http::iequals(coding, "x-gzip")) return std::nullopt;
  z_stream z{};
  if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) return std::nullopt;
  std::string in(body);  // zlib wants writable bytes
  z.next_in = reinterpret_cast<Bytef*>(in.data());
  z.avail_in = static_cast<uInt>(in.size());
  std::string out;
  std::array<char, 16384> piece;
  int rc = Z_OK;
  while (rc == Z_OK && out.size() <= max) {
    z.next_out = reinterpret_cast<Bytef*>(piece.data());
    z.avail_out = piece.size();
    rc = ::inflate(&z, Z_NO_FLUSH);
    out.append(piece.data(), piece.size() - z.avail_out);
  }
  bool const whole = rc == Z_STREAM_END && z.avail_in == 0 && out.size() <= max;
  inflateEnd(&z);
  if (!whole) return std::nullopt;
  return out;
}

}  // namespace gateway
