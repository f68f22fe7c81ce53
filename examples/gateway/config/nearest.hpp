#pragma once

#include "config/json_entries.hpp"
#include "config/options.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// How many characters must be added, removed or replaced to make one of the other (Levenshtein).
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      std::size_t const replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row[b.size()];
}

/// The known key or section that an unknown key was most likely meant to be, in whatever case, also from another
/// section; empty if none is near.
inline std::string nearest_key(std::string_view unknown) {
  constexpr std::size_t longest = 100;
  if (unknown.size() > longest) return {};
  struct split {
    std::string section, name;
    explicit split(std::string const& key) {
      std::size_t const dot = key.rfind('.');
      section = dot == std::string::npos ? std::string() : key.substr(0, dot);
      name = key.substr(dot == std::string::npos ? 0 : dot + 1);
    }
  };
  std::string const wanted = json_detail::lower(unknown);
  split const wanted_parts(wanted);
  std::size_t best = wanted_parts.name.size() / 2 + 1;
  std::string found;
  auto const consider = [&](std::string const& known) {
    std::string const key = json_detail::lower(known);
    split const parts(key);
    std::size_t const elsewhere = parts.section == wanted_parts.section ? 0 : 1;
    std::size_t const distance =
        std::min(edit_distance(wanted, key), edit_distance(wanted_parts.name, parts.name) + elsewhere);
    if (distance < best) {
      best = distance;
      found = known;
    }
  };
  auto const consider_all = [&](std::string const& known) {
    consider(known);
    for (std::size_t dot = known.find('.'); dot != std::string::npos; dot = known.find('.', dot + 1))
      consider(known.substr(0, dot));
  };
  for (option const& o : options()) consider_all(o.key);
  return found;
}

}  // namespace gateway
