#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace mgw::test {

/// A directory of its own, which goes with the object.
class temporary_directory {
public:
  /// `in_memory`: where the system has such a place, for tests that make thousands of stores.
  explicit temporary_directory(bool in_memory = false) {
    std::filesystem::path const memory = "/dev/shm";
    bool const found = in_memory && ::access(memory.c_str(), W_OK | X_OK) == 0;
    std::string name = ((found ? memory : std::filesystem::temp_directory_path()) / "mgw-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = name;
  }
  temporary_directory(temporary_directory const&) = delete;
  temporary_directory& operator=(temporary_directory const&) = delete;
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path const& path() const noexcept { return path_; }

private:
  std::filesystem::path path_;
};

}  // namespace mgw::test
