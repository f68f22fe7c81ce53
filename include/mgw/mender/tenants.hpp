#pragma once

#include <mgw/cache/sha256.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/seldom_each.hpp>
#include <mgw/mender/deployments.hpp>
#include <mgw/mender/json_scanner.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::mender {

/// The longest auth request of which the tenant is read, in bytes. Real ones have about 1 KiB.
inline constexpr std::size_t max_tenant_request = std::size_t{64} << 10;

/// The SHA-256 of a tenant token in hex; empty if the crypto library fails. Its first 8 digits stand for the token,
/// which is a secret, in logs.
inline std::string token_digest(std::string_view token) {
  cache::sha256 hash;
  cache::sha256_digest d{};
  if (hash.update(token) || hash.digest(d)) return {};
  return cache::to_hex(d);
}

/// What an auth request says of its tenant.
struct tenant_claim {
  /// Nothing: it cannot be told which token a server would read. Empty: there is none.
  std::optional<std::string> token;
  std::string identity;  ///< `id_data`, if it can be read, for logs; cut off after 200 bytes
};

/// Reads an auth request so strictly that no server can read another token in it: a `tenant_token` that comes twice, or
/// that only a parser blind to case would take for one, or that is no string (null stands for none) makes it
/// unreadable, as does what is no JSON, or longer than max_tenant_request. Source: client.md 3.1 of the protocol notes.
inline tenant_claim read_tenant(std::string_view body) {
  tenant_claim out;
  if (body.size() > max_tenant_request) return out;
  json_scanner json(body);
  std::string token;
  bool seen = false, clear = true;
  bool const ok = json.peek() == '{' && json.object([&](std::string const& name) {
    if (name == "id_data" && out.identity.empty() && json.peek() == '"') return json.string(&out.identity);
    if (!detail::is_taken_for(name, "tenant_token")) return json.skip();
    if (seen || name != "tenant_token") clear = false;
    seen = true;
    if (json.peek() == '"') return json.string(&token);
    if (json.peek() != 'n') clear = false;
    return json.skip();
  });
  if (ok && json.at_end() && clear) out.token = std::move(token);
  constexpr std::size_t most = 200;
  if (out.identity.size() > most) {
    std::size_t end = most;
    while (end > 0 && (static_cast<unsigned char>(out.identity[end]) & 0xC0U) == 0x80U) --end;  // of a character
    out.identity.resize(end);
  }
  return out;
}

/// Decides which auth requests go upstream: those of listed tenants. Of the others each client's address gets a line in
/// the log once a minute, with the token's fingerprint in place of the token.
/// Thread rule: any thread.
class tenant_gate {
public:
  tenant_gate(std::vector<std::string> const& tokens, log_sink log) : log_(std::move(log)) {
    for (std::string const& token : tokens) allowed_.insert(token_digest(token));
    allowed_.erase("");
  }

  /// `body`: nothing if it is longer than max_tenant_request. `client`: whose request it is, for the log.
  bool admits(std::optional<std::string_view> body, std::string_view client) {
    auto const claim = body ? read_tenant(*body) : tenant_claim{};
    bool const has_one = claim.token && !claim.token->empty();
    std::string const digest = has_one ? token_digest(*claim.token) : std::string();
    if (has_one && allowed_.contains(digest)) return true;  // the time that takes says nothing of the tokens
    if (log_ && lines_.due(client)) log_(log_level::warn, refusal(claim, digest, client));
    return false;
  }

private:
  static std::string refusal(tenant_claim const& claim, std::string const& digest, std::string_view client) {
    std::string out = "an auth request from ";
    out.append(client);
    if (!claim.identity.empty()) out += ", identity " + claim.identity + ',';
    out += " is refused: ";
    if (!claim.token)
      out += "its tenant token cannot be read";
    else if (claim.token->empty())
      out += "it has no tenant token";
    else
      out += "its tenant token (SHA-256 " + digest.substr(0, 8) + "...) is none of AllowedTenants";
    return out;
  }

  std::set<std::string> allowed_;  // digests
  log_sink log_;
  seldom_each lines_{std::chrono::minutes(1), 1024};
};

}  // namespace mgw::mender
