#include "config/check_certificates.hpp"

#include "config/check.hpp"
#include "gateway/support.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_pki.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <ostream>
#include <string>

namespace gateway::check_certificates_test {

using test::all;
using test::from_environment;
using test::has;
namespace pki = mgw::test::pki;

namespace {

struct served {
  mgw::test::temporary_directory directory;
  std::string certificate = (directory.path() / "c.pem").string(), key = (directory.path() / "k.pem").string();

  configuration checked(std::string const& chain, pki::identity const& of) const {
    pki::write_text(certificate, chain);
    pki::write_text(key, pki::key_pem_of(of));
    auto c = from_environment({{{"HTTPS_ENABLED", "true"},
                                {"UPSTREAM_SERVER_URL", "http://a"},
                                {"HTTPS_SERVER_CERTIFICATE", certificate},
                                {"HTTPS_SERVER_KEY", key}}});
    check(c);
    return c;
  }
};

pki::shape named(int from, int to) {
  pki::shape s("gw.example");
  s.alternative_names = "DNS:gw.example";
  s.from_days = from;
  s.to_days = to;
  return s;
}

}  // namespace

TEST_CASE("a server certificate that devices will refuse, or soon will, gets a warning, and serves all the same") {
  served const s;
  struct row {
    int from, to;
    char const* warning;  // empty: none
  };
  for (row const& r : {row{-1, 90, ""}, row{-1, 31, ""}, row{-1, 29, ": it ends on "},
                       row{-40, -1, ": it has expired on "}, row{1, 90, ": it is not valid before "}}) {
    CAPTURE(r.warning);
    auto const root = pki::make_ca("Root");
    auto const leaf = pki::issue(&root, named(r.from, r.to));
    auto const c = s.checked(pki::pem_of(leaf) + pki::pem_of(root), leaf);
    CHECK(all(c.errors) == "");
    CHECK(c.warnings.size() == (*r.warning == '\0' ? 0 : 1));
    CHECK(has(all(c.warnings), r.warning));
    if (*r.warning != '\0')
      CHECK(has(all(c.warnings), "HTTPS_SERVER_CERTIFICATE (HTTPS.ServerCertificate) is \"" + s.certificate + "\": "));
  }
}

TEST_CASE("a server certificate ends soon from 30 days before its end") {
  served const s;
  auto const leaf = pki::issue(nullptr, named(-1, 90));
  pki::write_text(s.certificate, pki::pem_of(leaf));
  auto const chain = read_chain(s.certificate);
  REQUIRE(chain.good());
  auto const end = chain.certificates[0].not_after;
  using std::chrono::days;
  CHECK(server_certificate_warnings(chain, end - days(30)).empty());
  CHECK(has(all(server_certificate_warnings(chain, end - days(30) + std::chrono::seconds(1))), "in 29 days; renew it"));
  CHECK(has(all(server_certificate_warnings(chain, end - days(1))), "in 1 day; renew it"));
  CHECK(has(all(server_certificate_warnings(chain, end)), "in 0 days; renew it"));
  CHECK(has(all(server_certificate_warnings(chain, end + std::chrono::seconds(1))), "has expired"));
}

TEST_CASE("a server certificate without a subject alternative name, or a chain in another order, gets a warning") {
  served const s;
  auto const root = pki::make_ca("Root");
  auto const middle = pki::make_ca("Middle", &root);
  pki::shape nameless("gw.example");
  nameless.to_days = 90;
  auto const old = pki::issue(&root, nameless);
  auto const c = s.checked(pki::pem_of(old), old);
  CHECK(all(c.errors) == "");
  CHECK(c.warnings.size() == 1);
  CHECK(has(all(c.warnings), "it has no subject alternative name (CN=gw.example, "));
  auto const leaf = pki::issue(&middle, named(-1, 90));
  auto const mixed = s.checked(pki::pem_of(leaf) + pki::pem_of(root) + pki::pem_of(middle), leaf);
  CHECK(all(mixed.errors) == "");
  CHECK(mixed.warnings.size() == 1);
  CHECK(has(all(mixed.warnings), "certificate no. 2 of it has not issued the one before it"));
  auto const turned = s.checked(pki::pem_of(middle) + pki::pem_of(leaf), leaf);
  CHECK(has(all(turned.errors), "the key is that of certificate no. 2 of the file"));
}

TEST_CASE("of the CA certificates for clients, one that has expired gets a warning") {
  served const s;
  auto const leaf = pki::issue(nullptr, named(-1, 90));
  pki::write_text(s.certificate, pki::pem_of(leaf));
  pki::write_text(s.key, pki::key_pem_of(leaf));
  pki::shape ended("Old");
  ended.ca = true;
  ended.from_days = -40;
  ended.to_days = -1;
  std::string const file = (s.directory.path() / "ca.pem").string();
  pki::write_text(file, pki::pem_of(pki::make_ca("New")) + pki::pem_of(pki::issue(nullptr, ended)));
  auto c = from_environment({{{"HTTPS_ENABLED", "true"},
                              {"UPSTREAM_SERVER_URL", "http://a"},
                              {"HTTPS_SERVER_CERTIFICATE", s.certificate},
                              {"HTTPS_SERVER_KEY", s.key},
                              {"MTLS_ENABLED", "true"},
                              {"MTLS_ACCESS_TOKEN", "a"},
                              {"MTLS_CA_CERTIFICATE", file}}});
  check(c);
  CHECK(all(c.errors) == "");
  REQUIRE(c.warnings.size() == 1);
  CHECK(has(c.warnings[0],
            "MTLS_CA_CERTIFICATE (Features.mTLS.CACertificate) is \"" + file + "\": CN=Old in it has expired on "));
}

TEST_CASE(
    "of a list of revoked certificates a check says whose it is, its dates, and how many it has, and what is amiss") {
  served const s;
  auto const leaf = pki::issue(nullptr, named(-1, 90));
  pki::write_text(s.certificate, pki::pem_of(leaf));
  pki::write_text(s.key, pki::key_pem_of(leaf));
  std::string const ca = (s.directory.path() / "ca.pem").string(), crl = (s.directory.path() / "crl.pem").string();
  auto const root = pki::make_ca("Root"), other = pki::make_ca("Other"), twin = pki::make_ca("Root");
  auto const one = pki::issue(&root, named(-1, 90)), two = pki::issue(&root, named(-1, 90));
  pki::write_text(ca, pki::pem_of(root));
  auto const checked = [&](std::string const& lists) {
    pki::write_text(crl, lists);
    auto c = from_environment({{{"HTTPS_ENABLED", "true"},
                                {"UPSTREAM_SERVER_URL", "http://a"},
                                {"HTTPS_SERVER_CERTIFICATE", s.certificate},
                                {"HTTPS_SERVER_KEY", s.key},
                                {"MTLS_ENABLED", "true"},
                                {"MTLS_ACCESS_TOKEN", "a"},
                                {"MTLS_CRL_PATH", crl},
                                {"MTLS_CA_CERTIFICATE", ca}}});
    check(c);
    CHECK(all(c.errors) == "");
    return c;
  };
  std::string const key = "MTLS_CRL_PATH (Features.mTLS.CRLPath) is \"" + crl + "\": ";
  auto const good = checked(pki::crl_pem(root, {&one, &two}) + pki::crl_pem(root, {}));
  CHECK(all(good.warnings) == "");
  auto const lists = read_revocation_lists(crl);
  REQUIRE(lists.lists.size() == 2);
  REQUIRE(lists.lists[0].next_update);
  CHECK(has(all(good.notes), key + "list of CN=Root, " + date_text(lists.lists[0].this_update) + " to " +
                                 date_text(*lists.lists[0].next_update) + ", 2 revoked\n"));
  CHECK(has(all(good.notes), ", 0 revoked\n"));
  struct row {
    std::string text;
    char const* warning;
  };
  for (row const& r :
       {row{pki::crl_pem(root, {&one}, -1), "the list of CN=Root in it has expired, a new one was due on "},
        row{pki::crl_pem(other, {}), "the list of CN=Other in it is of none of the client CAs"},
        row{pki::crl_pem(twin, {}), "the list of CN=Root in it is not signed with that client CA's key"},
        row{pki::crl_pem(root, {}) + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", ""}}) {
    CAPTURE(r.warning);
    if (*r.warning == '\0') {
      pki::write_text(crl, r.text);
      CHECK(has(read_revocation_lists(crl).trouble, "list no. 2 of it is garbled: "));
      continue;
    }
    auto const c = checked(r.text);
    REQUIRE(c.warnings.size() == 1);
    CHECK(has(c.warnings[0], key + r.warning));
    CHECK(has(all(c.notes), key + "list of CN="));
  }
  auto const& list = lists.lists[0];
  chain_facts const anchors = read_chain(ca);
  CHECK(revocation_list_warnings(list, anchors, *list.next_update).empty());
  CHECK(revocation_list_warnings(list, anchors, *list.next_update + std::chrono::seconds(1)).size() == 1);
  CHECK(revocation_list_warnings(list, anchors, list.this_update).empty());
  auto const early = revocation_list_warnings(list, anchors, list.this_update - std::chrono::seconds(1));
  REQUIRE(early.size() == 1);
  CHECK(has(early[0], "is not valid before "));
}

}  // namespace gateway::check_certificates_test
