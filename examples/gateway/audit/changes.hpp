#pragma once

#include "audit/chain.hpp"
#include "audit/record.hpp"
#include "config/options.hpp"
#include "config/print.hpp"
#include "config/settings.hpp"
#include "control/protocol.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway::audit {

/// The settings in a form that tells nothing of their values, but which of them have changed: for each key the first
/// digits of an HMAC of its value, secrets included.
class fingerprint {
public:
  fingerprint() = default;
  fingerprint(settings const& s, chain_key const& key) {
    std::string all;
    for (option const& o : options()) {
      std::string mac = mac_of(key, "setting " + o.key, o.value.show(s)).substr(0, 24);
      all += mac;
      keys_.emplace(json_view(o.key), json_view(mac));
    }
    digest_ = mac_of(key, "settings", all);
  }
  /// What `text` has written; empty if it is damaged.
  static fingerprint parse(std::string_view text) {
    fingerprint out;
    auto v = detail::parse_json_object(text);
    if (v.is_object()) out.keys_ = std::move(v.get_object());
    return out;
  }
  std::string text() const { return boost::json::serialize(keys_) + "\n"; }
  std::string const& digest() const noexcept { return digest_; }
  /// The keys whose values are others than in `before`.
  std::vector<std::string> changed(fingerprint const& before) const {
    std::vector<std::string> out;
    for (auto const& [key, mac] : keys_) {
      std::string const name(key);
      if (text_in(before.keys_, name) != text_in(keys_, name)) out.push_back(name);
    }
    return out;
  }

private:
  boost::json::object keys_;
  std::string digest_;
};

/// The record of a start with these settings: their digest, and which have changed since `before`, with what they are
/// now; of secrets only that they have changed.
inline record configuration_record(settings const& s, fingerprint const& now, fingerprint const& before) {
  record r("configuration");
  r.add("digest", now.digest());
  boost::json::object changed;
  for (std::string const& key : now.changed(before)) {
    option const& o = *find_option(key);
    changed.emplace(json_view(key), json_view(clean(json_value(o, s, secrets::masked))));
  }
  r.add("changed", boost::json::value(std::move(changed)));
  return r;
}

/// The same of a configuration that was read anew, of which only the log level takes effect; empty: it has not changed.
inline boost::json::value changed_log_level(std::string_view level) {
  boost::json::object changed;
  if (!level.empty()) changed.emplace("Log.Level", json_view(clean('"' + std::string(level) + '"')));
  return changed;
}

}  // namespace gateway::audit
