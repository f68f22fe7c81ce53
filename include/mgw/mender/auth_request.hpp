#pragma once

#include <mgw/core/result.hpp>
#include <mgw/mender/deployments.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/identity.hpp>
#include <mgw/mender/json_scanner.hpp>
#include <mgw/mender/public_key.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender {

/// What a device says in `POST …/authentication/auth_requests`. Source: client.md 3.1 of the protocol notes.
struct auth_request {
  std::string id_data;       ///< the identity: a JSON object, as the device wrote it
  std::string identity;      ///< the same in one spelling: canonical_identity()
  std::string pubkey;        ///< PEM, as the device wrote it
  std::string tenant_token;  ///< empty if there is none
  public_key key;

  auth_request(std::string data, std::string one_spelling, std::string pem, std::string token, public_key k)
      : id_data(std::move(data)),
        identity(std::move(one_spelling)),
        pubkey(std::move(pem)),
        tenant_token(std::move(token)),
        key(std::move(k)) {}
};

/// Reads an auth request so strictly that no server can read another identity or key in it: a member that comes twice,
/// or that only a parser blind to case would take for one of these, is an error. Other members are passed over.
/// Errors: of json_scanner, canonical_identity and public_key; malformed for what is missing or of another type.
inline result<auth_request> parse_auth_request(std::string_view body) {
  constexpr std::array<std::string_view, 3> names = {"id_data", "pubkey", "tenant_token"};
  std::array<std::optional<std::string>, names.size()> values;
  json_scanner json(body);
  if (json.peek() != '{') return mender_error::malformed;
  bool strange = false;
  bool const ok = json.object([&](std::string const& name) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (!detail::is_taken_for(name, names[i])) continue;
      if (name != names[i] || values[i] || json.peek() != '"') {
        strange = true;
        return false;
      }
      values[i].emplace();
      return json.string(&*values[i]);
    }
    return json.skip();
  });
  if (strange) return mender_error::malformed;
  if (!ok || !json.at_end()) return json.error();
  if (!values[0] || !values[1]) return mender_error::malformed;
  auto identity = canonical_identity(*values[0]);
  if (!identity) return identity.error();
  auto key = public_key::parse(*values[1]);
  if (!key) return key.error();
  return auth_request(std::move(*values[0]), *std::move(identity), std::move(*values[1]),
                      std::move(values[2]).value_or(std::string()), *std::move(key));
}

/// Whom an auth request names, for records, **unverified**: its identity in one spelling, or as the device wrote it if
/// that has none. Empty if there is none, or if a server could read another one in it.
inline std::string claimed_identity(std::string_view body) {
  json_scanner json(body);
  std::optional<std::string> found;
  bool const ok = json.peek() == '{' && json.object([&](std::string const& name) {
    if (!detail::is_taken_for(name, "id_data")) return json.skip();
    if (name != "id_data" || found || json.peek() != '"') return false;
    return json.string(&found.emplace());
  });
  if (!ok || !json.at_end() || !found) return {};
  auto one_spelling = canonical_identity(*found);
  return one_spelling ? *std::move(one_spelling) : *std::move(found);
}

}  // namespace mgw::mender
