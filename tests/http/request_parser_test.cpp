#include <mgw/http/request_parser.hpp>

#include <doctest/doctest.h>
#include <http/delivery.hpp>

#include <cctype>
#include <ostream>
#include <string>
#include <string_view>

namespace mgw::http::request_parser_test {

namespace {
std::string with_host(std::string_view more) {
  return "GET / HTTP/1.1\r\nHost: h\r\n" + std::string(more) + "\r\n";
}
}  // namespace

TEST_CASE("a request head is the same however it arrives") {
  struct {
    std::string_view wire;
    std::string_view text;
  } const cases[] = {
      {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET|/|1\nHost=h"},
      {"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET|/|1\nHost=h"},
      {"GET / HTTP/1.0\r\n\r\n", "GET|/|0"},
      {"GET / HTTP/1.7\r\nhost:\r\n\r\n", "GET|/|1\nhost="},
      {"OPTIONS * HTTP/1.1\r\nHost:\t h:8443 \t\r\nX_y:  a \t b  \r\nEmpty:   \r\n\r\n",
       "OPTIONS|*|1\nHost=h:8443\nX_y=a \t b\nEmpty="},
      {"M-SEARCH http://a/b?c=d%2f HTTP/1.1\r\nHost: [::1]:80\r\nA: \x80\xff\r\nA: 2\r\n\r\n",
       "M-SEARCH|http://a/b?c=d%2f|1\nHost=[::1]:80\nA=\x80\xff\nA=2"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.wire);
    for (std::string_view const rest : {"", "GET / HTTP/1.1\r\n", "\n\r\n"}) {
      std::string const wire = std::string(c.wire) + std::string(rest);
      for (auto const& way : ways_to_cut(wire.size())) {
        auto const d = request(wire, way);
        REQUIRE_FALSE(d.ec);
        CHECK(d.length == c.wire.size());
        CHECK(d.text == c.text);
      }
    }
  }
}

TEST_CASE("nothing comes out before the last byte") {
  std::string const wire = with_host("A: b\r\n");
  request_parser p;
  request_head h;
  for (std::size_t n = 0; n < wire.size(); ++n) CHECK(*p.parse(std::string_view(wire).substr(0, n), h) == 0);
  CHECK(*p.parse(wire, h) == wire.size());
}

TEST_CASE("pipelined heads come out one after another") {
  std::string const wire = with_host("A: 1\r\n") + with_host("B: 2\r\n");
  std::string_view in = wire;
  request_parser p;
  request_head h;
  auto const first = p.parse(in, h);
  REQUIRE(first);
  CHECK(h.fields.contains("a"));
  in.remove_prefix(*first);
  auto const second = p.parse(in, h);
  REQUIRE(second);
  CHECK(*second == in.size());
  CHECK(h.fields.size() == 2);
  CHECK(h.fields.value("b") == "2");
}

TEST_CASE("a bad request is refused at every split with the same error and its status") {
  using enum parse_error;
  struct {
    std::string wire;
    parse_error want;
    int status;
  } const cases[] = {
      // request line
      {" GET / HTTP/1.1\r\n", bad_method, 400},
      {"\x16\x03\x01", bad_method, 400},  // a TLS client on a plain port
      {std::string("\0", 1), bad_method, 400},
      {"\r\n\r\nGET / HTTP/1.1\r\n", bad_method, 400},
      {"\rGET / HTTP/1.1\r\n", bare_carriage_return, 400},
      {"\nGET / HTTP/1.1\r\n", bare_line_feed, 400},
      {"\r\n\nGET / HTTP/1.1\r\n", bare_line_feed, 400},
      {"G@T / HTTP/1.1\r\n", bad_method, 400},
      {"GET\t/ HTTP/1.1\r\n", bad_method, 400},
      {"G\rT / HTTP/1.1\r\n", bare_carriage_return, 400},
      {"GET\r\n", bad_target, 400},
      {"GET  / HTTP/1.1\r\n", bad_target, 400},
      {"GET /a b HTTP/1.1\r\n", bad_target, 400},
      {"GET /  HTTP/1.1\r\n", bad_target, 400},
      {"GET /\t HTTP/1.1\r\n", bad_target, 400},
      {"GET /# HTTP/1.1\r\n", bad_target, 400},
      {"GET /\x7f HTTP/1.1\r\n", bad_target, 400},
      {"GET /\xc3\xa4 HTTP/1.1\r\n", bad_target, 400},
      {"GET /\r/ HTTP/1.1\r\n", bare_carriage_return, 400},
      {"GET  HTTP/1.1\r\n", bad_target, 400},
      {"GET HTTP/1.1\r\n", bad_version, 400},
      {"GET /\r\n", bad_version, 400},  // HTTP/0.9
      {"GET / \r\n", bad_version, 400},
      {"GET / HTTP/1.1 \r\n", bad_target, 400},  // what stands before the last space is the target
      {"GET / http/1.1\r\n", bad_version, 400},
      {"GET / HTTP/1\r\n", bad_version, 400},
      {"GET / HTTP/1.10\r\n", bad_version, 400},
      {"GET / HTTP/+1.1\r\n", bad_version, 400},
      {"GET / HTTP/x.1\r\n", bad_version, 400},
      {"GET / HTTP/1.\xb9\r\n", bad_version, 400},
      {"GET / HTTP/1.1\r\r\n", bare_carriage_return, 400},
      {"GET / HTTP/1.1\n", bare_line_feed, 400},
      {"GET / HTTP/0.9\r\n", unsupported_version, 505},
      {"GET / HTTP/2.0\r\n", unsupported_version, 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", unsupported_version, 505},
      {std::string(65, 'M'), method_too_long, 501},
      // field lines
      {with_host(": a\r\n"), bad_field_name, 400},
      {with_host(":\r\n"), bad_field_name, 400},
      {with_host("A : b\r\n"), bad_field_name, 400},
      {with_host("A\t: b\r\n"), bad_field_name, 400},
      {with_host("A b: c\r\n"), bad_field_name, 400},
      {with_host("A\r\n"), bad_field_name, 400},
      {with_host("\xc3\xa4: b\r\n"), bad_field_name, 400},
      {with_host(std::string("A\0: b\r\n", 7)), bad_field_name, 400},
      {with_host("Content-Length\x0b: 1\r\n"), bad_field_name, 400},
      {with_host("A\rB: c\r\n"), bare_carriage_return, 400},
      {with_host(std::string("A: \0\r\n", 6)), bad_field_value, 400},
      {with_host("A: \x7f\r\n"), bad_field_value, 400},
      {with_host("A: \x1b[2J\r\n"), bad_field_value, 400},
      {with_host("A: b\rC: d\r\n"), bare_carriage_return, 400},
      {with_host("A: b\r\r\n"), bare_carriage_return, 400},
      {with_host("A: b\nC: d\r\n"), bare_line_feed, 400},
      {with_host("A: b\r\n\n"), bare_line_feed, 400},
      {with_host("A: b\r\n c\r\n"), obsolete_folding, 400},
      {with_host("A: b\r\n\tc\r\n"), obsolete_folding, 400},
      {with_host(" \r\n"), obsolete_folding, 400},
      {"GET / HTTP/1.1\r\n Host: h\r\n", obsolete_folding, 400},
      // Host
      {"GET / HTTP/1.1\r\n\r\n", missing_host, 400},
      {"GET / HTTP/1.1\r\nHosts: h\r\n\r\n", missing_host, 400},
      {with_host("host: h\r\n"), repeated_host, 400},
      {with_host("Host: other\r\n"), repeated_host, 400},
      {"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n", repeated_host, 400},
      {"GET / HTTP/1.1\r\nHost: a b\r\n", bad_host, 400},
      {"GET / HTTP/1.1\r\nHost: a,b\r\n", bad_host, 400},
  };
  for (auto const& c : cases) {
    CAPTURE(c.wire);
    CHECK(status_of(c.want) == c.status);
    for (auto const& way : ways_to_cut(c.wire.size())) CHECK(request(c.wire, way).ec == make_error_code(c.want));
  }
}

TEST_CASE("a parser stays failed until it is reset") {
  request_parser p;
  request_head h;
  CHECK(p.parse("@", h).error() == parse_error::bad_method);
  CHECK(p.parse(with_host(""), h).error() == parse_error::bad_method);
  p.reset();
  CHECK(p.parse(with_host(""), h));
}

TEST_CASE("each byte value is accepted in a part of the head exactly if the grammar has it") {
  std::string_view const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (int i = 0; i < 256; ++i) {
    CAPTURE(i);
    char const c = static_cast<char>(i);
    bool const in_token = token.find(c) != std::string_view::npos;
    CHECK(is(c, chars::token) == in_token);
    CHECK(is_token(std::string("a") + c) == in_token);
    CHECK(is(c, chars::digit) == (i >= '0' && i <= '9'));
    CHECK(is(c, chars::hex) == (std::string_view("0123456789abcdefABCDEF").find(c) != std::string_view::npos));
    auto const taken = [](std::string const& wire) { return !request(wire).ec; };
    CHECK(taken(std::string("a") + c + "b / HTTP/1.1\r\nHost: h\r\n\r\n") == (in_token));
    bool const in_target = i > 0x20 && i < 0x7f && i != '#';
    CHECK(taken(std::string("GET /") + c + "/ HTTP/1.1\r\nHost: h\r\n\r\n") == in_target);
    CHECK(taken(with_host(std::string("a") + c + "b: c\r\n")) == (in_token || c == ':'));
    bool const in_value = i == '\t' || (i >= 0x20 && i != 0x7f);
    CHECK(taken(with_host(std::string("a: b") + c + "c\r\n")) == in_value);
    bool const in_host =
        (i < 0x80 && std::isalnum(i) != 0) || std::string_view("-._~").find(c) != std::string_view::npos;
    CHECK(is_host(std::string("a") + c + "b") == in_host);
  }
}

TEST_CASE("Host values") {
  for (auto const* good : {"", "h", "h:", "h:0", "h:65535", "a_b.example", "127.0.0.1:8443", "[::1]", "[fe80::1]:443",
                           "[::ffff:1.2.3.4]"}) {
    CAPTURE(good);
    CHECK(is_host(good));
  }
  for (auto const* bad : {":80",    "h:65536",  "h:99999999999999999999",
                          "h:+1",   "h:1x",     "h:80:80",
                          "a/b",    "u@h",      "h?",
                          "h#",     "a b",      "a,b",
                          "%41",    "a\\b",     "[",
                          "[]",     "[:",       "[::1",
                          "[::1]x", "[g]",      "[::1%25eth0]",
                          "::1",    "\xc3\xa4", "h;x"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_host(bad));
  }
}

TEST_CASE("equal Host lines fold into one only where that was asked for") {
  limits l;
  l.fold_equal_hosts = true;
  std::string const twice = with_host("A: 1\r\nhOST:  h \r\nHost: h\r\n");
  for (auto const& way : ways_to_cut(twice.size())) {
    auto const d = request(twice, way, l);
    CHECK_FALSE(d.ec);
    CHECK(d.text == "GET|/|1|host repeated\nHost=h\nA=1");
    CHECK(request(with_host("Host: H\r\n"), {}, l).ec == parse_error::repeated_host);
    CHECK(request(with_host("Host: h:80\r\n"), {}, l).ec == parse_error::repeated_host);
    CHECK(request(with_host("Host:\r\n"), {}, l).ec == parse_error::repeated_host);
  }
  CHECK(request(with_host(""), {}, l).text == "GET|/|1\nHost=h");
  CHECK(request(twice).ec == parse_error::repeated_host);
}

TEST_CASE("a message at a limit is taken, one past it is refused, line end or not") {
  auto const same = [](std::string const& wire, limits const& l, std::error_code want) {
    CAPTURE(wire);
    for (auto const& way : ways_to_cut(wire.size())) CHECK(request(wire, way, l).ec == want);
  };
  std::error_code const ok;
  SUBCASE("head") {
    std::string const wire = with_host("A: 1\r\n");
    limits l;
    l.max_head = wire.size();
    same(wire, l, ok);
    same("\r\n" + wire, l, parse_error::head_too_large);
    l.max_head = wire.size() - 1;
    same(wire, l, parse_error::head_too_large);
    CHECK(request(std::string_view(wire).substr(0, l.max_head), {}, l).ec == parse_error::head_too_large);
    CHECK_FALSE(request(std::string_view(wire).substr(0, l.max_head - 1), {}, l).ec);
  }
  SUBCASE("target") {
    limits l;
    l.max_target = 20;
    auto const get = [](std::size_t n) { return "GET /" + std::string(n - 1, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n"; };
    same(get(20), l, ok);
    same(get(21), l, parse_error::target_too_long);
    same(get(100), l, parse_error::target_too_long);
    same("GET " + std::string(60, 'a'), l, parse_error::target_too_long);
  }
  SUBCASE("line") {
    limits l;
    l.max_line = 20;
    same(with_host("A: " + std::string(17, 'b') + "\r\n"), l, ok);
    same(with_host("A: " + std::string(18, 'b') + "\r\n"), l, parse_error::line_too_long);
    same("GET / HTTP/1.1\r\n" + std::string(22, 'b'), l, parse_error::line_too_long);
    same("GET / HTTP/1.1\r\nHost: h\r\n" + std::string(19, 'A') + ":\r\n\r\n", l, ok);
  }
  SUBCASE("fields") {
    limits l;
    l.max_fields = 3;
    same(with_host("A: 1\r\nB: 2\r\n"), l, ok);
    same(with_host("A: 1\r\nB: 2\r\nC: 3\r\n"), l, parse_error::too_many_fields);
    l.fold_equal_hosts = true;  // folded lines count, too
    same(with_host("A: 1\r\nB: 2\r\nHost: h\r\n"), l, parse_error::too_many_fields);
  }
  SUBCASE("method") {
    same(std::string(64, 'M') + " / HTTP/1.1\r\nHost: h\r\n\r\n", {}, ok);
    same(std::string(65, 'M') + " / HTTP/1.1\r\nHost: h\r\n\r\n", {}, parse_error::method_too_long);
  }
  SUBCASE("no limit at all overflows nothing") {
    limits l;
    l.max_head = l.max_target = l.max_line = l.max_fields = static_cast<std::size_t>(-1);
    same(with_host("A: 1\r\n"), l, ok);
  }
  SUBCASE("the defaults") {
    limits const l;
    std::string const target(l.max_target, 't');
    CHECK_FALSE(request("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n").ec);
    CHECK(request("GET " + target + "t HTTP/1.1\r\nHost: h\r\n\r\n").ec == parse_error::target_too_long);
    CHECK(request(with_host("A: " + std::string(l.max_line - 2, 'b'))).ec == parse_error::line_too_long);
    CHECK_FALSE(request(with_host("A: " + std::string(l.max_line - 3, 'b') + "\r\n")).ec);
    std::string many;
    for (std::size_t i = 1; i < l.max_fields; ++i) many += "A: 1\r\n";
    CHECK_FALSE(request(with_host(many)).ec);
    CHECK(request(with_host(many + "A: 1\r\n")).ec == parse_error::too_many_fields);
  }
}

}  // namespace mgw::http::request_parser_test
