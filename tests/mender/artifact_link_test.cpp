#include <mgw/mender/artifact_link.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::mender::artifact_link_test {
namespace {

cache::key key_of(char digit) {
  return *cache::key::from_hex(std::string(64, digit));
}
std::string secret_of(char c) {
  return std::string(24, c);
}

link_claims sample() {
  link_claims c;
  c.url = "https://s3.example.com/bucket/obj?X-Amz-Expires=86400&X-Amz-Signature=abc";
  c.headers = {{"X-Auth", "token 1"}, {"x-empty", ""}};
  c.device_id = "0c3a0b2e-7dec-41d0-a765-00a0c91e6bf6";
  c.issued = 1'790'000'000;
  c.expires = c.issued + 86'400;
  c.import = true;
  return c;
}

}  // namespace

TEST_CASE("each token has an id of its own, the same each time") {
  link_sealer const sealer({secret_of('s')});
  std::string const one = sealer.seal(key_of('a'), sample()), other = sealer.seal(key_of('a'), sample());
  auto const id = token_id(one);
  REQUIRE(id);
  CHECK(token_id(std::string(one)) == id);
  CHECK(token_id(other) != id);
  CHECK_FALSE(token_id("short"));
}

TEST_CASE("a token opens to what was sealed, beside its own key only") {
  link_sealer const sealer({secret_of('s')});
  std::string const token = sealer.seal(key_of('a'), sample());
  REQUIRE_FALSE(token.empty());
  auto const claims = sealer.open(key_of('a'), token);
  REQUIRE(bool(claims));
  CHECK(*claims == sample());
  CHECK(sealer.open(key_of('b'), token).error() == mender_error::not_authentic);
  CHECK(token.find("s3.example") == std::string::npos);
  CHECK(sealer.seal(key_of('a'), sample()) != token);  // each has its own salt
}

TEST_CASE("tokens of two keys cannot be swapped") {
  link_sealer const sealer({secret_of('s')});
  std::string const a = sealer.seal(key_of('a'), sample());
  std::string const b = sealer.seal(key_of('b'), sample());
  CHECK(bool(sealer.open(key_of('a'), a)));
  CHECK(bool(sealer.open(key_of('b'), b)));
  CHECK_FALSE(bool(sealer.open(key_of('a'), b)));
  CHECK_FALSE(bool(sealer.open(key_of('b'), a)));
}

TEST_CASE("a token is worth nothing in a link of the other kind") {
  link_sealer const sealer({secret_of('s')});
  for (link_kind const kind : {link_kind::shared, link_kind::own}) {
    link_kind const other = kind == link_kind::own ? link_kind::shared : link_kind::own;
    std::string const token = sealer.seal(key_of('a'), sample(), kind);
    std::string const path = artifact_path(key_of('a'), token, kind);
    CHECK(path.starts_with(prefix_of(kind)));
    auto const parts = match_artifact_path(path);
    REQUIRE(parts);
    CHECK(parts->kind == kind);
    CHECK(parts->token == token);
    CHECK(bool(sealer.open(key_of('a'), token, kind)));
    CHECK(sealer.open(key_of('a'), token, other).error() == mender_error::not_authentic);
    CHECK_FALSE(bool(sealer.open(key_of('b'), token, kind)));
  }
}

TEST_CASE("configurations, from the server or through another gateway, are one link's own") {
  std::string const hex(64, 'a');
  struct {
    std::string url;
    link_kind kind;
  } const cases[] = {
      {"https://hosted.mender.io/api/devices/v1/deployments/download/configuration/d/type/dev?x-men-signature=s",
       link_kind::own},
      {"https://server/prefix/api/devices/v1/deployments/download/configuration/d/raspberry%20pi/dev", link_kind::own},
      {"http://gw:8080/api/gateway/v1/private/" + hex + "/token", link_kind::own},
      {"https://gw/site-1/api/gateway/v1/private/" + hex + "/token", link_kind::own},
      {"https://gw/api/gateway/v1/artifacts/" + hex + "/token", link_kind::shared},
      {"https://s3.example/bucket/a.mender?X-Amz-Signature=s", link_kind::shared},
      {"https://s3.example/download/configuration", link_kind::shared},
      {"https://s3.example/a?/download/configuration/", link_kind::shared},
      {"https://s3.example/download/configurations/x", link_kind::shared},
  };
  for (auto const& c : cases) {
    CAPTURE(c.url);
    auto const u = http::parse_uri(c.url);
    REQUIRE(u);
    CHECK(kind_of(*u) == c.kind);
  }
}

TEST_CASE("a token with any other character at any place is refused") {
  link_sealer const sealer({secret_of('s')});
  link_claims c = sample();
  c.headers.clear();
  for (std::size_t extra = 0; extra < 3; ++extra) {  // each number of bits left over at the end
    c.url += "x";
    std::string const token = sealer.seal(key_of('a'), c);
    REQUIRE(bool(sealer.open(key_of('a'), token)));
    std::size_t accepted = 0;
    std::string altered = token;
    for (std::size_t i = 0; i < token.size(); ++i) {
      for (char const other : base64url_alphabet) {
        if (other == token[i]) continue;
        altered[i] = other;
        if (sealer.open(key_of('a'), altered)) ++accepted;
      }
      altered[i] = token[i];
    }
    CHECK(accepted == 0);
  }
}

TEST_CASE("a token shortened or prolonged is refused") {
  link_sealer const sealer({secret_of('s')});
  std::string const token = sealer.seal(key_of('a'), sample());
  for (std::size_t n = 0; n < token.size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(bool(sealer.open(key_of('a'), token.substr(0, n))));
    CHECK_FALSE(bool(sealer.open(key_of('a'), token.substr(token.size() - n))));
  }
  for (std::string_view const tail : {"A", "AA", "AAAA", "=", "==", " ", "/", "%"}) {
    CAPTURE(tail);
    CHECK_FALSE(bool(sealer.open(key_of('a'), token + std::string(tail))));
  }
  CHECK(sealer.open(key_of('a'), std::string(max_link_size + 1, 'A')).error() == mender_error::too_long);
  CHECK(sealer.open(key_of('a'), std::string(max_link_size, 'A')).error() == mender_error::malformed);
  CHECK(sealer.open(key_of('a'), "AQ" + std::string(max_link_size - 4, 'A')).error() == mender_error::not_authentic);
}

TEST_CASE("the first secret seals and all of them open") {
  link_sealer const old({secret_of('o')});
  link_sealer const rotated({secret_of('n'), secret_of('o')});
  link_sealer const fresh({secret_of('n')});
  std::string const before = old.seal(key_of('a'), sample());
  std::string const after = rotated.seal(key_of('a'), sample());
  CHECK(bool(rotated.open(key_of('a'), before)));
  CHECK(bool(rotated.open(key_of('a'), after)));
  CHECK(bool(fresh.open(key_of('a'), after)));
  CHECK(fresh.open(key_of('a'), before).error() == mender_error::not_authentic);
  CHECK(old.open(key_of('a'), after).error() == mender_error::not_authentic);
}

TEST_CASE("a token sealed earlier still opens") {
  // Made by another implementation: HKDF-SHA256 (RFC 5869), AES-256-GCM, secret "0123456789abcdef", salt 00..0f.
  link_sealer const sealer({"0123456789abcdef"});
  auto const claims =
      sealer.open(key_of('a'), "AQABAgMEBQYHCAkKCwwNDg88A3dR1i821fsMoRJSjGwKkxs9IsRGJzm-caqqKsWL-ew5ueuz");
  REQUIRE(bool(claims));
  CHECK(claims->url == "https://h/p?q");
  CHECK(claims->device_id == "dev-1");
  CHECK(claims->issued == 1000);
  CHECK(claims->expires == 1300);
  CHECK(claims->headers == cache::header_list{{"A", "b"}});
  CHECK_FALSE(claims->import);
}

TEST_CASE("claims of any bytes survive") {
  link_sealer const sealer({secret_of('s')});
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  std::vector<link_claims> cases(9);
  cases[1].url = all;
  cases[1].device_id = all;
  cases[1].headers = {{all, all}, {"", ""}};
  cases[2].url = "https://";
  cases[3].url = "https:/";
  cases[4].issued = std::numeric_limits<std::int64_t>::min();
  cases[4].expires = std::numeric_limits<std::int64_t>::max();
  cases[5].issued = std::numeric_limits<std::int64_t>::max();
  cases[5].expires = std::numeric_limits<std::int64_t>::min();
  cases[6].device_id = "0C3A0B2E-7DEC-41D0-A765-00A0C91E6BF6";  // upper case is no UUID of the short form
  cases[7].device_id = "0c3a0b2e-7dec-41d0-a765x00a0c91e6bf6";
  cases[8].headers.resize(200);
  for (link_claims const& c : cases) {
    auto const out = sealer.open(key_of('c'), sealer.seal(key_of('c'), c));
    REQUIRE(bool(out));
    CHECK(*out == c);
  }
}

TEST_CASE("claims cut short are refused, at every length before the URL") {
  link_claims c = sample();
  c.url.clear();
  std::string const bytes = encode_claims(c);
  CHECK(*decode_claims(bytes) == c);
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(bool(decode_claims(bytes.substr(0, n))));
  CHECK_FALSE(bool(decode_claims("\xFF")));
  CHECK_FALSE(
      bool(decode_claims(std::string("\x08\x01\x01") + '\0' + std::string(9, '\xFF') + "\x01")));  // 2^64-1 fields
  CHECK_FALSE(bool(decode_claims(std::string(1, '\0') + std::string(11, '\xFF'))));  // a number without end
}

TEST_CASE("a link is at most a third longer than its URL, and 200 bytes") {
  link_sealer const sealer({secret_of('s')});
  link_claims c = sample();
  c.headers.clear();
  for (std::size_t const size : {20U, 64U, 65U, 66U, 500U, 2500U, 8000U}) {
    c.url = "https://s3.example.com/" + std::string(size, 'u');
    std::string const link =
        "https://gateway-3.plant.example.com:8443" + artifact_path(key_of('f'), sealer.seal(key_of('f'), c));
    CAPTURE(link.size());
    CHECK(link.size() <= c.url.size() * 4 / 3 + 200);
  }
}

TEST_CASE("what does not fit into a link is not sealed") {
  link_sealer const sealer({secret_of('s')});
  link_claims c;
  std::size_t longest = 0;
  for (std::size_t size = 12'000; size < 12'400; ++size) {
    c.url.assign(size, 'u');
    std::string const token = sealer.seal(key_of('a'), c);
    if (token.empty()) break;
    longest = size;
    std::string const path = artifact_path(key_of('a'), token);
    REQUIRE(path.size() <= max_link_size);
    REQUIRE(bool(match_artifact_path(path)));
  }
  CHECK(longest > 12'100);
  CHECK(longest < 12'399);
  c.url.assign(1 << 20, 'u');
  CHECK(sealer.seal(key_of('a'), c).empty());
}

TEST_CASE("secrets that are missing or short are refused at construction") {
  CHECK_THROWS_AS(link_sealer({}), std::invalid_argument);
  CHECK_THROWS_AS(link_sealer({secret_of('a'), std::string(15, 'x')}), std::invalid_argument);
  CHECK_NOTHROW(link_sealer({std::string(16, 'x')}));
  CHECK(random_secret().size() == 32);
  CHECK(random_secret() != random_secret());
}

TEST_CASE("secrets are base64 or text") {
  auto const one = [](std::string_view text) { return (*parse_secrets(text)).at(0); };
  CHECK(one("KDbQ+Z9asYtPdRQoakM5lGs6xgkWyNx4").size() == 24);
  CHECK(one("KDbQ+Z9asYtPdRQoakM5lGs6xgkWyNx4").substr(0, 3) == "\x28\x36\xD0");
  CHECK(one("MDEyMzQ1Njc4OWFiY2RlZg==") == "0123456789abcdef");
  CHECK(one("a plain pass phrase") == "a plain pass phrase");
  CHECK(one("MDEyMzQ1Njc4OWFiY2RlZg=") == "MDEyMzQ1Njc4OWFiY2RlZg=");
  auto const two = parse_secrets(" KDbQ+Z9asYtPdRQoakM5lGs6xgkWyNx4 ,\ta plain pass phrase\n");
  REQUIRE(bool(two));
  CHECK(two->size() == 2);
  CHECK((*two)[1] == "a plain pass phrase");
  for (std::string_view const bad : {"", ",", " ", "a plain pass phrase,", ",a plain pass phrase"}) {
    CAPTURE(bad);
    CHECK(parse_secrets(bad).error() == mender_error::malformed);
  }
  CHECK(parse_secrets("short").error() == mender_error::secret_too_short);
  CHECK(parse_secrets("fifteen letters").error() == mender_error::secret_too_short);
  CHECK(parse_secrets("abcdefghijklmnop").error() == mender_error::secret_too_short);  // base64 of 12 bytes
}

TEST_CASE("the path of a link has one spelling") {
  std::string const hex(64, 'a');
  std::string const good = std::string(artifact_prefix) + hex + "/Tok-en_9";
  auto const parts = match_artifact_path(good);
  REQUIRE(parts.has_value());
  CHECK(parts->key == key_of('a'));
  CHECK(parts->token == "Tok-en_9");
  CHECK(artifact_path(parts->key, parts->token) == good);

  std::string const prefix(artifact_prefix);
  for (std::string const& bad : {std::string(),
                                 prefix,
                                 prefix + hex,
                                 prefix + hex + "/",
                                 prefix + hex + "/tok/",
                                 prefix + hex + "/tok/x",
                                 prefix + hex + "/tok=",
                                 prefix + hex + "/tok%41",
                                 prefix + hex + "/to.k",
                                 prefix + hex + "/to+k",
                                 prefix + hex + "/tok?x",
                                 prefix + hex + "//tok",
                                 prefix + hex.substr(1) + "/tok",
                                 prefix + hex + "a/tok",
                                 prefix + std::string(64, 'A') + "/tok",
                                 prefix + std::string(64, 'g') + "/tok",
                                 "/" + good,
                                 good + "/",
                                 "/API" + good.substr(4),
                                 prefix + "..%2f" + hex + "/tok",
                                 prefix + "tok",
                                 hex + "/tok",
                                 prefix + hex + std::string("/to\0k", 5),
                                 prefix + hex + "/" + std::string(max_link_size, 'A')}) {
    CAPTURE(bad);
    CHECK_FALSE(match_artifact_path(bad).has_value());
  }
}

TEST_CASE("every error has its text") {
  std::set<std::string> texts;
  for (int e = 1; e <= 6; ++e) texts.insert(make_error_code(static_cast<mender_error>(e)).message());
  CHECK(texts.size() == 6);
  CHECK(std::string_view(mender_category().name()) == "mgw.mender");
}

}  // namespace mgw::mender::artifact_link_test
