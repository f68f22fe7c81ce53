#pragma once

#include "status/report.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace gateway::status {

/// How fast a number grows, over the last ten seconds. Where it falls it has begun anew.
class rate_meter {
public:
  using clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds window{10};

  void note(std::uint64_t value, clock::time_point now) {
    if (!samples_.empty() && value < samples_.back().second) samples_.clear();
    if (!samples_.empty() && now - samples_.back().first < std::chrono::milliseconds(500)) return;
    samples_.emplace_back(now, value);
    while (samples_.size() > 2 && now - samples_[1].first >= window) samples_.pop_front();
  }
  /// In a second; nothing: it was not noted twice yet.
  std::optional<double> per_second() const {
    if (samples_.size() < 2) return std::nullopt;
    auto const& [from, before] = samples_.front();
    auto const& [to, after] = samples_.back();
    return static_cast<double>(after - before) / std::chrono::duration<double>(to - from).count();
  }

private:
  std::deque<std::pair<clock::time_point, std::uint64_t>> samples_;
};

/// Seconds until `have` is `size` at this rate; nothing: that cannot be told.
inline std::optional<double> seconds_left(std::uint64_t have, std::optional<std::uint64_t> size,
                                          std::optional<double> rate) {
  if (!size || *size < have || !rate || *rate < 1) return std::nullopt;
  return static_cast<double>(*size - have) / *rate;
}

/// What has come and gone since the gateway was started, as points of a curve. At first there is one every ten seconds;
/// where they become too many every other one goes, up to one in four minutes: a day. Then the oldest go.
class savings_history {
public:
  static constexpr std::size_t most = 360;  ///< with the point of now
  static constexpr std::int64_t first_pause = 10, longest_pause = 240;

  /// Whether it is time for the next point.
  bool due(std::int64_t now) const {
    return points_.empty() || now - points_.back().at >= pause_ || now < points_.back().at;
  }
  void note(report::point p) {
    if (!due(p.at)) return;
    if (!points_.empty() && p.at < points_.back().at) points_.clear();  // the clock was set
    points_.push_back(p);
    if (points_.size() < most) return;
    if (pause_ >= longest_pause) {
      points_.erase(points_.begin());
      return;
    }
    pause_ = std::min(pause_ * 2, longest_pause);
    std::vector<report::point> kept;
    for (std::size_t i = points_.size() % 2 == 0 ? 1 : 0; i < points_.size(); i += 2) kept.push_back(points_[i]);
    points_ = std::move(kept);
  }
  /// The oldest first; `now` is the last.
  std::vector<report::point> all(report::point now) const {
    auto out = points_;
    if (out.empty() || out.back().at < now.at)
      out.push_back(now);
    else
      out.back() = now;
    return out;
  }

private:
  std::int64_t pause_ = first_pause;
  std::vector<report::point> points_;
};

}  // namespace gateway::status
