#pragma once

#include "status/board.hpp"
#include "status/essentials.hpp"

#include <mgw/cache/growth.hpp>
#include <mgw/core/concepts.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/proxy/exchange.hpp>

#include <status_page_files.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/ip/address.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace gateway::status {

/// Whether only those Hosts are taken that is_local_name() is true for, where the page listens on this address:
/// loopback, or all addresses, as in a container whose port is published on loopback. One certain other address is
/// known by names.
inline bool takes_addresses_alone(asio::ip::address const& a) {
  return a.is_loopback() || a.is_unspecified();
}

/// Whether a Host is an IP address or localhost, with a port or without: no name that somebody else's DNS leads here.
inline bool is_local_name(std::string_view authority) {
  std::string_view host = authority;
  if (host.starts_with('[')) {
    std::size_t const end = host.find(']');
    if (end == host.npos) return false;
    host = host.substr(1, end - 1);
  } else {
    host = host.substr(0, host.find(':'));
  }
  std::error_code ec;
  (void)asio::ip::make_address(std::string(host), ec);
  return !ec || mgw::http::iequals(host, "localhost");
}

/// Answers `/` and what belongs to it, `/status.json`, and `/events`: the same once a second, as server-sent events, to
/// a bounded number of listeners. Nothing is changed by a request; there is no login.
///
/// Where takes_addresses_alone() is true, a Host that is a name gets 421: else any web site could let its visitor's
/// browser read from here under its own name. Source: RFC 9110 15.5.20, WHATWG HTML 9.2 (events). Thread rule: any
/// worker.
class page {
public:
  static constexpr std::size_t max_listeners = 16;

  /// `addresses_alone`: a Host that is a name gets 421. Precondition: the board outlives it.
  page(board& reports, bool addresses_alone) : shared_(std::make_shared<shared>(reports, addresses_alone)) {}

  asio::awaitable<void> operator()(mgw::proxy::exchange& x) const {
    if (shared_->addresses_alone && !is_local_name(x.authority()))
      return answer(x, 421, text_type, "this page is only at addresses and at localhost\n");
    std::string_view const path = x.target().path, method = x.request().method;
    bool const known =
        path == "/" || path == "/status.css" || path == "/status.js" || path == "/status.json" || path == "/events";
    if (!known) return answer(x, 404, text_type, "the status page is at /, its data at /status.json\n");
    if (method != "GET" && method != "HEAD") return answer(x, 405, text_type, "GET or HEAD\n", "Allow", "GET, HEAD");
    if (path == "/status.css") return answer(x, 200, "text/css; charset=utf-8", status_page::status_css);
    if (path == "/status.js") return answer(x, 200, "text/javascript; charset=utf-8", status_page::status_js);
    if (path == "/events") return listen(x);
    return report_now(x, path == "/");
  }

private:
  static constexpr std::string_view text_type = "text/plain; charset=utf-8";
  struct shared {
    shared(board& b, bool a) : reports(b), addresses_alone(a) {}
    board& reports;
    bool const addresses_alone;
    std::atomic<std::size_t> listeners{0};
  };
  using shown = std::shared_ptr<board::shown const>;

  static void begin(mgw::proxy::exchange& x, int status, std::string_view type) {
    x.start(status);
    x.field("Content-Type", type);
    x.field("Cache-Control", "no-store");
    x.field("Content-Security-Policy",
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    x.field("X-Content-Type-Options", "nosniff");
    x.field("Referrer-Policy", "no-referrer");
    x.field("Cross-Origin-Resource-Policy", "same-origin");
  }
  static asio::awaitable<void> answer(mgw::proxy::exchange& x, int status, std::string_view type, std::string_view body,
                                      std::string_view name = {}, std::string_view value = {}) {
    begin(x, status, type);
    if (!name.empty()) x.field(name, value);
    mgw::http::framing f;
    f.kind = mgw::http::body_kind::length;
    f.length = body.size();
    x.end_head(f);
    std::error_code ec;
    if (x.request().method != "HEAD") ec = co_await x.write(body);
    if (!ec) (void)co_await x.finish();
  }

  /// What wakes one who waits, or who writes to a client that takes nothing.
  struct waiter {
    mgw::proxy::exchange& x;
    mgw::cache::growth_ticket ticket;
    explicit waiter(mgw::proxy::exchange& e) : x(e), ticket(e.worker().io.get_executor()) {
      x.on_drain([](void* self) noexcept { static_cast<waiter*>(self)->end(); }, this);
    }
    waiter(waiter const&) = delete;
    waiter& operator=(waiter const&) = delete;
    ~waiter() { x.on_drain(nullptr, nullptr); }
    void end() noexcept {
      ticket.wake();
      x.interrupt();
    }
  };

  /// A report of now that is later than the one of this number; null: none comes, or the client is gone.
  static asio::awaitable<shown> next(board& reports, waiter& w, std::uint64_t number) {
    auto const until = board::clock::now() + std::chrono::seconds(10);
    for (;;) {
      shown found = reports.want();
      if (found && found->number > number) co_return found;
      auto const now = board::clock::now();
      if (now >= until || w.x.draining() || w.x.client_gone()) co_return nullptr;
      bool const enlisted = reports.wait_for_news(w.ticket, number);
      auto const look = std::min(until, now + std::chrono::seconds(2));
      if (enlisted) co_await w.ticket.wait_until(look);
    }
  }

  asio::awaitable<void> report_now(mgw::proxy::exchange& x, bool html) const {
    shown now;
    {
      waiter w(x);
      now = co_await next(shared_->reports, w, 0);
    }
    if (!now) {
      co_await answer(x, 503, text_type, "the gateway is stopping, or too busy\n", "Retry-After", "5");
      co_return;
    }
    if (!html) {
      co_await answer(x, 200, "application/json; charset=utf-8", now->json);
      co_return;
    }
    constexpr std::string_view mark = "<!-- essentials -->";
    std::string_view const frame = status_page::page_html;
    std::size_t const at = std::min(frame.find(mark), frame.size());
    std::string text(frame.substr(0, at));
    text += essentials_html(now->what);
    text += frame.substr(std::min(at + mark.size(), frame.size()));
    co_await answer(x, 200, "text/html; charset=utf-8", text);
  }

  /// One of those who listen, while it lives; false: they are too many.
  class seat {
  public:
    explicit seat(std::atomic<std::size_t>& all) : all_(all), mine_(all.fetch_add(1) < max_listeners) {}
    seat(seat const&) = delete;
    seat& operator=(seat const&) = delete;
    ~seat() { all_.fetch_sub(1); }
    explicit operator bool() const noexcept { return mine_; }

  private:
    std::atomic<std::size_t>& all_;
    bool const mine_;
  };

  asio::awaitable<void> listen(mgw::proxy::exchange& x) const {
    auto const s = shared_;
    seat const place(s->listeners);
    if (!place) {
      co_await answer(x, 503, text_type, "too many listen already\n", "Retry-After", "30");
      co_return;
    }
    begin(x, 200, "text/event-stream");
    mgw::http::framing f;
    f.kind = mgw::http::body_kind::chunked;
    x.close_after();
    x.end_head(f);
    if (x.request().method == "HEAD") {
      (void)co_await x.finish();
      co_return;
    }
    waiter w(x);
    for (std::uint64_t number = 0;;) {
      shown const now = co_await next(s->reports, w, number);
      if (!now) break;
      number = now->number;
      constexpr std::string_view before = "event: status\ndata: ", behind = "\n\n";
      std::array<asio::const_buffer, 3> const event = {asio::buffer(before), asio::buffer(now->json),
                                                       asio::buffer(behind)};
      std::error_code const ec = co_await x.write(mgw::const_buffers(event));
      if (ec || x.draining()) break;
    }
    x.abort();  // the stream has no end of its own
  }

  std::shared_ptr<shared> shared_;
};

}  // namespace gateway::status
