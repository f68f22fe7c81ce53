#pragma once

#include "status/report.hpp"

#include <mgw/mender/json_scanner.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::status {

/// Appends a text so that it is nothing but text in HTML, between tags and in quoted attributes; control characters and
/// what is no UTF-8 are question marks.
inline void append_html(std::string& out, std::string_view text) {
  while (!text.empty()) {
    std::size_t const length = mgw::mender::utf8_sequence(text);
    auto const u = static_cast<unsigned char>(text[0]);
    bool const control =
        u < 0x20 || u == 0x7f || (u == 0xc2 && length == 2 && static_cast<unsigned char>(text[1]) < 0xa0);
    switch (text[0]) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        if (length == 0 || control)
          out += '?';
        else
          out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

namespace html_detail {

inline std::string size_text(std::uint64_t bytes) {
  constexpr std::array<char const*, 6> units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::to_string(bytes) + " bytes";
  auto n = static_cast<double>(bytes) / 1024;
  std::size_t u = 0;
  for (; n >= 1024 && u + 1 < units.size(); ++u) n /= 1024;
  std::array<char, 32> text;
  int const length = std::snprintf(text.data(), text.size(), "%.1f %s", n, units[u]);
  return std::string(text.data(), static_cast<std::size_t>(length));
}

inline std::string time_text(std::int64_t seconds) {
  auto const t = static_cast<std::time_t>(seconds);
  std::tm parts{};
  std::array<char, 40> text{};
  if (::gmtime_r(&t, &parts) == nullptr) return "?";
  std::size_t const n = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return std::string(text.data(), n);
}

inline std::string duration_text(double seconds) {
  auto const s = static_cast<std::uint64_t>(std::llround(seconds));
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
  return std::to_string(s / 3600) + " h " + std::to_string(s / 60 % 60) + " min";
}

inline std::string tenth(double n) {
  std::array<char, 64> text;
  int const length = std::snprintf(text.data(), text.size(), "%.1f", n);
  return std::string(text.data(), static_cast<std::size_t>(length));
}

/// `have` of `size`, with how much that is of it.
inline std::string progress_text(std::uint64_t have, std::optional<std::uint64_t> size) {
  if (!size || *size == 0) return size_text(have);
  return size_text(have) + " of " + size_text(*size) + " (" +
         std::to_string(static_cast<int>(100.0 * static_cast<double>(have) / static_cast<double>(*size))) + " %)";
}

/// Tables, with a heading each.
class tables {
public:
  std::string out;

  void begin(std::string_view title, std::string_view if_empty, std::vector<std::string_view> const& columns,
             bool empty) {
    out.append("<section><h2>").append(title).append("</h2>\n");
    empty_ = empty;
    if (empty) {
      out.append("<p>").append(if_empty).append("</p>");
      return;
    }
    out += "<table><thead><tr>";
    for (auto const c : columns) out.append("<th scope=\"col\">").append(c).append("</th>");
    out += "</tr></thead><tbody>\n";
  }
  void row(std::vector<std::string> const& cells) {
    out += "<tr>";
    for (auto const& c : cells) {
      out += "<td>";
      append_html(out, c);
      out += "</td>";
    }
    out += "</tr>\n";
  }
  void end(std::uint64_t more = 0) {
    if (!empty_) out += "</tbody></table>";
    if (more != 0) out.append("<p>and ").append(std::to_string(more)).append(" more</p>");
    out += "</section>\n";
  }
  void item(std::string_view name, std::string_view text) {
    out.append("<tr><th scope=\"row\">").append(name).append("</th><td>");
    append_html(out, text);
    out += "</td></tr>\n";
  }

private:
  bool empty_ = false;
};

}  // namespace html_detail

/// The essentials of a report as tables, for a page without scripts.
inline std::string essentials_html(report const& r) {
  using namespace html_detail;
  tables t;
  t.out += "<section><h2>Summary</h2>\n<table><tbody>\n";
  t.item("State", r.ready ? "ready" : "not ready");
  for (auto const& reason : r.reasons) t.item("Not ready", reason);
  for (auto const& warning : r.warnings) t.item("Warning", warning);
  std::string upstream = r.upstream.url + ": " + std::string(r.upstream.state);
  if (!r.upstream.reason.empty()) upstream += ", " + r.upstream.reason;
  if (r.upstream.since) upstream += " since " + time_text(*r.upstream.since);
  t.item("Upstream", upstream);
  if (auto const& took = r.upstream.took)
    t.item("Upstream answers in", tenth(took->median) + " ms (95 %: " + tenth(took->p95) + " ms)");
  t.item("Link", (r.link.bytes_per_second ? size_text(static_cast<std::uint64_t>(*r.link.bytes_per_second)) + "/s"
                                          : std::string("not measured yet")) +
                     (!r.link.limit        ? ""
                      : *r.link.limit == 0 ? ", paused"
                                           : ", at most " + size_text(*r.link.limit) + "/s"));
  t.item("Held", std::to_string(r.link.held_downloads) + " downloads, " + std::to_string(r.link.held_reports) +
                     " status reports");
  t.item("From upstream", size_text(r.saved.upstream) + ", of it again " + size_text(r.saved.again));
  t.item("To devices", size_text(r.saved.delivered));
  auto const percent = r.saved.percent();
  t.item("Saved", size_text(r.saved.saved()) + (percent ? " (" + tenth(*percent) + " %)" : std::string()));
  t.item("Connections", std::to_string(r.connections) + " of " + std::to_string(r.connection_limit));
  t.item("Version", r.version);
  t.item("Running since", time_text(r.started));
  t.item("This page is of", time_text(r.now));
  t.out += "</tbody></table></section>\n";

  t.begin("Being fetched", "Nothing is being fetched from upstream.",
          {"Artifact", "From", "Progress", "Rate", "Time left", "Readers", "State"}, r.fills.empty());
  for (auto const& f : r.fills)
    t.row({f.name.empty() ? "not known yet" : f.name, f.host, progress_text(f.have, f.size),
           f.bytes_per_second ? size_text(static_cast<std::uint64_t>(*f.bytes_per_second)) + "/s" : "",
           f.seconds_left ? duration_text(*f.seconds_left) : "", std::to_string(f.readers),
           std::string(f.state) + (f.why.empty() ? "" : ": " + f.why)});
  t.end(r.more_fills);

  t.begin("Devices", "No device has been seen since the gateway was started.",
          {"Device", "Last contact", "Last request", "Artifact", "Progress", "State"}, r.devices.empty());
  for (auto const& d : r.devices)
    t.row({d.name, time_text(d.seen), std::string(d.doing), d.artifact, d.bytes ? progress_text(*d.bytes, d.size) : "",
           std::string(d.state) + (d.why.empty() ? "" : ": " + d.why)});
  t.end(r.more_devices);

  t.begin("Recent problems", "None since the gateway was started.", {"Last", "Level", "Times", "What"},
          r.problems.empty());
  for (auto const& p : r.problems) t.row({time_text(p.at), std::string(p.level), std::to_string(p.times), p.text});
  t.end();

  std::string const room = !r.cache.trouble.empty() ? r.cache.trouble
                           : r.cache.enabled        ? "Nothing is cached yet."
                                                    : "There is no cache.";
  std::string none;
  append_html(none, room);
  t.begin("In the cache", none, {"Artifact", "From", "Size", "Added", "Last used", "Hits", "Pinned"},
          r.cache.list.empty());
  for (auto const& o : r.cache.list)
    t.row({o.name.empty() ? "no artifact" : o.name, o.host, size_text(o.size), time_text(o.added), time_text(o.used),
           std::to_string(o.hits), o.pinned ? "yes" : "no"});
  t.end(r.cache.more);
  return std::move(t.out);
}

}  // namespace gateway::status
