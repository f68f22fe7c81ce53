#include <mgw/http/uri.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::http::uri_test {

TEST_CASE("a URI comes apart byte for byte") {
  struct {
    std::string_view text;
    std::string_view host;
    std::uint16_t port;
    bool explicit_port, tls;
    std::string_view authority;
    std::string_view path;
    std::string_view query;
    bool has_query;
    std::string_view request_target;
  } const cases[] = {
      {"http://a", "a", 80, false, false, "a", "/", "", false, "/"},
      {"http://a/", "a", 80, false, false, "a", "/", "", false, "/"},
      {"https://a", "a", 443, false, true, "a", "/", "", false, "/"},
      {"HTTPS://A.Example/X", "A.Example", 443, false, true, "A.Example", "/X", "", false, "/X"},
      {"http://a:8080/x", "a", 8080, true, false, "a:8080", "/x", "", false, "/x"},
      {"http://a:80/x", "a", 80, true, false, "a:80", "/x", "", false, "/x"},
      {"https://a:00443/x", "a", 443, true, true, "a:00443", "/x", "", false, "/x"},
      {"http://a:/x", "a", 80, false, false, "a:", "/x", "", false, "/x"},
      {"http://a:65535", "a", 65535, true, false, "a:65535", "/", "", false, "/"},
      {"http://a?x=1", "a", 80, false, false, "a", "/", "x=1", true, "/?x=1"},
      {"http://a?", "a", 80, false, false, "a", "/", "", true, "/?"},
      {"http://a/?", "a", 80, false, false, "a", "/", "", true, "/?"},
      {"http://a/b?c?d/e", "a", 80, false, false, "a", "/b", "c?d/e", true, "/b?c?d/e"},
      {"http://a/b#c?d", "a", 80, false, false, "a", "/b", "", false, "/b"},
      {"http://a#c", "a", 80, false, false, "a", "/", "", false, "/"},
      {"http://a/b?c#d#e", "a", 80, false, false, "a", "/b", "c", true, "/b?c"},
      {"http://a//b/../c/./%2e%2F%zz", "a", 80, false, false, "a", "//b/../c/./%2e%2F%zz", "", false,
       "//b/../c/./%2e%2F%zz"},
      {"http://a/x@y:z", "a", 80, false, false, "a", "/x@y:z", "", false, "/x@y:z"},
      {"http://127.0.0.1:9000/b/k", "127.0.0.1", 9000, true, false, "127.0.0.1:9000", "/b/k", "", false, "/b/k"},
      {"http://[::1]:9000/b", "[::1]", 9000, true, false, "[::1]:9000", "/b", "", false, "/b"},
      {"https://[2001:DB8::1]/b", "[2001:DB8::1]", 443, false, true, "[2001:DB8::1]", "/b", "", false, "/b"},
      {"https://s3.docker.mender.io.:443/x", "s3.docker.mender.io.", 443, true, true, "s3.docker.mender.io.:443", "/x",
       "", false, "/x"},
      {"http://mender_s3/x", "mender_s3", 80, false, false, "mender_s3", "/x", "", false, "/x"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.text);
    std::string const text(c.text);
    auto const u = parse_uri(text);
    REQUIRE(u);
    CHECK(u->host == c.host);
    CHECK(u->port == c.port);
    CHECK(u->explicit_port == c.explicit_port);
    CHECK(u->tls == c.tls);
    CHECK(u->authority == c.authority);
    CHECK(u->path == c.path);
    CHECK(u->query == c.query);
    CHECK(u->has_query == c.has_query);
    CHECK(u->request_target() == c.request_target);
    CHECK(text.starts_with(u->scheme));
    for (std::size_t n = 0; n < text.size(); ++n) {
      std::string const cut = text.substr(0, n);  // its own memory: a read past the end shows under ASan
      auto const p = parse_uri(cut);
      if (p) CHECK(p->request_target().starts_with('/'));
    }
  }
}

TEST_CASE("a signed link goes out as it came in") {
  std::string const link =
      "https://s3.amazonaws.com/hosted-mender-artifacts/5abcb6de7a673a0001287c71/b0c05f55-4e95-4b1c-9b4d-1a3b1d3c6e5f"
      "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=DUMMY%2F20200101%2Fus-east-1%2Fs3%2Faws4_request"
      "&X-Amz-Date=20200101T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
      "&response-content-type=application%2Fvnd.mender-artifact&X-Amz-Signature=00ff";
  auto const u = parse_uri(link);
  REQUIRE(u);
  CHECK(u->host == "s3.amazonaws.com");
  CHECK("https://" + std::string(u->authority) + u->request_target() == link);
}

TEST_CASE("a URI we do not take is refused") {
  for (std::string_view const bad : {"",
                                     "http",
                                     "http:",
                                     "http:/",
                                     "http://",
                                     "http:///x",
                                     "http://?x",
                                     "http://#x",
                                     "http:a/x",
                                     "//a/x",
                                     "/x",
                                     "a/x",
                                     "*",
                                     "http://user@a/x",
                                     "http://user:pw@a/x",
                                     "http://@a/x",
                                     "http://a@b:80/",
                                     "http://a:0/",
                                     "http://a:65536/",
                                     "http://a:99999/",
                                     "http://a:080000/",
                                     "http://a:-1/",
                                     "http://a:+1/",
                                     "http://a:1a/",
                                     "http://a:80:80/",
                                     "http://:80/",
                                     "http://a b/",
                                     "http://a/b c",
                                     "http://a/b\tc",
                                     "http://a/b\r\nHost: x",
                                     "http://a/\x7f",
                                     "http://a/\xc3\xa9",
                                     "http://\xc3\xa9/",
                                     " http://a/",
                                     "http://a/ ",
                                     "http://a\\b/",
                                     "http://a\\@b/",
                                     "http://a%2eb/",
                                     "http://a..b/",
                                     "http://.a/",
                                     "http://./",
                                     "http://a../",
                                     "http://a!b/",
                                     "http://a,b/",
                                     "http://[::1/",
                                     "http://::1/",
                                     "http://[]/",
                                     "http://[/",
                                     "http://]/",
                                     "http://[::1]x/",
                                     "http://[::1]:x/",
                                     "http://[::1%25eth0]/",
                                     "http://[v1.x]/",
                                     "http://[127.0.0.1]/",
                                     "http://[:::]/",
                                     "http://[1:]/",
                                     "http://[:1]/",
                                     "http://[1::2::3]/",
                                     "http://[1:2:3:4:5:6:7]/",
                                     "http://[1:2:3:4:5:6:7:8:9]/",
                                     "http://[1:2:3:4:5:6:7:8::]/",
                                     "http://[12345::]/",
                                     "http://[g::]/",
                                     "http://[::1.2.3]/",
                                     "http://[::1.2.3.256]/",
                                     "http://[1:2:3:4:5:6:7:1.2.3.4]/",
                                     "http://2130706433/",
                                     "http://0x7f000001/",
                                     "http://0X7F.1/",
                                     "http://127.1/",
                                     "http://127.0.0.1./",
                                     "http://127.0.0.01/",
                                     "http://127.0.0.256/",
                                     "http://127.0.0.1.1/",
                                     "http://1.2.3.0x/",
                                     "http://a.1/"}) {
    CAPTURE(bad);
    CHECK(parse_uri(bad).error() == std::errc::invalid_argument);
  }
  for (std::string_view const other :
       {"ftp://a/x", "file:///etc/passwd", "gopher://a", "httpx://a", "htt://a", "unix:/x", "://a"})
    CHECK(parse_uri(other).error() == std::errc::protocol_not_supported);
  CHECK_FALSE(parse_uri(std::string_view("http://a/\0x", 11)));
  CHECK_FALSE(parse_uri(std::string_view("http://a\0.b/x", 13)));
}

TEST_CASE("long names are bounded as DNS bounds them") {
  std::string const label(63, 'a');
  CHECK(parse_uri("http://" + label + "/"));
  CHECK_FALSE(parse_uri("http://" + label + "a/"));
  std::string const name = label + '.' + label + '.' + label + '.' + std::string(61, 'a');
  CHECK(parse_uri("http://" + name + "./"));
  CHECK_FALSE(parse_uri("http://" + name + "bb/"));
}

TEST_CASE("IPv6 addresses are read in every form") {
  for (std::string_view const good : {"[::]", "[::1]", "[1::]", "[1::8]", "[1:2:3:4:5:6:7:8]", "[::2:3:4:5:6:7:8]",
                                      "[1:2:3:4:5:6:7::]", "[1:2:3:4:5:6:1.2.3.4]", "[::ffff:1.2.3.4]", "[::1.2.3.4]",
                                      "[64:ff9b::192.0.2.33]", "[fe80::ABCD:ef01]", "[1:2:3:4:5::1.2.3.4]"}) {
    CAPTURE(good);
    auto const h = parse_host_and_port(good);
    REQUIRE(h);
    CHECK(h->host == good);
    CHECK_FALSE(h->port);
  }
}

TEST_CASE("the value of a Host field comes apart") {
  auto const h = parse_host_and_port("gateway.local:8443");
  REQUIRE(h);
  CHECK(h->host == "gateway.local");
  CHECK(h->port == 8443);
  for (std::string_view const bad : {"", ":", ":80", "a/b", "a?b", "a b", "a,b", "a:80,b:80", "u@a", "a:65536"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_host_and_port(bad));
  }
}

TEST_CASE("dot segments are removed as in RFC 3986 5.2.4") {
  struct {
    std::string_view path, want;
  } const cases[] = {
      {"/a/b/c/./../../g", "/a/g"},
      {"/", "/"},
      {"/.", "/"},
      {"/..", "/"},
      {"/./", "/"},
      {"/../", "/"},
      {"/../../a", "/a"},
      {"/a/..", "/"},
      {"/a/.", "/a/"},
      {"/a/b/..", "/a/"},
      {"/a/b/../", "/a/"},
      {"/a//../b", "/a/b"},
      {"//a", "//a"},
      {"/a//", "/a//"},
      {"/.../..a/.b/c.", "/.../..a/.b/c."},
      {"/%2e%2e/a", "/%2e%2e/a"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.path);
    CHECK(remove_dot_segments(c.path) == c.want);
  }
}

TEST_CASE("references resolve as in RFC 3986 5.4") {
  struct {
    std::string_view reference, want;
  } const cases[] = {
      {"g", "http://a/b/c/g"},
      {"./g", "http://a/b/c/g"},
      {"g/", "http://a/b/c/g/"},
      {"/g", "http://a/g"},
      {"//g", "http://g"},
      {"?y", "http://a/b/c/d;p?y"},
      {"g?y", "http://a/b/c/g?y"},
      {"#s", "http://a/b/c/d;p?q"},
      {"g#s", "http://a/b/c/g"},
      {"g?y#s", "http://a/b/c/g?y"},
      {";x", "http://a/b/c/;x"},
      {"g;x", "http://a/b/c/g;x"},
      {"", "http://a/b/c/d;p?q"},
      {".", "http://a/b/c/"},
      {"./", "http://a/b/c/"},
      {"..", "http://a/b/"},
      {"../", "http://a/b/"},
      {"../g", "http://a/b/g"},
      {"../..", "http://a/"},
      {"../../", "http://a/"},
      {"../../g", "http://a/g"},
      {"../../../g", "http://a/g"},
      {"../../../../g", "http://a/g"},
      {"/./g", "http://a/g"},
      {"/../g", "http://a/g"},
      {"g.", "http://a/b/c/g."},
      {".g", "http://a/b/c/.g"},
      {"g..", "http://a/b/c/g.."},
      {"..g", "http://a/b/c/..g"},
      {"./../g", "http://a/b/g"},
      {"./g/.", "http://a/b/c/g/"},
      {"g/./h", "http://a/b/c/g/h"},
      {"g/../h", "http://a/b/c/h"},
      {"g;x=1/./y", "http://a/b/c/g;x=1/y"},
      {"g;x=1/../y", "http://a/b/c/y"},
      {"g?y/./x", "http://a/b/c/g?y/./x"},
      {"g?y/../x", "http://a/b/c/g?y/../x"},
      {"?a:b", "http://a/b/c/d;p?a:b"},
      {"/a:b", "http://a/a:b"},
      {"?", "http://a/b/c/d;p?"},
      // what has an authority of its own stands as it is
      {"https://other:8443/x/../y//z?q=%2f#f", "https://other:8443/x/../y//z?q=%2f"},
      {"//other:8080/x/./y?q", "http://other:8080/x/./y?q"},
      {"HTTP://Other", "HTTP://Other"},
  };
  std::string const base_text = "http://a/b/c/d;p?q";
  auto const base = parse_uri(base_text);
  REQUIRE(base);
  for (auto const& c : cases) {
    CAPTURE(c.reference);
    auto const got = resolve_reference(*base, c.reference);
    REQUIRE(got);
    CHECK(*got == c.want);
    CHECK(parse_uri(*got));
  }
}

TEST_CASE("a base without a path resolves, and its port is kept") {
  struct {
    std::string_view base, reference, want;
  } const cases[] = {
      {"https://a:8443", "x", "https://a:8443/x"},      {"https://a:8443", "", "https://a:8443/"},
      {"https://a:8443?q", "", "https://a:8443/?q"},    {"https://a:8443?q", "?r", "https://a:8443/?r"},
      {"https://a:8443?q", "../x", "https://a:8443/x"}, {"https://[::1]:1/a", "/.//evil", "https://[::1]:1//evil"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.base);
    CAPTURE(c.reference);
    auto const base = parse_uri(c.base);
    REQUIRE(base);
    auto const got = resolve_reference(*base, c.reference);
    REQUIRE(got);
    CHECK(*got == c.want);
  }
}

TEST_CASE("a Location that leads nowhere we go is refused") {
  auto const base = parse_uri("http://a/b");
  REQUIRE(base);
  for (std::string_view const bad : {"http:g", "http:///x", "https://u:p@b/", "//", "///x", "//u@b/x", "a b", "x\r\ny",
                                     "\xc3\xa9", "http://127.1/", "//0x7f.1/"}) {
    CAPTURE(bad);
    CHECK(resolve_reference(*base, bad).error() == std::errc::invalid_argument);
  }
  for (std::string_view const bad : {"ftp://b/", "file:///etc/passwd", "javascript:1", "x:y", ":x"}) {
    CAPTURE(bad);
    CHECK(resolve_reference(*base, bad).error() == std::errc::protocol_not_supported);
  }
}

TEST_CASE("RFC 9110 4.2.3: an authority without a port names the default one of the scheme, and hosts have no case") {
  struct {
    char const *uri, *authority;
    bool same;
  } const cases[] = {
      {"https://a.example/x", "a.example", true},      {"https://a.example:443/x", "A.example", true},
      {"https://A.example/x", "a.example:443", true},  {"http://a.example:80/x", "a.example", true},
      {"http://a.example/x", "a.example:443", false},  {"https://a.example:444/x", "a.example", false},
      {"https://a.example/x", "a.example:444", false}, {"https://[::1]:443/x", "[::1]", true},
      {"https://a.example/x", "b.example", false},     {"https://a.example/x", "a.example.", false},
      {"https://a.example/x", "", false},              {"https://a.example/x", "a.example:x", false},
  };
  for (auto const& c : cases) {
    CAPTURE(c.uri);
    CAPTURE(c.authority);
    CHECK(is_authority_of(*parse_uri(c.uri), c.authority) == c.same);
  }
}

}  // namespace mgw::http::uri_test
