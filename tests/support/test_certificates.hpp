#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

namespace mgw::test {

/// Certificates for a test, made anew (EC P-256) in a directory that goes with the object.
///
/// A CA with certificates for `localhost` (and 127.0.0.1, ::1): good, expired, for another host; and a foreign CA with
/// one of its own. Errors: std::runtime_error.
class test_certificates {
public:
  struct files {
    std::string certificate, key;
  };
  struct request {
    std::string common_name = "localhost";
    std::string alternative_names = "DNS:localhost,IP:127.0.0.1,IP:::1";  // empty: none
    int valid_from_days = -1;
    int valid_to_days = 30;
    bool foreign = false;  // issued by the foreign CA

    request() = default;
    request(std::string name, std::string alternative) : common_name(name), alternative_names(alternative) {}
  };

  test_certificates() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mgw-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    directory_ = pattern;
    ca_ = make_ca("Test CA");
    foreign_ = make_ca("Foreign CA");
    ca_file = write("ca.pem", ca_);
    foreign_ca_file = write("foreign-ca.pem", foreign_);
    request r;
    server = issue("server", r);
    r.foreign = true;
    foreign_server = issue("foreign", r);
    r = request();
    r.valid_from_days = -30;
    r.valid_to_days = -1;
    expired_server = issue("expired", r);
    wrong_host_server = issue("wrong-host", request("other.example", "DNS:other.example,IP:192.0.2.1"));
  }
  test_certificates(test_certificates const&) = delete;
  test_certificates& operator=(test_certificates const&) = delete;
  ~test_certificates() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  std::string ca_file, foreign_ca_file;
  files server, expired_server, wrong_host_server, foreign_server;

  std::string directory() const { return directory_.string(); }
  /// Makes another one; the files are called `name`.pem and `name`-key.pem.
  files issue(std::string const& name, request const& r) {
    identity const& issuer = r.foreign ? foreign_ : ca_;
    identity made;
    made.key.reset(check(EVP_EC_gen("P-256")));
    made.certificate = blank(r.common_name, made.key.get(), r.valid_from_days, r.valid_to_days);
    X509_set_issuer_name(made.certificate.get(), X509_get_subject_name(issuer.certificate.get()));
    if (!r.alternative_names.empty()) extend(made.certificate.get(), NID_subject_alt_name, r.alternative_names);
    check(X509_sign(made.certificate.get(), issuer.key.get(), EVP_sha256()));
    files f;
    f.certificate = write(name + ".pem", made);
    f.key = (directory_ / (name + "-key.pem")).string();
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> const out(check(std::fopen(f.key.c_str(), "w")), std::fclose);
    check(PEM_write_PrivateKey(out.get(), made.key.get(), nullptr, nullptr, 0, nullptr, nullptr));
    return f;
  }

private:
  struct free_openssl {
    void operator()(EVP_PKEY* k) const noexcept { EVP_PKEY_free(k); }
    void operator()(X509* c) const noexcept { X509_free(c); }
    void operator()(X509_EXTENSION* e) const noexcept { X509_EXTENSION_free(e); }
  };
  struct identity {
    std::unique_ptr<EVP_PKEY, free_openssl> key;
    std::unique_ptr<X509, free_openssl> certificate;
  };

  template <class T>
  static T check(T made) {
    if (!made) throw std::runtime_error("a test certificate could not be made");
    return made;
  }
  std::unique_ptr<X509, free_openssl> blank(std::string const& name, EVP_PKEY* key, int from_days, int to_days) {
    std::unique_ptr<X509, free_openssl> c(check(X509_new()));
    X509_set_version(c.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.get()), ++serial_);
    X509_time_adj_ex(X509_getm_notBefore(c.get()), from_days, 0, nullptr);
    X509_time_adj_ex(X509_getm_notAfter(c.get()), to_days, 0, nullptr);
    X509_set_pubkey(c.get(), key);
    auto const* const text = reinterpret_cast<unsigned char const*>(name.c_str());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c.get()), "CN", MBSTRING_ASC, text, -1, -1, 0);
    return c;
  }
  identity make_ca(std::string const& name) {
    identity made;
    made.key.reset(check(EVP_EC_gen("P-256")));
    made.certificate = blank(name, made.key.get(), -60, 60);
    X509_set_issuer_name(made.certificate.get(), X509_get_subject_name(made.certificate.get()));
    extend(made.certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
    check(X509_sign(made.certificate.get(), made.key.get(), EVP_sha256()));
    return made;
  }
  static void extend(X509* c, int which, std::string const& value) {
    std::unique_ptr<X509_EXTENSION, free_openssl> const e(
        check(X509V3_EXT_conf_nid(nullptr, nullptr, which, value.c_str())));
    check(X509_add_ext(c, e.get(), -1));
  }
  std::string write(std::string const& name, identity const& i) const {
    std::string const path = (directory_ / name).string();
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> const out(check(std::fopen(path.c_str(), "w")), std::fclose);
    check(PEM_write_X509(out.get(), i.certificate.get()));
    return path;
  }

  std::filesystem::path directory_;
  identity ca_, foreign_;
  long serial_ = 0;
};

}  // namespace mgw::test
