#include <mgw/http/target.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace mgw::http::target_test {

TEST_CASE("the four forms of a target are told apart") {
  using enum target_form;
  struct {
    std::string_view method, target;
    target_form form;
    std::string_view scheme, authority, path, query;
    bool has_query;
  } const cases[] = {
      {"GET", "/", origin, "", "", "/", "", false},
      {"GET", "/a/b?c=d", origin, "", "", "/a/b", "c=d", true},
      {"GET", "/a?", origin, "", "", "/a", "", true},
      {"GET", "/a?b?c", origin, "", "", "/a", "b?c", true},
      {"GET", "/?", origin, "", "", "/", "", true},
      {"GET", "//a", origin, "", "", "//a", "", false},
      {"POST", "/a|\"{}<>^`", origin, "", "", "/a|\"{}<>^`", "", false},
      {"OPTIONS", "/a", origin, "", "", "/a", "", false},
      {"OPTIONS", "*", asterisk, "", "", "*", "", false},
      {"GET", "http://a", absolute, "http", "a", "/", "", false},
      {"GET", "HTTP://A:8080/b?c", absolute, "HTTP", "A:8080", "/b", "c", true},
      {"GET", "https://[::1]:1?c", absolute, "https", "[::1]:1", "/", "c", true},
      {"OPTIONS", "http://a", absolute, "http", "a", "*", "", false},
      {"OPTIONS", "http://a/", absolute, "http", "a", "/", "", false},
      {"OPTIONS", "http://a/a", absolute, "http", "a", "/a", "", false},
      {"OPTIONS", "http://a?a", absolute, "http", "a", "/", "a", true},
      {"CONNECT", "a:443", authority, "", "a:443", "", "", false},
      {"CONNECT", "[::1]:443", authority, "", "[::1]:443", "", "", false},
  };
  for (auto const& c : cases) {
    CAPTURE(c.method);
    CAPTURE(c.target);
    std::string const text(c.target);
    auto const t = parse_target(text, c.method);
    REQUIRE(t);
    CHECK(bool(t->form == c.form));
    CHECK(t->scheme == c.scheme);
    CHECK(t->authority == c.authority);
    CHECK(t->path == c.path);
    CHECK(t->query == c.query);
    CHECK(t->has_query == c.has_query);
    for (std::size_t n = 0; n < text.size(); ++n) {
      std::string const cut = text.substr(0, n);
      auto const p = parse_target(cut, c.method);
      if (p && p->form == origin) CHECK(p->path.starts_with('/'));
    }
  }
}

TEST_CASE("a target in no form is refused") {
  struct {
    std::string_view method, target;
  } const cases[] = {
      {"GET", ""},
      {"GET", "*"},
      {"POST", "*"},
      {"options", "*"},
      {"OPTIONS", "**"},
      {"GET", "a"},
      {"GET", "a/b"},
      {"GET", "?x"},
      {"GET", "a:443"},
      {"GET", "/a#b"},
      {"GET", "http://a/#b"},
      {"GET", "/a b"},
      {"GET", "/a\tb"},
      {"GET", "/a\r\nb"},
      {"GET", "/\x7f"},
      {"GET", "/\xc3\xa9"},
      {"GET", "ftp://a/"},
      {"GET", "http://u@a/"},
      {"GET", "http:///a"},
      {"GET", "http:a"},
      {"GET", "http://"},
      {"CONNECT", "/a"},
      {"CONNECT", "*"},
      {"CONNECT", "a"},
      {"CONNECT", "a:"},
      {"CONNECT", "a:0"},
      {"CONNECT", ":443"},
      {"CONNECT", "a:443/"},
      {"CONNECT", "http://a:443"},
      {"CONNECT", "u@a:443"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.method);
    CAPTURE(c.target);
    CHECK_FALSE(parse_target(c.target, c.method));
  }
  CHECK_FALSE(parse_target(std::string_view("/a\0b", 4), "GET"));
}

TEST_CASE("an ordinary path is normal") {
  for (std::string_view const good : {"/",
                                      "/a",
                                      "/a/",
                                      "/api/devices/v1/deployments/device/deployments/next",
                                      "/api/devices/v2/deployments/device/deployments/next",
                                      "/api/devices/v1/authentication/auth_requests",
                                      "/api/devices/v1/inventory/device/attributes",
                                      "/api/devices/v1/deployments/download/configuration/a/raspberrypi%204/b",
                                      "/a%20b",
                                      "/a%20",
                                      "/%C3%A9t%c3%a9",
                                      "/%E2%82%AC",
                                      "/%F0%9F%98%80",
                                      "/100%25",
                                      "/100%25/x",
                                      "/%25zz",
                                      "/%2541",
                                      "/%25%34%31",
                                      "/a.b/c..d/.e/..f/g./h../...",
                                      "/.well-known/x",
                                      "/a;b=c/d",
                                      "/a;",
                                      "/a%3Bb",
                                      "/~a/-b/_c/!$&'()*+,=:@",
                                      "/a|b{c}\"d\"",
                                      "/%41%6d"}) {
    CAPTURE(good);
    CHECK(is_normal_path(good));
  }
}

TEST_CASE("a path that some upstream could read as another is not normal") {
  for (std::string_view const bad : {
           "",
           "a",
           "*",
           "?",
           "http://evil.example/api/devices/v1/x",
           "//api/management/v1/x",
           "/api//management/v1/x",
           "//",
           "/a//",
           "/./api/management/v1/x",
           "/.",
           "/..",
           "/a/.",
           "/a/..",
           "/a/./",
           "/a/../",
           "/api/devices/v1/../../management/v1/x",
           "/api/devices/v1/%2e%2e/%2e%2e/management/v1/x",
           "/api/devices/v1/%2E%2E/x",
           "/api/devices/v1/..%2f..%2fmanagement/v1/x",
           "/api/devices/v1/.%2e/.%2e/management/v1/x",
           "/api/devices/v1/%2e./x",
           "/api/devices/v1/..;/..;/management/v1/x",
           "/api/devices/v1/..;a=b/x",
           "/api/devices/v1/.;/x",
           "/api/devices/v1/..%3b/x",
           "/api/devices/v1/..%3B/x",
           "/api/devices/v1/..%253b/x",
           "/api/devices/v1/..%20/x",
           "/api/devices/v1/.%c3%a9",
           "/;/a",
           "/a/;x",
           "/a/%3bx/b",
           "/a/%3Bx/b",
           "/api/devices/v1/..\\..\\management/v1/x",
           "/a\\b",
           "/a%5cb",
           "/a%5Cb",
           "/a%2fb",
           "/a%2Fb",
           "/a%2eb",
           "/api/devices/v1/%252e%252e/%252e%252e/management/v1/x",
           "/a%252Eb",
           "/a%252fb",
           "/a%252Fb",
           "/a%255cb",
           "/a%255Cb",
           "/a%2500b",
           "/a%250ab",
           "/a%257fb",
           "/a%253bb",
           "/a%25252e",
           "/a%2525",
           "/a%25%32%65",
           "/a%25%32e",
           "/a%252%65",
           "/a%25%35%63",
           "/api/devices/v1/%2e%2e%2f%2e%2e%2fmanagement",
           "/api/devices/v1/\x7f",
           "/api/devices/v1/%7f",
           "/api/devices/v1/%00/../../../management/v1/x",
           "/a%00",
           "/api/devices/v1/a%0d%0aX-Evil:%201",
           "/a%09",
           "/a%1f",
           "/a%c0%ae",
           "/a%c0%af",
           "/a%C1%9C",
           "/a%e0%80%ae",
           "/a%E0%80%AF",
           "/a%f0%80%80%ae",
           "/a%25c0%25ae",
           "/%",
           "/a%",
           "/a%2",
           "/a%2g",
           "/a%g2",
           "/a%%32",
           "/a% 20",
           "/a b",
           "/a\tb",
           "/a\nb",
           "/\xc3\xa9",
           "/\x80",
           "/\xff",
           "/a?b",
           "/a#b",
       }) {
    CAPTURE(bad);
    CHECK_FALSE(is_normal_path(bad));
  }
  CHECK_FALSE(is_normal_path(std::string_view("/a\0b", 4)));
}

TEST_CASE("a path has one normal spelling") {
  struct {
    std::string_view path, want;
  } const cases[] = {
      {"/", "/"},
      {"//", "/"},
      {"///a//b///", "/a/b/"},
      {"/a/./b/../c", "/a/c"},
      {"/a//../b", "/b"},
      {"/..", "/"},
      {"/../..//x", "/x"},
      {"/a/..", "/"},
      {"/a/.", "/a/"},
      {"/a/b/..", "/a/"},
      {"/%61%2D%7e%5F%30", "/a-~_0"},
      {"/%2e%2E/a", "/a"},
      {"/a/%2e./b", "/b"},
      {"/%2f%3a%c3%a9", "/%2F%3A%C3%A9"},
      {"/a%2fb/..", "/"},
      {"/%2541", "/%2541"},
      {"/%252e%252e/a", "/%252e%252e/a"},
      {"/api/%6danagement", "/api/management"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.path);
    auto const got = normalize_path(c.path);
    REQUIRE(got);
    CHECK(*got == c.want);
  }
  for (std::string_view const bad : {"", "a", "%2fa", "*", "/%", "/%2", "/%2g", "/%g2", "/a%%41"}) {
    CAPTURE(bad);
    CHECK(normalize_path(bad).error() == std::errc::invalid_argument);
  }
}

namespace {

/// What a server may make of a path, once: escapes decoded, those that are none left alone.
std::string decoded(std::string_view path) {
  auto const digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < path.size(); ++i) {
    bool const escape = path[i] == '%' && path.size() - i > 2 && digit(path[i + 1]) >= 0 && digit(path[i + 2]) >= 0;
    out += escape ? static_cast<char>(digit(path[i + 1]) * 16 + digit(path[i + 2])) : path[i];
    if (escape) i += 2;
  }
  return out;
}
std::vector<std::string> segments(std::string_view path) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < path.size();) {
    std::size_t const end = std::min(path.find('/', at + 1), path.size());
    out.emplace_back(path.substr(at + 1, end - at - 1));
    at = end;
  }
  return out;
}
/// True if a server that drops path parameters and final blanks finds a segment in it that is none, or climbs.
bool climbs_or_vanishes(std::string_view path) {
  auto const all = segments(path);
  for (std::size_t i = 0; i < all.size(); ++i) {
    std::string s = all[i].substr(0, all[i].find(';'));
    if (s.empty() && (i + 1 != all.size() || !all[i].empty())) return true;
    while (s.ends_with(' ')) s.pop_back();
    if (s == "." || s == "..") return true;
  }
  return false;
}

/// What must hold of any path at all. Counts the ones that are normal. (A doctest assertion for each would take
/// minutes.)
void check_path(std::string const& path, int& accepted, int& normal) {
  auto const must = [&path](bool holds, char const* what) {
    CAPTURE(path);
    if (!holds) FAIL(what);
  };
  auto const once = normalize_path(path);
  bool const is_normal = is_normal_path(path);
  std::string room;
  auto const matched = path_to_match(path, room);
  must(static_cast<bool>(matched) == is_normal, "rules see what is normal, and nothing else");
  if (!once) {
    must(!is_normal, "what is normal has a normal spelling");
    return;
  }
  ++accepted;
  auto const twice = normalize_path(*once);
  must(twice && *twice == *once, "normalizing twice changes nothing");
  must(once->starts_with('/') && once->find("//") == std::string::npos, "no empty segment is left");
  must((*once + '/').find("/./") == std::string::npos && (*once + '/').find("/../") == std::string::npos,
       "no dot segment is left");
  if (!is_normal) return;
  ++normal;
  must(*matched == *once, "rules see the normal spelling");
  must(is_normal_path(*once), "the normal spelling is normal");
  // Only the spelling differs: the same segments, which decode to the same bytes.
  auto const before = segments(path), after = segments(*once);
  must(before.size() == after.size(), "as many segments");
  for (std::size_t i = 0; i < before.size(); ++i) must(decoded(before[i]) == decoded(after[i]), "the same segments");
  // Whether a server decodes never, once or twice, before it splits or after: it finds those segments, and only those.
  std::string form = path;
  for (int decodings = 0; decodings < 3; ++decodings, form = decoded(form)) {
    must(segments(form).size() == before.size(), "as many segments, decoded");
    must(!climbs_or_vanishes(form), "no segment climbs or vanishes, decoded");
    must(std::none_of(form.begin(), form.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; }),
         "no backslash and no control character, decoded");
  }
}

constexpr std::string_view alphabet[] = {"/",   "/",   "/",   ".",   ".",   "..",  "/..",  "/.",  "%2e", "%2E", "%2f",
                                         "%2F", "%5c", "\\",  "%",   "%25", "2",   "e",    "f",   "a",   "B",   "%41",
                                         "%7E", ";",   "%3b", "%00", "%c3", "%A9", "%252", "%c0", "~",   "-",   "%20",
                                         "%3B", "5",   "c",   "%32", "%35", "%e0", "%80",  "%af", "\xc3"};

}  // namespace

TEST_CASE("normalizing twice changes nothing, and what is normal only changes its spelling: random paths") {
  std::mt19937 random(20240229);
  std::uniform_int_distribution<std::size_t> letter(0, std::size(alphabet) - 1), length(0, 14);
  int normal = 0, accepted = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string path = "/";
    for (std::size_t n = length(random); n > 0; --n) path += alphabet[letter(random)];
    check_path(path, accepted, normal);
  }
  CHECK(accepted > 10'000);
  CHECK(normal > 500);
}

TEST_CASE("normalizing twice changes nothing, and what is normal only changes its spelling: all short paths") {
  int normal = 0, accepted = 0;
  for (std::string_view const a : alphabet)
    for (std::string_view const b : alphabet)
      for (std::string_view const c : alphabet) {
        std::string path = "/";
        path.append(a).append(b).append(c);
        check_path(path, accepted, normal);
      }
  CHECK(accepted > 30'000);
  CHECK(normal > 3'000);
}

TEST_CASE("a path is judged the same with an escape in it, for which it is looked at more closely: all short paths") {
  std::string_view const letters = "/.;%a3Bb\\#? 2e\x7f\x80";
  std::size_t normal = 0, all = 1;
  for (std::size_t length = 0; length != 5; ++length, all *= letters.size())
    for (std::size_t k = 0; k != all; ++k) {
      std::string path = "/";
      for (std::size_t i = 0, rest = k; i != length; ++i, rest /= letters.size()) path += letters[rest % letters.size()];
      bool const is_normal = is_normal_path(path);
      normal += is_normal ? 1 : 0;
      if (is_normal == is_normal_path("/%41" + path)) continue;
      CAPTURE(path);
      CHECK(is_normal == is_normal_path("/%41" + path));
    }
  CHECK(normal > 1000);
}

TEST_CASE("every escape of one byte and of that byte's escape is judged, in any case of its digits") {
  int normal = 0, accepted = 0;
  for (int byte = 0; byte < 256; ++byte)
    for (char const* digits : {"0123456789abcdef", "0123456789ABCDEF"}) {
      std::string const escape = {'%', digits[byte / 16], digits[byte % 16]};
      std::string const twice = "%25" + escape.substr(1);
      for (auto const& e : {escape, twice})
        for (auto const& path : {"/a" + e + "b", "/" + e, "/a/" + e + "/b", "/." + e + "/a", "/.." + e, "/a" + e})
          check_path(path, accepted, normal);
    }
  CHECK(accepted == 256 * 2 * 2 * 6);
}

TEST_CASE("the path that rules see: itself without an escape, else its one spelling; none if it is not normal") {
  std::string room = "untouched";
  std::string const plain = "/a/b;c/..d/";
  auto const same = path_to_match(plain, room);
  REQUIRE(same);
  CHECK(same->data() == plain.data());
  CHECK(room == "untouched");
  auto const spelled = path_to_match("/%61dmin/%c3%a9%2C", room);
  REQUIRE(spelled);
  CHECK(*spelled == "/admin/%C3%A9%2C");
  for (std::string_view const bad : {"", "*", "/a/../b", "/a%2fb", "/a//b", "/%", "/%2561"}) {
    CAPTURE(bad);
    CHECK(static_cast<bool>(path_to_match(bad, room)) == (bad == "/%2561"));
  }
}

}  // namespace mgw::http::target_test
