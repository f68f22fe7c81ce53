#include <mgw/http/response_parser.hpp>

#include <doctest/doctest.h>
#include <http/delivery.hpp>

#include <ostream>
#include <string>
#include <string_view>

namespace mgw::http::response_parser_test {

TEST_CASE("a response head is the same however it arrives") {
  struct {
    std::string_view wire;
    std::string_view text;
  } const cases[] = {
      {"HTTP/1.1 200 OK\r\n\r\n", "200|OK|1"},
      {"HTTP/1.1 200 \r\nA: b\r\n\r\n", "200||1\nA=b"},
      {"HTTP/1.1 200\r\nA: b\r\n\r\n", "200||1\nA=b"},
      {"HTTP/1.0 404 Not  Found\t\xe9\r\nA:\r\nB:c \r\n\r\n", "404|Not  Found\t\xe9|0\nA=\nB=c"},
      {"HTTP/1.9 100 Continue\r\n\r\n", "100|Continue|1"},
      {"HTTP/1.1 599 x\r\nHost: a\r\nHost: b\r\n\r\n", "599|x|1\nHost=a\nHost=b"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.wire);
    for (std::string_view const rest : {"", "body", "HTTP/1.1 200 OK\r\n", "\n\r\n"}) {
      std::string const wire = std::string(c.wire) + std::string(rest);
      for (auto const& way : ways_to_cut(wire.size())) {
        auto const d = response(wire, way);
        REQUIRE_FALSE(d.ec);
        CHECK(d.length == c.wire.size());
        CHECK(d.text == c.text);
      }
    }
  }
}

TEST_CASE("a bad response is refused at every split with the same error") {
  using enum parse_error;
  std::string const ok = "HTTP/1.1 200 OK\r\n";
  struct {
    std::string wire;
    parse_error want;
  } const cases[] = {
      {"\r\n" + ok, bad_version},
      {"\n" + ok, bare_line_feed},
      {"ICY 200 OK\r\n", bad_version},
      {"SSH-2.0-x", bad_version},
      {"<html>", bad_version},
      {"HTTP/1.1\r\n", bad_status_line},
      {"HTTP/1.1\t200 OK\r\n", bad_version},
      {"HTTP/1 200 OK\r\n", bad_version},
      {"HTTP/1.11 200 OK\r\n", bad_version},
      {"HTTP/2.0 200 OK\r\n", unsupported_version},
      {"HTTP/0.9 200 OK\r\n", unsupported_version},
      {"HTTP/1.1  200 OK\r\n", bad_status_line},
      {"HTTP/1.1 \r\n", bad_status_line},
      {"HTTP/1.1 20\r\n", bad_status_line},
      {"HTTP/1.1 20 OK\r\n", bad_status_line},
      {"HTTP/1.1 2000 OK\r\n", bad_status_line},
      {"HTTP/1.1 +20 OK\r\n", bad_status_line},
      {"HTTP/1.1 0x2 OK\r\n", bad_status_line},
      {"HTTP/1.1 099 OK\r\n", bad_status_line},
      {"HTTP/1.1 600 OK\r\n", bad_status_line},
      {"HTTP/1.1 200\tOK\r\n", bad_status_line},
      {"HTTP/1.1 200OK\r\n", bad_status_line},
      {std::string("HTTP/1.1 200 O\0\r\n", 17), bad_status_line},
      {"HTTP/1.1 200 O\rK\r\n", bare_carriage_return},
      {"HTTP/1.1 200 OK\r\r\n", bare_carriage_return},
      {"HTTP/1.1 200 OK\n", bare_line_feed},
      {ok + "A : b\r\n\r\n", bad_field_name},
      {ok + ": b\r\n\r\n", bad_field_name},
      {ok + "A: \x01\r\n\r\n", bad_field_value},
      {ok + "A: b\r\n c\r\n\r\n", obsolete_folding},
      {ok + "A: b\rX: y\r\n\r\n", bare_carriage_return},
      {ok + "A: b\n\r\n", bare_line_feed},
      {ok + "\n", bare_line_feed},
  };
  for (auto const& c : cases) {
    CAPTURE(c.wire);
    for (auto const& way : ways_to_cut(c.wire.size())) CHECK(response(c.wire, way).ec == make_error_code(c.want));
  }
}

TEST_CASE("a response at a limit is taken, one past it is refused") {
  auto const same = [](std::string const& wire, limits const& l, std::error_code want) {
    CAPTURE(wire);
    for (auto const& way : ways_to_cut(wire.size())) CHECK(response(wire, way, l).ec == want);
  };
  std::string const wire = "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2345678901234\r\n\r\n";
  limits l;
  l.max_head = wire.size();
  l.max_line = 16;
  l.max_fields = 2;
  same(wire, l, {});
  limits less = l;
  less.max_head = l.max_head - 1;
  same(wire, less, parse_error::head_too_large);
  less = l;
  less.max_line = 15;
  same(wire, less, parse_error::line_too_long);
  less.max_line = 14;  // the status line is one of 15
  same(wire, less, parse_error::line_too_long);
  less = l;
  less.max_fields = 1;
  same(wire, less, parse_error::too_many_fields);
}

TEST_CASE("a response parser stays failed until it is reset") {
  response_parser p;
  response_head h;
  CHECK(p.parse("x", h).error() == parse_error::bad_version);
  CHECK(p.parse("HTTP/1.1 200 OK\r\n\r\n", h).error() == parse_error::bad_version);
  p.reset();
  CHECK(p.parse("HTTP/1.1 200 OK\r\n\r\n", h));
}

}  // namespace mgw::http::response_parser_test
