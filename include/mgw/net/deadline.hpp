#pragma once

#include <mgw/core/ring.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>

namespace mgw::net {

/// What can be told to stop: every Stream, and every operation with a sticky cancel of its own.
template <class S>
concept Cancellable = requires(S& s) {
  { s.cancel() } noexcept;
};

/// All deadlines of one thread, in a wheel of 256 slots of 50 ms.
///
/// One timer ticks, and only while a deadline is armed. A deadline expires at the first tick after its time: never
/// early, about 50 ms late. Precondition: its executor's context runs on one thread. Deadlines may outlive the queue
/// (coroutines that ~io_context destroys hold some), but are not armed any more.
/// Thread rule: the thread of its executor.
class deadline_queue {
public:
  using clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds tick{50};

  explicit deadline_queue(asio::any_io_executor executor)
      : timer_(executor), self_(std::make_shared<deadline_queue*>(this)), epoch_(clock::now()) {}
  deadline_queue(deadline_queue const&) = delete;
  deadline_queue& operator=(deadline_queue const&) = delete;
  ~deadline_queue() {
    for (ring_link& slot : slots_)
      while (!slot.alone()) slot.next->unlink();
  }

  /// Expires what is due at `now`. The timer calls it; a test may, with times of its own.
  void advance(clock::time_point now);
  /// How many deadlines are armed.
  std::size_t armed() const noexcept { return armed_; }

private:
  friend class deadline;

  struct node : ring_link {
    std::int64_t due = 0;   // the tick at which it expires
    std::int64_t slot = 0;  // the tick at which it is looked at: never after `due`
    void (*cancel)(void*) noexcept = nullptr;
    std::optional<clock::time_point> (*put_off)(void*, clock::time_point) noexcept = nullptr;
    void* target = nullptr;
    bool armed = false;
    bool expired = false;
  };
  static constexpr std::int64_t slot_count = 256;

  std::int64_t tick_after(clock::time_point t) const noexcept {  // rounded up: never early
    auto const since = std::chrono::duration_cast<std::chrono::nanoseconds>(t - epoch_).count();
    std::int64_t const length = std::chrono::nanoseconds(tick).count();
    return since <= 0 ? 0 : since / length + (since % length != 0 ? 1 : 0);
  }
  void place(node& n) noexcept {
    n.slot = n.due <= done_ ? done_ + 1 : n.due - done_ > slot_count ? done_ + slot_count : n.due;
    n.insert_before(slots_[static_cast<std::size_t>(n.slot % slot_count)]);
  }
  void arm(node& n, clock::time_point due);
  void disarm(node& n) noexcept;
  void start_timer();

  asio::steady_timer timer_;
  std::shared_ptr<deadline_queue*> self_;  // expires with the queue: a tick under way finds out
  clock::time_point epoch_;
  std::int64_t done_ = 0;  // the last tick that was looked at
  std::size_t armed_ = 0;
  bool ticking_ = false;
  std::array<ring_link, slot_count> slots_;
};

/// Cancels a stream when its time has come. Arming is a store and at most a few links: no allocation, no system call.
/// What has a `put_off(now)` is asked first: a time that this returns is the new one.
///
/// One per connection, moved on from phase to phase. An expired deadline stays expired, as its stream stays
/// cancelled; arming it again does nothing. Precondition: the stream outlives it and does not move.
/// Thread rule: that of the queue.
class deadline {
public:
  template <Cancellable S>
  deadline(deadline_queue& queue, S& cancelled_on_expiry) noexcept : queue_(queue) {
    node_.target = &cancelled_on_expiry;
    node_.cancel = [](void* s) noexcept { static_cast<S*>(s)->cancel(); };
    if constexpr (requires { cancelled_on_expiry.put_off(deadline_queue::clock::time_point()); })
      node_.put_off = [](void* s, deadline_queue::clock::time_point now) noexcept {
        return static_cast<S*>(s)->put_off(now);
      };
  }
  deadline(deadline const&) = delete;
  deadline& operator=(deadline const&) = delete;
  ~deadline() { disarm(); }

  /// Replaces the time it was armed for. More than a year counts as a year.
  void arm(std::chrono::milliseconds from_now) {
    constexpr std::chrono::milliseconds year = std::chrono::hours(24 * 365);
    arm_at(deadline_queue::clock::now() + std::clamp(from_now, std::chrono::milliseconds::zero(), year));
  }
  void arm_at(deadline_queue::clock::time_point due) { queue_.arm(node_, due); }
  void disarm() noexcept {
    // A node that the queue's destructor unlinked is alone; the queue must not be touched then.
    if (!node_.alone()) queue_.disarm(node_);
  }
  bool expired() const noexcept { return node_.expired; }

private:
  deadline_queue& queue_;
  deadline_queue::node node_;
};

inline void deadline_queue::arm(node& n, clock::time_point due) {
  if (n.expired) return;
  n.due = tick_after(due);
  if (n.armed) {
    if (n.slot <= n.due) return;  // looked at in time anyway, and put further then: the common case is one store
    n.unlink();
    place(n);
    return;
  }
  if (!ticking_) {
    // Nothing is in the wheel (or a test advances it by hand): catch up, so that no tick is walked through for nothing.
    std::int64_t const now = tick_after(clock::now());
    if (armed_ == 0 && now > done_ + 1) done_ = now - 1;
    start_timer();
  }
  n.armed = true;
  ++armed_;
  place(n);
}

inline void deadline_queue::disarm(node& n) noexcept {
  n.unlink();
  n.armed = false;
  --armed_;
}

inline void deadline_queue::start_timer() {
  ticking_ = true;
  timer_.expires_after(tick);
  timer_.async_wait([alive = std::weak_ptr<deadline_queue*>(self_)](std::error_code) {
    auto const self = alive.lock();
    if (!self) return;
    deadline_queue& q = **self;
    q.ticking_ = false;
    q.advance(clock::now());
    if (q.armed_ != 0 && !q.ticking_) q.start_timer();
  });
}

inline void deadline_queue::advance(clock::time_point now) {
  std::int64_t const up_to = tick_after(now + std::chrono::nanoseconds(1)) - 1;  // rounded down
  ring_link due;
  for (std::int64_t t = up_to - done_ > slot_count ? up_to - slot_count + 1 : done_ + 1; t <= up_to; ++t) {
    ring_link& slot = slots_[static_cast<std::size_t>(t % slot_count)];
    while (!slot.alone()) {
      ring_link* const l = slot.next;
      l->unlink();
      l->insert_before(due);
    }
  }
  if (up_to > done_) done_ = up_to;
  while (!due.alone()) {  // one at a time: a cancel may disarm or destroy others of the list
    node& n = static_cast<node&>(*due.next);
    n.unlink();
    if (n.due > done_) {
      place(n);
      continue;
    }
    if (auto const later = n.put_off != nullptr ? n.put_off(n.target, now) : std::nullopt) {
      n.due = tick_after(*later);
      place(n);
      continue;
    }
    n.armed = false;
    --armed_;
    n.expired = true;
    n.cancel(n.target);
  }
}

}  // namespace mgw::net
