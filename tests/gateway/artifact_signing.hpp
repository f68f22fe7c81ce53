#pragma once

#include "artifact/keys.hpp"

#include <openssl/bio.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace gateway {

using key_ptr = detail::openssl_ptr<EVP_PKEY>;

inline std::string pem_of(key_ptr const& key) {
  detail::openssl_ptr<BIO> const out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PUBKEY(out.get(), key.get());
  char* text = nullptr;
  long const n = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(n)};
}

inline std::string sign(key_ptr const& key, std::string_view text) {
  detail::openssl_ptr<EVP_MD_CTX> const context(EVP_MD_CTX_new());
  std::string out(static_cast<std::size_t>(EVP_PKEY_get_size(key.get())), '\0');
  std::size_t n = out.size();
  if (EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &n, detail::as_unsigned(text),
                     text.size()) != 1)
    throw std::runtime_error("cannot sign");
  out.resize(n);
  return out;
}

/// r and s, 32 bytes each, as mender-artifact writes them.
inline std::string raw_of(std::string const& der) {
  unsigned char const* p = detail::as_unsigned(der);
  detail::openssl_ptr<ECDSA_SIG> const both(d2i_ECDSA_SIG(nullptr, &p, static_cast<long>(der.size())));
  std::string out(64, '\0');
  BN_bn2binpad(ECDSA_SIG_get0_r(both.get()), reinterpret_cast<unsigned char*>(out.data()), 32);
  BN_bn2binpad(ECDSA_SIG_get0_s(both.get()), reinterpret_cast<unsigned char*>(out.data()) + 32, 32);
  return out;
}

inline std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), detail::as_unsigned(bytes),
                  static_cast<int>(bytes.size()));
  out.pop_back();
  return out;
}

}  // namespace gateway
