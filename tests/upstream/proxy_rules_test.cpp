#include <mgw/upstream/proxy_rules.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

namespace mgw::upstream::proxy_rules_test {

TEST_CASE("an HTTP proxy is read as HTTP_PROXY has it, credentials percent-decoded") {
  struct {
    char const* text;
    char const* where;          // nullptr: not accepted
    char const* authorization;  // RFC 7617
  } const cases[] = {
      {"http://proxy.test:3128", "http://proxy.test:3128", ""},
      {"HTTP://proxy.test:3128/", "http://proxy.test:3128", ""},
      {"proxy.test", "http://proxy.test:80", ""},
      {"proxy.test:8080", "http://proxy.test:8080", ""},
      {"http://[::1]:3128", "http://[::1]:3128", ""},
      {"http://u:p@10.0.0.1:3128/", "http://10.0.0.1:3128", "Basic dTpw"},
      {"http://Aladdin:open%20sesame@p", "http://p:80", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
      {"http://u:a@b%40@p", "http://p:80", "Basic dTphQGJA"},
      {"http://u@p", "http://p:80", "Basic dTo="},
      {"u:p@p:1", "http://p:1", "Basic dTpw"},
      {"", nullptr, ""},
      {"http://", nullptr, ""},
      {"https://proxy.test", nullptr, ""},
      {"socks5://proxy.test:1080", nullptr, ""},
      {"http://proxy.test:0", nullptr, ""},
      {"http://proxy.test:99999", nullptr, ""},
      {"http://u:%4@p", nullptr, ""},
      {"http://u:%zz@p", nullptr, ""},
      {"http://a%3Ab:p@p", nullptr, ""},
      {"http://u:pa/ss@p", nullptr, ""},
      {"http://pro xy", nullptr, ""},
      {"http://p\r\nEvil: 1", nullptr, ""},
  };
  for (auto const& c : cases) {
    CAPTURE(c.text);
    auto const p = http_proxy::parse(c.text);
    CHECK(static_cast<bool>(p) == (c.where != nullptr));
    if (!p || c.where == nullptr) continue;
    CHECK(p->where.text() == c.where);
    CHECK(p->authorization == c.authorization);
  }
  CHECK(http_proxy::parse("u:" + std::string(4094, 'x') + "@p"));
  CHECK_FALSE(http_proxy::parse("u:" + std::string(4095, 'x') + "@p"));
}

TEST_CASE("NO_PROXY says which hosts are connected to directly") {
  struct {
    char const* no_proxy;
    char const* host;
    std::uint16_t port;
    bool direct;
  } const cases[] = {
      {"", "a.test", 443, false},
      {"*", "a.test", 443, true},
      {"b.test,*", "a.test", 443, true},
      {"a.test", "a.test", 443, true},
      {"a.test", "A.Test.", 443, true},
      {"A.TEST.", "a.test", 443, true},
      {"a.test", "x.a.test", 443, true},
      {"a.test", "xa.test", 443, false},
      {"a.test", "test", 443, false},
      {".a.test", "a.test", 443, false},
      {".a.test", "x.a.test", 443, true},
      {".a.test", "xa.test", 443, false},
      {"*.a.test", "x.y.a.test", 443, true},
      {"*.a.test", "a.test", 443, false},
      {"a.test:443", "a.test", 443, true},
      {"a.test:443", "a.test", 444, false},
      {"b.test, c.test  a.test", "a.test", 443, true},
      {"b.test;a.test,", "a.test", 443, true},
      {"10.1.2.3", "10.1.2.3", 80, true},
      {"10.1.2.3", "10.1.2.4", 80, false},
      {"10.1.2.3:80", "10.1.2.3", 80, true},
      {"10.1.2.3:80", "10.1.2.3", 81, false},
      {"10.0.0.0/8", "10.255.0.1", 80, true},
      {"10.0.0.0/8", "11.0.0.1", 80, false},
      {"10.0.0.0/9", "10.128.0.1", 80, false},
      {"0.0.0.0/0", "8.8.8.8", 80, true},
      {"0.0.0.0/0", "2000::1", 80, false},
      {"10.0.0.0/33", "10.0.0.1", 80, false},
      {"10.0.0.0/x", "10.0.0.1", 80, false},
      {"10.0.0.0/8", "ten.test", 80, false},
      {"fd00::/8", "fd12::1", 80, true},
      {"fd00::/8", "fe12::1", 80, false},
      {"2000::1", "2000::1", 80, true},
      {"[2000::1]", "2000::1", 80, true},
      {"[2000::1]:80", "2000::1", 80, true},
      {"[2000::1]:80", "2000::1", 81, false},
      {"10.1.2.3", "::ffff:10.1.2.3", 80, true},
      {"", "localhost", 80, true},
      {"", "LocalHost", 80, true},
      {"", "127.0.0.1", 80, true},
      {"", "127.1.2.3", 80, true},
      {"", "::1", 80, true},
      {"", "127.evil.test", 80, false},
      {".", "a.test", 80, false},
      {":", "a.test", 80, false},
      {"/", "a.test", 80, false},
  };
  http_proxy const proxy = *http_proxy::parse("http://p.test");
  for (auto const& c : cases) {
    CAPTURE(c.no_proxy);
    CAPTURE(c.host);
    CAPTURE(c.port);
    proxy_rules const rules(proxy, proxy, c.no_proxy);
    for (bool const tls : {false, true}) CHECK((rules.of(endpoint(c.host, c.port, tls)) == nullptr) == c.direct);
  }
}

TEST_CASE("http and https servers have each their own proxy") {
  auto const http = http_proxy::parse("http://a.test"), https = http_proxy::parse("http://b.test");
  endpoint const plain("x.test", 80, false), tls("x.test", 443, true);
  proxy_rules const both(*http, *https, "");
  CHECK(both.of(plain)->where.host == "a.test");
  CHECK(both.of(tls)->where.host == "b.test");
  proxy_rules const one(std::nullopt, *https, "");
  CHECK(one.of(plain) == nullptr);
  CHECK(one.of(tls)->where.host == "b.test");
  CHECK_FALSE(one.empty());
  CHECK(proxy_rules().empty());
  CHECK(proxy_rules().of(tls) == nullptr);
}

}  // namespace mgw::upstream::proxy_rules_test
