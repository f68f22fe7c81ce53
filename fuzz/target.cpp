// Properties of request targets: parsing reads nothing but its input and takes nothing away from it; a normalized path
// normalizes to itself; a path that counts as normal has the same segments however often a server decodes it.
#include "property.hpp"

#include <mgw/http/target.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

bool lies_in(std::string_view part, std::string_view whole) {
  return part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size();
}

// As lenient servers do it: a malformed escape stands for itself.
std::string decoded(std::string_view path) {
  auto const digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = static_cast<char>(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < path.size(); ++i) {
    int const high = path[i] == '%' && path.size() - i > 2 ? digit(path[i + 1]) : -1;
    int const low = high >= 0 ? digit(path[i + 2]) : -1;
    if (low >= 0) i += 2;
    out += low >= 0 ? static_cast<char>(high * 16 + low) : path[i];
  }
  return out;
}

std::size_t segments(std::string_view path) {
  return static_cast<std::size_t>(
      std::count_if(path.begin(), path.end(), [](char c) { return c == '/' || c == '\\'; }));
}

// A segment that some server takes for `.` or `..`: path parameters cut, final blanks dropped.
bool has_dot_segment(std::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);
    std::size_t const end = std::min(path.find_first_of("/\\"), path.size());
    std::string_view segment = path.substr(0, end);
    path.remove_prefix(end);
    segment = segment.substr(0, segment.find(';'));
    while (!segment.empty() && (segment.back() == ' ' || segment.back() == '\t')) segment.remove_suffix(1);
    if (segment == "." || segment == "..") return true;
  }
  return false;
}

void check_path(std::string_view path) {
  bool const normal = http::is_normal_path(path);
  auto const once = http::normalize_path(path);
  if (once) {
    must(once->starts_with('/'), "a normalized path begins with a slash");
    must(once->size() <= path.size() + 1, "normalizing does not lengthen");
    must(once->find("//") == std::string::npos, "a normalized path has no empty segment inside");
    auto const twice = http::normalize_path(*once);
    must(twice && *twice == *once, "normalizing twice is normalizing once");
    for (std::size_t i = 0; i < once->size(); ++i)
      must((*once)[i] != '%' || !http::target_detail::is_unreserved(http::target_detail::byte_at(*once, i + 1)),
           "an unreserved character is not escaped");
  }
  if (!normal) return;
  must(static_cast<bool>(once), "a normal path can be normalized");
  must(segments(*once) == segments(path), "normalizing a normal path keeps its segments");
  std::string const first = decoded(path), second = decoded(first);
  must(segments(first) == segments(path), "decoding a normal path keeps its segments");
  must(segments(second) == segments(path), "decoding a normal path again keeps its segments");
  must(!has_dot_segment(path) && !has_dot_segment(first) && !has_dot_segment(second),
       "a normal path leads nowhere else");
  for (std::string const* s : {&first, &second})
    must(std::none_of(s->begin(), s->end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }),
         "a normal path hides no control character");
}

void check(plan const& input) {
  exact_copy const copy(input.wire);
  std::string_view const text = copy.view();
  constexpr std::string_view methods[] = {"GET", "OPTIONS", "CONNECT"};
  auto const t = http::parse_target(text, methods[input.piece % 3]);
  check_path(text);
  if (!t) return;
  for (char const c : text) must(c > 0x20 && c < 0x7f && c != '#', "a target is visible ASCII without fragment");
  std::string again;
  switch (t->form) {
    case http::target_form::origin: again = std::string(t->path); break;
    case http::target_form::absolute:
      again = std::string(t->scheme) + "://" + std::string(t->authority);
      must(lies_in(t->scheme, text) && lies_in(t->authority, text), "a target's parts lie in its text");
      if (lies_in(t->path, text)) again += t->path;
      must(t->path.starts_with('/') || (t->path == "*" && input.piece % 3 == 1 && !t->has_query && again == text),
           "an absolute-form has a path, or asks for the server as a whole");
      break;
    case http::target_form::authority: again = std::string(t->authority); break;
    case http::target_form::asterisk: again = "*"; break;
  }
  if (t->has_query) again.append("?").append(t->query);
  must(again == text, "the parts put together are the target");
  must(t->query.empty() || lies_in(t->query, text), "the query lies in the target");
  if (t->path.starts_with('/')) check_path(t->path);
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check(mgw::fuzz::plan(data, size));
  return 0;
}
