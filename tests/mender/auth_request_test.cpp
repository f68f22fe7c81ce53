#include <mgw/mender/auth_request.hpp>
// The header under test comes first.
#include <mgw/mender/identity.hpp>
#include <mgw/mender/public_key.hpp>

#include <support/test_pki.hpp>

#include <doctest/doctest.h>
#include <openssl/evp.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>

namespace mgw::mender::auth_request_test {
namespace {

using test::pki::key_kind;
using test::pki::make_key;
using test::pki::public_pem_of;

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  int const n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<unsigned char const*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}
/// As a client signs.
std::string sign(EVP_PKEY* key, std::string_view text) {
  net::openssl_ptr<EVP_MD_CTX> const c(EVP_MD_CTX_new());
  std::string out(static_cast<std::size_t>(EVP_PKEY_get_size(key)), '\0');
  std::size_t n = out.size();
  REQUIRE(EVP_DigestSignInit(c.get(), nullptr, test::pki::digest_for(key), nullptr, key) == 1);
  REQUIRE(EVP_DigestSign(c.get(), reinterpret_cast<unsigned char*>(out.data()), &n,
                         reinterpret_cast<unsigned char const*>(text.data()), text.size()) == 1);
  out.resize(n);
  return base64(out);
}
std::string body_of(std::string_view id_data, std::string_view pem, std::string_view more = {}) {
  std::string out = "{\"id_data\":";
  append_json_string(out, id_data);
  out += ",\"pubkey\":";
  append_json_string(out, pem);
  return out.append(more).append("}\n");
}
std::string identity_of(std::string_view id_data) {
  auto const r = canonical_identity(id_data);
  return r ? *r : "error: " + r.error().message();
}

// What the Go client 3.4.0 sent with an ECDSA key, and its X-MEN-Signature.
constexpr std::string_view go_body =
    R"({"id_data":"{\"mac\":\"02:00:00:00:00:01\",\"serial\":\"cap-1\"}","tenant_token":"","pubkey":"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEk8NBEBh3JCWOnEJFk92DQeRnU/ad\nbQCQoexsdpN4DqRRPK6WYk/lKn4FV0ocG0l9jxEiJ1bS1CY2y7bTTnMLPA==\n-----END PUBLIC KEY-----\n"})"
    "\n";
constexpr std::string_view go_signature =
    "MEUCIQD454PfGn38NtLhm3eKWN+pAhK0Wun2luM7bpDPmZbYawIgeFfBTQr8eAb6zKACemrRmX9s7Dn5yFKfNSl+5cvK9G4=";

}  // namespace

TEST_CASE("what a real client has sent is read, and its signature is good over the very bytes") {
  auto const r = parse_auth_request(go_body);
  REQUIRE(r);
  CHECK(r->id_data == R"({"mac":"02:00:00:00:00:01","serial":"cap-1"})");
  CHECK(r->identity == r->id_data);
  CHECK(r->pubkey.starts_with("-----BEGIN PUBLIC KEY-----\n"));
  CHECK(r->tenant_token.empty());
  CHECK(r->key.has_signed(go_body, go_signature));
  CHECK_FALSE(r->key.has_signed(go_body.substr(0, go_body.size() - 1), go_signature));
}

TEST_CASE("a signature by each kind of key is good; one over other bytes, by another key or garbled is not") {
  for (key_kind const kind : {key_kind::rsa2048, key_kind::p256, key_kind::ed25519}) {
    CAPTURE(static_cast<int>(kind));
    auto const key = make_key(kind), other = make_key(kind);
    std::string const body = body_of(R"({"mac":"aa"})", public_pem_of(key.get()));
    auto const r = parse_auth_request(body);
    REQUIRE(r);
    std::string const good = sign(key.get(), body);
    CHECK(r->key.has_signed(body, good));
    CHECK_FALSE(r->key.has_signed(body + " ", good));
    CHECK_FALSE(r->key.has_signed(body, sign(other.get(), body)));
    for (std::string const& bad : {std::string(), std::string("!"), std::string("AAAA"), good.substr(4), good + "AAAA"})
      CHECK_FALSE(r->key.has_signed(body, bad));
  }
}

TEST_CASE("members of any order and other members make no difference; the token is told") {
  auto const key = make_key(key_kind::p256);
  std::string const pem = public_pem_of(key.get());
  std::string json = "{\"tier\":\"standard\",\"pubkey\":";
  append_json_string(json, pem);
  json += R"(, "more":{"pubkey":1,"id_data":[2]}, "tenant_token":"t.o.k", "id_data":"{\"b\":1,\"a\":2}" })";
  auto const r = parse_auth_request(json);
  REQUIRE(r);
  CHECK(r->tenant_token == "t.o.k");
  CHECK(r->id_data == R"({"b":1,"a":2})");
  CHECK(r->identity == R"({"a":2,"b":1})");
  auto const same = public_key::parse(pem);
  REQUIRE(same);
  CHECK(r->key.der() == same->der());
}

TEST_CASE("a request in which two parsers could read two identities or keys is refused") {
  std::string const pem = public_pem_of(make_key(key_kind::p256).get());
  std::string const id = R"({"mac":"aa"})";
  REQUIRE(parse_auth_request(body_of(id, pem)));
  for (std::string const more :
       {R"(,"id_data":"{\"mac\":\"bb\"}")", R"(,"ID_DATA":"{\"mac\":\"bb\"}")", R"(,"Id_Data":null)", R"(,"pubkey":"")",
        R"(,"PubKey":"x")",
        "\"pub\xE2\x84\xAA"
        "ey\":\"x\"",
        ",\"pub\xE2\x84\xAA"
        "ey\":\"x\"",
        R"(,"\u0069d_data":"{}")", R"(,"tenant_token":1)", R"(,"tenant_token":"a","tenant_token":"b")", ",", "}{"}) {
    CAPTURE(more);
    CHECK_FALSE(parse_auth_request(body_of(id, pem, more)));
  }
}

TEST_CASE("whom a request names is told in one spelling, and not if a server could read another one") {
  CHECK(claimed_identity(R"({"id_data":"{\"b\":1, \"a\":2}","pubkey":"none"})") == R"({"a":2,"b":1})");
  CHECK(claimed_identity(R"({"id_data":"no JSON"})") == "no JSON");
  for (std::string_view const none :
       {"", "{}", "no JSON", R"({"id_data":{"a":1}})", R"({"id_data":"a","id_data":"b"})",
        R"({"id_data":"a","ID_DATA":"b"})", R"({"ID_DATA":"a"})", R"({"id_data":"a"} x)", R"({"id_data":"a")"}) {
    CAPTURE(none);
    CHECK(claimed_identity(none).empty());
  }
}

TEST_CASE("a request that says no identity or no usable key is refused") {
  std::string const pem = public_pem_of(make_key(key_kind::p256).get());
  for (std::string const id : {"", "{}", "[]", "null", "\"a\"", "{\"a\":1,}", "{\"a\":1} x", "{\"a\":1,\"a\":1}"}) {
    CAPTURE(id);
    CHECK_FALSE(parse_auth_request(body_of(id, pem)));
  }
  std::string garbled = pem;
  garbled[40] = '!';
  std::string const secret = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
  for (std::string const& bad : {std::string(), std::string("key"), garbled, secret, std::string(17 * 1024, 'a')}) {
    CAPTURE(bad.size());
    CHECK_FALSE(parse_auth_request(body_of(R"({"a":1})", bad)));
  }
  for (std::string const body : {"", "[]", "{}", "null", R"({"id_data":"{\"a\":1}"})", "{\"id_data\":{\"a\":1}}"}) {
    CAPTURE(body);
    CHECK_FALSE(parse_auth_request(body));
  }
}

TEST_CASE("keys of other kinds than clients have are refused") {
  auto const refused = [](EVP_PKEY* made) {
    net::openssl_ptr<EVP_PKEY> const key(made);
    return !public_key::parse(public_pem_of(key.get()));
  };
  CHECK(refused(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519")));
  CHECK(refused(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED448")));
}

TEST_CASE("spellings that a server takes for one identity are one, and others are not") {
  std::string const plain = identity_of(R"({"mac":"aa","n":1})");
  CHECK(plain == R"({"mac":"aa","n":1})");
  for (char const* same : {R"({"n":1,"mac":"aa"})", " {\t\"mac\" : \"aa\",\n\"n\":1 } ", R"({"mac":"\u0061a","n":1.0})",
                           R"({"\u006dac":"aa","n":1e0})", R"({"mac":"aa","n":10e-1})"}) {
    CAPTURE(same);
    CHECK(identity_of(same) == plain);
  }
  for (char const* other : {R"({"mac":"aa","n":2})", R"({"mac":"aa","n":"1"})", R"({"mac":"aa"})",
                            R"({"mac":"aa","n":[1]})", R"({"MAC":"aa","n":1})", R"({"mac":"aa ","n":1})"}) {
    CAPTURE(other);
    CHECK(identity_of(other) != plain);
  }
  CHECK(identity_of(R"({"a":{"y":[1,{"c":1,"b":true}],"x":null}})") == R"({"a":{"x":null,"y":[1,{"b":true,"c":1}]}})");
  CHECK(identity_of(R"({"n":9007199254740993})") == identity_of(R"({"n":9007199254740992})"));
  CHECK(identity_of(R"({"a":"x\"y\\"})") == R"({"a":"x\"y\\"})");
}

TEST_CASE("an identity with a member twice, at any depth, or a number that no double holds is refused") {
  for (char const* bad : {R"({"a":1,"a":2})", R"({"a":{"b":1,"b":1}})", R"({"a":1,"\u0061":1})", R"({"n":1e999})"}) {
    CAPTURE(bad);
    CHECK(canonical_identity(bad).error() == make_error_code(mender_error::malformed));
  }
  CHECK(canonical_identity("{\"a\":1").error() == make_error_code(mender_error::not_json));
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100; ++i) deep += '[';
  CHECK(canonical_identity(deep).error() == make_error_code(mender_error::too_deep));
}

}  // namespace mgw::mender::auth_request_test
