#include "artifact/keys.hpp"

#include "artifact_signing.hpp"
#include "artifact_support.hpp"

#include <doctest/doctest.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstddef>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace gateway::artifact_keys_test {
namespace {

struct signing {
  key_ptr rsa{EVP_RSA_gen(2048)};
  key_ptr other_rsa{EVP_RSA_gen(2048)};
  key_ptr ec{EVP_EC_gen("P-256")};
  key_ptr other_ec{EVP_EC_gen("P-256")};
};

}  // namespace

TEST_CASE("artifact keys: which are taken") {
  artifact_keys keys;
  CHECK(keys.empty());
  CHECK(keys.add(pem_of(key_ptr(EVP_RSA_gen(2048))), "rsa"));
  CHECK(keys.add("text before\n" + pem_of(key_ptr(EVP_EC_gen("P-256"))) + pem_of(key_ptr(EVP_EC_gen("P-256"))), "two"));
  CHECK(keys.label(0) == "rsa");
  CHECK(keys.label(2) == "two");
  artifact_keys none;
  CHECK_FALSE(none.add("", "x"));
  CHECK_FALSE(none.add("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "x"));
  CHECK_FALSE(none.add(pem_of(key_ptr(EVP_RSA_gen(1024))), "x"));
  CHECK_FALSE(none.add(pem_of(key_ptr(EVP_EC_gen("P-384"))), "x"));
  CHECK_FALSE(none.add(pem_of(key_ptr(EVP_EC_gen("P-256"))) + pem_of(key_ptr(EVP_EC_gen("P-384"))), "x"));
  CHECK_FALSE(none.add(pem_of(key_ptr(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"))), "x"));
  CHECK(none.empty());
}

TEST_CASE("artifact keys: signatures, any of several keys") {
  signing const k;
  artifact_sample s;
  std::string const text = s.manifest();
  struct {
    char const* what;
    std::string signature;
    key_ptr const& key;
  } const cases[] = {
      {"RSA", sign(k.rsa, text), k.rsa},
      {"ECDSA, DER", sign(k.ec, text), k.ec},
      {"ECDSA, r and s", raw_of(sign(k.ec, text)), k.ec},
  };
  for (auto const& c : cases) {
    CAPTURE(c.what);
    s.signature = base64(c.signature);
    artifact_keys keys;
    CHECK(keys.add(pem_of(k.other_rsa), "other rsa"));
    CHECK(keys.add(pem_of(k.other_ec), "other ec"));
    check_refused(s, artifact_error::bad_signature, "manifest.sig", {}, keys);
    CHECK(keys.add(pem_of(c.key), "right"));
    std::string const bytes = s.all();
    artifact_reader reader(read_from(bytes, 100), keys, {});
    CHECK(reader.read_head());
    CHECK(reader.info().signature == signature_state::good);
    CHECK(keys.label(reader.info().signer) == "right");
    CHECK(reader.read_payloads());

    // Line ends in it mean nothing.
    for (std::string const& lines : {s.signature + "\n", s.signature.substr(0, 64) + "\r\n" + s.signature.substr(64)}) {
      artifact_sample wrapped = s;
      wrapped.signature = lines;
      std::string const all = wrapped.all();
      artifact_reader again(read_from(all), keys, {});
      CHECK(again.read_head());
    }

    // Without keys it is not looked at.
    artifact_keys const no_keys;
    artifact_reader unchecked(read_from(bytes), no_keys, {});
    CHECK(unchecked.read_payloads());
    CHECK(unchecked.info().signature == signature_state::not_checked);

    // Each byte of the signature counts; so does each of the manifest.
    for (std::size_t i = 0; i < c.signature.size(); i += 9) {
      std::string wrong = c.signature;
      wrong[i] ^= 16;
      artifact_sample bad = s;
      bad.signature = base64(wrong);
      check_refused(bad, artifact_error::bad_signature, "manifest.sig", {}, keys);
    }
    artifact_sample other = s;
    other.files[0].content += 'x';
    check_refused(other, artifact_error::bad_signature, "manifest.sig", {}, keys);
    for (std::string const& spoiled :
         {s.signature + "=", " " + s.signature, std::string("!"), base64(c.signature + "x"),
          base64(c.signature.substr(1)), base64(std::string(64, '\0')), base64(std::string(64, '\xff')), base64("0")}) {
      artifact_sample bad = s;
      bad.signature = spoiled;
      check_refused(bad, artifact_error::bad_signature, "manifest.sig", {}, keys);
    }
    artifact_sample unsigned_one = s;
    unsigned_one.signature.clear();
    check_refused(unsigned_one, artifact_error::unsigned_manifest, "", {}, keys);
    CHECK(ERR_peek_error() == 0);
  }
}

}  // namespace gateway::artifact_keys_test
