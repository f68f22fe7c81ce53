#pragma once

#include <mgw/cache/error.hpp>

#include <openssl/evp.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::cache {

using sha256_digest = std::array<unsigned char, 32>;

/// 64 lower-case digits.
inline std::string to_hex(sha256_digest const& d) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(2 * d.size());
  for (unsigned const b : d) {
    out += digits[b >> 4];
    out += digits[b & 15];
  }
  return out;
}

/// 64 lower-case digits and nothing else.
inline bool is_sha256_hex(std::string_view text) noexcept {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// A running SHA-256, which can be asked for the digest of what it has seen so far and go on.
/// A moved-from one and one whose crypto library failed answer error::digest_unavailable.
class sha256 {
public:
  sha256() : ctx_(EVP_MD_CTX_new()) {
    if (ctx_ && EVP_DigestInit_ex(ctx_.get(), EVP_sha256(), nullptr) != 1) ctx_.reset();
  }

  std::error_code update(std::string_view bytes) noexcept {
    if (ctx_ && EVP_DigestUpdate(ctx_.get(), bytes.data(), bytes.size()) != 1) ctx_.reset();
    return ctx_ ? std::error_code{} : make_error_code(error::digest_unavailable);
  }
  /// The digest of everything so far; later updates go on from there.
  std::error_code digest(sha256_digest& out) const noexcept {
    std::unique_ptr<EVP_MD_CTX, deleter> const copy(EVP_MD_CTX_new());
    unsigned size = 0;
    if (!ctx_ || !copy || EVP_MD_CTX_copy_ex(copy.get(), ctx_.get()) != 1 ||
        EVP_DigestFinal_ex(copy.get(), out.data(), &size) != 1 || size != out.size())
      return error::digest_unavailable;
    return {};
  }

private:
  struct deleter {
    void operator()(EVP_MD_CTX* c) const noexcept { EVP_MD_CTX_free(c); }
  };
  std::unique_ptr<EVP_MD_CTX, deleter> ctx_;
};

}  // namespace mgw::cache
