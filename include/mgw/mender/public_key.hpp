#pragma once

#include <mgw/core/result.hpp>
#include <mgw/mender/base64.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/net/openssl_ptr.hpp>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender {

/// A device's public key: RSA, ECDSA on a named curve, or Ed25519. Thread rule: one thread at a time.
class public_key {
public:
  static constexpr std::size_t max_pem = 16 * 1024;
  static constexpr int max_bits = 8192;  // what verifying costs grows with it

  /// Errors: malformed, also for a kind that no Mender client has; too_long.
  static result<public_key> parse(std::string_view pem);

  /// The key in DER (SubjectPublicKeyInfo): the same for every spelling in PEM.
  std::string const& der() const noexcept { return der_; }
  /// Whether `signature`, base64 as in `X-MEN-Signature`, is one of `text` by this key: RSA PKCS#1 v1.5 or ECDSA (ASN.1
  /// DER) over SHA-256, or Ed25519 over the text itself.
  bool has_signed(std::string_view text, std::string_view signature) const;

private:
  public_key(net::openssl_ptr<EVP_PKEY> key, std::string der) : key_(std::move(key)), der_(std::move(der)) {}

  net::openssl_ptr<EVP_PKEY> key_;
  std::string der_;
};

inline result<public_key> public_key::parse(std::string_view pem) {
  if (pem.size() > max_pem) return mender_error::too_long;
  ERR_clear_error();
  net::openssl_ptr<BIO> const in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  auto const no_password = [](char*, int, int, void*) { return -1; };
  net::openssl_ptr<EVP_PKEY> key(in ? PEM_read_bio_PUBKEY(in.get(), nullptr, no_password, nullptr) : nullptr);
  ERR_clear_error();
  if (!key) return mender_error::malformed;
  int const kind = EVP_PKEY_get_base_id(key.get());
  if (kind != EVP_PKEY_RSA && kind != EVP_PKEY_EC && kind != EVP_PKEY_ED25519) return mender_error::malformed;
  if (EVP_PKEY_get_bits(key.get()) > max_bits) return mender_error::too_long;
  if (kind == EVP_PKEY_EC) {
    char group[80];
    std::size_t n = 0;
    bool const named = EVP_PKEY_get_group_name(key.get(), group, sizeof group, &n) == 1;
    bool const plain = EVP_PKEY_set_utf8_string_param(key.get(), OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                                      OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) == 1;
    ERR_clear_error();
    if (!named || !plain) return mender_error::malformed;
  }
  unsigned char* bytes = nullptr;
  int const n = i2d_PUBKEY(key.get(), &bytes);
  ERR_clear_error();
  if (n <= 0) return mender_error::malformed;
  std::string der(reinterpret_cast<char const*>(bytes), static_cast<std::size_t>(n));
  OPENSSL_free(bytes);
  return public_key(std::move(key), std::move(der));
}

inline bool public_key::has_signed(std::string_view text, std::string_view signature) const {
  auto const raw = decode_base64(signature);
  if (!raw || raw->empty()) return false;
  auto const bytes = [](std::string_view s) { return reinterpret_cast<unsigned char const*>(s.data()); };
  EVP_MD const* const digest = EVP_PKEY_get_base_id(key_.get()) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
  net::openssl_ptr<EVP_MD_CTX> const context(EVP_MD_CTX_new());
  bool const good = context && EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key_.get()) == 1 &&
                    EVP_DigestVerify(context.get(), bytes(*raw), raw->size(), bytes(text), text.size()) == 1;
  ERR_clear_error();
  return good;
}

}  // namespace mgw::mender
