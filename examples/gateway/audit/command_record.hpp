#pragma once

#include "audit/record.hpp"
#include "control/protocol.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

namespace gateway::audit {

/// The record of a command on the cache that was carried out, or refused; nothing for those that only look.
inline std::optional<record> command_record(cache_request const& request, boost::json::object const& answer) {
  if (request.command == "list" || request.command == "stats") return std::nullopt;
  constexpr std::size_t most = 100;
  auto const described = [](boost::json::object const& o) {
    boost::json::object out;
    for (char const* name : {"name", "sha256", "size", "key"})
      if (auto const* const v = o.if_contains(name)) out.emplace(name, *v);
    return out;
  };
  boost::json::array which;
  if (auto const* const all = answer.if_contains("objects"); all != nullptr && all->is_array())
    for (auto const& o : all->get_array())
      if (o.is_object() && which.size() < most) which.emplace_back(described(o.get_object()));
  if (answer.contains("key")) which.emplace_back(described(answer));
  if (which.empty())
    for (std::string const& o : request.objects)
      if (which.size() < most) which.emplace_back(boost::json::object{{"name", json_view(clean(o))}});
  record r("cache_" + clean(request.command));
  r.add("file", request.file).add("objects", boost::json::value(std::move(which)));
  r.add("done", !is_failure(answer) && number_in(answer, "status") == exit_status::done);
  r.add("why", text_in(answer, "error"));
  return r;
}

}  // namespace gateway::audit
