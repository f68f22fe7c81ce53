#pragma once

#include "config/address_list.hpp"
#include "logging/logging.hpp"

#include <mgw/http/fields.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/net/address_text.hpp>
#include <mgw/proxy/exchange.hpp>

#include <asio/steady_timer.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace gateway {

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
/// `room` holds the text if it is neither of the two.
inline std::string_view loggable_path(std::string_view route, std::string_view path, std::string& room) {
  if (route.find("{token}") != std::string_view::npos) return route;
  if (!route.empty()) return path;
  constexpr std::string_view word = "gateway";
  auto const plain = unescaped(path);
  auto const same = [](char c, char lower) { return c == lower || (c >= 'A' && c <= 'Z' && c - 'A' + 'a' == lower); };
  auto const at = std::search(plain.begin(), plain.end(), word.begin(), word.end(), same);
  if (at == plain.end()) return path;
  room.assign(plain.begin(), at).append(word).append("/*");
  return room;
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

/// The fields of a request's line. `first` is the time to the first byte of the response, `upstream` how long the server
/// took to begin its answer; they are there where there was such a byte, or the server was asked. `now`: when it ended.
inline void append_access(log_fields& f, mgw::proxy::exchange const& x, address_list const& proxies,
                          std::chrono::steady_clock::time_point now) {
  using seconds = std::chrono::duration<double>;
  auto const& n = x.notes();
  f.word("msg", "request").word("peer", mgw::net::address_text(x.peer().address.address()));
  if (auto const who = asked_for(x, proxies); !who.empty()) f.word("for", who);
  std::string room;
  f.text("method", x.request().method).text("path", loggable_path(n.route, x.target().path, room));
  if (x.aborted() && !x.head_sent())
    f.word("status", "closed");
  else
    f.number("status", x.status());
  f.number("in", x.bytes_in()).number("out", x.bytes_out()).seconds("seconds", seconds(now - x.begun()).count());
  if (x.first_out() != std::chrono::steady_clock::time_point{}) f.seconds("first", seconds(x.first_out() - x.begun()).count());
  if (n.upstream.count() != 0) f.seconds("upstream", seconds(n.upstream).count());
  if (!n.route.empty()) f.text("route", n.route);
  if (!n.device.empty()) f.text("device", n.device);
  if (!n.request_id.empty()) f.text("request", n.request_id);
  if (!n.cache.empty()) f.word("cache", n.cache);
  if (x.aborted()) f.flag("cut", true);
  if (!n.failure.empty()) f.text("reason", n.failure);
}

/// One line per request. At a busy time those of a hundredth of a second leave together.
inline void log_access(mgw::proxy::exchange const& x, address_list const& proxies) {
  auto const level = access_level(x);
  if (!spdlog::should_log(level)) return;
  thread_local std::string line;  // keeps its capacity
  line.clear();
  log_fields fields(logging::format, line);
  append_access(fields, x, proxies, std::chrono::steady_clock::now());
  gathering_sink::may_wait const waits;
  spdlog::log(level, spdlog::string_view_t(line));
  if (!gathering_sink::may_wait::must_flush()) return;
  auto const soon = std::make_shared<asio::steady_timer>(x.worker().io, gathering_sink::max_wait);
  soon->async_wait([soon](std::error_code) { spdlog::default_logger_raw()->flush(); });
}

}  // namespace gateway
