#pragma once

#include <cstddef>
#include <system_error>

namespace mgw::test {

/// Fails the n-th operation (0: the first) of all that share it. A loop over n until `n >= seen` after the run has
/// been through every error path, and once through without an error.
struct fail_at {
  std::size_t n;
  std::error_code error;
  std::size_t seen = 0;  ///< operations so far

  explicit fail_at(std::size_t which, std::error_code with = std::make_error_code(std::errc::io_error))
      : n(which), error(with) {}
  /// Called by each operation: its error, or none.
  std::error_code next() noexcept { return seen++ == n ? error : std::error_code(); }
  bool fired() const noexcept { return seen > n; }
};

}  // namespace mgw::test
