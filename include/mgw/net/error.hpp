#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <asio/error.hpp>

#include <cstdint>
#include <string>
#include <system_error>
#include <type_traits>

namespace mgw::net {

/// The code for an `errno` value, in the category of asio::error::…: that of Asio 1.22 is not std::system_category(),
/// and a code in the latter is equal to none of those.
inline std::error_code system_error(int value) noexcept {
  return {value, asio::error::get_system_category()};
}

/// What ends a TLS connection, beside the errors of the transport below.
///
/// Values beyond those named carry OpenSSL's own: see openssl_error and verify_error.
enum class tls_error {
  truncated = 1,   ///< the peer closed without close_notify: what came may be less than was sent
  no_server_name,  ///< a verifying client was given no name to verify: any certificate would have passed
  failed,          ///< OpenSSL gave no reason
};

namespace detail {

// A code's value is one of tls_error, or 1000 + an X509_V_ERR_…, or library * 65536 + a reason of OpenSSL.
inline constexpr int verify_base = 1000;
inline constexpr int openssl_base = 0x10000;

class tls_category_type final : public std::error_category {
public:
  char const* name() const noexcept override { return "mgw.net.tls"; }
  std::string message(int value) const override {
    if (value >= openssl_base) {
      auto const packed = ERR_PACK(value / openssl_base, 0, value % openssl_base);
      if (packed == ERR_PACK(ERR_LIB_SSL, 0, SSL_R_WRONG_VERSION_NUMBER))
        return "wrong version number: the peer speaks no TLS on this port, or an old version of it";
      char const* const reason = ERR_reason_error_string(packed);
      return reason != nullptr ? reason : "TLS error " + std::to_string(value % openssl_base);
    }
    if (value >= verify_base)
      return std::string("certificate verify failed: ") + X509_verify_cert_error_string(value - verify_base);
    switch (static_cast<tls_error>(value)) {
      case tls_error::truncated: return "connection closed without close_notify";
      case tls_error::no_server_name: return "no server name to verify the certificate against";
      case tls_error::failed: return "TLS failed";
    }
    return "TLS error " + std::to_string(value);
  }
};

}  // namespace detail

inline std::error_category const& tls_category() noexcept {
  static detail::tls_category_type const category;
  return category;
}
inline std::error_code make_error_code(tls_error e) noexcept {
  return {static_cast<int>(e), tls_category()};
}

/// The code for a certificate that was refused. `result` is one of X509_V_ERR_…
inline std::error_code verify_error(long result) noexcept {
  return {detail::verify_base + static_cast<int>(result), tls_category()};
}
/// The code for an entry of OpenSSL's error queue.
inline std::error_code openssl_error(unsigned long entry) noexcept {
  if (entry == 0) return make_error_code(tls_error::failed);
  if (ERR_SYSTEM_ERROR(entry)) return system_error(ERR_GET_REASON(entry));
  // The reason's low 16 bits name it; above them stand flags.
  return {ERR_GET_LIB(entry) * detail::openssl_base + (ERR_GET_REASON(entry) & 0xffff), tls_category()};
}
/// The same for one of its reasons, SSL_R_…
inline std::error_code ssl_error(int reason) noexcept {
  return openssl_error(ERR_PACK(ERR_LIB_SSL, 0, reason));
}
/// True for a refused peer certificate.
inline bool is_verify_error(std::error_code ec) noexcept {
  return ec.category() == tls_category() && ec.value() >= detail::verify_base && ec.value() < detail::openssl_base;
}

}  // namespace mgw::net

template <>
struct std::is_error_code_enum<mgw::net::tls_error> : std::true_type {};
