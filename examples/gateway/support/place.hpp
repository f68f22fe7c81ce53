#pragma once

#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>

namespace gateway {

/// A directory, or what is nearest above it if it is still to be made; absolute.
inline std::filesystem::path nearest_there(std::string const& path) {
  std::error_code ec;
  std::filesystem::path place = std::filesystem::absolute(path).lexically_normal();
  for (; place != place.root_path(); place = place.parent_path())
    if (std::filesystem::status(place, ec).type() != std::filesystem::file_type::not_found) break;
  return place;
}

/// The directory that a file is in.
inline std::string directory_of(std::string const& file) {
  auto const parent = std::filesystem::path(file).parent_path();
  return parent.empty() ? "." : parent.string();
}

/// What the files in a directory take of the disk, in bytes; of links, the links. What cannot be looked at counts
/// nothing. `whole`: all of them were looked at by `until`.
inline std::uint64_t bytes_on_disk(std::string const& path, std::chrono::steady_clock::time_point until, bool& whole) {
  namespace fs = std::filesystem;
  std::uint64_t all = 0;
  whole = true;
  std::error_code ec;
  fs::recursive_directory_iterator i(path, fs::directory_options::skip_permission_denied, ec);
  for (fs::recursive_directory_iterator const end; !ec && i != end && whole; i.increment(ec)) {
    struct stat about{};
    if (::lstat(i->path().c_str(), &about) == 0 && S_ISREG(about.st_mode))
      all += static_cast<std::uint64_t>(about.st_blocks) * 512;
    whole = std::chrono::steady_clock::now() < until;
  }
  return all;
}

}  // namespace gateway
