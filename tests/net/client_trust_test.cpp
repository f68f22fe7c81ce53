#include <mgw/net/client_trust.hpp>
// The header under test comes first.
#include <mgw/net/serial_list.hpp>

#include <support/temporary_directory.hpp>
#include <support/test_pki.hpp>

#include <doctest/doctest.h>

#include <initializer_list>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace mgw::net::client_trust_test {
namespace {

using test::pki::crl_pem;
using test::pki::identity;
using test::pki::issue;
using test::pki::key_kind;
using test::pki::make_ca;
using test::pki::pem_of;
using test::pki::shape;

/// Trust in what these texts say.
struct trust_files {
  test::temporary_directory directory;
  client_trust_files files;
  explicit trust_files(std::string const& ca) {
    files.ca = path("ca.pem");
    test::pki::write_text(files.ca, ca);
  }
  std::string path(char const* name) const { return (directory.path() / name).string(); }
  trust_files& crl(std::string const& text) {
    files.crl = path("crl.pem");
    test::pki::write_text(files.crl, text);
    return *this;
  }
  trust_files& blacklist(std::string const& text) {
    files.blacklist = path("blacklist.txt");
    test::pki::write_text(files.blacklist, text);
    return *this;
  }
  int judge(identity const& who, std::initializer_list<identity const*> sent = {}) const {
    openssl_ptr<STACK_OF(X509)> chain(sk_X509_new_null());
    for (identity const* i : sent) {
      X509_up_ref(i->certificate.get());
      sk_X509_push(chain.get(), i->certificate.get());
    }
    return client_trust(files).judge(who.certificate.get(), chain.get());
  }
};

std::string why_refused(client_trust_files const& files) {
  try {
    client_trust const made(files);
  } catch (client_trust_error const& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a serial number is the same in every spelling that tools print") {
  serial_list const list("0A12\n  ff:00:1b \r\n# a comment\n\nserial=7B # leaked\n0xDEADBEEF\n000\n");
  CHECK(list.size() == 5);
  for (char const* serial : {"a12", "ff001b", "7b", "deadbeef", "0"}) CHECK(list.contains(serial));
  CHECK_FALSE(list.contains("a1"));
  CHECK(serial_list("\xEF\xBB\xBF"
                    "1f")
            .contains("1f"));
  CHECK(serial_list("").size() == 0);
  CHECK(serial_list(std::string(serial_list::max_digits, 'a')).size() == 1);
}

TEST_CASE("a line that is no serial number is an error that names it, never passed over") {
  for (std::string const line : {"xyz", "12 34", "0x", "12:", ":12", "1::2", "-5", "serial=", "12,13"}) {
    CAPTURE(line);
    CHECK_THROWS_WITH_AS(serial_list("12\n" + line + "\n"), doctest::Contains("line 2 "), std::invalid_argument);
  }
  CHECK_THROWS_AS(serial_list(std::string(serial_list::max_digits + 1, 'a')), std::invalid_argument);
}

TEST_CASE("certificates of every shape that fleets present are good") {
  identity const root = make_ca("Root"), other_root = make_ca("Old root"), between = make_ca("Between", &root);
  trust_files const both(pem_of(root) + pem_of(other_root));
  for (key_kind const kind : {key_kind::p256, key_kind::rsa2048, key_kind::ed25519}) {
    CAPTURE(static_cast<int>(kind));
    identity const device = issue(&root, shape("device", kind));
    CHECK(both.judge(device) == X509_V_OK);
    identity const below = issue(&between, shape("device", kind));
    CHECK(both.judge(below, {&between}) == X509_V_OK);
    CHECK(both.judge(below, {&below, &between, &root}) == X509_V_OK);
  }
  CHECK(both.judge(issue(&other_root, shape("device"))) == X509_V_OK);
  shape with_usage("device");
  with_usage.extended_key_usage = "clientAuth";
  CHECK(both.judge(issue(&root, with_usage)) == X509_V_OK);
  with_usage.extended_key_usage = "serverAuth,clientAuth";
  CHECK(both.judge(issue(&root, with_usage)) == X509_V_OK);
  CHECK(both.judge(issue(&root, shape(""))) == X509_V_OK);
}

TEST_CASE("a client that sends its leaf only is good if the intermediate is among the CA certificates, alone or not") {
  identity const root = make_ca("Root"), between = make_ca("Between", &root);
  identity const device = issue(&between, shape("device"));
  CHECK(trust_files(pem_of(root)).judge(device) == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
  CHECK(trust_files(pem_of(root) + pem_of(between)).judge(device) == X509_V_OK);
  CHECK(trust_files(pem_of(between)).judge(device) == X509_V_OK);
  CHECK(trust_files(pem_of(device)).judge(device) == X509_V_OK);
}

TEST_CASE("other certificates are refused, each for its reason") {
  identity const root = make_ca("Root"), foreign = make_ca("Root");  // of the same name
  trust_files const trust(pem_of(root));
  CHECK(trust.judge(issue(&foreign, shape("device"))) != X509_V_OK);
  CHECK(trust.judge(issue(&foreign, shape("device")), {&foreign}) != X509_V_OK);
  CHECK(trust.judge(issue(nullptr, shape("device"))) == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
  shape s("device");
  s.from_days = -30;
  s.to_days = -1;
  CHECK(trust.judge(issue(&root, s)) == X509_V_ERR_CERT_HAS_EXPIRED);
  s.from_days = 1;
  s.to_days = 30;
  CHECK(trust.judge(issue(&root, s)) == X509_V_ERR_CERT_NOT_YET_VALID);
  shape server("device");
  server.extended_key_usage = "serverAuth";
  CHECK(trust.judge(issue(&root, server)) == X509_V_ERR_INVALID_PURPOSE);
  CHECK(trust.judge(issue(&root, shape("device", key_kind::rsa1024))) == X509_V_ERR_EE_KEY_TOO_SMALL);
  identity const no_ca = issue(&root, shape("device"));
  identity const below = issue(&no_ca, shape("another device"));  // a device that issues certificates
  CHECK(trust.judge(below, {&no_ca}) == X509_V_ERR_INVALID_CA);
}

TEST_CASE("with accept_expired a device's own certificate may be past its end, nothing else may be wrong") {
  identity const root = make_ca("Root");
  shape old("device");
  old.from_days = -30;
  old.to_days = -1;
  shape old_ca("Between");
  old_ca.ca = true;
  old_ca.from_days = -30;
  old_ca.to_days = -1;
  shape early("device");
  early.from_days = 1;
  identity const between = issue(&root, old_ca), foreign = make_ca("Foreign"), device = issue(&root, old);
  trust_files trust(pem_of(root));
  trust.files.accept_expired = true;
  CHECK(trust.judge(device) == X509_V_OK);
  CHECK(trust.judge(issue(&root, early)) == X509_V_ERR_CERT_NOT_YET_VALID);
  CHECK(trust.judge(issue(&between, shape("device")), {&between}) == X509_V_ERR_CERT_HAS_EXPIRED);
  CHECK(trust.judge(issue(&foreign, old)) != X509_V_OK);
  trust.blacklist(serial_of(device.certificate.get()) + "\n");
  CHECK(trust.judge(device) == X509_V_ERR_CERT_REVOKED);
}

TEST_CASE(
    "revoked certificates are refused, leaf and intermediate; other issuers need no list, and an old one counts") {
  identity const root = make_ca("Root"), other = make_ca("Other root"), between = make_ca("Between", &root);
  identity const good = issue(&root, shape("good")), bad = issue(&root, shape("bad"));
  identity const below = issue(&between, shape("below"));
  for (int const next_update : {30, 60}) {  // days from 40 ago: past, or to come
    CAPTURE(next_update);
    trust_files trust(pem_of(root) + pem_of(other));
    trust.crl(crl_pem(root, {&bad}, next_update));
    CHECK(trust.judge(good) == X509_V_OK);
    CHECK(trust.judge(bad) == X509_V_ERR_CERT_REVOKED);
    CHECK(trust.judge(issue(&other, shape("device"))) == X509_V_OK);
    CHECK(trust.judge(below, {&between}) == X509_V_OK);
    trust.crl(crl_pem(root, {&between}, next_update));
    CHECK(trust.judge(bad) == X509_V_OK);
    CHECK(trust.judge(below, {&between}) == X509_V_ERR_CERT_REVOKED);
    trust.crl(crl_pem(between, {&below}, next_update) + crl_pem(root, {&bad}, next_update));
    CHECK(trust.judge(below, {&between}) == X509_V_ERR_CERT_REVOKED);
    CHECK(trust.judge(bad) == X509_V_ERR_CERT_REVOKED);
    CHECK(trust.judge(good) == X509_V_OK);
  }
}

TEST_CASE("an intermediate among the CA certificates that their root has revoked is no anchor") {
  identity const root = make_ca("Root"), between = make_ca("Between", &root);
  identity const below = issue(&between, shape("below"));
  trust_files trust(pem_of(between) + pem_of(root));
  trust.crl(crl_pem(root, {}));
  CHECK(trust.judge(below) == X509_V_OK);
  trust.crl(crl_pem(root, {&between}));
  CHECK(trust.judge(below) != X509_V_OK);
  CHECK(trust.judge(below, {&between}) != X509_V_OK);
  // With the root's list at hand but not the root: nobody can say that it is its list.
  trust_files alone(pem_of(between));
  alone.crl(crl_pem(root, {}));
  CHECK(alone.judge(below) == X509_V_OK);
}

TEST_CASE("a list that another CA of the same name has signed revokes nothing and lets nobody in") {
  identity const root = make_ca("Root"), foreign = make_ca("Root");
  identity const device = issue(&root, shape("device"));
  trust_files trust(pem_of(root));
  trust.crl(crl_pem(foreign, {&device}));
  CHECK(trust.judge(device) == X509_V_ERR_CRL_SIGNATURE_FAILURE);
}

TEST_CASE("a blacklisted serial is refused, whoever issued it") {
  identity const root = make_ca("Root");
  shape s("device");
  s.serial = 0xAB01;
  identity const leaked = issue(&root, s), other = issue(&root, shape("device"));
  trust_files trust(pem_of(root));
  trust.blacklist("00:AB:01\n");
  CHECK(trust.judge(leaked) == X509_V_ERR_CERT_REVOKED);
  CHECK(trust.judge(other) == X509_V_OK);
  trust.blacklist("");
  CHECK(trust.judge(leaked) == X509_V_OK);
}

TEST_CASE("a file that cannot be used is named, with the reason") {
  identity const root = make_ca("Root");
  trust_files trust(pem_of(root));
  CHECK(why_refused(trust.files).empty());
  auto with = [&](auto member, std::string const& text) {
    client_trust_files f = trust.files;
    f.*member = trust.path("changed");
    test::pki::write_text(f.*member, text);
    return why_refused(f);
  };
  CHECK(with(&client_trust_files::ca, "").find("no certificate in it") != std::string::npos);
  CHECK(with(&client_trust_files::ca, "garbage").find("no certificate in it") != std::string::npos);
  CHECK(with(&client_trust_files::ca, crl_pem(root, {})).find("no certificate in it") != std::string::npos);
  CHECK_FALSE(with(&client_trust_files::ca, pem_of(root).substr(0, 200)).empty());
  CHECK(with(&client_trust_files::crl, pem_of(root)).find("no list in it") != std::string::npos);
  CHECK(with(&client_trust_files::blacklist, "12\nzz\n").find("line 2") != std::string::npos);
  for (auto const member : {&client_trust_files::ca, &client_trust_files::crl, &client_trust_files::blacklist}) {
    client_trust_files f = trust.files;
    f.*member = trust.path("absent");
    CHECK(why_refused(f).find(f.*member + ": ") != std::string::npos);
  }
}

TEST_CASE("a certificate's names, serial number, fingerprint and key are told in one spelling") {
  identity const root = make_ca("Root");
  shape s("dévice, one");
  s.serial = 0x0A01;
  identity const device = issue(&root, s);
  X509_up_ref(device.certificate.get());
  peer_certificate const told(openssl_ptr<X509>(device.certificate.get()), nullptr);
  CHECK(told.subject == "CN=dévice\\, one");
  CHECK(told.issuer == "CN=Root");
  CHECK(told.serial == "a01");
  CHECK(told.fingerprint.size() == 64);
  unsigned char* der = nullptr;
  int const n = i2d_PUBKEY(device.key.get(), &der);
  CHECK(told.public_key == std::string(reinterpret_cast<char*>(der), static_cast<std::size_t>(n)));
  OPENSSL_free(der);
}

}  // namespace mgw::net::client_trust_test
