#pragma once

#include <mgw/net/openssl_ptr.hpp>
#include <mgw/net/serial_list.hpp>

#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <utility>

namespace mgw::net {

/// The serial number of a certificate in the one spelling that serial_list has: lower-case hex, no leading zeros. A
/// negative one has a minus, and so is in no list.
inline std::string serial_of(X509 const* certificate) {
  openssl_ptr<BIGNUM> const number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  char* const text = number ? BN_bn2hex(number.get()) : nullptr;
  if (text == nullptr) throw std::bad_alloc();
  std::string const digits(text);
  OPENSSL_free(text);
  return digits.starts_with('-') ? '-' + serial_list::normalized(digits.substr(1)) : serial_list::normalized(digits);
}

/// The certificate that a TLS peer has shown, and proved to have the key of.
///
/// Holds the certificate and what came with it, which the TLS session holds anyway. Errors: std::bad_alloc.
/// Thread rule: immutable.
class peer_certificate {
public:
  /// Null if the peer has shown none. Precondition: the handshake is done.
  static std::shared_ptr<peer_certificate const> of(SSL* ssl) {
    openssl_ptr<X509> leaf(SSL_get1_peer_certificate(ssl));
    if (!leaf) return nullptr;
    STACK_OF(X509)* const sent = SSL_get_peer_cert_chain(ssl);
    openssl_ptr<STACK_OF(X509)> chain(sent != nullptr ? X509_chain_up_ref(sent) : nullptr);
    return std::make_shared<peer_certificate const>(std::move(leaf), std::move(chain));
  }
  peer_certificate(openssl_ptr<X509> leaf, openssl_ptr<STACK_OF(X509)> chain)
      : subject(name_of(X509_get_subject_name(leaf.get()))),
        issuer(name_of(X509_get_issuer_name(leaf.get()))),
        serial(serial_of(leaf.get())),
        fingerprint(fingerprint_of(leaf.get())),
        public_key(key_of(leaf.get())),
        leaf_(std::move(leaf)),
        chain_(std::move(chain)) {}

  std::string const subject;      ///< as RFC 4514 writes names; the same for every ASN.1 string type; may be empty
  std::string const issuer;       ///< the same
  std::string const serial;       ///< as serial_of() spells it
  std::string const fingerprint;  ///< SHA-256 of the certificate, lower-case hex
  std::string const public_key;   ///< DER SubjectPublicKeyInfo; empty for a kind that OpenSSL does not know

  X509* leaf() const noexcept { return leaf_.get(); }
  /// What came with it; may be null.
  STACK_OF(X509) * chain() const noexcept { return chain_.get(); }

private:
  static std::string name_of(X509_NAME const* name) {
    openssl_ptr<BIO> const out(BIO_new(BIO_s_mem()));
    // Without ESC_MSB, UTF-8 stays as it is.
    if (!out || X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
      throw std::bad_alloc();
    char* text = nullptr;
    long const n = BIO_get_mem_data(out.get(), &text);
    return n <= 0 ? std::string() : std::string(text, static_cast<std::size_t>(n));
  }
  static std::string fingerprint_of(X509 const* c) {
    constexpr char hex[] = "0123456789abcdef";
    std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
    unsigned n = 0;
    if (X509_digest(c, EVP_sha256(), raw.data(), &n) != 1) throw std::bad_alloc();
    std::string out;
    for (unsigned i = 0; i < n; ++i) (out += hex[raw[i] >> 4U]) += hex[raw[i] & 15U];
    return out;
  }
  static std::string key_of(X509 const* c) {
    EVP_PKEY* const key = X509_get0_pubkey(c);
    unsigned char* der = nullptr;
    int const n = key != nullptr ? i2d_PUBKEY(key, &der) : 0;
    std::string out;
    if (n > 0) out.assign(reinterpret_cast<char const*>(der), static_cast<std::size_t>(n));
    OPENSSL_free(der);
    ERR_clear_error();
    return out;
  }

  openssl_ptr<X509> leaf_;
  openssl_ptr<STACK_OF(X509)> chain_;
};

}  // namespace mgw::net
