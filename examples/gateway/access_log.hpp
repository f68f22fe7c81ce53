#pragma once

#include "config/address_list.hpp"

#include <mgw/core/log.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/proxy/exchange.hpp>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

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

/// Undoes percent escapes, and escapes of these.
inline std::string unescaped(std::string_view path) {
  std::string out;
  for (char const c : path) {
    out += c;
    while (out.size() >= 3 && out[out.size() - 3] == '%') {
      unsigned char byte = 0;
      char const* const digits = out.data() + out.size() - 2;
      auto const [end, ec] = std::from_chars(digits, digits + 2, byte, 16);
      if (ec != std::errc() || end != digits + 2) break;
      out.resize(out.size() - 3);
      out += static_cast<char>(byte);
    }
  }
  return out;
}

/// Whether an error is no news: servers without the second version of a poll say so at each.
inline bool is_usual(std::string_view route, int status) {
  return status == 404 && route == mgw::mender::match_call("POST", "/api/devices/v2/deployments/device/deployments/next").route;
}

/// The path without what it seals: a link's token is as good as the artifact. So of what matches no route, and may be a
/// link in another spelling or with another method, nothing is told from the word "gateway" on.
inline std::string loggable_path(std::string_view route, std::string_view path) {
  if (route.find("{token}") != std::string_view::npos) return std::string(route);
  if (!route.empty()) return std::string(path);
  constexpr std::string_view word = "gateway";
  auto const plain = unescaped(path);
  auto const same = [](char c, char lower) { return c == lower || (c >= 'A' && c <= 'Z' && c - 'A' + 'a' == lower); };
  auto const at = std::search(plain.begin(), plain.end(), word.begin(), word.end(), same);
  if (at == plain.end()) return std::string(path);
  return std::string(plain.begin(), at).append(word).append("/*");
}

/// Of thousands of small ranges of one download all but the last are debug lines, and so is what every poll of an
/// open-source server's devices begins with: it does not know the second version of that call.
inline spdlog::level::level_enum access_level(mgw::proxy::exchange const& x) {
  bool const small_range = x.status() == 206 && x.notes().more && x.bytes_out() < 128 * 1024;
  if (small_range || is_usual(x.notes().route, x.status())) return spdlog::level::debug;
  return x.status() >= 400 || x.aborted() ? spdlog::level::warn : spdlog::level::info;
}

/// For whom one of these proxies asks; empty: the peer asks for itself, or does not say for whom.
inline std::string asked_for(mgw::proxy::exchange const& x, address_list const& proxies) {
  if (proxies.empty() || !proxies.contains(x.peer().address.address())) return {};
  std::string all;
  for (auto const& f : x.request().fields)
    if (mgw::http::iequals(f.name, "X-Forwarded-For")) all.append(all.empty() ? "" : ",").append(f.value);
  auto const address = proxies.who_asked(all);
  return address ? address->to_string() : std::string();
}

/// One line per request.
inline void log_access(mgw::proxy::exchange const& x, address_list const& proxies) {
  auto const level = access_level(x);
  if (!spdlog::should_log(level)) return;
  auto const& n = x.notes();
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - x.begun()).count();
  thread_local std::string line;  // keeps its capacity
  line = "msg=request peer=";
  line += x.peer().address.address().to_string();
  if (auto const who = asked_for(x, proxies); !who.empty()) (line += " for=") += who;
  auto const quoted = [](std::string_view key, std::string_view value) {
    line += key;
    append_quoted(line, value);
  };
  quoted(" method=", x.request().method);
  quoted(" path=", loggable_path(n.route, x.target().path));
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
