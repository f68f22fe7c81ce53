#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mgw::proxy {

/// Bytes that have come for one client and are not in the store, from its next one on. The last `reserve` of them are
/// kept back until more follow, to be given out one by one in an outage: a begun body is never silent for long. Of what
/// is stored object_reader keeps back as many.
///
/// In all functions [at, end) is what the client is still to get. Thread rule: none of its own.
class kept_bytes {
public:
  explicit kept_bytes(std::uint64_t reserve) noexcept : reserve_(reserve) {}

  /// Whether a head can go out: bytes for it are there.
  bool enough(std::uint64_t at, std::uint64_t end) const noexcept {
    return all_.size() > reserve_ || (!all_.empty() && at + all_.size() == end);
  }
  /// What may be sent at once.
  std::string_view ready(std::uint64_t at, std::uint64_t end) const noexcept {
    std::string_view const all = all_;
    return at + all.size() == end ? all : all.substr(0, all.size() - std::min<std::uint64_t>(all.size(), reserve_));
  }
  /// That, and what is kept back.
  std::string_view all() const noexcept { return all_; }
  std::size_t size() const noexcept { return all_.size(); }
  void add(std::string_view bytes) { all_.append(bytes); }
  /// So many bytes of `all` were sent.
  void took(std::size_t n) { all_.erase(0, n); }
  void clear() noexcept { all_.clear(); }

private:
  std::uint64_t reserve_;
  std::string all_;
};

}  // namespace mgw::proxy
