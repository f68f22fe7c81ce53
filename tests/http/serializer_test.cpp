#include <mgw/http/serializer.hpp>

#include <doctest/doctest.h>
#include <http/delivery.hpp>

#include <ostream>
#include <string>

namespace mgw::http::serializer_test {

TEST_CASE("what is written parses to the same") {
  std::string out;
  CHECK(append_request_line(out, "PUT", "/a?b"));
  CHECK(append_field(out, "Host", "h"));
  CHECK(append_field(out, "Empty", ""));
  append_field(out, "Content-Length", 18446744073709551615u);
  end_head(out);
  auto const q = request(out);
  CHECK(q.length == out.size());
  CHECK(q.text == "PUT|/a?b|1\nHost=h\nEmpty=\nContent-Length=18446744073709551615");

  out.clear();
  append_status_line(out, 206);
  append_field(out, "N", 0);
  end_head(out);
  auto const p = response(out);
  CHECK(p.length == out.size());
  CHECK(p.text == "206|Partial Content|1\nN=0");
}

TEST_CASE("nothing breaks out of its line") {
  for (int i = 0; i < 256; ++i) {
    CAPTURE(i);
    char const c = static_cast<char>(i);
    std::string const text = std::string("a") + c + "b";
    std::string out = "x";
    bool const value = i == '\t' || (i >= 0x20 && i != 0x7f);
    CHECK(append_field(out, "n", text) == value);
    CHECK((out == "x") == !value);
    out = "x";
    CHECK(append_field(out, text, "v") == is_token(text));
    CHECK((out == "x") == !is_token(text));
    out = "x";
    CHECK(append_request_line(out, text, "/") == is_token(text));
    CHECK((out == "x") == !is_token(text));
    out = "x";
    bool const target = i > 0x20 && i < 0x7f && c != '#';
    CHECK(append_request_line(out, "GET", text) == target);
    CHECK((out == "x") == !target);
    out.clear();
    append_status_line(out, 404, text);
    CHECK(out == "HTTP/1.1 404 " + (value ? text : "Not Found") + "\r\n");
  }
  std::string out;
  CHECK_FALSE(append_field(out, "", "v"));
  CHECK_FALSE(append_request_line(out, "", "/"));
  CHECK_FALSE(append_request_line(out, "GET", ""));
  CHECK(out.empty());
}

TEST_CASE("reason phrases") {
  CHECK(reason_phrase(200) == "OK");
  CHECK(reason_phrase(599).empty());
  std::string out;
  append_status_line(out, 599);
  CHECK(out == "HTTP/1.1 599 \r\n");
  out.clear();
  append_status_line(out, 200, "Fine");
  CHECK(out == "HTTP/1.1 200 Fine\r\n");
}

TEST_CASE("every parse error has a text and a status that is an error with a phrase") {
  for (int i = 1; i <= static_cast<int>(parse_error::body_too_large); ++i) {
    CAPTURE(i);
    auto const e = static_cast<parse_error>(i);
    CHECK(make_error_code(e).message() != "unknown");
    CHECK(status_of(e) >= 400);
    CHECK_FALSE(reason_phrase(status_of(e)).empty());
  }
  CHECK(std::string_view(parse_category().name()) == "mgw.http.parse");
}

}  // namespace mgw::http::serializer_test
