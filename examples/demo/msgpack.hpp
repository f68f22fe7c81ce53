#pragma once

#include "json.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

/// As much of MessagePack as mender-connect's messages need: nil, booleans, whole numbers, strings, byte strings (which
/// become JSON strings, too), lists and maps with string keys.
class msgpack_reader {
public:
  explicit msgpack_reader(std::string_view bytes) noexcept : rest_(bytes) {}

  /// The next value; nothing if it is not all there, or of another kind.
  std::optional<json::value> read(unsigned depth = 0) {
    auto const first = number(1);
    if (!first || depth > 8) return std::nullopt;
    auto const c = static_cast<unsigned>(*first);
    if (c <= 0x7F) return json::value(c);
    if (c <= 0x8F) return map(c & 0x0FU, depth);
    if (c <= 0x9F) return list(c & 0x0FU, depth);
    if (c <= 0xBF) return text(c & 0x1FU);
    if (c >= 0xE0) return json::value(static_cast<int>(c) - 256);
    switch (c) {
      case 0xC0: return json::value(nullptr);
      case 0xC2: return json::value(false);
      case 0xC3: return json::value(true);
      case 0xC4:
      case 0xD9: return text(number(1));
      case 0xC5:
      case 0xDA: return text(number(2));
      case 0xC6:
      case 0xDB: return text(number(4));
      case 0xCC: return whole(number(1));
      case 0xCD: return whole(number(2));
      case 0xCE: return whole(number(4));
      case 0xCF: return whole(number(8));
      case 0xD0: return whole(number(1), 8);
      case 0xD1: return whole(number(2), 16);
      case 0xD2: return whole(number(4), 32);
      case 0xD3: return whole(number(8), 64);
      case 0xDC: return list(number(2), depth);
      case 0xDE: return map(number(2), depth);
      default: return std::nullopt;
    }
  }

private:
  using size = std::optional<std::uint64_t>;

  size number(std::size_t bytes) {
    if (rest_.size() < bytes) return std::nullopt;
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < bytes; ++i) n = n << 8U | static_cast<unsigned char>(rest_[i]);
    rest_.remove_prefix(bytes);
    return n;
  }
  static std::optional<json::value> whole(size n) { return n ? std::optional(json::value(*n)) : std::nullopt; }
  static std::optional<json::value> whole(size n, unsigned bits) {
    if (!n) return std::nullopt;
    return json::value(static_cast<std::int64_t>(*n << (64 - bits)) >> (64 - bits));
  }
  std::optional<json::value> text(size n) {
    if (!n || *n > rest_.size()) return std::nullopt;
    json::value v(json::string_view(rest_.data(), static_cast<std::size_t>(*n)));
    rest_.remove_prefix(static_cast<std::size_t>(*n));
    return v;
  }
  std::optional<json::value> list(size n, unsigned depth) {
    if (!n) return std::nullopt;
    json::array out;
    for (std::uint64_t i = 0; i < *n; ++i) {
      auto v = read(depth + 1);
      if (!v) return std::nullopt;
      out.push_back(*std::move(v));
    }
    return json::value(std::move(out));
  }
  std::optional<json::value> map(size n, unsigned depth) {
    if (!n) return std::nullopt;
    json::object out;
    for (std::uint64_t i = 0; i < *n; ++i) {
      auto const name = read(depth + 1);
      auto v = read(depth + 1);
      if (!name || !v || !name->is_string()) return std::nullopt;
      out[name->get_string()] = *std::move(v);
    }
    return json::value(std::move(out));
  }

  std::string_view rest_;
};

/// Writes MessagePack, piece by piece.
class msgpack_writer {
public:
  msgpack_writer& map(unsigned members) { return put(0x80U | members); }
  msgpack_writer& list(unsigned elements) { return put(0x90U | elements); }
  msgpack_writer& text(std::string_view s) { return sized(0xD9, s); }
  msgpack_writer& bytes(std::string_view s) { return sized(0xC4, s); }
  msgpack_writer& number(std::uint32_t n) { return put(0xCE).wide(n, 4); }
  std::string const& written() const noexcept { return out_; }

private:
  msgpack_writer& put(unsigned byte) {
    out_ += static_cast<char>(byte);
    return *this;
  }
  msgpack_writer& wide(std::uint64_t n, unsigned size) {
    while (size-- != 0) put(static_cast<unsigned>(n >> (8 * size)) & 0xFFU);
    return *this;
  }
  /// `kind` with one byte of length; the next two are those with two and four.
  msgpack_writer& sized(unsigned kind, std::string_view s) {
    unsigned const more = s.size() > 0xFFFF ? 2 : s.size() > 0xFF ? 1 : 0;
    put(kind + more).wide(s.size(), 1U << more);
    out_ += s;
    return *this;
  }
  std::string out_;
};

}  // namespace demo
