#pragma once

#include <mgw/core/result.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <string>
#include <system_error>

namespace gateway {

/// Reads a whole file. Errors: the system's; std::errc::file_too_large if there are more than `limit` bytes.
inline mgw::result<std::string> read_text_file(std::string const& path, std::size_t limit) {
  int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::error_code(errno, std::system_category());
  std::string out;
  std::error_code failed;
  char piece[16384];
  for (;;) {
    ssize_t const n = ::read(fd, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failed = std::error_code(errno, std::system_category());
    if (n <= 0) break;
    out.append(piece, static_cast<std::size_t>(n));
    if (out.size() > limit) {
      failed = std::make_error_code(std::errc::file_too_large);
      break;
    }
  }
  ::close(fd);
  if (failed) return failed;
  return out;
}

/// Why a file cannot be used, with its owner, mode and our uid, which are what is wrong most often.
inline std::string file_trouble(std::string const& path, std::error_code why) {
  std::string out = why.message();
  struct stat about{};
  if (::stat(path.c_str(), &about) != 0) return out;
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(about.st_mode & 07777U));
  return out + "; it belongs to uid " + std::to_string(about.st_uid) + ", mode " + mode + ", and we are uid " +
         std::to_string(::geteuid());
}

}  // namespace gateway
