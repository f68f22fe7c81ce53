#pragma once

#include <mgw/net/worker_pool.hpp>

#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <concepts>
#include <csignal>
#include <system_error>

namespace mgw::proxy {

/// A part of a running gateway that has to end in order. `drain()`: takes nothing new, lets what runs finish; `stop()`:
/// ends it soon, losing nothing that can be kept; `idle()`: nothing is under way (all three: any thread); `close()`:
/// gives up sockets and timers, after the workers' threads have ended and before their contexts go.
/// Models: server, tee_to_cache, upstream::pool_set. Page: docs/concepts/part.md
template <class P>
concept Part = requires(P& p) {
  p.drain();
  p.stop();
  { p.idle() } -> std::same_as<bool>;
  p.close();
};

/// Runs the workers until SIGTERM or SIGINT; then drains all parts until they are idle. After `limit`, or at a second
/// signal, they are told to stop, and two seconds later the workers end whatever is left. When it returns everything is closed and the workers are gone: destroy the parts in any order.
/// Blocks the calling thread, which is the first worker's.
template <Part... Parts>
void run_until_signal(net::worker_pool& workers, std::chrono::milliseconds limit, Parts&... parts) {
  using clock = std::chrono::steady_clock;
  {
    asio::signal_set signals(workers.worker(0).io, SIGTERM, SIGINT);
    asio::steady_timer timer(workers.worker(0).io);
    clock::time_point until{};
    bool draining = false, stopping = false;
    auto const look = [&](auto const& again) -> void {
      bool const late = clock::now() >= until;
      bool const idle = (parts.idle() && ...);
      if (idle || (late && stopping)) return workers.stop();
      if (late) {
        stopping = true;
        until = clock::now() + std::chrono::seconds(2);
        (parts.stop(), ...);
      }
      timer.expires_after(std::chrono::milliseconds(20));
      timer.async_wait([again](std::error_code ec) {
        if (!ec) again(again);
      });
    };
    auto const listen = [&](auto const& again) -> void {
      signals.async_wait([&, again](std::error_code ec, int) {
        if (ec) return;
        until = draining ? clock::now() : clock::now() + limit;
        if (!draining) {
          draining = true;
          (parts.drain(), ...);
          look(look);
        }
        again(again);
      });
    };
    listen(listen);
    workers.run();
  }
  (parts.close(), ...);
  workers.clear();
}

}  // namespace mgw::proxy
