#pragma once

#include "config/options.hpp"
#include "config/settings.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// Where a value came from. A later source wins over an earlier one.
struct origin {
  enum class source { built_in, file, environment, flag };
  source from = source::built_in;
  std::string where;  ///< `FILE:LINE:COLUMN`, the variable's name, or the flag

  static origin file(std::string position) { return {source::file, std::move(position)}; }
  static origin variable(std::string name) { return {source::environment, std::move(name)}; }
  static origin flag(std::string name) { return {source::flag, std::move(name)}; }
};

/// A key as messages name it: `FILE:3:14: HTTP.Listen`, `HTTP_LISTEN (HTTP.Listen)`, `--log-level`.
inline std::string named(std::string const& key, origin const& from) {
  switch (from.from) {
    case origin::source::file: return from.where + ": " + key;
    case origin::source::environment: return key.empty() ? from.where : from.where + " (" + key + ")";
    case origin::source::flag: return from.where;
    case origin::source::built_in: break;
  }
  return key;
}

/// A value as messages show it: in quotes, on one line, cut to a sensible length.
inline std::string shown(std::string_view value) {
  constexpr std::size_t longest = 200;
  std::string out = "\"";
  for (char const c : value.substr(0, longest)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out + (value.size() > longest ? "…\"" : "\"");
}

/// The settings while they are read, source after source, with what was wrong on the way.
class configuration {
public:
  settings values;
  std::string file;                   ///< the configuration file that was read, if any
  std::vector<std::string> errors;    ///< it cannot run with these
  std::vector<std::string> warnings;  ///< it can, but something will not be as it was written
  std::vector<std::string> unknown;   ///< keys nobody knows: warnings too, errors to who asks for a check
  std::vector<std::string> notes;  ///< of check(): what files and directories have in them, for who asks for a check

  /// Stores a value, or notes an error that names the key, the value and what is accepted. An empty value counts as not
  /// set. Precondition: sources come in the order of origin::source.
  void set(option const& o, std::string_view value, origin from) {
    if (value.empty()) return;
    if (o.value.set(values, value)) {
      origins_[index(o)] = std::move(from);
      refused_[index(o)] = false;
      return;
    }
    bool const may_hold_a_password = value.find("://") != value.npos && value.find('@') != value.npos;
    bool const hidden = is_secret(o.value.kind) || may_hold_a_password;
    refuse(o, from, hidden ? "not accepted (and not shown here)" : shown(value));
  }
  void refuse(option const& o, origin const& from, std::string const& what) {
    errors.push_back(named(o.key, from) + " is " + what + "; accepted: " + o.accepts);
    mark_refused(o, from);
  }
  /// Its last word could not be taken; an error says why.
  void mark_refused(option const& o, origin const& from) {
    origins_[index(o)] = from;
    refused_[index(o)] = true;
  }
  /// Whether the value here is not what was written.
  bool refused(option const& o) const noexcept { return refused_[index(o)]; }

  /// Where the value of an option came from.
  origin const& from(option const& o) const noexcept { return origins_[index(o)]; }
  /// The option of this key as messages name it: where it was set, or how it could be. Precondition: there is one.
  std::string name(std::string_view key) const {
    option const& o = *find_option(key);
    origin const& set_by = from(o);
    return named(o.key, set_by.from == origin::source::built_in ? origin::variable(o.environment) : set_by);
  }

  /// What follows from the values once all of them are there.
  void settle() {
    auto const is_default = [this](char const* key) {
      return from(*find_option(key)).from == origin::source::built_in;
    };
    values.cache.path_is_default = is_default("Features.ArtifactsProxy.ArtifactsCache.Path");
    values.state_is_default = is_default("StateDirectory");
    values.admin.listen_is_default = values.admin.listen == settings().admin.listen;  // also in a copy of sample.conf
    // Files of the original may ask for versions that OpenSSL does not speak any more at its usual security level.
    option const& tls = *find_option("HTTPS.MinimumTLSVersion");
    if (values.https.minimum_tls == "1.0" || values.https.minimum_tls == "1.1") {
      warnings.push_back(named(tls.key, from(tls)) + " is " + shown(values.https.minimum_tls) +
                         "; the oldest version that is spoken is 1.2");
      values.https.minimum_tls = "1.2";
    }
    option const& level = *find_option("Log.Level");
    option const& debug = *find_option("DebugLog");
    auto& system = values.device_system;
    option const& older = *find_option("DefaultInventory");
    if (system.default_inventory.empty() && !values.default_inventory.empty()) {
      system.default_inventory = values.default_inventory;
      origins_[index(*find_option("Features.DeviceSystem.DefaultInventory"))] = from(older);
    }
    if (system.enabled && system.system_id.empty() && system.default_inventory.empty())
      warnings.push_back(name("Features.DeviceSystem.Enabled") +
                         " is true, but there is nothing to add: DEVICE_SYSTEM_ID (Features.DeviceSystem.SystemID) and "
                         "Features.DeviceSystem.DefaultInventory are not set");
    if (values.debug_log && from(level).from == origin::source::built_in) set(level, "debug", from(debug));
  }

private:
  static std::size_t index(option const& o) noexcept { return static_cast<std::size_t>(&o - options().data()); }

  std::vector<origin> origins_ = std::vector<origin>(options().size());
  std::vector<bool> refused_ = std::vector<bool>(options().size());
};

}  // namespace gateway
