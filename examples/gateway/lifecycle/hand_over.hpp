#pragma once

#include "config/settings.hpp"
#include "config/value_forms.hpp"
#include "listening.hpp"

#include <mgw/core/log.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace gateway {

/// The files that a gateway of these settings keeps locked as long as it runs.
inline std::vector<std::string> held_files(settings const& s) {
  std::vector<std::string> out;
  if (s.proxy.enabled && s.cache.enabled) out.push_back(s.cache.path + "/lock");
  if (s.mtls.enabled) out.push_back(s.state_directory + "/bindings");
  if (!s.audit.path.empty()) out.push_back(s.audit.path);
  return out;
}

/// Whether another process holds the file's lock. One that is not there, or cannot be opened, nobody holds.
inline bool is_held(std::string const& file) {
  int const fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return false;
  bool const held = ::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(fd);
  return held;
}

/// Waits until the gateway before this one has given its files up, for `limit` at most: it still serves what it has
/// begun, while new connections wait in the queue of the socket that both have. Two lines in the log, none if nobody
/// holds anything. Blocks. False if the process is told to stop meanwhile.
inline bool wait_for_hand_over(std::vector<std::string> const& files, std::chrono::milliseconds limit,
                               mgw::log_sink const& log,
                               std::function<bool(std::chrono::milliseconds)> const& sleep = stop_within) {
  auto const held = [&] { return std::find_if(files.begin(), files.end(), is_held); };
  auto at = held();
  if (at == files.end()) return true;
  constexpr std::chrono::milliseconds step(50);
  stop_held_back const back;
  log(mgw::log_level::info, "another gateway holds " + *at + ": waiting for it to end, for " + show_duration(limit) +
                                " at most; connections wait meanwhile");
  std::chrono::milliseconds waited(0);
  while (at != files.end() && waited < limit) {
    if (sleep(step)) {
      log(mgw::log_level::info, "told to stop before the other gateway had ended");
      return false;
    }
    waited += step;
    at = held();
  }
  if (at == files.end())
    log(mgw::log_level::info, "the other gateway has ended, after " + show_duration(waited));
  else
    log(mgw::log_level::error, "another gateway still holds " + *at + ", after " + show_duration(waited));
  return true;
}

}  // namespace gateway
