#pragma once

#include <mgw/body/source.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/core/any_stream.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/target.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/options.hpp>
#include <mgw/proxy/peer_info.hpp>
#include <mgw/proxy/request_reader.hpp>
#include <mgw/proxy/response_writer.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// One request and its response, as a handler sees them; reused for the next request of the same connection.
///
/// Reading: `request()`, then the body through `read_body`. Answering: either `respond` with
/// everything, or `start`, `field`…, `end_head`, `write`…, `finish`. The head leaves together with the first body
/// bytes, in one write. What a handler leaves undone is done or cut for it: an unread request body is drained within
/// bounds or the connection closed, an unfinished response closes the connection, so that it never looks whole.
///
/// A model of BodySource (the request's body). Thread rule: the connection's own thread. Every wait on the client is
/// bounded by `server_options` (silence, never duration); an expired one shows as operation_aborted.
class exchange {
public:
  exchange(any_stream stream, peer_info peer, server_options const& options, net::worker& worker)
      : options_(options),
        worker_(worker),
        peer_(std::move(peer)),
        stream_(std::move(stream)),
        in_(stream_, worker.deadlines, options),
        out_(stream_, worker.deadlines, options) {}
  exchange(exchange const&) = delete;
  exchange& operator=(exchange const&) = delete;

  // The request. Views live until the exchange ends.
  http::request_head const& request() const noexcept { return in_.head(); }
  http::request_target const& target() const noexcept { return in_.target(); }
  /// Whom the client believes to talk to: the target's authority in absolute-form, else Host. Source: RFC 9112 3.2.2.
  std::string_view authority() const noexcept {
    return target().form == http::target_form::absolute ? target().authority : request().fields.value("Host");
  }
  http::framing request_framing() const noexcept { return in_.framing(); }
  peer_info const& peer() const noexcept { return peer_; }
  server_options const& options() const noexcept { return options_; }
  net::worker& worker() const noexcept { return worker_; }

  /// The next piece of the request's body; a client that waits for a 100 (Continue) gets it before the first wait.
  asio::awaitable<body::chunk> read_body() { return in_.awaits_continue() ? continue_and_read() : in_.read_body(); }
  bool request_body_done() const noexcept { return in_.body_done(); }
  /// The client has sent `Expect: 100-continue` and nothing was read of its body yet (RFC 9110 10.1.1).
  bool awaits_continue() const noexcept { return in_.awaits_continue(); }
  /// Bytes of the body, or of what follows, are here already.
  bool has_unread() const noexcept { return in_.has_unread(); }
  /// Tells such a client to go on, unless it has already.
  asio::awaitable<std::error_code> send_continue();
  std::uint64_t bytes_in() const noexcept { return in_.bytes() + tunnel_in_; }

  // The response.
  void start(int status, std::string_view reason = {}) {
    aborted_ = false;
    out_.start(status, reason);
  }
  /// Adds a field. A value that would split the response is left out (false).
  bool field(std::string_view name, std::string_view value) { return out_.field(name, value); }
  void field(std::string_view name, std::uint64_t value) { out_.field(name, value); }
  /// Adds one that a parser let through: it is not looked at again.
  void parsed_field(http::field const& f) { out_.parsed_field(f); }
  /// Ends the head and fixes the framing. `chunked` turns into close-delimited for an HTTP/1.0 client.
  /// Nothing is sent before the first `write`, `flush` or `finish`.
  void end_head(http::framing framing) {
    // After a body that broke off, its rest would be taken for the next request.
    bool const keep = keep_alive_ && !draining_ && !in_.broken() && !out_.broken();
    keep_alive_ = out_.end_head(framing, request(), keep);
  }
  /// Sends body bytes (all of them, framed); none for HEAD, 204 and 304. Pre: `end_head` was called; at most
  /// `max_pieces` buffers. Error: std::errc::message_size for more bytes than the framing promised.
  static constexpr std::size_t max_pieces = response_writer::max_pieces;
  asio::awaitable<std::error_code> write(std::string_view bytes) { return out_.write(bytes); }
  asio::awaitable<std::error_code> write(const_buffers bytes) { return out_.write(bytes); }
  /// `memory.reset()` is called as soon as nobody looks at the bytes any more, if that is before they have left.
  template <class Memory>
  asio::awaitable<std::error_code> write(const_buffers bytes, Memory& memory) {
    return out_.write(bytes, memory);
  }
  /// The same from an open file whose bytes do not change and, right now, take no disk to read; see response_writer.
  bool sends_files() const noexcept { return out_.sends_files(); }
  asio::awaitable<io_result> write_file(int fd, std::uint64_t offset, std::size_t n) {
    return out_.write_file(fd, offset, n);
  }
  asio::awaitable<std::error_code> flush() { return write(std::string_view{}); }
  /// The body is whole; `last`: its last bytes, which leave together with what ends it. Error: fewer bytes were written
  /// than the framing promised, or more.
  asio::awaitable<std::error_code> finish(std::string_view last = {}) { return out_.finish(last); }
  /// The same without a coroutine, where the connection takes all at once. False: `finish_rest(last)` has to go on.
  bool finish_now(std::string_view last, std::error_code& ec) { return out_.finish_now(last, ec); }
  asio::awaitable<std::error_code> finish_rest(std::string_view last) { return out_.finish_rest(last); }
  /// A whole small response, with a field more if that has a name.
  asio::awaitable<std::error_code> respond(int status, std::string_view content_type, std::string_view body,
                                           std::string_view field_name = {}, std::string_view field_value = {});
  /// Sends a whole interim response (1xx, not 101) before the response; nothing to an HTTP/1.0 client (RFC 9110 15.2).
  /// Precondition: the response's head is not out.
  asio::awaitable<std::error_code> interim(std::string_view bytes);
  /// No (further) response: the connection is closed as it stands. Before the head is out, `start` begins another one.
  void abort() noexcept { aborted_ = true; }
  /// The connection ends after this response.
  void close_after() noexcept { keep_alive_ = false; }

  int status() const noexcept { return out_.status(); }
  /// `end_head` was called: what follows is the body.
  bool responding() const noexcept { return out_.head_ready(); }
  bool head_sent() const noexcept { return out_.head_out(); }
  bool finished() const noexcept { return out_.finished(); }
  bool aborted() const noexcept { return aborted_; }
  std::uint64_t bytes_out() const noexcept { return out_.bytes() + tunnel_out_; }
  /// Of them those of the body, for sure: what was cut off in the middle of a piece is not counted.
  std::uint64_t body_out() const noexcept { return out_.body_bytes(); }
  /// When the request's first byte was there.
  std::chrono::steady_clock::time_point begun() const noexcept { return in_.begun(); }
  /// When the response's first byte went out; the clock's epoch: none did.
  std::chrono::steady_clock::time_point first_out() const noexcept { return out_.first_out(); }

  /// True once the peer has closed or reset; looks without waiting (pipelined bytes are kept).
  bool client_gone() { return in_.gone(); }
  /// The server is draining: what has no head out yet should end now.
  bool draining() const noexcept { return draining_; }
  /// `wake(arg)` is called when draining begins while a handler waits for something else than the client.
  void on_drain(void (*wake)(void*) noexcept, void* arg) noexcept { wake_ = wake, wake_arg_ = arg; }

  /// Runs `work` beside the handler, on the same thread: one direction while the handler serves the other. The exchange
  /// does not end before it: `join` waits, and what a handler leaves running is interrupted. Precondition: none runs.
  void run_beside(asio::awaitable<void> work);
  asio::awaitable<void> join();
  /// Ends what is pending on the client's connection with operation_aborted, without harm to it.
  void interrupt() noexcept { stream_.interrupt(); }

  /// Free notes of the handler for the access log, metrics and whoever else records what was done: the route's template,
  /// the device, the cache's verdict, the failure, and where the upstream was asked, how long its answer's head took and
  /// what went wrong there (RFC 9209).
  struct notes_t {
    std::string_view route;
    std::string_view upstream_error;  ///< one of upstream_error_types, or empty
    std::chrono::steady_clock::duration upstream{0};  ///< of all tries; 0: it was not asked
    std::string device, request_id, cache, failure;
    bool more = false;  ///< a range that ends before its object does: others of the same download follow
    std::optional<cache::key> object;    ///< which object of a cache was asked for
    std::uint64_t from = 0, length = 0;  ///< of it: the first byte that is sent, and how many there are; 0: not known
    void clear() {
      route = upstream_error = {}, upstream = {}, device.clear(), request_id.clear(), cache.clear(), failure.clear();
      more = false, object.reset(), from = length = 0;
    }
  };
  notes_t& notes() noexcept { return notes_; }
  notes_t const& notes() const noexcept { return notes_; }

  // For a tunnel: the raw stream, what came behind the request, and what passed.
  any_stream& stream() noexcept { return stream_; }
  std::string_view take_unread() noexcept { return in_.take_unread(); }
  void count_tunnel(std::uint64_t in, std::uint64_t out) noexcept { tunnel_in_ = in, tunnel_out_ = out; }

  // For proxy/serve.hpp.
  /// Reads and judges the next request head. False: the connection is over (or an error was answered).
  asio::awaitable<bool> next_request();
  /// Ends the exchange; true if the connection can serve another request.
  asio::awaitable<bool> end_exchange();
  /// The same without a coroutine, where nothing is left to wait for. Nothing: that has to be called.
  std::optional<bool> end_now();
  /// Shuts down so that the peer can still read what was sent (RFC 9112 9.6).
  asio::awaitable<void> linger();
  /// Nothing is asked any more: what is under way ends, an idle connection is closed, and one on which nothing was asked
  /// yet waits a while for its first request (`first_at_drain`).
  void drain() noexcept;
  /// Closes an idle connection, in favour of another one.
  void end_idle() noexcept {
    draining_ = true;
    keep_alive_ = false;
    if (in_.idle()) stream_.cancel();
  }
  /// Ends the connection now, whatever it does: its client has lost the right to it.
  void cut() noexcept {
    cut_ = aborted_ = true;
    keep_alive_ = false;
    stream_.reset();
    if (wake_) wake_(wake_arg_);
  }
  bool was_cut() const noexcept { return cut_; }
  /// Its worker's thread has ended, and it with it: a request that was under way is told as cut. Any thread then.
  void end_unserved();
  /// It waits for the first byte of a request.
  bool idle() const noexcept { return in_.idle(); }
  /// `next_request` may end with `parked()` when nothing has been asked for `park_after`: then nobody waits, and
  /// `when_asked` calls as soon as there is something to go on with, a request or the connection's end.
  void allow_parking() noexcept { in_.allow_parking(); }
  bool parked() const noexcept { return parked_; }
  void when_asked(wake_up w) {
    (void)std::exchange(notes_, {});  // an assignment would keep the room of its texts
    out_.forget();
    stream_.when_readable(std::move(w));
  }

private:
  asio::awaitable<bool> refuse(http::parse_error why);
  asio::awaitable<body::chunk> continue_and_read();
  void note_timeout();
  bool settle();

  server_options const& options_;
  net::worker& worker_;
  peer_info peer_;
  any_stream stream_;
  request_reader in_;
  response_writer out_;
  bool aborted_ = false, keep_alive_ = true, draining_ = false, lingers_ = false, beside_ = false,
       cut_ = false, under_way_ = false, parked_ = false;
  std::uint64_t served_ = 0, tunnel_in_ = 0, tunnel_out_ = 0;
  notes_t notes_;
  void (*wake_)(void*) noexcept = nullptr;
  void* wake_arg_ = nullptr;
  asio::steady_timer* joining_ = nullptr;
};

inline asio::awaitable<bool> exchange::next_request() {
  notes_.clear();
  out_.reset();
  aborted_ = parked_ = false;
  tunnel_in_ = tunnel_out_ = 0;
  wake_ = nullptr;
  if (draining_ && served_ != 0 && !in_.has_unread()) co_return false;
  auto const first = draining_ ? std::min(options_.first_at_drain, options_.head_timeout) : options_.head_timeout;
  auto const patience = served_ == 0 ? first : options_.idle_timeout;
  request_reader::outcome const got = co_await in_.next(patience);
  parked_ = got == request_reader::outcome::parked;
  if (parked_) co_return false;
  if (got == request_reader::outcome::closed) {
    lingers_ = false;  // there is nobody to wait for
    if (in_.bytes() != 0 && in_.timed_out()) notes_.failure = "the request head took too long";
    co_return false;
  }
  if (got == request_reader::outcome::refused) {
    bool const answered = co_await refuse(in_.error());
    co_return answered;
  }
  if (cut_) co_return false;  // while what was read waited for us
  under_way_ = true;
  keep_alive_ = http::keeps_alive(request()) && !draining_ && ++served_ < options_.max_requests;
  co_return true;
}

inline asio::awaitable<bool> exchange::refuse(http::parse_error why) {
  notes_.failure = http::make_error_code(why).message();
  keep_alive_ = false;
  lingers_ = true;
  int const status = http::status_of(why);
  std::string const body = options_.error_body ? options_.error_body(status, *this) : std::string();
  (void)co_await respond(status, options_.error_type, body);
  if (options_.observer) options_.observer(*this);
  co_return false;
}

inline asio::awaitable<std::error_code> exchange::send_continue() {
  in_.continued();
  std::string_view bytes = "HTTP/1.1 100 Continue\r\n\r\n";
  if (in_.has_unread()) bytes = {};
  std::error_code const ec = co_await interim(bytes);
  co_return ec;
}

inline asio::awaitable<body::chunk> exchange::continue_and_read() {
  body::chunk c;
  c.ec = co_await send_continue();
  if (!c.ec) c = co_await in_.read_body();
  co_return c;
}

inline asio::awaitable<std::error_code> exchange::interim(std::string_view bytes) {
  if (request().minor == 0) bytes = {};
  std::error_code const ec = co_await out_.send(bytes);
  co_return ec;
}

inline asio::awaitable<std::error_code> exchange::respond(int status, std::string_view content_type,
                                                          std::string_view body, std::string_view field_name,
                                                          std::string_view field_value) {
  start(status);
  if (!field_name.empty()) field(field_name, field_value);
  if (!body.empty() && !content_type.empty()) field("Content-Type", content_type);
  http::framing f;
  f.kind = http::body_kind::length;
  f.length = body.size();
  end_head(f);
  std::error_code const ec = co_await finish(body);
  co_return ec;
}

inline void exchange::run_beside(asio::awaitable<void> work) {
  beside_ = true;
  asio::co_spawn(worker_.io.get_executor(), std::move(work), [this](std::exception_ptr failed) {
    beside_ = false;
    if (failed) abort();
    if (joining_ != nullptr) joining_->cancel();
  });
}

inline asio::awaitable<void> exchange::join() {
  if (!beside_) co_return;
  asio::steady_timer ended(worker_.io.get_executor(), asio::steady_timer::time_point::max());
  joining_ = &ended;
  std::error_code ignored;
  while (beside_) co_await ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  joining_ = nullptr;
}

inline void exchange::note_timeout() {
  if (!notes_.failure.empty()) return;
  if (out_.timed_out())
    notes_.failure = "the client took no byte for too long";
  else if (in_.timed_out())
    notes_.failure = "the request body fell silent";
}

/// What is to be told of the exchange is told. True: the connection could go on.
inline bool exchange::settle() {
  under_way_ = false;
  note_timeout();
  if (options_.observer) options_.observer(*this);
  lingers_ = finished() && !aborted_ && !out_.broken();
  return lingers_ && !in_.broken();
}

inline void exchange::end_unserved() {
  if (!under_way_) return;
  if (!finished()) {
    if (notes_.failure.empty()) notes_.failure = "the gateway was stopped";
    abort();
  }
  (void)settle();
}

inline std::optional<bool> exchange::end_now() {
  if (beside_ || !in_.body_done()) return std::nullopt;
  wake_ = nullptr;
  return settle() && keep_alive_;
}

inline asio::awaitable<bool> exchange::end_exchange() {
  wake_ = nullptr;
  if (beside_) {
    abort();
    interrupt();
    co_await join();
  }
  bool const sound = settle();
  if (!sound) co_return false;
  // A request body that nobody read: a small rest is drained, so that the connection lives on.
  for (std::uint64_t drained = 0; !in_.body_done();) {
    if (!keep_alive_ || awaits_continue() || drained > options_.max_drain) co_return false;
    body::chunk const c = co_await in_.read_body();
    if (c.ec) co_return false;
    drained += c.bytes.size();
  }
  co_return keep_alive_;
}

inline asio::awaitable<void> exchange::linger() {
  // A close-delimited body ends with the connection: broken off, it must not look whole (RFC 9112 8).
  if (aborted_ && head_sent() && out_.framing().kind == http::body_kind::until_close) stream_.reset();
  if (aborted_ || in_.timed_out() || out_.timed_out()) co_return;
  in_.arm(options_.linger);
  std::error_code const ec = co_await stream_.shutdown();
  if (!ec && lingers_) co_await in_.skip(options_.max_drain);
}

inline void exchange::drain() noexcept {
  draining_ = true;
  keep_alive_ = false;
  if (in_.idle() && served_ == 0)
    in_.arm(std::min(options_.first_at_drain, options_.head_timeout));
  else if (in_.idle())
    stream_.cancel();
  if (wake_) wake_(wake_arg_);
}

}  // namespace mgw::proxy
