#pragma once

#include <mgw/net/error.hpp>
#include <mgw/net/openssl_ptr.hpp>
#include <mgw/net/peer_certificate.hpp>
#include <mgw/net/serial_list.hpp>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::net {

/// A file that cannot be used: names it and the reason.
class client_trust_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Where it is written which client certificates are good.
struct client_trust_files {
  std::string ca;   ///< PEM: roots, and intermediates for clients that send their leaf only; each one is an anchor
  std::string crl;  ///< PEM, one or more lists; empty: none
  std::string blacklist;        ///< as serial_list reads it; empty: none
  bool accept_expired = false;  ///< a client's own certificate may be past its notAfter; not those above it

  client_trust_files() = default;
};

/// Judges client certificates: X.509 path validation as a TLS server does it, lists of revoked ones, and a blacklist.
///
/// A chain may end at any certificate of `ca`, be it a root or not (X509_V_FLAG_PARTIAL_CHAIN). No extended key usage
/// is asked for; if there is one, it must have clientAuth (RFC 5280 4.2.1.12). A list of revoked certificates counts
/// for the issuer it is from, at any time, also past its nextUpdate: an issuer without a list revokes nothing, and a
/// list that nobody renewed does not lock a fleet out. Security level 2: RSA from 2048 bits, no SHA-1. Errors:
/// client_trust_error from the constructor. Thread rule: immutable, any thread.
class client_trust {
public:
  explicit client_trust(client_trust_files const& files);

  /// X509_V_OK, or why the certificate is refused (X509_V_ERR_…). `sent`: what came with it, may be null.
  int judge(X509* leaf, STACK_OF(X509) * sent) const;

private:
  static openssl_ptr<STACK_OF(X509_INFO)> read_pem(std::string const& path, char const* what);
  static bool is_revoked(X509* anchor, STACK_OF(X509_INFO) const* lists, STACK_OF(X509_INFO) const* anchors);
  template <bool AcceptExpired>
  static int on_error(int ok, X509_STORE_CTX* c);
  static std::string read_text(std::string const& path);
  [[noreturn]] static void refuse(std::string const& what);

  openssl_ptr<X509_STORE> store_;
  serial_list blacklist_;
  bool accept_expired_;
};

/// The client_trust in force; a server's contexts share it, and it may be replaced at any time. Thread rule: any
/// thread.
class client_gate {
public:
  explicit client_gate(std::shared_ptr<client_trust const> trust) : trust_(std::move(trust)) {}

  int judge(X509* leaf, STACK_OF(X509) * sent) const { return current()->judge(leaf, sent); }
  bool admits(peer_certificate const& c) const { return judge(c.leaf(), c.chain()) == X509_V_OK; }
  /// From here on this one counts. Connections that are open are the caller's to judge again.
  void replace(std::shared_ptr<client_trust const> trust) {
    std::lock_guard const lock(mutex_);
    trust_ = std::move(trust);
    ++generation_;
  }
  /// Changes with every replacement.
  std::uint64_t generation() const {
    std::lock_guard const lock(mutex_);
    return generation_;
  }

private:
  std::shared_ptr<client_trust const> current() const {
    std::lock_guard const lock(mutex_);
    return trust_;
  }
  mutable std::mutex mutex_;
  std::shared_ptr<client_trust const> trust_;
  std::uint64_t generation_ = 0;
};

inline void client_trust::refuse(std::string const& what) {
  unsigned long const entry = ERR_get_error();
  ERR_clear_error();
  throw client_trust_error(entry != 0 ? what + ": " + openssl_error(entry).message() : what);
}

inline openssl_ptr<STACK_OF(X509_INFO)> client_trust::read_pem(std::string const& path, char const* what) {
  ERR_clear_error();
  openssl_ptr<BIO> const in(BIO_new_file(path.c_str(), "r"));
  if (!in) refuse(std::string(what) + ' ' + path);
  auto const no_password = [](char*, int, int, void*) { return -1; };
  openssl_ptr<STACK_OF(X509_INFO)> found(PEM_X509_INFO_read_bio(in.get(), nullptr, no_password, nullptr));
  if (!found) refuse(std::string(what) + ' ' + path);
  ERR_clear_error();
  return found;
}

inline std::string client_trust::read_text(std::string const& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text;
  if (in) text.assign(std::istreambuf_iterator<char>(in), {});
  if (!in.is_open() || in.bad())
    throw client_trust_error("blacklist " + path + ": " + (errno != 0 ? std::strerror(errno) : "cannot be read"));
  return text;
}

/// Whether a list by one of the anchors revokes this one. OpenSSL ends a chain at the first anchor and so does not
/// look.
inline bool client_trust::is_revoked(X509* anchor, STACK_OF(X509_INFO) const* lists,
                                     STACK_OF(X509_INFO) const* anchors) {
  for (int i = 0; i < sk_X509_INFO_num(lists); ++i) {
    X509_CRL* const list = sk_X509_INFO_value(lists, i)->crl;
    X509_REVOKED* entry = nullptr;
    if (list == nullptr || X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_issuer_name(anchor)) != 0 ||
        X509_CRL_get0_by_cert(list, &entry, anchor) != 1)
      continue;
    for (int k = 0; k < sk_X509_INFO_num(anchors); ++k) {
      X509* const by = sk_X509_INFO_value(anchors, k)->x509;
      if (by != nullptr && by != anchor && X509_check_issued(by, anchor) == X509_V_OK &&
          X509_CRL_verify(list, X509_get0_pubkey(by)) == 1)
        return true;
    }
  }
  return false;
}

inline client_trust::client_trust(client_trust_files const& files)
    : store_(X509_STORE_new()), accept_expired_(files.accept_expired) {
  if (!store_) throw std::bad_alloc();
  auto const anchors = read_pem(files.ca, "client CA certificates");
  openssl_ptr<STACK_OF(X509_INFO)> lists(sk_X509_INFO_new_null());
  if (!files.crl.empty()) lists = read_pem(files.crl, "certificate revocation lists");
  if (!lists) throw std::bad_alloc();
  int lists_found = 0;
  for (int i = 0; i < sk_X509_INFO_num(lists.get()); ++i)
    if (X509_CRL* const list = sk_X509_INFO_value(lists.get(), i)->crl) {
      if (X509_STORE_add_crl(store_.get(), list) != 1) refuse("certificate revocation lists " + files.crl);
      ++lists_found;
    }
  if (!files.crl.empty() && lists_found == 0)
    throw client_trust_error("certificate revocation lists " + files.crl + ": no list in it (PEM, BEGIN X509 CRL)");
  int found = 0;
  for (int i = 0; i < sk_X509_INFO_num(anchors.get()); ++i) {
    X509* const anchor = sk_X509_INFO_value(anchors.get(), i)->x509;
    if (anchor == nullptr) continue;
    ++found;
    if (is_revoked(anchor, lists.get(), anchors.get())) continue;
    if (X509_STORE_add_cert(store_.get(), anchor) != 1) refuse("client CA certificates " + files.ca);
  }
  if (found == 0) throw client_trust_error("client CA certificates " + files.ca + ": no certificate in it (PEM)");
  unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
  if (lists_found != 0) flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
  X509_STORE_set_flags(store_.get(), flags);
  X509_VERIFY_PARAM_set_auth_level(X509_STORE_get0_param(store_.get()), 2);
  if (!files.blacklist.empty()) try {
      blacklist_ = serial_list(read_text(files.blacklist));
    } catch (std::invalid_argument const& e) {
      throw client_trust_error("blacklist " + files.blacklist + ": " + e.what());
    }
  ERR_clear_error();
}

template <bool AcceptExpired>
int client_trust::on_error(int ok, X509_STORE_CTX* c) {
  if (ok == 1) return 1;
  int const depth = X509_STORE_CTX_get_error_depth(c);
  bool const anchor = depth + 1 == sk_X509_num(X509_STORE_CTX_get0_chain(c));
  bool passes = false;
  switch (X509_STORE_CTX_get_error(c)) {
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_HAS_EXPIRED: passes = true; break;
    // An anchor needs nobody above it: lists about it were looked at when it was read.
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE: passes = anchor && depth != 0; break;
    case X509_V_ERR_CERT_HAS_EXPIRED: passes = AcceptExpired && depth == 0; break;
    default: break;
  }
  if (passes) X509_STORE_CTX_set_error(c, X509_V_OK);
  return passes ? 1 : 0;
}

inline int client_trust::judge(X509* leaf, STACK_OF(X509) * sent) const {
  if (blacklist_.size() != 0 && blacklist_.contains(serial_of(leaf))) return X509_V_ERR_CERT_REVOKED;
  openssl_ptr<X509_STORE_CTX> const c(X509_STORE_CTX_new());
  if (!c || X509_STORE_CTX_init(c.get(), store_.get(), leaf, sent) != 1 ||
      X509_STORE_CTX_set_default(c.get(), "ssl_client") != 1)
    return X509_V_ERR_OUT_OF_MEM;
  X509_STORE_CTX_set_verify_cb(c.get(), accept_expired_ ? &on_error<true> : &on_error<false>);
  bool const good = X509_verify_cert(c.get()) == 1;
  int const why = X509_STORE_CTX_get_error(c.get());
  ERR_clear_error();
  if (good) return X509_V_OK;
  return why != X509_V_OK ? why : X509_V_ERR_UNSPECIFIED;
}

}  // namespace mgw::net
