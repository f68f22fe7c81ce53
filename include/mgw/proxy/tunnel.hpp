#pragma once

#include <mgw/core/any_stream.hpp>
#include <mgw/core/lent_buffer.hpp>
#include <mgw/net/silence_limit.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/websocket_frames.hpp>
#include <mgw/upstream/rate_limit.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// Bytes both ways between a client whose connection was switched to another protocol and its upstream.
///
/// Each direction ends by itself: an end of one side is passed on as an end, the other direction goes on. An error of
/// either side, or silence of both for too long, ends both. When the server drains, both ends are passed on at once; of
/// a WebSocket the frame that is under way is still passed on, and both sides are told that we are going away (1001).
/// A direction holds a block only while it has bytes. Source: RFC 9110 7.8, RFC 6455 7.4.1. Thread rule: the exchange's
/// thread.
class tunnel {
public:
  enum class protocol : std::uint8_t { unknown, websocket };

  /// Precondition: the 101 is out. All outlive it.
  /// `link`: its bytes count there, both ways; null: nowhere.
  tunnel(exchange& x, any_stream& upstream, std::chrono::milliseconds silence, upstream::rate_limit* link = nullptr,
         protocol what = protocol::unknown)
      : x_(x),
        upstream_(upstream),
        link_(link),
        silence_(silence),
        websocket_(what == protocol::websocket),
        limit_(x.worker().deadlines, *this) {}
  tunnel(tunnel const&) = delete;
  tunnel& operator=(tunnel const&) = delete;

  /// `from_upstream`: what came behind the upstream's 101. Returns when both directions have ended.
  asio::awaitable<void> run(std::string_view from_upstream);
  /// Ends both directions.
  void cancel() noexcept {
    x_.stream().cancel();
    upstream_.cancel();
  }
  /// What both sides have got; nothing where one does not say.
  std::optional<std::int64_t> acknowledged() noexcept {
    auto const client = x_.stream().acknowledged(), upstream = upstream_.acknowledged();
    return client && upstream ? std::optional(*client + *upstream) : std::nullopt;
  }
  /// Both ended with an end, not with an error.
  bool clean() const noexcept { return !failed_; }

private:
  struct direction {
    any_stream& from;
    any_stream& to;
    bool from_client;
    websocket_frames frames;
    std::uint64_t bytes = 0;
    direction(any_stream& f, any_stream& t, bool c) noexcept : from(f), to(t), from_client(c), frames(c) {}
  };
  static constexpr std::chrono::milliseconds frame_silence{1'000};  // in the middle of one, while draining

  /// It is to end now: the server drains, and no frame is under way.
  bool ends(direction const& d) const noexcept { return x_.draining() && !(websocket_ && d.frames.within_frame()); }
  std::chrono::milliseconds silence() const noexcept {
    return x_.draining() ? std::min(silence_, frame_silence) : silence_;
  }

  asio::awaitable<void> pass(direction& d, std::string_view first);
  asio::awaitable<std::error_code> copy(direction& d, std::string_view first);
  asio::awaitable<std::error_code> write_all(direction& d, std::string_view bytes);
  /// Passes on what is there without waiting. Error: of either side; would_block: all of it is passed on.
  asio::awaitable<std::error_code> copy_what_is_there(direction& d);

  exchange& x_;
  any_stream& upstream_;
  upstream::rate_limit* link_;
  std::chrono::milliseconds silence_;
  bool websocket_;
  net::silence_limit<tunnel> limit_;
  direction up_{x_.stream(), upstream_, true}, down_{upstream_, x_.stream(), false};
  bool failed_ = false;
};

inline asio::awaitable<std::error_code> tunnel::write_all(direction& d, std::string_view bytes) {
  if (websocket_) d.frames.pass(bytes);
  while (!bytes.empty()) {
    limit_.arm(silence());
    asio::const_buffer const one(bytes.data(), bytes.size());
    const_buffers const out(&one, 1);
    io_result const r = co_await d.to.write_some(out);
    d.bytes += r.n;
    if (link_ != nullptr && r.n != 0) link_->spend(r.n);
    bytes.remove_prefix(r.n);
    // A drain interrupts: it ends reads, but what was read is still written.
    bool const interrupted = r.ec == asio::error::operation_aborted && x_.draining() && !failed_ &&
                             !limit_.expired() && !x_.was_cut();
    if (r.ec && !interrupted) co_return r.ec;
  }
  co_return std::error_code{};
}

inline asio::awaitable<std::error_code> tunnel::copy_what_is_there(direction& d) {
  lent_buffer block = lent_buffer::take();
  for (;;) {
    io_result const r = d.from.try_read(asio::buffer(block.data(), lent_buffer::capacity));
    if (r.n == 0) co_return r.ec;
    std::string_view const bytes(block.data(), r.n);
    std::error_code const ec = co_await write_all(d, bytes);
    if (ec) co_return ec;
  }
}

inline asio::awaitable<std::error_code> tunnel::copy(direction& d, std::string_view first) {
  std::error_code ec = co_await write_all(d, first);
  while (!ec && !ends(d)) {
    std::array<char, 256> few;  // an idle direction keeps no block
    limit_.arm(silence());
    io_result const r = co_await d.from.read_some(asio::buffer(few));
    bool const interrupted = r.ec == asio::error::operation_aborted && x_.draining() && !failed_ && !limit_.expired();
    if (interrupted && !ends(d)) continue;
    if (r.n == 0) co_return r.ec;
    std::string_view const bytes(few.data(), r.n);
    ec = co_await write_all(d, bytes);
    if (ec) co_return ec;
    ec = co_await copy_what_is_there(d);
    if (ec == asio::error::would_block) ec.clear();
  }
  co_return ec;
}

inline asio::awaitable<void> tunnel::pass(direction& d, std::string_view first) {
  std::error_code ec = co_await copy(d, first);
  bool const drained = x_.draining() && !limit_.expired();
  if (drained && websocket_ && d.frames.at_boundary() && !d.frames.closed()) {
    std::string const close = going_away(d.from_client);
    ec = co_await write_all(d, close);
  }
  if (!ec || ec == asio::error::eof || drained) ec = co_await d.to.shutdown();
  if (!ec) co_return;
  failed_ = true;
  cancel();
}

inline asio::awaitable<void> tunnel::run(std::string_view from_upstream) {
  auto const wake = [](void* t) noexcept {
    auto& self = *static_cast<tunnel*>(t);
    self.x_.stream().interrupt();
    self.upstream_.interrupt();
  };
  x_.on_drain(wake, this);
  x_.run_beside(pass(down_, from_upstream));
  std::string_view const from_client = x_.take_unread();
  co_await pass(up_, from_client);
  co_await x_.join();
  x_.on_drain(nullptr, nullptr);
  limit_.disarm();
  x_.count_tunnel(up_.bytes - from_client.size(), down_.bytes);
}

}  // namespace mgw::proxy
