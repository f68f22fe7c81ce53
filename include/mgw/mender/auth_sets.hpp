#pragma once

#include <mgw/core/result.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/json_scanner.hpp>
#include <mgw/mender/public_key.hpp>
#include <mgw/mender/text.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::mender {

/// One key of a device, as the management API tells it.
struct auth_set {
  std::string id, pubkey, status;
};

/// A device, as `GET /api/management/v2/devauth/devices/{id}` and a 409 tell it; the latter without its auth sets.
struct known_device {
  std::string id;
  bool decommissioning = false;
  std::vector<auth_set> sets;

  /// The set with this key (DER); null if there is none. A server may spell a key in another way than a device.
  auth_set const* find(std::string_view key) const {
    auto const has = [key](auth_set const& s) {
      auto const k = public_key::parse(s.pubkey);
      return k && k->der() == key;
    };
    auto const at = std::find_if(sets.begin(), sets.end(), has);
    return at == sets.end() ? nullptr : &*at;
  }
};

/// Whether this may stand in a path: 1 to 64 letters, digits and hyphens.
inline bool is_server_id(std::string_view id) noexcept {
  return !id.empty() && id.size() <= 64 &&
         std::all_of(id.begin(), id.end(), [](char c) { return is_letter_or_digit(c) || c == '-'; });
}

/// Reads a device. Errors: of json_scanner; malformed without an id that may stand in a path, with an auth set of another
/// form, or with more than 1000.
inline result<known_device> read_device(std::string_view text) {
  constexpr std::size_t max_sets = 1000;
  known_device out;
  json_scanner json(text);
  if (json.peek() != '{') return mender_error::malformed;
  bool strange = false;  // a set that is passed over could be the one that is looked for
  auto const pass_over = [&] {
    strange = true;
    return json.skip();
  };
  auto const read = [&](std::string& into) { return json.peek() == '"' ? json.string(&into) : pass_over(); };
  bool const ok = json.object([&](std::string const& name) {
    if (name == "id") return read(out.id);
    if (name == "decommissioning") {
      out.decommissioning = json.peek() == 't';
      return json.skip();
    }
    if (name != "auth_sets" || json.peek() == 'n') return json.skip();
    if (json.peek() != '[') return pass_over();
    return json.array([&] {
      if (json.peek() != '{' || out.sets.size() == max_sets) return pass_over();
      auth_set& s = out.sets.emplace_back();
      return json.object([&](std::string const& member) {
        if (member == "id") return read(s.id);
        if (member == "pubkey") return read(s.pubkey);
        return member == "status" ? read(s.status) : json.skip();
      });
    });
  });
  if (!ok || !json.at_end()) return json.error();
  if (strange || !is_server_id(out.id)) return mender_error::malformed;
  return out;
}

}  // namespace mgw::mender
