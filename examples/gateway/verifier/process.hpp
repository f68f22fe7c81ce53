#pragma once

#include <mgw/core/result.hpp>
#include <mgw/net/error.hpp>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

namespace detail {

/// The status of a child that has ended or is about to; nothing if the system collected it (SIGCHLD ignored).
inline std::optional<int> reap(pid_t pid, int flags = 0) noexcept {
  int status = 0;
  pid_t done = -1;
  do done = ::waitpid(pid, &status, flags);
  while (done < 0 && errno == EINTR);
  return done == pid ? std::optional<int>(status) : std::nullopt;
}

/// Only what a loader or a sanitizer reads: the gateway's environment has secrets.
inline std::vector<char*> environment_of_child() {
  std::vector<char*> out;
  for (char** e = environ; e != nullptr && *e != nullptr; ++e) {
    std::string_view const one(*e);
    for (std::string_view const start : {"LD_", "ASAN_", "UBSAN_", "TSAN_", "LSAN_", "OPENSSL_CONF="})
      if (one.starts_with(start)) out.push_back(*e);
  }
  out.push_back(nullptr);
  return out;
}

struct spawn_settings {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  spawn_settings() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
  }
  spawn_settings(spawn_settings const&) = delete;
  spawn_settings& operator=(spawn_settings const&) = delete;
  ~spawn_settings() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
};

}  // namespace detail

/// A child process with one socket between it and us: its standard input and output. (A pipe would raise SIGPIPE here
/// when the child dies.) Its standard error is /dev/null, or ours if `keep_stderr`.
///
/// Destruction kills and reaps it, without waiting, unless the context is being destroyed: then for the moment it
/// takes. Thread rule: that of the context, which outlives it. The child may ask for a signal when the thread that
/// started it ends.
class child_process {
public:
  /// Starts `arguments[0]`, with signals as they are in a new program and only what is needed of the environment.
  static mgw::result<std::shared_ptr<child_process>> start(asio::io_context& io, std::vector<std::string> arguments,
                                                           bool keep_stderr) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return mgw::net::system_error(errno);
    // Little is under way then, and so is little work that no further byte was taken for.
    int const buffer = 65536;
    ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    auto out = std::shared_ptr<child_process>(new child_process(io));
    std::error_code ec;
    out->socket_.assign(ends[0], ec);
    if (ec) ::close(ends[0]);
    if (!ec) ec = out->spawn(arguments, ends[1], keep_stderr);
    ::close(ends[1]);
    if (ec) return ec;
    return out;
  }
  child_process(child_process const&) = delete;
  child_process& operator=(child_process const&) = delete;
  ~child_process() {
    if (pid_ <= 0 || reaped_) return;
    ::kill(pid_, SIGKILL);
    if (detail::reap(pid_, WNOHANG)) return;
    auto last = std::make_shared<zombie>(pid_, std::move(ended_));
    // Whether the wait comes to its end or is destroyed with the context, the zombie's destructor reaps. (A wait that
    // begins while the context is being destroyed goes to its scheduler, whose queue is destroyed last.)
    if (last->ended.is_open())
      last->ended.async_wait(asio::posix::stream_descriptor::wait_read, [last](std::error_code) {});
  }

  pid_t pid() const noexcept { return pid_; }
  asio::posix::stream_descriptor& socket() noexcept { return socket_; }
  /// Ends what waits for the socket.
  void cancel_wait() noexcept {
    std::error_code ignored;
    socket_.cancel(ignored);
  }
  /// Readable when the process has ended.
  asio::posix::stream_descriptor& ended() noexcept { return ended_; }
  /// Precondition: it has ended; the first call. Nothing: it is not to be learned.
  std::optional<int> status() noexcept {
    reaped_ = true;
    return detail::reap(pid_);
  }
  void kill() noexcept {
    if (!reaped_) ::kill(pid_, SIGKILL);
  }

  /// From now on it may use so much processor time: SIGXCPU ends it then. False: its limit is not ours to move.
  bool allow_cpu(std::chrono::seconds more) noexcept {
    clockid_t clock{};
    timespec used{};
    rlimit l{};
    if (::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return true;  // it has ended
    if (used.tv_sec == used_seconds_) return true;
    used_seconds_ = used.tv_sec;
    if (::prlimit(pid_, RLIMIT_CPU, nullptr, &l) != 0) return errno == ESRCH;
    l.rlim_cur = std::min(static_cast<rlim_t>(used.tv_sec + 1 + more.count()), l.rlim_max);
    return ::prlimit(pid_, RLIMIT_CPU, &l, nullptr) == 0 || errno == ESRCH;
  }

private:
  struct zombie {
    zombie(pid_t p, asio::posix::stream_descriptor d) : pid(p), ended(std::move(d)) {}
    zombie(zombie const&) = delete;
    zombie& operator=(zombie const&) = delete;
    ~zombie() { detail::reap(pid); }
    pid_t pid;
    asio::posix::stream_descriptor ended;
  };

  explicit child_process(asio::io_context& io) : socket_(io), ended_(io) {}

  std::error_code spawn(std::vector<std::string>& arguments, int its_end, bool keep_stderr) {
    std::vector<char*> argv;
    for (auto& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    auto const environment = detail::environment_of_child();
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    detail::spawn_settings how;
    int rc = posix_spawnattr_setflags(&how.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (rc == 0) rc = posix_spawnattr_setsigmask(&how.attributes, &none);
    if (rc == 0) rc = posix_spawnattr_setsigdefault(&how.attributes, &all);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(&how.files, its_end, STDIN_FILENO);
    if (rc == 0) rc = posix_spawn_file_actions_adddup2(&how.files, STDIN_FILENO, STDOUT_FILENO);
    if (rc == 0 && !keep_stderr)
      rc = posix_spawn_file_actions_addopen(&how.files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t pid = -1;
    if (rc == 0) rc = posix_spawn(&pid, argv[0], &how.files, &how.attributes, argv.data(), environment.data());
    if (rc != 0) return mgw::net::system_error(rc);
    pid_ = pid;
    int const fd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));  // glibc 2.36 declares it for C alone
    if (fd < 0) return mgw::net::system_error(errno);
    std::error_code ec;
    ended_.assign(fd, ec);
    if (ec) ::close(fd);
    return ec;
  }

  asio::posix::stream_descriptor socket_;
  asio::posix::stream_descriptor ended_;
  pid_t pid_ = -1;
  bool reaped_ = false;
  time_t used_seconds_ = 0;
};

}  // namespace gateway
