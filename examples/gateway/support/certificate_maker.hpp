#pragma once

#include "support/certificate_host.hpp"

#include <mgw/net/openssl_ptr.hpp>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <ctime>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace gateway {

/// A certificate that cannot be made or read. The text says why.
class certificate_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// A certificate and its key.
struct certificate_and_key {
  mgw::net::openssl_ptr<X509> certificate;
  mgw::net::openssl_ptr<EVP_PKEY> key;
};

namespace certificate_detail {

/// Certificates begin a day back: a device whose clock is somewhat behind takes them for good.
inline constexpr int days_back = 1;

[[noreturn]] inline void failed(char const* what) {
  unsigned long const code = ERR_peek_last_error();
  char const* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  ERR_clear_error();
  throw certificate_error(std::string(what) + (reason != nullptr ? std::string(": ") + reason : ""));
}
inline void check(bool ok, char const* what) {
  if (!ok) failed(what);
}

/// A positive number of 20 octets, most of them chance. Source: RFC 5280 4.1.2.2.
inline void set_serial(X509* certificate) {
  mgw::net::openssl_ptr<BIGNUM> const n(BN_new());
  check(n && BN_rand(n.get(), 159, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
            BN_to_ASN1_INTEGER(n.get(), X509_get_serialNumber(certificate)) != nullptr,
        "no serial number for a certificate");
}
inline void add(X509* certificate, X509* issuer, int nid, std::string const& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  std::unique_ptr<X509_EXTENSION, decltype([](X509_EXTENSION* e) { X509_EXTENSION_free(e); })> const extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  check(extension && X509_add_ext(certificate, extension.get(), -1) == 1, "no extension for a certificate");
}
inline void set_name(X509_NAME* name, std::string const& common_name) {
  check(
      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<unsigned char const*>(common_name.c_str()),
                                 static_cast<int>(common_name.size()), -1, 0) == 1,
      "no name for a certificate");
}
/// Version 3, with serial number, dates, key and name; unsigned.
inline mgw::net::openssl_ptr<X509> begin(EVP_PKEY* key, std::string const& common_name, std::time_t now, int days) {
  mgw::net::openssl_ptr<X509> out(X509_new());
  check(out && X509_set_version(out.get(), 2) == 1, "no certificate");
  set_serial(out.get());
  check(X509_time_adj_ex(X509_getm_notBefore(out.get()), -days_back, 0, &now) != nullptr &&
            X509_time_adj_ex(X509_getm_notAfter(out.get()), days, 0, &now) != nullptr,
        "no dates for a certificate");
  check(X509_set_pubkey(out.get(), key) == 1, "no public key for a certificate");
  set_name(X509_get_subject_name(out.get()), common_name);
  return out;
}
inline int no_password(char*, int, int, void*) {
  return -1;
}

template <class Write>
std::string written(Write write) {
  mgw::net::openssl_ptr<BIO> const out(BIO_new(BIO_s_mem()));
  check(out && write(out.get()) == 1, "PEM cannot be written");
  char* text = nullptr;
  long const size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

}  // namespace certificate_detail

/// A new key, EC P-256: all clients know it, those on microcontrollers too.
inline mgw::net::openssl_ptr<EVP_PKEY> make_key() {
  mgw::net::openssl_ptr<EVP_PKEY> out(EVP_EC_gen("P-256"));
  certificate_detail::check(out != nullptr, "no key");
  return out;
}

/// A new CA, good from a day before `now` (seconds since 1970) until `days` after. It signs servers' certificates, and
/// no further CAs. Its name is its own: a device that trusts two of ours finds the right one. Source: RFC 5280 4.2.1.
inline certificate_and_key make_authority(std::time_t now, int days) {
  namespace d = certificate_detail;
  certificate_and_key out{nullptr, make_key()};
  unsigned char chance[4];
  d::check(RAND_bytes(chance, sizeof chance) == 1, "no random bytes");
  std::string name = "mgw-gateway CA ";
  for (unsigned char const c : chance) name += {"0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
  out.certificate = d::begin(out.key.get(), name, now, days);
  X509* const ca = out.certificate.get();
  d::check(X509_set_issuer_name(ca, X509_get_subject_name(ca)) == 1, "no name for a CA");
  d::add(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  d::add(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign");
  d::add(ca, ca, NID_subject_key_identifier, "hash");
  d::add(ca, ca, NID_authority_key_identifier, "keyid:always");
  d::check(X509_sign(ca, out.key.get(), EVP_sha256()) != 0, "a CA cannot be signed");
  return out;
}

/// A server's certificate for `hosts` by `ca`, with `key`, good from a day before `now` until `days` after, but no
/// longer than the CA. Precondition: there is a host. Source: RFC 5280 4.2.1; RFC 9525 (names stand in subjectAltName).
inline mgw::net::openssl_ptr<X509> issue(certificate_and_key const& ca, EVP_PKEY* key,
                                         std::vector<certificate_host> const& hosts, std::time_t now, int days) {
  namespace d = certificate_detail;
  std::string names;
  for (auto const& h : hosts) names += (names.empty() ? "" : ",") + std::string(h.is_address ? "IP:" : "DNS:") + h.text;
  // A common name has 64 characters at most; nobody reads it where there are alternative names.
  auto out = d::begin(key, hosts.at(0).text.size() <= 64 ? hosts[0].text : "mgw-gateway", now, days);
  X509* const certificate = out.get();
  X509* const issuer = ca.certificate.get();
  if (ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(issuer)) > 0)
    d::check(X509_set1_notAfter(certificate, X509_get0_notAfter(issuer)) == 1, "no dates for a certificate");
  d::check(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1, "no issuer for a certificate");
  d::add(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE");
  d::add(certificate, issuer, NID_key_usage, "critical,digitalSignature");
  d::add(certificate, issuer, NID_ext_key_usage, "serverAuth");
  d::add(certificate, issuer, NID_subject_alt_name, names);
  d::add(certificate, issuer, NID_subject_key_identifier, "hash");
  d::add(certificate, issuer, NID_authority_key_identifier, "keyid:always");
  d::check(X509_sign(certificate, ca.key.get(), EVP_sha256()) != 0, "a certificate cannot be signed");
  return out;
}

inline std::string to_pem(X509* certificate) {
  return certificate_detail::written([&](BIO* out) { return PEM_write_bio_X509(out, certificate); });
}
/// PKCS #8, not encrypted.
inline std::string to_pem(EVP_PKEY* key) {
  return certificate_detail::written(
      [&](BIO* out) { return PEM_write_bio_PKCS8PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr); });
}

/// The first one in a PEM text. Throws certificate_error if there is none.
inline mgw::net::openssl_ptr<X509> certificate_from_pem(std::string const& pem) {
  mgw::net::openssl_ptr<BIO> const in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  mgw::net::openssl_ptr<X509> out(in ? PEM_read_bio_X509(in.get(), nullptr, certificate_detail::no_password, nullptr)
                                     : nullptr);
  certificate_detail::check(out != nullptr, "no certificate in it (PEM, BEGIN CERTIFICATE)");
  return out;
}
inline mgw::net::openssl_ptr<EVP_PKEY> key_from_pem(std::string const& pem) {
  mgw::net::openssl_ptr<BIO> const in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  mgw::net::openssl_ptr<EVP_PKEY> out(
      in ? PEM_read_bio_PrivateKey(in.get(), nullptr, certificate_detail::no_password, nullptr) : nullptr);
  certificate_detail::check(out != nullptr, "no key without a password in it (PEM, BEGIN PRIVATE KEY)");
  return out;
}

/// The names and addresses in a certificate that `issue` takes, in their order.
inline std::vector<certificate_host> hosts_of(X509 const* certificate) {
  std::vector<certificate_host> out;
  std::unique_ptr<GENERAL_NAMES, decltype([](GENERAL_NAMES* n) { GENERAL_NAMES_free(n); })> const names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    GENERAL_NAME const* const n = sk_GENERAL_NAME_value(names.get(), i);
    if (n->type != GEN_DNS && n->type != GEN_IPADD) continue;
    auto const* const bytes = ASN1_STRING_get0_data(n->d.ia5);
    auto const size = static_cast<std::size_t>(ASN1_STRING_length(n->d.ia5));
    std::string text(reinterpret_cast<char const*>(bytes), size);
    if (n->type == GEN_IPADD) {
      std::array<unsigned char, 16> all{};
      std::copy_n(bytes, std::min(size, all.size()), all.begin());
      if (size == 4)
        text = asio::ip::address_v4({all[0], all[1], all[2], all[3]}).to_string();
      else if (size == all.size())
        text = asio::ip::address_v6(all).to_string();
      else
        continue;
    }
    if (auto host = read_certificate_host(text)) out.push_back(*std::move(host));
  }
  return out;
}

/// The day on which it ends, as 2029-03-01.
inline std::string last_day(X509 const* certificate) {
  std::tm end{};
  certificate_detail::check(ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1,
                            "a certificate without an end");
  char out[16];
  return {out, std::strftime(out, sizeof out, "%Y-%m-%d", &end)};
}

}  // namespace gateway
