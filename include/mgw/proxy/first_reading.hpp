#pragma once

#include <mgw/cache/growth.hpp>
#include <mgw/cache/link_id.hpp>
#include <mgw/proxy/disk_threads.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/held_requests.hpp>
#include <mgw/proxy/object_reader.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace mgw::proxy {

/// A stored object that has to be read whole before it is served, as after an unclean stop, and those who wait for it.
/// They are held as they would be for a fill (object_reader): within the same bounds, and closed in the same cases.
///
/// Thread rule: any thread.
class first_reading {
public:
  /// It was read, or could not be.
  void done() {
    std::lock_guard const lock(mutex_);
    done_ = true;
    waiting_.ring();
  }

  /// One exchange that waits for it. Thread rule: the exchange's worker.
  class reader {
  public:
    reader(exchange& x, std::shared_ptr<first_reading> what, reader_options const& options)
        : x_(x), what_(std::move(what)), options_(options), ticket_(x.worker().io.get_executor()) {}

    /// Until it is done, or the disk hangs. False: the exchange has ended.
    asio::awaitable<bool> wait(disk_threads const& disk, held_requests& held, std::optional<cache::link_id> link);

  private:
    using clock = std::chrono::steady_clock;
    static void crowd_out(void* self) noexcept {
      auto& me = *static_cast<reader*>(self);
      me.crowded_out_ = true;
      me.ticket_.wake();
    }
    char const* ends(clock::time_point until) {
      if (x_.draining()) return "draining";
      if (crowded_out_) return "held while others came";
      if (clock::now() >= until) return "held too long";
      return x_.client_gone() ? "the client left" : nullptr;
    }

    exchange& x_;
    std::shared_ptr<first_reading> const what_;
    reader_options const& options_;
    bool crowded_out_ = false;
    cache::growth_ticket ticket_;
  };

private:
  bool enlist(cache::growth_ticket& t) {
    std::lock_guard const lock(mutex_);
    if (!done_) waiting_.enlist(t);
    return !done_;
  }

  std::mutex mutex_;
  bool done_ = false;
  cache::growth waiting_;
};

inline asio::awaitable<bool> first_reading::reader::wait(disk_threads const& disk, held_requests& held,
                                                         std::optional<cache::link_id> link) {
  auto const until = clock::now() + options_.hold;
  held_requests::place const here(held, x_.worker().io.get_executor(), link, crowd_out, this);
  x_.on_drain([](void* self) noexcept { static_cast<reader*>(self)->ticket_.wake(); }, this);
  char const* why = nullptr;
  while (!disk.hung()) {
    why = ends(until);
    if (why != nullptr) break;
    bool const waits = what_->enlist(ticket_);
    if (!waits) break;
    co_await ticket_.wait_until(std::min(until, clock::now() + options_.look));
  }
  x_.on_drain(nullptr, nullptr);
  if (why == nullptr) co_return true;
  x_.notes().failure = why;
  x_.abort();
  co_return false;
}

}  // namespace mgw::proxy
