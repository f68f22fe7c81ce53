#pragma once

#include "audit/record.hpp"
#include "config/value_forms.hpp"
#include "control/protocol.hpp"

#include <mgw/mender/identity.hpp>

#include <boost/json/object.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace gateway::audit {

/// Which records are wanted; an empty text: whichever.
struct filter {
  std::string device, artifact, event, since, until;

  bool wants(boost::json::object const& fields) const {
    return (event.empty() || text_in(fields, "event") == event) && wants_device(fields) && wants_artifact(fields) &&
           wants_time(text_in(fields, "time"));
  }

private:
  bool wants_device(boost::json::object const& fields) const {
    if (device.empty()) return true;
    for (auto const* name : {"device", "identity", "subject", "serial", "peer", "for"})
      if (text_in(fields, name) == device) return true;
    if (!device.starts_with('{')) return false;
    auto const identity = mgw::mender::canonical_identity(device);  // whatever way the device writes it
    return identity && text_in(fields, "identity") == clean(*identity);
  }
  bool is_artifact(boost::json::object const& fields, std::string_view name_is, std::string_view key_is) const {
    auto const begins = [&](std::string const& hex) { return artifact.size() >= 6 && hex.starts_with(artifact); };
    return text_in(fields, name_is) == artifact || begins(text_in(fields, "sha256")) || begins(text_in(fields, key_is));
  }
  bool wants_artifact(boost::json::object const& fields) const {
    if (artifact.empty() || is_artifact(fields, "artifact", "object")) return true;
    auto const* const all = fields.if_contains("objects");
    if (all == nullptr || !all->is_array()) return false;
    for (auto const& o : all->get_array())
      if (o.is_object() && is_artifact(o.get_object(), "name", "key")) return true;
    return false;
  }
  bool wants_time(std::string_view at) const {
    // Times of one length and zone are ordered as texts are; of a beginning all that it begins counts as later.
    return (since.empty() || at >= since) && (until.empty() || at < until);
  }
};

/// A time as the log has it, or its beginning, from what was asked for; nothing if it is none.
inline std::optional<std::string> read_time(std::string_view text, time_point now) {
  if (text.empty()) return std::string();
  std::chrono::milliseconds ago{0};
  if (read_duration(text, std::chrono::milliseconds(0), ago)) return show_time(now - ago);
  constexpr std::string_view form = "dddd-dd-ddTdd:dd:dd.dddZ";
  bool const zone = text.ends_with('Z');
  std::string_view const digits = text.substr(0, text.size() - (zone ? 1 : 0));
  if (digits.size() < 4 || digits.size() >= form.size()) return std::nullopt;
  for (std::size_t i = 0; i != digits.size(); ++i) {
    bool const digit = digits[i] >= '0' && digits[i] <= '9';
    if (form[i] == 'd' ? !digit : digits[i] != form[i]) return std::nullopt;
  }
  return std::string(digits);
}

}  // namespace gateway::audit
