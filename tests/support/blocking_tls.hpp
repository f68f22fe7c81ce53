#pragma once

#include <support/blocking_socket.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <poll.h>

#include <csignal>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::test {

/// An end of a TLS connection with blocking calls over a connected socket, of OpenSSL alone.
/// Errors: std::runtime_error for a handshake that fails.
class blocking_tls {
public:
  /// A client that believes any certificate.
  explicit blocking_tls(blocking_socket s) : socket_(std::move(s)) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    shake_hands(SSL_connect);
  }
  /// A server with the certificate and key of these PEM files.
  blocking_tls(blocking_socket s, std::string const& certificate, std::string const& key) : socket_(std::move(s)) {
    context_.reset(SSL_CTX_new(TLS_server_method()));
    if (!context_ || SSL_CTX_use_certificate_chain_file(context_.get(), certificate.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(context_.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
      throw std::runtime_error("no TLS server with " + certificate);
    shake_hands(SSL_accept);
  }
  int fd() const noexcept { return socket_.fd(); }

  /// False: the peer is gone.
  bool send(std::string_view bytes) {
    std::size_t n = 0;
    ERR_clear_error();
    return bytes.empty() || SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &n) == 1;
  }
  /// Adds what has come to `into`, waiting for at least a byte. False at the end: `ended_well` tells which.
  bool receive(std::string& into) {
    char block[16 * 1024];
    std::size_t n = 0;
    ERR_clear_error();
    if (SSL_read_ex(ssl_.get(), block, sizeof block, &n) == 1) {
      into.append(block, n);
      return true;
    }
    ended_well_ = SSL_get_error(ssl_.get(), 0) == SSL_ERROR_ZERO_RETURN;
    return false;
  }
  /// Waits until `receive` has something to do; touches nothing.
  void wait() const {
    pollfd readable{fd(), POLLIN, 0};
    if (SSL_pending(ssl_.get()) == 0) (void)::poll(&readable, 1, 30'000);
  }
  /// The common name in the certificate that the server has shown.
  std::string shown_name() const {
    std::unique_ptr<X509, free_openssl> const shown(SSL_get1_peer_certificate(ssl_.get()));
    char name[256] = "";
    if (shown) X509_NAME_get_text_by_NID(X509_get_subject_name(shown.get()), NID_commonName, name, sizeof name);
    return name;
  }
  /// The peer has said close_notify.
  bool ended_well() const noexcept { return ended_well_; }
  /// Changes the key that it sends with: a record of its own (RFC 8446 4.6.3).
  void update_key() noexcept {
    ERR_clear_error();
    if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1) (void)SSL_do_handshake(ssl_.get());
  }
  /// Says close_notify: no more is sent.
  void finish() noexcept {
    ERR_clear_error();
    (void)SSL_shutdown(ssl_.get());
  }

private:
  struct free_openssl {
    void operator()(SSL_CTX* c) const noexcept { SSL_CTX_free(c); }
    void operator()(SSL* s) const noexcept { SSL_free(s); }
    void operator()(X509* c) const noexcept { X509_free(c); }
  };
  void shake_hands(int (*how)(SSL*)) {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes with write(2)
    ERR_clear_error();
    if (context_) ssl_.reset(SSL_new(context_.get()));
    if (!ssl_ || SSL_set_fd(ssl_.get(), socket_.fd()) != 1 || how(ssl_.get()) != 1)
      throw std::runtime_error("the TLS handshake failed");
  }

  blocking_socket socket_;
  std::unique_ptr<SSL_CTX, free_openssl> context_;
  std::unique_ptr<SSL, free_openssl> ssl_;
  bool ended_well_ = false;
};

}  // namespace mgw::test
