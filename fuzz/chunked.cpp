// Properties of chunked bodies: however the input is cut, body, error and end are the same; nothing is read past the
// end; each step makes progress; the body, written as chunks again, decodes to itself.
#include "property.hpp"

#include <mgw/http/body_decoder.hpp>
#include <mgw/http/chunked.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::fuzz {
namespace {

struct decoded {
  std::string body;
  std::error_code ec;
  std::size_t consumed = 0;  // up to the end or, byte-exact, up to all input; not compared after an error
  bool done = false;
};

decoded decode(std::string_view wire, std::size_t piece, http::limits const& l) {
  http::body_decoder d(http::framing{http::body_kind::chunked, 0}, l);
  decoded o;
  while (!o.done && o.consumed < wire.size()) {
    exact_copy const copy(wire.substr(o.consumed, piece));
    auto const s = d.next(copy.view());
    if (!s) {
      o.ec = s.error();
      must(d.next(copy.view()).error() == o.ec, "an error stays");
      break;
    }
    must(s->consumed != 0, "each step makes progress");
    must(s->consumed <= copy.view().size(), "no more is consumed than was there");
    must(s->body.empty() || (s->body.data() >= copy.view().data() &&
                             s->body.data() + s->body.size() <= copy.view().data() + s->consumed),
         "the body lies in what was consumed");
    o.body += s->body;
    o.consumed += s->consumed;
    o.done = s->done;
  }
  must(!d.finish() == o.done, "only a whole body ends well");
  return o;
}

void check(plan const& input) {
  http::limits l;
  if (input.small) {
    l.max_chunk_line = 24;
    l.max_trailer = 48;
  }
  decoded const whole = decode(input.wire, input.wire.size() + 1, l);
  decoded const cut = decode(input.wire, input.piece, l);
  must(whole.body == cut.body, "cutting does not change the body");
  must(whole.ec == cut.ec, "cutting does not change the error");
  must(whole.done == cut.done, "cutting does not change the end");
  must(whole.ec || whole.consumed == cut.consumed, "cutting does not change where the body ends");

  std::string again;
  for (std::size_t at = 0; at < whole.body.size(); at += input.piece) {
    std::string_view const part = std::string_view(whole.body).substr(at, input.piece);
    again.append(http::chunk_head(part.size()).view()).append(part).append(http::chunk_end);
  }
  again.append(http::last_chunk);
  decoded const back = decode(again + "x", input.piece, l);
  must(back.done && back.consumed == again.size(), "what is written decodes");
  must(back.body == whole.body, "what is written decodes to the same");
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check(mgw::fuzz::plan(data, size));
  return 0;
}
