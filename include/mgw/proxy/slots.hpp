#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// So many at once; who comes later waits in line. The next is one of the group that has the fewest slots just then, and
/// of these who came first: a crowd in one group does not keep the others out.
///
/// Thread rule: any thread; a place belongs to its executor's. Precondition: outlives its places.
class slots {
  struct waiting {
    waiting(asio::any_io_executor e, std::string g) : executor(std::move(e)), group(std::move(g)), timer(executor) {}
    asio::any_io_executor executor;
    std::string const group;
    asio::steady_timer timer;  // its executor's thread only, like `gone`
    bool gone = false;
    bool granted = false, urgent = false;  // the mutex'
  };
  using line = std::list<std::shared_ptr<waiting>>;

public:
  /// Precondition: `most` is at least 1.
  explicit slots(std::size_t most) : free_(most) {}
  slots(slots const&) = delete;
  slots& operator=(slots const&) = delete;

  /// One who wants a slot: in line, or with it. Leaves at its end.
  class place {
  public:
    place(slots& all, asio::any_io_executor executor, std::string group = {})
        : all_(all), w_(std::make_shared<waiting>(std::move(executor), std::move(group))) {}
    place(place const&) = delete;
    place& operator=(place const&) = delete;
    ~place() {
      leave();
      w_->gone = true;
    }

    /// Joins the line if it is not in it, before all who are not if `urgent`. Waits until there is a slot, or until
    /// then, or until `wake`. True: it has a slot. May be called again; keeps its place in line.
    asio::awaitable<bool> wait_until(std::chrono::steady_clock::time_point until, bool urgent = false) {
      bool const at_once = all_.join(*this, urgent);
      if (at_once) co_return true;
      std::error_code ignored;  // cancelled: woken
      w_->timer.expires_at(until);
      co_await w_->timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      bool const has_slot = all_.holds(*w_);
      co_return has_slot;
    }
    /// Takes a slot if one is free; joins no line. True: it has a slot.
    bool try_enter() { return all_.try_enter(*w_); }
    bool has_slot() const { return all_.holds(*w_); }
    /// Gives the slot, or the place in line, to the next one.
    void leave() noexcept { all_.leave(*this); }
    void wake() noexcept {
      try {
        w_->timer.cancel();
      } catch (std::system_error const&) {  // declared by Asio, never thrown by its timers
      }
    }

  private:
    friend class slots;
    slots& all_;
    std::shared_ptr<waiting> w_;
    bool in_line_ = false;
    line::iterator at_;
  };

  /// How many wait.
  std::size_t waiting_now() const {
    std::lock_guard const hold(mutex_);
    return line_.size();
  }

private:
  bool join(place& p, bool urgent) {
    std::lock_guard const hold(mutex_);
    if (p.w_->granted) return true;
    if (p.in_line_) return false;
    if (free_ != 0) {
      --free_;
      give(*p.w_);
      return true;
    }
    p.w_->urgent = urgent;
    auto before = line_.end();
    if (urgent)
      for (before = line_.begin(); before != line_.end() && (*before)->urgent;) ++before;
    p.at_ = line_.insert(before, p.w_);
    p.in_line_ = true;
    return false;
  }
  bool try_enter(waiting& w) {
    std::lock_guard const hold(mutex_);
    if (w.granted) return true;
    if (free_ == 0) return false;
    --free_;
    give(w);
    return true;
  }
  bool holds(waiting const& w) const {
    std::lock_guard const hold(mutex_);
    return w.granted;
  }
  void leave(place& p) noexcept {
    std::lock_guard const hold(mutex_);
    if (!p.w_->granted) {
      if (p.in_line_) line_.erase(p.at_);
      p.in_line_ = false;
      return;
    }
    p.w_->granted = p.in_line_ = false;
    if (auto const mine = held_.find(p.w_->group); --mine->second == 0) held_.erase(mine);
    if (line_.empty()) {
      ++free_;
      return;
    }
    auto const at = next_in_line();
    auto const next = *at;
    line_.erase(at);
    give(*next);
    asio::post(next->executor, [next] {
      if (!next->gone) next->timer.cancel();
    });
  }

  // Precondition of these: the lock is held.
  void give(waiting& w) {
    ++held_[w.group];
    w.granted = true;
  }
  /// Precondition: somebody waits.
  line::iterator next_in_line() {
    auto const holds = [this](waiting const& w) {
      auto const it = held_.find(w.group);
      return it == held_.end() ? 0 : it->second;
    };
    auto best = line_.begin();
    for (auto at = line_.begin(); at != line_.end() && !(*best)->urgent && holds(**best) != 0; ++at)
      if (holds(**at) < holds(**best)) best = at;
    return best;
  }

  mutable std::mutex mutex_;
  std::map<std::string, std::size_t> held_;  // by group; none with 0
  std::size_t free_;
  line line_;
};

}  // namespace mgw::proxy
