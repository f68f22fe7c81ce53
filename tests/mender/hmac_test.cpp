#include <mgw/mender/hmac.hpp>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <doctest/doctest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>

namespace mgw::mender::hmac_test {

static std::string hex(sha256_bytes const& bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (unsigned const b : bytes) (out += digits[b >> 4]) += digits[b & 15];
  return out;
}

TEST_CASE("RFC 4231 section 4: examples of HMAC-SHA256") {
  sha256_bytes out;
  REQUIRE(hmac_sha256(std::string(20, '\x0b'), "Hi There", out));
  CHECK(hex(out) == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  REQUIRE(hmac_sha256("Jefe", "what do ya want for nothing?", out));
  CHECK(hex(out) == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  REQUIRE(hmac_sha256(std::string(20, '\xaa'), std::string(50, '\xdd'), out));
  CHECK(hex(out) == "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
}

TEST_CASE("keys and texts of any length give what OpenSSL's own function gives") {
  for (std::size_t key = 0; key <= 64; ++key)
    for (std::size_t const size : {0U, 1U, 55U, 56U, 63U, 64U, 65U, 200U}) {
      std::string const k(key, static_cast<char>(key * 3)), text(size, static_cast<char>(size));
      sha256_bytes ours, theirs;
      REQUIRE(hmac_sha256(k, text, ours));
      REQUIRE(HMAC(EVP_sha256(), k.data(), static_cast<int>(k.size()),
                   reinterpret_cast<unsigned char const*>(text.data()), text.size(), theirs.data(),
                   nullptr) != nullptr);
      CAPTURE(key);
      CAPTURE(size);
      if (ours != theirs) CHECK(hex(ours) == hex(theirs));
    }
}

}  // namespace mgw::mender::hmac_test
