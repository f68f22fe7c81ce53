#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace mgw::proxy {

/// Follows one direction of a WebSocket that passes through, so that a frame of ours can be put between two of its own.
///
/// Looks at frame heads alone, and keeps nothing of the rest. What cannot be a frame of that direction (a reserved
/// opcode, a wrong mask bit, a control frame in pieces or of more than 125 bytes) is the two ends' matter, but nothing
/// can be said about boundaries any more. Source: RFC 6455 5.2, 5.5. Thread rule: one thread at a time.
class websocket_frames {
public:
  /// `masked`: the direction is the client's.
  explicit websocket_frames(bool masked) noexcept : masked_(masked) {}

  /// These bytes come next.
  void pass(std::string_view bytes) noexcept {
    while (!bytes.empty() && !lost_) {
      if (left_ != 0) {
        auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
        left_ -= n;
        bytes.remove_prefix(n);
      } else {
        take(static_cast<unsigned char>(bytes[0]));
        bytes.remove_prefix(1);
      }
    }
  }
  /// A whole frame has just passed, or nothing yet. Source: RFC 6455 5.4: also between the frames of a message.
  bool at_boundary() const noexcept { return !lost_ && seen_ == 0 && left_ == 0; }
  /// In the middle of a frame, whose end will be known.
  bool within_frame() const noexcept { return !lost_ && !at_boundary(); }
  /// A close frame has begun: nothing may follow it (RFC 6455 5.5.1).
  bool closed() const noexcept { return closed_; }

private:
  void take(unsigned char c) noexcept {
    if (seen_ == 0) {
      unsigned const opcode = c & 0x0FU;
      control_ = opcode >= 8;
      bool const final = (c & 0x80U) != 0;
      bool const known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
      lost_ = !known || (control_ && !final) || (c & 0x30U) != 0;  // RSV1: compressed, by agreement of the ends
      closed_ = closed_ || (!lost_ && opcode == 8);
      seen_ = 1;
      return;
    }
    if (seen_ == 1) {
      unsigned const n = c & 0x7FU;
      lost_ = ((c & 0x80U) != 0) != masked_ || (control_ && n > 125);
      length_bytes_ = n == 127 ? 8 : n == 126 ? 2 : 0;
      length_ = n <= 125 ? n : 0;
    } else if (seen_ < 2U + length_bytes_) {
      lost_ = seen_ == 2 && length_bytes_ == 8 && c > 0x7F;
      length_ = length_ << 8U | c;
    }
    if (++seen_ < 2U + length_bytes_ + (masked_ ? 4U : 0U)) return;
    left_ = length_;
    seen_ = 0;
  }

  bool const masked_;
  bool control_ = false, closed_ = false, lost_ = false;
  std::uint8_t seen_ = 0, length_bytes_ = 0;  // of the frame's head
  std::uint64_t length_ = 0, left_ = 0;       // of its payload
};

/// A close frame of status 1001 (going away) for one direction. Source: RFC 6455 5.3, 7.4.1.
inline std::string going_away(bool masked) {
  constexpr unsigned char status[2] = {0x03, 0xE9};
  std::string out = masked ? "\x88\x82" : "\x88\x02";
  std::uint32_t const key = masked ? std::random_device()() : 0;
  unsigned char const mask[4] = {static_cast<unsigned char>(key >> 24U), static_cast<unsigned char>(key >> 16U),
                                 static_cast<unsigned char>(key >> 8U), static_cast<unsigned char>(key)};
  if (masked)
    for (unsigned char const m : mask) out += static_cast<char>(m);
  for (std::size_t i = 0; i < 2; ++i) out += static_cast<char>(status[i] ^ mask[i]);
  return out;
}

}  // namespace mgw::proxy
