#pragma once

#include <openssl/bio.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/objects.h>
#include <openssl/pem.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

namespace detail {

struct openssl_free {
  void operator()(BIO* p) const noexcept { BIO_free(p); }
  void operator()(EVP_PKEY* p) const noexcept { EVP_PKEY_free(p); }
  void operator()(EVP_MD_CTX* p) const noexcept { EVP_MD_CTX_free(p); }
  void operator()(ECDSA_SIG* p) const noexcept { ECDSA_SIG_free(p); }
};
template <class T>
using openssl_ptr = std::unique_ptr<T, openssl_free>;

inline unsigned char const* as_unsigned(std::string_view s) noexcept {
  return reinterpret_cast<unsigned char const*>(s.data());
}

/// The DER form of a P-256 signature that is r and s, 32 bytes each.
inline std::string der_of_raw_signature(std::string_view raw) {
  openssl_ptr<ECDSA_SIG> const both(ECDSA_SIG_new());
  BIGNUM* r = BN_bin2bn(as_unsigned(raw), 32, nullptr);
  BIGNUM* s = BN_bin2bn(as_unsigned(raw) + 32, 32, nullptr);
  if (!both || r == nullptr || s == nullptr || ECDSA_SIG_set0(both.get(), r, s) != 1) {
    BN_free(r);
    BN_free(s);
    return {};
  }
  unsigned char* der = nullptr;
  int const n = i2d_ECDSA_SIG(both.get(), &der);
  if (n <= 0) return {};
  std::string out(reinterpret_cast<char const*>(der), static_cast<std::size_t>(n));
  OPENSSL_free(der);
  return out;
}

inline bool verifies(EVP_PKEY* key, std::string_view text, std::string_view signature) {
  openssl_ptr<EVP_MD_CTX> const context(EVP_MD_CTX_new());
  return context && EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
         EVP_DigestVerify(context.get(), as_unsigned(signature), signature.size(), as_unsigned(text), text.size()) == 1;
}

}  // namespace detail

/// The public keys by which an artifact may be signed: any one of them will do.
class artifact_keys {
public:
  /// Adds the keys in a PEM text ("PUBLIC KEY"): RSA of 2048 bits and more, ECDSA P-256. False, and none is added:
  /// there is none, or one of another kind. `label` is what label() says of them.
  bool add(std::string_view pem, std::string const& label) {
    if (pem.size() > std::size_t{std::numeric_limits<int>::max()}) return false;
    detail::openssl_ptr<BIO> const in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
    std::vector<key> found;
    while (in) {
      detail::openssl_ptr<EVP_PKEY> one(PEM_read_bio_PUBKEY(in.get(), nullptr, nullptr, nullptr));
      if (!one) break;
      if (!usable(one.get())) {
        found.clear();
        break;
      }
      found.push_back({std::move(one), label});
    }
    ERR_clear_error();  // the queue is the thread's: what stays there is found by others
    for (auto& k : found) keys_.push_back(std::move(k));
    return !found.empty();
  }
  bool empty() const noexcept { return keys_.empty(); }
  std::string const& label(std::size_t i) const { return keys_.at(i).label; }

  /// The key by which `signature` is that of `text`: RSA PKCS#1 v1.5 or ECDSA, over SHA-256. ECDSA signatures are r and
  /// s, 32 bytes each, as mender-artifact writes them, or DER, which a hardware module makes.
  std::optional<std::size_t> signer(std::string_view text, std::string_view signature) const {
    std::optional<std::size_t> out;
    for (std::size_t i = 0; i != keys_.size() && !out; ++i) {
      EVP_PKEY* const k = keys_[i].value.get();
      bool good = detail::verifies(k, text, signature);
      if (!good && signature.size() == 64 && EVP_PKEY_get_base_id(k) == EVP_PKEY_EC)
        good = detail::verifies(k, text, detail::der_of_raw_signature(signature));
      if (good) out = i;
    }
    ERR_clear_error();
    return out;
  }

private:
  struct key {
    detail::openssl_ptr<EVP_PKEY> value;
    std::string label;
  };
  static bool usable(EVP_PKEY* k) {
    if (EVP_PKEY_get_base_id(k) == EVP_PKEY_RSA) return EVP_PKEY_get_bits(k) >= 2048;
    char group[64] = {};
    return EVP_PKEY_get_base_id(k) == EVP_PKEY_EC && EVP_PKEY_get_group_name(k, group, sizeof group, nullptr) == 1 &&
           std::string_view(group) == SN_X9_62_prime256v1;
  }
  std::vector<key> keys_;
};

}  // namespace gateway
