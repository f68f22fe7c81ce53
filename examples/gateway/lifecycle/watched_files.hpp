#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

namespace gateway {

/// Sees when files are replaced or changed: by name, so that a symbolic link or a mount that leads elsewhere counts,
/// too, and so do other rights. Not thread-safe.
class watched_files {
public:
  watched_files() = default;
  /// What there is now is the state that later looks are compared with: make it before the files are read. Empty paths
  /// are left out.
  explicit watched_files(std::vector<std::string> paths) : paths_(std::move(paths)) { accept(); }

  /// Whether they are others than before; true once for each change. It counts when they are the same at two looks, as
  /// those that belong together are replaced one after the other.
  bool changed() {
    std::string now = signature();
    bool const steady = now == last_;
    last_ = std::move(now);
    if (!steady || last_ == seen_) return false;
    seen_ = last_;
    return true;
  }
  /// As they are now, they are known: before they are read.
  void accept() { seen_ = last_ = signature(); }

private:
  std::string signature() const {
    std::string out;
    for (std::string const& path : paths_) {
      struct stat s{};
      if (!path.empty() && ::stat(path.c_str(), &s) == 0)
        for (auto const n :
             {static_cast<long long>(s.st_dev), static_cast<long long>(s.st_ino), static_cast<long long>(s.st_size),
              static_cast<long long>(s.st_mtim.tv_sec), static_cast<long long>(s.st_mtim.tv_nsec),
              static_cast<long long>(s.st_ctim.tv_sec), static_cast<long long>(s.st_ctim.tv_nsec)})
          out += std::to_string(n) + ' ';
      out += '|';
    }
    return out;
  }

  std::vector<std::string> paths_;
  std::string seen_, last_;
};

}  // namespace gateway
