#pragma once

#include <mgw/core/concepts.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/net/error.hpp>
#include <mgw/net/tls_context.hpp>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <system_error>

namespace mgw::net {

enum class tls_role { server, client };

/// One TLS connection without I/O: ciphertext goes in and out through lent buffers, plaintext through the caller's.
///
/// An SSL object over a BIO of ours. The blocks are lent by the thread for as long as they hold something:
/// ```
/// room()  ->  received(n)  ->  handshake() read()  ->  your buffer
/// your buffers  ->  write()  ->  output()  ->  sent(n)
/// ```
/// Errors: std::bad_alloc from the constructor; all else is in step::ec. After an error it stays failed.
/// Thread rule: one thread. Not movable: the BIO points to it.
class tls_engine {
public:
  enum class want { nothing, input, output_room };
  struct step {
    want needs = want::nothing;  ///< not `nothing`: no progress was made; bring it and ask again
    std::error_code ec;
    std::size_t n = 0;  ///< plaintext bytes moved
  };
  static constexpr std::size_t max_record = 16 * 1024;  // plaintext bytes of one record (RFC 8446 5.1)
  static constexpr std::size_t blocks = 4;              // of output: what one write can carry

  tls_engine(tls_context const& context, tls_role role);
  tls_engine(tls_engine const&) = delete;
  tls_engine& operator=(tls_engine const&) = delete;

  step handshake();
  /// Precondition: `into` is not empty. A clean end (close_notify) is asio::error::eof.
  step read(asio::mutable_buffer into);
  /// Encrypts one record. Precondition: `from` is 1 to max_record bytes, and can_write().
  step write(asio::const_buffer from);
  /// Makes the close_notify, once. Nothing before the handshake is done.
  void close() noexcept;

  /// Room for a whole record, lent. Given back by received(0), or when the input has been used up.
  /// Precondition: the last step wanted input, so that none is left here.
  asio::mutable_buffer room();
  /// `n` bytes have been put into the room.
  void received(std::size_t n) noexcept;
  /// The transport ended: the BIO says so to OpenSSL once the input is used up.
  void received_eof() noexcept { peer_closed_ = true; }
  /// There is something to read from, if perhaps too little. Else `read` would want input.
  bool has_input() const noexcept { return in_begin_ != in_end_ || inside_record(); }
  /// Part of a record is here already, so the rest is about to come.
  bool inside_record() const noexcept { return SSL_has_pending(ssl_.get()) == 1; }

  bool has_output() const noexcept { return head_ != tail_; }
  /// True if a whole record fits into the output, with what OpenSSL may add to it.
  bool can_write() const noexcept { return blocks * lent_buffer::capacity - tail_ >= lent_buffer::capacity; }
  /// What is to be sent, in order. The bytes stay where they are until sent() has counted them, whatever is added.
  std::size_t output(std::span<asio::const_buffer, blocks> parts) const noexcept;
  void sent(std::size_t n) noexcept;
  void discard_output() noexcept { sent(tail_ - head_); }

  SSL* native() const noexcept { return ssl_.get(); }

private:
  struct free_ssl {
    void operator()(SSL* s) const noexcept {
      // Without this, OpenSSL marks the session of a connection that was not closed cleanly as not resumable.
      SSL_set_shutdown(s, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
      SSL_free(s);
    }
  };

  /// The queue is the thread's: another connection's leftovers may be in it. To clear an empty one costs much more than
  /// to look.
  static void forget_errors() noexcept {
    if (ERR_peek_error() != 0) ERR_clear_error();
  }
  step outcome(int returned) noexcept;
  int take_input(char* to, std::size_t size) noexcept;
  int put_output(char const* from, std::size_t size) noexcept;
  static BIO_METHOD const* bio_method();
  static tls_engine& of(BIO* bio) noexcept { return *static_cast<tls_engine*>(BIO_get_data(bio)); }

  lent_buffer in_;            // held while it has unread input or is being received into
  std::size_t in_begin_ = 0;  // unread input
  std::size_t in_end_ = 0;
  bool peer_closed_ = false;
  std::size_t head_ = 0;  // unsent output: [head_, tail_) of the blocks as if they were one
  std::size_t tail_ = 0;
  std::array<lent_buffer, blocks> out_;
  std::unique_ptr<SSL, free_ssl> ssl_;  // destroyed first: it owns the BIO
};

inline tls_engine::tls_engine(tls_context const& context, tls_role role) : ssl_(SSL_new(context.native())) {
  BIO* const bio = BIO_new(bio_method());
  if (ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    throw std::bad_alloc();
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl_.get(), bio, bio);
  if (role == tls_role::server)
    SSL_set_accept_state(ssl_.get());
  else
    SSL_set_connect_state(ssl_.get());
}

inline tls_engine::step tls_engine::handshake() {
  forget_errors();
  return outcome(SSL_do_handshake(ssl_.get()));
}

inline tls_engine::step tls_engine::read(asio::mutable_buffer into) {
  assert(into.size() != 0);
  forget_errors();
  return outcome(SSL_read(ssl_.get(), into.data(), static_cast<int>(std::min<std::size_t>(into.size(), 1U << 30))));
}

inline tls_engine::step tls_engine::write(asio::const_buffer from) {
  assert(from.size() != 0 && from.size() <= max_record && can_write());
  forget_errors();
  return outcome(SSL_write(ssl_.get(), from.data(), static_cast<int>(from.size())));
}

inline void tls_engine::close() noexcept {
  if (SSL_in_init(ssl_.get()) || (SSL_get_shutdown(ssl_.get()) & SSL_SENT_SHUTDOWN) != 0) return;
  forget_errors();
  SSL_shutdown(ssl_.get());
}

inline tls_engine::step tls_engine::outcome(int returned) noexcept {
  step s;
  if (returned > 0) {
    s.n = static_cast<std::size_t>(returned);
    return s;
  }
  switch (SSL_get_error(ssl_.get(), returned)) {
    case SSL_ERROR_WANT_READ: s.needs = want::input; break;
    case SSL_ERROR_WANT_WRITE:
      if (has_output())
        s.needs = want::output_room;
      else
        s.ec = asio::error::no_memory;  // not even the first block could be had
      break;
    case SSL_ERROR_ZERO_RETURN: s.ec = asio::error::eof; break;
    case SSL_ERROR_SYSCALL: s.ec = peer_closed_ ? tls_error::truncated : tls_error::failed; break;
    default: {
      unsigned long const entry = ERR_peek_error();
      long const verified = SSL_get_verify_result(ssl_.get());
      int const reason = ERR_GET_LIB(entry) == ERR_LIB_SSL ? ERR_GET_REASON(entry) : 0;
      if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        s.ec = tls_error::truncated;
      else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
        s.ec = verify_error(verified);
      else
        s.ec = openssl_error(entry);
    }
  }
  return s;
}

inline asio::mutable_buffer tls_engine::room() {
  assert(in_begin_ == in_end_);
  if (!in_) in_ = lent_buffer::take();
  return {in_.data(), lent_buffer::capacity};
}

inline void tls_engine::received(std::size_t n) noexcept {
  in_begin_ = 0;
  in_end_ = n;
  if (n == 0) in_.reset();
}

inline std::size_t tls_engine::output(std::span<asio::const_buffer, blocks> parts) const noexcept {
  std::size_t count = 0;
  for (std::size_t at = head_; at != tail_;) {
    std::size_t const within = at % lent_buffer::capacity;
    std::size_t const n = std::min(lent_buffer::capacity - within, tail_ - at);
    parts[count++] = asio::const_buffer(out_[at / lent_buffer::capacity].data() + within, n);
    at += n;
  }
  return count;
}

inline void tls_engine::sent(std::size_t n) noexcept {
  assert(n <= tail_ - head_);
  std::size_t done = head_ / lent_buffer::capacity;
  head_ += n;
  for (; done < head_ / lent_buffer::capacity; ++done) out_[done].reset();
  if (head_ != tail_) return;
  head_ = tail_ = 0;
  for (lent_buffer& b : out_) b.reset();
}

inline int tls_engine::take_input(char* to, std::size_t size) noexcept {
  std::size_t const n = std::min(size, in_end_ - in_begin_);
  if (n == 0) return peer_closed_ ? 0 : -1;
  std::memcpy(to, in_.data() + in_begin_, n);
  in_begin_ += n;
  if (in_begin_ == in_end_) {
    in_begin_ = in_end_ = 0;
    in_.reset();
  }
  return static_cast<int>(n);
}

inline int tls_engine::put_output(char const* from, std::size_t size) noexcept {
  std::size_t taken = 0;
  while (taken != size && tail_ != blocks * lent_buffer::capacity) {
    lent_buffer& block = out_[tail_ / lent_buffer::capacity];
    if (!block) try {
        block = lent_buffer::take();
      } catch (std::bad_alloc const&) {
        break;  // to OpenSSL as to us: no room now
      }
    std::size_t const within = tail_ % lent_buffer::capacity;
    std::size_t const n = std::min(lent_buffer::capacity - within, size - taken);
    std::memcpy(block.data() + within, from + taken, n);
    taken += n;
    tail_ += n;
  }
  return taken == 0 ? -1 : static_cast<int>(taken);
}

inline BIO_METHOD const* tls_engine::bio_method() {
  static BIO_METHOD const* const made = [] {
    BIO_METHOD* const m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "mgw lent buffers");
    if (m == nullptr) throw std::bad_alloc();
    BIO_meth_set_create(m, [](BIO* b) {
      BIO_set_init(b, 1);
      return 1;
    });
    BIO_meth_set_read(m, [](BIO* b, char* to, int size) {
      BIO_clear_retry_flags(b);
      int const n = size <= 0 ? 0 : of(b).take_input(to, static_cast<std::size_t>(size));
      if (n < 0) BIO_set_retry_read(b);
      return n;
    });
    BIO_meth_set_write(m, [](BIO* b, char const* from, int size) {
      BIO_clear_retry_flags(b);
      int const n = size <= 0 ? 0 : of(b).put_output(from, static_cast<std::size_t>(size));
      if (n < 0) BIO_set_retry_write(b);
      return n;
    });
    BIO_meth_set_ctrl(m, [](BIO* b, int command, long, void*) -> long {
      if (command == BIO_CTRL_FLUSH) return 1;
      if (command == BIO_CTRL_EOF) return of(b).peer_closed_ && of(b).in_begin_ == of(b).in_end_ ? 1 : 0;
      return 0;
    });
    return m;
  }();
  return made;
}

}  // namespace mgw::net
