#pragma once

#include <mgw/cache/link_id.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/post.hpp>

#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mgw::proxy {

/// The requests that wait for what cannot be answered yet: so many at most, and one for each link. Who comes in excess
/// is taken in, and the one that was held for the longest time ends; a client that asks again on its link replaces its
/// own request, if that has waited for a while: several at once are several clients. There may be a few on one link; for
/// one more, the one that was held there for the longest time ends, so that no link takes the places of others.
///
/// Thread rule: any thread; a place belongs to its executor's. Precondition: outlives its places.
class held_requests {
  using function = void (*)(void*) noexcept;
  struct held;
  using line = std::list<std::shared_ptr<held>>;
  struct held {
    asio::any_io_executor executor;
    std::optional<cache::link_id> link;
    std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
    function end = nullptr;  // these two belong to the executor's thread; null: nobody is held any more
    void* whom = nullptr;
    bool in_line = false;  // these two belong to the mutex
    line::iterator at;
  };
  struct same_link {
    std::vector<std::shared_ptr<held>> all;  // the longest-held first
    std::shared_ptr<held> last;              // null: it has left
  };

public:
  /// Precondition: `most` and `most_per_link` are at least 1.
  held_requests(std::size_t most, std::chrono::milliseconds replaced_after, std::size_t most_per_link = 4)
      : most_(most), replaced_after_(replaced_after), most_per_link_(most_per_link) {}
  held_requests(held_requests const&) = delete;
  held_requests& operator=(held_requests const&) = delete;

  /// A request is held while there is one of these. `end(whom)` is called on the executor, once, if it has to end.
  class place {
  public:
    place(held_requests& all, asio::any_io_executor executor, std::optional<cache::link_id> const& link, function end,
          void* whom)
        : all_(all), me_(std::make_shared<held>()) {
      me_->executor = std::move(executor);
      me_->link = link;
      me_->end = end;
      me_->whom = whom;
      all_.enter(me_);
    }
    place(place const&) = delete;
    place& operator=(place const&) = delete;
    ~place() {
      me_->end = nullptr;
      all_.leave(me_);
    }

  private:
    held_requests& all_;
    std::shared_ptr<held> me_;
  };

  /// Ends the one that was held for the longest time. False: there is none.
  bool end_longest() {
    std::lock_guard const hold(mutex_);
    if (line_.empty()) return false;
    end(line_.front());
    return true;
  }
  std::size_t size() const {
    std::lock_guard const hold(mutex_);
    return line_.size();
  }

private:
  void enter(std::shared_ptr<held> const& h) {
    std::lock_guard const hold(mutex_);
    if (h->link) make_room_on_link(*h);
    if (line_.size() >= most_) end(line_.front());
    h->at = line_.insert(line_.end(), h);
    h->in_line = true;
    if (h->link) {
      auto& mine = by_link_[*h->link];
      mine.all.push_back(h);
      mine.last = h;
    }
  }
  void leave(std::shared_ptr<held> const& h) {
    std::lock_guard const hold(mutex_);
    take_out(h);
  }
  // Precondition of these: the lock is held.
  void make_room_on_link(held const& h) {
    auto same = by_link_.find(*h.link);
    if (same == by_link_.end()) return;
    auto const& last = same->second.last;
    if (last && h.since - last->since >= replaced_after_) end(last);
    same = by_link_.find(*h.link);  // it goes with its last one
    if (same != by_link_.end() && same->second.all.size() >= most_per_link_) end(same->second.all.front());
  }
  bool take_out(std::shared_ptr<held> const& h) {
    if (!h->in_line) return false;
    h->in_line = false;
    line_.erase(h->at);
    if (auto const mine = h->link ? by_link_.find(*h->link) : by_link_.end(); mine != by_link_.end()) {
      std::erase(mine->second.all, h);
      if (mine->second.last == h) mine->second.last = nullptr;
      if (mine->second.all.empty()) by_link_.erase(mine);
    }
    return true;
  }
  void end(std::shared_ptr<held> h) {  // a copy: the one given may lie in what it is taken out of
    take_out(h);
    auto const executor = h->executor;
    asio::post(executor, [h = std::move(h)] {
      if (h->end != nullptr) std::exchange(h->end, nullptr)(h->whom);
    });
  }

  std::size_t const most_;
  std::chrono::milliseconds const replaced_after_;
  std::size_t const most_per_link_;
  mutable std::mutex mutex_;
  line line_;  // the longest-held first
  std::unordered_map<cache::link_id, same_link> by_link_;
};

}  // namespace mgw::proxy
