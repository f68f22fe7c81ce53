#pragma once

#include "crypto.hpp"
#include "http_client.hpp"
#include "json.hpp"

#include <mgw/http/framing.hpp>
#include <mgw/http/range.hpp>

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace demo {

/// What all devices of a fleet have in common.
struct device_options {
  std::string server;  ///< base URL, without a slash at the end
  std::string device_type = "mgw-demo";
  std::string artifact_name = "demo-1";        ///< what is installed before
  std::string expected_sha256;                 ///< hex; empty: not known
  std::uint64_t expected_size = 0;             ///< 0: not known
  std::uint64_t rate = 0;                      ///< bytes per second that a device takes; 0: as they come
  std::chrono::milliseconds retry_wait{1000};  ///< the stock client waits 60 s
  std::chrono::milliseconds poll_interval{0};  ///< 0: one poll, and without a deployment it has failed
  unsigned max_tries = 10;                     ///< resumes of one download, and repeats of one call
};

/// How one device's update went.
struct device_report {
  std::string name;
  std::uint64_t bytes = 0;  ///< of the artifact that arrived
  unsigned requests = 0;    ///< for the artifact: 1 + resumes
  double seconds = 0;       ///< from the first request to the last; with an interval, from the offer on
  std::string sha256;
  std::string failure;  ///< empty: updated
};

/// A simulated device that updates once, as the stock C++ client does: it enrols (authorizes itself, sends its
/// inventory), polls, downloads without Authorization, resumes with an exact Range, and reports every step.
///
/// Where the stock client would fail the deployment, or hang, so does this one. Thread rule: the client's thread.
class device {
public:
  device(http_client& client, device_options const& options, std::string name, std::string mac)
      : client_(client), options_(options), mac_(std::move(mac)) {
    report_.name = std::move(name);
  }
  device(device const&) = delete;
  device& operator=(device const&) = delete;

  /// The first calls, after a while. False: there is nothing to do any more, see `report`.
  asio::awaitable<bool> enrol(std::chrono::milliseconds after) {
    if (after.count() != 0) co_await sleep(after);
    begun_ = clock::now();
    bool ok = co_await authorize();
    if (ok) ok = co_await send_inventory();
    take_time();
    co_return ok;
  }
  /// The rest. Precondition: enrolled.
  asio::awaitable<void> update() {
    bool const updated = co_await install();
    if (!updated && !deployment_.empty()) (void)co_await report_status("failure");
    take_time();
  }
  device_report const& report() const noexcept { return report_; }

private:
  using clock = std::chrono::steady_clock;

  bool fail(std::string why) {
    if (report_.failure.empty()) report_.failure = std::move(why);
    return false;
  }
  void take_time() { report_.seconds = std::chrono::duration<double>(clock::now() - begun_).count(); }
  std::string api(std::string_view path) const { return options_.server + "/api/devices/" + std::string(path); }

  asio::awaitable<bool> install() {
    bool ok = co_await poll();
    if (ok) ok = co_await report_status("downloading");
    if (ok) ok = co_await download();
    if (ok) ok = co_await report_status("installing");
    if (ok) ok = co_await report_status("success");
    co_return ok;
  }

  /// A call that is repeated while nobody answers it, the upstream is away, or the device is not accepted yet.
  asio::awaitable<response> call(outgoing request) {
    response last;
    for (unsigned tries = 0; tries <= options_.max_tries; ++tries) {
      if (tries != 0) co_await sleep(options_.retry_wait);
      last = co_await client_.send(request);
      bool const final = last.status != 0 && last.status < 500 && last.status != 401 && last.status != 429;
      if (final) break;
    }
    co_return last;
  }
  static std::string describe(std::string_view what, response const& r) {
    return std::string(what) + ": " +
           (r.status == 0 ? r.failure : "answered " + std::to_string(r.status) + ' ' + r.body);
  }

  asio::awaitable<bool> authorize() {
    json::object identity;
    identity["mac"] = mac_;
    json::object body;
    body["id_data"] = json::serialize(identity);
    body["pubkey"] = key_.public_pem();
    outgoing request("POST", api("v1/authentication/auth_requests"));
    request.body = json::serialize(body);
    request.fields = "X-MEN-Signature: " + key_.sign(request.body) + "\r\nAuthorization: API_KEY\r\n";
    response const r = co_await call(std::move(request));
    if (r.status != 200) co_return fail(describe("authorization", r));
    token_ = r.body;
    co_return true;
  }

  asio::awaitable<bool> send_inventory() {
    json::array list;
    list.push_back(json::object{{"name", "device_type"}, {"value", options_.device_type}});
    list.push_back(json::object{{"name", "artifact_name"}, {"value", options_.artifact_name}});
    outgoing request("PUT", api("v1/inventory/device/attributes"));
    request.token = token_;
    request.body = json::serialize(list);
    response const r = co_await call(std::move(request));
    if (r.status != 200) co_return fail(describe("inventory", r));
    co_return true;
  }

  /// Until there is a deployment: once, or at every interval. What answers a poll wrongly is left to the next poll.
  asio::awaitable<bool> poll() {
    bool const waits = options_.poll_interval.count() != 0;
    auto next = clock::now();
    for (unsigned failures = 0;;) {
      response const r = co_await ask_for_deployment();
      if (r.status == 200) co_return accept_offer(r);
      if (!waits && r.status == 204) co_return fail("there is no deployment for this device");
      failures = r.status == 204 ? 0 : failures + 1;
      if (!waits || failures > options_.max_tries) co_return fail(describe("deployments/next", r));
      bool const sent_away = r.status == 429 && r.retry_after.count() != 0;  // newer clients come when they are told to
      next = sent_away ? clock::now() + r.retry_after : next + options_.poll_interval;
      co_await sleep(std::chrono::duration_cast<std::chrono::milliseconds>(next - clock::now()));
    }
  }
  /// POST v2, and where the server has none, GET v1.
  asio::awaitable<response> ask_for_deployment() {
    json::object provides;
    provides["artifact_name"] = options_.artifact_name;
    provides["device_type"] = options_.device_type;
    json::object body;
    body["device_provides"] = std::move(provides);
    outgoing v2("POST", api("v2/deployments/device/deployments/next"));
    v2.token = token_;
    v2.body = json::serialize(body);
    response r = co_await send_poll(std::move(v2));
    if (r.status == 404) {
      outgoing v1("GET", api("v1/deployments/device/deployments/next?artifact_name=") + options_.artifact_name +
                             "&device_type=" + options_.device_type);
      v1.token = token_;
      r = co_await send_poll(std::move(v1));
    }
    co_return r;
  }
  /// Repeated only where no other poll follows.
  asio::awaitable<response> send_poll(outgoing request) {
    if (options_.poll_interval.count() != 0) return client_.send(std::move(request));
    return call(std::move(request));
  }
  bool accept_offer(response const& r) {
    auto const offer = parse_object(r.body);
    if (!offer) return fail(describe("deployments/next", r));
    json::error_code ec;
    json::value const whole(*offer);
    json::value const* const uri = whole.find_pointer("/artifact/source/uri", ec);
    deployment_ = member(*offer, "id");
    if (deployment_.empty() || uri == nullptr || !uri->is_string())
      return fail("an offer without id or link: " + r.body);
    link_.assign(uri->get_string().data(), uri->get_string().size());
    if (options_.poll_interval.count() != 0) begun_ = clock::now();
    return true;
  }

  asio::awaitable<bool> report_status(std::string status) {
    json::object body;
    body["status"] = status;
    outgoing request("PUT", api("v1/deployments/device/deployments/" + deployment_ + "/status"));
    request.token = token_;
    request.body = json::serialize(body);
    response const r = co_await call(std::move(request));
    if (r.status != 204) co_return fail(describe("status " + status, r));
    co_return true;
  }

  asio::awaitable<bool> download() {
    sha256 hash;
    std::uint64_t length = 0;
    for (unsigned tries = 0;; ++tries) {
      if (tries > options_.max_tries)
        co_return fail("the download was given up after " + std::to_string(tries) + " requests: " + last_break_);
      if (tries != 0) co_await sleep(options_.retry_wait);
      outgoing request("GET", link_);
      if (length != 0) {
        request.fields = "Range: ";
        mgw::http::append_range(request.fields, report_.bytes, length - 1);
        request.fields += "\r\n";
      }
      ++report_.requests;
      opened const answer = co_await client_.open(std::move(request));
      if (!answer.exchange) {
        last_break_ = answer.failure;
        continue;
      }
      bool const acceptable = length == 0 ? accept_first(answer, length) : accept_resumed(answer, length);
      if (!acceptable) co_return false;
      co_await receive(*answer.exchange, hash);
      if (report_.bytes == length) break;
    }
    report_.sha256 = hash.hex();
    if (!options_.expected_sha256.empty() && report_.sha256 != options_.expected_sha256)
      co_return fail("wrong bytes: SHA-256 " + report_.sha256);
    if (options_.expected_size != 0 && length != options_.expected_size)
      co_return fail("wrong size: " + std::to_string(length));
    co_return true;
  }
  /// The first answer is 200 with a length, or the deployment has failed.
  bool accept_first(opened const& answer, std::uint64_t& length) {
    if (answer.status() != 200) return fail("the link answered " + std::to_string(answer.status()));
    auto const framing = answer.exchange->framing();
    if (framing.kind != mgw::http::body_kind::length || framing.length == 0)
      return fail("the link answered without Content-Length");
    length = framing.length;
    return true;
  }
  /// A resumed answer has exactly the bytes asked for; after any other the stock client hangs until it is restarted.
  bool accept_resumed(opened const& answer, std::uint64_t length) {
    auto const field = answer.exchange->head().fields.value("Content-Range");
    auto const got = mgw::http::parse_content_range(field);
    bool const exact = answer.status() == 206 && got && got->range && got->range->first == report_.bytes &&
                       got->range->last == length - 1 && got->length.value_or(length) == length;
    return exact || fail("the resume at " + std::to_string(report_.bytes) + " was answered " +
                         std::to_string(answer.status()) + ' ' + std::string(field));
  }
  asio::awaitable<void> receive(mgw::upstream::client_exchange& from, sha256& hash) {
    for (;;) {
      auto const piece = co_await from.read_body();
      hash.update(piece.bytes);
      report_.bytes += piece.bytes.size();
      if (piece.ec || piece.end) {
        last_break_ = piece.ec ? piece.ec.message() : std::string();
        co_return;
      }
      if (options_.rate != 0) co_await sleep(std::chrono::milliseconds(piece.bytes.size() * 1000 / options_.rate));
    }
  }

  static asio::awaitable<void> sleep(std::chrono::milliseconds how_long) {
    auto const executor = co_await asio::this_coro::executor;
    asio::steady_timer timer(executor, how_long);
    std::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }

  http_client& client_;
  device_options const& options_;
  std::string mac_;
  device_key key_;
  std::string token_, deployment_, link_, last_break_;
  clock::time_point begun_;
  device_report report_;
};

}  // namespace demo
