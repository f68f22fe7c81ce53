#pragma once

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/core/log.hpp>

#include <cerrno>
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

}  // namespace gateway
