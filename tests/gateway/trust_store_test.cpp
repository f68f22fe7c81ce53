#include "config/trust_store.hpp"

#include "config/check.hpp"
#include "gateway/support.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_certificates.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <ostream>
#include <string>

namespace gateway::trust_store_test {

using test::all;
using test::from_environment;
using test::has;

TEST_CASE("a trust store has certificates if its file has one, or if a directory has one under its hash") {
  mgw::test::temporary_directory const d;
  mgw::test::test_certificates const made;
  std::string const empty = (d.path() / "empty").string(), full = (d.path() / "full").string();
  std::filesystem::create_directory(empty);
  std::filesystem::create_directory(full);
  auto const has_any = [](std::string const& file, std::string const& directories) {
    trust_store t;
    t.file = file;
    t.directories = directories;
    return t.has_any();
  };
  std::filesystem::copy_file(made.ca_file, full + "/ca.pem");
  CHECK(!has_any("", ""));
  CHECK(!has_any("/nonexistent", "/nonexistent:" + empty));
  CHECK(!has_any(made.server.key, empty));
  CHECK(!has_any("", full));  // OpenSSL looks for hashes only
  CHECK(has_any(made.ca_file, empty));
  for (char const* const name : {"0a1b2c3d.", "0a1b2c3.0", "0a1b2c3d.r0", "0a1b2c3d4.0", "0A1B2C3D.0"}) {
    std::filesystem::copy_file(made.ca_file, full + "/" + name);
    CHECK(!has_any("", full));
  }
  std::filesystem::create_symlink("/nonexistent/ca.pem", full + "/0a1b2c3e.0");  // of a package that is gone
  CHECK(!has_any("", full));
  std::filesystem::copy_file(made.ca_file, full + "/0a1b2c3d.0");
  CHECK(has_any("", full));
  CHECK(has_any("", empty + ":" + full));
  CHECK(has_any("", full + ":"));
}

TEST_CASE("an upstream over TLS without any CA certificates on the machine does not start, and says what to install") {
  mgw::test::test_certificates const made;
  trust_store none;
  none.file = "/nonexistent/cert.pem";
  none.directories = "/nonexistent/certs";
  auto const errors = [&](char const* url, std::string const& ca, char const* skip) {
    auto c = from_environment({{{"HTTP_ENABLED", "true"},
                                {"UPSTREAM_SERVER_URL", url},
                                {"UPSTREAM_SERVER_CA_CERTIFICATE", ca},
                                {"UPSTREAM_SERVER_INSECURE_SKIP_VERIFY", skip}}});
    check(c, none);
    return all(c.errors);
  };
  CHECK(errors("https://hosted.mender.io", "", "") ==
        "UPSTREAM_SERVER_URL (UpstreamServer.URL) is \"https://hosted.mender.io\", and there are no CA certificates to "
        "verify it with: none in the file /nonexistent/cert.pem (SSL_CERT_FILE) and none in /nonexistent/certs "
        "(SSL_CERT_DIR); install the package ca-certificates, or set UPSTREAM_SERVER_CA_CERTIFICATE "
        "(UpstreamServer.CACertificate) to a PEM file\n");
  CHECK(errors("https://hosted.mender.io", made.ca_file, "") == "");
  CHECK(errors("https://hosted.mender.io", "", "true") == "");
  CHECK(errors("http://hosted.mender.io", "", "") == "");
}

}  // namespace gateway::trust_store_test
