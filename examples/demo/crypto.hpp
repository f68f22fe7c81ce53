#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

struct free_openssl {
  void operator()(EVP_MD_CTX* p) const noexcept { EVP_MD_CTX_free(p); }
  void operator()(EVP_PKEY* p) const noexcept { EVP_PKEY_free(p); }
  void operator()(BIO* p) const noexcept { BIO_free(p); }
};
template <class T>
using openssl_ptr = std::unique_ptr<T, free_openssl>;

inline unsigned char const* bytes_of(std::string_view s) noexcept {
  return reinterpret_cast<unsigned char const*>(s.data());
}

inline std::string to_hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (char const c : bytes) {
    auto const u = static_cast<unsigned char>(c);
    out += digits[u >> 4U];
    out += digits[u & 15U];
  }
  return out;
}

/// Base64 with padding, as signatures are sent.
inline std::string to_base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock ends with a NUL
  int const n =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(bytes), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

inline std::string random_bytes(std::size_t n) {
  std::string out(n, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(n)) != 1)
    throw std::runtime_error("the system has no randomness to give");
  return out;
}

/// SHA-256 of what is fed to it.
class sha256 {
public:
  sha256() : context_(EVP_MD_CTX_new()) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  void update(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  /// The digest in hex. Once.
  std::string hex() {
    std::array<char, EVP_MAX_MD_SIZE> raw;
    unsigned n = 0;
    EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(raw.data()), &n);
    return to_hex(std::string_view(raw.data(), n));
  }

private:
  openssl_ptr<EVP_MD_CTX> context_;
};

inline std::string sha256_hex(std::string_view bytes) {
  sha256 h;
  h.update(bytes);
  return h.hex();
}

inline std::string hmac_sha256(std::string_view key, std::string_view text) {
  std::array<char, EVP_MAX_MD_SIZE> raw;
  unsigned n = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(text), text.size(),
       reinterpret_cast<unsigned char*>(raw.data()), &n);
  return {raw.data(), n};
}

/// Whether `signature` is the one of `text` by the PEM public key: RSA PKCS#1 v1.5 or ECDSA (DER) over SHA-256,
/// Ed25519.
enum class verdict { good, bad_signature, bad_key };
inline verdict verify(std::string_view public_key_pem, std::string_view text, std::string_view signature) {
  openssl_ptr<BIO> const pem(BIO_new_mem_buf(public_key_pem.data(), static_cast<int>(public_key_pem.size())));
  openssl_ptr<EVP_PKEY> const key(PEM_read_bio_PUBKEY(pem.get(), nullptr, nullptr, nullptr));
  if (!key) return verdict::bad_key;
  int const kind = EVP_PKEY_get_base_id(key.get());
  if (kind != EVP_PKEY_RSA && kind != EVP_PKEY_EC && kind != EVP_PKEY_ED25519) return verdict::bad_key;
  EVP_MD const* const digest = kind == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
  openssl_ptr<EVP_MD_CTX> const context(EVP_MD_CTX_new());
  bool const good =
      EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key.get()) == 1 &&
      EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(text), text.size()) == 1;
  return good ? verdict::good : verdict::bad_signature;
}

/// The key as this program spells it; empty if it is none.
inline std::string normalized_key(std::string_view public_key_pem) {
  openssl_ptr<BIO> const pem(BIO_new_mem_buf(public_key_pem.data(), static_cast<int>(public_key_pem.size())));
  openssl_ptr<EVP_PKEY> const key(PEM_read_bio_PUBKEY(pem.get(), nullptr, nullptr, nullptr));
  openssl_ptr<BIO> const out(BIO_new(BIO_s_mem()));
  if (!key || !out || PEM_write_bio_PUBKEY(out.get(), key.get()) != 1) return {};
  char* text = nullptr;
  long const n = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(n)};
}

/// An EC P-256 key of a device.
class device_key {
public:
  device_key() : key_(EVP_EC_gen("P-256")) {
    if (!key_) throw std::runtime_error("cannot make an EC P-256 key");
  }
  std::string public_pem() const {
    openssl_ptr<BIO> const out(BIO_new(BIO_s_mem()));
    PEM_write_bio_PUBKEY(out.get(), key_.get());
    char* text = nullptr;
    long const n = BIO_get_mem_data(out.get(), &text);
    return {text, static_cast<std::size_t>(n)};
  }
  /// ECDSA over SHA-256, DER in base64: the value of X-MEN-Signature.
  std::string sign(std::string_view text) const {
    openssl_ptr<EVP_MD_CTX> const context(EVP_MD_CTX_new());
    std::string out(static_cast<std::size_t>(EVP_PKEY_get_size(key_.get())), '\0');
    std::size_t n = out.size();
    if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key_.get()) != 1 ||
        EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &n, bytes_of(text), text.size()) !=
            1)
      throw std::runtime_error("signing failed");
    out.resize(n);
    return to_base64(out);
  }

private:
  openssl_ptr<EVP_PKEY> key_;
};

}  // namespace demo
