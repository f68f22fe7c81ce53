#pragma once

#include <mgw/net/error.hpp>

#include <seccomp.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <system_error>

namespace gateway {

/// AddressSanitizer and ThreadSanitizer reserve terabytes of addresses and make system calls of their own. A program
/// built with one has neither the limit of memory nor the filter of system calls; nothing else turns these off, no
/// option and no variable of the environment.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool built_with_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer) || \
    __has_feature(undefined_behavior_sanitizer)
inline constexpr bool built_with_sanitizer = true;
#else
inline constexpr bool built_with_sanitizer = false;
#endif
#else
inline constexpr bool built_with_sanitizer = false;
#endif

struct sandbox_limits {
  std::size_t memory;        ///< bytes of address space, beyond what the process has
  std::chrono::seconds cpu;  ///< the soft limit, in all; who started the process may raise it
};

namespace detail {

/// Sets a limit; an error if the hard limit is lower: what then were over it would not be over ours.
inline std::error_code limit(decltype(RLIMIT_CORE) which, rlim_t value, bool hard = true) {
  rlimit now{};
  if (::getrlimit(which, &now) != 0) return mgw::net::system_error(errno);
  now.rlim_cur = value;
  if (hard) now.rlim_max = value;
  if (::setrlimit(which, &now) != 0) return mgw::net::system_error(errno);
  return {};
}

/// Bytes of address space that this process has; 0: not to be learned.
inline std::size_t address_space() {
  char text[64] = {};
  int const fd = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t const n = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  return n <= 0 ? 0 : std::strtoull(text, nullptr, 10) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// Kills the process at any system call but those that computing needs, on descriptors 0 to 2.
inline std::error_code filter_system_calls() {
  struct release {
    void operator()(void* filter) const noexcept { seccomp_release(filter); }
  };
  std::unique_ptr<void, release> const filter(seccomp_init(SCMP_ACT_KILL_PROCESS));
  if (!filter) return mgw::net::system_error(ENOMEM);
  int rc = seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  auto const allow = [&](char const* name, auto... condition) {
    int const number = seccomp_syscall_resolve_name(name);
    if (rc == 0 && number >= 0)  // below 0: this architecture has none of that name
      rc = seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, number, sizeof...(condition), condition...);
  };
  auto const is = [](unsigned argument, scmp_datum_t value) { return scmp_arg_cmp{argument, SCMP_CMP_EQ, value, 0}; };
  allow("read", is(0, STDIN_FILENO));
  allow("write", is(0, STDOUT_FILENO));
  // Memory that is not executable.
  for (char const* const name : {"mmap", "mmap2", "mprotect"})
    allow(name, scmp_arg_cmp{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0});
  for (char const* const name : {"brk", "munmap", "mremap", "madvise"}) allow(name);
  for (char const* const name : {"futex", "futex_time64", "sched_yield", "restart_syscall", "rt_sigreturn", "sigreturn",
                                 "clock_gettime", "clock_gettime64", "gettimeofday", "time", "getrandom"})
    allow(name);
  // abort(), which shall be told from a forbidden call.
  for (char const* const name : {"rt_sigprocmask", "rt_sigaction", "getpid", "gettid", "exit", "exit_group"})
    allow(name);
  allow("tgkill", is(0, static_cast<scmp_datum_t>(::getpid())), is(2, SIGABRT));
  if (rc == 0) rc = seccomp_load(filter.get());
  return rc == 0 ? std::error_code() : mgw::net::system_error(-rc);
}

}  // namespace detail

/// Shuts this process in, for good: no file, socket, process or program is to be had, no more memory and processor time
/// than `l` says, no core file; a system call that is not needed for computing is the end of it (SIGSYS). It reads
/// descriptor 0 and writes descriptor 1. What a library would read from files later must have been read.
///
/// Returns what could not be done, in which case the process must not go on; empty: it is shut in.
/// Precondition: a single thread.
inline std::string enter_sandbox(sandbox_limits const& l) {
  auto const failed = [](char const* what, std::error_code ec) { return std::string(what) + ": " + ec.message(); };
  std::size_t const own = detail::address_space();
  if (own == 0) return "address space: /proc/self/statm cannot be read";
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("no_new_privs", mgw::net::system_error(errno));
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("dumpable", mgw::net::system_error(errno));
  if (auto const ec = detail::limit(RLIMIT_CORE, 0)) return failed("limit of core files", ec);
  if (auto const ec = detail::limit(RLIMIT_FSIZE, 0)) return failed("limit of files", ec);
  if (auto const ec = detail::limit(RLIMIT_CPU, static_cast<rlim_t>(l.cpu.count()), false))
    return failed("limit of processor time", ec);
  if constexpr (!built_with_sanitizer) {
    if (auto const ec = detail::limit(RLIMIT_NOFILE, 0)) return failed("limit of descriptors", ec);
    if (auto const ec = detail::limit(RLIMIT_AS, own + l.memory)) return failed("limit of memory", ec);
    if (auto const ec = detail::filter_system_calls()) return failed("seccomp", ec);
  }
  return {};
}

}  // namespace gateway
