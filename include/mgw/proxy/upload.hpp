#pragma once

#include <mgw/http/chunked.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/upstream/client_exchange.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>

namespace mgw::proxy {

/// Sends a request's body upstream as it comes from the client, beside whoever reads the response.
///
/// `start`, and later `stop`, which waits for its end; then `outcome` says how it went. A body that ends early never
/// looks whole: the upstream's connection is cut. Bytes pass as they are, in chunks where the client's body is chunked.
/// Thread rule: the exchange's thread. Precondition: both sides and `first` outlive it.
class upload {
public:
  /// `first`: what was read of the body before. `max_body`: bytes, beyond which it is a 413.
  upload(exchange& x, upstream::client_exchange& up, std::string_view first, std::uint64_t max_body) noexcept
      : x_(x), up_(up), first_(first), max_body_(max_body) {}
  upload(upload const&) = delete;
  upload& operator=(upload const&) = delete;

  /// Precondition: the request's head is out; nothing else runs beside the exchange.
  void start() {
    up_.request_open();
    running_ = true;
    x_.run_beside(run());
  }
  bool running() const noexcept { return running_; }
  /// Ends it if it still runs: the rest of the body is for nobody.
  asio::awaitable<void> stop() {
    if (running_) {
      stopped_ = true;
      up_.interrupt();
      x_.interrupt();
    }
    co_await x_.join();
  }
  /// `ec`, and `client_failed` with the status to answer if the fault is the client's.
  forward_outcome const& outcome() const noexcept { return outcome_; }

private:
  asio::awaitable<void> run();
  asio::awaitable<forward_outcome> send_body();
  asio::awaitable<std::error_code> send_piece(std::string_view bytes);

  exchange& x_;
  upstream::client_exchange& up_;
  std::string_view first_;
  std::uint64_t max_body_;
  forward_outcome outcome_;
  bool running_ = false, stopped_ = false;
};

inline asio::awaitable<void> upload::run() {
  outcome_ = co_await send_body();
  running_ = false;
  if (outcome_.client_failed)
    up_.cancel();
  else if (outcome_.ec || stopped_)
    up_.request_cut();
  else
    up_.request_ended();
}

inline asio::awaitable<forward_outcome> upload::send_body() {
  forward_outcome out;
  std::uint64_t total = 0;
  std::string_view bytes = first_;
  while (!stopped_) {
    total += bytes.size();
    if (total > max_body_) co_return client_fault(make_error_code(http::parse_error::body_too_large), 413);
    if (!bytes.empty()) out.ec = co_await send_piece(bytes);
    if (out.ec || stopped_) co_return out;
    if (x_.request_body_done()) {
      if (x_.request_framing().kind == http::body_kind::chunked) out.ec = co_await up_.send(http::last_chunk);
      co_return out;
    }
    body::chunk const c = co_await x_.read_body();
    if (stopped_) co_return out;
    if (c.ec) co_return client_fault(c.ec, 400);
    bytes = c.bytes;
  }
  co_return out;
}

/// A chunk's parts leave together.
inline asio::awaitable<std::error_code> upload::send_piece(std::string_view bytes) {
  bool const chunked = x_.request_framing().kind == http::body_kind::chunked;
  http::chunk_head const head(bytes.size());
  std::array<asio::const_buffer, 3> parts;
  std::size_t n = 0;
  if (chunked) parts[n++] = asio::buffer(head.view());
  parts[n++] = asio::buffer(bytes);
  if (chunked) parts[n++] = asio::buffer(http::chunk_end);
  std::error_code const ec = co_await up_.send(std::span(parts).first(n));
  co_return ec;
}

}  // namespace mgw::proxy
