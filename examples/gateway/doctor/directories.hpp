#pragma once

#include "commands/table.hpp"
#include "config/settings.hpp"
#include "config/text_file.hpp"
#include "doctor/finding.hpp"
#include "doctor/look_within.hpp"
#include "support/cache_room.hpp"
#include "support/place.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

namespace gateway::doctor {

namespace directories_detail {

namespace fs = std::filesystem;

/// A file without a name is made and written there: what else would say that a quota or an i/o error is in the way?
inline std::error_code try_to_write(std::string const& directory) {
  int const fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) {
    bool const unknown = errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT || errno == EINVAL;
    if (!unknown) return {errno, std::generic_category()};
    if (::access(directory.c_str(), W_OK | X_OK) == 0) return {};
    return {errno, std::generic_category()};
  }
  static constexpr std::array<char, 4096> block{};
  std::error_code ec;
  ssize_t const n = ::write(fd, block.data(), block.size());
  if (n < 0 || ::fsync(fd) != 0)
    ec = {errno, std::generic_category()};
  else if (n != static_cast<ssize_t>(block.size()))
    ec = {ENOSPC, std::generic_category()};
  ::close(fd);
  return ec;
}

inline std::string write_advice(std::error_code ec, std::string const& path) {
  switch (ec.value()) {
    case ENOSPC:
    case EDQUOT: return "make room on its file system, or choose another directory";
    case EROFS:
      return "its file system is read-only: mount it for writing (a container: add a volume), or choose another "
             "directory";
    case EACCES:
    case EPERM:
      return "let the gateway's user write there: chown USER " + path + " (we are uid " + std::to_string(::geteuid()) +
             ")";
    case EIO: return "its disk is broken: look at dmesg";
    default: return "choose another directory";
  }
}

}  // namespace directories_detail

/// Whether the gateway can keep things in this directory, which it makes where it is missing. Nothing is changed.
/// `key`: what sets it.
inline finding check_directory(std::string const& path, std::string const& check, std::string const& key) {
  using namespace directories_detail;
  std::error_code ec;
  fs::path const at = nearest_there(path);
  bool const there = at == fs::absolute(path).lexically_normal();
  auto const what = fs::status(at, ec);
  if (!fs::is_directory(what))
    return {level::problem, check, at.string() + (ec ? ": " + ec.message() : " is no directory"),
            "set " + key + " to a directory, or move away what is there"};
  ec = try_to_write(at.string());
  if (ec)
    return {level::problem, check,
            (there ? path + " cannot be written to: " : path + " is not there, and cannot be made: ") +
                file_trouble(at.string(), ec),
            write_advice(ec, at.string())};
  return {level::ok, check, there ? path + " can be written to" : path + " is not there yet; the gateway makes it"};
}

/// Space against the cache's limits. `used`: what the cache has taken already; `total` and `available` of the file
/// system, the latter for whom the gateway runs as.
inline finding judge_space(std::uint64_t total, std::uint64_t available, std::uint64_t used, std::uint64_t max_size,
                           std::uint64_t min_free) {
  std::string const check = "cache space";
  auto const [most, spare, reach, room] = cache_room(total, available, used, max_size, min_free);
  std::string const found = human_size(used) + " used, " + human_size(available) + " free; the cache may take " +
                            human_size(most) + " and leaves " + human_size(spare) + " free: room for " +
                            human_size(room);
  constexpr std::uint64_t little = std::uint64_t{1} << 30;
  constexpr auto* more =
      "make room on the file system, give the cache a larger one (ARTIFACTS_PROXY_CACHE_PATH), or leave less of it "
      "free (ARTIFACTS_PROXY_CACHE_MIN_FREE)";
  if (room == 0)
    return {level::problem, check, found, std::string("nothing can be kept, every device fetches for itself: ") + more};
  if (max_size > reach)
    return {level::warning, check, found,
            std::string("the disk is smaller than ARTIFACTS_PROXY_CACHE_MAX_SIZE: set what there is, or ") + more};
  if (room < little)
    return {level::warning, check, found,
            max_size != 0 && max_size < little
                ? "larger artifacts are not kept: set ARTIFACTS_PROXY_CACHE_MAX_SIZE higher"
                : std::string("larger artifacts are not kept: ") + more};
  return {level::ok, check, found};
}

namespace directories_detail {

inline findings cache_at(settings const& s, std::chrono::steady_clock::time_point until) {
  findings out;
  out.push_back(check_directory(s.cache.path, "cache directory",
                                "ARTIFACTS_PROXY_CACHE_PATH (Features.ArtifactsProxy.ArtifactsCache.Path)"));
  if (out.back().how == level::problem) return out;
  struct statvfs v{};
  if (::statvfs(nearest_there(s.cache.path).c_str(), &v) != 0) return out;
  std::uint64_t const unit = v.f_frsize;
  bool counted = true;
  std::uint64_t const used = bytes_on_disk(s.cache.path, until, counted);
  out.push_back(judge_space(v.f_blocks * unit, v.f_bavail * unit, used, s.cache.max_size, s.cache.min_free));
  if (!counted) out.back().found.insert(0, "at least ");  // a large cache is no disk that hangs
  return out;
}

inline findings audit_at(std::string const& path) {
  constexpr auto *check = "audit log", *key = "AUDIT_PATH (Audit.Path)";
  finding const directory = check_directory(directory_of(path), check, key);
  if (directory.how == level::problem) return {directory};
  int const fd = ::open(path.c_str(), O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC);
  std::error_code const ec(fd < 0 ? errno : 0, std::generic_category());
  struct stat about{};
  bool const strange = fd >= 0 && (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode));
  if (fd >= 0) ::close(fd);
  if (strange || ec == std::errc::is_a_directory)
    return {finding(level::problem, check, path + " is no file",
                    std::string("set ") + key + " to a file, or move away what is there")};
  if (ec && ec != std::errc::no_such_file_or_directory)
    return {finding(level::problem, check, path + " cannot be written to: " + file_trouble(path, ec),
                    write_advice(ec, path))};
  return {finding(level::ok, check, path + (ec ? " is not there yet; the gateway makes it" : " can be written to"))};
}

}  // namespace directories_detail

/// The directories of these settings, each of which may take `limit`.
inline findings check_directories(settings const& s, std::chrono::milliseconds limit) {
  findings out = with_limit(limit, "state directory", s.state_directory, [path = s.state_directory] {
    return findings{check_directory(path, "state directory", "STATE_DIRECTORY (StateDirectory)")};
  });
  if (!s.audit.path.empty())
    for (auto& f : with_limit(limit, "audit log", s.audit.path,
                              [path = s.audit.path] { return directories_detail::audit_at(path); }))
      out.push_back(std::move(f));
  if (!s.proxy.enabled || !s.cache.enabled) {
    out.emplace_back(level::warning, "cache directory",
                     "no artifacts are kept: each device's download crosses the upstream link",
                     "set ARTIFACTS_PROXY_CACHE_ENABLED and ARTIFACTS_PROXY_ENABLED to true if that is not meant");
    return out;
  }
  auto const until = std::chrono::steady_clock::now() + limit / 2;
  for (auto& f : with_limit(limit, "cache directory", s.cache.path,
                            [s, until] { return directories_detail::cache_at(s, until); }))
    out.push_back(std::move(f));
  return out;
}

}  // namespace gateway::doctor
