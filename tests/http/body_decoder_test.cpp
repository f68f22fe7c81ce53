#include <mgw/http/body_decoder.hpp>

#include <doctest/doctest.h>
#include <http/delivery.hpp>

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::http::body_decoder_test {

namespace {
struct outcome {
  std::string body;
  std::size_t consumed = 0;
  bool done = false;
  std::error_code end;
};
outcome decode(framing what, std::string_view wire, std::vector<std::size_t> ends) {
  ends.push_back(wire.size());
  body_decoder d(what);
  CHECK(d.what() == what);
  outcome o;
  for (std::size_t const end : ends) {
    for (;;) {
      auto const s = d.next(wire.substr(o.consumed, end - o.consumed));
      REQUIRE(s);
      o.body += s->body;
      o.consumed += s->consumed;
      o.done = s->done;
      CHECK(o.done == d.done());
      if (o.done || o.consumed == end) break;
    }
    if (o.done) break;
  }
  o.end = d.finish();
  return o;
}
}  // namespace

TEST_CASE("every framing finds its end at every split and leaves the rest") {
  struct {
    framing what;
    std::string_view wire;
    std::string_view body;
    std::size_t left;
    bool done;
    bool whole;
  } const cases[] = {
      {{body_kind::none, 0}, "next", "", 4, true, true},
      {{body_kind::length, 0}, "next", "", 4, true, true},
      {{body_kind::length, 5}, "hello", "hello", 0, true, true},
      {{body_kind::length, 5}, "hellonext", "hello", 4, true, true},
      {{body_kind::length, 6}, "hello", "hello", 0, false, false},
      {{body_kind::length, 9223372036854775807u}, "hello", "hello", 0, false, false},
      {{body_kind::chunked, 0}, "5\r\nhello\r\n0\r\n\r\nnext", "hello", 4, true, true},
      {{body_kind::chunked, 0}, "0\r\n\r\n", "", 0, true, true},
      {{body_kind::chunked, 0}, "5\r\nhello\r\n0\r\n\r", "hello", 0, false, false},
      {{body_kind::chunked, 0}, "5\r\nhello\r\n", "hello", 0, false, false},
      {{body_kind::until_close, 0}, "hello", "hello", 0, false, true},
      {{body_kind::until_close, 0}, "", "", 0, false, true},
  };
  for (auto const& c : cases)
    for (auto const& way : ways_to_cut(c.wire.size())) {
      CAPTURE(c.wire);
      outcome const o = decode(c.what, c.wire, way);
      CHECK(o.body == c.body);
      CHECK(o.consumed == c.wire.size() - c.left);
      CHECK(o.done == c.done);
      CHECK(o.end == (c.whole ? std::error_code{} : make_error_code(parse_error::truncated_body)));
    }
}

TEST_CASE("no body is done without a byte") {
  body_decoder d;
  CHECK(d.done());
  auto const s = d.next({});
  REQUIRE(s);
  CHECK(s->done);
  CHECK(s->consumed == 0);
  CHECK_FALSE(d.finish());
}

TEST_CASE("a body until the end of the stream is done when that has come") {
  body_decoder d(framing{body_kind::until_close, 0});
  CHECK_FALSE(d.done());
  CHECK_FALSE(d.finish());
  CHECK(d.done());
}

TEST_CASE("the limits reach the chunked coding, and its errors stay") {
  limits l;
  l.max_chunk_line = 2;
  l.max_trailer = 4;
  body_decoder line(framing{body_kind::chunked, 0}, l);
  CHECK(line.next("1;a\r\n").error() == parse_error::chunk_line_too_long);
  CHECK(line.next("1\r\n").error() == parse_error::chunk_line_too_long);
  CHECK(line.finish() == parse_error::truncated_body);
  body_decoder trailer(framing{body_kind::chunked, 0}, l);
  CHECK(trailer.next("0\r\na: b\r\n\r\n").error() == parse_error::trailer_too_large);
}

}  // namespace mgw::http::body_decoder_test
