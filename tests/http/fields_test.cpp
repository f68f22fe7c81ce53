#include <mgw/http/fields.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>

namespace mgw::http::fields_test {

TEST_CASE("RFC 9110 5.1: names compare without regard to ASCII case, and only that") {
  for (int a = 0; a < 256; ++a)
    for (int b = 0; b < 256; ++b) {
      auto const lower = [](int c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
      std::string const x(1, static_cast<char>(a));
      std::string const y(1, static_cast<char>(b));
      if (iequals(x, y) != (lower(a) == lower(b))) FAIL_CHECK(a << " and " << b);
    }
  CHECK(iequals("", ""));
  CHECK_FALSE(iequals("a", "ab"));
  CHECK_FALSE(iequals("x-a", "x_a"));
}

TEST_CASE("fields are found by name, in order") {
  fields f;
  CHECK(f.empty());
  CHECK(f.find("a") == nullptr);
  CHECK(f.value("a").empty());
  f.add("A", "1");
  f.add("b", "2");
  f.add("a", "3");
  CHECK(f.size() == 3);
  CHECK(f.value("a") == "1");
  CHECK(f.find("B")->value == "2");
  CHECK(f.count("a") == 2);
  CHECK(f.count("c") == 0);
  CHECK(f.contains("b"));
  CHECK((f.end() - 1)->value == "3");
  f.clear();
  CHECK(f.empty());
}

TEST_CASE("RFC 9110 5.6.1: list elements, empty ones ignored") {
  struct {
    char const* value;
    bool has_close;
  } const cases[] = {
      {"close", true},           {"Close", true},      {" close ", true},     {"a,close", true}, {"close,a", true},
      {"a ,\tclose\t, b", true}, {",,close,,", true},  {"", false},           {",", false},      {"closed", false},
      {"a close", false},        {"close;q=1", false}, {"keep-alive", false},
  };
  for (auto const& c : cases) {
    CAPTURE(c.value);
    fields f;
    f.add("Connection", "x");
    f.add("CONNECTION", c.value);
    f.add("Other", "close");
    CHECK(f.list_contains("connection", "close") == c.has_close);
    CHECK_FALSE(f.list_contains("connection", ""));
  }
}

TEST_CASE("tokens and values") {
  CHECK(is_token("X-Y_z"));
  CHECK_FALSE(is_token(""));
  CHECK_FALSE(is_token("a b"));
  CHECK(is_field_value(""));
  CHECK(is_field_value("a\tb \xff"));
  CHECK_FALSE(is_field_value("a\r\nb"));
}

}  // namespace mgw::http::fields_test
