#pragma once

#include <openssl/ssl.h>

#include <memory>

namespace mgw::net {

/// A TLS session to resume: what spares an upstream connection the certificates. Empty: nothing to resume.
///
/// Copies are handles of one object. Thread rule: handles may be used on any thread.
class tls_session {
public:
  tls_session() = default;
  /// Takes over one reference; null gives an empty handle.
  explicit tls_session(SSL_SESSION* owned) {
    if (owned != nullptr) session_.reset(owned, SSL_SESSION_free);
  }
  explicit operator bool() const noexcept { return session_ != nullptr; }
  SSL_SESSION* native() const noexcept { return session_.get(); }

private:
  std::shared_ptr<SSL_SESSION> session_;
};

}  // namespace mgw::net
