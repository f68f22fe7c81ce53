#include <mgw/mender/json_scanner.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender::json_scanner_test {
namespace {

bool is_json(std::string_view text) {
  json_scanner json(text);
  return json.skip() && json.at_end();
}

std::optional<std::string> decoded(std::string_view text) {
  json_scanner json(text);
  std::string out;
  if (!json.string(&out) || !json.at_end()) return std::nullopt;
  return out;
}

}  // namespace

TEST_CASE("JSON is accepted") {
  for (std::string_view const good : {"{}",
                                      "[]",
                                      "null",
                                      "true",
                                      "false",
                                      "0",
                                      "-0",
                                      "12",
                                      "1.5",
                                      "-1.50e+10",
                                      "0.0",
                                      "1E400",
                                      "1e-2",
                                      "12345678901234567890123456789012345678901234567890",
                                      "\"\"",
                                      " \t\r\n[ 1 , 2 ] \n",
                                      "{\"a\":{\"b\":[]}}",
                                      "{ \"a\" : 1 , \"a\" : 2 }",
                                      "[[],{},\"\",0]",
                                      "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
                                      "\"\xC3\xA9\"",
                                      "\"\x7F\"",
                                      "[[[[[]]]]]"}) {
    CAPTURE(good);
    CHECK(is_json(good));
  }
}

TEST_CASE("a refusal says where the text could not go on") {
  struct row {
    char const* text;
    std::size_t position;
  };
  for (row const& r :
       {row{"", 0}, row{"[1,]", 3}, row{"[1 2]", 3}, row{"{\"a\" 1}", 5}, row{"[tru]", 1}, row{"\"a\nb\"", 2},
        row{"\"a\\x\"", 2}, row{"\"a\\ud800\"", 2}, row{"[\"a", 3}, row{"-x", 1}, row{"{} x", 3}}) {
    CAPTURE(r.text);
    json_scanner json(r.text);
    CHECK(!(json.skip() && json.at_end()));
    CHECK(json.error_position() == r.position);
  }
  std::string const deep(json_scanner::max_depth + 1, '[');
  json_scanner json(deep);
  CHECK(!json.skip());
  CHECK(json.error_position() == json_scanner::max_depth);
}

TEST_CASE("what is not JSON is refused") {
  for (std::string_view const bad : {"",
                                     " ",
                                     "nul",
                                     "nulll",
                                     "True",
                                     "+1",
                                     "01",
                                     "-",
                                     "-a",
                                     "1.",
                                     ".5",
                                     "1e",
                                     "1e+",
                                     "0x1",
                                     "1 2",
                                     "[1 2]",
                                     "[1,]",
                                     "[,1]",
                                     "[,]",
                                     "[",
                                     "]",
                                     "{",
                                     "}",
                                     "{,}",
                                     "{\"a\"}",
                                     "{\"a\":}",
                                     "{\"a\":1,}",
                                     "{\"a\":1 \"b\":2}",
                                     "{a:1}",
                                     "{1:1}",
                                     "{\"a\",1}",
                                     "[}",
                                     "{]",
                                     "'a'",
                                     "\"",
                                     "\"a",
                                     "\"\\\"",
                                     "\"\\x41\"",
                                     "\"\\u12\"",
                                     "\"\\u12g4\"",
                                     "\"\\U0041\"",
                                     "\"\n\"",
                                     "\"\t\"",
                                     "[1]x",
                                     "{}{}",
                                     "// c\n1",
                                     "[1/**/]",
                                     "NaN",
                                     "Infinity",
                                     "\xEF\xBB\xBF{}",
                                     "\"\\ud800\"",
                                     "\"\\ud800x\"",
                                     "\"\\ud800\\n\"",
                                     "\"\\ud800\\ud800\"",
                                     "\"\\udc00\"",
                                     "\"\\udc00\\ud800\"",
                                     "\"\xFF\"",
                                     "\"\x80\"",
                                     "\"\xC3\"",
                                     "\"\xC3(\"",
                                     "\"\xC0\x80\"",
                                     "\"\xE0\x80\x80\"",
                                     "\"\xED\xA0\x80\"",
                                     "\"\xF0\x80\x80\x80\"",
                                     "\"\xF4\x90\x80\x80\"",
                                     "\"\xF5\x80\x80\x80\"",
                                     "\"\xE2\x82\""}) {
    CAPTURE(bad);
    CHECK_FALSE(is_json(bad));
  }
  CHECK_FALSE(is_json(std::string_view("[\0]", 3)));
  CHECK_FALSE(is_json(std::string_view("[]\0", 3)));
  CHECK_FALSE(is_json(std::string_view("\"\0\"", 3)));
  CHECK_FALSE(is_json(std::string_view("\0", 1)));
}

TEST_CASE("strings are decoded") {
  CHECK(decoded("\"plain\"") == "plain");
  CHECK(decoded(" \"\\\"\\\\\\/\\b\\f\\n\\r\\t\"") == "\"\\/\b\f\n\r\t");
  CHECK(decoded("\"a\\u0026b\\u003C\\u003e\"") == "a&b<>");
  CHECK(decoded("\"\\u00e9\\u20AC\"") == "\xC3\xA9\xE2\x82\xAC");
  CHECK(decoded("\"\\ud83d\\ude00\\udbff\\udfff\"") == "\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF");
  CHECK(decoded("\"\\u0000\"") == std::string(1, '\0'));
  CHECK(decoded("\"\xF0\x9F\x98\x80\"") == "\xF0\x9F\x98\x80");
}

TEST_CASE("depth is bounded") {
  for (auto const& [open, close] : {std::pair('[', ']'), std::pair('{', '}')}) {
    bool const object = open == '{';
    std::string in;
    for (unsigned i = 1; i < json_scanner::max_depth; ++i) in += object ? "{\"a\":" : "[";
    std::string const good = in + open + close + std::string(json_scanner::max_depth - 1, close);
    CHECK(is_json(good));
    CHECK_FALSE(is_json((object ? "{\"a\":" : "[") + good + close));
  }
  std::string const deep = std::string(1'000'000, '[');
  json_scanner json(deep);
  CHECK_FALSE(json.skip());
  CHECK(json.error() == mender_error::too_deep);
  CHECK_FALSE(json.skip());                                                      // stays failed
  CHECK(is_json("[" + std::string(1000, ' ') + "[],[],[[]],[{}],{\"a\":[]}]"));  // depth goes down again
}

TEST_CASE("members are visited with their places") {
  std::string const text = " { \"a\" : 1.50 , \"\\u0062\" : [ true , \"x\" ] } ";
  json_scanner json(text);
  std::string names;
  std::string values;
  bool const ok = json.object([&](std::string const& name) {
    names += name;
    json.peek();
    std::size_t const begin = json.position();
    if (name == "b") {
      return json.array([&] {
        values += json.peek();
        return json.skip();
      });
    }
    if (!json.skip()) return false;
    values += text.substr(begin, json.position() - begin);
    return true;
  });
  CHECK(ok);
  CHECK(json.at_end());
  CHECK(names == "ab");
  CHECK(values == "1.50t\"");
}

TEST_CASE("a visitor's refusal ends the walk") {
  json_scanner json("{\"a\":1,\"b\":2}");
  int visited = 0;
  CHECK_FALSE(json.object([&](std::string const&) { return ++visited == 0; }));
  CHECK(visited == 1);
  CHECK(json.error() == mender_error::not_json);
}

TEST_CASE("text is written as a JSON string that reads back") {
  std::string all;
  for (int i = 1; i < 128; ++i) all.push_back(static_cast<char>(i));
  all += "\xC3\xA9\xF0\x9F\x98\x80";
  all.push_back('\0');
  std::string out;
  append_json_string(out, all);
  CHECK(decoded(out) == all);
  out.clear();
  append_json_string(out, "a\xFF\xE2\x82z\"\\\n");
  CHECK(out == "\"a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz\\\"\\\\\\u000a\"");
}

}  // namespace mgw::mender::json_scanner_test
