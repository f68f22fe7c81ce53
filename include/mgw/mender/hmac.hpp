#pragma once

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string_view>

namespace mgw::mender {

using sha256_bytes = std::array<unsigned char, 32>;

namespace detail {

struct free_digest_context {
  void operator()(EVP_MD_CTX* c) const noexcept { EVP_MD_CTX_free(c); }
};

/// SHA-256 of two texts, one behind the other.
inline bool sha256_of(std::string_view first, std::string_view second, sha256_bytes& out) noexcept {
  static EVP_MD const* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);  // to the end of the process
  thread_local std::unique_ptr<EVP_MD_CTX, free_digest_context> const context(EVP_MD_CTX_new());
  EVP_MD_CTX* const c = context.get();
  return algorithm != nullptr && c != nullptr && EVP_DigestInit_ex(c, algorithm, nullptr) == 1 &&
         EVP_DigestUpdate(c, first.data(), first.size()) == 1 &&
         EVP_DigestUpdate(c, second.data(), second.size()) == 1 && EVP_DigestFinal_ex(c, out.data(), nullptr) == 1;
}

}  // namespace detail

/// HMAC-SHA256 with a key of at most 64 bytes. OpenSSL's own looks for the algorithm by its name and makes contexts
/// each time, which costs more than the hashing. False: a longer key, or OpenSSL failed, for want of memory. Any
/// thread. Source: RFC 2104.
inline bool hmac_sha256(std::string_view key, std::string_view text, sha256_bytes& out) noexcept {
  constexpr std::size_t block = 64;
  if (key.size() > block) return false;
  auto const padded = [&](unsigned char with, std::array<char, block>& pad) {
    pad.fill(static_cast<char>(with));
    for (std::size_t i = 0; i < key.size(); ++i) pad[i] = static_cast<char>(static_cast<unsigned char>(key[i]) ^ with);
    return std::string_view(pad.data(), pad.size());
  };
  std::array<char, block> pad;
  sha256_bytes inner;
  bool ok = detail::sha256_of(padded(0x36, pad), text, inner);
  std::string_view const hashed(reinterpret_cast<char const*>(inner.data()), inner.size());
  ok = ok && detail::sha256_of(padded(0x5c, pad), hashed, out);
  OPENSSL_cleanse(pad.data(), pad.size());
  OPENSSL_cleanse(inner.data(), inner.size());
  return ok;
}

}  // namespace mgw::mender
