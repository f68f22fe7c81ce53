#pragma once

#include "status/json.hpp"
#include "status/report.hpp"

#include <mgw/cache/growth.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace gateway::status {

/// Makes reports on a thread of its own: once a second while somebody wants them, one for all who do, and at once for
/// the first.
///
/// `tick` is called once a second in any case; both it and `make` on that thread alone. What they throw is ignored.
/// Thread rule: any thread; who waits does so on his worker, and must be gone before the workers' contexts are.
class board {
public:
  using clock = std::chrono::steady_clock;
  struct shown {
    std::uint64_t number = 0;  ///< of the report, from 1 on
    report what;
    std::string json;
    clock::time_point made;
  };

  board(std::function<void()> tick, std::function<report()> make,
        std::chrono::milliseconds period = std::chrono::seconds(1))
      : period_(period), tick_(std::move(tick)), make_(std::move(make)), thread_([this] { run(); }) {}
  board(board const&) = delete;
  board& operator=(board const&) = delete;
  ~board() { close(); }
  /// Ends the thread. Idempotent.
  void close() {
    {
      std::lock_guard const hold(mutex_);
      ended_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

  /// The latest report, if it is of now; else null, and one will be made.
  std::shared_ptr<shown const> want() {
    std::lock_guard const hold(mutex_);
    auto const now = clock::now();
    wanted_ = now;
    if (latest_ && now - latest_->made < 2 * period_) return latest_;
    asked_ = true;
    wake_.notify_all();
    return nullptr;
  }
  /// Joins the line of those who wait for a later report than the one of this number (0: any); false: there is one.
  bool wait_for_news(mgw::cache::growth_ticket& t, std::uint64_t number) {
    std::lock_guard const hold(mutex_);
    if (latest_ && latest_->number > number && clock::now() - latest_->made < 2 * period_) return false;
    waiting_.enlist(t);
    return true;
  }
  /// Whether somebody has wanted one lately.
  bool watched() const {
    std::lock_guard const hold(mutex_);
    return is_watched();
  }

private:
  bool is_watched() const { return wanted_ && clock::now() - *wanted_ < 5 * period_; }

  void run() {
    std::unique_lock lock(mutex_);
    auto next = clock::now() + period_;
    for (;;) {
      (void)wake_.wait_until(lock, next, [this] { return ended_ || asked_; });
      if (ended_) return;
      bool const due = clock::now() >= next, makes = asked_ || is_watched();
      if (due) next = clock::now() + period_;
      asked_ = false;
      lock.unlock();
      std::shared_ptr<shown> made;
      try {
        if (due) tick_();
        if (makes) {
          made = std::make_shared<shown>();
          made->what = make_();
          made->json = to_json(made->what);
        }
      } catch (std::exception const&) {  // the next time is another chance
        made.reset();
      }
      lock.lock();
      if (!made) continue;
      made->number = latest_ ? latest_->number + 1 : 1;
      made->made = clock::now();
      latest_ = std::move(made);
      waiting_.ring();
    }
  }

  std::chrono::milliseconds const period_;
  std::function<void()> const tick_;
  std::function<report()> const make_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::shared_ptr<shown const> latest_;
  std::optional<clock::time_point> wanted_;
  mgw::cache::growth waiting_;
  bool ended_ = false, asked_ = false;
  std::thread thread_;  // the last: it uses all the others
};

}  // namespace gateway::status
