#pragma once

#include <mgw/net/client_trust.hpp>
#include <mgw/net/error.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace mgw::net {

/// A certificate, key or option that cannot be used: names the file and OpenSSL's reason.
class tls_context_error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// What a TLS server shows. Files are PEM; the certificate file holds the chain, leaf first.
struct server_tls {
  std::string certificate_file;
  std::string key_file;
  std::string minimum_version = "1.2";  ///< "1.2" or "1.3"

  server_tls() = default;
  server_tls(std::string certificate, std::string key, std::string version = "1.2")
      : certificate_file(std::move(certificate)), key_file(std::move(key)), minimum_version(std::move(version)) {}
};

/// Whom a TLS client believes.
struct client_tls {
  std::string ca_file;  ///< PEM, one or more roots; empty: the system's roots
  bool insecure_skip_verify = false;

  client_tls() = default;
  explicit client_tls(std::string ca, bool skip_verify = false)
      : ca_file(std::move(ca)), insecure_skip_verify(skip_verify) {}
};

/// Settings, certificates and ticket keys that many TLS streams share.
///
/// TLS 1.2 and later, forward secrecy and AEAD only, no compression, no renegotiation; a server sends one session
/// ticket and keeps no session cache. Copies are handles of one object. Errors: tls_context_error from the makers.
/// Thread rule: used from all threads; what is set through native() is set before the first stream is made.
class tls_context {
public:
  static tls_context server(server_tls const& options);
  static tls_context client(client_tls const& options);

  /// Server: from the next handshake on, a client must show a certificate that `gate` admits, and prove that it has the
  /// key. Nothing is resumed then, by ticket or session: a certificate that was refused since would come in by one. No
  /// names of CAs are sent, by which some clients would choose to show none. Errors: std::bad_alloc.
  void require_clients(std::shared_ptr<client_gate> gate);
  /// Who judges the clients; null: they need no certificate.
  std::shared_ptr<client_gate> const& clients() const noexcept { return clients_; }

  SSL_CTX* native() const noexcept { return context_.get(); }

private:
  static int gate_index();
  static int on_client(X509_STORE_CTX* c, void*);
  explicit tls_context(SSL_METHOD const* method);
  [[noreturn]] static void refuse(std::string const& what);

  std::shared_ptr<SSL_CTX> context_;
  std::shared_ptr<client_gate> clients_;
};

inline void tls_context::refuse(std::string const& what) {
  unsigned long const entry = ERR_get_error();  // the oldest is the cause; later ones say who noticed
  ERR_clear_error();
  throw tls_context_error(what + ": " + openssl_error(entry).message());
}

inline tls_context::tls_context(SSL_METHOD const* method) {
  ERR_clear_error();
  SSL_CTX* const c = SSL_CTX_new(method);
  if (c == nullptr) throw std::bad_alloc();
  context_.reset(c, SSL_CTX_free);
  SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
  SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(c, 1);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  // A key with a passphrase is refused rather than asked for on the terminal.
  SSL_CTX_set_default_passwd_cb(c, [](char*, int, int, void*) { return -1; });
  if (SSL_CTX_set_cipher_list(c,
                              "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                              "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                              "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305") != 1)
    refuse("TLS 1.2 cipher suites");
}

inline tls_context tls_context::server(server_tls const& options) {
  tls_context made(TLS_server_method());
  SSL_CTX* const c = made.native();
  if (options.minimum_version == "1.3")
    SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
  else if (options.minimum_version != "1.2")
    throw tls_context_error("minimum TLS version \"" + options.minimum_version + "\": must be 1.2 or 1.3");
  // Small devices without AES instructions name ChaCha20 first, and get it.
  SSL_CTX_set_options(c, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_num_tickets(c, 1);
  static unsigned char const session_context[] = {'m', 'g', 'w'};
  SSL_CTX_set_session_id_context(c, session_context, sizeof session_context);
  if (SSL_CTX_use_certificate_chain_file(c, options.certificate_file.c_str()) != 1)
    refuse("certificate " + options.certificate_file);
  if (SSL_CTX_use_PrivateKey_file(c, options.key_file.c_str(), SSL_FILETYPE_PEM) != 1)
    refuse("key " + options.key_file + " (certificate " + options.certificate_file + ")");
  if (SSL_CTX_check_private_key(c) != 1)
    refuse("key " + options.key_file + " does not match certificate " + options.certificate_file);
  return made;
}

/// Where the SSL_CTX keeps a handle of the gate: connections may outlive the tls_context.
inline int tls_context::gate_index() {
  static int const index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* held, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<std::shared_ptr<client_gate>*>(held);
      });
  return index;
}

inline int tls_context::on_client(X509_STORE_CTX* c, void*) {
  auto* const ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(c, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto const* const gate =
      static_cast<std::shared_ptr<client_gate>*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), gate_index()));
  int why = X509_V_ERR_UNSPECIFIED;
  try {
    why = (*gate)->judge(X509_STORE_CTX_get0_cert(c), X509_STORE_CTX_get0_untrusted(c));
  } catch (std::bad_alloc const&) {
    why = X509_V_ERR_OUT_OF_MEM;
  }
  X509_STORE_CTX_set_error(c, why);
  return why == X509_V_OK ? 1 : 0;
}

inline void tls_context::require_clients(std::shared_ptr<client_gate> gate) {
  SSL_CTX* const c = native();
  auto held = std::make_unique<std::shared_ptr<client_gate>>(gate);
  if (SSL_CTX_set_ex_data(c, gate_index(), held.get()) != 1) throw std::bad_alloc();
  held.release();
  clients_ = std::move(gate);
  SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(c, on_client, nullptr);
  SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(c, 0);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
}

inline tls_context tls_context::client(client_tls const& options) {
  tls_context made(TLS_client_method());
  SSL_CTX* const c = made.native();
  if (options.ca_file.empty()) {
    if (SSL_CTX_set_default_verify_paths(c) != 1) refuse("the system's CA certificates");
  } else if (SSL_CTX_load_verify_locations(c, options.ca_file.c_str(), nullptr) != 1) {
    refuse("CA certificates " + options.ca_file);
  }
  SSL_CTX_set_verify(c, options.insecure_skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  return made;
}

}  // namespace mgw::net
