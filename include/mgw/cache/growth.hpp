#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

class growth_ticket;

namespace growth_detail {

/// All who wait for one object on one worker. The list belongs to that worker's thread, `wanted` to the object's lock.
struct bell {
  explicit bell(asio::any_io_executor e) : executor(std::move(e)) {}
  asio::any_io_executor executor;
  growth_ticket* first = nullptr;
  bool wanted = false;
};

}  // namespace growth_detail

/// One reader's place in line: it wakes when the object has news, when its time is over, or when somebody wakes it.
///
/// A weak ticket: a reader that dies in between leaves nothing behind. Thread rule: its worker's thread.
class growth_ticket {
public:
  explicit growth_ticket(asio::any_io_executor executor) : timer_(std::move(executor)) {}
  growth_ticket(growth_ticket const&) = delete;
  growth_ticket& operator=(growth_ticket const&) = delete;
  ~growth_ticket() { leave(); }

  /// Waits. Precondition: enlisted (fill::wait_for_news returned true), without a suspension since.
  asio::awaitable<void> wait_until(std::chrono::steady_clock::time_point until) {
    std::error_code ignored;  // cancelled: woken
    timer_.expires_at(until);
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    leave();
  }
  void wake() noexcept {
    try {
      timer_.cancel();
    } catch (std::system_error const&) {  // declared by Asio, never thrown by its timers
    }
  }

private:
  friend class growth;
  void leave() noexcept {
    if (!bell_) return;
    (prev_ != nullptr ? prev_->next_ : bell_->first) = next_;
    if (next_ != nullptr) next_->prev_ = prev_;
    prev_ = next_ = nullptr;
    bell_.reset();
  }
  asio::steady_timer timer_;
  std::shared_ptr<growth_detail::bell> bell_;
  growth_ticket* prev_ = nullptr;
  growth_ticket* next_ = nullptr;
};

/// Wakes all who wait for an object, on whatever worker they are: one post per (worker, object), however many wait.
///
/// Thread rule: `enlist` on the ticket's thread, `ring` on any; both under the object's lock.
class growth {
public:
  void enlist(growth_ticket& t) {
    auto const executor = t.timer_.get_executor();
    std::shared_ptr<growth_detail::bell> mine;
    for (auto const& b : bells_)
      if (b->executor == executor) mine = b;
    if (!mine) mine = bells_.emplace_back(std::make_shared<growth_detail::bell>(executor));
    mine->wanted = true;
    t.next_ = mine->first;
    if (mine->first != nullptr) mine->first->prev_ = &t;
    mine->first = &t;
    t.bell_ = std::move(mine);
  }
  void ring() {
    for (auto const& b : bells_) {
      if (!b->wanted) continue;
      b->wanted = false;
      asio::post(b->executor, [b] {
        for (growth_ticket* t = b->first; t != nullptr; t = t->next_) t->wake();
      });
    }
  }

private:
  std::vector<std::shared_ptr<growth_detail::bell>> bells_;  // one per worker that ever waited: a handful
};

}  // namespace mgw::cache
