#pragma once

#include "status/report.hpp"

#include <mgw/cache/key.hpp>
#include <mgw/proxy/fetch_job.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::status {

/// Whether this route is an artifact's.
inline bool is_download(std::string_view route) noexcept {
  return route.find("{token}") != std::string_view::npos;
}

/// A download that runs.
struct live_download {
  std::string device;
  mgw::cache::key object;
  std::uint64_t bytes = 0, size = 0;  ///< up to which byte of the object it has come; size 0: not known
  bool begun = false;                 ///< the response is; else it is held
};

/// A call that waits for the server's answer, longer than such calls do.
struct live_call {
  std::string device;
  std::string_view route;
};

/// An object that is being fetched.
struct running_fill {
  mgw::cache::key object;
  std::string host;
  std::optional<std::uint64_t> size;
  std::uint64_t have = 0, readers = 0;
  mgw::proxy::fetch_job::stage at = mgw::proxy::fetch_job::stage::fetching;
  std::string why;
  std::int64_t started = 0;
};

struct cached_object {
  mgw::cache::key key;
  std::string name;  ///< empty: it was not verified
  std::uint64_t size = 0;
  std::int64_t added = 0, used = 0;
  bool pinned = false;
};

/// How things stand at a moment, as their owners tell it.
struct moment {
  std::int64_t now = 0;  ///< seconds since 1970
  std::chrono::steady_clock::time_point when;
  std::vector<live_download> downloads;
  std::vector<live_call> calls;
  std::vector<running_fill> fills;
  std::vector<cached_object> objects;
  std::uint64_t upstream_bytes = 0, again_bytes = 0, delivered = 0;
  report about;  ///< what needs nothing of what was kept: it is the beginning of the report
};

}  // namespace gateway::status
