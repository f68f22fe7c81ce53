#pragma once

#include "config/text_file.hpp"

#include <mgw/net/error.hpp>
#include <mgw/net/openssl_ptr.hpp>

#include <arpa/inet.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

using unix_seconds = std::chrono::sys_seconds;

/// What one certificate says. All text is printable; what a name has of other bytes is '?'.
struct certificate_facts {
  std::string subject, issuer;  ///< as RFC 4514 writes names; may be empty
  std::vector<std::string>
      names;  ///< the subject alternative name: `DNS:gw.example`, `IP:192.0.2.1`; others by kind only
  unix_seconds not_before, not_after;
  std::string key;  ///< `RSA`, `EC P-256`, `ED25519`
  int key_bits = 0;
  bool ca = false;
  bool self_signed = false;
  std::shared_ptr<X509> handle;

  bool not_yet_valid(unix_seconds now) const noexcept { return now < not_before; }
  bool expired(unix_seconds now) const noexcept { return now > not_after; }
  /// Whole days to the end, rounded down; negative after it.
  long days_left(unix_seconds now) const noexcept {
    return static_cast<long>(std::chrono::floor<std::chrono::days>(not_after - now).count());
  }
  /// Whether a client that connects to this name, or this address, takes it. Only the subject alternative name counts.
  bool is_for(std::string const& host) const {
    if (X509_check_ip_asc(handle.get(), host.c_str(), 0) == 1) return true;
    constexpr unsigned flags = X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
    return X509_check_host(handle.get(), host.data(), host.size(), flags, nullptr) == 1;
  }
};

/// The certificates of a PEM file, in the file's order.
struct chain_facts {
  std::string file;
  std::string trouble;  ///< why it cannot be used: unreadable, no certificate in it, garbled. Empty: none
  std::vector<certificate_facts> certificates;
  std::size_t in_order = 0;  ///< so many from the first on are each issued by the next one; all of them in a good chain

  bool good() const noexcept { return trouble.empty(); }
  bool ordered() const noexcept { return in_order == certificates.size(); }
};

/// The private key of a PEM file.
struct key_facts {
  std::string file;
  std::string trouble;  ///< why it cannot be used: unreadable, no key in it, with a passphrase, garbled. Empty: none
  std::string key;      ///< as in certificate_facts
  int key_bits = 0;
  std::shared_ptr<EVP_PKEY> handle;

  bool good() const noexcept { return trouble.empty(); }
};

/// The place of the first certificate of the chain that has this key: 0 in a good pair; nothing if none has.
inline std::optional<std::size_t> place_of(key_facts const& key, chain_facts const& chain) {
  for (std::size_t i = 0; key.handle && i < chain.certificates.size(); ++i) {
    EVP_PKEY* const its = X509_get0_pubkey(chain.certificates[i].handle.get());
    bool const same = its != nullptr && EVP_PKEY_eq(its, key.handle.get()) == 1;
    ERR_clear_error();
    if (same) return i;
  }
  return {};
}

/// `2026-11-27 12:30:10 UTC`.
inline std::string date_text(unix_seconds when) {
  auto const day = std::chrono::floor<std::chrono::days>(when);
  std::chrono::year_month_day const date(day);
  std::chrono::hh_mm_ss const time(when - day);
  char out[64];
  std::snprintf(out, sizeof out, "%04d-%02u-%02u %02d:%02d:%02d UTC", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()));
  return out;
}

/// One line: `CN=gw, for DNS:gw.example IP:192.0.2.1, 2026-01-01 00:00:00 UTC to 2027-01-01 00:00:00 UTC (35 days
/// left), EC P-256`.
inline std::string described(certificate_facts const& c, unix_seconds now) {
  std::string out = c.subject.empty() ? "no subject" : c.subject;
  if (!c.names.empty()) out += ", for";
  for (std::string const& n : c.names) (out += ' ') += n;
  long const left = c.days_left(now);
  out += ", " + date_text(c.not_before) + " to " + date_text(c.not_after) + " (";
  if (c.expired(now))
    out += "expired";
  else if (c.not_yet_valid(now))
    out += "not yet valid";
  else
    out += std::to_string(left) + (left == 1 ? " day left" : " days left");
  out += "), " + c.key;
  if (c.key == "RSA") out += ' ' + std::to_string(c.key_bits);
  if (c.self_signed) out += ", self-signed";
  return out;
}

namespace certificates {

inline std::string printable(std::string_view bytes) {
  std::string out(bytes);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}
/// What OpenSSL has said first, and says no more.
inline std::string reason() {
  unsigned long const entry = ERR_get_error();
  ERR_clear_error();
  return mgw::net::openssl_error(entry).message();
}
inline std::string name_text(X509_NAME const* name) {
  mgw::net::openssl_ptr<BIO> const out(BIO_new(BIO_s_mem()));
  if (!out || X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
    throw std::bad_alloc();
  char* text = nullptr;
  long const n = BIO_get_mem_data(out.get(), &text);
  return n <= 0 ? std::string() : printable({text, static_cast<std::size_t>(n)});
}
inline unix_seconds time_of(ASN1_TIME const* t) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(t, &parts) != 1) return {};
  // Not timegm: a time_t of 32 bits ends in 2038.
  std::chrono::sys_days const day = std::chrono::year(parts.tm_year + 1900) / (parts.tm_mon + 1) / parts.tm_mday;
  return day + std::chrono::hours(parts.tm_hour) + std::chrono::minutes(parts.tm_min) +
         std::chrono::seconds(parts.tm_sec);
}
inline std::string key_text(EVP_PKEY const* key) {
  char const* const kind = key != nullptr ? EVP_PKEY_get0_type_name(key) : nullptr;
  if (kind == nullptr) return "a key of an unknown kind";
  std::string out = kind;
  char group[64];
  std::size_t n = 0;
  if (out == "EC" && EVP_PKEY_get_group_name(key, group, sizeof group, &n) == 1) {
    std::string_view const curve(group, n);
    (out += ' ') += curve == "prime256v1"  ? "P-256"
                    : curve == "secp384r1" ? "P-384"
                    : curve == "secp521r1" ? "P-521"
                                           : curve;
  }
  return out;
}
inline std::string name_text(GENERAL_NAME const* name) {
  int kind = 0;
  auto const* const value = static_cast<ASN1_STRING const*>(GENERAL_NAME_get0_value(name, &kind));
  auto const text = [value] {
    return std::string_view(reinterpret_cast<char const*>(ASN1_STRING_get0_data(value)),
                            static_cast<std::size_t>(ASN1_STRING_length(value)));
  };
  switch (kind) {
    case GEN_DNS: return "DNS:" + printable(text());
    case GEN_EMAIL: return "email:" + printable(text());
    case GEN_URI: return "URI:" + printable(text());
    case GEN_IPADD: {
      char out[INET6_ADDRSTRLEN] = "?";
      std::size_t const n = text().size();
      if (n == 4 || n == 16) ::inet_ntop(n == 4 ? AF_INET : AF_INET6, text().data(), out, sizeof out);
      return std::string("IP:") + out;
    }
    default: return "another kind of name";
  }
}
inline certificate_facts facts_of(mgw::net::openssl_ptr<X509> c) {
  certificate_facts f;
  f.subject = name_text(X509_get_subject_name(c.get()));
  f.issuer = name_text(X509_get_issuer_name(c.get()));
  f.not_before = time_of(X509_get0_notBefore(c.get()));
  f.not_after = time_of(X509_get0_notAfter(c.get()));
  EVP_PKEY const* const key = X509_get0_pubkey(c.get());
  f.key = key_text(key);
  f.key_bits = key != nullptr ? EVP_PKEY_get_bits(key) : 0;
  f.ca = X509_check_ca(c.get()) == 1;
  f.self_signed = X509_self_signed(c.get(), 1) == 1;
  if (auto* const names =
          static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(c.get(), NID_subject_alt_name, nullptr, nullptr))) {
    for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) f.names.push_back(name_text(sk_GENERAL_NAME_value(names, i)));
    GENERAL_NAMES_free(names);
  }
  f.handle.reset(c.release(), X509_free);
  ERR_clear_error();
  return f;
}
inline bool issued_by(certificate_facts const& one, certificate_facts const& by) {
  bool const yes = X509_check_issued(by.handle.get(), one.handle.get()) == X509_V_OK &&
                   X509_verify(one.handle.get(), X509_get0_pubkey(by.handle.get())) == 1;
  ERR_clear_error();
  return yes;
}
/// What a file holds instead of what was looked for: `it has PRIVATE KEY`.
inline std::string other_content(std::string_view text) {
  if (text.empty()) return "it is empty";
  if (text.front() == '\x30') return "it looks like DER or PKCS #12; convert it to PEM with openssl";
  constexpr std::string_view begin = "-----BEGIN ";
  std::size_t const at = text.find(begin);
  if (at == std::string_view::npos) return "there is no PEM in it";
  std::string_view const rest = text.substr(at + begin.size());
  std::size_t const end = rest.find("-----");
  return end > 40 ? "its PEM is garbled" : "it has " + printable(rest.substr(0, end));
}
inline constexpr std::size_t max_file = 1u << 20;
inline std::string content_of(std::string const& path, std::string& trouble) {
  auto text = read_text_file(path, max_file);
  if (text) return std::move(*text);
  trouble = file_trouble(path, text.error());
  return {};
}
inline mgw::net::openssl_ptr<BIO> reader_of(std::string const& text) {
  ERR_clear_error();
  mgw::net::openssl_ptr<BIO> in(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  if (!in) throw std::bad_alloc();
  return in;
}
inline bool at_end() {
  return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
}

}  // namespace certificates

/// Reads every certificate of a PEM file of up to 1 MiB. Errors: in `trouble`; std::bad_alloc.
inline chain_facts read_chain(std::string const& path) {
  chain_facts out;
  out.file = path;
  std::string const text = certificates::content_of(path, out.trouble);
  if (!out.good()) return out;
  auto const in = certificates::reader_of(text);
  // Without a function of ours OpenSSL would ask for a passphrase, at the terminal, where the text says it has one.
  auto const no_passphrase = [](char*, int, int, void*) { return -1; };
  while (mgw::net::openssl_ptr<X509> one{PEM_read_bio_X509_AUX(in.get(), nullptr, no_passphrase, nullptr)})
    out.certificates.push_back(certificates::facts_of(std::move(one)));
  bool const whole = certificates::at_end();
  std::string const why = certificates::reason();
  if (!whole)
    out.trouble = "certificate no. " + std::to_string(out.certificates.size() + 1) + " of it is garbled: " + why;
  else if (out.certificates.empty())
    out.trouble =
        "there is no certificate in it, " + certificates::other_content(text) + "; needed: PEM, BEGIN CERTIFICATE";
  auto const& all = out.certificates;
  if (!all.empty()) out.in_order = 1;
  while (out.in_order < all.size() && certificates::issued_by(all[out.in_order - 1], all[out.in_order])) ++out.in_order;
  return out;
}

/// Reads the private key of a PEM file of up to 1 MiB. Errors: in `trouble`; std::bad_alloc.
inline key_facts read_key(std::string const& path) {
  key_facts out;
  out.file = path;
  std::string const text = certificates::content_of(path, out.trouble);
  if (!out.good()) return out;
  auto const in = certificates::reader_of(text);
  bool asked = false;
  auto const no_password = [](char*, int, int, void* was_asked) {
    *static_cast<bool*>(was_asked) = true;
    return -1;
  };
  out.handle.reset(PEM_read_bio_PrivateKey(in.get(), nullptr, no_password, &asked), EVP_PKEY_free);
  bool const none = text.find("PRIVATE KEY-----") == std::string::npos;
  std::string const why = certificates::reason();
  if (out.handle) {
    out.key = certificates::key_text(out.handle.get());
    out.key_bits = EVP_PKEY_get_bits(out.handle.get());
  } else if (asked) {
    out.trouble = "it has a passphrase; needed: a key without one (openssl pkey -in KEY -out NEW)";
  } else if (none) {
    out.trouble =
        "there is no private key in it, " + certificates::other_content(text) + "; needed: PEM, BEGIN PRIVATE KEY";
  } else {
    out.trouble = "the key in it is garbled: " + why;
  }
  return out;
}

}  // namespace gateway
