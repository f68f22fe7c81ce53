#pragma once

#include "config/certificate_facts.hpp"
#include "config/configuration.hpp"
#include "config/revocation_lists.hpp"
#include "config/settings.hpp"
#include "config/text_file.hpp"

#include <mgw/net/client_trust.hpp>
#include <mgw/net/tls_context.hpp>

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

/// So many days before its end a server certificate is warned of.
inline constexpr long certificate_days_left = 30;

/// What devices will refuse although the files can be used: each a phrase, for a sentence that names the file.
inline std::vector<std::string> server_certificate_warnings(chain_facts const& chain, unix_seconds now) {
  std::vector<std::string> out;
  if (chain.certificates.empty()) return out;
  for (std::size_t i = 0; i < chain.certificates.size(); ++i) {
    auto const& c = chain.certificates[i];
    std::string const which = i == 0 ? "it" : "certificate no. " + std::to_string(i + 1) + " of it (" + c.subject + ')';
    if (c.expired(now))
      out.push_back(which + " has expired on " + date_text(c.not_after) + ": devices refuse it; renew it");
    else if (c.not_yet_valid(now))
      out.push_back(which + " is not valid before " + date_text(c.not_before) +
                    ": devices refuse it until then; is our clock right? It says " + date_text(now));
    else if (c.days_left(now) < certificate_days_left)
      out.push_back(which + " ends on " + date_text(c.not_after) + ", in " + std::to_string(c.days_left(now)) +
                    (c.days_left(now) == 1 ? " day" : " days") + "; renew it before");
  }
  if (chain.certificates[0].names.empty())
    out.push_back("it has no subject alternative name (" + described(chain.certificates[0], now) +
                  "): clients look at no other name; make one with subjectAltName=DNS:NAME, or IP:ADDRESS");
  if (!chain.ordered())
    out.push_back("certificate no. " + std::to_string(chain.in_order + 1) +
                  " of it has not issued the one before it: some clients then find no path to their root; put the "
                  "server's own first, each one's issuer after it, and leave out the others");
  return out;
}

/// Finds what is wrong with the files of certificates and keys, and notes what is in them: subject, names, dates.
///
/// Whether a file can be used is judged by what will use it; certificate_facts gives the words. Opens, changes nothing.
class certificate_check {
public:
  certificate_check(configuration& c, unix_seconds now) : c_(c), now_(now) {}

  /// Whether the file can be read; an error if not.
  bool readable(std::string const& key, std::string const& path) {
    if (::access(path.c_str(), R_OK) == 0) return true;
    std::error_code const why(errno, std::system_category());
    refuse(at(key, path) + ": " + file_trouble(path, why));
    return false;
  }

  /// The pair that devices see. Precondition: TLS is on.
  void server_pair() {
    auto const& https = c_.values.https;
    bool const certificate = needed("HTTPS.ServerCertificate", https.certificate);
    if (!needed("HTTPS.ServerKey", https.key) || !certificate) return;
    auto const chain = read_chain(https.certificate);
    auto const key = read_key(https.key);
    try {
      (void)mgw::net::tls_context::server({https.certificate, https.key, https.minimum_tls});
    } catch (mgw::net::tls_context_error const& e) {
      return refuse_pair(chain, key, e.what());
    }
    for (std::string const& w : server_certificate_warnings(chain, now_))
      c_.warnings.push_back(at("HTTPS.ServerCertificate", https.certificate) + ": " + w);
    note("HTTPS.ServerCertificate", chain);
    note(at("HTTPS.ServerKey", https.key) + ": " + key.key +
         (key.key == "RSA" ? ' ' + std::to_string(key.key_bits) : "") + ", the key of that certificate");
  }

  /// Those whom clients' certificates are to come from, with what is revoked. Precondition: mTLS is on.
  void client_trust() {
    auto const& mtls = c_.values.mtls;
    bool usable = !mtls.ca_certificate.empty() && readable("Features.mTLS.CACertificate", mtls.ca_certificate);
    if (!mtls.crl.empty() && !readable("Features.mTLS.CRLPath", mtls.crl)) usable = false;
    if (!mtls.blacklist.empty() && !readable("Features.mTLS.BlacklistPath", mtls.blacklist)) usable = false;
    if (!usable) return;
    auto const chain = read_chain(mtls.ca_certificate);
    try {
      mgw::net::client_trust_files files;
      files.ca = mtls.ca_certificate;
      files.crl = mtls.crl;
      files.blacklist = mtls.blacklist;
      mgw::net::client_trust const trust(files);
    } catch (mgw::net::client_trust_error const& e) {
      return chain.good() ? refuse("Features.mTLS: " + std::string(e.what()))
                          : refuse("Features.mTLS.CACertificate", chain);
    }
    for (auto const& one : chain.certificates)
      if (one.expired(now_))
        c_.warnings.push_back(at("Features.mTLS.CACertificate", mtls.ca_certificate) + ": " + one.subject +
                              " in it has expired on " + date_text(one.not_after) +
                              ": clients whose certificates come from it are refused");
    note("Features.mTLS.CACertificate", chain);
    if (!mtls.crl.empty()) revoked(chain);
    if (!mtls.blacklist.empty()) note(at("Features.mTLS.BlacklistPath", mtls.blacklist) + ": read");
  }

  /// Those whom the upstream's certificate is to come from. Precondition: they are set.
  void upstream_trust() {
    auto const& path = c_.values.upstream.ca_certificate;
    constexpr auto* key = "UpstreamServer.CACertificate";
    if (!readable(key, path)) return;
    auto const chain = read_chain(path);
    try {
      (void)mgw::net::tls_context::client(mgw::net::client_tls(path));
    } catch (mgw::net::tls_context_error const& e) {
      return chain.good() ? refuse(c_.name(key) + ": " + e.what()) : refuse(key, chain);
    }
    note(key, chain);
  }

private:
  /// The lists count as they are: a start without them would accept what is revoked.
  void revoked(chain_facts const& anchors) {
    std::string const where = at("Features.mTLS.CRLPath", c_.values.mtls.crl) + ": ";
    auto const found = read_revocation_lists(c_.values.mtls.crl);
    if (!found.trouble.empty()) c_.warnings.push_back(where + found.trouble);
    for (revocation_list const& l : found.lists) {
      for (std::string const& w : revocation_list_warnings(l, anchors, now_)) c_.warnings.push_back(where + w);
      note(where + described(l));
    }
  }
  std::string at(std::string const& key, std::string const& path) const { return c_.name(key) + " is " + shown(path); }
  void refuse(std::string text) { c_.errors.push_back(std::move(text)); }
  void refuse(std::string const& key, chain_facts const& chain) { refuse(at(key, chain.file) + ": " + chain.trouble); }
  void note(std::string text) { c_.notes.push_back(std::move(text)); }
  /// A bundle of many is not listed one by one.
  void note(std::string const& key, chain_facts const& chain) {
    constexpr std::size_t most = 10;
    std::size_t const all = chain.certificates.size();
    for (std::size_t i = 0; i < all && i < most; ++i)
      note(at(key, chain.file) + (all == 1 ? "" : ", no. " + std::to_string(i + 1)) + ": " +
           described(chain.certificates[i], now_));
    if (all > most) note(at(key, chain.file) + ": " + std::to_string(all) + " certificates in all");
  }
  bool needed(std::string const& key, std::string const& path) {
    if (path.empty()) refuse(c_.name(key) + " is not set, and HTTPS.Enabled is true; accepted: a PEM file");
    return !path.empty() && readable(key, path);
  }
  void refuse_pair(chain_facts const& chain, key_facts const& key, std::string const& otherwise) {
    if (!chain.good()) refuse("HTTPS.ServerCertificate", chain);
    if (!key.good()) refuse(at("HTTPS.ServerKey", key.file) + ": " + key.trouble);
    if (!chain.good() || !key.good()) return;
    auto const place = place_of(key, chain);
    std::string const pair = at("HTTPS.ServerKey", key.file) + ", " + at("HTTPS.ServerCertificate", chain.file) + ": ";
    if (!place)
      refuse(pair + "a mismatch, the key is not that of the certificate (" + described(chain.certificates[0], now_) +
             "); needed: the two files that were made together");
    else if (*place != 0)
      refuse(pair + "the key is that of certificate no. " + std::to_string(*place + 1) +
             " of the file; needed: the server's own certificate first, then those that have issued it");
    else
      refuse(c_.name("HTTPS.ServerCertificate") + ", " + c_.name("HTTPS.ServerKey") + ": " + otherwise);
  }

  configuration& c_;
  unix_seconds now_;
};

}  // namespace gateway
