#pragma once

#include <mgw/net/openssl_ptr.hpp>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <string>
#include <string_view>
#include <system_error>

namespace gateway {

/// Where OpenSSL looks for the machine's CA certificates. Source: SSL_CTX_set_default_verify_paths(3).
struct trust_store {
  std::string file;         ///< PEM
  std::string directories;  ///< separated by colons; certificates under the hash of their subject, `1a2b3c4d.0`

  static trust_store of_machine() {
    auto const place = [](char const* variable, char const* built_in) {
      char const* const set = ::secure_getenv(variable);
      return std::string(set != nullptr ? set : built_in);
    };
    trust_store t;
    t.file = place(X509_get_default_cert_file_env(), X509_get_default_cert_file());
    t.directories = place(X509_get_default_cert_dir_env(), X509_get_default_cert_dir());
    return t;
  }

  /// Whether there is any certificate that could be found.
  bool has_any() const {
    mgw::net::openssl_ptr<X509_STORE> const all(X509_STORE_new());
    if (!all) throw std::bad_alloc();
    bool const in_file = !file.empty() && X509_STORE_load_file(all.get(), file.c_str()) == 1;
    ERR_clear_error();
    if (in_file) return true;
    for (std::size_t at = 0; at <= directories.size();) {
      std::size_t const end = std::min(directories.find(':', at), directories.size());
      if (end != at && has_hashed(directories.substr(at, end - at))) return true;
      at = end + 1;
    }
    return false;
  }

private:
  static bool has_hashed(std::string const& directory) {
    std::error_code ec;
    for (std::filesystem::directory_iterator i(directory, ec), end; !ec && i != end; i.increment(ec)) {
      std::string const name = i->path().filename().string();
      constexpr std::size_t hash = 8;
      if (name.size() > hash + 1 && name.find_first_not_of("0123456789abcdef") == hash && name[hash] == '.' &&
          name.find_first_not_of("0123456789", hash + 1) == std::string::npos &&
          ::access(i->path().c_str(), R_OK) == 0)  // most are links to a package's file, which may be gone
        return true;
    }
    return false;
  }
};

}  // namespace gateway
