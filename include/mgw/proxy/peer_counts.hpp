#pragma once

#include <asio/ip/address.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <mutex>

namespace mgw::proxy {

/// How many connections each client has, for a bound on them.
///
/// A client is an IPv4 address, or the first 64 bits of an IPv6 address: within a /64 a host takes as many addresses as
/// it likes (RFC 4291 2.5.1, RFC 8981). Memory: an entry for each client that is connected. Any thread.
class peer_counts {
public:
  /// @param most connections of one client at a time; 0: no bound, and nothing is counted
  explicit peer_counts(std::size_t most) : most_(most) {}

  /// Counts one more. False, and nothing is counted: this client has its most already.
  bool enter(asio::ip::address const& client) {
    if (most_ == 0) return true;
    std::lock_guard const lock(mutex_);
    std::size_t& n = counts_[key_of(client)];
    if (n >= most_) return false;  // never an entry of 0: it has reached `most_`, which is at least 1
    ++n;
    return true;
  }
  /// Precondition: `enter(client)` was true, and this is its only `leave`.
  void leave(asio::ip::address const& client) noexcept {
    if (most_ == 0) return;
    std::lock_guard const lock(mutex_);
    auto const at = counts_.find(key_of(client));
    if (at != counts_.end() && --at->second == 0) counts_.erase(at);
  }
  /// Clients that are connected; 0 without a bound.
  std::size_t clients() const {
    std::lock_guard const lock(mutex_);
    return counts_.size();
  }

private:
  using key = std::array<unsigned char, 16>;
  static key key_of(asio::ip::address const& client) noexcept {
    key k{};
    if (client.is_v4()) {
      auto const b = client.to_v4().to_bytes();
      k[10] = k[11] = 0xff;  // as ::ffff:a.b.c.d, which shares no key with a /64
      std::copy(b.begin(), b.end(), k.begin() + 12);
    } else {
      auto const b = client.to_v6().to_bytes();
      std::copy_n(b.begin(), 8, k.begin());
    }
    return k;
  }

  std::size_t most_;
  mutable std::mutex mutex_;
  std::map<key, std::size_t> counts_;
};

}  // namespace mgw::proxy
