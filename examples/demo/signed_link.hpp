#pragma once

#include "api.hpp"
#include "crypto.hpp"

#include <mgw/http/fields.hpp>
#include <mgw/http/uri.hpp>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

/// Makes and checks links that open one object for a while, in the manner of S3's presigned ones: whoever has the link
/// may GET it; any change of method, host, path or query spoils it.
class link_signer {
public:
  /// `public_url`: what the links begin with. Throws std::invalid_argument.
  explicit link_signer(std::string public_url) : base_(std::move(public_url)), secret_(random_bytes(32)) {
    while (base_.ends_with('/')) base_.pop_back();
    auto const u = mgw::http::parse_uri(base_);
    if (!u) throw std::invalid_argument("public URL \"" + base_ + "\": not an http or https URL");
    host_ = u->authority;
    prefix_ = u->path == "/" ? std::string() : std::string(u->path);
  }

  /// A link to `path`. Every one is different, like those that are signed with temporary credentials.
  std::string sign(std::string_view path, std::chrono::seconds life) const {
    std::time_t const now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    char date[17];
    std::strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &utc);
    std::string const expires = std::to_string(life.count());
    std::string const session = to_hex(random_bytes(16));
    std::string const full_path = prefix_ + std::string(path);
    return base_ + std::string(path) + "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=demo%2F" +
           std::string(date, 8) + "%2Fdemo%2Fs3%2Faws4_request&X-Amz-Date=" + date + "&X-Amz-Expires=" + expires +
           "&X-Amz-Security-Token=" + session +
           "&X-Amz-SignedHeaders=host&X-Amz-Signature=" + signature("GET", host_, full_path, date, expires, session);
  }

  enum class outcome { good, wrong, expired };
  outcome check(std::string_view method, std::string_view host, std::string_view path, std::string_view query) const {
    std::string const date(query_member(query, "X-Amz-Date"));
    auto const expires = query_member(query, "X-Amz-Expires");
    auto const given = query_member(query, "X-Amz-Signature");
    if (!mgw::http::iequals(host, host_) ||
        signature(method, host_, path, date, expires, query_member(query, "X-Amz-Security-Token")) != given)
      return outcome::wrong;
    std::tm utc{};
    std::int64_t life = 0;
    std::from_chars(expires.data(), expires.data() + expires.size(), life);
    if (strptime(date.c_str(), "%Y%m%dT%H%M%SZ", &utc) == nullptr) return outcome::wrong;
    return std::time(nullptr) <= timegm(&utc) + life ? outcome::good : outcome::expired;
  }
  /// What stands before the path of an object in a request.
  std::string const& prefix() const noexcept { return prefix_; }

private:
  std::string signature(std::string_view method, std::string_view host, std::string_view path, std::string_view date,
                        std::string_view expires, std::string_view session) const {
    std::string text;
    for (std::string_view const part : {method, host, path, date, expires, session}) text.append(part).append(1, '\n');
    return to_hex(hmac_sha256(secret_, text));
  }
  std::string base_, host_, prefix_, secret_;
};

}  // namespace demo
