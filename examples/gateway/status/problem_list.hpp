#pragma once

#include "status/report.hpp"

#include <mgw/core/log.hpp>

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::status {

/// The latest warnings and errors of the log, each once, with how often it was said. Lines that differ in numbers alone
/// are one; the last of them is shown. So many at most. Any thread.
class problem_list {
public:
  explicit problem_list(std::size_t most = 50) : most_(most) {}

  /// Lines that are neither warnings nor errors are not noted.
  void note(mgw::log_level level, std::string_view text, std::int64_t now) {
    if (level != mgw::log_level::warn && level != mgw::log_level::error) return;
    text = text.substr(0, max_text);
    std::string kind = without_numbers(text);
    kind += level == mgw::log_level::error ? 'e' : 'w';
    std::lock_guard const hold(mutex_);
    auto at = all_.begin();
    while (at != all_.end() && at->kind != kind) ++at;
    if (at == all_.end()) {
      if (all_.size() >= most_) all_.pop_back();
      at = all_.emplace(all_.begin());
      at->kind = std::move(kind);
      at->shown.level = level == mgw::log_level::error ? "error" : "warning";
    } else {
      all_.splice(all_.begin(), all_, at);
    }
    at->shown.text = text;
    at->shown.at = now;
    ++at->shown.times;
  }
  /// The latest first.
  std::vector<report::problem> all() const {
    std::lock_guard const hold(mutex_);
    std::vector<report::problem> out;
    for (auto const& e : all_) out.push_back(e.shown);
    return out;
  }

private:
  static constexpr std::size_t max_text = 500;  // bytes
  struct entry {
    std::string kind;
    report::problem shown;
  };
  static std::string without_numbers(std::string_view text) {
    std::string out;
    for (char const c : text)
      if (c < '0' || c > '9')
        out += c;
      else if (!out.ends_with('#'))
        out += '#';
    return out;
  }

  std::size_t const most_;
  mutable std::mutex mutex_;
  std::list<entry> all_;
};

}  // namespace gateway::status
