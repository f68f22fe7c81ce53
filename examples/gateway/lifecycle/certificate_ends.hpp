#pragma once

#include "config/certificate_facts.hpp"

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// When certificates end, for the metrics. Any thread.
class certificate_ends {
public:
  /// What for, and when the first certificate of the file ends, in seconds since 1970.
  using list = std::vector<std::pair<std::string_view, std::int64_t>>;

  /// Reads the file; of one that cannot be read, or is not named, what was known before stays. `what`: a literal.
  void note(std::string_view what, std::string const& file) {
    if (file.empty()) return;
    auto const chain = read_chain(file);
    auto const sooner = [](auto const& a, auto const& b) { return a.not_after < b.not_after; };
    auto const first = std::min_element(chain.certificates.begin(), chain.certificates.end(), sooner);
    if (first == chain.certificates.end()) return;
    std::int64_t const end = first->not_after.time_since_epoch().count();
    std::lock_guard const lock(mutex_);
    auto const known = std::find_if(ends_.begin(), ends_.end(), [&](auto const& e) { return e.first == what; });
    if (known == ends_.end())
      ends_.emplace_back(what, end);
    else
      known->second = end;
  }
  list all() const {
    std::lock_guard const lock(mutex_);
    return ends_;
  }

private:
  mutable std::mutex mutex_;
  list ends_;
};

}  // namespace gateway
