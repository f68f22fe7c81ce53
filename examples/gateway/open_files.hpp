#pragma once

#include <mgw/core/log.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <string>

namespace gateway {

/// What a process needs besides connections: listeners, the cache's files, verifiers, the log.
inline constexpr rlim_t other_open_files = 100;

/// Brings the number of connections under what a process may have open: each may need a second one, towards upstream.
/// Else idle ones would take the descriptors that those need which are served. One line names both numbers, a
/// warning if more than a tenth is lost.
inline void keep_within(std::size_t& max_connections, rlim_t open_files, mgw::log_sink const& log) {
  if (open_files == RLIM_INFINITY) return;
  rlim_t const left = open_files > other_open_files ? (open_files - other_open_files) / 2 : 0;
  if (max_connections <= left) return;
  std::size_t const asked = max_connections;
  max_connections = static_cast<std::size_t>(std::max<rlim_t>(left, 1));
  if (log)
    log(asked - max_connections > asked / 10 ? mgw::log_level::warn : mgw::log_level::info,
        "Limits.MaxConnections (LIMITS_MAX_CONNECTIONS) is " + std::to_string(asked) +
            ", but this process may have only " + std::to_string(open_files) + " files open: there may be " +
            std::to_string(max_connections) + " connections; raise the hard limit (LimitNOFILE=, ulimit -Hn) for more");
}

}  // namespace gateway
