#pragma once

#include <cstdint>

namespace mgw {

/// The beginning of 2020, unix seconds. A clock that says it is earlier was not set yet: boards without a battery begin
/// at 1970, or at some day of their firmware's, until they have reached a time server.
inline constexpr std::int64_t clocks_are_set_from = 1'577'836'800;

}  // namespace mgw
