#include "config/certificate_facts.hpp"

#include "gateway/support.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_pki.hpp"

#include <doctest/doctest.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <chrono>
#include <ostream>
#include <string>

namespace gateway::certificate_facts_test {
namespace {

using gateway::test::has;
namespace pki = mgw::test::pki;

unix_seconds now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

struct files {
  mgw::test::temporary_directory directory;
  std::string write(std::string const& name, std::string const& text) const {
    std::string path = (directory.path() / name).string();
    pki::write_text(path, text);
    return path;
  }
};

std::string encrypted_key(pki::identity const& i) {
  mgw::net::openssl_ptr<BIO> const out(pki::check(BIO_new(BIO_s_mem())));
  unsigned char secret[] = "secret";
  pki::check(PEM_write_bio_PrivateKey(out.get(), i.key.get(), EVP_aes_128_cbc(), secret, 6, nullptr, nullptr) == 1);
  return pki::text_of(out.get());
}

}  // namespace

TEST_CASE("a certificate tells its subject, names, dates and key") {
  files f;
  auto const root = pki::make_ca("Root");
  pki::shape s("gw.example");
  s.alternative_names = "DNS:gw.example,DNS:*.lab.example,IP:192.0.2.1,IP:2001:db8::1,URI:https://x.example/";
  s.to_days = 12;
  auto const leaf = pki::issue(&root, s);
  auto const chain = read_chain(f.write("chain.pem", pki::pem_of(leaf) + pki::pem_of(root)));
  REQUIRE(chain.good());
  REQUIRE(chain.certificates.size() == 2);
  CHECK(chain.ordered());
  auto const& c = chain.certificates[0];
  CHECK(c.subject == "CN=gw.example");
  CHECK(c.issuer == "CN=Root");
  CHECK(c.names == std::vector<std::string>{"DNS:gw.example", "DNS:*.lab.example", "IP:192.0.2.1", "IP:2001:db8::1",
                                            "URI:https://x.example/"});
  CHECK(c.key == "EC P-256");
  CHECK(c.key_bits == 256);
  CHECK(!c.ca);
  CHECK(!c.self_signed);
  auto const end = c.not_after;
  CHECK(c.not_after - c.not_before == std::chrono::days(13));
  CHECK(!c.expired(end));
  CHECK(c.expired(end + std::chrono::seconds(1)));
  CHECK(c.not_yet_valid(c.not_before - std::chrono::seconds(1)));
  CHECK(!c.not_yet_valid(c.not_before));
  CHECK(c.days_left(end) == 0);
  CHECK(c.days_left(end - std::chrono::days(12)) == 12);
  CHECK(c.days_left(end + std::chrono::seconds(1)) == -1);
  CHECK(c.is_for("gw.example"));
  CHECK(c.is_for("a.lab.example"));
  CHECK(c.is_for("192.0.2.1"));
  CHECK(c.is_for("2001:db8::1"));
  CHECK(!c.is_for("a.b.lab.example"));
  CHECK(!c.is_for("other.example"));
  CHECK(chain.certificates[1].ca);
  CHECK(chain.certificates[1].self_signed);
  CHECK(has(described(c, end - std::chrono::days(1)),
            "CN=gw.example, for DNS:gw.example DNS:*.lab.example IP:192.0.2.1"));
  CHECK(has(described(c, end - std::chrono::days(1)), "(1 day left), EC P-256"));
  CHECK(has(described(c, end + std::chrono::days(1)), "(expired), EC P-256"));
  CHECK(has(described(c, c.not_before - std::chrono::days(1)), "(not yet valid)"));
}

TEST_CASE("dates are written in UTC, also past 2038") {
  CHECK(date_text(unix_seconds{}) == "1970-01-01 00:00:00 UTC");
  CHECK(date_text(unix_seconds(std::chrono::seconds(4102444799))) == "2099-12-31 23:59:59 UTC");
}

TEST_CASE("a common name alone is no subject alternative name") {
  files f;
  auto const own = pki::issue(nullptr, pki::shape("gw.example", pki::key_kind::rsa2048));
  auto const chain = read_chain(f.write("own.pem", pki::pem_of(own)));
  REQUIRE(chain.certificates.size() == 1);
  auto const& c = chain.certificates[0];
  CHECK(c.names.empty());
  CHECK(!c.is_for("gw.example"));
  CHECK(c.self_signed);
  CHECK(c.key == "RSA");
  CHECK(c.key_bits == 2048);
  CHECK(has(described(c, now()), "RSA 2048, self-signed"));
}

TEST_CASE("a chain in another order than leaf first is found, and so is the key's certificate") {
  files f;
  auto const root = pki::make_ca("Root");
  auto const middle = pki::make_ca("Middle", &root);
  auto const leaf = pki::issue(&middle, pki::shape("gw.example"));
  auto const key = read_key(f.write("key.pem", pki::key_pem_of(leaf)));
  REQUIRE(key.good());
  CHECK(key.key == "EC P-256");
  auto const all = [&](std::initializer_list<pki::identity const*> order) {
    std::string text;
    for (auto const* i : order) text += pki::pem_of(*i);
    return read_chain(f.write("chain.pem", text));
  };
  struct row {
    chain_facts chain;
    std::size_t in_order;
    std::optional<std::size_t> place;
  };
  auto const other = pki::make_ca("Middle", &root);  // the same names, another key
  for (row const& r : {row{all({&leaf, &middle, &root}), 3, 0}, row{all({&leaf}), 1, 0},
                       row{all({&leaf, &root, &middle}), 1, 0}, row{all({&root, &middle, &leaf}), 1, 2},
                       row{all({&leaf, &other}), 1, 0}, row{all({&middle, &root}), 2, std::nullopt}}) {
    CHECK(r.chain.good());
    CHECK(r.chain.in_order == r.in_order);
    CHECK(place_of(key, r.chain) == r.place);
  }
}

TEST_CASE("a file says what it has instead of a certificate or a key") {
  files f;
  auto const own = pki::issue(nullptr, pki::shape("gw.example"));
  std::string const certificate = pki::pem_of(own), key = pki::key_pem_of(own);
  auto const of_chain = [&](std::string const& text) { return read_chain(f.write("x", text)).trouble; };
  auto const of_key = [&](std::string const& text) { return read_key(f.write("x", text)).trouble; };
  CHECK(of_chain(key + certificate).empty());
  CHECK(of_key(certificate + key).empty());
  CHECK(has(of_chain(""), "there is no certificate in it, it is empty"));
  CHECK(has(of_chain(key), "there is no certificate in it, it has PRIVATE KEY"));
  CHECK(has(of_chain("\x30\x82"), "DER or PKCS #12"));
  CHECK(has(of_chain("hello"), "there is no PEM in it"));
  CHECK(has(of_chain("-----BEGIN \x1b[2J"), "its PEM is garbled"));
  CHECK(
      has(of_chain(certificate + certificate.substr(0, certificate.size() / 2)), "certificate no. 2 of it is garbled"));
  std::string encrypted = certificate;
  encrypted.insert(encrypted.find('\n') + 1, "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n");
  CHECK(has(of_chain(encrypted), "certificate no. 1 of it is garbled"));  // and nobody is asked for a passphrase
  CHECK(has(of_key(certificate), "there is no private key in it, it has CERTIFICATE"));
  CHECK(has(of_key(key.substr(0, key.size() / 2)), "the key in it is garbled"));
  CHECK(has(of_key(encrypted_key(own)), "it has a passphrase"));
  CHECK(has(read_chain((f.directory.path() / "missing").string()).trouble, "No such file or directory"));
  CHECK(has(read_key(f.directory.path().string()).trouble, "Is a directory"));
  CHECK(has(of_key(std::string(certificates::max_file + 1, 'x')), "File too large"));
}

}  // namespace gateway::certificate_facts_test
