#pragma once

#include "config/settings.hpp"
#include "control/channel.hpp"

#include <mgw/cache/file.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

namespace gateway {

/// Where a gateway with this state directory listens for commands.
inline std::string control_socket_path(std::string const& state_directory) {
  return (std::filesystem::absolute(state_directory) / "control.sock").lexically_normal().string();
}

/// Throws config_error if the path is longer than the address of a socket can be (unix(7)).
inline sockaddr_un control_address(std::string const& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  if (path.size() >= sizeof out.sun_path)
    throw config_error("STATE_DIRECTORY (StateDirectory): the control socket " + path + " would have a path of " +
                       std::to_string(path.size()) + " bytes; a socket's has at most " +
                       std::to_string(sizeof out.sun_path - 1));
  std::memcpy(static_cast<char*>(out.sun_path), path.c_str(), path.size() + 1);
  return out;
}

/// Connects to the gateway that listens there; does not wait for it, nor do reads and writes afterwards. Errors:
/// std::errc::no_such_file_or_directory, std::errc::connection_refused (what a dead gateway left),
/// std::errc::permission_denied, std::errc::resource_unavailable_try_again (too many wait in line), ….
inline mgw::result<owned_descriptor> connect_control(sockaddr_un const& address) {
  int const fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return std::error_code(errno, std::generic_category());
  auto out = std::make_unique<mgw::cache::file const>(fd);
  if (::connect(fd, reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0)
    return std::error_code(errno, std::generic_category());
  return out;
}

/// A listening socket with a name in the file system, mode 0600, which goes with it.
class named_socket {
public:
  named_socket() = default;
  named_socket(named_socket&& other) noexcept
      : fd_(std::move(other.fd_)),
        path_(std::exchange(other.path_, {})),
        device_(other.device_),
        inode_(other.inode_) {}
  named_socket& operator=(named_socket&&) = delete;
  ~named_socket() { remove(); }

  /// Replaces what a dead gateway left there. Errors: std::errc::address_in_use if another one answers, or if what is
  /// there is no socket; the system's.
  static mgw::result<named_socket> listen(std::string const& path, sockaddr_un const& address, int backlog) {
    auto const failed = [] { return std::error_code(errno, std::generic_category()); };
    struct stat s{};
    if (::lstat(path.c_str(), &s) == 0) {
      auto const answers = S_ISSOCK(s.st_mode)
                               ? connect_control(address)
                               : mgw::result<owned_descriptor>(std::make_error_code(std::errc::address_in_use));
      if (answers || answers.error() != std::errc::connection_refused)
        return std::make_error_code(std::errc::address_in_use);
      ::unlink(path.c_str());
    }
    int const fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return failed();
    named_socket out;
    out.fd_ = std::make_unique<mgw::cache::file const>(fd);
    // Its file gets this mode when it is bound, less what the umask takes away: it never has more, not for a moment.
    if (::fchmod(fd, 0600) != 0 || ::bind(fd, reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0)
      return failed();
    out.path_ = path;
    if (::lstat(path.c_str(), &s) != 0 || ::chmod(path.c_str(), 0600) != 0) return failed();
    out.device_ = s.st_dev;
    out.inode_ = s.st_ino;
    if (::listen(fd, backlog) != 0) return failed();
    return out;
  }

  explicit operator bool() const noexcept { return fd_ != nullptr; }
  int fd() const noexcept { return fd_->fd(); }
  std::string const& path() const noexcept { return path_; }
  /// Takes its name away, unless something else has the name by now. Who connects after that finds nothing.
  void remove() noexcept {
    struct stat s{};
    if (!path_.empty() && ::lstat(path_.c_str(), &s) == 0 && s.st_dev == device_ && s.st_ino == inode_)
      ::unlink(path_.c_str());
    path_.clear();
  }

private:
  owned_descriptor fd_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace gateway
