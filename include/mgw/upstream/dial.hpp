#pragma once

#include <mgw/upstream/cancellable.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/resolver.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/error.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/socket_base.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::upstream {

struct dial_options {
  std::chrono::milliseconds timeout{10'000};  ///< of each address
  /// The next address is tried, too, where the one before has not answered within this. Source: RFC 8305 5.
  std::chrono::milliseconds stagger{250};
  std::size_t receive_buffer = 0;  ///< bytes; 0: as the kernel thinks fit
};

/// A connected socket and where it leads to, or why there is none.
struct dialled_socket {
  std::optional<asio::ip::tcp::socket> socket;
  asio::ip::tcp::endpoint peer;
  std::error_code ec;
  std::string reasons;  ///< of each address, where several were tried: `[::1]:80: Connection refused; 127.0.0.1:80: …`
};

/// The addresses in the order they are tried in: IPv6 and IPv4 in turns, the family of the first one first.
/// Source: RFC 8305 4.
inline resolver::list in_turns(resolver::list const& addresses) {
  resolver::list first, second, out;
  for (auto const& a : addresses)
    (a.address().is_v6() == addresses.front().address().is_v6() ? first : second).push_back(a);
  for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size()) out.push_back(first[i]);
    if (i < second.size()) out.push_back(second[i]);
  }
  return out;
}

namespace detail {

inline std::string address_text(asio::ip::tcp::endpoint const& e) {
  std::string const host = e.address().to_string();
  return (e.address().is_v6() ? '[' + host + ']' : host) + ':' + std::to_string(e.port());
}

/// Attempts to connect that run side by side; the first that succeeds counts. Completion handlers share it.
class address_race : public std::enable_shared_from_this<address_race> {
public:
  using clock = std::chrono::steady_clock;

  address_race(asio::any_io_executor const& executor, resolver::list addresses, dial_options const& options)
      : wake(executor), executor_(executor), addresses_(std::move(addresses)), options_(options) {}

  bool over() const noexcept { return winner_ != nullptr || (tried_.size() == addresses_.size() && running_ == 0); }
  /// Starts and ends what is due, and says when to look again; `wake` is cancelled when something has happened.
  clock::time_point advance(clock::time_point now);
  /// The one that has connected, if one has; all others are closed.
  dialled_socket take();

  asio::steady_timer wake;

private:
  struct attempt {
    attempt(asio::any_io_executor const& executor, asio::ip::tcp::endpoint where, clock::time_point u)
        : socket(executor), peer(std::move(where)), until(u) {}
    asio::ip::tcp::socket socket;
    asio::ip::tcp::endpoint peer;
    clock::time_point until;
    bool over = false, late = false;
    std::error_code ec;
    void close() noexcept {
      std::error_code ignored;
      socket.close(ignored);
    }
  };
  void start(clock::time_point now);
  void ended(attempt& a, std::error_code ec);

  asio::any_io_executor executor_;
  resolver::list addresses_;
  dial_options options_;
  std::vector<std::unique_ptr<attempt>> tried_;
  attempt* winner_ = nullptr;
  std::size_t running_ = 0;
  clock::time_point next_{};
  std::error_code ec_ = asio::error::host_not_found;  // of the last that failed
};

inline void address_race::start(clock::time_point now) {
  auto const& where = addresses_[tried_.size()];
  tried_.push_back(std::make_unique<attempt>(executor_, where, now + options_.timeout));
  next_ = now + options_.stagger;
  ++running_;
  attempt& a = *tried_.back();
  if (options_.receive_buffer != 0) {  // before it is connected: the first window is announced then
    std::error_code ec;                // connecting says what is wrong
    a.socket.open(where.protocol(), ec);
    asio::socket_base::receive_buffer_size const size(static_cast<int>(options_.receive_buffer));
    if (!ec) a.socket.set_option(size, ec);
  }
  a.socket.async_connect(where, [self = shared_from_this(), &a](std::error_code ec) { self->ended(a, ec); });
}

inline void address_race::ended(attempt& a, std::error_code ec) {
  --running_;
  a.over = true;
  if (!ec && !a.late && winner_ == nullptr) winner_ = &a;
  if (ec || a.late) ec_ = a.ec = a.late ? make_error_code(error::connect_timeout) : ec;
  wake.cancel();
}

inline address_race::clock::time_point address_race::advance(clock::time_point now) {
  bool const idle = tried_.empty() || tried_.back()->over || tried_.back()->late;
  if (tried_.size() != addresses_.size() && (idle || now >= next_)) start(now);
  auto next = tried_.size() != addresses_.size() ? next_ : clock::time_point::max();
  for (auto const& a : tried_) {
    if (a->over || a->late) continue;
    if (now >= a->until) {
      a->late = true;
      a->close();
    } else {
      next = std::min(next, a->until);
    }
  }
  return next;
}

inline dialled_socket address_race::take() {
  dialled_socket out;
  for (auto const& a : tried_)
    if (a.get() != winner_) a->close();
  if (winner_ == nullptr) {
    out.ec = ec_;
    for (auto const& a : tried_)
      if (tried_.size() > 1 && a->ec)
        (out.reasons += out.reasons.empty() ? "" : "; ") += address_text(a->peer) + ": " + a->ec.message();
  } else {
    out.peer = winner_->peer;
    out.socket = std::move(winner_->socket);
  }
  return out;
}

}  // namespace detail

/// Connects to the first of these addresses that answers, none of which is waited for while another would. Errors: that
/// of the last that failed; error::connect_timeout; operation_aborted if it was given up. Source: RFC 8305. Thread rule:
/// the executor's context runs on one thread.
inline asio::awaitable<dialled_socket> dial_first(std::shared_ptr<resolver::list const> addresses,
                                                  dial_options options, give_up* giver = nullptr) {
  auto const executor = co_await asio::this_coro::executor;
  auto ordered = in_turns(*addresses);
  auto const race = std::make_shared<detail::address_race>(executor, std::move(ordered), options);
  auto const given = [giver] { return giver != nullptr && giver->given(); };
  while (!race->over() && !given()) {
    auto const next = race->advance(std::chrono::steady_clock::now());
    race->wake.expires_at(next);
    give_up::during const watched(giver, &race->wake);
    std::error_code ignored;
    co_await race->wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  dialled_socket out = race->take();
  if (!out.socket && given()) out.ec = asio::error::operation_aborted;
  co_return out;
}

}  // namespace mgw::upstream
