#pragma once

#include "api.hpp"
#include "crypto.hpp"
#include "device_auth.hpp"
#include "json.hpp"

#include <mgw/mender/base64.hpp>

#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

/// The management API, as far as a gateway uses it: sign-in, preauthorize, a device, the status of one of its keys; the
/// list of devices has one at most.
///
/// `POST /demo/management` sets what goes wrong. Thread rule: any thread.
class management {
public:
  management(device_auth& auth, std::string user, std::string password)
      : auth_(auth), credentials_("Basic " + to_base64(user + ':' + password)) {}

  static constexpr std::string_view prefix = "/api/management/";

  /// What becomes of calls: `hang` and `drop`, they are not worked on, and nothing or an end comes back; `hold`, they are
  /// worked on, and the answer waits for the next mode.
  enum class mode { open, hang, drop, hold };

  asio::awaitable<void> operator()(exchange& x) {
    requests_.fetch_add(1);
    if (mode const how = mode_.load(); how == mode::hang || how == mode::drop) return leave(x);
    std::string_view const path = x.target().path;
    std::string_view const method = x.request().method;
    if (int const status = failing_.load(); status != 0) return refuse_as_told(x, status);
    if (path == "/api/management/v1/useradm/auth/login")
      return method == "POST" ? sign_in(x) : refuse(x, 405, "POST only");
    if (!is_signed_in(x)) return refuse(x, 401, "unauthorized");
    constexpr std::string_view devices = "/api/management/v2/devauth/devices";
    if (path == devices && method == "POST") return preauthorize(x);
    if (!path.starts_with(devices)) return refuse(x, 404, "not found");
    if (narrow_.load()) return refuse(x, 403, "the role does not allow this");
    std::string_view rest = path.substr(devices.size());
    if (rest.empty()) return method == "GET" ? list(x) : refuse(x, 405, "GET and POST only");
    rest.remove_prefix(1);
    std::string const id(rest.substr(0, rest.find('/')));
    rest.remove_prefix(id.size());
    if (rest.empty() && method == "GET") return tell(x, id);
    constexpr std::string_view auth = "/auth/", status = "/status";
    if (method != "PUT" || !rest.starts_with(auth) || !rest.ends_with(status)) return refuse(x, 404, "not found");
    rest.remove_prefix(auth.size());
    rest.remove_suffix(status.size());
    return set_status(x, id, std::string(rest));
  }

  /// All sessions end: the next calls get 401.
  void end_sessions() {
    std::lock_guard const lock(mutex_);
    sessions_.clear();
  }
  /// All calls are answered with this status; 0: as they should be.
  void fail_with(int status) noexcept { failing_ = status; }
  /// The user's role allows only to preauthorize.
  void narrow_role(bool on) noexcept { narrow_ = on; }
  /// Lets go of the answers that are held; those of later calls, too, wait if it is `hold` again.
  void set(mode how) {
    std::lock_guard const hold(mutex_);
    mode_ = how;
    ++turn_;
    held_ = 0;
  }
  /// How many calls wait for an answer.
  std::uint64_t held() const noexcept { return held_; }
  std::uint64_t logins() const noexcept { return logins_; }
  std::uint64_t requests() const noexcept { return requests_; }

private:
  static asio::awaitable<void> refuse_as_told(exchange& x, int status) {
    std::string const body = mgw::mender::error_body("as told", request_id(x));
    if (status == 429)
      (void)co_await x.respond(status, json_type, body, "Retry-After", "1");
    else
      (void)co_await x.respond(status, json_type, body);
  }
  asio::awaitable<void> leave(exchange& x) {
    if (mode_.load() == mode::hang) co_await wait_for_turn(x);
    x.abort();
  }
  asio::awaitable<void> wait_if_held(exchange& x) {
    if (mode_.load() == mode::hold) co_await wait_for_turn(x);
  }
  asio::awaitable<void> wait_for_turn(exchange& x) {
    auto const executor = co_await asio::this_coro::executor;
    std::uint64_t const mine = begin_to_wait();
    while (turn_.load() == mine && !x.draining() && !x.client_gone()) {
      asio::steady_timer timer(executor, std::chrono::milliseconds(20));
      std::error_code ignored;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    end_to_wait(mine);
  }
  std::uint64_t begin_to_wait() {
    std::lock_guard const hold(mutex_);
    ++held_;
    return turn_;
  }
  void end_to_wait(std::uint64_t turn) {
    std::lock_guard const hold(mutex_);
    if (turn_ == turn) --held_;
  }
  asio::awaitable<void> sign_in(exchange& x) {
    if (x.request_framing().kind == mgw::http::body_kind::chunked) return refuse(x, 400, "malformed request body");
    if (x.request().fields.value("Authorization") != credentials_) return refuse(x, 401, "unauthorized");
    std::string const token = "session." + to_hex(random_bytes(16));
    logins_.fetch_add(1);
    {
      std::lock_guard const lock(mutex_);
      if (sessions_.size() > 100) sessions_.clear();
      sessions_.insert(token);
    }
    return answer(x, 200, "application/jwt", token);
  }
  bool is_signed_in(exchange const& x) const {
    constexpr std::string_view scheme = "Bearer ";
    std::string_view const field = x.request().fields.value("Authorization");
    std::lock_guard const lock(mutex_);
    return field.starts_with(scheme) && sessions_.contains(std::string(field.substr(scheme.size())));
  }
  asio::awaitable<void> preauthorize(exchange& x) {
    auto const body = co_await read_json(x);
    if (!body) co_return;
    auto const request = parse_object(*body);
    auto const* const identity = request ? request->if_contains("identity_data") : nullptr;
    std::string const pubkey = request ? member(*request, "pubkey") : std::string();
    bool const object = identity != nullptr && identity->is_object() && !identity->get_object().empty();
    if (!object || normalized_key(pubkey).empty()) {
      co_await refuse(x, 400, "malformed request body");
      co_return;
    }
    auto const* const force = request->if_contains("force");
    bool const forced = force != nullptr && force->is_bool() && force->get_bool();
    auto const made = auth_.preauthorize(identity->get_object(), pubkey, forced);
    co_await wait_if_held(x);
    if (!made.conflict.empty()) {
      co_await answer(x, 409, json_type, made.conflict);
      co_return;
    }
    (void)co_await x.respond(201, {}, {}, "Location", "devices/" + made.id);
  }
  asio::awaitable<void> list(exchange& x) {
    auto const all = auth_.devices();
    std::string body = "[";
    if (!all.empty()) body += auth_.describe(all.begin()->first, true);
    return answer(x, 200, json_type, body + ']');
  }
  asio::awaitable<void> tell(exchange& x, std::string id) {
    std::string const device = auth_.describe(id, true);
    co_await wait_if_held(x);
    if (device.empty())
      co_await refuse(x, 404, "device not found");
    else
      co_await answer(x, 200, json_type, device);
  }
  asio::awaitable<void> set_status(exchange& x, std::string id, std::string set) {
    auto const body = co_await read_json(x);
    if (!body) co_return;
    auto const request = parse_object(*body);
    std::string const status = request ? member(*request, "status") : std::string();
    int const done = auth_.set_status(id, set, status);
    co_await wait_if_held(x);
    std::string_view const why = done == 404 ? "not found" : "this status cannot be set";
    if (done == 204)
      co_await answer(x, 204);
    else
      co_await refuse(x, done, why);
  }

  device_auth& auth_;
  std::string credentials_;
  mutable std::mutex mutex_;
  std::set<std::string> sessions_;
  std::atomic<int> failing_{0};
  std::atomic<bool> narrow_{false};
  std::atomic<mode> mode_{mode::open};
  std::atomic<std::uint64_t> turn_{0}, held_{0};
  std::atomic<std::uint64_t> logins_{0}, requests_{0};
};

}  // namespace demo
