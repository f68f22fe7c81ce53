#pragma once

#include "config/configuration.hpp"
#include "config/options.hpp"
#include "config/text_file.hpp"

#include <cstddef>
#include <cstdlib>
#include <string>

namespace gateway {

/// The largest file that a `…_FILE` variable may name.
inline constexpr std::size_t max_secret_file = std::size_t{64} << 10;

namespace environment_detail {

/// The secret in the file that variable `name` names, without the line end that editors put there.
inline void set_from_file(configuration& c, option const& o, std::string const& name, char const* path) {
  auto text = read_text_file(path, max_secret_file);
  origin const from = origin::variable(name);
  if (!text) {
    c.errors.push_back(named(o.key, from) + " is " + shown(path) + ": " + file_trouble(path, text.error()));
    c.mark_refused(o, from);
    return;
  }
  while (text->ends_with('\n') || text->ends_with('\r')) text->pop_back();
  if (!text->empty()) return c.set(o, *text, from);
  c.errors.push_back(named(o.key, from) + " is " + shown(path) + ": it is empty");
  c.mark_refused(o, from);
}

}  // namespace environment_detail

/// Reads every option's environment variable; an empty one counts as not set. A secret may also stand in a file, which
/// the variable with `_FILE` at its end names. `get(name)` is std::getenv, or stands in for it.
template <class Get = char* (*)(char const*)>
void read_environment(configuration& c, Get get = std::getenv) {
  auto const value_of = [&get](std::string const& name) {
    char const* const value = name.empty() ? nullptr : get(name.c_str());
    return value == nullptr || *value == '\0' ? nullptr : value;
  };
  // The original's documentation names this variable on one page; UPSTREAM_SERVER_URL wins.
  if (char const* const url = value_of("UPSTREAM_SERVER"); url != nullptr && value_of("UPSTREAM_SERVER_URL") == nullptr)
    c.set(*find_option("UpstreamServer.URL"), url, origin::variable("UPSTREAM_SERVER"));
  for (auto const* name : {"http_proxy", "https_proxy", "no_proxy"}) {  // as many programs spell them; HTTP_PROXY wins
    std::string upper(name);
    for (char& letter : upper)
      if (letter != '_') letter = static_cast<char>(letter - 'a' + 'A');
    char const* const value = value_of(name);
    if (value == nullptr || value_of(upper) != nullptr) continue;
    for (option const& o : options())
      if (o.environment == upper) c.set(o, value, origin::variable(name));
  }
  for (option const& o : options()) {
    char const* const value = value_of(o.environment);
    if (value != nullptr) c.set(o, value, origin::variable(o.environment));
    if (!is_secret(o.value.kind)) continue;
    std::string const name = o.environment + "_FILE";
    char const* const path = value_of(name);
    if (path != nullptr && value != nullptr)
      c.errors.push_back(o.environment + " and " + name + " are both set; accepted: one of them");
    else if (path != nullptr)
      environment_detail::set_from_file(c, o, name, path);
  }
}

}  // namespace gateway
