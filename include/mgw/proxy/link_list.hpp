#pragma once

#include <mgw/cache/link_expiry.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/proxy/fetch_options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace mgw::proxy {

/// The newest few links of one object. Thread rule: none of its own.
class link_list {
public:
  static constexpr std::size_t most = 4;

  /// False: it is known already.
  bool offer(fetch_source source) {
    for (auto const& s : all_)
      if (s.url == source.url) return false;
    auto const older = std::find_if(all_.begin(), all_.end(), [&](auto const& s) { return s.issued <= source.issued; });
    all_.insert(older, std::move(source));
    if (all_.size() > most) all_.pop_back();
    return true;
  }
  bool empty() const noexcept { return all_.empty(); }
  /// Precondition: not empty.
  fetch_source const& newest() const noexcept { return all_.front(); }

private:
  std::vector<fetch_source> all_;  // the newest first
};

/// Whether the link's signature tells that it has expired (cache::signature_expires).
inline bool has_expired(fetch_source const& source) {
  auto const url = http::parse_uri(source.url);
  auto const at = url ? cache::signature_expires(*url) : std::nullopt;
  auto const now = std::chrono::system_clock::now().time_since_epoch();
  return at && *at <= std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace mgw::proxy
