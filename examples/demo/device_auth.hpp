#pragma once

#include "api.hpp"
#include "crypto.hpp"
#include "json.hpp"

#include <mgw/mender/base64.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

/// Device authentication: every device whose signature is good is accepted, and gets a token that names it; or, with
/// `managed`, one whose key was accepted or preauthorized.
///
/// Thread rule: any thread.
class device_auth {
public:
  explicit device_auth(std::chrono::seconds token_life, bool managed = false)
      : token_life_(token_life), managed_(managed), secret_(random_bytes(32)) {}

  /// POST /api/devices/v1/authentication/auth_requests
  asio::awaitable<void> authenticate(exchange& x) {
    auto const body = co_await read_json(x);
    if (!body) co_return;
    auto const signature = mgw::mender::decode_base64(x.request().fields.value("X-MEN-Signature"));
    auto const request = parse_object(*body);
    std::string const pubkey = request ? member(*request, "pubkey") : std::string();
    auto identity = request ? parse_object(member(*request, "id_data")) : std::nullopt;
    if (!signature || signature->empty() || pubkey.empty() || !identity || identity->empty()) {
      co_await refuse(x, 400, "malformed authorization request");
      co_return;
    }
    switch (verify(pubkey, *body, *signature)) {
      case verdict::bad_key: co_await refuse(x, 400, "cannot decode the public key"); co_return;
      case verdict::bad_signature: co_await refuse(x, 401, "signature verification failed"); co_return;
      case verdict::good: break;
    }
    std::string const device = device_id(*identity);
    if (!remember(device, json::serialize(*identity))) {
      co_await refuse(x, 401, "device limit reached");
      co_return;
    }
    if (managed_ && !admit(device, normalized_key(pubkey))) {
      co_await refuse(x, 401, "dev auth: unauthorized");
      co_return;
    }
    co_await answer(x, 200, "application/jwt", token(device));
  }

  struct preauthorized {
    std::string id;
    std::string conflict;  ///< not empty: such a device exists, and this is it
  };
  /// `force`: its set for this key becomes preauthorized, whatever it was.
  preauthorized preauthorize(json::object const& identity, std::string_view pubkey, bool force) {
    preauthorized out;
    out.id = device_id(identity);
    {
      std::lock_guard const lock(mutex_);
      if (force || !sets_.contains(out.id)) {
        devices_.insert_or_assign(out.id, json::serialize(identity));
        set_for(out.id, normalized_key(pubkey)).status = "preauthorized";
        return out;
      }
    }
    out.conflict = describe(out.id, false);
    return out;
  }
  /// A device as JSON; empty if there is none.
  std::string describe(std::string const& id, bool with_sets) const {
    std::lock_guard const lock(mutex_);
    auto const known = devices_.find(id);
    auto const sets = sets_.find(id);
    if (known == devices_.end() || sets == sets_.end()) return {};
    json::object out;
    out["id"] = id;
    if (auto identity = parse_object(known->second)) out["identity_data"] = std::move(*identity);
    out["decommissioning"] = false;
    json::array list;
    std::string status = "noauth";
    for (auto const& s : sets->second) {
      if (status != "accepted") status = s.status;
      json::object one;
      one["id"] = s.id;
      one["pubkey"] = s.pubkey;
      one["status"] = s.status;
      list.emplace_back(std::move(one));
    }
    out["status"] = status;
    if (with_sets) out["auth_sets"] = std::move(list);
    return json::serialize(out);
  }
  /// 204, or why not: 400, 404.
  int set_status(std::string const& id, std::string_view set, std::string const& status) {
    std::lock_guard const lock(mutex_);
    auto const sets = sets_.find(id);
    if (sets == sets_.end()) return 404;
    for (auto& s : sets->second) {
      if (s.id != set) continue;
      bool const accept = status == "accepted" && (s.status == "pending" || s.status == "rejected");
      if (!accept && status != "rejected" && status != "pending") return 400;
      if (accept) reject_accepted(sets->second);
      s.status = status;
      return 204;
    }
    return 404;
  }

  struct caller {
    std::string device;  ///< empty: refused
    int status = 0;      ///< 401 for a bad token, 403 for an expired one
  };
  /// Who makes this call, by its bearer token.
  caller identify(exchange const& x) const {
    constexpr std::string_view scheme = "Bearer ";
    caller out;
    out.status = 401;
    std::string_view const field = x.request().fields.value("Authorization");
    std::size_t const dot = field.rfind('.');
    if (!field.starts_with(scheme) || dot == std::string_view::npos || dot < scheme.size()) return out;
    std::string_view const text = field.substr(scheme.size(), dot - scheme.size());
    if (sign(text) != field.substr(dot + 1)) return out;
    auto const decoded = mgw::mender::decode_base64url(text.substr(text.find('.') + 1));
    auto const claims = decoded ? parse_object(*decoded) : std::nullopt;
    if (!claims) return out;
    if (claims->at("exp").to_number<std::int64_t>() < now()) {
      out.status = 403;
      return out;
    }
    out.device = member(*claims, "sub");
    return out;
  }

  /// The devices known so far, with their identities.
  std::map<std::string, std::string> devices() const {
    std::lock_guard const lock(mutex_);
    return devices_;
  }

private:
  static constexpr std::size_t max_devices = 100'000;

  struct auth_set {
    std::string id, pubkey, status;
  };
  /// The set with this key, a pending one if there was none. Precondition: the lock is held.
  auth_set& set_for(std::string const& device, std::string const& pubkey) {
    auto& sets = sets_[device];
    for (auto& s : sets)
      if (s.pubkey == pubkey) return s;
    return sets.emplace_back(auth_set{mgw::mender::make_request_id(), pubkey, "pending"});
  }
  static void reject_accepted(std::vector<auth_set>& sets) {
    for (auto& s : sets)
      if (s.status == "accepted") s.status = "rejected";
  }
  /// Whether the device may have a token; a preauthorized key becomes accepted by that.
  bool admit(std::string const& device, std::string const& pubkey) {
    std::lock_guard const lock(mutex_);
    auth_set& s = set_for(device, pubkey);
    if (s.status == "preauthorized") {
      reject_accepted(sets_[device]);
      s.status = "accepted";
    }
    return s.status == "accepted";
  }

  static std::int64_t now() {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  /// The same for the same members in any order.
  static std::string device_id(json::object const& identity) {
    std::map<std::string, std::string> sorted;
    for (auto const& [name, value] : identity) sorted.emplace(name, json::serialize(value));
    sha256 h;
    for (auto const& [name, value] : sorted) h.update(name + '=' + value + '\n');
    std::string id = h.hex().substr(0, 32);
    for (std::size_t const at : {8U, 13U, 18U, 23U}) id.insert(at, 1, '-');
    return id;
  }
  bool remember(std::string const& device, std::string identity) {
    std::lock_guard const lock(mutex_);
    if (devices_.size() >= max_devices && !devices_.contains(device)) return false;
    devices_.insert_or_assign(device, std::move(identity));
    return true;
  }
  std::string sign(std::string_view text) const { return mgw::mender::encode_base64url(hmac_sha256(secret_, text)); }
  std::string token(std::string const& device) const {
    json::object claims;
    claims["jti"] = mgw::mender::make_request_id();
    claims["sub"] = device;
    claims["iss"] = "Mender";
    claims["iat"] = now();
    claims["exp"] = now() + token_life_.count();
    claims["mender.device"] = true;
    claims["mender.plan"] = "demo";
    std::string text = mgw::mender::encode_base64url(R"({"alg":"HS256","typ":"JWT"})") + '.' +
                       mgw::mender::encode_base64url(json::serialize(claims));
    std::string const signature = sign(text);
    return text += '.' + signature;
  }

  std::chrono::seconds token_life_;
  bool managed_;
  std::string secret_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> devices_;  // id to identity
  std::map<std::string, std::vector<auth_set>> sets_;  // the same, if managed
};

}  // namespace demo
