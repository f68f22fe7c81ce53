#pragma once

#include "api.hpp"
#include "json.hpp"

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace demo {

/// What devices report of themselves. PUT replaces, PATCH merges; a device has so many attributes at most (400).
///
/// Thread rule: any thread.
class inventory {
public:
  explicit inventory(std::size_t most) : most_(most) {}

  /// PUT or PATCH /api/devices/v1/inventory/device/attributes
  asio::awaitable<void> report(exchange& x, std::string device) {
    auto const body = co_await read_json(x);
    if (!body) co_return;
    json::error_code ec;
    json::value const v = json::parse(json::string_view(body->data(), body->size()), ec);
    json::object reported;
    bool good = !ec && v.is_array();
    if (good)
      for (json::value const& one : v.get_array()) {
        std::string const name = one.is_object() ? member(one.get_object(), "name") : std::string();
        auto const* const value = one.is_object() ? one.get_object().if_contains("value") : nullptr;
        good = good && !name.empty() && value != nullptr;
        if (good) reported[name] = *value;
      }
    if (good && keep(device, std::move(reported), x.request().method == "PATCH")) {
      co_await answer(x, 200);
      co_return;
    }
    std::string_view const why = good ? "too many attributes" : "the inventory is a list of attributes";
    co_await refuse(x, 400, why);
  }

  json::object of(std::string const& device) const {
    std::lock_guard const lock(mutex_);
    auto const it = all_.find(device);
    return it == all_.end() ? json::object() : it->second;
  }

private:
  bool keep(std::string const& device, json::object reported, bool merge) {
    std::lock_guard const lock(mutex_);
    if (merge)
      if (auto const it = all_.find(device); it != all_.end())
        for (auto const& [name, value] : it->second) reported.emplace(name, value);
    if (reported.size() > most_) return false;
    all_.insert_or_assign(device, std::move(reported));
    return true;
  }

  std::size_t const most_;
  mutable std::mutex mutex_;
  std::map<std::string, json::object> all_;  // of devices that authentication has let in
};

}  // namespace demo
