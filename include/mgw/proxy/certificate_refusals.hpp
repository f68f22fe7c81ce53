#pragma once

#include <mgw/core/log.hpp>
#include <mgw/core/seldom_each.hpp>
#include <mgw/net/error.hpp>

#include <openssl/ssl.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// Tells in the log of clients that refuse our certificate, which they say by a TLS alert while they shake hands: that
/// a device's clock is wrong, or that it does not trust us, is seen nowhere else.
///
/// One line for each kind of alert in `pause` at most; the next one has the number of those between. Source: RFC 8446
/// 6.2. Thread rule: any thread.
class certificate_refusals {
public:
  using clock = seldom_each::clock;

  explicit certificate_refusals(log_sink log, std::chrono::seconds pause = std::chrono::seconds(10))
      : log_(std::move(log)), due_(pause, kinds.size()) {}

  /// Whether a handshake that failed so is told of here; false also for one of those that are only counted.
  bool tell(std::error_code failure, std::string const& peer, clock::time_point now = clock::now()) {
    auto const which = kind_of(failure);
    if (!which || !log_) return false;
    if (!due_.due(kinds[*which].text, now)) {
      ++between_[*which];
      return false;
    }
    std::uint64_t const more = between_[*which].exchange(0);
    std::string line = peer + " refuses our certificate: " + std::string(kinds[*which].text);
    if (more != 0) line += "; " + std::to_string(more) + " more since the last such line";
    log_(log_level::warn, line);
    return true;
  }

private:
  struct kind {
    int reason;
    std::string_view text;
  };
  // Many clients send one alert for every reason.
  static constexpr std::array<kind, 6> kinds{{
      {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
       "\"certificate expired\" (alert 45); either it has, or the device's clock is ahead"},
      {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
       "\"bad certificate\" (alert 42); look at the device's clock (one that starts at 1970 finds it not yet valid), "
       "at the name that it connects to, and at the CA that it trusts"},
      {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
       "\"certificate unknown\" (alert 46); look at the device's clock (one that starts at 1970 finds it not yet "
       "valid), at the name that it connects to, and at the CA that it trusts"},
      {SSL_R_TLSV1_ALERT_UNKNOWN_CA,
       "\"unknown CA\" (alert 48); the device needs the CA that has issued it, and we must send all certificates "
       "between"},
      {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
       "\"unsupported certificate\" (alert 43); its kind of key, or what it may be used for, is not what the device "
       "takes"},
      {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "\"certificate revoked\" (alert 44)"},
  }};

  static std::optional<std::size_t> kind_of(std::error_code failure) {
    for (std::size_t i = 0; i < kinds.size(); ++i)
      if (failure == net::ssl_error(kinds[i].reason)) return i;
    return {};
  }

  log_sink log_;
  seldom_each due_;
  std::array<std::atomic<std::uint64_t>, kinds.size()> between_{};  // of each kind, since its last line
};

}  // namespace mgw::proxy
