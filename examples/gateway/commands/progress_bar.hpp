#pragma once

#include "artifact/report.hpp"
#include "commands/table.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace gateway {

/// `import release-2  [#####.....]  50 %  256 MiB of 512 MiB`, in at most `width` columns. Precondition: total != 0.
inline std::string progress_line(std::string_view title, std::uint64_t done, std::uint64_t total, std::size_t width) {
  done = std::min(done, total);
  auto const share = static_cast<double>(done) / static_cast<double>(total);
  char percent[16];
  std::snprintf(percent, sizeof percent, "%3d %%", static_cast<int>(share * 100));
  std::string const after = std::string(percent) + "  " + human_size(done) + " of " + human_size(total);
  std::string name = detail::shown(title);
  std::size_t const most_name = std::max<std::size_t>(8, width / 3);
  if (name.size() > most_name) name = name.substr(0, most_name - 2) + "..";
  std::size_t const other = name.size() + 2 + 2 + 2 + after.size();
  std::size_t const bar = std::min<std::size_t>(40, width > other ? width - other : 0);
  std::string out = name + "  ";
  if (bar >= 5) {
    auto const full = static_cast<std::size_t>(share * static_cast<double>(bar));
    out += '[' + std::string(full, '#') + std::string(bar - full, '.') + "]  ";
  }
  return (out + after).substr(0, width);
}

/// A line on standard error that tells how far something is, if that is a terminal; it is gone in the end.
class progress_bar {
public:
  progress_bar() = default;
  progress_bar(progress_bar const&) = delete;
  progress_bar& operator=(progress_bar const&) = delete;
  ~progress_bar() { clear(); }

  void show(std::string_view title, std::uint64_t done, std::uint64_t total) {
    std::size_t const width = total == 0 ? 0 : terminal_width(STDERR_FILENO);
    if (width < 20) return;
    std::string const line = progress_line(title, done, total, width - 1);
    if (line == last_) return;
    std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
    std::fflush(stderr);
    last_ = line;
  }
  void clear() noexcept {
    if (last_.empty()) return;
    std::fputs("\r\x1b[K", stderr);
    std::fflush(stderr);
    last_.clear();
  }

private:
  std::string last_;
};

}  // namespace gateway
