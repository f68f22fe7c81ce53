#pragma once

#include "config/settings.hpp"

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/core/log.hpp>

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <system_error>

namespace gateway {

/// Whether a disk says that it is broken, full or was made read-only: what happens to a cache by itself, unlike a wrong
/// path or owner.
inline bool is_disk_trouble(std::error_code ec) {
  switch (ec.value()) {
    case EROFS:
    case EIO:
    case ENOSPC:
    case EDQUOT:
    case EUCLEAN:  // a damaged file system
    case ENODEV:
    case ENXIO:
    case ENOMEDIUM:
    case ESTALE:
    case ETIMEDOUT: return ec.category() == std::generic_category() || ec.category() == std::system_category();
    default: return false;
  }
}

/// Opens the cache. Null, after a line in the log: its disk has trouble, and devices are served without it (a broken
/// cache never breaks an update) until the next start. Throws like disk_store where somebody has to mend the
/// configuration: no such path, no right to write, in use by another process.
inline std::unique_ptr<mgw::cache::disk_store> open_or_do_without(
    mgw::cache::disk_store::options const& where, mgw::log_sink const& log,
    mgw::cache::file_ops& ops = mgw::cache::posix_file_ops()) {
  try {
    return std::make_unique<mgw::cache::disk_store>(where, log, ops);
  } catch (std::system_error const& e) {
    if (!is_disk_trouble(e.code())) throw;
    if (log)
      log(mgw::log_level::error,
          std::string("the cache's disk cannot be used, devices are served without a cache until the next start: ") +
              e.what());
    return nullptr;
  }
}

/// Opens the cache of these settings. Null, after a line in the log, also where nobody set its path and the default one
/// cannot be used: the original's containers have neither the directory nor the right to make it, and must start.
/// Throws config_error where a path that somebody set cannot be used, std::runtime_error where another process has it.
inline std::unique_ptr<mgw::cache::disk_store> open_cache(settings const& s, mgw::log_sink const& log,
                                                          mgw::cache::file_ops& ops = mgw::cache::posix_file_ops()) {
  mgw::cache::disk_store::options where;
  where.path = s.cache.path;
  where.max_size = s.cache.max_size;
  where.min_free = s.cache.min_free;
  where.max_age = std::chrono::duration_cast<std::chrono::seconds>(s.cache.max_age);
  std::string const key = "ARTIFACTS_PROXY_CACHE_PATH (Features.ArtifactsProxy.ArtifactsCache.Path)";
  std::string const uid = "uid " + std::to_string(::geteuid());
  try {
    if (!s.cache.path_is_default) return open_or_do_without(where, log, ops);
    return std::make_unique<mgw::cache::disk_store>(where, log, ops);
  } catch (std::system_error const& e) {
    if (!s.cache.path_is_default)
      throw config_error(key + " is \"" + s.cache.path + "\": " + e.what() + "; accepted: a directory that " + uid +
                         " may write to, or may make");
    if (log)
      log(mgw::log_level::error,
          "no artifact is kept until the next start, each device's download crosses the upstream link: " + key +
              " is not set, and " + uid + " cannot use its default " + s.cache.path + ": " + e.what() +
              "; mount a directory there that " + uid + " may write to, or set the key to one; " +
              "ARTIFACTS_PROXY_CACHE_ENABLED=false if no cache is wanted");
    return nullptr;
  }
}

}  // namespace gateway
