#include "config/json_entries.hpp"

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::json_entries_test {
namespace {

std::string refusal(std::string_view text) {
  try {
    (void)read_json_entries(text);
  } catch (json_file_error const& e) {
    return e.at.text() + ": " + e.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("a file's keys are listed with the place where they stand") {
  auto const all = read_json_entries(
      "{\n  \"HTTP\": {\"Enabled\": true, \"Listen\":\n    \":80\"},\n"
      "  \"N\": 12, \"L\": [\"a\", \"b\"], \"M\": [1], \"\\\"\\\\\": null }\n");
  using type = json_entry::type;
  struct row {
    char const* key;
    type what;
    char const* text;
    char const* key_at;
    char const* value_at;
  };
  row const rows[] = {{"HTTP", type::object, "", "2:3", "2:11"},
                      {"HTTP.Enabled", type::boolean, "true", "2:12", "2:23"},
                      {"HTTP.Listen", type::string, ":80", "2:29", "3:5"},
                      {"N", type::number, "12", "4:3", "4:8"},
                      {"L", type::list, "", "4:12", "4:17"},
                      {"M", type::other_list, "[1]", "4:29", "4:34"},
                      {"\"\\\"\\\\\"", type::null, "", "4:39", "4:47"}};
  REQUIRE(all.size() == std::size(rows));
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(i);
    CHECK(all[i].key == rows[i].key);
    CHECK(all[i].what == rows[i].what);
    CHECK(all[i].text == rows[i].text);
    CHECK(all[i].key_at.text() == rows[i].key_at);
    CHECK(all[i].value_at.text() == rows[i].value_at);
  }
  CHECK(all[4].items == std::vector<std::string>{"a", "b"});
}

TEST_CASE("a column counts characters, not bytes") {
  auto const all = read_json_entries("{\"k\": \"\xC3\xA9\xE2\x82\xAC\", \"n\": 1}");
  CHECK(all[1].key_at.text() == "1:13");
}

TEST_CASE("a dot in a key is no step down") {
  CHECK(read_json_entries(R"({"HTTP.Listen": ":80"})").front().key == R"("HTTP.Listen")");
  CHECK(read_json_entries(R"({"": 1})").front().key == R"("")");
}

TEST_CASE("what is no configuration file is refused with its line and column") {
  struct row {
    std::string text;
    char const* refusal;
  };
  row const rows[] = {
      {"", "1:1: not JSON: it ends too early"},
      {"{\n", "2:1: not JSON: it ends too early"},
      {"[]", "1:1: it must be an object: {…}"},
      {"\"x\"", "1:1: it must be an object: {…}"},
      {"null", "1:1: it must be an object: {…}"},
      {"# x", "1:1: not JSON: unexpected #"},
      {"{\"a\": 1,\n}", "2:1: not JSON: unexpected } after a comma"},
      {"{\"a\": [1,\n ]}", "2:2: not JSON: unexpected ] after a comma"},
      {"{\"a\": 1\n \"b\": 2}", "2:2: not JSON: unexpected \""},
      {"{'a': 1}", "1:2: not JSON: unexpected '"},
      {"{\"a\": tru}", "1:7: not JSON: unexpected t"},
      {"{\"a\": 01}", "1:8: not JSON: unexpected 1"},
      {"{\"a\": \"x\n\"}", "1:9: not JSON: the line ends inside a string"},
      {"{\"a\": \"C:\\mender\"}", "1:10: not JSON: this escape is none (a backslash is written \\\\)"},
      {"{\"a\": \"\xFF\"}", "1:8: not JSON: unexpected byte 255"},
      {"{} {}", "1:4: not JSON: unexpected {"},
      {"\xEF\xBB\xBF{}", "1:1: not JSON: it begins with a byte-order mark"},
      {"{\"a\": 1, \"b\": 2,\n \"A\": 3}", "2:2: A is there twice; the first one is at 1:2"},
      {"{\"s\": {\"a\": 1, \"a\": 1}}", "1:16: s.a is there twice; the first one is at 1:8"},
  };
  for (row const& r : rows) {
    CAPTURE(r.text);
    CHECK(refusal(r.text) == r.refusal);
  }
}

TEST_CASE("the same key in different objects is no repetition") {
  CHECK(refusal(R"({"HTTP": {"Enabled": true}, "HTTPS": {"Enabled": true}})") == "accepted");
}

TEST_CASE("depth and number of keys are bounded") {
  auto const nested = [](std::size_t depth) {
    std::string text;
    for (std::size_t i = 0; i < depth; ++i) text += "{\"a\":";
    return text + "1" + std::string(depth, '}');
  };
  CHECK(refusal(nested(64)) == "accepted");
  CHECK(refusal(nested(65)) == "1:321: nested too deeply");
  auto const keys = [](int count) {
    std::string text = "{";
    for (int i = 0; i < count; ++i) text += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":1";
    return text + "}";
  };
  CHECK(refusal(keys(1000)) == "accepted");
  CHECK(refusal(keys(1001)).find("more than 1000 keys") != std::string::npos);
}

TEST_CASE("a file that is cut anywhere is refused") {
  std::string const whole = R"({"HTTP": {"Enabled": true, "Listen": ":80\u00e9"}, "L": ["a"], "N": [{"x": null}]})";
  for (std::size_t i = 0; i < whole.size(); ++i) {
    CAPTURE(i);
    CHECK(refusal(whole.substr(0, i)).starts_with("1:"));
  }
}

}  // namespace gateway::json_entries_test
