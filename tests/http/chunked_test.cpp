#include <mgw/http/chunked.hpp>

#include <doctest/doctest.h>
#include <http/delivery.hpp>

#include <charconv>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace mgw::http::chunked_test {

namespace {

struct outcome {
  std::error_code ec;
  std::string body;
  std::size_t consumed = 0;
  bool done = false;
};

// Pieces end at each of `ends`, ascending, and at the end of the wire.
outcome decode(std::string_view wire, std::vector<std::size_t> ends, chunked_decoder d = chunked_decoder{}) {
  ends.push_back(wire.size());
  outcome o;
  for (std::size_t const end : ends) {
    if (o.consumed >= end) continue;
    std::string const piece(wire.substr(o.consumed, end - o.consumed));  // a block of its own: nothing lies behind it
    std::string_view rest = piece;
    while (!rest.empty() && !o.done) {
      auto const s = d.next(rest);
      if (!s) {
        o.ec = s.error();
        CHECK(d.next(rest).error() == o.ec);
        return o;
      }
      o.body += s->body;
      o.consumed += s->consumed;
      o.done = s->done;
      rest.remove_prefix(s->consumed);
      if (s->consumed == 0 && !s->done) FAIL("no progress");
    }
  }
  CHECK(d.done() == o.done);
  return o;
}

}  // namespace

TEST_CASE("a body comes out the same however the wire is split") {
  std::string const wire = "5;name=\"v\"\r\nhello\r\n006\r\n world\r\n0;x\r\nX-T: 1\r\nY:\r\n\r\nGET";
  auto const check = [&](outcome const& o) {
    REQUIRE_FALSE(o.ec);
    CHECK(o.done);
    CHECK(o.body == "hello world");
    CHECK(o.consumed == wire.size() - 3);
  };
  for (std::size_t a = 0; a <= wire.size(); ++a)
    for (std::size_t b = a; b <= wire.size(); ++b) {
      CAPTURE(a);
      CAPTURE(b);
      check(decode(wire, {a, b}));
    }
  for (auto const& way : ways_to_cut(wire.size())) check(decode(wire, way));
  for (std::size_t n = 0; n < wire.size() - 3; ++n) CHECK_FALSE(decode(std::string_view(wire).substr(0, n), {}).done);
}

TEST_CASE("a refused body is refused at every split, with the same error") {
  using enum parse_error;
  struct {
    std::string wire;
    parse_error want;
  } const cases[] = {
      {"g\r\n", bad_chunk_size},
      {"0x5\r\n", bad_chunk_size},
      {"+5\r\n", bad_chunk_size},
      {"-5\r\n", bad_chunk_size},
      {" 5\r\n", bad_chunk_size},
      {"5 \r\n", bad_chunk_size},
      {"5 ;a\r\n", bad_chunk_size},
      {"5\t\r\n", bad_chunk_size},
      {"\r\n", bad_chunk_size},
      {";a\r\n", bad_chunk_size},
      {"5\nhello", bad_chunk_size},
      {"5_0\r\n", bad_chunk_size},
      {"5\rhello", bare_carriage_return},
      {"5;a\nhello", bare_line_feed},
      {"5;a\rb\r\n", bare_carriage_return},
      {std::string("5;\0\r\n", 5), bad_chunk_extension},
      {"5;\x7f\r\n", bad_chunk_extension},
      {"1\r\nab\r\n", bad_chunk_ending},
      {"1\r\na\n", bad_chunk_ending},
      {"1\r\na\rb", bad_chunk_ending},
      {"1\r\na0\r\n\r\n", bad_chunk_ending},
      {"8000000000000000\r\n0", chunk_size_overflow},
      {"10000000000000005\r\nhello", chunk_size_overflow},
      {"ffffffffffffffffff\r\n", chunk_size_overflow},
      {"0\r\n\n", bare_line_feed},
      {"0\r\n\ra", bare_carriage_return},
      {"0\r\n a: b\r\n\r\n", obsolete_folding},
      {"0\r\na: b\r\n\tc\r\n\r\n", obsolete_folding},
      {"0\r\n: b\r\n\r\n", bad_field_name},
      {"0\r\na b\r\n\r\n", bad_field_name},
      {"0\r\na\r\n\r\n", bad_field_name},
      {"0\r\na: b\n\r\n", bare_line_feed},
      {"0\r\na: b\rc\r\n", bare_carriage_return},
      {std::string("0\r\na: \0\r\n", 9), bad_field_value},
  };
  for (auto const& c : cases) {
    CAPTURE(c.wire);
    for (auto const& way : ways_to_cut(c.wire.size())) CHECK(decode(c.wire, way).ec == make_error_code(c.want));
  }
}

TEST_CASE("RFC 9112 7.1: each byte value as a chunk size") {
  for (int i = 0; i < 256; ++i) {
    CAPTURE(i);
    std::string const wire = std::string(1, static_cast<char>(i)) + "\r\n";
    bool const digit = std::string_view("0123456789abcdefABCDEF").find(static_cast<char>(i)) != std::string_view::npos;
    CHECK(!decode(wire, {}).ec == digit);
  }
}

TEST_CASE("RFC 9112 7.1: the largest chunk size is taken") {
  chunked_decoder d;
  auto const s = d.next("7fffffffffffffff\r\nab");
  REQUIRE(s);
  CHECK(s->body == "ab");
}

TEST_CASE("chunk lines and trailers are bounded") {
  std::string const line = "1;" + std::string(8, 'x');
  std::string const body = line + "\r\na\r\n0\r\n";
  std::string const trailer = "ab: c\r\n\r\n";
  std::string const wire = body + trailer;
  for (std::size_t a = 0; a <= wire.size(); ++a) {
    CHECK(decode(wire, {a}, chunked_decoder(line.size(), trailer.size())).done);
    CHECK(decode(wire, {a}, chunked_decoder(line.size() - 1, trailer.size())).ec == parse_error::chunk_line_too_long);
    CHECK(decode(wire, {a}, chunked_decoder(line.size(), trailer.size() - 1)).ec == parse_error::trailer_too_large);
  }
  CHECK(decode(std::string(4097, '0'), {}).ec == parse_error::chunk_line_too_long);  // no line end needed
  std::string many = "0\r\n";
  for (int i = 0; i < 2000; ++i) many += "a: b\r\n";
  CHECK(decode(many, {}).ec == parse_error::trailer_too_large);
}

TEST_CASE("a body of mostly framing is refused, one of small chunks is not") {
  std::string wire;
  for (int i = 0; i < 100'000; ++i) wire += "1\r\na\r\n";
  CHECK(decode(wire + "0\r\n\r\n", {}).done);
  wire.clear();
  for (int i = 0; i < 1000; ++i) wire += "1;" + std::string(1000, 'x') + "\r\na\r\n";
  CHECK(decode(wire, {}).ec == parse_error::chunk_line_too_long);
}

TEST_CASE("a written chunk head is read back") {
  for (std::uint64_t const size :
       {std::uint64_t{1}, std::uint64_t{15}, std::uint64_t{16}, std::uint64_t{0xabcdef}, std::uint64_t{1} << 62}) {
    chunk_head const h(size);
    std::string_view const text = h.view();
    REQUIRE(text.ends_with("\r\n"));
    std::uint64_t back = 0;
    auto const end = std::from_chars(text.data(), text.data() + text.size(), back, 16).ptr;
    CHECK(back == size);
    CHECK(end == text.data() + text.size() - 2);
  }
  CHECK(chunk_head(~std::uint64_t{0}).view() == "ffffffffffffffff\r\n");
  std::string wire(chunk_head(300).view());
  wire.append(300, 'b').append(chunk_end).append(last_chunk);
  auto const o = decode(wire, {});
  CHECK(o.done);
  CHECK(o.body == std::string(300, 'b'));
}

}  // namespace mgw::http::chunked_test
