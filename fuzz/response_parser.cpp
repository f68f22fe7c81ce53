// Properties of response heads: the result is the same however the input is cut; nothing is read past the end; what is
// accepted can be written, and what was written parses to the same response with the same framing.
#include "heads.hpp"

#include <mgw/http/framing.hpp>
#include <mgw/http/response_parser.hpp>
#include <mgw/http/serializer.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

std::string text_of(http::response_head const& h) {
  std::string s = std::to_string(h.status) + '\n';
  append_text(s, h.fields);
  return s;
}

void check(plan const& input) {
  http::limits const l = limits_for(input);
  auto const parse = [&](std::size_t piece) {
    return parse_in_pieces<http::response_parser, http::response_head>(
        input.wire, piece, l, [](http::response_head const& h) { return text_of(h).append(h.reason); });
  };
  outcome const whole = parse(input.wire.size() + 1);
  must(whole == parse(input.piece), "cutting changes nothing");
  if (whole.length == 0) return;

  http::response_parser parser(l);
  http::response_head head;
  must(*parser.parse(input.wire, head) == whole.length, "parsing again changes nothing");
  must(head.status >= 100 && head.status <= 599, "the status is a valid one");

  std::string again;
  http::append_status_line(again, head.status, head.reason);
  for (auto const& f : head.fields)
    must(http::append_field(again, f.name, f.value), "an accepted field can be written");
  http::end_head(again);
  http::limits wide;
  wide.max_head = wide.max_line = 1u << 20;
  http::response_parser reparser(wide);
  http::response_head back;
  auto const r = reparser.parse(again, back);
  must(r && *r == again.size(), "what is written parses");
  must(text_of(back) == text_of(head), "what is written parses to the same");
  must(head.reason.empty() || back.reason == head.reason, "the reason stays");

  for (std::string_view const method : {"GET", "HEAD", "CONNECT"}) {
    auto const framed = http::response_framing(head, method);
    if (!framed) continue;
    if (framed->kind == http::body_kind::until_close)
      must(!http::keeps_alive(head, *framed), "a body that ends with the connection ends it");
    if (head.minor == 0) continue;
    auto const reframed = http::response_framing(back, method);
    must(reframed && *framed == *reframed, "the framing is the same");
  }
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check(mgw::fuzz::plan(data, size));
  return 0;
}
