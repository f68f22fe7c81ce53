#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace mgw::test {

/// Leaves no descriptor to this process while it lives.
class no_descriptors {
public:
  no_descriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    int const lowest_free = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
    rlimit now = before_;
    now.rlim_cur = static_cast<rlim_t>(lowest_free);
    ::close(lowest_free);
    ::setrlimit(RLIMIT_NOFILE, &now);
  }
  no_descriptors(no_descriptors const&) = delete;
  no_descriptors& operator=(no_descriptors const&) = delete;
  ~no_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
  rlimit before_{};
};

}  // namespace mgw::test
