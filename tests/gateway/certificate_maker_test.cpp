#include "support/certificate_maker.hpp"

#include <mgw/net/openssl_ptr.hpp>

#include <doctest/doctest.h>

#include <ctime>
#include <string>
#include <vector>

namespace gateway::certificate_maker_test {
namespace {

using mgw::net::openssl_ptr;

constexpr std::time_t now = 1'800'000'000;  // 2027-01-15
constexpr std::time_t day = 86'400;

std::vector<certificate_host> const two_hosts{{"gateway.example", false}, {"192.0.2.7", true}};

/// X509_V_OK, or why a client with `ca` refuses `leaf` as the server `host` at `when`. X509_STRICT is what OpenSSL has
/// for certificates that follow RFC 5280 to the letter.
int judge(X509* leaf, X509* ca, std::string const& host, std::time_t when = now) {
  openssl_ptr<X509_STORE> const store(X509_STORE_new());
  openssl_ptr<X509_STORE_CTX> const c(X509_STORE_CTX_new());
  X509_STORE_add_cert(store.get(), ca);
  X509_STORE_CTX_init(c.get(), store.get(), leaf, nullptr);
  X509_STORE_CTX_set_default(c.get(), "ssl_server");
  X509_VERIFY_PARAM* const p = X509_STORE_CTX_get0_param(c.get());
  X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
  X509_VERIFY_PARAM_set_auth_level(p, 2);
  X509_VERIFY_PARAM_set_time(p, when);
  if (X509_VERIFY_PARAM_set1_ip_asc(p, host.c_str()) != 1) X509_VERIFY_PARAM_set1_host(p, host.c_str(), 0);
  return X509_verify_cert(c.get()) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(c.get());
}

}  // namespace

TEST_CASE("certificate hosts: names and addresses of one host") {
  auto const read = [](std::string_view text) {
    auto const h = read_certificate_host(text);
    return h ? (h->is_address ? "address " : "name ") + h->text : std::string("refused");
  };
  CHECK(read("Gateway.Example") == "name gateway.example");
  CHECK(read("gw") == "name gw");
  CHECK(read("a_b-c.example") == "name a_b-c.example");
  CHECK(read("xn--bcher-kva.example") == "name xn--bcher-kva.example");
  CHECK(read("192.0.2.7") == "address 192.0.2.7");
  CHECK(read("2001:DB8::7") == "address 2001:db8::7");
  CHECK(read("[2001:db8::7]") == "address 2001:db8::7");
  for (char const* bad : {"",
                          ".",
                          "gateway.example.",
                          "gateway.example:443",
                          "https://gateway.example",
                          "*.example",
                          "-a.example",
                          "a-.example",
                          "a.example-",
                          "a..example",
                          ".example",
                          "b\xc3\xbc"
                          "cher.example",
                          "a b",
                          "a,IP:192.0.2.7",
                          "a.1",
                          "0x7f.1",
                          "192.0.2",
                          "[192.0.2.7]",
                          "0.0.0.0",
                          "::",
                          "224.0.0.1",
                          "ff02::1",
                          "fe80::1%eth0",
                          "[]",
                          "[::1",
                          "192.0.2.7/24"}) {
    CAPTURE(bad);
    CHECK(read(bad) == "refused");
  }
  CHECK(read(std::string(63, 'a') + ".example").starts_with("name"));
  CHECK(read(std::string(64, 'a') + ".example") == "refused");
  std::string long_name;
  for (int i = 0; i < 126; ++i) long_name += "a.";
  CHECK(read(long_name + "a").starts_with("name"));  // 253
  CHECK(read(long_name + "aa") == "refused");
  CHECK(read_certificate_host("2001:db8::7")->in_url() == "[2001:db8::7]");
  CHECK(read_certificate_host("192.0.2.7")->in_url() == "192.0.2.7");
}

TEST_CASE("a server's certificate is good by its CA, for each of its hosts and no other") {
  auto const ca = make_authority(now, 7305);
  auto const key = make_key();
  auto const leaf = issue(ca, key.get(), two_hosts, now, 825);
  CHECK(judge(leaf.get(), ca.certificate.get(), "gateway.example") == X509_V_OK);
  CHECK(judge(leaf.get(), ca.certificate.get(), "192.0.2.7") == X509_V_OK);
  CHECK(judge(leaf.get(), ca.certificate.get(), "other.example") == X509_V_ERR_HOSTNAME_MISMATCH);
  CHECK(judge(leaf.get(), ca.certificate.get(), "192.0.2.8") == X509_V_ERR_IP_ADDRESS_MISMATCH);
  auto const other = make_authority(now, 7305);
  CHECK(judge(leaf.get(), other.certificate.get(), "gateway.example") != X509_V_OK);
  CHECK(X509_check_private_key(leaf.get(), key.get()) == 1);
}

TEST_CASE("certificates begin a day back and end when they should, with their CA at the latest") {
  auto const ca = make_authority(now, 100);
  auto const key = make_key();
  auto const at = [&](X509* leaf, std::time_t when) {
    return judge(leaf, ca.certificate.get(), "gateway.example", when);
  };
  auto const leaf = issue(ca, key.get(), two_hosts, now, 30);
  CHECK(at(leaf.get(), now - day + 1) == X509_V_OK);
  CHECK(at(leaf.get(), now - day - 1) == X509_V_ERR_CERT_NOT_YET_VALID);
  CHECK(at(leaf.get(), now + 30 * day - 1) == X509_V_OK);
  CHECK(at(leaf.get(), now + 30 * day + 1) == X509_V_ERR_CERT_HAS_EXPIRED);
  auto const longer = issue(ca, key.get(), two_hosts, now, 1000);
  CHECK(ASN1_TIME_compare(X509_get0_notAfter(longer.get()), X509_get0_notAfter(ca.certificate.get())) == 0);
  CHECK(last_day(leaf.get()) == "2027-02-14");
}

TEST_CASE("certificates have what strict clients ask for") {
  auto const ca = make_authority(now, 7305);
  auto const key = make_key();
  auto const leaf = issue(ca, key.get(), two_hosts, now, 825);
  X509* const c = leaf.get();
  CHECK(X509_get_version(c) == 2);
  CHECK(X509_get_key_usage(c) == KU_DIGITAL_SIGNATURE);
  CHECK(X509_get_extended_key_usage(c) == XKU_SSL_SERVER);
  CHECK(X509_check_ca(c) == 0);
  CHECK(X509_get0_subject_key_id(c) != nullptr);
  REQUIRE(X509_get0_authority_key_id(c) != nullptr);
  CHECK(ASN1_STRING_cmp(X509_get0_authority_key_id(c), X509_get0_subject_key_id(ca.certificate.get())) == 0);
  CHECK(X509_check_ca(ca.certificate.get()) == 1);
  CHECK(X509_get_pathlen(ca.certificate.get()) == 0);
  CHECK(X509_get_key_usage(ca.certificate.get()) == (KU_KEY_CERT_SIGN | KU_CRL_SIGN));
  for (X509 const* one : {c, ca.certificate.get()}) {
    CHECK(ASN1_STRING_length(X509_get0_serialNumber(one)) == 20);
    CHECK(ASN1_STRING_get0_data(X509_get0_serialNumber(one))[0] < 0x80);
    CHECK(X509_get_signature_nid(one) == NID_ecdsa_with_SHA256);
    for (int const critical : {NID_basic_constraints, NID_key_usage})
      CHECK(X509_EXTENSION_get_critical(X509_get_ext(one, X509_get_ext_by_NID(one, critical, -1))) == 1);
  }
  char group[32];
  REQUIRE(EVP_PKEY_get_group_name(key.get(), group, sizeof group, nullptr) == 1);
  CHECK(std::string(group) == "prime256v1");
}

TEST_CASE("two CAs differ in name and key, two certificates in their number") {
  auto const one = make_authority(now, 10), other = make_authority(now, 10);
  CHECK(X509_NAME_cmp(X509_get_subject_name(one.certificate.get()), X509_get_subject_name(other.certificate.get())) !=
        0);
  CHECK(EVP_PKEY_eq(one.key.get(), other.key.get()) != 1);
  auto const key = make_key();
  auto const first = issue(one, key.get(), two_hosts, now, 5), second = issue(one, key.get(), two_hosts, now, 5);
  CHECK(ASN1_INTEGER_cmp(X509_get0_serialNumber(first.get()), X509_get0_serialNumber(second.get())) != 0);
}

TEST_CASE("certificates and keys are read again from PEM, with their hosts in order") {
  std::vector<certificate_host> hosts = two_hosts;
  hosts.push_back({"2001:db8::7", true});
  hosts.push_back({std::string(63, 'a') + ".example", false});
  auto const ca = make_authority(now, 10);
  auto const key = make_key();
  auto const leaf = certificate_from_pem(to_pem(issue(ca, key.get(), hosts, now, 5).get()));
  auto const again = key_from_pem(to_pem(key.get()));
  CHECK(hosts_of(leaf.get()) == hosts);
  CHECK(X509_check_private_key(leaf.get(), again.get()) == 1);
  CHECK(hosts_of(ca.certificate.get()).empty());
  // A first host too long for a common name is no less one of its names.
  std::vector<certificate_host> const long_first{hosts.back()};
  auto const other = issue(ca, key.get(), long_first, now, 5);
  CHECK(judge(other.get(), ca.certificate.get(), long_first[0].text) == X509_V_OK);
  for (std::string const bad : {"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}) {
    CHECK_THROWS_AS((void)certificate_from_pem(bad), certificate_error);
    CHECK_THROWS_AS((void)key_from_pem(bad), certificate_error);
  }
}

}  // namespace gateway::certificate_maker_test
