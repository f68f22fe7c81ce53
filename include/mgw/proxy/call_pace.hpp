#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

namespace mgw::proxy {

struct call_pace_options {
  using clock = std::chrono::steady_clock;

  std::size_t per_second = 80;                 ///< calls that begin in a second, in the long run; 0: no limit
  std::size_t at_once = 64;                    ///< calls that upstream has not answered yet; at least 1
  std::size_t max_waiting = 1'000;             ///< calls in line, urgent ones not counted; one more is refused at once
  std::chrono::milliseconds max_wait{10'000};  ///< in line; where it would be longer a call is refused at once
  std::function<clock::time_point()> now = clock::now;
  call_pace_options() = default;
};

/// How calls go upstream, over all workers: so many in a second, a quarter of that in one go, and so many at a time.
/// Who comes later waits in line, first come first served, urgent ones first; a line that is too long refuses. Where
/// upstream says that it has had enough, all wait (`hold_off`).
///
/// All devices behind a gateway share its address, and so the budget that the server has for one; and after an outage
/// they come back together. Thread rule: any thread; a ticket belongs to its executor's. Outlives its tickets.
class call_pace {
public:
  using clock = std::chrono::steady_clock;
  using options = call_pace_options;

  explicit call_pace(options o = {}) : options_(std::move(o)), settled_(options_.now()), tokens_(burst()) {}
  call_pace(call_pace const&) = delete;
  call_pace& operator=(call_pace const&) = delete;

  class ticket;

  /// No call begins for so long, at most five minutes.
  void hold_off(std::chrono::milliseconds wait) {
    std::lock_guard const hold(mutex_);
    auto const until = options_.now() + std::clamp<std::chrono::milliseconds>(wait, {}, std::chrono::minutes(5));
    closed_until_ = std::max(closed_until_, until);
  }
  /// One has begun without a ticket.
  void spend() {
    std::lock_guard const hold(mutex_);
    settle();
    tokens_ = std::max(tokens_ - 1, -burst());
  }
  /// How long one who is refused now should stay away, at least.
  std::chrono::seconds advice() const {
    std::lock_guard const hold(mutex_);
    auto const closed = std::chrono::ceil<std::chrono::seconds>(closed_until_ - options_.now());
    std::size_t const seconds = options_.per_second == 0 ? 0 : line_.size() / options_.per_second;
    return std::max({closed, std::chrono::seconds(seconds), std::chrono::seconds(5)});
  }
  std::size_t waiting_now() const {
    std::lock_guard const hold(mutex_);
    return line_.size();
  }
  std::size_t running_now() const {
    std::lock_guard const hold(mutex_);
    return running_;
  }
  /// The first in line looks again. For who gives it a clock of his own.
  void poke() {
    std::lock_guard const hold(mutex_);
    wake_first();
  }

private:
  struct waiting {
    waiting(asio::any_io_executor e, bool u) : timer(std::move(e)), urgent(u) {}
    asio::steady_timer timer;  // its executor's thread only
    bool const urgent;
  };
  using line = std::list<std::shared_ptr<waiting>>;
  enum class outcome { granted, wait, refused };

  double burst() const noexcept { return std::max(1.0, static_cast<double>(options_.per_second) / 4); }
  // Precondition of these: the lock is held.
  clock::time_point settle() {
    auto const now = options_.now();
    double const seconds = std::chrono::duration<double>(std::max(now - settled_, clock::duration::zero())).count();
    settled_ = std::max(settled_, now);
    tokens_ = std::min(burst(), tokens_ + seconds * static_cast<double>(options_.per_second));
    return now;
  }
  void wake_first() {
    if (line_.empty()) return;
    auto const first = line_.front();
    asio::post(first->timer.get_executor(), [first] { first->timer.cancel(); });
  }

  options const options_;
  mutable std::mutex mutex_;
  clock::time_point settled_, closed_until_{};
  double tokens_;
  std::size_t running_ = 0, patient_ = 0;  // of those in line, the ones that are not urgent
  line line_;                              // only the first has its timer set for its turn
};

/// One call. Gives its place back at its end.
class call_pace::ticket {
public:
  /// `urgent`: goes before all that are not, and is not refused for the length of the line.
  ticket(call_pace& all, asio::any_io_executor executor, bool urgent)
      : all_(all), executor_(std::move(executor)), urgent_(urgent) {}
  ticket(ticket const&) = delete;
  ticket& operator=(ticket const&) = delete;
  ~ticket() { leave(); }

  /// Begins at once if that is possible; else `enter`.
  bool try_enter(bool brief = false) {
    clock::time_point unused;
    return !cancelled_ && ask(brief, unused) == outcome::granted;
  }
  /// Waits for its turn, at most until then or for `max_wait`. False: the call must not begin. May be called again.
  /// `brief`: it takes no part of `at_once`, because its client may take any time to send it.
  asio::awaitable<bool> enter(clock::time_point until, bool brief = false);
  /// The call has been answered, or given up.
  void leave() noexcept {
    std::lock_guard const hold(all_.mutex_);
    leave_line();
    if (!std::exchange(running_, false)) return;
    --all_.running_;
    all_.wake_first();
  }
  /// Ends a wait. On the executor's thread.
  void cancel() noexcept {
    cancelled_ = true;
    if (!me_) return;
    try {
      me_->timer.cancel();
    } catch (std::system_error const&) {  // declared by Asio, never thrown by its timers
    }
  }

private:
  outcome ask(bool brief, clock::time_point& until);
  void leave_line() noexcept {
    if (!std::exchange(in_line_, false)) return;
    bool const first = at_ == all_.line_.begin();
    if (!urgent_) --all_.patient_;
    all_.line_.erase(at_);
    if (first) all_.wake_first();
  }

  call_pace& all_;
  asio::any_io_executor executor_;
  bool urgent_;
  std::shared_ptr<waiting> me_;  // while it is in line, and after
  line::iterator at_;
  bool in_line_ = false, running_ = false, cancelled_ = false;
};

inline call_pace::outcome call_pace::ticket::ask(bool brief, clock::time_point& until) {
  std::lock_guard const hold(all_.mutex_);
  auto const& o = all_.options_;
  auto const now = all_.settle();
  bool const mine = all_.line_.empty() || (in_line_ && at_ == all_.line_.begin()) ||
                    (!in_line_ && urgent_ && !all_.line_.front()->urgent);
  bool const open = now >= all_.closed_until_;
  bool const paid = o.per_second == 0 || all_.tokens_ >= 1;
  bool const room = brief || all_.running_ < std::max<std::size_t>(o.at_once, 1);
  if (mine && open && paid && room) {
    if (o.per_second != 0) all_.tokens_ -= 1;
    running_ = !brief;
    if (running_) ++all_.running_;
    leave_line();
    return outcome::granted;
  }
  if (!in_line_) {
    bool const hopeless = all_.patient_ >= o.max_waiting || all_.closed_until_ - now > o.max_wait ||
                          (o.per_second != 0 &&
                           all_.line_.size() / o.per_second > static_cast<std::size_t>(o.max_wait.count() / 1000) + 1);
    if (!urgent_ && hopeless) return outcome::refused;
    if (!me_) me_ = std::make_shared<waiting>(executor_, urgent_);
    auto before = all_.line_.end();
    if (urgent_)
      for (before = all_.line_.begin(); before != all_.line_.end() && (*before)->urgent;) ++before;
    at_ = all_.line_.insert(before, me_);
    in_line_ = true;
    if (!urgent_) ++all_.patient_;
  }
  until = clock::time_point::max();
  if (at_ != all_.line_.begin() || !room) return outcome::wait;  // who leaves wakes it
  auto const missing = paid ? 0.0 : (1 - all_.tokens_) / static_cast<double>(o.per_second);
  auto const token = std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(missing));
  until = clock::now() + std::max({token, all_.closed_until_ - now, clock::duration(std::chrono::milliseconds(1))});
  return outcome::wait;
}

inline asio::awaitable<bool> call_pace::ticket::enter(clock::time_point until, bool brief) {
  auto const patience = urgent_ ? until : std::min(until, clock::now() + all_.options_.max_wait);
  for (;;) {
    clock::time_point turn;
    outcome const o = cancelled_ ? outcome::refused : ask(brief, turn);
    if (o == outcome::granted) co_return true;
    if (o == outcome::refused || clock::now() >= patience) break;
    std::error_code ignored;  // cancelled: woken
    me_->timer.expires_at(std::min(turn, patience));
    co_await me_->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  leave();
  co_return false;
}

}  // namespace mgw::proxy
