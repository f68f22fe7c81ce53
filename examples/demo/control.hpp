#pragma once

#include "api.hpp"
#include "deployments.hpp"
#include "device_auth.hpp"
#include "device_connect.hpp"
#include "inventory.hpp"
#include "json.hpp"
#include "management.hpp"
#include "transfers.hpp"

#include <atomic>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace demo {

/// The calls under /demo/: what was counted, and faults on demand.
///
/// | call | |
/// |---|---|
/// | `GET /demo/stats` | bytes and requests of the store, statuses and inventories of the devices, as JSON |
/// | `POST /demo/cut?after=N` | the running or next transfer breaks after N more bytes |
/// | `POST /demo/pause`, `?how=refuse` | the store does not answer any more, or answers 503 and cuts what runs |
/// | `POST /demo/resume` | and again |
/// | `POST /demo/rate?bytes_per_s=N` | of all transfers together; 0: no limit |
/// | `POST /demo/management?status=N`, `?role=narrow`, `?sessions=end` | all calls of the management API answer N (0: as they should); its user may only preauthorize (`?role=full`: all); its sessions end |
/// | `POST /demo/management?how=hang`, `drop`, `hold`, `open` | its calls get no answer, or an end without one; they are done, but the answer waits for the next such call (`hold` again: one by one); all is well |
/// | `POST /demo/deploy` | the deployment begins, after `--deploy-later` |
/// | `POST /demo/abort` | the deployment is aborted: status reports get 409 |
/// | `POST /demo/run?command=TEXT` | typed into a terminal of each connected device (409: there is none); the output is in the stats |
class control {
public:
  control(device_auth& auth, deployments& rollout, transfers& store, inventory& attributes, device_connect& sockets,
          management& manage)
      : auth_(auth), rollout_(rollout), store_(store), attributes_(attributes), sockets_(sockets), management_(manage) {}

  void count_api_request() noexcept { api_requests_.fetch_add(1, std::memory_order_relaxed); }

  asio::awaitable<void> operator()(exchange& x) {
    std::string_view const path = x.target().path;
    std::string_view const query = x.target().query;
    if (x.request().method == "GET" && path == "/demo/stats") return answer(x, 200, json_type, stats());
    if (x.request().method != "POST") return refuse(x, 404, "no such call");
    if (path == "/demo/pause") {
      store_.set(query_member(query, "how") == "refuse" ? transfers::mode::refusing : transfers::mode::held);
    } else if (path == "/demo/resume") {
      store_.set(transfers::mode::open);
    } else if (path == "/demo/management") {
      auto const status = query_member(query, "status");
      if (auto const n = number(status); n && *n < 600) management_.fail_with(static_cast<int>(*n));
      if (auto const role = query_member(query, "role"); !role.empty()) management_.narrow_role(role == "narrow");
      if (query_member(query, "sessions") == "end") management_.end_sessions();
      if (auto const how = query_member(query, "how"); !how.empty()) {
        using mode = management::mode;
        management_.set(how == "hang" ? mode::hang : how == "drop" ? mode::drop : how == "hold" ? mode::hold : mode::open);
      }
    } else if (path == "/demo/deploy") {
      rollout_.begin();
    } else if (path == "/demo/abort") {
      rollout_.abort();
    } else if (path == "/demo/run") {
      if (sockets_.run(decode_query(query_member(query, "command"))) == 0) return refuse(x, 409, "no device is connected");
    } else if (path == "/demo/cut" || path == "/demo/rate") {
      bool const cut = path == "/demo/cut";
      auto const n = number(query_member(query, cut ? "after" : "bytes_per_s"));
      if (!n) return refuse(x, 400, "a number is missing");
      cut ? store_.cut_after(*n) : store_.limit_rate(*n);
    } else {
      return refuse(x, 404, "no such call");
    }
    return answer(x, 204);
  }

private:
  static std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t n = 0;
    auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (ec != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return n;
  }
  std::string stats() const {
    auto const counted = store_.counted();
    json::object out;
    out["artifact_bytes"] = counted.bytes;
    out["artifact_distinct_bytes"] = counted.distinct;
    out["artifact_requests"] = counted.requests;
    out["api_requests"] = api_requests_.load();
    out["management_logins"] = management_.logins();
    out["management_requests"] = management_.requests();
    out["management_held"] = management_.held();
    json::object devices;
    auto const reports = rollout_.reports();
    for (auto const& [id, identity] : auth_.devices()) {
      json::object one;
      one["identity"] = identity;
      json::array statuses;
      if (auto const it = reports.find(id); it != reports.end())
        for (auto const& s : it->second) statuses.emplace_back(s);
      one["statuses"] = std::move(statuses);
      one["inventory"] = attributes_.of(id);
      devices[id] = std::move(one);
    }
    out["devices"] = std::move(devices);
    out["terminals"] = sockets_.described();
    return json::serialize(out);
  }

  device_auth& auth_;
  deployments& rollout_;
  transfers& store_;
  inventory& attributes_;
  device_connect& sockets_;
  management& management_;
  std::atomic<std::uint64_t> api_requests_{0};
};

}  // namespace demo
