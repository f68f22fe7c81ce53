#pragma once

#include "artifact/report.hpp"
#include "commands/table.hpp"
#include "control/protocol.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gateway {

namespace cache_text_detail {

inline std::vector<boost::json::object const*> objects_of(boost::json::object const& answer) {
  std::vector<boost::json::object const*> out;
  auto const* const all = answer.if_contains("objects");
  if (all == nullptr || !all->is_array()) return out;
  for (auto const& one : all->get_array())
    if (one.is_object()) out.push_back(&one.get_object());
  return out;
}

/// So many digits of keys that no two of these begin alike, and eight at least.
inline std::size_t digits_needed(std::vector<boost::json::object const*> const& objects) {
  std::vector<std::string> keys;
  for (auto const* o : objects) keys.push_back(text_in(*o, "key"));
  std::sort(keys.begin(), keys.end());
  std::size_t out = 8;
  for (std::size_t i = 1; i < keys.size(); ++i) {
    auto const differ = std::mismatch(keys[i].begin(), keys[i].end(), keys[i - 1].begin(), keys[i - 1].end());
    out = std::max(out, static_cast<std::size_t>(differ.first - keys[i].begin()) + 1);
  }
  return out;
}

inline std::string name_of(boost::json::object const& o) {
  std::string const name = text_in(o, "name");
  return name.empty() ? "-" : detail::shown(name);
}
inline std::string size_of(boost::json::object const& o, std::string_view which) {
  return human_size(static_cast<std::uint64_t>(number_in(o, which)));
}
/// `release-2 (1f0a93b44c10, 512 MiB)`
inline std::string mention(boost::json::object const& o) {
  return name_of(o) + " (" + text_in(o, "key").substr(0, 12) + ", " + size_of(o, "size") + ')';
}

inline std::string list_text(boost::json::object const& answer, std::size_t width, std::int64_t now) {
  auto const objects = objects_of(answer);
  if (objects.empty()) return "the cache is empty\n";
  std::size_t const digits = digits_needed(objects);
  table out({{"NAME", false, true}, {"SIZE", true}, {"STORED", true}, {"USED", true}, {"PINNED"}, {"KEY"}});
  for (auto const* o : objects)
    out.add({name_of(*o), size_of(*o, "size"), human_age(number_in(*o, "stored_at"), now),
             flag_in(*o, "in_use") ? "in use" : human_age(number_in(*o, "used_at"), now),
             flag_in(*o, "pinned") ? "yes" : "", text_in(*o, "key").substr(0, digits)});
  return out.text(width);
}

inline std::string stats_text(boost::json::object const& a) {
  std::string out;
  auto const line = [&out](std::string name, std::string const& value) {
    name.resize(14, ' ');
    out += name + value + '\n';
  };
  auto const count = [&a](std::string_view name) { return std::to_string(number_in(a, name)); };
  line("directory", detail::shown(text_in(a, "path")));
  line("used", size_of(a, "bytes") + " of " + size_of(a, "max_size") + "; " + size_of(a, "min_free") +
                   " of the disk stay free");
  line("objects", count("objects") + ", " + count("imported") + " imported, " + count("in_use") + " in use");
  line("pinned", count("pinned") + ", " + size_of(a, "pinned_bytes"));
  line("unfinished", count("parts") + ", " + size_of(a, "part_bytes"));
  if (a.contains("hits"))
    line("downloads", count("hits") + " from the cache, " + count("joined") + " joined a transfer, " + count("misses") +
                          " began one, " + count("bypassed") + " past the cache");
  if (a.contains("upstream_bytes"))
    line("from upstream", size_of(a, "upstream_bytes") + ", " + size_of(a, "again_bytes") + " of it again");
  return out;
}

inline std::string verify_text(boost::json::object const& answer) {
  std::string out;
  std::size_t good = 0, damaged = 0;
  for (auto const* o : objects_of(answer)) {
    bool const ok = flag_in(*o, "good");
    ++(ok ? good : damaged);
    out += (ok ? "good     " : "damaged  ") + mention(*o) + (ok ? "\n" : "; removed\n");
  }
  return out + std::to_string(good) + " good, " + std::to_string(damaged) + " damaged\n";
}

}  // namespace cache_text_detail

/// The answer to a command for people. `width`: of the terminal, 0 for none; `now`: seconds since 1970. Precondition:
/// it is no failure.
inline std::string cache_text(cache_request const& asked, boost::json::object const& answer, std::size_t width,
                              std::int64_t now) {
  using namespace cache_text_detail;
  std::string const& c = asked.command;
  if (c == "list") return list_text(answer, width, now);
  if (c == "stats") return stats_text(answer);
  if (c == "verify") return verify_text(answer);
  if (c == "import")
    return flag_in(answer, "already") ? mention(answer) + " is in the cache already\n"
                                      : "imported and pinned " + mention(answer) + '\n';
  if (c == "export") return "exported " + mention(answer) + '\n';
  std::string out;
  for (auto const* o : objects_of(answer))
    out += c + (c == "remove" ? "d " : c.ends_with("pin") ? "ned " : " ") + mention(*o) +
           (flag_in(*o, "condemned") ? "; it was condemned, and is looked at anew\n" : "\n");
  return out;
}

}  // namespace gateway
