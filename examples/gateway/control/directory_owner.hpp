#pragma once

#include <mgw/core/result.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway {

struct directory_owner {
  uid_t user = 0;
  gid_t group = 0;
};

namespace directory_owner_detail {

class handle {
public:
  explicit handle(int fd) noexcept : fd_(fd) {}
  handle(handle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  handle& operator=(handle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~handle() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const noexcept { return fd_; }

private:
  int fd_;
};

}  // namespace directory_owner_detail

/// Whom a directory belongs to, for a root that is about to take his part. A symbolic link on the way is followed only
/// if it is root's or the same user's: so nobody leads root into the part of another one.
/// Errors: std::errc::too_many_symbolic_link_levels, also for another user's link; the system's.
inline mgw::result<directory_owner> owner_of_directory(std::string const& path) {
  using directory_owner_detail::handle;
  constexpr int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  constexpr int most_links = 40;  // as the kernel follows
  auto const failed = [] { return std::error_code(errno, std::generic_category()); };
  auto const refused = [] { return std::make_error_code(std::errc::too_many_symbolic_link_levels); };
  std::string rest = path;
  uid_t linked_by = 0;  // the one user whose links were followed
  handle at(::open(path.starts_with('/') ? "/" : ".", flags | O_DIRECTORY));
  if (at.fd() < 0) return failed();
  for (int links = 0;;) {
    rest.erase(0, std::min(rest.find_first_not_of('/'), rest.size()));
    if (rest.empty()) break;
    std::string const name = rest.substr(0, rest.find('/'));
    rest.erase(0, name.size());
    handle next(::openat(at.fd(), name.c_str(), flags));
    struct stat s{};
    if (next.fd() < 0 || ::fstat(next.fd(), &s) != 0) return failed();
    if (!S_ISLNK(s.st_mode)) {
      at = std::move(next);
      continue;
    }
    std::array<char, 4096> target;
    ssize_t const n = ::readlinkat(next.fd(), "", target.data(), target.size());
    if (n < 0) return failed();
    std::string_view const to(target.data(), static_cast<std::size_t>(n));
    bool const another = s.st_uid != 0 && linked_by != 0 && s.st_uid != linked_by;
    if (another || ++links > most_links || to.size() == target.size()) return refused();
    if (s.st_uid != 0) linked_by = s.st_uid;
    if (to.starts_with('/')) at = handle(::open("/", flags | O_DIRECTORY));
    if (at.fd() < 0) return failed();
    rest = std::string(to) + '/' + rest;
  }
  struct stat s{};
  if (::fstat(at.fd(), &s) != 0) return failed();
  if (!S_ISDIR(s.st_mode)) return std::make_error_code(std::errc::not_a_directory);
  if (linked_by != 0 && linked_by != s.st_uid) return refused();
  directory_owner out;
  out.user = s.st_uid;
  out.group = s.st_gid;
  return out;
}

}  // namespace gateway
