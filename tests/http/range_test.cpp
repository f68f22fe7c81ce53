#include <mgw/http/range.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>

namespace mgw::http::range_test {

namespace {
constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
}

TEST_CASE("RFC 9110 14.1.2: a range means what its grammar says") {
  using enum range_outcome;
  struct {
    std::string_view field;
    std::uint64_t length;
    range_outcome outcome;
    std::uint64_t first, last;
  } const cases[] = {
      {"bytes=0-0", 1, partial, 0, 0},
      {"bytes=0-0", 1000, partial, 0, 0},
      {"bytes=0-499", 1000, partial, 0, 499},
      {"bytes=500-999", 1000, partial, 500, 999},
      {"bytes=500-", 1000, partial, 500, 999},
      {"bytes=0-", 1000, partial, 0, 999},
      {"bytes=999-", 1000, partial, 999, 999},
      {"bytes=999-999", 1000, partial, 999, 999},
      {"bytes=999-1000", 1000, partial, 999, 999},
      {"bytes=0-5000", 1000, partial, 0, 999},
      {"bytes=1000-", 1000, unsatisfiable, 0, 0},
      {"bytes=1000-1000", 1000, unsatisfiable, 0, 0},
      {"bytes=-1", 1000, partial, 999, 999},
      {"bytes=-500", 1000, partial, 500, 999},
      {"bytes=-1000", 1000, partial, 0, 999},
      {"bytes=-1001", 1000, partial, 0, 999},
      {"bytes=-0", 1000, unsatisfiable, 0, 0},
      {"bytes=-0000", 1000, unsatisfiable, 0, 0},
      {"bytes=0-", 0, unsatisfiable, 0, 0},
      {"bytes=0-0", 0, unsatisfiable, 0, 0},
      {"bytes=-0", 0, unsatisfiable, 0, 0},
      {"bytes=-5", 0, whole, 0, 0},
      {"bytes=0-18446744073709551615", 1000, partial, 0, 999},
      {"bytes=0-18446744073709551616", 1000, partial, 0, 999},
      {"bytes=0-99999999999999999999999999999999", 1000, partial, 0, 999},
      {"bytes=18446744073709551615-", 1000, unsatisfiable, 0, 0},
      {"bytes=18446744073709551616-", 1000, unsatisfiable, 0, 0},
      {"bytes=18446744073709551615-", max, unsatisfiable, 0, 0},
      {"bytes=18446744073709551616-", max, unsatisfiable, 0, 0},
      {"bytes=18446744073709551614-", max, partial, max - 1, max - 1},
      {"bytes=0-18446744073709551616", max, partial, 0, max - 1},
      {"bytes=-18446744073709551615", max, partial, 0, max - 1},
      {"bytes=-18446744073709551616", max, partial, 0, max - 1},
      {"bytes=-18446744073709551616", 10, partial, 0, 9},
      {"bytes=18446744073709551616-18446744073709551617", 1000, unsatisfiable, 0, 0},
      {"bytes=00000000000000000000000005-7", 1000, partial, 5, 7},
      {"Bytes=1-2", 1000, partial, 1, 2},
      {"BYTES=1-2", 1000, partial, 1, 2},
      {" bytes=1-2\t", 1000, partial, 1, 2},
      {"bytes= 1-2 ", 1000, partial, 1, 2},
      {"bytes=,1-2,", 1000, partial, 1, 2},
      {"bytes=, ,1-2", 1000, partial, 1, 2},
  };
  for (auto const& c : cases) {
    CAPTURE(c.field);
    CAPTURE(c.length);
    auto const spec = parse_range(c.field);
    REQUIRE(spec);
    auto const r = resolve(spec, c.length);
    CHECK(r.outcome == c.outcome);
    if (c.outcome != partial) continue;
    CHECK(r.range.first == c.first);
    CHECK(r.range.last == c.last);
    CHECK(r.range.last < c.length);
    CHECK(r.range.size() == c.last - c.first + 1);
  }
}

TEST_CASE("what is no single byte range asks for the whole object") {
  for (std::string_view const bad : {"",
                                     "bytes",
                                     "bytes=",
                                     "bytes=,",
                                     "bytes=-",
                                     "bytes=--1",
                                     "bytes=1",
                                     "bytes=1-0",
                                     "bytes=10-9",
                                     "bytes=18446744073709551617-18446744073709551616",
                                     "bytes=18446744073709551616-5",
                                     "bytes=a-b",
                                     "bytes=1-b",
                                     "bytes=0x1-2",
                                     "bytes=+1-2",
                                     "bytes=1-2-3",
                                     "bytes=1 -2",
                                     "bytes=1- 2",
                                     "bytes =1-2",
                                     "bytes 1-2",
                                     "bytes:1-2",
                                     "byte=1-2",
                                     "bytess=1-2",
                                     "items=1-2",
                                     "none",
                                     "bytes=0-0,2-3",
                                     "bytes=0-0, -1",
                                     "bytes=0-0,x",
                                     "bytes=x,0-0",
                                     "bytes=1.5-2",
                                     "bytes=1-2;x"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_range(bad));
  }
  CHECK(resolve(std::nullopt, 1000).outcome == range_outcome::whole);
  CHECK(resolve(range_spec{}, 1000).outcome == range_outcome::whole);
}

TEST_CASE("a range specification made by hand cannot leave the object") {
  for (std::uint64_t const length : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{7}, max})
    for (std::uint64_t const a : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{6}, std::uint64_t{7}, max - 1, max})
      for (std::uint64_t const b :
           {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{6}, std::uint64_t{7}, max - 1, max})
        for (int const shape : {0, 1, 2}) {
          range_spec spec;
          if (shape != 1) spec.first = a;
          if (shape != 0) spec.last = b;
          auto const r = resolve(spec, length);
          if (r.outcome != range_outcome::partial) continue;
          CHECK(r.range.first <= r.range.last);
          CHECK(r.range.last < length);
          CHECK(r.range.size() <= length);
        }
}

TEST_CASE("a prefix of a range field is never taken for another range of more digits") {
  std::string const whole = "bytes=12-345";
  for (std::size_t n = 0; n <= whole.size(); ++n) {
    CAPTURE(n);
    auto const spec = parse_range(whole.substr(0, n));
    bool const complete = n >= std::string_view("bytes=12-").size() && n != std::string_view("bytes=12-3").size();
    CHECK(spec.has_value() == complete);  // "12-3" runs backwards
    if (spec) CHECK(spec->first == 12);
  }
}

TEST_CASE("a Content-Range is read strictly") {
  struct {
    std::string_view field;
    std::optional<byte_range> range;
    std::optional<std::uint64_t> length;
  } const good[] = {
      {"bytes 0-0/1", byte_range{0, 0}, 1},
      {"bytes 0-499/1000", byte_range{0, 499}, 1000},
      {"bytes 500-999/1000", byte_range{500, 999}, 1000},
      {"Bytes 500-999/1000", byte_range{500, 999}, 1000},
      {"bytes 500-999/*", byte_range{500, 999}, std::nullopt},
      {"bytes */1000", std::nullopt, 1000},
      {"bytes */0", std::nullopt, 0},
      {"bytes 0-18446744073709551614/18446744073709551615", byte_range{0, max - 1}, max},
      {"bytes 0-18446744073709551614/*", byte_range{0, max - 1}, std::nullopt},
      {"bytes */18446744073709551615", std::nullopt, max},
      {"bytes 007-008/0010", byte_range{7, 8}, 10},
  };
  for (auto const& c : good) {
    CAPTURE(c.field);
    auto const r = parse_content_range(c.field);
    REQUIRE(r);
    CHECK(bool(r->range == c.range));
    CHECK(bool(r->length == c.length));
    std::string_view const all = c.field;
    for (std::size_t n = 0; n < all.size(); ++n) {  // a prefix is another value or none, never read past its end
      std::string const cut(all.substr(0, n));
      auto const p = parse_content_range(cut);
      if (p && p->range && p->length) CHECK(p->range->last < *p->length);
    }
  }
  for (std::string_view const bad : {"",
                                     "bytes",
                                     "bytes ",
                                     "bytes 0-0",
                                     "bytes 0-0/",
                                     "bytes 0-1/1",
                                     "bytes 5-4/10",
                                     "bytes 10-10/10",
                                     "bytes 0-0/0",
                                     "bytes */*",
                                     "bytes */",
                                     "bytes *",
                                     "bytes -5/10",
                                     "bytes 5-/10",
                                     "bytes  0-0/1",
                                     "bytes 0-0 /1",
                                     "bytes 0-0/ 1",
                                     "bytes 0 -0/1",
                                     " bytes 0-0/1",
                                     "bytes 0-0/1 ",
                                     "bytes=0-0/1",
                                     "bytes\t0-0/1",
                                     "items 0-0/1",
                                     "bytes +0-0/1",
                                     "bytes 0-0/1x",
                                     "bytes 0-0,1-1/2",
                                     "bytes 0-0/18446744073709551616",
                                     "bytes 18446744073709551616-18446744073709551617/*",
                                     "bytes 0-18446744073709551615/*",
                                     "bytes 0-18446744073709551615/18446744073709551615",
                                     "bytes 0-18446744073709551616/18446744073709551615",
                                     "bytes */18446744073709551616"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_content_range(bad));
  }
}

TEST_CASE("what is written reads back") {
  std::string text = "x: ";
  append_content_range(text, byte_range{5, 9}, 10);
  CHECK(text == "x: bytes 5-9/10");
  for (std::uint64_t const length : {std::uint64_t{1}, std::uint64_t{1000}, max}) {
    byte_range const r{length / 2, length - 1};
    std::string field;
    append_content_range(field, r, length);
    auto const back = parse_content_range(field);
    REQUIRE(back);
    CHECK(bool(back->range == r));
    CHECK(back->length == length);

    field.clear();
    append_unsatisfied_range(field, length);
    auto const none = parse_content_range(field);
    REQUIRE(none);
    CHECK_FALSE(none->range);
    CHECK(none->length == length);

    field.clear();
    append_range(field, r.first, r.last);
    CHECK(bool(resolve(parse_range(field), length).range == r));
    field.clear();
    append_range(field, r.first);
    CHECK(bool(resolve(parse_range(field), length).range == r));
  }
}

}  // namespace mgw::http::range_test
