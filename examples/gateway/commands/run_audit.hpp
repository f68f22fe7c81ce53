#pragma once

#include "audit/files.hpp"
#include "audit/filter.hpp"
#include "audit/formats.hpp"
#include "audit/reader.hpp"
#include "commands/audit.hpp"
#include "commands/table.hpp"
#include "config/configuration.hpp"
#include "config/settings.hpp"
#include "control/protocol.hpp"

#include <mgw/cache/file.hpp>
#include <mgw/cache/sha256.hpp>

#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace gateway {

namespace audit_detail {

inline int undone(std::string const& why) {
  std::fprintf(stderr, "mgw-gateway: %s\n", why.c_str());
  return exit_status::undone;
}

inline std::optional<audit::chain_head> parse_head(std::string_view text) {
  audit::chain_head out;
  auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out.seq);
  std::size_t const at = static_cast<std::size_t>(end - text.data());
  if (ec != std::errc() || at == text.size() || text[at] != ':') return std::nullopt;
  out.mac = text.substr(at + 1);
  if (!mgw::cache::is_sha256_hex(out.mac)) return std::nullopt;
  return out;
}

inline std::string where(audit::verification::place const& p) {
  return p.file.empty() ? std::string() : p.file + ":" + std::to_string(p.line) + ": ";
}

inline int verify(settings const& s, audit_command const& asked) {
  auto& disk = mgw::cache::posix_file_ops();
  auto const key = audit::read_key(disk, audit::key_file(s.state_directory));
  if (!key)
    return undone("the key of the audit log, " + audit::key_file(s.state_directory) + ": " + key.error().message());
  audit::verify_options options;
  options.archived = asked.archived;
  // Before the log is read: it only gets longer.
  auto const noted = audit::read_head(disk, audit::head_file(s.state_directory));
  if (!noted) return undone(audit::head_file(s.state_directory) + ": " + noted.error().message());
  if (*noted) options.must_have.push_back(**noted);
  if (!asked.head.empty()) {
    auto const head = parse_head(asked.head);
    if (!head)
      return undone("--head is \"" + detail::shown(asked.head) +
                    "\"; accepted: SEQ:MAC, a number and 64 digits of hexadecimal");
    options.must_have.push_back(*head);
  }
  auto const found = audit::verify(disk, s.audit.path, *key, options);
  if (!found) return undone(s.audit.path + ": " + found.error().message());
  if (found->files == 0 && !*noted) return undone("there is no audit log at " + s.audit.path);
  for (auto const& r : found->remarks) std::printf("%s%s\n", where(r).c_str(), r.what.c_str());
  if (found->broken) {
    std::printf("%sthe chain breaks here: %s\n", where(*found->broken).c_str(), found->broken->what.c_str());
    std::printf("%llu lines before it are good\n", static_cast<unsigned long long>(found->lines));
  } else {
    std::printf("%llu lines in %llu files %s; head seq=%llu mac=%s\n", static_cast<unsigned long long>(found->lines),
                static_cast<unsigned long long>(found->files),
                found->lost ? "are a chain, but lines are missing" : "are good",
                static_cast<unsigned long long>(found->head.seq), found->head.mac.c_str());
  }
  return found->good() ? exit_status::done : exit_status::bad;
}

inline int print(settings const& s, audit_command const& asked) {
  auto& disk = mgw::cache::posix_file_ops();
  audit::filter wanted;
  auto const now = audit::now();
  auto const since = audit::read_time(asked.since, now), until = audit::read_time(asked.until, now);
  if (!since || !until)
    return undone("--since and --until accept a time such as 2026-11-27T15:04, or how long ago, such as 36h");
  wanted.device = asked.device;
  wanted.artifact = asked.artifact;
  wanted.event = asked.event;
  wanted.since = *since;
  wanted.until = *until;
  auto const files = audit::open_log(disk, s.audit.path);
  if (!files) return undone(s.audit.path + ": " + files.error().message());
  if (files->empty()) return undone("there is no audit log at " + s.audit.path);
  bool const table = asked.command == "show", csv = asked.format == "csv";
  audit::record_table rows;
  if (csv && !table) std::fputs(audit::csv_head().c_str(), stdout);
  std::uint64_t damaged = 0;
  for (auto const& file : *files) {
    auto const ec = audit::each_line(disk, file, [&](audit::line_view const& line) {
      auto const fields = line.whole ? audit::parse_line(line.text) : std::nullopt;
      if (!fields) {
        damaged += line.whole ? 1 : 0;
        return true;
      }
      if (!wanted.wants(*fields)) return true;
      if (table)
        rows.add(*fields);
      else if (csv)
        std::fputs(audit::csv_row(*fields).c_str(), stdout);
      else
        std::fwrite(line.text.data(), 1, line.text.size(), stdout), std::fputc('\n', stdout);
      return std::ferror(stdout) == 0;
    });
    if (ec) return undone(file.path + ": " + ec.message());
  }
  if (table) std::fputs(rows.text(terminal_width(STDOUT_FILENO)).c_str(), stdout);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return undone("the output cannot be written");
  if (damaged != 0)
    std::fprintf(stderr, "mgw-gateway: %llu lines are no records; see audit verify\n",
                 static_cast<unsigned long long>(damaged));
  return damaged != 0 ? exit_status::bad : exit_status::done;
}

}  // namespace audit_detail

/// Looks into the audit log of these settings. Returns the exit status.
inline int run_audit(configuration const& c, audit_command const& asked) {
  std::signal(SIGPIPE, SIG_IGN);
  settings const& s = c.values;
  if (s.audit.path.empty()) return audit_detail::undone("no audit log is kept: AUDIT_PATH (Audit.Path) is not set");
  return asked.command == "verify" ? audit_detail::verify(s, asked) : audit_detail::print(s, asked);
}

}  // namespace gateway
