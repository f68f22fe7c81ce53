#pragma once

#include <mgw/core/log.hpp>
#include <mgw/proxy/exchange.hpp>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>

namespace gateway {

/// Appends text between quotes, so that nothing in it can end them or the line.
inline void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (char const c : text) {
    auto const u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else
      out += u < 0x20 || u == 0x7f ? '?' : c;
  }
  out += '"';
}
inline std::string in_quotes(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

/// Lines as the original writes them: time, level, msg, fields; to stderr.
inline void start_logging(std::string const& level) {
  auto logger = std::make_shared<spdlog::logger>("gateway", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("time=\"%Y-%m-%dT%H:%M:%S%z\" level=%l %v");
  spdlog::set_default_logger(std::move(logger));
  spdlog::set_level(level == "fatal" ? spdlog::level::critical : spdlog::level::from_str(level));
}

inline void log_line(mgw::log_level level, std::string_view text) {
  auto const to = level == mgw::log_level::debug  ? spdlog::level::debug
                  : level == mgw::log_level::info ? spdlog::level::info
                  : level == mgw::log_level::warn ? spdlog::level::warn
                                                  : spdlog::level::err;
  if (spdlog::should_log(to)) spdlog::log(to, "msg={}", in_quotes(text));
}

/// The path without what it seals: a link's token is as good as the artifact.
inline std::string_view loggable_path(mgw::proxy::exchange const& x) {
  auto const route = x.notes().route;
  if (route.find("{token}") != std::string_view::npos) return route;
  return x.target().path;
}

/// One line per request. Thousands of small ranges of one download are debug lines.
inline void log_access(mgw::proxy::exchange const& x) {
  bool const small_range = x.status() == 206 && x.bytes_out() < 128 * 1024;
  auto const level = small_range ? spdlog::level::debug : x.status() >= 400 || x.aborted() ? spdlog::level::warn : spdlog::level::info;
  if (!spdlog::should_log(level)) return;
  auto const& n = x.notes();
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - x.begun()).count();
  thread_local std::string line;  // keeps its capacity
  line = "msg=request peer=";
  line += x.peer().address.address().to_string();
  auto const quoted = [](std::string_view key, std::string_view value) {
    line += key;
    append_quoted(line, value);
  };
  quoted(" method=", x.request().method);
  quoted(" path=", loggable_path(x));
  if (x.aborted() && !x.head_sent())
    line += " status=closed";
  else
    fmt::format_to(std::back_inserter(line), " status={}", x.status());
  fmt::format_to(std::back_inserter(line), " in={} out={} seconds={:.3f}", x.bytes_in(), x.bytes_out(), seconds);
  if (!n.device.empty()) quoted(" device=", n.device);
  if (!n.request_id.empty()) quoted(" request=", n.request_id);
  if (!n.cache.empty()) (line += " cache=") += n.cache;
  if (x.aborted()) line += " cut=true";
  if (!n.failure.empty()) quoted(" reason=", n.failure);
  spdlog::log(level, spdlog::string_view_t(line));
}

}  // namespace gateway
