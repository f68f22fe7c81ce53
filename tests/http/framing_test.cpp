#include <mgw/http/framing.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::http::framing_test {

namespace {

using lines = std::vector<field>;
struct said {
  lines all;
  std::error_code ec;  // what is wrong with it
  framing value;       // else what it says; kind none: nothing
};

auto const cl = [](char const* v) { return field{"Content-Length", v}; };
auto const te = [](char const* v) { return field{"transfer-encoding", v}; };

std::vector<said> const& length_lines() {
  static std::vector<said> const all = [] {
    auto const bad = make_error_code(parse_error::bad_content_length);
    std::vector<said> v = {
        {{}, {}, {}},
        {{cl("0")}, {}, {body_kind::length, 0}},
        {{cl("5")}, {}, {body_kind::length, 5}},
        {{cl("0005")}, {}, {body_kind::length, 5}},
        {{cl("9223372036854775807")}, {}, {body_kind::length, 9223372036854775807u}},
        {{cl("5"), cl("5")}, bad, {}},
        {{cl("5"), cl("6")}, bad, {}},
    };
    for (auto const* wrong :
         {"", "-1", "+5", "0x5", "5 5", "5,5", "5, 5", "5.", "5;", "five", "9223372036854775808",
          "18446744073709551616", "36893488147419103237", "99999999999999999999999", "5\t5", "\xb2"})
      v.push_back({{cl(wrong)}, bad, {}});
    return v;
  }();
  return all;
}

std::vector<said> const& coding_lines() {
  static std::vector<said> const all = [] {
    auto const bad = make_error_code(parse_error::bad_transfer_encoding);
    std::vector<said> v = {
        {{}, {}, {}},
        {{te("chunked")}, {}, {body_kind::chunked, 0}},
        {{te("CHUNKED")}, {}, {body_kind::chunked, 0}},
        {{te("chunked"), te("chunked")}, bad, {}},
        {{te("gzip"), te("chunked")}, bad, {}},
    };
    for (auto const* wrong : {"", "identity", "gzip", ", chunked", "a b, chunked", "chunked, gzip", "chunked, chunked", "chunked,",
                              "\"chunked\"", "chunked;q=1", "xchunked", "chunked\x0b", "chunke"})
      v.push_back({{te(wrong)}, bad, {}});
    for (auto const* unknown : {"gzip, chunked", "identity,CHUNKED", "br, gzip ,\tchunked"})
      v.push_back({{te(unknown)}, make_error_code(parse_error::unknown_transfer_coding), {}});
    return v;
  }();
  return all;
}

// The rule book once more, from the two tables, independent of the implementation's order.
result<framing> expected(said const& length, said const& coding, int minor) {
  if (!coding.all.empty()) {
    if (minor == 0) return parse_error::transfer_encoding_in_http_1_0;
    if (!length.all.empty()) return parse_error::conflicting_lengths;
    if (coding.ec) return coding.ec;
    return coding.value;
  }
  if (length.ec) return length.ec;
  return length.value;
}

void fill(fields& f, said const& a, said const& b) {
  f.add("Host", "h");
  for (auto const& x : a.all) f.add(x.name, x.value);
  for (auto const& x : b.all) f.add(x.name, x.value);
}

void same(result<framing> const& got, result<framing> const& want) {
  CHECK(got.error() == want.error());
  if (got && want) CHECK(*got == *want);
}

}  // namespace

TEST_CASE("RFC 9112 6.3: request framing, every Content-Length with every Transfer-Encoding in both versions and orders") {
  for (int const minor : {0, 1})
    for (auto const& length : length_lines())
      for (auto const& coding : coding_lines())
        for (bool const swapped : {false, true}) {
          CAPTURE(minor);
          CAPTURE(length.all.empty() ? "-" : length.all[0].value);
          CAPTURE(coding.all.empty() ? "-" : coding.all[0].value);
          for (auto const* method : {"GET", "HEAD", "POST", "PUT", "CONNECT", "TRACE"}) {
            request_head h;
            h.method = method;
            h.minor = minor;
            if (swapped)
              fill(h.fields, coding, length);
            else
              fill(h.fields, length, coding);
            same(request_framing(h), expected(length, coding, minor));
          }
        }
}

TEST_CASE("RFC 9112 6.3: response framing, every method, status, length and coding") {
  for (int const minor : {0, 1})
    for (auto const& length : length_lines())
      for (auto const& coding : coding_lines())
        for (std::string_view const method : {"GET", "HEAD", "POST", "CONNECT", "head"})
          for (int const status : {100, 101, 103, 200, 201, 204, 205, 206, 299, 301, 304, 404, 500, 599}) {
            CAPTURE(minor);
            CAPTURE(method);
            CAPTURE(status);
            CAPTURE(length.all.empty() ? "-" : length.all[0].value);
            CAPTURE(coding.all.empty() ? "-" : coding.all[0].value);
            response_head h;
            h.status = status;
            h.minor = minor;
            fill(h.fields, length, coding);
            auto want = expected(length, coding, minor);
            if (method == "CONNECT" && status >= 200 && status < 300)
              want = framing{};
            else if (want && (method == "HEAD" || status < 200 || status == 204 || status == 304))
              want = framing{};
            else if (want && length.all.empty() && coding.all.empty())
              want = framing{body_kind::until_close, 0};
            same(response_framing(h, method), want);
          }
}

TEST_CASE("RFC 9112 9.3: what keeps a connection, and what ends it") {
  struct {
    int minor;
    char const* connection;
    bool want;
  } const cases[] = {
      {1, nullptr, true},
      {1, "close", false},
      {1, "Keep-Alive", true},
      {1, "upgrade, CLOSE", false},
      {0, nullptr, false},
      {0, "keep-alive", true},
      {0, "close, keep-alive", false},
      {0, "upgrade", false},
      {1, "keep-alive, close", false},
      {1, "closed", true},
  };
  for (auto const& c : cases) {
    CAPTURE(c.minor);
    CAPTURE(c.connection);
    request_head q;
    response_head p;
    q.minor = p.minor = c.minor;
    p.status = 200;
    if (c.connection != nullptr) {
      q.fields.add("connection", c.connection);
      p.fields.add("connection", c.connection);
    }
    CHECK(keeps_alive(q) == c.want);
    CHECK(keeps_alive(p, {body_kind::length, 3}) == c.want);
    CHECK(keeps_alive(p, {body_kind::chunked, 0}) == c.want);
    CHECK(keeps_alive(p, {}) == c.want);
    CHECK_FALSE(keeps_alive(p, {body_kind::until_close, 0}));
  }
}

TEST_CASE("RFC 9110 8.6: a 204 that announces a body ends the connection") {
  response_head p;
  p.status = 204;
  CHECK(keeps_alive(p, {}));
  p.fields.add("Content-Length", "0");
  CHECK(keeps_alive(p, {}));
  p.fields.clear();
  p.fields.add("Content-Length", "2");
  CHECK_FALSE(keeps_alive(p, {}));
  p.fields.clear();
  p.fields.add("Transfer-Encoding", "chunked");
  CHECK_FALSE(keeps_alive(p, {}));
}

TEST_CASE("Expect: 100-continue") {
  request_head q;
  CHECK_FALSE(expects_continue(q));
  q.fields.add("Expect", "100-Continue");
  CHECK(expects_continue(q));
  q.minor = 0;
  CHECK_FALSE(expects_continue(q));
}

}  // namespace mgw::http::framing_test
