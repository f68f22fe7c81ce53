#pragma once

#include "status/device_table.hpp"
#include "status/moment.hpp"
#include "status/report.hpp"

#include <mgw/cache/key.hpp>
#include <mgw/proxy/fetch_job.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace gateway::status {

inline constexpr std::size_t most_devices = 500;  ///< shown

namespace devices_detail {

/// What a device has asked for last, in short.
inline std::string_view doing(std::string_view route) noexcept {
  if (is_download(route)) return "GET artifact";
  if (route.ends_with("/deployments/next")) return "GET next deployment";
  if (route.ends_with("/auth_requests")) return "POST auth request";
  if (route.ends_with("/attributes")) return "PUT inventory";
  if (route.ends_with("/status")) return "PUT deployment status";
  if (route.ends_with("/log")) return "PUT deployment log";
  if (route.ends_with("/connect")) return "remote terminal";
  return "other";
}

/// Why nothing goes on with a download that follows this fill.
inline std::string waits_for(running_fill const& f) {
  using stage = mgw::proxy::fetch_job::stage;
  switch (f.at) {
    case stage::fetching: return "waits for its first bytes";
    case stage::waiting: return "waits: " + f.why;
    case stage::retrying: return "waits for the link: " + f.why;
    case stage::verifying: return "waits for the verification";
  }
  return {};
}

/// A device as it is now: what is kept of it, and what runs. `now`, `fill`: null if there is none.
inline report::device describe(std::string name, device_entry e, live_download const* now, running_fill const* fill,
                               std::int64_t time) {
  using stage = mgw::proxy::fetch_job::stage;
  report::device d;
  d.name = std::move(name);
  d.why = std::move(e.why);
  d.seen = now != nullptr ? time : e.seen;
  d.doing = now != nullptr ? "GET artifact" : doing(e.route);
  if (now != nullptr) {
    if (now->begun || e.object != now->object) {
      e.bytes = now->bytes;
      e.size = now->size;
    }
    e.object = now->object;
    // What is well before the end of what has come is sent, whatever the fill does.
    constexpr std::uint64_t edge = std::uint64_t{256} << 10;
    bool const stands = fill != nullptr && (fill->at == stage::retrying || fill->at == stage::waiting) &&
                        now->bytes + edge >= fill->have;
    bool const held = !now->begun || stands;
    e.state = held ? download_state::held : download_state::part;
    d.why = !held ? std::string() : fill != nullptr ? waits_for(*fill) : std::string("waits for the server");
  }
  if (e.size != 0 || e.bytes != 0) d.bytes = e.bytes;
  if (e.size != 0) d.size = e.size;
  constexpr std::int64_t between_ranges = 120;
  switch (e.state) {
    case download_state::none: d.state = "idle"; break;
    case download_state::held: d.state = "held"; break;
    case download_state::done: d.state = "done"; break;
    case download_state::cut: d.state = "cut"; break;
    case download_state::part: d.state = time - d.seen <= between_ranges ? "downloading" : "idle"; break;
  }
  return d;
}

inline int rank(report::device const& d) noexcept {
  return d.state == "held" ? 0 : d.state == "cut" ? 1 : d.state == "downloading" ? 2 : 3;
}

}  // namespace devices_detail

/// Puts the devices into a report: those that wait first, then those that were cut, those that download, the others;
/// of each the ones that were seen last. `all`: what is kept of them; `name_of(key)`: an object's name.
template <class NameOf>
void show_devices(report& r, std::vector<std::pair<std::string, device_entry>> all, moment const& m, NameOf name_of) {
  std::unordered_map<mgw::cache::key, running_fill const*> fills;
  for (auto const& f : m.fills) fills.emplace(f.object, &f);
  std::unordered_map<std::string, live_download const*> live;
  for (auto const& d : m.downloads)
    if (!d.device.empty()) live.insert_or_assign(d.device, &d);
  std::vector<std::pair<report::device, mgw::cache::key const*>> list;
  list.reserve(all.size() + live.size());
  auto const add = [&](std::string const& name, device_entry const& e, live_download const* now) {
    auto const fill = now != nullptr ? fills.find(now->object) : fills.end();
    auto const* const object = now != nullptr ? &now->object : e.object ? &*e.object : nullptr;
    list.emplace_back(devices_detail::describe(name, e, now, fill == fills.end() ? nullptr : fill->second, m.now),
                      object);
  };
  for (auto const& [name, entry] : all) {
    auto const at = live.find(name);
    add(name, entry, at == live.end() ? nullptr : at->second);
    if (at != live.end()) live.erase(at);
  }
  for (auto const& [name, d] : live) add(name, device_entry(), d);  // its first request
  std::unordered_map<std::string_view, live_call const*> calls;
  for (auto const& c : m.calls) calls.insert_or_assign(c.device, &c);
  for (auto& [d, object] : list) {
    auto const call = calls.find(d.name);
    if (call == calls.end() || d.state == "held") continue;
    d.seen = m.now;
    d.doing = devices_detail::doing(call->second->route);
    d.state = "held";
    d.why = "waits for the server's answer";
  }
  std::size_t const shown = std::min(list.size(), most_devices);
  std::partial_sort(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(shown), list.end(),
                    [](auto const& x, auto const& y) {
                      auto const &a = x.first, &b = y.first;
                      return std::tuple(devices_detail::rank(a), -a.seen, std::string_view(a.name)) <
                             std::tuple(devices_detail::rank(b), -b.seen, std::string_view(b.name));
                    });
  r.device_count = list.size();
  r.more_devices = list.size() - shown;
  list.resize(shown);
  for (auto& [d, object] : list) {
    if (object != nullptr) d.artifact = name_of(*object);
    r.devices.push_back(std::move(d));
  }
}

}  // namespace gateway::status
