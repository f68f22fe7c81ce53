#pragma once

#include "api.hpp"
#include "json.hpp"
#include "signed_link.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

/// One deployment of one artifact to every device of the right type that does not have it yet. Thread rule: any thread.
class deployments {
public:
  struct options {
    bool configured = false;  ///< there is an artifact to deploy
    bool begun = true;        ///< false: `begin` starts the deployment
    std::string artifact_name;
    std::vector<std::string> device_types;
    std::string artifact_id;
    std::string artifact_path;  ///< of the store's object
    std::chrono::seconds link_life{86'400};
  };
  deployments(options o, link_signer const& links)
      : options_(std::move(o)), links_(links), id_(mgw::mender::make_request_id()), begun_(options_.begun) {}

  /// What a device says it has: the body of a POST (v1: the provides; v2: inside `device_provides`), or the query.
  struct provides {
    std::string artifact_name, device_type;
  };
  static provides of_query(std::string_view query) {
    provides p;
    p.artifact_name = decode_query(query_member(query, "artifact_name"));
    p.device_type = decode_query(query_member(query, "device_type"));
    return p;
  }
  static provides of_body(std::string_view body, bool v2) {
    provides p;
    auto const whole = parse_object(body);
    if (!whole) return p;
    json::object const* o = &*whole;
    if (v2) {
      json::value const* const inner = whole->if_contains("device_provides");
      if (inner == nullptr || !inner->is_object()) return p;
      o = &inner->get_object();
    }
    p.artifact_name = member(*o, "artifact_name");
    p.device_type = member(*o, "device_type");
    return p;
  }

  /// Answers `deployments/next`: 200 with a link that was signed for this answer, or 204.
  asio::awaitable<void> next(exchange& x, provides has) {
    if (has.artifact_name.empty() || has.device_type.empty()) {
      co_await refuse(x, 400, "artifact_name and device_type are required");
      co_return;
    }
    auto const& types = options_.device_types;
    bool const meant = options_.configured && running() && has.artifact_name != options_.artifact_name &&
                       std::find(types.begin(), types.end(), has.device_type) != types.end();
    if (!meant) {
      co_await answer(x, 204);
      co_return;
    }
    std::string const body = offer();
    co_await answer(x, 200, json_type, body);
  }

  /// PUT {id}/status and {id}/log: `path_id` is the deployment the device talks about.
  asio::awaitable<void> status(exchange& x, std::string device, std::string path_id) {
    auto const body = co_await read_json(x);
    if (!body) co_return;
    auto const report = parse_object(*body);
    std::string const what = report ? member(*report, "status") : std::string();
    if (what.empty()) {
      co_await refuse(x, 400, "no status");
      co_return;
    }
    if (path_id != id_) {
      co_await refuse(x, 404, "not a deployment of this device");
      co_return;
    }
    remember(device, what);
    if (aborted() && what != "failure") {
      co_await refuse(x, 409, "the deployment was aborted");
      co_return;
    }
    co_await answer(x, 204);
  }
  asio::awaitable<void> log(exchange& x, std::string path_id) {
    auto const body = co_await read_json(x);
    if (!body) co_return;
    if (path_id == id_)
      co_await answer(x, 204);
    else
      co_await refuse(x, 404, "not a deployment of this device");
  }

  void begin() {
    std::lock_guard const lock(mutex_);
    begun_ = true;
  }
  void abort() {
    std::lock_guard const lock(mutex_);
    aborted_ = true;
  }
  /// What each device reported, oldest first.
  std::map<std::string, std::vector<std::string>> reports() const {
    std::lock_guard const lock(mutex_);
    return reports_;
  }

private:
  static constexpr std::size_t max_reports = 32;  // of one device; a device is one that authenticated

  bool running() const {
    std::lock_guard const lock(mutex_);
    return begun_ && !aborted_;
  }
  bool aborted() const {
    std::lock_guard const lock(mutex_);
    return aborted_;
  }
  void remember(std::string const& device, std::string const& what) {
    std::lock_guard const lock(mutex_);
    auto& list = reports_[device];
    if (list.size() == max_reports) list.erase(list.begin());
    list.push_back(what.substr(0, 64));
  }
  std::string offer() const {
    std::time_t const until = std::time(nullptr) + options_.link_life.count();
    std::tm utc{};
    gmtime_r(&until, &utc);
    char expire[32];
    std::strftime(expire, sizeof expire, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json::object source;
    source["uri"] = links_.sign(options_.artifact_path, options_.link_life);
    source["expire"] = expire;
    source["method"] = "GET";
    json::array types;
    for (auto const& t : options_.device_types) types.emplace_back(t);
    json::object artifact;
    artifact["id"] = options_.artifact_id;
    artifact["artifact_name"] = options_.artifact_name;
    artifact["source"] = std::move(source);
    artifact["device_types_compatible"] = std::move(types);
    json::object out;
    out["id"] = id_;
    out["artifact"] = std::move(artifact);
    return go_json(out);
  }

  options options_;
  link_signer const& links_;
  std::string id_;
  mutable std::mutex mutex_;
  bool begun_, aborted_ = false;
  std::map<std::string, std::vector<std::string>> reports_;
};

}  // namespace demo
