#pragma once

#include "config/certificate_facts.hpp"
#include "config/text_file.hpp"

#include <mgw/net/openssl_ptr.hpp>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace gateway {

/// What one list of revoked certificates says. Source: RFC 5280 5.
struct revocation_list {
  std::string issuer;  ///< as RFC 4514 writes names; may be empty
  unix_seconds this_update;
  std::optional<unix_seconds> next_update;  ///< nothing: it does not say
  std::size_t entries = 0;
  std::shared_ptr<X509_CRL> handle;
};

/// The lists of a PEM file, in the file's order.
struct revocation_lists {
  std::string trouble;  ///< why they could not all be read. Empty: none
  std::vector<revocation_list> lists;
};

/// One line: `list of CN=Root, 2026-01-01 00:00:00 UTC to 2026-02-01 00:00:00 UTC, 2 revoked`.
inline std::string described(revocation_list const& l) {
  return "list of " + (l.issuer.empty() ? "an issuer without a name" : l.issuer) + ", " + date_text(l.this_update) +
         (l.next_update ? " to " + date_text(*l.next_update) : ", with no word of the next one") + ", " +
         std::to_string(l.entries) + " revoked";
}

/// What is amiss with a list although it counts: each a phrase, for a sentence that names the file. `anchors`: those
/// that client certificates are to come from.
inline std::vector<std::string> revocation_list_warnings(revocation_list const& l, chain_facts const& anchors,
                                                         unix_seconds now) {
  std::vector<std::string> out;
  std::string const which = "the list of " + (l.issuer.empty() ? "an issuer without a name" : l.issuer) + " in it ";
  if (l.next_update && now > *l.next_update)
    out.push_back(which + "has expired, a new one was due on " + date_text(*l.next_update) +
                  ": what was revoked since then is accepted; put the CA's newest list there");
  if (now < l.this_update)
    out.push_back(which + "is not valid before " + date_text(l.this_update) + "; is our clock right? It says " +
                  date_text(now));
  bool named = false, signed_by = false;
  for (certificate_facts const& ca : anchors.certificates) {
    X509_CRL* const list = l.handle.get();
    if (X509_NAME_cmp(X509_get_subject_name(ca.handle.get()), X509_CRL_get_issuer(list)) != 0) continue;
    named = true;
    signed_by = signed_by || X509_CRL_verify(list, X509_get0_pubkey(ca.handle.get())) == 1;
  }
  ERR_clear_error();
  if (!named)
    out.push_back(which +
                  "is of none of the client CAs (Features.mTLS.CACertificate): it counts only for clients that "
                  "send that CA's certificate with their own; is it the right file?");
  else if (!signed_by)
    out.push_back(which +
                  "is not signed with that client CA's key (Features.mTLS.CACertificate): clients whose "
                  "certificates come from that CA are refused; put the CA's own list there");
  return out;
}

/// Reads every list of a PEM file of up to 64 MiB. Errors: in `trouble`; std::bad_alloc.
inline revocation_lists read_revocation_lists(std::string const& path) {
  constexpr std::size_t max_lists = std::size_t{64} << 20;
  revocation_lists out;
  auto const text = read_text_file(path, max_lists);
  if (!text) {
    out.trouble = file_trouble(path, text.error());
    return out;
  }
  auto const in = certificates::reader_of(*text);
  auto const no_passphrase = [](char*, int, int, void*) { return -1; };
  while (mgw::net::openssl_ptr<X509_CRL> one{PEM_read_bio_X509_CRL(in.get(), nullptr, no_passphrase, nullptr)}) {
    revocation_list l;
    l.issuer = certificates::name_text(X509_CRL_get_issuer(one.get()));
    l.this_update = certificates::time_of(X509_CRL_get0_lastUpdate(one.get()));
    if (auto const* const next = X509_CRL_get0_nextUpdate(one.get())) l.next_update = certificates::time_of(next);
    auto* const revoked = X509_CRL_get_REVOKED(one.get());
    l.entries = revoked != nullptr ? static_cast<std::size_t>(sk_X509_REVOKED_num(revoked)) : 0;
    l.handle.reset(one.release(), X509_CRL_free);
    out.lists.push_back(std::move(l));
  }
  bool const whole = certificates::at_end();
  std::string const why = certificates::reason();
  if (!whole) out.trouble = "list no. " + std::to_string(out.lists.size() + 1) + " of it is garbled: " + why;
  return out;
}

}  // namespace gateway
