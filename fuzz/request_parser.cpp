// Properties of request heads: the result is the same however the input is cut; nothing is read past the end; what is
// accepted can be written, and what was written parses to the same request with the same framing.
#include "heads.hpp"

#include <mgw/http/framing.hpp>
#include <mgw/http/hop_by_hop.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/serializer.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

// Everything but the version, which is always written as 1.1.
std::string text_of(http::request_head const& h) {
  std::string s;
  s.append(h.method).append("\n").append(h.target).append("\n");
  append_text(s, h.fields);
  return s;
}

std::string written(http::request_head const& h) {
  std::string s;
  must(http::append_request_line(s, h.method, h.target), "an accepted request line can be written");
  for (auto const& f : h.fields) must(http::append_field(s, f.name, f.value), "an accepted field can be written");
  http::end_head(s);
  return s;
}

void check(plan const& input) {
  http::limits l = limits_for(input);
  l.fold_equal_hosts = input.option;
  auto const parse = [&](std::size_t piece) {
    return parse_in_pieces<http::request_parser, http::request_head>(input.wire, piece, l, text_of);
  };
  outcome const whole = parse(input.wire.size() + 1);
  must(whole == parse(input.piece), "cutting changes nothing");
  if (whole.length == 0) return;

  http::request_parser parser(l);
  http::request_head head;
  must(*parser.parse(input.wire, head) == whole.length, "parsing again changes nothing");
  must(head.minor == 0 || head.fields.count("host") == 1, "HTTP/1.1 has one Host");
  must(head.fields.count("host") <= 1, "there is at most one Host");
  auto const framed = http::request_framing(head);
  must(!framed || framed->kind != http::body_kind::until_close, "a request never ends with the connection");
  (void)http::keeps_alive(head);
  (void)http::expects_continue(head);
  for (auto const& f : head.fields) (void)http::is_hop_by_hop(f.name, head.fields);

  if (head.minor == 0 && !head.fields.contains("host")) return;  // as 1.1 it would lack Host
  std::string const again = written(head);
  http::limits wide;
  wide.max_head = wide.max_target = wide.max_line = 1u << 20;
  http::request_parser reparser(wide);
  http::request_head back;
  auto const r = reparser.parse(again, back);
  must(r && *r == again.size(), "what is written parses");
  must(text_of(back) == whole.text, "what is written parses to the same");
  if (head.minor == 0) return;
  auto const reframed = http::request_framing(back);
  must(framed.error() == reframed.error(), "the framing error is the same");
  must(!framed || *framed == *reframed, "the framing is the same");
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check(mgw::fuzz::plan(data, size));
  return 0;
}
