#pragma once

#include <mgw/upstream/token_bucket.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

namespace mgw::upstream {

/// How much a link may carry. One for all threads: transfers that can wait (artifacts) take what they read from it, in
/// pieces, first come first served; what must not wait (API calls) passes at once and is owed, so that the transfers
/// give way and the sum stays under the rate.
///
/// The rate is asked for again while somebody waits; where it becomes 0 nobody waits here any longer: `flow::ready`
/// says so, and the transfer has to be given up. Bytes are those of HTTP; TLS and IP come on top, a few in a hundred.
/// Thread rule: any thread; a flow belongs to one.
class rate_limit {
public:
  using clock = std::chrono::steady_clock;

  struct options {
    std::function<std::uint64_t()> rate;    ///< bytes per second, now; called under a lock, on any thread
    std::chrono::milliseconds look{1'000};  ///< how often it is called at most
    std::function<clock::time_point()> now = clock::now;
    options() = default;
    explicit options(std::uint64_t constant) : rate([constant] { return constant; }) {}
  };

  /// Precondition: `rate` can be called.
  explicit rate_limit(options o)
      : options_(std::move(o)), bucket_(options_.rate(), options_.now()), looked_(options_.now()) {}
  rate_limit(rate_limit const&) = delete;
  rate_limit& operator=(rate_limit const&) = delete;

  class flow;

  /// Bytes that have passed without waiting.
  void spend(std::uint64_t n) {
    std::lock_guard const hold(mutex_);
    auto const now = look();
    spent_ += n;
    bucket_.spend(n, now);
  }
  /// Bytes per second.
  std::uint64_t rate() {
    std::lock_guard const hold(mutex_);
    look();
    return bucket_.rate();
  }
  bool paused() { return rate() == 0; }
  /// What the kernel may receive ahead of us on a connection for one more flow; 0: as it thinks fit.
  ///
  /// A second of a small rate, or of the flow's share in it: enough to reach the rate over a satellite, and the bytes
  /// that come at the link's own speed stay few. Of larger rates nothing has to be said: the kernel opens its window as
  /// fast as bytes are read, and an upper bound of ours would be too small for long links.
  std::size_t receive_buffer() {
    std::lock_guard const hold(mutex_);
    look();
    std::uint64_t const share = bucket_.rate() / (flows_ + 1);
    if (bucket_.rate() == unlimited || share > most_buffer) return 0;
    return std::bit_floor(std::clamp<std::size_t>(static_cast<std::size_t>(share), least_buffer, most_buffer));
  }

  /// Bytes that flows have used, and that were spent.
  std::uint64_t used() const {
    std::lock_guard const hold(mutex_);
    return used_;
  }
  std::uint64_t spent() const {
    std::lock_guard const hold(mutex_);
    return spent_;
  }
  std::size_t waiting_now() const {
    std::lock_guard const hold(mutex_);
    return line_.size();
  }
  /// The first in line looks again. For who gives it a clock of his own.
  void poke() {
    std::lock_guard const hold(mutex_);
    wake_first();
  }

private:
  static constexpr std::size_t least_buffer = 32 * 1024, most_buffer = 128 * 1024;

  struct waiting {
    explicit waiting(asio::any_io_executor e) : timer(std::move(e)) {}
    asio::steady_timer timer;  // its executor's thread only
    bool away = false;         // it keeps its place, and holds up nobody
  };
  using line = std::list<std::shared_ptr<waiting>>;
  enum class outcome { there, wait, refused };

  // Precondition of these: the lock is held.
  clock::time_point look() {
    auto const now = options_.now();
    if (now - looked_ >= options_.look) {
      looked_ = now;
      if (auto const r = options_.rate(); r != bucket_.rate()) {
        bucket_.set_rate(r, now);
        wake_first();
      }
    }
    return now;
  }
  void wake_first() {
    auto const at = std::find_if(line_.begin(), line_.end(), [](auto const& w) { return !w->away; });
    if (at != line_.end()) asio::post((*at)->timer.get_executor(), [first = *at] { first->timer.cancel(); });
  }

  options const options_;
  mutable std::mutex mutex_;
  token_bucket bucket_;
  clock::time_point looked_;
  line line_;  // only the first has its timer set
  std::size_t flows_ = 0;
  std::uint64_t used_ = 0, spent_ = 0;
};

/// One transfer that waits for its turn. Precondition: the limit outlives it.
class rate_limit::flow {
public:
  explicit flow(rate_limit& all) : all_(all) {
    std::lock_guard const hold(all_.mutex_);
    ++all_.flows_;
  }
  flow(flow const&) = delete;
  flow& operator=(flow const&) = delete;
  ~flow() {
    std::lock_guard const hold(all_.mutex_);
    --all_.flows_;
    all_.bucket_.give_back(allowance_);
    leave();
  }

  /// Bytes that may be read now.
  std::size_t allowance() const noexcept { return allowance_; }
  /// So many of them were read.
  void use(std::size_t n) {
    std::lock_guard const hold(all_.mutex_);
    allowance_ -= std::min(n, allowance_);
    all_.used_ += n;
  }
  /// Waits until there is an allowance. False: the rate is 0, or it was cancelled or interrupted.
  asio::awaitable<bool> ready();
  /// Whether there is one, without waiting.
  bool ready_now() {
    clock::time_point ignored;
    return !cancelled_ && ask(false, ignored) == outcome::there;
  }
  /// Ends a wait, and all later ones. On the thread of who waits.
  void cancel() noexcept {
    cancelled_ = true;
    try {
      if (me_) me_->timer.cancel();
    } catch (std::system_error const&) {  // declared by Asio, never thrown by its timers
    }
  }
  bool cancelled() const noexcept { return cancelled_; }
  /// Ends the wait that is under way; its place in line is kept for the next one. On the thread of who waits.
  void interrupt() noexcept {
    if (!waits_) return;
    interrupted_ = true;
    try {
      me_->timer.cancel();
    } catch (std::system_error const&) {  // as above
    }
  }
  /// Whether the last wait was.
  bool interrupted() const noexcept { return interrupted_; }
  /// The rate has fallen far below what it was while this flow has lived: what the kernel receives ahead on its
  /// connection is too much now.
  bool narrowed() {
    std::lock_guard const hold(all_.mutex_);
    all_.look();
    return all_.bucket_.rate() < fastest_ / 4;
  }

private:
  static constexpr std::size_t all_at_once = 64 * 1024;  // without a limit

  outcome ask(bool enlist, clock::time_point& until);
  void go_away() {
    std::lock_guard const hold(all_.mutex_);
    if (!in_line_) return;
    me_->away = true;
    all_.wake_first();
  }
  /// Of those who wait. Precondition: the lock is held.
  bool is_first() const {
    for (auto const& w : all_.line_) {
      if (w == me_) return true;
      if (!w->away) return false;
    }
    return true;
  }
  void leave() {
    if (!in_line_) return;
    bool const first = is_first();
    all_.line_.erase(at_);
    in_line_ = false;
    if (first) all_.wake_first();
  }

  rate_limit& all_;
  std::shared_ptr<waiting> me_;
  line::iterator at_;
  bool in_line_ = false, cancelled_ = false, waits_ = false, interrupted_ = false;
  std::size_t allowance_ = 0;
  std::uint64_t fastest_ = 0;
};

inline rate_limit::outcome rate_limit::flow::ask(bool enlist, clock::time_point& until) {
  std::lock_guard const hold(all_.mutex_);
  auto const now = all_.look();
  std::uint64_t const rate = all_.bucket_.rate();
  if (rate == 0) {
    leave();
    return outcome::refused;
  }
  fastest_ = std::max(fastest_, rate);
  if (allowance_ != 0) return outcome::there;
  std::size_t const n = rate == unlimited ? all_at_once : all_.bucket_.piece();
  bool const mine = rate == unlimited || is_first();
  if (mine && all_.bucket_.take(n, now)) {
    leave();
    allowance_ = n;
    return outcome::there;
  }
  if (!enlist) return outcome::wait;
  if (!in_line_) at_ = all_.line_.insert(all_.line_.end(), me_);
  in_line_ = true;
  me_->away = false;
  if (!is_first()) {
    until = clock::time_point::max();
    return outcome::wait;
  }
  constexpr std::chrono::nanoseconds least = std::chrono::milliseconds(1);  // many short waits are one
  std::chrono::nanoseconds const most = std::max<std::chrono::nanoseconds>(least, all_.options_.look);
  until = clock::now() + std::clamp(all_.bucket_.until(n, now), least, most);
  return outcome::wait;
}

inline asio::awaitable<bool> rate_limit::flow::ready() {
  if (!me_) {
    auto const executor = co_await asio::this_coro::executor;
    me_ = std::make_shared<waiting>(executor);
  }
  for (interrupted_ = false;;) {
    clock::time_point until;
    outcome const o = cancelled_ ? outcome::refused : ask(true, until);
    if (o != outcome::wait) co_return o == outcome::there;
    std::error_code ignored;  // cancelled: woken
    me_->timer.expires_at(until);
    waits_ = true;
    co_await me_->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    waits_ = false;
    if (interrupted_) {
      go_away();
      co_return false;
    }
  }
}

}  // namespace mgw::upstream
