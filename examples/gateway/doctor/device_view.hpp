#pragma once

#include "config/certificate_facts.hpp"
#include "config/check_certificates.hpp"
#include "config/settings.hpp"
#include "doctor/finding.hpp"
#include "doctor/judge.hpp"

#include <mgw/http/uri.hpp>
#include <mgw/net/openssl_ptr.hpp>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <new>
#include <string>
#include <utility>

namespace gateway::doctor {

/// How a device looks at the gateway's certificate.
struct device_trust {
  std::string ca;    ///< PEM file: what devices trust; empty: the system's store
  std::string host;  ///< how devices reach the gateway, without a port; empty: not known
};

namespace device_view_detail {

/// Verifies a chain as a TLS client does. Returns X509_V_OK or what is wrong; `no_ca`: the CA file cannot be read.
inline int verify(chain_facts const& chain, device_trust const& t, bool& no_ca) {
  using mgw::net::openssl_ptr;
  openssl_ptr<X509_STORE> const store(X509_STORE_new());
  openssl_ptr<X509_STORE_CTX> const c(X509_STORE_CTX_new());
  STACK_OF(X509)* const others = sk_X509_new_null();
  openssl_ptr<STACK_OF(X509)> const owned(others);
  if (!store || !c || others == nullptr) throw std::bad_alloc();
  no_ca =
      (t.ca.empty() ? X509_STORE_set_default_paths(store.get()) : X509_STORE_load_file(store.get(), t.ca.c_str())) != 1;
  ERR_clear_error();
  if (no_ca) return X509_V_ERR_UNSPECIFIED;
  for (auto const& one : chain.certificates) {
    X509_up_ref(one.handle.get());
    if (sk_X509_push(others, one.handle.get()) == 0) throw std::bad_alloc();
  }
  if (X509_STORE_CTX_init(c.get(), store.get(), chain.certificates.front().handle.get(), others) != 1)
    throw std::bad_alloc();
  X509_STORE_CTX_set_default(c.get(), "ssl_server");
  if (X509_verify_cert(c.get()) == 1) return X509_V_OK;
  int const why = X509_STORE_CTX_get_error(c.get());
  ERR_clear_error();
  return why == X509_V_OK ? X509_V_ERR_UNSPECIFIED : why;
}

inline std::string names_of(certificate_facts const& c) {
  std::string out;
  for (auto const& n : c.names) (out += out.empty() ? "" : " ") += n;
  return out.empty() ? "no names" : out;
}

/// The host of a URL, as a certificate is asked for it.
inline std::string host_of(std::string const& url) {
  auto const u = mgw::http::parse_uri(url);
  if (!u) return {};
  std::string out(u->host);
  if (out.starts_with('[')) out = out.substr(1, out.size() - 2);
  return out;
}

}  // namespace device_view_detail

/// The certificate of an HTTPS listener as a device would judge it: its dates, its names, its chain.
inline findings judge_certificate(chain_facts const& chain, device_trust const& t, unix_seconds now) {
  using namespace device_view_detail;
  findings out;
  std::string const check = "certificate";
  if (!chain.good()) {
    out.emplace_back(
        level::problem, check, chain.file + ": " + chain.trouble,
        "set HTTPS_SERVER_CERTIFICATE (HTTPS.ServerCertificate) to a PEM file with the certificate and its chain");
    return out;
  }
  auto const& leaf = chain.certificates.front();
  std::string const about = chain.file + ": " + described(leaf, now);
  if (leaf.expired(now) || leaf.not_yet_valid(now))
    out.emplace_back(level::problem, check, about,
                     "devices refuse it: put a new one there and restart, or set this machine's clock, which says " +
                         date_text(now));
  else if (leaf.days_left(now) < certificate_days_left)
    out.emplace_back(level::warning, check, about, "renew it: after its end devices do not connect");
  else
    out.emplace_back(level::ok, check, about);

  if (t.host.empty())
    out.emplace_back(level::warning, "certificate name",
                     "how devices reach the gateway is not known; the certificate is for " + names_of(leaf),
                     "give --host NAME, or set ARTIFACTS_PROXY_GATEWAY_URL");
  else if (leaf.is_for(t.host))
    out.emplace_back(level::ok, "certificate name", "it is for " + t.host);
  else
    out.emplace_back(level::problem, "certificate name", "it is not for " + t.host + ", but for " + names_of(leaf),
                     "devices refuse it: have one made with " + t.host +
                         " as a subject alternative name, or let devices use a name that it has");

  bool no_ca = false;
  int const why = verify(chain, t, no_ca);
  std::string const trusted = t.ca.empty() ? "the system's CA certificates" : t.ca;
  bool const date = why == X509_V_ERR_CERT_HAS_EXPIRED || why == X509_V_ERR_CERT_NOT_YET_VALID;
  if (no_ca)
    out.emplace_back(level::problem, "certificate chain", trusted + " cannot be read, or has no certificate",
                     "give --ca a PEM file with the CA certificates that devices have");
  else if (why == X509_V_OK)
    out.emplace_back(level::ok, "certificate chain", "good with " + trusted);
  else if (date && any_problem(out))
    ;  // said already
  else if (t.ca.empty())
    out.emplace_back(level::warning, "certificate chain",
                     std::string(X509_verify_cert_error_string(why)) + " with " + trusted,
                     "if devices have a CA of their own (ServerCertificate in mender.conf), give it with --ca FILE; "
                     "else they refuse the gateway");
  else
    out.emplace_back(
        level::problem, "certificate chain",
        std::string(X509_verify_cert_error_string(why)) + " with " + trusted + "; issued by " +
            chain.certificates.back().issuer,
        "give devices the CA that has issued it, and put intermediate certificates behind the gateway's own into " +
            chain.file);
  if (!chain.ordered())
    out.emplace_back(
        level::warning, "certificate chain", chain.file + " has certificates that are not each issued by the next",
        "put the gateway's own first, then each one's issuer, without the root: some devices take no other order");
  return out;
}

/// The certificate of the HTTPS listener, if there is one. `asked`: what the command line says.
inline findings check_certificate(settings const& s, device_trust asked, unix_seconds now) {
  if (!s.https.enabled || s.https.certificate.empty()) return {};
  if (asked.host.empty()) asked.host = device_view_detail::host_of(s.proxy.gateway_url);
  return judge_certificate(read_chain(s.https.certificate), asked, now);
}

}  // namespace gateway::doctor
