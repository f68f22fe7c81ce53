#pragma once

#include "crypto.hpp"

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace demo {

/// `Sec-WebSocket-Accept` for a key. Source: RFC 6455 4.2.2.
inline std::string websocket_accept(std::string_view key) {
  std::string const text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr) != 1) throw std::bad_alloc();
  return to_base64({reinterpret_cast<char const*>(digest.data()), size});
}

enum class frame : unsigned { more = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 };

/// A whole frame from a server. Source: RFC 6455 5.2.
inline std::string server_frame(frame what, std::string_view payload) {
  std::string out(1, static_cast<char>(0x80U | static_cast<unsigned>(what)));
  std::size_t const n = payload.size();
  std::size_t const wide = n > 0xFFFF ? 8 : n > 125 ? 2 : 0;
  out += static_cast<char>(wide == 8 ? 127 : wide == 2 ? 126 : n);
  for (std::size_t i = wide; i-- != 0;) out += static_cast<char>(n >> (8 * i) & 0xFFU);
  return out.append(payload);
}

/// Takes frames of a client out of what has come. Source: RFC 6455 5.2.
class client_frames {
public:
  static constexpr std::size_t max_payload = std::size_t{1} << 20U;
  struct one {
    frame what = frame::more;
    bool final = false;
    std::string payload;
  };

  void add(std::string_view bytes) { in_ += bytes; }
  /// It sent what no client may send, or too much.
  bool broken() const noexcept { return broken_; }
  /// The next whole frame, or nothing yet.
  std::optional<one> next() {
    auto const byte = [this](std::size_t i) { return static_cast<unsigned char>(in_[i]); };
    if (in_.size() < 2 || broken_) return std::nullopt;
    unsigned const small = byte(1) & 0x7FU;
    std::size_t const wide = small == 127 ? 8 : small == 126 ? 2 : 0;
    std::size_t const head = 2 + wide + 4;
    if (in_.size() < head) return std::nullopt;
    std::uint64_t n = wide == 0 ? small : 0;
    for (std::size_t i = 0; i < wide; ++i) n = n << 8U | byte(2 + i);
    broken_ = (byte(1) & 0x80U) == 0 || n > max_payload;
    if (broken_ || in_.size() - head < n) return std::nullopt;
    one out;
    out.what = static_cast<frame>(byte(0) & 0x0FU);
    out.final = (byte(0) & 0x80U) != 0;
    out.payload = in_.substr(head, static_cast<std::size_t>(n));
    for (std::size_t i = 0; i < out.payload.size(); ++i)
      out.payload[i] = static_cast<char>(out.payload[i] ^ in_[head - 4 + i % 4]);
    in_.erase(0, head + out.payload.size());
    return out;
  }

private:
  std::string in_;
  bool broken_ = false;
};

}  // namespace demo
