// Properties of ranges: a range never reaches beyond its object, whatever the numbers; what is accepted can be written
// and reads the same. Input: 8 bytes, the object's length; then a Range value, a line feed, a Content-Range value.
#include "property.hpp"

#include <mgw/http/range.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

void check_resolved(std::optional<http::range_spec> const& spec, std::uint64_t length) {
  auto const r = http::resolve(spec, length);
  if (!spec) must(r.outcome == http::range_outcome::whole, "without a range the whole object is meant");
  if (r.outcome == http::range_outcome::unsatisfiable) {
    must(spec->first ? *spec->first >= length : *spec->last == 0, "a range is unsatisfiable if no byte is in it");
    return;
  }
  if (r.outcome == http::range_outcome::whole) {
    must(!spec || (!spec->first && length == 0), "a range of an object with bytes is not the whole");
    return;
  }
  must(r.range.first <= r.range.last, "a range is not empty");
  must(r.range.last < length, "a range ends within its object");
  must(r.range.size() <= length && r.range.size() != 0, "a range is no longer than its object");
  if (spec->first) {
    must(r.range.first == *spec->first, "a range begins where it was asked to");
    must(!spec->last || r.range.last <= *spec->last, "a range ends no later than it was asked to");
    must(spec->last.value_or(most) == r.range.last || r.range.last == length - 1, "a range ends early only at the end");
  } else {
    must(r.range.last == length - 1, "a suffix ends at the end");
    must(r.range.size() == (*spec->last < length ? *spec->last : length), "a suffix is as long as asked, or all");
  }
  std::string written;
  http::append_content_range(written, r.range, length);
  auto const back = http::parse_content_range(written);
  must(back && back->range == r.range && back->length == length, "a Content-Range that is written reads the same");
}

void check(std::string_view input) {
  std::uint64_t length = 0;
  for (int i = 0; i < 8 && !input.empty(); ++i) {
    length = length << 8 | static_cast<unsigned char>(input[0]);
    input.remove_prefix(1);
  }
  std::size_t const end = input.find('\n');
  exact_copy const range(input.substr(0, end));
  exact_copy const content(end == std::string_view::npos ? std::string_view() : input.substr(end + 1));

  auto const spec = http::parse_range(range.view());
  for (std::uint64_t const l : {length, std::uint64_t{0}, std::uint64_t{1}, most, most - 1}) check_resolved(spec, l);
  if (spec) {
    must(spec->first || spec->last, "a range names an end");
    must(!spec->first || !spec->last || *spec->first <= *spec->last, "a range does not run backwards");
    for (std::uint64_t const at : {spec->first.value_or(0), spec->last.value_or(0)}) check_resolved(spec, at);
    if (spec->first) {
      std::string written;
      http::append_range(written, *spec->first, spec->last);
      auto const back = http::parse_range(written);
      must(back && back->first == spec->first && back->last == spec->last, "a Range that is written reads the same");
    }
  }
  auto const c = http::parse_content_range(content.view());
  if (!c) return;
  must(c->range || c->length, "a Content-Range says something");
  if (c->range) must(c->range->first <= c->range->last && c->range->size() != 0, "a Content-Range is not empty");
  if (c->range && c->length) must(c->range->last < *c->length, "a Content-Range ends within its object");
  std::string written;
  if (c->range && c->length)
    http::append_content_range(written, *c->range, *c->length);
  else if (c->length)
    http::append_unsatisfied_range(written, *c->length);
  else
    return;
  auto const back = http::parse_content_range(written);
  must(back && back->range == c->range && back->length == c->length, "a Content-Range reads the same again");
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
