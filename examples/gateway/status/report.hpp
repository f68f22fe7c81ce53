#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::status {

/// Everything that the status page tells, at one moment: what `/status.json` has, see docs/status.md. Times are seconds
/// since 1970, sizes bytes, durations seconds; what is not known has no value. Texts may hold anything.
struct report {
  /// How a list was cut: so many are left out of it.
  using left_out = std::uint64_t;

  std::string version;
  std::int64_t now = 0, started = 0;
  bool ready = true;
  std::vector<std::string> reasons, warnings;

  struct latency {
    double median = 0, p95 = 0;  ///< milliseconds
    std::uint64_t requests = 0;
  };
  struct {
    std::string url, reason;
    std::string_view state = "unknown";  ///< or reachable, unreachable
    std::optional<std::int64_t> since;
    std::optional<latency> took;
  } upstream;

  struct {
    std::optional<double> bytes_per_second, requests_per_second;
    std::optional<std::uint64_t> limit;  ///< bytes per second; 0: paused
    std::uint64_t held_downloads = 0, held_reports = 0;
  } link;

  struct point {
    std::int64_t at = 0;
    std::uint64_t upstream = 0, delivered = 0;
    friend bool operator==(point const&, point const&) = default;
  };
  struct {
    std::uint64_t upstream = 0, again = 0, delivered = 0;
    std::vector<point> history;

    std::uint64_t saved() const noexcept { return delivered > upstream ? delivered - upstream : 0; }
    /// Nothing: nothing was delivered.
    std::optional<double> percent() const noexcept {
      if (delivered == 0) return std::nullopt;
      return 100.0 * static_cast<double>(saved()) / static_cast<double>(delivered);
    }
  } saved;

  struct fill {
    std::string name, host;  ///< empty: not known
    std::optional<std::uint64_t> size;
    std::uint64_t have = 0;
    std::optional<double> bytes_per_second, seconds_left;
    std::uint64_t readers = 0;
    std::string_view state;  ///< fetching, waiting, retrying, verifying
    std::string why;
    std::int64_t started = 0;
  };
  std::vector<fill> fills;
  left_out more_fills = 0;

  struct object {
    std::string name, host;  ///< empty: not known
    std::uint64_t size = 0;
    std::int64_t added = 0, used = 0;
    std::uint64_t hits = 0;  ///< since the gateway was started
    bool pinned = false, verified = false;
  };
  struct {
    bool enabled = false;
    std::uint64_t size = 0, max_size = 0, pinned = 0, parts = 0, objects = 0;
    std::string trouble;
    std::vector<object> list;
    left_out more = 0;
  } cache;

  struct device {
    std::string name;
    std::int64_t seen = 0;
    std::string_view doing;
    std::string artifact;  ///< empty: not known
    std::optional<std::uint64_t> bytes, size;
    std::string_view state;  ///< downloading, held, done, cut, idle
    std::string why;
  };
  std::uint64_t device_count = 0;
  std::vector<device> devices;
  left_out more_devices = 0;

  struct problem {
    std::int64_t at = 0;
    std::string_view level;  ///< warning or error
    std::string text;
    std::uint64_t times = 0;
  };
  std::vector<problem> problems;  ///< the latest first

  std::uint64_t connections = 0, connection_limit = 0;
};

}  // namespace gateway::status
