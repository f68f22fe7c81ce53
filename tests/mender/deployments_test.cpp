#include <mgw/mender/deployments.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>

namespace mgw::mender::deployments_test {
namespace {

/// Members of every sort around the URI, spelled in ways that a decoder and encoder would not keep.
std::string const odd_body =
    R"({"zz":[1,2.50,1e3,-0],"id":"abc\u00e9\/x","artifact":{"future":{"k":"http://127.0.0.1:8000/keep"},)"
    R"("artifact_name":"release-2","source":{"note":"x","uri":"http:\/\/127.0.0.1:8000\/b\/o?X-Amz-Signature=a",)"
    R"("expire":"2036-01-01T00:00:00Z"},"device_types_compatible":["test-device"]},"big":12345678901234567890})";

/// What the server's encoder writes.
std::string const go_body =
    R"({"id":"w81s4fae-7dec-11d0-a765-00a0c91e6bf6","artifact":{"id":"f0e1","artifact_name":"demo-2","source":{)"
    R"("uri":"https://s3.example.com/b/o?X-Amz-Algorithm=AWS4-HMAC-SHA256\u0026X-Amz-Expires=86400\u0026)"
    R"(response-content-disposition=attachment%3B%20filename%3D%22x.mender%22\u0026x-id=GetObject",)"
    R"("expire":"2026-11-25T10:00:00Z","method":"GET"},"device_types_compatible":["qemux86-64"]}})";

std::string with_source(std::string_view source) {
  return R"({"id":"d","artifact":{"artifact_name":"n","source":)" + std::string(source) + "}}";
}

bool found(std::string_view json) {
  auto const r = find_artifact_source(json);
  CAPTURE(json);
  REQUIRE(bool(r));
  return r->has_value();
}

}  // namespace

TEST_CASE("the URI is found decoded, with its place") {
  auto const odd = find_artifact_source(odd_body);
  REQUIRE(bool(odd));
  REQUIRE(odd->has_value());
  artifact_source const& s = **odd;
  CHECK(s.uri == "http://127.0.0.1:8000/b/o?X-Amz-Signature=a");
  CHECK(odd_body.substr(s.uri_offset, s.uri_size) == R"("http:\/\/127.0.0.1:8000\/b\/o?X-Amz-Signature=a")");
  CHECK(s.artifact_name == "release-2");
  CHECK(s.deployment_id == "abc\xC3\xA9/x");
  CHECK(s.headers.empty());

  auto const go = find_artifact_source(go_body);
  REQUIRE(bool(go));
  REQUIRE(go->has_value());
  CHECK((*go)->uri ==
        "https://s3.example.com/b/o?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=86400&"
        "response-content-disposition=attachment%3B%20filename%3D%22x.mender%22&x-id=GetObject");
  CHECK((*go)->deployment_id == "w81s4fae-7dec-11d0-a765-00a0c91e6bf6");
}

TEST_CASE("a replaced URI leaves all other bytes") {
  for (std::string const& body : {odd_body, go_body, " \n" + odd_body + "\r\n"}) {
    auto const r = find_artifact_source(body);
    REQUIRE(bool(r));
    REQUIRE(r->has_value());
    artifact_source const& s = **r;
    std::string const link = "https://gw.example:8443/api/gateway/v1/artifacts/k/t";
    std::string const out = replace_uri(body, s, link);
    CHECK(out == body.substr(0, s.uri_offset) + '"' + link + '"' + body.substr(s.uri_offset + s.uri_size));
    auto const again = find_artifact_source(out);
    REQUIRE(bool(again));
    CHECK((*again)->uri == link);
    CHECK(replace_uri(out, **again, "a\"\\\x01&").find(R"("a\"\\\u0001&")") == s.uri_offset);
  }
}

TEST_CASE("a body cut short anywhere is refused") {
  for (std::string const& body : {odd_body, go_body})
    for (std::size_t n = 0; n < body.size(); ++n) {
      CAPTURE(n);
      CHECK_FALSE(bool(find_artifact_source(body.substr(0, n))));
    }
}

TEST_CASE("a body altered at any byte never misleads about the place") {
  for (std::size_t i = 0; i < go_body.size(); ++i)
    for (char const c : {'"', '\\', '{', '}', ',', ':', ' ', '\0', '\xFF', 'u'}) {
      std::string body = go_body;
      body[i] = c;
      auto const r = find_artifact_source(body);
      if (!r || !*r) continue;
      artifact_source const& s = **r;
      REQUIRE(s.uri_offset + s.uri_size < body.size());
      REQUIRE(body[s.uri_offset] == '"');
      REQUIRE(body[s.uri_offset + s.uri_size - 1] == '"');
      REQUIRE(bool(find_artifact_source(replace_uri(body, s, "https://gw/x"))));
    }
}

TEST_CASE("header fields of the source are read") {
  auto const r = find_artifact_source(with_source(R"({"header":{"X-Auth":"a\u0026b","x-e":""},"uri":"https://h/p"})"));
  REQUIRE(bool(r));
  REQUIRE(r->has_value());
  CHECK((*r)->headers == cache::header_list{{"X-Auth", "a&b"}, {"x-e", ""}});
  CHECK(found(with_source(R"({"header":{},"uri":"https://h/p"})")));
  CHECK(found(with_source(R"({"header":null,"uri":"https://h/p"})")));
  std::string many = R"({"uri":"https://h/p","header":{"h0":"")";
  for (std::size_t i = 1; i < max_source_fields; ++i) many += ",\"h" + std::to_string(i) + "\":\"\"";
  CHECK(found(with_source(many + "}}")));
  CHECK_FALSE(found(with_source(many + ",\"more\":\"\"}}")));
}

TEST_CASE("JSON of another shape is left alone") {
  for (std::string_view const body :
       {R"({})", R"([])", R"(null)", R"("uri")", R"(1)", R"({"artifact":null})", R"({"artifact":[]})",
        R"({"artifact":{}})", R"({"artifact":{"source":null}})", R"({"artifact":{"source":"https://h/p"}})",
        R"({"artifact":{"source":{}}})", R"({"artifact":{"uri":"https://h/p"}})", R"({"source":{"uri":"https://h/p"}})",
        R"({"error":"no","request_id":"1"})", R"([{"artifact":{"source":{"uri":"https://h/p"}}}])",
        R"({"a":{"artifact":{"source":{"uri":"https://h/p"}}}})"}) {
    CHECK_FALSE(found(body));
  }
  for (std::string_view const source :
       {R"({"uri":null})", R"({"uri":1})", R"({"uri":["https://h/p"]})", R"({"uri":""})", R"({"URI":"https://h/p"})",
        R"({"uri":"https://h/a b"})", R"({"uri":"https://h/\u0000"})", R"({"uri":"https://h/\r\nX: y"})",
        R"({"uri":"https://h/\u007f"})", R"({"uri":"https://h/p","header":[]})",
        R"({"uri":"https://h/p","header":"x"})", R"({"uri":"https://h/p","header":{"a":1}})",
        R"({"uri":"https://h/p","header":{"a":null}})", R"({"uri":"https://h/p","header":{"":"v"}})",
        R"({"uri":"https://h/p","header":{"a b":"v"}})", R"({"uri":"https://h/p","header":{"a:":"v"}})",
        R"({"uri":"https://h/p","header":{"a":"v\r\nb: c"}})", R"({"uri":"https://h/p","header":{"a":"\u0000"}})",
        R"({"uri":"https://h/p","header":{"\u00e9":"v"}})"}) {
    CHECK_FALSE(found(with_source(source)));
  }
}

TEST_CASE("members that clients may take for one another are left alone") {
  CHECK(found(with_source(R"({"uri":"https://h/p"})")));
  for (std::string_view const source :
       {R"({"uri":"https://h/p","uri":"https://h/p"})", R"({"uri":"https://h/p","\u0075ri":"https://h/q"})",
        R"({"uri":"https://h/p","URI":"https://h/q"})", R"({"Uri":1,"uri":"https://h/q"})",
        R"({"uri":"https://h/p","uri":null})", R"({"uri":null,"uri":"https://h/p"})",
        R"({"uri":"https://h/p","header":{},"header":{}})", R"({"uri":"https://h/p","Header":{}})"}) {
    CHECK_FALSE(found(with_source(source)));
  }
  std::string const source = R"({"uri":"https://h/p"})";
  for (std::string const& more : {R"(,"source":)" + source, R"(,"Source":)" + source, std::string(R"(,"source":null)"),
                                  "," + ("\"\xC5\xBFource\":" + source)}) {
    CHECK_FALSE(found(with_source(source + more)));
  }
  std::string const artifact = R"("artifact":{"source":)" + source + "}";
  CHECK(found("{" + artifact + R"(,"artifacts":1,"kartifact":2,"":3})"));
  CHECK_FALSE(found("{" + artifact + "," + artifact + "}"));
  CHECK_FALSE(found("{" + artifact + R"(,"ARTIFACT":{}})"));
  CHECK_FALSE(found(R"({"artifact":1,)" + artifact + "}"));
}

TEST_CASE("what is not JSON, too deep or too long is an error") {
  CHECK(find_artifact_source("").error() == mender_error::not_json);
  CHECK(find_artifact_source("<html>").error() == mender_error::not_json);
  CHECK(find_artifact_source(go_body + "x").error() == mender_error::not_json);
  CHECK(find_artifact_source("\xEF\xBB\xBF" + go_body).error() == mender_error::not_json);
  CHECK(find_artifact_source(with_source("{\"uri\":\"https://h/\xFF\"}")).error() == mender_error::not_json);
  CHECK(find_artifact_source(with_source(R"({"uri":"https://h/\ud800"})")).error() == mender_error::not_json);
  CHECK(find_artifact_source("{\"a\":" + std::string(500'000, '[')).error() == mender_error::too_deep);
  CHECK(find_artifact_source(std::string(max_deployment_size + 1, ' ')).error() == mender_error::too_long);
  std::string const padded = go_body + std::string(max_deployment_size - go_body.size(), ' ');
  CHECK(found(padded));
  CHECK(find_artifact_source(padded + " ").error() == mender_error::too_long);
}

TEST_CASE("the notes for logs are optional and of any type") {
  auto const r = find_artifact_source(R"({"id":7,"artifact":{"artifact_name":[],"source":{"uri":"https://h/p"}}})");
  REQUIRE(bool(r));
  REQUIRE(r->has_value());
  CHECK((*r)->deployment_id.empty());
  CHECK((*r)->artifact_name.empty());
}

}  // namespace mgw::mender::deployments_test
