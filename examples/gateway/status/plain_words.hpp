#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace gateway::status {

/// What a line of the log means to somebody who does not know the code. `named(digits)`: what the object is called
/// whose key begins so; empty: not known. A line of which nothing is known here stays as it is.
template <class Named>
std::string in_plain_words(std::string_view line, Named named) {
  constexpr std::string_view fill = "fill ";
  constexpr std::size_t digits = 12, begin = fill.size() + digits + 2;
  if (!line.starts_with(fill) || line.size() < begin || line.substr(begin - 2, 2) != ": ") return std::string(line);
  std::string out = named(line.substr(fill.size(), digits));
  if (out.empty()) out = "an artifact";
  out += ": ";
  std::string_view const what = line.substr(begin);
  if (auto const next = what.rfind("; next try from byte "); next != std::string_view::npos)
    return out.append("its transfer stopped; devices wait, and it goes on from where it was: ")
        .append(what.substr(0, next));
  constexpr std::pair<std::string_view, std::string_view> words[] = {
      {"refused: ", "the server refuses it: "},
      {"condemned: ", "it is not what it should be, and no device gets it: "},
      {"cannot be stored, clients go past the store: ",
       "the cache cannot keep it, each device fetches it for itself: "},
      {"cannot be opened, clients go past the store: ",
       "the cache cannot open it, each device fetches it for itself: "},
      {"complete, but not kept: ", "devices have it, but the cache could not keep it: "},
      {"no checkpoint: ", "what has come of it is not safe on the disk yet: "}};
  for (auto const& [logged, plain] : words)
    if (what.starts_with(logged)) return out.append(plain).append(what.substr(logged.size()));
  return out.append(what);
}

}  // namespace gateway::status
