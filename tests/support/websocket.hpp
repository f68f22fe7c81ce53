#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mgw::test {

/// A whole WebSocket frame (RFC 6455 5.2).
inline std::string ws_frame(unsigned opcode, std::string_view payload, bool masked) {
  std::string out(1, static_cast<char>(0x80U | opcode));
  std::size_t const n = payload.size();
  unsigned const mask_bit = masked ? 0x80 : 0;
  std::size_t const length_bytes = n > 65535 ? 8 : n > 125 ? 2 : 0;
  out += static_cast<char>(mask_bit | (length_bytes == 8 ? 127 : length_bytes == 2 ? 126 : n));
  for (std::size_t i = length_bytes; i-- != 0;) out += static_cast<char>(n >> (8 * i));
  constexpr std::string_view key = "\x37\xFA\x21\x3D";
  if (masked) out += key;
  for (std::size_t i = 0; i < n; ++i) out += masked ? static_cast<char>(payload[i] ^ key[i % 4]) : payload[i];
  return out;
}

/// How many bytes the first frame of `wire` has; 0: it is not whole.
inline std::size_t ws_size(std::string_view wire) {
  if (wire.size() < 2) return 0;
  auto const byte = [wire](std::size_t i) { return static_cast<unsigned char>(wire[i]); };
  std::size_t const length_bytes = (byte(1) & 0x7F) == 127 ? 8 : (byte(1) & 0x7F) == 126 ? 2 : 0;
  std::size_t const head = 2 + length_bytes + (byte(1) > 0x7F ? 4 : 0);
  if (wire.size() < head) return 0;
  std::size_t n = length_bytes == 0 ? byte(1) & 0x7FU : 0;
  for (std::size_t i = 0; i < length_bytes; ++i) n = n << 8U | byte(2 + i);
  return wire.size() < head + n ? 0 : head + n;
}

/// The payload of the whole frame at the start of `wire`.
inline std::string ws_payload(std::string_view wire) {
  wire = wire.substr(0, ws_size(wire));
  bool const masked = static_cast<unsigned char>(wire[1]) > 0x7F;
  unsigned const small = static_cast<unsigned char>(wire[1]) & 0x7FU;
  std::size_t const head = 2U + (small == 127 ? 8U : small == 126 ? 2U : 0U);
  std::string out(wire.substr(head + (masked ? 4 : 0)));
  if (masked)
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(out[i] ^ wire[head + i % 4]);
  return out;
}

}  // namespace mgw::test
