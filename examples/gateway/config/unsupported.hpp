#pragma once

#include "config/configuration.hpp"
#include "config/value_forms.hpp"

#include <mgw/http/fields.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// A key of the original's that this program knows, but has nothing for yet.
struct unsupported {
  std::string key;          ///< empty: it has none in the file
  std::string environment;  ///< empty: it has no variable
  std::string feature;      ///< whose it is; `FEATURE.Enabled` switches it
};

inline std::vector<unsupported> const& unsupported_keys() {
  static std::vector<unsupported> const table = {
  };
  return table;
}

/// The entry of this key, in any case; nullptr if there is none.
inline unsupported const* find_unsupported(std::string_view key) {
  for (unsupported const& u : unsupported_keys())
    if (!u.key.empty() && mgw::http::iequals(u.key, key)) return &u;
  return nullptr;
}

/// Remembers that the key was set. What switches a feature must be understood, or it is an error.
inline void note_unsupported(configuration& c, unsupported const& u, std::string_view value, origin from) {
  bool const is_switch = u.key.ends_with(".Enabled");
  if (value.empty() || (!is_switch && value == "false")) return;
  bool on = false;
  if (is_switch && !read_bool(value, on))
    c.errors.push_back(named(u.key, from) + " is " + shown(value) + "; accepted: true or false");
  std::string remembered = !is_switch ? "" : on ? "true" : "false";
  c.unsupported.push_back({u.key, std::move(from), std::move(remembered)});
}

/// Says of each such key that it has no effect; of the keys of a feature that is switched off nothing needs to be said.
/// Precondition: all sources have been read.
inline void judge_unsupported(configuration& c) {
  auto const feature_of = [](configuration::unsupported_key const& k) {
    return find_unsupported(k.key)->feature;
  };
  auto const switched = [&](std::string const& feature) {  // the last source wins
    configuration::unsupported_key const* found = nullptr;
    for (auto const& k : c.unsupported)
      if (!k.value.empty() && feature_of(k) == feature) found = &k;
    return found;
  };
  for (auto const& k : c.unsupported) {
    std::string const feature = feature_of(k);
    auto const* const state = switched(feature);
    if (state != nullptr && state->value == "false") continue;
    c.warnings.push_back(named(k.key, k.from) + " is known but not supported yet: it has no effect");
  }
}

}  // namespace gateway
