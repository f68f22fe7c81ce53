#pragma once

#include <mgw/core/concepts.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/net/error.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/tls_engine.hpp>
#include <mgw/net/tls_session.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace mgw::net {

/// TLS over any Stream, itself a Stream.
///
/// What is ready is done without suspending: a read asks OpenSSL, then the stream below, and only then waits. A write
/// encrypts up to four records (head and body together) and sends them in one write. One reader and one writer may
/// run at the same time; their output is flushed by one of them at a time.
/// Errors: those of the stream below, and tls_category; a peer that closes without close_notify is
/// tls_error::truncated, never eof. Thread rule: that of the stream below. Not moved while an operation is pending;
/// a move moves only a handle.
template <Stream Next>
class tls_stream {
public:
  /// Errors: std::bad_alloc.
  tls_stream(Next next, tls_context const& context, tls_role role)
      : p_(std::make_unique<state>(std::move(next), context, role)) {}

  /// Client, before the handshake: the name to send (SNI; not an address) and to verify the certificate against.
  /// `host` is a DNS name or an IP address, in brackets or not. Errors: std::bad_alloc.
  void set_server_name(std::string const& host);
  /// Client, before the handshake: offers a session of an earlier connection to the same server.
  void resume(tls_session const& session) noexcept {
    if (session) SSL_set_session(ssl(), session.native());
  }
  /// Once, first. Bounded by nobody here: the caller's deadline cancels it.
  asio::awaitable<std::error_code> handshake();

  asio::awaitable<io_result> read_some(asio::mutable_buffer into) { return read_when_ready(*this, into); }
  asio::awaitable<io_result> write_some(const_buffers from);
  asio::awaitable<bool> readable();
  /// Not while something of its own has to be sent first.
  bool can_call_back() const noexcept
    requires CallsBack<Next>
  {
    return !p_->engine.has_output() && !p_->flushing && p_->next.can_call_back();
  }
  void when_readable(wake_up w)
    requires CallsBack<Next>
  {
    p_->next.when_readable(std::move(w));
  }
  io_result try_read(asio::mutable_buffer into);
  /// After would_block the same bytes must be offered first next time, here or to write_some: they may have been
  /// encrypted, and are counted as written when the stream below has taken them all.
  io_result try_write(const_buffers from);
  /// Those that have been.
  std::size_t held() const noexcept { return p_->encrypted; }
  /// Sends close_notify, then shuts down the stream below.
  asio::awaitable<std::error_code> shutdown();
  void cancel() noexcept {
    p_->cancelled = true;
    p_->next.cancel();
  }
  void interrupt() noexcept { p_->next.interrupt(); }
  void look_again(look how) noexcept { mgw::look_again(p_->next, how); }
  /// Of the stream below, if that can say it: encrypted bytes.
  std::optional<std::int64_t> acknowledged() noexcept { return acknowledged_by(p_->next); }
  void reset() noexcept {
    p_->cancelled = true;
    p_->next.reset();
  }

  /// The session to resume, empty if there is none (yet: TLS 1.3 servers send it after the handshake).
  tls_session session() const {
    SSL_SESSION* const s = SSL_get0_session(ssl());
    return s != nullptr && SSL_SESSION_is_resumable(s) == 1 ? tls_session(SSL_get1_session(ssl())) : tls_session();
  }
  bool resumed() const noexcept { return SSL_session_reused(ssl()) == 1; }
  /// The peer's certificate and what else the toolkit has no name for.
  SSL* native() const noexcept { return ssl(); }
  Next& next() noexcept { return p_->next; }

  /// Bytes of heap that a stream takes beside OpenSSL's own.
  static constexpr std::size_t footprint() noexcept { return sizeof(state); }

private:
  struct state {
    Next next;
    asio::steady_timer* waiting_for_flush = nullptr;  // of whoever found a flush under way
    std::error_code read_error;                       // final
    std::error_code write_error;                      // final
    std::size_t encrypted = 0;     // plaintext bytes that are in the output already but not yet counted as written
    bool flushing = false;         // somebody is in next.write_some
    bool read_wants_room = false;  // OpenSSL must answer before it reads on, and the output is full
    bool cancelled = false;
    bool named = false;
    tls_engine engine;

    state(Next n, tls_context const& context, tls_role role) : next(std::move(n)), engine(context, role) {}
  };

  SSL* ssl() const noexcept { return p_->engine.native(); }
  static std::error_code try_flush(state& s);
  static asio::awaitable<std::error_code> flush(state& s);
  static bool interrupted(state const& s, std::error_code ec) noexcept {
    return ec == asio::error::operation_aborted && !s.cancelled;
  }
  static asio::awaitable<void> wait_for_flush(state& s);
  static bool owes_output(state const& s) noexcept;
  static asio::awaitable<bool> flush_first(state& s);
  static std::error_code try_fill(state& s);
  static io_result encrypt(state& s, const_buffers from);
  static std::error_code arrived(state& s, io_result r) noexcept;

  std::unique_ptr<state> p_;
};

namespace detail {

/// Walks over buffers in pieces of at most one record. Small neighbours (a head and the start of its body) are put
/// together, so that they cost one record.
class record_pieces {
public:
  explicit record_pieces(const_buffers from) noexcept : from_(from) { skip_empty(); }
  bool done() const noexcept { return from_.empty(); }
  asio::const_buffer next() {
    asio::const_buffer const first = from_.front() + at_;
    if (first.size() >= worth_a_record || from_.size() == 1) {
      std::size_t const n = std::min(first.size(), tls_engine::max_record);
      advance(n);
      return asio::const_buffer(first.data(), n);
    }
    if (!joined_) joined_ = lent_buffer::take();
    std::size_t size = 0;
    while (!done() && size != tls_engine::max_record) {
      asio::const_buffer const part = from_.front() + at_;
      std::size_t const n = std::min(part.size(), tls_engine::max_record - size);
      std::memcpy(joined_.data() + size, part.data(), n);
      size += n;
      advance(n);
    }
    return asio::const_buffer(joined_.data(), size);
  }

private:
  static constexpr std::size_t worth_a_record = 4096;

  void advance(std::size_t n) noexcept {
    at_ += n;
    skip_empty();
  }
  void skip_empty() noexcept {
    while (!from_.empty() && at_ == from_.front().size()) {
      from_ = from_.subspan(1);
      at_ = 0;
    }
  }
  const_buffers from_;
  std::size_t at_ = 0;  // done of the first of from_
  lent_buffer joined_;
};

}  // namespace detail

template <Stream Next>
void tls_stream<Next>::set_server_name(std::string const& host) {
  std::string name = host;
  if (name.size() > 2 && name.front() == '[' && name.back() == ']') name = name.substr(1, name.size() - 2);
  if (name.size() > 1 && name.back() == '.') name.pop_back();  // the root's dot is in no certificate
  X509_VERIFY_PARAM* const verify = SSL_get0_param(ssl());
  std::error_code not_an_address;
  asio::ip::make_address(name, not_an_address);
  bool ok = false;
  if (!not_an_address) {
    ok = X509_VERIFY_PARAM_set1_ip_asc(verify, name.c_str()) == 1;
  } else {
    X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    ok = SSL_set_tlsext_host_name(ssl(), name.c_str()) == 1 &&
         X509_VERIFY_PARAM_set1_host(verify, name.data(), name.size()) == 1;
  }
  ERR_clear_error();
  p_->named = ok && !name.empty();  // an impossible name is refused by the handshake, like none
}

/// Hands the output to the stream below as far as that takes it now. would_block: not all of it.
/// Precondition: no flush is under way.
template <Stream Next>
std::error_code tls_stream<Next>::try_flush(state& s) {
  while (s.engine.has_output() && !s.write_error) {
    std::array<asio::const_buffer, tls_engine::blocks> parts;
    std::size_t const count = s.engine.output(parts);
    io_result const r = s.next.try_write(const_buffers(parts.data(), count));
    if (r.ec == asio::error::would_block) return r.ec;
    if (r.ec)
      s.write_error = r.ec;
    else
      s.engine.sent(r.n);
  }
  if (s.write_error) s.engine.discard_output();
  return s.write_error;
}

/// Returns when all output is handed over, by us or by who was at it already; an interrupted flush leaves the rest.
template <Stream Next>
asio::awaitable<std::error_code> tls_stream<Next>::flush(state& s) {
  while (s.flushing) co_await wait_for_flush(s);
  s.flushing = true;
  bool interruption = false;
  while (s.engine.has_output() && !s.write_error) {
    std::array<asio::const_buffer, tls_engine::blocks> parts;
    std::size_t const count = s.engine.output(parts);
    const_buffers const pending(parts.data(), count);
    io_result const r = co_await s.next.write_some(pending);
    interruption = interrupted(s, r.ec);
    if (interruption) break;
    if (r.ec)
      s.write_error = r.ec;
    else
      s.engine.sent(r.n);
  }
  s.flushing = false;
  if (s.write_error) s.engine.discard_output();
  if (s.waiting_for_flush != nullptr) s.waiting_for_flush->cancel();
  if (interruption) co_return asio::error::operation_aborted;
  co_return s.write_error;
}

template <Stream Next>
asio::awaitable<void> tls_stream<Next>::wait_for_flush(state& s) {
  auto const executor = co_await asio::this_coro::executor;
  asio::steady_timer woken(executor, asio::steady_timer::time_point::max());
  s.waiting_for_flush = &woken;
  std::error_code ignored;
  co_await woken.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  s.waiting_for_flush = nullptr;
}

/// Notes what a read of the stream below brought.
template <Stream Next>
std::error_code tls_stream<Next>::arrived(state& s, io_result r) noexcept {
  s.engine.received(r.n);
  if (r.ec == asio::error::eof) {
    // A bare FIN: close_notify would have ended the reading before. OpenSSL is not told by another SSL_read, since
    // it would refuse to write from then on, and a peer that has closed only its sending side still reads.
    s.engine.received_eof();
    r.ec = tls_error::truncated;
  }
  if (r.ec && r.ec != asio::error::would_block && !interrupted(s, r.ec)) s.read_error = r.ec;
  return r.ec;
}

template <Stream Next>
std::error_code tls_stream<Next>::try_fill(state& s) {
  asio::mutable_buffer const room = s.engine.room();
  return arrived(s, s.next.try_read(room));
}

template <Stream Next>
asio::awaitable<std::error_code> tls_stream<Next>::handshake() {
  state& s = *p_;
  bool const client = SSL_is_server(ssl()) == 0;
  if (client && !s.named && SSL_get_verify_mode(ssl()) != SSL_VERIFY_NONE) co_return tls_error::no_server_name;
  for (;;) {
    if (s.cancelled) co_return asio::error::operation_aborted;
    tls_engine::step const step = s.engine.handshake();
    std::error_code ec = try_flush(s);
    if (ec == asio::error::would_block) ec = co_await flush(s);
    if (step.ec) s.read_error = s.write_error = step.ec;  // the alert is out, if it could be
    if (step.ec) co_return step.ec;
    if (ec) co_return ec;
    if (step.needs == tls_engine::want::nothing) co_return ec;
    if (step.needs == tls_engine::want::output_room) continue;
    ec = try_fill(s);
    while (ec == asio::error::would_block) {
      bool const ready = co_await s.next.readable();
      ec = asio::error::operation_aborted;
      if (ready) ec = try_fill(s);
    }
    if (ec) co_return ec;
  }
}

template <Stream Next>
io_result tls_stream<Next>::try_read(asio::mutable_buffer into) {
  state& s = *p_;
  for (;;) {
    if (s.cancelled) return {asio::error::operation_aborted, 0};
    if (s.read_error) return {s.read_error, 0};
    tls_engine::step step;
    step.needs = tls_engine::want::input;
    if (s.engine.has_input() || s.read_wants_room) step = s.engine.read(into);
    if (step.n != 0) return {{}, step.n};
    if (step.ec) s.read_error = step.ec;
    std::error_code sent;
    if (s.engine.has_output() && !s.flushing) sent = try_flush(s);  // an alert, or the answer to a KeyUpdate
    if (step.ec) return {step.ec, 0};
    s.read_wants_room = step.needs == tls_engine::want::output_room;
    std::error_code ec;
    if (sent && sent != asio::error::would_block)
      ec = sent;
    else if (!s.read_wants_room)
      ec = try_fill(s);
    else if (s.engine.has_output())
      ec = asio::error::would_block;
    if (ec) return {ec, 0};
  }
}

/// What reading produced is flushed before we wait. Not what a try_write left over: its caller comes back for that, and two
/// peers that both wait for room before they read would wait for each other.
template <Stream Next>
bool tls_stream<Next>::owes_output(state const& s) noexcept {
  bool const ours = s.engine.has_output() && !s.flushing && s.encrypted == 0;
  return ours || s.read_wants_room;
}

template <Stream Next>
asio::awaitable<bool> tls_stream<Next>::flush_first(state& s) {
  std::error_code const ec = co_await flush(s);
  co_return ec != asio::error::operation_aborted;
}

template <Stream Next>
asio::awaitable<bool> tls_stream<Next>::readable() {
  return owes_output(*p_) ? flush_first(*p_) : p_->next.readable();
}

/// Encrypts as much of `from` as the output has room for.
template <Stream Next>
io_result tls_stream<Next>::encrypt(state& s, const_buffers from) {
  io_result r;
  detail::record_pieces pieces(from);
  while (!pieces.done() && s.engine.can_write()) {
    asio::const_buffer const piece = pieces.next();
    tls_engine::step const step = s.engine.write(piece);
    if (step.n != piece.size()) {  // there was room: OpenSSL failed, or its record could not be stored
      r.ec = step.ec ? step.ec : std::error_code(asio::error::no_memory);
      s.write_error = r.ec;
      break;
    }
    r.n += step.n;
  }
  return r;
}

template <Stream Next>
io_result tls_stream<Next>::try_write(const_buffers from) {
  state& s = *p_;
  if (s.cancelled) return {asio::error::operation_aborted, 0};
  if (s.write_error) return {s.write_error, 0};
  if (s.flushing) return {asio::error::would_block, 0};
  if (s.encrypted == 0) {
    if (!s.engine.can_write()) {
      std::error_code const ec = try_flush(s);
      if (ec) return {ec, 0};
    }
    io_result const r = encrypt(s, from);
    if (r.ec) return {r.ec, 0};
    s.encrypted = r.n;
  }
  std::error_code const ec = try_flush(s);
  if (ec) return {ec, 0};
  return {{}, std::min(std::exchange(s.encrypted, 0), asio::buffer_size(from))};
}

template <Stream Next>
asio::awaitable<io_result> tls_stream<Next>::write_some(const_buffers from) {
  state& s = *p_;
  for (;;) {
    io_result r = try_write(from);
    if (r.ec != asio::error::would_block) co_return r;
    r.ec = co_await flush(s);
    if (r.ec) co_return r;
  }
}

template <Stream Next>
asio::awaitable<std::error_code> tls_stream<Next>::shutdown() {
  state& s = *p_;
  if (s.cancelled) co_return asio::error::operation_aborted;
  if (!s.write_error) s.engine.close();
  std::error_code ec = s.write_error;
  if (s.engine.has_output() || s.flushing) ec = co_await flush(s);
  std::error_code const below = co_await s.next.shutdown();
  if (!ec) ec = below;
  co_return ec;
}

}  // namespace mgw::net
