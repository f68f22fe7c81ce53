// Properties of lists in fields: they are taken apart as an independent reader does; case never matters; a further line
// never makes a field end-to-end; an entity tag is found if and only if it is there.
// Input: a token, a line feed, then `name:value` lines; each value is also taken for a list of entity tags.
#include "property.hpp"

#include <mgw/http/fields.hpp>
#include <mgw/http/hop_by_hop.hpp>
#include <mgw/proxy/object_reader.hpp>
#include <mgw/proxy/origin_request.hpp>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::fuzz {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}
std::string swapped(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) c = static_cast<char>(c ^ 0x20);
  return out;
}

std::vector<std::string> elements(std::string_view value) {
  std::vector<std::string> out(1);
  for (char const c : value) {
    if (c == ',')
      out.emplace_back();
    else
      out.back() += c;
  }
  for (std::string& e : out) {
    std::size_t const begin = std::min(e.find_first_not_of(" \t"), e.size());
    e = e.substr(begin, e.find_last_not_of(" \t") + 1 - begin);
  }
  return out;
}

bool lists(http::fields const& all, std::string_view name, std::string_view token) {
  for (auto const& f : all) {
    if (lower(f.name) != lower(name)) continue;
    auto const es = elements(f.value);
    if (std::any_of(es.begin(), es.end(), [&](auto const& e) { return !e.empty() && lower(e) == lower(token); }))
      return true;
  }
  return false;
}

bool is_entity_tag(std::string_view text) {
  if (text.starts_with("W/")) text.remove_prefix(2);
  return text.size() >= 2 && text.front() == '"' && text.find('"', 1) == text.size() - 1;
}
std::string_view opaque(std::string_view tag) {
  return tag.starts_with("W/") ? tag.substr(2) : tag;
}

void check(std::string_view input) {
  exact_copy const copy(input);
  std::string_view rest = copy.view();
  auto const line = [&rest] {
    std::size_t const end = std::min(rest.find('\n'), rest.size());
    std::string_view const out = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return out;
  };
  std::string_view const token = line();
  http::fields all;
  std::vector<std::string> tags;
  while (!rest.empty()) {
    std::string_view const l = line();
    std::size_t const colon = std::min(l.find(':'), l.size());
    std::string_view const value = l.substr(std::min(colon + 1, l.size()));
    bool const before = http::is_hop_by_hop(token, all);
    all.add(l.substr(0, colon), value);
    must(!before || http::is_hop_by_hop(token, all), "a further line makes no field end-to-end");
    if (is_entity_tag(value)) tags.emplace_back(value);

    bool const found = proxy::reader_detail::lists_etag(value, token);
    must(!found || value.find(opaque(token)) != std::string_view::npos, "an entity tag that is found is there");
  }
  for (auto const& f : all) {
    must(all.list_contains(f.name, token) == lists(all, f.name, token), "a list has the elements that it has");
    must(all.list_contains(swapped(f.name), swapped(token)) == all.list_contains(f.name, token), "case never matters");
    bool const hop = http::is_hop_by_hop(f.name, all);
    must(hop == http::is_hop_by_hop(swapped(f.name), all), "a field is hop-by-hop in any case");
    must(!http::is_hop_by_hop(f.name) || hop, "what is always hop-by-hop is so here");
    must(!http::is_hop_by_hop(f.name) || !proxy::may_come_with_a_link(f.name), "no link brings a hop-by-hop field");
    bool const named = lists(all, "connection", f.name);
    bool const kept = std::any_of(http::never_hop_by_hop.begin(), http::never_hop_by_hop.end(),
                                  [&](auto n) { return lower(f.name) == n; });
    must(hop == (http::is_hop_by_hop(f.name) || (named && !kept)), "Connection takes away what it names, and may");
  }
  std::string list;
  for (auto const& t : tags) list.append(t).append(" , ");
  for (auto const& t : tags) must(proxy::reader_detail::lists_etag(list, t), "an entity tag of the list is found");
  if (is_entity_tag(token)) {
    bool const there = std::any_of(tags.begin(), tags.end(), [&](auto const& t) { return opaque(t) == opaque(token); });
    must(proxy::reader_detail::lists_etag(list, token) == there, "an entity tag is found if and only if it is there");
  }
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
