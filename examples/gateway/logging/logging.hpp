#pragma once

#include "logging/gathering_sink.hpp"
#include "logging/log_fields.hpp"
#include "logging/repeats.hpp"

#include <mgw/core/log.hpp>

#include <spdlog/pattern_formatter.h>
#include <spdlog/spdlog.h>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

namespace logging {

/// What the lines' fields are written in; set before the first line.
inline std::atomic<log_format> format{log_format::text};

/// The level of the configuration, beside the one in force, which signals change.
inline std::atomic<spdlog::level::level_enum> configured{spdlog::level::info};

/// syslog's priorities, which the journal takes from the beginning of a line: `<4>`. Source: sd-daemon(3).
inline char priority(spdlog::level::level_enum level) noexcept {
  switch (level) {
    case spdlog::level::critical: return '2';
    case spdlog::level::err: return '3';
    case spdlog::level::warn: return '4';
    case spdlog::level::info: return '6';
    case spdlog::level::trace:
    case spdlog::level::debug:
    case spdlog::level::off:
    case spdlog::level::n_levels: break;
  }
  return '7';
}

class priority_flag : public spdlog::custom_flag_formatter {
public:
  void format(spdlog::details::log_msg const& line, std::tm const&, spdlog::memory_buf_t& out) override {
    char const text[] = {'<', priority(line.level), '>'};
    out.append(text, text + sizeof text);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<priority_flag>(); }
};

/// Keeps what comes before a line's fields, which is the same for a second. Of lines that end with their fields and show
/// no less than seconds.
class second_formatter final : public spdlog::formatter {
public:
  explicit second_formatter(std::unique_ptr<spdlog::formatter> whole) : whole_(std::move(whole)) {}
  void format(spdlog::details::log_msg const& line, spdlog::memory_buf_t& out) override {
    auto const second = std::chrono::floor<std::chrono::seconds>(line.time);
    if (lead_.size() == 0 || second != second_ || line.level != level_) {
      spdlog::details::log_msg bare = line;
      bare.payload = {};
      lead_.clear();
      whole_->format(bare, lead_);
      lead_.resize(lead_.size() - 1);  // the line's end
      second_ = second;
      level_ = line.level;
    }
    out.append(lead_.begin(), lead_.end());
    out.append(line.payload.begin(), line.payload.end());
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<second_formatter>(whole_->clone()); }

private:
  std::unique_ptr<spdlog::formatter> whole_;
  spdlog::memory_buf_t lead_;
  std::chrono::sys_seconds second_{};
  spdlog::level::level_enum level_ = spdlog::level::off;
};

/// Whether this descriptor leads to the journal, by what systemd says in JOURNAL_STREAM. Source: systemd.exec(5).
inline bool leads_to_journal(int fd, char const* journal_stream) {
  unsigned long long device = 0, inode = 0;
  struct stat s{};
  return journal_stream != nullptr &&
         std::sscanf(journal_stream, "%llu:%llu", &device, &inode) == 2 &&  // NOLINT(cert-err34-c)
         ::fstat(fd, &s) == 0 && device == s.st_dev && inode == s.st_ino;
}

inline spdlog::level::level_enum level_of(std::string_view word) {
  return word == "fatal" ? spdlog::level::critical : spdlog::level::from_str(std::string(word));
}

/// What a line looks like, its fields apart.
inline std::unique_ptr<spdlog::formatter> formatter(log_format how, bool for_journal) {
  auto f = std::make_unique<spdlog::pattern_formatter>();
  f->add_flag<priority_flag>('*');
  std::string pattern = for_journal ? "%*" : "";
  pattern += how == log_format::json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                                     : "time=\"%Y-%m-%dT%H:%M:%S%z\" level=%l %v";
  f->set_pattern(pattern);
  if (how == log_format::json) return f;
  return std::make_unique<second_formatter>(std::move(f));
}

}  // namespace logging

/// Lines as the original writes them: time, level, msg, fields; or the same as JSON. To stderr; with a priority in
/// front where that is the journal.
inline void start_logging(std::string const& level, std::string const& format = "text") {
  auto const how = format == "json" ? log_format::json : log_format::text;
  logging::format = how;
  auto sink = std::make_shared<gathering_sink>(STDERR_FILENO);
  sink->set_formatter(logging::formatter(how, logging::leads_to_journal(STDERR_FILENO, std::getenv("JOURNAL_STREAM"))));
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("gateway", std::move(sink)));
  logging::configured = logging::level_of(level);
  spdlog::set_level(logging::configured);
}

/// A line: `add(fields)` puts in what comes behind the message.
template <class Add>
void log_event(spdlog::level::level_enum level, std::string_view message, Add add) {
  if (!spdlog::should_log(level)) return;
  std::string line;
  log_fields fields(logging::format, line);
  bool const plain = std::all_of(message.begin(), message.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  if (plain)
    fields.word("msg", message);
  else
    fields.text("msg", message);
  add(fields);
  spdlog::log(level, spdlog::string_view_t(line));
}
inline void log_event(spdlog::level::level_enum level, std::string_view message) {
  log_event(level, message, [](log_fields&) {});
}

/// A line that is written whatever the level is, as information.
inline void log_always(std::string_view text) {
  std::string line;
  log_fields(logging::format, line).text("msg", text);
  spdlog::details::log_msg const m("gateway", spdlog::level::info, spdlog::string_view_t(line));
  for (auto const& sink : spdlog::default_logger()->sinks()) sink->log(m);
}

inline std::string_view name_of(spdlog::level::level_enum level) {
  auto const name = spdlog::level::to_string_view(level);
  return {name.data(), name.size()};
}

/// Sets the level, and says so at this level.
inline void change_log_level(spdlog::level::level_enum to) {
  spdlog::set_level(to);
  log_event(to, "the log level was changed", [&](log_fields& f) { f.word("to", name_of(to)); });
}
/// The level of the configuration has been read anew: it is in force, whatever signals have made of it. False: it was.
inline bool configure_log_level(std::string const& level) {
  auto const to = logging::level_of(level);
  logging::configured = to;
  bool const other = spdlog::get_level() != to;
  if (other) change_log_level(to);
  return other;
}

/// The toolkit's lines. A warning or an error that is said again within ten seconds is left out, and counted.
inline void log_line(mgw::log_level level, std::string_view text) {
  auto const to = level == mgw::log_level::debug  ? spdlog::level::debug
                  : level == mgw::log_level::info ? spdlog::level::info
                  : level == mgw::log_level::warn ? spdlog::level::warn
                                                  : spdlog::level::err;
  if (!spdlog::should_log(to)) return;
  std::optional<std::uint64_t> left_out = 0;
  static repeats before;
  if (to >= spdlog::level::warn) left_out = before.due(text);
  if (!left_out) return;
  log_event(to, text, [&](log_fields& f) {
    if (*left_out != 0) f.number("left_out", *left_out);
  });
}

}  // namespace gateway
