#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// Columns of the terminal that `fd` is; 0 if it is none.
inline std::size_t terminal_width(int fd) noexcept {
  winsize size{};
  return ::isatty(fd) == 1 && ::ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/// 1.5 KiB, 14 MiB.
inline std::string human_size(std::uint64_t bytes) {
  static constexpr char const* units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  auto n = static_cast<double>(bytes);
  for (; n >= 1023.5 && unit < 6; ++unit) n /= 1024;
  char out[32];
  std::snprintf(out, sizeof out, "%.*f %s", unit != 0 && n < 9.95 ? 1 : 0, n, units[unit]);
  return out;
}

/// How long ago, roughly; `then` and `now` in seconds.
inline std::string human_age(std::int64_t then, std::int64_t now) {
  std::int64_t const age = now - then;
  if (age < 60) return "now";
  if (age < 3600) return std::to_string(age / 60) + " min ago";
  if (age < 2 * 86'400) return std::to_string(age / 3600) + " h ago";
  return std::to_string(age / 86'400) + " d ago";
}

/// Rows of cells as lines of aligned columns. Precondition: cells have printable ASCII characters alone.
class table {
public:
  struct column {
    std::string title;
    bool right = false;    ///< aligned
    bool shrinks = false;  ///< is cut where the terminal is too narrow
  };

  explicit table(std::vector<column> columns) : columns_(std::move(columns)) {}

  /// Precondition: a cell for each column.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  /// `width`: columns that there are; 0: as many as it takes. Cells are cut to eight characters at least.
  std::string text(std::size_t width) const {
    std::vector<std::size_t> widths;
    std::size_t all = 2 * (columns_.size() - 1);
    for (std::size_t i = 0; i != columns_.size(); ++i) {
      std::size_t widest = columns_[i].title.size();
      for (auto const& row : rows_) widest = std::max(widest, row[i].size());
      widths.push_back(widest);
      all += widest;
    }
    for (std::size_t i = 0; i != columns_.size() && width != 0 && all > width; ++i)
      if (columns_[i].shrinks && widths[i] > 8) {
        std::size_t const less = std::min(all - width, widths[i] - 8);
        widths[i] -= less;
        all -= less;
      }
    std::string out;
    std::vector<std::string> titles;
    for (auto const& c : columns_) titles.push_back(c.title);
    append(out, titles, widths);
    for (auto const& row : rows_) append(out, row, widths);
    return out;
  }

private:
  void append(std::string& out, std::vector<std::string> const& cells, std::vector<std::size_t> const& widths) const {
    std::string line;
    for (std::size_t i = 0; i != cells.size(); ++i) {
      std::string cell = cells[i].size() > widths[i] ? cells[i].substr(0, widths[i] - 2) + ".." : cells[i];
      std::string const room(widths[i] - cell.size(), ' ');
      line += (i == 0 ? "" : "  ") + (columns_[i].right ? room + cell : cell + room);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }

  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace gateway
