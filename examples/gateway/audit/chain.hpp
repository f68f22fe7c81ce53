#pragma once

#include <mgw/cache/sha256.hpp>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace gateway::audit {

/// Where a chain stands: the number of its last line, and that line's MAC. Number 0: no line yet, and the MAC is the
/// genesis that was made with the key.
struct chain_head {
  std::uint64_t seq = 0;
  std::string mac;
  friend bool operator==(chain_head const&, chain_head const&) = default;
};

/// What the lines are sealed with.
struct chain_key {
  std::string secret;   ///< 32 bytes
  std::string genesis;  ///< 64 lower-case hexadecimal digits
  chain_head start() const { return {0, genesis}; }
};

/// The MAC of a line: HMAC-SHA256 over the MAC of the line before, a line feed, and the line as far as its own MAC.
/// Throws std::runtime_error if the crypto library fails.
inline std::string mac_of(chain_key const& key, std::string_view before, std::string_view text) {
  std::string all(before);
  (all += '\n') += text;
  mgw::cache::sha256_digest out{};
  unsigned size = 0;
  auto const* const bytes = reinterpret_cast<unsigned char const*>(all.data());
  bool const ok = HMAC(EVP_sha256(), key.secret.data(), static_cast<int>(key.secret.size()), bytes, all.size(),
                       out.data(), &size) != nullptr &&
                  size == out.size();
  if (!ok) throw std::runtime_error("the crypto library makes no HMAC-SHA256");
  return mgw::cache::to_hex(out);
}

inline constexpr std::string_view mac_begins = ",\"mac\":\"", mac_ends = "\"}";

/// A line, without its line feed, taken apart: all of it before the MAC, and the MAC.
struct sealed_line {
  std::string_view text, mac;
};
/// Nothing if it does not end as a sealed line does.
inline std::optional<sealed_line> take_apart(std::string_view line) {
  constexpr std::size_t digits = 64;
  std::size_t const tail = mac_begins.size() + digits + mac_ends.size();
  if (line.size() <= tail || !line.starts_with('{') || !line.ends_with(mac_ends)) return std::nullopt;
  std::size_t const at = line.size() - tail;
  if (line.substr(at, mac_begins.size()) != mac_begins) return std::nullopt;
  auto const mac = line.substr(at + mac_begins.size(), digits);
  if (!mgw::cache::is_sha256_hex(mac)) return std::nullopt;
  return sealed_line{line.substr(0, at), mac};
}

/// Seals lines one after the other. Thread rule: one thread at a time.
class chain {
public:
  chain(chain_key key, chain_head at) : key_(std::move(key)), at_(std::move(at)) {}
  chain_head const& head() const noexcept { return at_; }
  chain_key const& key() const noexcept { return key_; }

  /// `fields`: those after the number, as JSON without braces: `"time":…,"event":…`. Returns the line with its end.
  std::string seal(std::string_view fields) {
    std::string line = "{\"seq\":" + std::to_string(at_.seq + 1) + ',';
    line += fields;
    std::string mac = mac_of(key_, at_.mac, line);
    line.append(mac_begins).append(mac).append(mac_ends) += '\n';
    at_ = {at_.seq + 1, std::move(mac)};
    return line;
  }

private:
  chain_key key_;
  chain_head at_;
};

}  // namespace gateway::audit
