#pragma once

#include "metrics/text.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace gateway {

/// What Prometheus' own client libraries say of a process, under the same names. Each scrape reads it anew; what the
/// system does not tell is left out. Source: proc(5).
inline void write_process(metrics_text& out) {
  auto const content = [](char const* path) {
    std::string text;
    std::FILE* const f = std::fopen(path, "re");
    if (f == nullptr) return text;
    std::array<char, 4096> part;
    for (std::size_t n = 0; (n = std::fread(part.data(), 1, part.size(), f)) != 0;) text.append(part.data(), n);
    std::fclose(f);
    return text;
  };
  auto const hertz = static_cast<double>(::sysconf(_SC_CLK_TCK));
  auto const page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::string const stat = content("/proc/self/stat");
  unsigned long user = 0, system = 0, virtual_bytes = 0;
  unsigned long long started = 0;
  long pages = 0;
  std::size_t const name_ends = stat.rfind(')');  // the name may hold anything
  if (name_ends != std::string::npos &&
      std::sscanf(stat.c_str() + name_ends + 1,  // NOLINT(cert-err34-c): the kernel's own numbers
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu %lu %ld", &user,
                  &system, &started, &virtual_bytes, &pages) == 5) {
    out.single("process_cpu_seconds_total", "counter", "Processor time of the process, in user and in system mode.",
               static_cast<double>(user + system) / hertz);
    out.single("process_resident_memory_bytes", "gauge", "Memory of the process that is in RAM.",
               static_cast<std::uint64_t>(pages) * page);
    out.single("process_virtual_memory_bytes", "gauge", "Address space of the process.", std::uint64_t{virtual_bytes});
    std::string const all = content("/proc/stat");
    unsigned long long booted = 0;
    std::size_t const at = all.find("\nbtime ");
    if (at != std::string::npos && std::sscanf(all.c_str() + at, "\nbtime %llu", &booted) == 1)  // NOLINT(cert-err34-c)
      out.single("process_start_time_seconds", "gauge", "When the process was started, in seconds since 1970.",
                 static_cast<double>(booted) + static_cast<double>(started) / hertz);
  }
  if (DIR* const files = ::opendir("/proc/self/fd")) {
    std::uint64_t open = 0;
    while (::readdir(files) != nullptr) ++open;
    ::closedir(files);
    out.single("process_open_fds", "gauge", "Descriptors that are open.", open - 3);  // ".", ".." and this directory's
  }
  rlimit most{};
  if (::getrlimit(RLIMIT_NOFILE, &most) == 0)
    out.single("process_max_fds", "gauge", "Descriptors that may be open.", std::uint64_t{most.rlim_cur});
}

}  // namespace gateway
