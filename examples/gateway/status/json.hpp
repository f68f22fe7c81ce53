#pragma once

#include "status/report.hpp"

#include <mgw/mender/json_scanner.hpp>

#include <array>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway::status {

/// Writes JSON on one line, value after value. Names are literals of ours; texts may be anything.
class json_writer {
public:
  std::string take() { return std::move(out_); }

  void open(char bracket) {
    separate();
    out_ += bracket;
    first_ = true;
  }
  void open(std::string_view name, char bracket) {
    put_name(name);
    open(bracket);
  }
  void close(char bracket) {
    out_ += bracket;
    first_ = false;
  }
  void field(std::string_view name, std::string_view text) {
    put_name(name);
    value(text);
  }
  template <class T>
    requires std::integral<T> || std::floating_point<T>
  void field(std::string_view name, T v) {
    put_name(name);
    value(v);
  }
  template <class T>
  void field(std::string_view name, std::optional<T> const& v) {
    put_name(name);
    if (v)
      value(*v);
    else
      raw("null");
  }
  /// A text that is not known where it is empty.
  void text_or_null(std::string_view name, std::string_view text) {
    put_name(name);
    if (text.empty())
      raw("null");
    else
      value(text);
  }
  void value(std::string_view text) {
    separate();
    mgw::mender::append_json_string(out_, text);
  }
  void value(bool b) { raw(b ? "true" : "false"); }
  template <std::integral N>
    requires(!std::same_as<N, bool>)
  void value(N n) {
    raw(std::to_string(n));
  }
  /// To a tenth; what is no number is null.
  void value(double d) {
    if (!std::isfinite(d)) return raw("null");
    std::array<char, 400> digits;  // DBL_MAX has 309
    auto const end = std::to_chars(digits.data(), digits.data() + digits.size(), d, std::chars_format::fixed, 1).ptr;
    raw(std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data())));
  }

private:
  void separate() {
    if (!first_) out_ += ',';
    first_ = false;
  }
  void put_name(std::string_view name) {
    separate();
    out_.append("\"").append(name).append("\":");
    first_ = true;  // the value stands behind it
  }
  void raw(std::string_view token) {
    separate();
    out_ += token;
  }

  std::string out_;
  bool first_ = true;
};

namespace json_detail {

inline void write(json_writer& w, report::fill const& f) {
  w.open('{');
  w.text_or_null("name", f.name);
  w.text_or_null("host", f.host);
  w.field("size", f.size);
  w.field("have", f.have);
  w.field("bytes_per_second", f.bytes_per_second);
  w.field("seconds_left", f.seconds_left);
  w.field("readers", f.readers);
  w.field("state", f.state);
  w.field("why", f.why);
  w.field("started", f.started);
  w.close('}');
}

inline void write(json_writer& w, report::object const& o) {
  w.open('{');
  w.text_or_null("name", o.name);
  w.text_or_null("host", o.host);
  w.field("size", o.size);
  w.field("added", o.added);
  w.field("used", o.used);
  w.field("hits", o.hits);
  w.field("pinned", o.pinned);
  w.field("verified", o.verified);
  w.close('}');
}

inline void write(json_writer& w, report::device const& d) {
  w.open('{');
  w.field("device", std::string_view(d.name));
  w.field("seen", d.seen);
  w.field("doing", d.doing);
  w.text_or_null("artifact", d.artifact);
  w.field("bytes", d.bytes);
  w.field("size", d.size);
  w.field("state", d.state);
  w.field("why", d.why);
  w.close('}');
}

inline void write(json_writer& w, report::problem const& p) {
  w.open('{');
  w.field("at", p.at);
  w.field("level", p.level);
  w.field("text", p.text);
  w.field("times", p.times);
  w.close('}');
}

inline void write(json_writer& w, report::point const& p) {
  w.open('{');
  w.field("at", p.at);
  w.field("upstream", p.upstream);
  w.field("delivered", p.delivered);
  w.close('}');
}

inline void write(json_writer& w, std::string const& text) {
  w.value(text);
}

template <class List>
void write_list(json_writer& w, std::string_view name, List const& list) {
  w.open(name, '[');
  for (auto const& e : list) write(w, e);
  w.close(']');
}

}  // namespace json_detail

/// What `/status.json` has, on one line.
inline std::string to_json(report const& r) {
  using json_detail::write_list;
  json_writer w;
  w.open('{');
  w.field("version", r.version);
  w.field("now", r.now);
  w.field("started", r.started);
  w.field("ready", r.ready);
  write_list(w, "reasons", r.reasons);
  write_list(w, "warnings", r.warnings);

  w.open("upstream", '{');
  w.field("url", r.upstream.url);
  w.field("state", r.upstream.state);
  w.field("reason", r.upstream.reason);
  w.field("since", r.upstream.since);
  w.open("latency_ms", '{');
  auto const& took = r.upstream.took;
  w.field("median", took ? std::optional(took->median) : std::nullopt);
  w.field("p95", took ? std::optional(took->p95) : std::nullopt);
  w.field("requests", took ? took->requests : std::uint64_t{0});
  w.close('}');
  w.close('}');

  w.open("link", '{');
  w.field("bytes_per_second", r.link.bytes_per_second);
  w.field("limit", r.link.limit);
  w.field("held_downloads", r.link.held_downloads);
  w.field("held_reports", r.link.held_reports);
  w.field("requests_per_second", r.link.requests_per_second);
  w.close('}');

  w.open("saved", '{');
  w.field("upstream_bytes", r.saved.upstream);
  w.field("again_bytes", r.saved.again);
  w.field("delivered_bytes", r.saved.delivered);
  w.field("saved_bytes", r.saved.saved());
  w.field("percent", r.saved.percent());
  write_list(w, "history", r.saved.history);
  w.close('}');

  write_list(w, "fills", r.fills);

  w.open("cache", '{');
  w.field("enabled", r.cache.enabled);
  w.field("size", r.cache.size);
  w.field("max_size", r.cache.max_size);
  w.field("pinned_bytes", r.cache.pinned);
  w.field("parts", r.cache.parts);
  w.field("objects", r.cache.objects);
  w.field("trouble", r.cache.trouble);
  w.field("more", r.cache.more);
  write_list(w, "list", r.cache.list);
  w.close('}');

  w.open("devices", '{');
  w.field("count", r.device_count);
  w.field("more", r.more_devices);
  write_list(w, "list", r.devices);
  w.close('}');

  write_list(w, "problems", r.problems);

  w.open("connections", '{');
  w.field("open", r.connections);
  w.field("limit", r.connection_limit);
  w.close('}');
  w.close('}');
  return w.take();
}

}  // namespace gateway::status
