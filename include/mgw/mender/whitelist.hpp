#pragma once

#include <mgw/mender/text.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::mender {

/// The hosts artifacts may come from, by name.
///
/// An entry is a host, or `.suffix` (also `*.suffix`) for all names below it, not the name itself. Case, the brackets
/// of IPv6 addresses and a dot at the end of a name make no difference. Ports are no part of it. Thread rule: constant
/// after construction; any thread.
class domain_list {
public:
  domain_list() = default;
  /// Blanks around entries are ignored, and so are empty entries. Throws std::invalid_argument, naming the entry, for
  /// one that can match no host, such as a URL or a host with a port.
  explicit domain_list(std::vector<std::string> entries) {
    for (std::string const& entry : entries) {
      std::string_view text = entry;
      while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
      while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
      if (text.empty()) continue;
      if (text.starts_with("*.")) text.remove_prefix(1);
      std::string host = normal(text);
      std::string_view const name = host.starts_with('.') ? std::string_view(host).substr(1) : std::string_view(host);
      if (name.starts_with('.') || !(is_host_name_text(name) || (!host.starts_with('.') && is_ipv6_text(host))))
        throw std::invalid_argument("not a host name or .suffix: \"" + entry + "\"");
      entries_.push_back(std::move(host));
    }
  }

  bool empty() const noexcept { return entries_.empty(); }

  /// @param host without port
  bool allows(std::string_view host) const {
    std::string const name = normal(host);
    return std::any_of(entries_.begin(), entries_.end(), [&](std::string const& entry) {
      if (!entry.starts_with('.')) return name == entry;
      return name.size() > entry.size() && name.ends_with(entry);
    });
  }

private:
  static std::string normal(std::string_view host) {
    if (host.starts_with('[') && host.ends_with(']') && is_ipv6_text(host.substr(1, host.size() - 2)))
      host = host.substr(1, host.size() - 2);
    if (host.ends_with('.')) host.remove_suffix(1);
    std::string out(host);
    std::transform(out.begin(), out.end(), out.begin(), to_lower);
    return out;
  }

  std::vector<std::string> entries_;
};

}  // namespace mgw::mender
