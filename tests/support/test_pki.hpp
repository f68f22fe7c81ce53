#pragma once

#include <mgw/net/openssl_ptr.hpp>

#include <openssl/asn1.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstddef>
#include <fstream>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace mgw::test {

/// Certificates of every shape that fleets present, made in memory. Errors: std::runtime_error.
namespace pki {

using net::openssl_ptr;

template <class T>
T* check(T* made) {
  if (made == nullptr) throw std::runtime_error("a test certificate could not be made");
  return made;
}
inline void check(bool done) {
  if (!done) throw std::runtime_error("a test certificate could not be made");
}

struct identity {
  openssl_ptr<EVP_PKEY> key;
  openssl_ptr<X509> certificate;
};

enum class key_kind { p256, rsa2048, rsa1024, ed25519 };

struct shape {
  std::string name;
  key_kind kind = key_kind::p256;
  long serial = 0;  // 0: the next one
  int from_days = -1, to_days = 30;
  bool ca = false;
  std::string extended_key_usage;
  std::string alternative_names;  // as X509V3_EXT_conf reads them; empty: none
  explicit shape(std::string n, key_kind k = key_kind::p256) : name(std::move(n)), kind(k) {}
};

inline openssl_ptr<EVP_PKEY> make_key(key_kind kind) {
  EVP_PKEY* made = nullptr;
  switch (kind) {
    case key_kind::p256: made = EVP_EC_gen("P-256"); break;
    case key_kind::rsa2048: made = EVP_RSA_gen(2048); break;
    case key_kind::rsa1024: made = EVP_RSA_gen(1024); break;
    case key_kind::ed25519: made = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"); break;
  }
  return openssl_ptr<EVP_PKEY>(check(made));
}
inline EVP_MD const* digest_for(EVP_PKEY* key) {
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
}
inline void extend(X509* c, int which, char const* value) {
  X509_EXTENSION* const e = check(X509V3_EXT_conf_nid(nullptr, nullptr, which, value));
  int const added = X509_add_ext(c, e, -1);
  X509_EXTENSION_free(e);
  check(added == 1);
}

/// Issued by `by`; by itself if that is null.
inline identity issue(identity const* by, shape const& s) {
  static long next_serial = 0x1000;
  identity made;
  made.key = make_key(s.kind);
  made.certificate.reset(check(X509_new()));
  X509* const c = made.certificate.get();
  X509_set_version(c, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(c), s.serial != 0 ? s.serial : ++next_serial);
  X509_time_adj_ex(X509_getm_notBefore(c), s.from_days, 0, nullptr);
  X509_time_adj_ex(X509_getm_notAfter(c), s.to_days, 0, nullptr);
  X509_set_pubkey(c, made.key.get());
  auto const* const text = reinterpret_cast<unsigned char const*>(s.name.c_str());
  if (!s.name.empty()) X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_UTF8, text, -1, -1, 0);
  X509_set_issuer_name(c, X509_get_subject_name(by != nullptr ? by->certificate.get() : c));
  if (s.ca) extend(c, NID_basic_constraints, "critical,CA:TRUE");
  if (!s.extended_key_usage.empty()) extend(c, NID_ext_key_usage, s.extended_key_usage.c_str());
  if (!s.alternative_names.empty()) extend(c, NID_subject_alt_name, s.alternative_names.c_str());
  EVP_PKEY* const signer = by != nullptr ? by->key.get() : made.key.get();
  check(X509_sign(c, signer, digest_for(signer)) != 0);
  return made;
}
inline identity make_ca(std::string const& name, identity const* by = nullptr) {
  shape s(name);
  s.ca = true;
  s.from_days = -60;
  s.to_days = 60;
  return issue(by, s);
}

inline std::string text_of(BIO* out) {
  char* text = nullptr;
  long const n = BIO_get_mem_data(out, &text);
  return {text, static_cast<std::size_t>(n)};
}
inline std::string pem_of(identity const& i) {
  openssl_ptr<BIO> const out(check(BIO_new(BIO_s_mem())));
  check(PEM_write_bio_X509(out.get(), i.certificate.get()) == 1);
  return text_of(out.get());
}
inline std::string key_pem_of(identity const& i) {
  openssl_ptr<BIO> const out(check(BIO_new(BIO_s_mem())));
  check(PEM_write_bio_PrivateKey(out.get(), i.key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return text_of(out.get());
}
inline std::string public_pem_of(EVP_PKEY* key) {
  openssl_ptr<BIO> const out(check(BIO_new(BIO_s_mem())));
  check(PEM_write_bio_PUBKEY(out.get(), key) == 1);
  return text_of(out.get());
}
/// A list by `by` of what is revoked.
inline std::string crl_pem(identity const& by, std::initializer_list<identity const*> revoked,
                           int next_update_days = 30) {
  openssl_ptr<X509_CRL> const list(check(X509_CRL_new()));
  X509_CRL_set_version(list.get(), 1);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(by.certificate.get()));
  ASN1_TIME* const when = check(X509_time_adj_ex(nullptr, -40, 0, nullptr));
  X509_CRL_set1_lastUpdate(list.get(), when);
  for (identity const* one : revoked) {
    X509_REVOKED* const entry = check(X509_REVOKED_new());
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(one->certificate.get()));
    X509_REVOKED_set_revocationDate(entry, when);
    X509_CRL_add0_revoked(list.get(), entry);
  }
  check(X509_time_adj_ex(when, next_update_days, 0, nullptr));
  X509_CRL_set1_nextUpdate(list.get(), when);
  ASN1_TIME_free(when);
  X509_CRL_sort(list.get());
  check(X509_CRL_sign(list.get(), by.key.get(), digest_for(by.key.get())) != 0);
  openssl_ptr<BIO> const out(check(BIO_new(BIO_s_mem())));
  check(PEM_write_bio_X509_CRL(out.get(), list.get()) == 1);
  return text_of(out.get());
}

inline void write_text(std::string const& path, std::string const& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace pki
}  // namespace mgw::test
